"""Each rule speaks on a run that was made to have the disease, and is silent on a healthy one."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

import qmu
from qmu import cli, configure
from qmu.training import doctor, health
from qmu.training.doctor import diagnose, lines_of
from qmu.training.evaluate import Trace
from qmu.training.foresight import STATES, chosen, discounted, overestimation

BASE = {
    "actor": {"hidden_sizes": [32, 32]},
    "critic": {"hidden_sizes": [32, 32]},
    "replay": {"batch_size": 32},
    "explore": {"start_steps": 300},
    "train": {
        "total_steps": 3000,
        "eval_interval": 200,
        "eval_episodes": 2,
        "final_episodes": 1,
        "save_interval": 0,
    },
    "log": {"tensorboard": False, "interval": 200},
}


class Shaped(PendulumEnv):
    """A pendulum whose rewards and observations are something else."""

    def __init__(self, reward=None, obs=1.0):
        super().__init__()
        self.reward, self.factor, self.before = reward, np.float32(obs), 0.0
        if obs != 1.0:
            high = np.array([1, 1, 8 * obs], np.float32)
            self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.reward is not None:
            reward = self.reward(float(action[0]), self.before)
        self.before = float(action[0])
        return self.seen(obs), reward, terminated, truncated, info

    def reset(self, **given):
        obs, info = super().reset(**given)
        return self.seen(obs), info

    def seen(self, obs):
        return obs * np.array([1, 1, self.factor], np.float32)


def shaped(**given):
    return lambda: gym.wrappers.TimeLimit(Shaped(**given), 200)


PENDULUM = "Pendulum-v1"
MAD = {"actor": {"lr": 0.03, "preactivation_penalty": 0}, "critic": {"norm": "none"}}
# What is wrong -> in which world, with which options, it is.
DISEASES = {
    "saturated actor": (PENDULUM, MAD),
    "dead units": (PENDULUM, {"critic": {"lr": 0.3, "norm": "none"}}),
    "Q overestimates": (PENDULUM, MAD),
    "diverging Q": (
        PENDULUM,
        {
            "target": {"tau": 1.0, "smoothing_std": None},
            "critic": {
                **{"lr": 0.1, "lr_end": 1, "norm": "none", "activation": "elu"},
                **{"weights_init": "xavier", "final_range": 3.0},
            },
            "replay": {"n_step": 1},
        },
    ),
    "the critic predicts nothing": (PENDULUM, {"critic": {"lr": 100.0, "lr_end": 1}}),
    "exploding gradients": (PENDULUM, {"env": {"reward_scale": 1e5}}),
    "vanishing gradients": (
        PENDULUM,
        {"critic": {"lr": 0, "final_range": 1e-9}, "actor": {"preactivation_penalty": 0}},
    ),
    "hardly any exploration": (PENDULUM, {"explore": {"std": 0.001}}),
    "more noise than action": (PENDULUM, {"explore": {"std": 1.5}}),
    "no reward was found": (shaped(reward=lambda action, before: 0.0), {}),
    "targets move too fast": (PENDULUM, {"target": {"tau": 0.5}}),
    "few random steps": (PENDULUM, {"explore": {"start_steps": 50}}),
    "the replay is small": (PENDULUM, {"replay": {"capacity": 300}}),
    "observations of very different scales": (shaped(obs=1000.0), {}),
    "small rewards": (PENDULUM, {"env": {"reward_scale": 1e-4}}),
    "large rewards": (PENDULUM, {"env": {"reward_scale": 100}}),
    "worse without noise": (shaped(reward=lambda action, before: abs(action - before)), {}),
    "episodes end by the time limit only": (PENDULUM, {"env": {"episode_length": 50}}),
    "seeds disagree": (
        shaped(reward=lambda action, before: action),
        {"train": {"seeds": 4, "updates_per_step": 0.001}, "explore": {"start_steps": 500}},
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", DISEASES)
def test_a_disease_is_recognized(name, tmp_path):
    world, changes = DISEASES[name]
    options = configure.merge(configure.merge(BASE, changes), {"log": {"dir": str(tmp_path)}})
    try:
        run = qmu.train(world, **options)
    except qmu.DivergedError:
        run = qmu.open_run(next(tmp_path.glob("*/*/run.json")).parent)
    found = {diagnosis.finding.name: diagnosis.finding for diagnosis in diagnose(run)}
    assert name in found, (list(found), run.metrics()[-2:])
    assert "--" in found[name].advice
    assert found[name].sure in (health.CERTAIN, health.LIKELY, health.POSSIBLE)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "seeds"), [(PENDULUM, 2), ("InvertedPendulum-v5", 1)])
def test_a_healthy_run_has_nothing(world, seeds, tmp_path, capsys):
    steps = {"total_steps": 10_000, "eval_interval": 500, "seeds": seeds, "eval_episodes": 5}
    options = configure.merge(
        BASE,
        {
            "actor": {"hidden_sizes": [64, 64]},
            "critic": {"hidden_sizes": [64, 64]},
            "replay": {"batch_size": 64},
            "train": steps,
            "explore": {"start_steps": None},
            "log": {"dir": str(tmp_path)},
        },
    )
    run = qmu.train(world, **options)
    assert [one.finding for one in diagnose(run)] == []
    assert cli.main(["doctor", str(run.directory)]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out


def test_what_is_serious_is_said_once_while_the_run_goes_on(tmp_path):
    options = configure.merge(BASE, {"train": {"total_steps": 2400}, "log": {"dir": str(tmp_path)}})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = qmu.train(shaped(reward=lambda action, before: 0.0), **options)
    texts = [str(one.message) for one in said if "no reward" in str(one.message)]
    assert len(texts) == 1
    assert "Try more --explore.start-steps" in texts[0]
    lines = lines_of(diagnose(run))
    assert lines[0] == "SERIOUS: no reward was found (seed 0; certain)"


def test_returns_are_discounted_back_from_the_end():
    np.testing.assert_allclose(discounted(np.array([1.0, 2.0, 3.0]), 0.0, 0.5), [2.75, 3.5, 3.0])
    np.testing.assert_allclose(discounted(np.array([1.0, 2.0]), 8.0, 0.5), [4.0, 6.0])


def trace(*episodes):
    """Return what was seen in episodes of (rewards, terminated); observations count the steps."""
    seen = Trace()
    seen.begin(len(episodes))
    for index, (rewards, terminated) in enumerate(episodes):
        seen.rewards[index] = list(rewards)
        times = range(len(rewards) + 1)
        seen.obs[index] = [np.array([index, time], np.float32) for time in times]
        seen.terminated[index] = terminated
    return seen


def test_a_value_that_is_too_large_everywhere_is_too_large_by_that():
    # A reward of 1 for ever is worth 10; an episode of three steps that terminates 1.9 ** ... less.
    endless = trace(([1.0] * 40, False))
    found = overestimation(endless, lambda obs: np.full(len(obs), 13.0), 0.9, 1.0)
    assert found["health/q_bias"] == pytest.approx(3.0)
    ended = trace(([1.0] * 3, True))
    # Returns 2.71, 1.9, 1: their mean is 1.87.
    found = overestimation(ended, lambda obs: np.full(len(obs), 2.87), 0.9, 1.0)
    assert found["health/q_bias"] == pytest.approx(1.0)
    assert found["health/return_mean"] == pytest.approx(1.87)
    # Rewards that are scaled where they are learned from.
    found = overestimation(ended, lambda obs: np.full(len(obs), 18.7), 0.9, 10.0)
    assert found["health/q_bias"] == pytest.approx(0.0, abs=1e-9)


def test_of_many_states_some_are_chosen_from_all_episodes():
    assert chosen([2, 1]) == [(0, 0), (0, 1), (1, 0)]
    places = chosen([1000] * 10)
    assert len(places) <= STATES - 10
    assert {episode for episode, _ in places} == set(range(10))
    many = trace(*([([0.0] * 10, False)] * 400))
    assert overestimation(many, lambda obs: np.zeros(len(obs)), 0.9, 1.0)["health/q_bias"] == 0


def test_the_command_refuses_a_run_that_has_learned_nothing(tmp_path, capsys):
    options = configure.merge(
        BASE, {"train": {"updates_per_step": 0, "total_steps": 500}, "log": {"dir": str(tmp_path)}}
    )
    run = qmu.train(PENDULUM, **options)
    assert cli.main(["doctor", str(run.directory)]) == 2
    assert "nothing was learned" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([3], "seed 3"),
        ([0, 1], "seeds 0, 1"),
        ([2, 3, 4], "seeds 2 to 4"),
        ([0, 2, 3], "seeds 0, 2, 3"),
    ],
)
def test_seeds_are_named_in_short(seeds, words):
    assert doctor.spelled(seeds) == words
