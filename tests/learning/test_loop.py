"""Collecting while learning: due updates, start steps, lag, determinism, overlap."""

import subprocess
import sys
import threading

import gymnasium as gym
import jax
import numpy as np
import pytest
from probes import Counter

from qmu.errors import ConfigError, DivergedError
from qmu.learning.loop import Evaluated, Logged, Trainer
from qmu.replay.stream import LAST
from qmu.world.make import find_maker


def make_trainer(tiny_config, source="Pendulum-v1", **changes):
    config = tiny_config(**changes)
    return Trainer(config, find_maker(source, config.env.episode_length))


def run(trainer, steps, **keywords):
    return list(trainer.run(steps, **keywords))


def stored(trainer):
    """Return the first member's rows, in time order."""
    stream = trainer.learner.members[0].stream
    size = int(stream.size[0, 0])
    return np.asarray(stream.numbers[0, 0, :size]), np.asarray(stream.flags[0, 0, :size])


@pytest.mark.parametrize(
    ("rate", "updates"), [(0.25, 22), (0.1, 9), (1, 90), (3, 270), (0.3333, 29)]
)
def test_fractions_and_multiples_of_updates_per_step(tiny_config, rate, updates):
    trainer = make_trainer(
        tiny_config, train={"updates_per_step": rate, "learn_after": 10, "chunk": 7}
    )
    run(trainer, 100, evaluating=False)
    assert trainer.learner.updates == updates


def test_learning_begins_after_its_own_number_of_steps(tiny_config):
    trainer = make_trainer(
        tiny_config, explore={"start_steps": 10}, train={"learn_after": 40, "chunk": 10}
    )
    run(trainer, 40, evaluating=False)
    assert trainer.learner.updates == 0
    run(trainer, 10, evaluating=False)
    assert trainer.learner.updates == 10


def test_learning_without_random_steps_begins_with_the_first_batch(tiny_config):
    trainer = make_trainer(tiny_config, replay={"batch_size": 8}, train={"chunk": 4})
    run(trainer, 12, evaluating=False)
    assert trainer.learner.updates == 4


def test_the_first_actions_are_uniform_and_the_others_follow_the_policy(tiny_config):
    trainer = make_trainer(
        tiny_config,
        replay={"capacity": 600},
        explore={"start_steps": 300, "std": 0.0},
        train={"updates_per_step": 0},
    )
    run(trainer, 400, evaluating=False)
    rows, flags = stored(trainer)
    rows = rows[flags & 2 == 0]
    random, chosen = rows[:300, 3], rows[300:400]
    assert abs(random.mean()) < 0.15
    assert 0.5 < random.std() < 0.65
    (actor,) = trainer.learner.actors(lag=False)
    np.testing.assert_allclose(actor(chosen[:, :3])[:, 0], chosen[:, 3], atol=1e-5)


def test_noise_has_the_wanted_mean_and_deviation(tiny_config):
    trainer = make_trainer(
        tiny_config,
        replay={"capacity": 2_100},
        explore={"mean": 0.1, "std": 0.05},
        train={"updates_per_step": 0},
    )
    run(trainer, 2_000, evaluating=False)
    rows, flags = stored(trainer)
    rows = rows[flags & 2 == 0]
    (actor,) = trainer.learner.actors(lag=False)
    noise = rows[:, 3] - actor(rows[:, :3])[:, 0]
    inside = np.abs(rows[:, 3]) < 0.99
    assert noise[inside].mean() == pytest.approx(0.1, abs=0.01)
    assert noise[inside].std() == pytest.approx(0.05, abs=0.005)


def test_with_overlap_a_chunk_acts_with_the_actor_before_the_last(tiny_config):
    acted = {}
    for overlap in (True, False):
        trainer = make_trainer(
            tiny_config,
            explore={"start_steps": 0, "std": 0.0},
            train={"chunk": 8, "overlap": overlap, "learn_after": 8},
        )
        actors = []
        for _ in range(4):
            actors.append(trainer.learner.actors(lag=False)[0])
            run(trainer, 8, evaluating=False)
        rows, _ = stored(trainer)
        acted[overlap] = [
            [np.allclose(actor(row[:, :3])[:, 0], row[:, 3], atol=1e-6) for actor in actors]
            for row in np.split(rows, 4)
        ]
    assert acted[False][3][3]
    assert acted[True][3][2]
    assert not acted[True][3][3]


def test_a_chunk_of_one_without_overlap_is_the_textbook_loop(tiny_config):
    trainer = make_trainer(tiny_config, train={"chunk": 1, "overlap": False, "learn_after": 4})
    run(trainer, 10, evaluating=False)
    assert trainer.learner.updates == 6


def test_several_worlds_share_the_budget(tiny_config):
    trainer = make_trainer(tiny_config, env={"count": 3}, train={"learn_after": 6})
    run(trainer, 30, evaluating=False)
    assert trainer.step == 30
    assert trainer.learner.updates == 24
    assert trainer.learner.members[0].stream.size.tolist() == [[10, 10, 10]]


def test_evaluations_and_logs_come_exactly_when_due(tiny_config):
    trainer = make_trainer(
        tiny_config,
        env={"episode_length": 20},
        train={"eval_interval": 50, "eval_episodes": 1, "chunk": 32},
        log={"interval": 30},
    )
    events = run(trainer, 120)
    assert [event.step for event in events if isinstance(event, Evaluated)] == [50, 100]
    assert [event.step for event in events if isinstance(event, Logged)] == [30, 60, 90, 120]


def test_rollout_metrics_are_means_over_finished_episodes(tiny_config):
    trainer = make_trainer(tiny_config, env={"episode_length": 20}, log={"interval": 50})
    logged = [event for event in run(trainer, 50) if isinstance(event, Logged)]
    (values,) = logged[0].members
    assert values["rollout/episodes"] == 2
    assert values["rollout/ep_len_mean"] == 20
    rows, flags = stored(trainer)
    rewards = rows[flags & 2 == 0][:40, -1]
    assert values["rollout/ep_rew_mean"] == pytest.approx(rewards.sum() / 2, rel=1e-5)


def test_the_program_is_compiled_once(tiny_config):
    trainer = make_trainer(tiny_config, train={"seeds": 3, "chunk": 8, "updates_per_step": 0.7})
    run(trainer, 101, evaluating=False)
    assert trainer.learner.compiled._cache_size() == len(trainer.learner.groups)


PRINT_WEIGHTS = """
import hashlib, jax, sys
from qmu import config as options
from qmu.config import reading
from qmu.learning.loop import Logged, Trainer
from qmu.world.make import find_maker

config = reading.from_dict({
    "actor": {"hidden_sizes": [64, 64]}, "critic": {"hidden_sizes": [64, 64]},
    "explore": {"start_steps": 64}, "train": {"seeds": 2, "seed": 5}, "log": {"interval": 64},
})
trainer = Trainer(config, find_maker("Pendulum-v1"))
events = [event for event in trainer.run(320, evaluating=False) if isinstance(event, Logged)]
digest = hashlib.sha256()
for members in trainer.learner.members:
    for leaf in jax.tree.leaves(jax.device_get(members.agents)):
        digest.update(leaf.tobytes())
for event in events:
    for values in event.members:
        digest.update(repr(sorted((k, v) for k, v in values.items() if k != "time/fps")).encode())
print(digest.hexdigest())
"""


@pytest.mark.long
def test_the_same_seed_gives_the_same_bits_in_two_processes():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_WEIGHTS], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_another_seed_gives_other_weights(tiny_config):
    trainers = [make_trainer(tiny_config, train={"seed": seed}) for seed in (1, 2)]
    first, second = (trainer.learner.actors(lag=False)[0] for trainer in trainers)
    assert not np.allclose(first.weights[0], second.weights[0])


@pytest.mark.long
def test_acting_proceeds_while_a_chunk_is_learned(tiny_config):
    trainer = make_trainer(
        tiny_config,
        actor={"hidden_sizes": [256, 256]},
        critic={"hidden_sizes": [256, 256]},
        replay={"batch_size": 256, "capacity": 1_000},
        train={"updates_per_step": 4, "learn_after": 64, "chunk": 32},
    )
    run(trainer, 128, evaluating=False)
    trainer.learner.actors(lag=False)
    trainer.advance(32)
    worked = threading.Event()
    waiting = threading.Thread(
        target=lambda: (jax.block_until_ready(trainer.learner.newest), worked.set())
    )
    waiting.start()
    networks, explore = trainer.learner.actors(lag=True), trainer.config.explore
    trainer.crew.collect(32, trainer.step, networks, [explore], random_steps=0)
    assert not worked.is_set(), "the 128 updates ended before 32 steps were taken beside them"
    waiting.join()


class Diverging(gym.Env):
    """Rewards that no learning rate survives."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.ones(2, np.float32), 1e30, False, False, {}


def test_weights_that_are_not_finite_end_the_run_with_a_reason(tiny_config):
    trainer = make_trainer(
        tiny_config, source=Diverging, actor={"lr": 1e30}, critic={"lr": 1e30, "norm": "none"}
    )
    with pytest.raises(DivergedError, match=r"seed 0 diverged.*Lower --actor\.lr"):
        run(trainer, 2_000, evaluating=False)


def test_an_evaluation_does_not_take_place_with_weights_that_are_not_finite(tiny_config):
    trainer = make_trainer(
        tiny_config, source=Diverging, actor={"lr": 1e30}, critic={"lr": 1e30, "norm": "none"}
    )
    while all(np.isfinite(net.weights[0]).all() for net in trainer.learner.actors(lag=False)):
        trainer.advance(32)
    with pytest.raises(DivergedError):
        trainer.evaluate()


def test_an_interrupted_trainer_goes_on_with_true_transitions(tiny_config):
    trainer = make_trainer(
        tiny_config,
        source=lambda: Counter(lengths=[10**6]),
        replay={"capacity": 1_000},
        train={"chunk": 32},
    )
    run(trainer, 64, evaluating=False)
    executed = Counter.step

    def stop(world, action):
        if world.time == 80:
            raise KeyboardInterrupt
        return executed(world, action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counter, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(trainer, 64, evaluating=False)
    assert not trainer.crew.running
    run(trainer, 64, evaluating=False)
    rows, flags = stored(trainer)
    assert np.flatnonzero(flags & LAST).tolist() == [64]
    # The interrupted episode ends with what it had come to, and the next one begins.
    assert rows[:, 1].tolist() == [*range(65), *range(64)]


def test_a_stream_that_does_not_fit_is_refused_before_it_is_made(tiny_config):
    with pytest.raises(ConfigError, match=r"GiB free: lower --replay\.capacity"):
        make_trainer(tiny_config, replay={"capacity": 10**12})


def test_a_gpu_that_is_not_there_is_named(tiny_config):
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="JAX finds no such device"):
        make_trainer(tiny_config, train={"device": "gpu"})
