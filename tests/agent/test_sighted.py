"""An update of an agent that sees images: what learns from what."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from updates import assert_same

from qmu.agent.encoder import PIXEL_OFFSET, PIXEL_SCALE, STRIDES
from qmu.agent.update import init, trace_numbers, update
from qmu.agent.vitals import vitals
from qmu.config import reading
from qmu.layout import Layout, Seen
from qmu.rows import Batch

LAYOUT = Layout(2, ((31, 33, 1),), frames=2)
ROWS, ACTION = 6, 1
KEY = jax.random.key(3)
INIT, UPDATE = jax.jit(init, static_argnums=(1, 2)), jax.jit(update)


def make_config(**changes):
    options = {
        "actor": {"hidden_sizes": [8], "preactivation_penalty": 0},
        "critic": {"hidden_sizes": [8], "norm": "none"},
        "encoder": {"features": 4, "shift": 0},
        "target": {"smoothing_std": None, "tau": 0.25},
        "replay": {"batch_size": ROWS},
    }
    return trace_numbers(reading.from_dict(reading.merge(options, changes)))


def draw_batch(seed=0):
    generator = np.random.default_rng(seed)

    def sight():
        images = tuple(
            jnp.asarray(generator.integers(0, 256, (ROWS, *image), np.uint8))
            for image in LAYOUT.seen_images
        )
        return Seen(jnp.asarray(generator.normal(size=(ROWS, 4)), jnp.float32), images)

    numbers = {
        "action": generator.uniform(-1, 1, (ROWS, ACTION)),
        "reward": generator.normal(size=ROWS),
        "discount": np.full(ROWS, 0.9),
        "weight": np.ones(ROWS),
    }
    columns = {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()}
    return Batch(obs=sight(), next_obs=sight(), **columns)


def updated(config, batch=None, times=1):
    agent = INIT(jax.random.key(0), LAYOUT, ACTION, config)
    before = agent
    for number in range(1, times + 1):
        agent, _, _ = UPDATE(agent, batch or draw_batch(), jnp.int32(number), KEY, config)
    return before, agent


def encoded(encoder, obs):
    """Return what an encoder makes of observations, by XLA's own convolutions."""
    (one,), (images,) = encoder.images, obs.images
    hidden = images.astype(jnp.float32) * PIXEL_SCALE + PIXEL_OFFSET
    for layer, stride in zip(one.convolutions, STRIDES["strided"], strict=True):
        hidden = jax.lax.conv_general_dilated(
            hidden,
            layer.weight,
            (stride, stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        hidden = jnp.maximum(hidden + layer.bias[None, None, None], 0)
    units = hidden.reshape(ROWS, -1) @ one.trunk.weight + one.trunk.bias[None]
    units = units - units.mean(axis=1, keepdims=True)
    units = units / jnp.sqrt(jnp.square(units).mean(axis=1, keepdims=True) + 1e-5)
    features = jnp.tanh(units * one.norm.scale[None] + one.norm.offset[None])
    return jnp.concatenate([obs.numbers, features], axis=1)


def test_the_encoder_goes_down_the_gradient_of_the_critics_loss():
    config, batch = make_config(), draw_batch()
    before, after = updated(config, batch)
    slow = encoded(before.target.encoder, batch.next_obs)
    value = before.target.critics(slow, before.target.actor(slow))[0]
    target = batch.reward + batch.discount * value

    def loss(encoder):
        found = before.critics(encoded(encoder, batch.obs), batch.action)[0]
        return jnp.mean(jnp.square(target - found))

    gradient = jax.grad(loss)(before.encoder)
    # Adam's first moment after one step is a tenth of the gradient.
    for mean, slope in zip(
        jax.tree.leaves(after.encoder_optimizer.mu), jax.tree.leaves(gradient), strict=True
    ):
        np.testing.assert_allclose(10 * mean, slope, rtol=2e-3, atol=1e-6)
    moved = [
        float(jnp.abs(one - other).max())
        for one, other in zip(
            jax.tree.leaves(before.encoder), jax.tree.leaves(after.encoder), strict=True
        )
    ]
    assert max(moved) == pytest.approx(1e-4, rel=1e-2)


def test_nothing_of_the_actors_loss_reaches_the_encoder():
    _, slow = updated(make_config(actor={"lr": 0.0}), times=1)
    _, fast = updated(make_config(actor={"lr": 0.1}), times=1)
    assert_same(slow.encoder, fast.encoder)
    assert_same(slow.critics, fast.critics)
    weights = slow.actor.layers[0].weight, fast.actor.layers[0].weight
    assert float(jnp.abs(weights[0] - weights[1]).max()) > 0.05


def test_the_actor_climbs_on_what_the_encoder_made_before_its_step():
    """As in DrQ-v2: another pace of the encoder changes nothing of the actor's first step."""
    _, slow = updated(make_config(encoder={"lr": 0.0}))
    _, fast = updated(make_config(encoder={"lr": 0.01}))
    assert_same(slow.actor, fast.actor)
    assert float(jnp.abs(jax.tree.leaves(fast.encoder)[0]).max()) > 0


def test_an_encoder_without_a_pace_stays_and_its_copy_follows():
    before, after = updated(make_config(encoder={"lr": 0.0}), times=2)
    assert_same(before.encoder, after.encoder)
    before, after = updated(make_config(), times=1)
    expected = jax.tree.map(
        lambda slow, fast: slow + 0.25 * (fast - slow), before.target.encoder, after.encoder
    )
    assert_same(after.target.encoder, expected, rtol=1e-6, atol=1e-8)


def test_shifts_of_the_two_observations_are_others_and_every_update_has_its_own():
    """The same image twice: where the critic's loss differs, it was shifted otherwise."""
    batch = draw_batch()
    config = make_config(encoder={"shift": 4, "lr": 0.0}, critic={"lr": 0.0}, actor={"lr": 0.0})
    agent = INIT(jax.random.key(0), LAYOUT, ACTION, config)
    losses = [
        float(UPDATE(agent, batch, jnp.int32(1), jax.random.key(seed), config)[1].critic_loss)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    # Where next observations count for nothing, a shift of them changes nothing.
    alone = batch._replace(discount=jnp.zeros(ROWS))
    other = alone._replace(next_obs=batch.obs)
    first, second = (
        float(UPDATE(agent, one, jnp.int32(1), KEY, config)[1].critic_loss)
        for one in (alone, other)
    )
    assert first == second


def test_numbers_beside_images_are_normalized_and_images_are_not():
    config = make_config(env={"normalize_obs": True})
    agent = INIT(jax.random.key(0), LAYOUT, ACTION, config)
    assert agent.normalizer.mean.shape == (4,)
    far = dataclasses.replace(agent.normalizer, mean=jnp.full(4, 100.0))
    moved = dataclasses.replace(agent, normalizer=far)
    batch = draw_batch()
    shifted = batch._replace(
        obs=batch.obs._replace(numbers=batch.obs.numbers + 100),
        next_obs=batch.next_obs._replace(numbers=batch.next_obs.numbers + 100),
    )
    one = UPDATE(agent, batch, jnp.int32(1), KEY, config)[1]
    other = UPDATE(moved, shifted, jnp.int32(1), KEY, config)[1]
    assert_same(one, other, rtol=1e-3, atol=1e-3)


def test_numeric_options_of_the_encoder_do_not_compile_again():
    # Functions that are the same share what they have compiled.
    step = jax.jit(lambda *given: update(*given))
    for pace in (1e-4, 1e-3):
        config = make_config(encoder={"lr": pace})
        agent = INIT(jax.random.key(0), LAYOUT, ACTION, config)
        step(agent, draw_batch(), jnp.int32(1), KEY, config)
    assert step._cache_size() == 1


def test_what_is_said_of_an_encoder_by_hand():
    """The last convolution sees by 1 of 32 outputs; two of four features are at a bound."""
    config = make_config()
    agent, batch = INIT(jax.random.key(0), LAYOUT, ACTION, config), draw_batch()
    one = agent.encoder.images[0]
    *seeing, last = one.convolutions
    last = dataclasses.replace(last, weight=last.weight.at[..., 1:].set(0))
    norm = dataclasses.replace(one.norm, offset=jnp.array([9.0, -9, 0, 0]), scale=jnp.full(4, 0.1))
    one = dataclasses.replace(one, convolutions=(*seeing, last), norm=norm)
    encoder = dataclasses.replace(agent.encoder, images=(one,))
    found = vitals(dataclasses.replace(agent, encoder=encoder), batch, config)
    maps = one.maps(batch.obs.images[0])
    alive = [own[..., output].std() > 0 for own in maps for output in range(32)]
    assert found.dead_encoder == pytest.approx(1 - np.mean(alive))
    assert found.dead_encoder == pytest.approx(31 / 128, abs=2 / 128)
    assert found.saturated_features == pytest.approx(0.5)
    assert found.encoder_gradient == 0
    _, after = updated(config)
    assert vitals(after, batch, config).encoder_gradient > 0
