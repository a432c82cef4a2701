"""Encoders of the user's own: they learn, act, go on to the bit, or are refused in a sentence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from budget import some
from test_seeing import OPTIONS, SIDE, Eye

import qmu
from qmu.agent.custom import CustomEncoder, makers_of
from qmu.agent.encoder import Encoder, init_encoder
from qmu.agent.update import init
from qmu.config import Config, reading
from qmu.errors import ConfigError
from qmu.layout import Layout
from qmu.learning.custom import CustomNetwork


class Means(eqx.Module):
    """What rows and columns of an image are on average, through one layer."""

    layer: eqx.nn.Linear

    def __init__(self, key, shape, features):
        height, width, channels = shape
        self.layer = eqx.nn.Linear((height + width) * channels, features, key=key)

    def __call__(self, images):
        shown = images.astype(jnp.float32) / 255
        rows, columns = shown.mean(2), shown.mean(1)
        flat = jnp.concatenate([own.reshape(len(own), -1) for own in (rows, columns)], axis=1)
        return jnp.tanh(jax.vmap(self.layer)(flat))


class Direct(eqx.Module):
    """An actor of one layer."""

    layer: eqx.nn.Linear

    def __init__(self, key, obs_size, action_size):
        self.layer = eqx.nn.Linear(obs_size, action_size, key=key)

    def __call__(self, obs):
        return jax.vmap(self.layer)(obs)


KINDS = {
    "encoder": qmu.Networks(encoder=Means),
    "actor": qmu.Networks(actor=Direct),
    "both": qmu.Networks(actor=Direct, encoder=Means),
}


def train(folder, networks, world=Eye, **changes):
    changes = reading.merge(runs.options(folder, OPTIONS), changes)
    if networks.actor is not None:
        changes.pop("actor")
    return qmu.train(world, networks=networks, **changes)


@pytest.mark.parametrize("name", some(list(KINDS), ["both"]))
def test_a_run_acts_with_them_and_goes_on_to_the_bit(tmp_path, name):
    networks = KINDS[name]
    more = {"env": {"frames": 2, "normalize_obs": True}, "train": {"seeds": 2}}
    whole = train(tmp_path / "whole", networks, **more)
    part = train(tmp_path / "part", networks, **reading.merge(more, {"train": {"total_steps": 40}}))
    part = qmu.resume(part.directory, env=Eye, total_steps=80, networks=networks)
    policies = [run.policy(1) for run in (whole, part)]
    assert all(isinstance(policy.network, CustomNetwork) for policy in policies)
    ours, theirs = (policy.network.arrays() for policy in policies)
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key], err_msg=key)
    opened = qmu.open_run(whole.directory, networks=networks).policy(1)
    world = Eye()
    obs, _ = world.reset(seed=3)
    for _ in range(5):
        action = policies[0](obs)
        np.testing.assert_array_equal(action, opened(obs))
        obs, *_ = world.step(action)


def test_a_file_alone_does_not_say_what_they_do(tmp_path):
    run = train(tmp_path, KINDS["encoder"], train={"total_steps": 40})
    assert run.info["networks"] == ["encoder"]
    with pytest.raises(ConfigError, match="networks"):
        qmu.load_policy(run.directory / "best" / run.members[0].name)
    opened = qmu.open_run(run.directory, networks=qmu.Networks(encoder=Wide))
    with pytest.raises(ConfigError, match=r"not made by this networks\.encoder"):
        opened.policy()


class Wide(Means):
    """Has more to learn than the one that was trained."""

    more: jax.Array

    def __init__(self, key, shape, features):
        super().__init__(key, shape, features)
        self.more = jnp.zeros(features)


def test_what_an_actor_is_given_are_numbers_and_features():
    """Numbers of two frames, then three features of each of two images."""
    layout = Layout(4, ((20, 24, 1), (16, 16, 3)), frames=2)
    config = reading.from_dict({"encoder": {"features": 3}})
    makers = makers_of(KINDS["both"], layout, 2, config)
    agent = init(jax.random.key(0), layout, 2, config, makers)
    assert agent.actor.arrays.layer.weight.shape == (2, 2 * 4 + 2 * 3)
    images = [jnp.zeros((5, *shape), jnp.uint8) for shape in layout.seen_images]
    seen = agent.encoder(jnp.ones((5, 8)), images)
    assert seen.shape == (5, 14)
    np.testing.assert_array_equal(seen[:, :8], 1)


def test_the_built_in_encoder_as_one_of_the_users_own_is_the_same_function():
    config = reading.from_dict({"encoder": {"features": 5}})
    layout = Layout(0, ((SIDE, SIDE, 3),))

    def make(key, shape, features):
        assert features == 5
        return init_encoder(key, [shape], config.encoder).images[0]

    encoder = makers_of(qmu.Networks(encoder=make), layout, 1, config).encoder(
        jax.random.key(3), layout.seen_images, config.encoder
    )
    assert isinstance(encoder.images[0], CustomEncoder)
    own = Encoder((make(jax.random.split(jax.random.key(3), 1)[0], (SIDE, SIDE, 3), 5),))
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)
    none = jnp.zeros((4, 0))
    np.testing.assert_array_equal(encoder(none, [images]), own(none, [images]))


WRONG = {
    "returned float32[5, 2], and float32[5, 8]": lambda key, shape, features: Means(key, shape, 2),
    "rows have to be independent": lambda key, shape, features: Crowd(key, shape, features),
    "is called with (key, shape, features)": lambda key: None,
    "an equinox.Module is wanted": lambda key, shape, features: 3,
}


class Crowd(Means):
    """Says of an image what it says of the batch."""

    def __call__(self, images):
        found = super().__call__(images)
        return found + found.mean(0, keepdims=True)


@pytest.mark.parametrize("why", list(WRONG))
def test_an_encoder_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path, why):
    with pytest.raises(ConfigError) as told:
        train(tmp_path, qmu.Networks(encoder=WRONG[why]))
    assert why in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("world", "changes", "why"),
    [
        ("Pendulum-v1", {"encoder": Config().encoder.__dict__}, "there are none in this"),
        (Eye, {"encoder": {"kind": "drqv2"}}, "encoder.kind is about the layers of the built-in"),
        (Eye, {"env": {"workers": 1}}, "networks.encoder of your own acts in this process only"),
        (
            Eye,
            {"explore": {"noise": "none", "parameter_distance": 0.2}},
            "explore.parameter_distance acts with many copies",
        ),
    ],
    ids=["numbers", "kind", "workers", "parameter noise"],
)
def test_what_an_encoder_of_ones_own_does_not_go_with(tmp_path, world, changes, why):
    with pytest.raises(ConfigError, match=why):
        train(tmp_path, KINDS["encoder"], world, **changes)
    assert not list(tmp_path.iterdir())
