"""Networks of the user's own: they learn, act, are saved and gone on with, or are refused."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu import cli
from qmu.agent.custom import CustomActor, CustomCritic, makers_of
from qmu.agent.update import Acting
from qmu.config import reading
from qmu.layout import Layout
from qmu.learning.custom import CustomNetwork, check_options
from qmu.learning.loop import Trainer
from qmu.watching.console import Console
from qmu.world.make import find_maker


class Actor(eqx.Module):
    """A perceptron of Equinox, which holds functions among its leaves, for batches."""

    body: eqx.nn.MLP
    scale: float = eqx.field(static=True)

    def __init__(self, key, obs_size, action_size):
        self.body = eqx.nn.MLP(obs_size, action_size, 8, 1, activation=lambda x: x**2, key=key)
        self.scale = 0.5

    def __call__(self, obs):
        return self.scale * jax.vmap(self.body)(obs)


class Critic(eqx.Module):
    """A value of products of observation and action."""

    weight: jax.Array
    bias: jax.Array

    def __init__(self, key, obs_size, action_size):
        self.weight = 0.1 * jax.random.normal(key, (obs_size + 1, action_size + 1))
        self.bias = np.zeros((), np.float32)

    def __call__(self, obs, action):
        ones = jnp.ones((len(obs), 1))
        rows, columns = (jnp.concatenate([one, ones], axis=-1) for one in (obs, action))
        return jnp.sum((rows @ self.weight) * columns, axis=-1) + self.bias


BOTH = qmu.Networks(actor=Actor, critic=Critic)
# What belongs to the built-in layers stays at its defaults.
SMALL = reading.merge(
    {name: values for name, values in runs.SMALL.items() if name not in ("actor", "critic")},
    {"train": {"total_steps": 120, "schedule_steps": 120}},
)


def options(folder, changes=()):
    base = reading.merge(SMALL, {"log": {"dir": str(folder)}})
    return reading.merge(base, dict(changes))


def train(folder, networks=BOTH, world="Pendulum-v1", callbacks=(), **changes):
    return qmu.train(world, networks=networks, callbacks=callbacks, **options(folder, changes))


def make_trainer(networks, **groups):
    config = reading.from_dict(reading.merge(SMALL, groups))
    return Trainer(config, find_maker("Pendulum-v1"), networks=networks)


def test_custom_networks_learn_and_act(tmp_path):
    run = train(tmp_path, train={"seeds": 2})
    assert run.info["status"] == "finished"
    assert run.info["networks"] == ["actor", "critic"]
    policy = run.policy(1)
    assert isinstance(policy.network, CustomNetwork)
    action = policy(np.zeros((3, 3)))
    assert action.shape == (3, 1)
    assert np.abs(action).max() <= 2
    names = set().union(*(line for line in run.metrics() if line["member"] == "seed-1"))
    assert "health/preactivation" in names
    # Nothing is known of layers.
    assert not names & {"health/dead_actor", "health/dead_critic"}


@pytest.mark.long
def test_a_built_in_network_beside_one_of_the_users_own(tmp_path):
    for name, networks in (
        ("actor", qmu.Networks(actor=Actor)),
        ("critic", qmu.Networks(critic=Critic)),
    ):
        run = train(tmp_path / name, networks)
        assert run.info["networks"] == [name]
        assert run.info["status"] == "finished"
    # A built-in actor needs nobody's function to be read.
    assert qmu.open_run(run.directory).policy()(np.zeros(3)).shape == (1,)


@pytest.mark.long
def test_a_custom_network_that_is_the_built_in_one_learns_the_same():
    """The built-in layers, given as the user's own, lead to the same agent but for rounding."""
    from qmu.agent.initial import init_actor, init_critic
    from qmu.config import Actor as ActorOptions
    from qmu.config import Critic as CriticOptions

    class Own(eqx.Module):
        layers: eqx.Module

        def __call__(self, *inputs):
            critic = len(inputs) == 2
            return self.layers(*inputs) if critic else self.layers.preactivation(*inputs)

    settings = {"hidden_sizes": (8,), "norm": "layer"}
    own = qmu.Networks(
        actor=lambda key, obs, action: Own(
            init_actor(key, obs, action, ActorOptions(hidden_sizes=(8,)))
        ),
        critic=lambda key, obs, action: Own(
            init_critic(key, obs, action, CriticOptions(**settings))
        ),
    )
    small = {"actor": {"hidden_sizes": [8]}, "critic": settings, "env": {"normalize_obs": True}}
    agents = []
    for trainer in (make_trainer(None, **small), make_trainer(own, env=small["env"])):
        list(trainer.run(120, evaluating=False))
        agents.append(jax.tree.leaves(jax.device_get(trainer.learner.members[0].agents)))
        trainer.close()
    assert len(agents[0]) == len(agents[1])
    for one, other in zip(*agents, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


SWITCHES = [
    {"critic": {"count": 3, "subset": 2}, "actor": {"climbs": "mean"}},
    {"critic": {"count": 2, "batches": "own", "l2": 1e-3}, "actor": {"interval": 2}},
    {
        "critic": {"count": 2, "batches": "regions", "bootstrap": "mean"},
        "actor": {"climbs": "mean"},
    },
    {"actor": {"optimizer": "adamw", "weight_decay": 0.01}, "critic": {"clip_norm": 1.0}},
    {"actor": {"optimizer": "sgd", "momentum": 0.9}, "target": {"smoothing": "shared"}},
    {"env": {"normalize_obs": True, "count": 2}, "replay": {"priorities": "td-error", "n_step": 1}},
    {"explore": {"noise": "ou", "epsilon": 0.1}, "train": {"overlap": False, "chunk": 1}},
]


@pytest.mark.long
@pytest.mark.parametrize("changes", some(SWITCHES, SWITCHES[1::4]), ids=str)
def test_they_combine_with_the_other_switches(changes):
    trainer = make_trainer(BOTH, **changes)
    before = trainer.actors(lag=False)[0].arrays()
    list(trainer.run(60, evaluating=False))
    after = trainer.actors(lag=False)[0].arrays()
    assert all(np.isfinite(one).all() for one in after.values())
    assert any((before[name] != after[name]).any() for name in after)
    assert trainer.learner.compiled._cache_size() == 1
    trainer.close()


def test_critics_of_ones_own_differ_from_each_other():
    trainer = make_trainer(BOTH, critic={"count": 2})
    makers = makers_of(BOTH, Layout(3), 1, trainer.config)
    first, second = trainer.learner.members[0].agents.critics.each
    assert isinstance(first, CustomCritic)
    assert (first.arrays.weight != second.arrays.weight).any()
    actor = makers.actor(jax.random.key(0), 3, 1, trainer.config.actor)
    assert isinstance(actor, CustomActor)
    trainer.close()


@pytest.mark.long
def test_the_same_seed_gives_the_same_run_and_a_resumed_one_is_the_uninterrupted_one(tmp_path):
    changes = {"env": {"normalize_obs": True}, "train": {"seeds": 2}}

    class Half(qmu.Callback):
        def on_save(self, moment, folder):
            return qmu.Stop("half") if moment.step == 60 else None

    whole = train(tmp_path / "whole", **changes).directory
    half = train(tmp_path / "half", callbacks=[Half()], **changes).directory
    again = qmu.resume(half, networks=BOTH)
    assert again.info["steps"] == 120
    assert runs.final_state(half) == runs.final_state(whole)
    assert runs.metrics(half) == runs.metrics(whole)
    np.testing.assert_array_equal(
        again.policy(0)(np.ones(3)), qmu.open_run(whole, networks=BOTH).policy(0)(np.ones(3))
    )


@pytest.mark.long
def test_what_made_a_network_has_to_be_at_hand(tmp_path, capsys):
    run = train(tmp_path)
    Console().summary(run)
    said = capsys.readouterr().out
    assert "qmu eval" not in said
    assert "networks=..." in said
    assert cli.main(["eval", str(run.directory)]) == 2
    assert "has a network of the user's own" in capsys.readouterr().err
    assert cli.main(["resume", str(run.directory), "--train.total-steps", "200"]) == 2
    assert "has networks of its own (actor and critic)" in capsys.readouterr().err
    with pytest.raises(qmu.ConfigError, match=r"qmu\.open_run\(RUN, networks=\.\.\.\)"):
        qmu.load_policy(run.directory / "best")
    opened = qmu.open_run(run.directory, networks=BOTH)
    np.testing.assert_array_equal(opened.policy()(np.ones(3)), run.policy()(np.ones(3)))
    assert opened.evaluate(2).lengths == (30, 30)
    other = qmu.Networks(
        actor=lambda *sizes: eqx.tree_at(
            lambda one: one.body, Actor(*sizes), eqx.nn.MLP(3, 1, 9, 1, key=sizes[0])
        )
    )
    with pytest.raises(qmu.ConfigError, match=r"was not made by this networks\.actor"):
        qmu.open_run(run.directory, networks=other).policy()
    both = qmu.Networks(actor=other.actor, critic=Critic)
    with pytest.raises(qmu.ConfigError, match="was not made by this actor and this critic of"):
        qmu.resume(run.directory, networks=both, total_steps=200, schedule_steps=200)
    with pytest.raises(qmu.ConfigError, match="give the same again"):
        qmu.resume(run.directory, networks=qmu.Networks(actor=Actor), total_steps=200)
    built_in = qmu.train(
        "Pendulum-v1", **options(tmp_path, {"actor": {"hidden_sizes": [8]}})
    ).directory
    with pytest.raises(qmu.ConfigError, match="has the built-in networks: leave out networks="):
        qmu.resume(built_in, networks=BOTH, total_steps=200)


def test_a_model_of_custom_networks_is_saved_and_loaded(tmp_path):
    model = qmu.TD3("Pendulum-v1", networks=BOTH, explore={"start_steps": 50}).learn(170)
    assert model.trainer.config.critic.count == 2
    model.save(tmp_path / "model")
    with pytest.raises(qmu.ConfigError, match=r"as load\(\.\.\., networks=\.\.\.\)"):
        qmu.DDPG.load(tmp_path / "model")
    loaded = qmu.DDPG.load(tmp_path / "model", networks=BOTH)
    assert type(loaded) is qmu.TD3
    obs = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(loaded.predict(obs)[0], model.predict(obs)[0])
    assert loaded.learn(32).steps == 202
    for one in (model, loaded):
        one.close()


@pytest.mark.long
def test_acting_proceeds_while_a_chunk_is_learned():
    trainer = make_trainer(
        qmu.Networks(actor=Actor),
        critic={"hidden_sizes": [256, 256]},
        replay={"batch_size": 256, "capacity": 1_000},
        explore={"start_steps": 0},
        train={"updates_per_step": 4, "learn_after": 64, "chunk": 32, "seeds": 1},
    )
    list(trainer.run(128, evaluating=False))
    trainer.learner.actors(lag=False)
    trainer.advance(32)
    worked = threading.Event()
    waiting = threading.Thread(
        target=lambda: (jax.block_until_ready(trainer.learner.newest), worked.set())
    )
    waiting.start()
    networks, explore = trainer.learner.actors(lag=True), trainer.config.explore
    trainer.crew.collect(32, trainer.step, networks, [explore], random_steps=0)
    beside = not worked.is_set()
    waiting.join()
    trainer.close()
    if trainer.learner.acting_device in [group.device for group in trainer.learner.groups]:
        pytest.skip("there is one CPU device only")
    assert beside, "the 128 updates ended before 32 steps were taken beside them"


def test_nobody_learns_where_the_actor_acts_unless_there_is_no_other_place():
    trainer = make_trainer(qmu.Networks(actor=Actor), train={"seeds": len(jax.devices("cpu"))})
    assert "acts where the learner works and waits for it" in trainer.note
    trainer.close()
    trainer = make_trainer(qmu.Networks(actor=Actor), train={"seeds": 1})
    if len(jax.devices("cpu")) > 1:
        assert trainer.note is None
        assert trainer.learner.acting_device not in {g.device for g in trainer.learner.groups}
    trainer.close()


@pytest.mark.long
def test_of_actors_that_are_gone_few_programs_are_kept():
    def program_of(power):
        def say(weight, obs):
            return (obs @ weight) ** power

        network = CustomNetwork(Acting(Weights(jnp.ones((3, 1)), say), None), Layout(3), 1)
        assert network(np.full((2, 3), 2, np.float32)) == pytest.approx(6.0**power)
        return weakref.ref(network.doing)

    programs = [program_of(power) for power in range(12)]
    gc.collect()
    assert sum(program() is not None for program in programs) <= 8


class Weights(eqx.Module):
    """A module of these arrays, which says what a function of it and its inputs says."""

    weight: object
    say: object = eqx.field(static=True)

    def __call__(self, *inputs):
        return self.say(self.weight, *inputs)


def made(say, weight=None):
    weight = jnp.ones((3, 1)) if weight is None else weight
    return lambda key, obs_size, action_size: Weights(weight, say)


def linear(weight, obs, action=None):
    return obs @ weight


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        (
            {"actor": Actor},
            r"networks must be qmu\.Networks\(actor=\.\.\., critic=\.\.\., encoder=\.\.\.\)",
        ),
        (qmu.Networks(actor=3), r"networks\.actor must be a function \(key, obs_size, action"),
        (qmu.Networks(actor=lambda key, obs_size: None), "takes other arguments: missing|too many"),
        (qmu.Networks(actor=lambda *sizes: 1 / 0), r"networks\.actor raised ZeroDivisionError"),
        (qmu.Networks(critic=lambda *sizes: jnp.ones(3)), "an equinox.Module is wanted"),
        (qmu.Networks(actor=made(linear, 1.0)), "a module without arrays: nothing can learn"),
        (
            qmu.Networks(actor=made(linear, jnp.ones((3, 1), jnp.int32))),
            r"has int32 numbers in \.weight",
        ),
        (
            qmu.Networks(actor=made(linear, np.full((3, 1), np.nan, np.float32))),
            r"begins with numbers in \.weight that are not finite",
        ),
        (
            qmu.Networks(actor=made(lambda weight, obs: (obs @ weight) / 0)),
            "says numbers that are not finite",
        ),
        (
            qmu.Networks(critic=made(linear)),
            r"returned float32\[5, 1\], and float32\[5\] is wanted",
        ),
        (
            qmu.Networks(actor=made(lambda weight, obs: (obs @ weight).astype(jnp.float16))),
            r"returned float16\[5, 1\]",
        ),
        (qmu.Networks(actor=made(lambda weight, obs: None)), "returned NoneType"),
        (
            qmu.Networks(actor=made(lambda weight, obs: obs @ weight[:2])),
            r"called with a batch \(5, 3\), raised TypeError",
        ),
        (
            qmu.Networks(actor=made(lambda weight, obs: obs @ weight - jnp.mean(obs))),
            "says something else of a row that is alone",
        ),
    ],
)
def test_what_is_no_network_is_refused_before_anything_is_written(tmp_path, networks, said):
    with pytest.raises(qmu.ConfigError, match=said):
        train(tmp_path, networks)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_differ_in_shape_from_key_to_key_are_refused(tmp_path):
    sizes = iter(range(4, 40))

    def growing(key, obs_size, action_size):
        return Weights(jnp.ones((3, next(sizes))), lambda weight, obs: (obs @ weight)[:, :1])

    with pytest.raises(qmu.ConfigError, match="all members and critics have to be alike"):
        train(tmp_path, qmu.Networks(actor=growing))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor": {"hidden_sizes": [8]}}, "actor.hidden_sizes is about the layers of the built"),
        ({"critic": {"norm": "none"}}, r"critic\.norm is about the layers"),
        ({"critic": {"action_layer": 1}}, r"critic\.action_layer is about"),
        ({"actor": {"body": "residual"}}, r"actor\.body is about the layers of the built-in"),
        ({"actor": {"input_norm": True}}, r"actor\.input_norm is about the layers"),
        ({"critic": {"weight_norm": True}}, r"critic\.weight_norm is about the layers"),
        ({"critic": {"input_norm": True, "joined": True}}, r"critic\.input_norm is about"),
        ({"target": {"smoothing": "weights"}}, r"target\.smoothing puts noise on an actor's"),
        ({"explore": {"parameter_distance": 0.2}}, r"explore\.parameter_distance puts noise"),
    ],
)
def test_options_that_cannot_hold_for_them_are_refused(tmp_path, changes, said):
    with pytest.raises(qmu.ConfigError, match=said):
        train(tmp_path, **changes)
    with pytest.raises(qmu.ConfigError, match=said):
        qmu.DDPG("Pendulum-v1", networks=BOTH, **changes)
    assert list(tmp_path.iterdir()) == []


def test_joined_batches_are_of_a_built_in_critic(tmp_path):
    recipe = reading.from_dict({"critic": {"norm": "batch"}})
    joined = reading.from_dict({"critic": {"norm": "batch", "joined": True}})
    with pytest.raises(qmu.ConfigError, match=r"critic\.joined is about the layers"):
        check_options(BOTH, {"critic": {"joined": True}}, joined)
    # Those of a recipe are passed over.
    check_options(BOTH, {}, joined)
    check_options(BOTH, {"critic": {}}, recipe)
    check_options(qmu.Networks(actor=Actor), {"critic": {"joined": True}}, joined)


class Logits(eqx.Module):
    """Says a distribution over so many bins."""

    body: eqx.nn.MLP

    def __init__(self, key, obs_size, action_size, bins=11):
        self.body = eqx.nn.MLP(obs_size + action_size, bins, 8, 1, key=key)

    def __call__(self, obs, action):
        return jax.vmap(self.body)(jnp.concatenate([obs, action], axis=-1))


@pytest.mark.parametrize("head", some(["categorical", "hl-gauss"], ["categorical"]))
def test_a_critic_of_ones_own_says_values_in_bins(head, tmp_path):
    bins = {"head": head, "bins": 11, "count": 2}
    run = train(tmp_path, qmu.Networks(critic=Logits), critic=bins)
    assert run.info["status"] == "finished"
    last = [line for line in run.metrics() if "train/beyond_bins" in line][-1]
    assert np.isfinite([last["train/q_mean"], last["train/beyond_bins"]]).all()


@pytest.mark.parametrize(
    ("critic", "options", "said"),
    [
        (Logits, {"head": "categorical", "bins": 12}, r"float32\[5, 11\], and float32\[5, 12\] is"),
        (Critic, {"head": "hl-gauss"}, r"returned float32\[5\], and float32\[5, 51\] is wanted"),
        (Logits, {}, r"returned float32\[5, 11\], and float32\[5\] is wanted"),
    ],
)
def test_a_critic_that_says_other_bins_is_refused(critic, options, said, tmp_path):
    with pytest.raises(qmu.ConfigError, match=said):
        train(tmp_path, qmu.Networks(critic=critic), critic=options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_options_at_their_defaults_and_those_of_a_recipe_are_ignored(tmp_path):
    run = train(tmp_path, actor={"hidden_sizes": [256, 256]}, critic={"norm": "layer"})
    assert run.info["status"] == "finished"
    model = qmu.TD3("Pendulum-v1", networks=BOTH)
    assert model.trainer.config.critic.hidden_sizes == (400, 300)
    model.close()


SPARE = """
import equinox as eqx, jax
import qmu
from qmu.config import reading
from qmu.learning.devices import cores
from qmu.learning.loop import Trainer
from qmu.world.make import find_maker

class Linear(eqx.Module):
    weight: jax.Array
    def __call__(self, obs):
        return obs @ self.weight

def make(key, obs_size, action_size):
    return Linear(jax.random.normal(key, (obs_size, action_size)))

seeds = cores()
config = reading.from_dict({"train": {"seeds": seeds}, "replay": {"capacity": 1000}})
trainer = Trainer(config, find_maker("Pendulum-v1"), networks=qmu.Networks(actor=make))
learning = [group.device for group in trainer.learner.groups]
print(trainer.note, len(learning) == seeds, trainer.learner.acting_device in learning)
"""


@pytest.mark.long
def test_a_process_that_begins_with_a_custom_actor_has_a_device_to_spare():
    said = subprocess.run(
        [sys.executable, "-c", SPARE],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "None True False"
