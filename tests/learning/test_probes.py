"""Worlds whose values are known: the critic must find them, each in seconds."""

import gymnasium as gym
import jax
import numpy as np
import pytest
from budget import some

import qmu
from qmu.agent.update import in_rewards
from qmu.config import reading
from qmu.learning.learner import best_values
from qmu.report import maps

GAMMA = 0.9
NETWORK = {"hidden_sizes": [32, 32], "lr": 3e-3}


class Known(gym.Env):
    """Episodes of `length` steps, a reward at `rewarded` ones; ends by time or by termination."""

    observation_space = gym.spaces.Box(0, 1, (4,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length, rewarded, terminates, size=1.0):
        self.length, self.rewarded, self.terminates = length, rewarded, terminates
        self.size = size

    def observe(self):
        return np.eye(4, dtype=np.float32)[min(self.time, 3)]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        reward = self.size * (self.time in self.rewarded)
        self.time += 1
        ended = self.time == self.length
        return self.observe(), reward, ended and self.terminates, ended and not self.terminates, {}


def learned_values(make, states, steps=2_500, **options):
    """Train, and return the critics' mean values of some states under the policy, in rewards."""
    changed = {
        "actor": NETWORK,
        "critic": NETWORK,
        "target": {"gamma": GAMMA, "tau": 0.05},
        "explore": {"start_steps": 100},
        "replay": {"capacity": 3_000, "batch_size": 32},
    }
    model = qmu.DDPG(make, **reading.merge(changed, options)).learn(steps)
    (members,) = model.trainer.learner.members
    obs = np.eye(4, dtype=np.float32)[list(states)]
    (actor,) = model.trainer.learner.actors(lag=False)
    agent = jax.tree.map(lambda leaf: leaf[0], members.agents)
    values = np.asarray(in_rewards(agent, agent.critics(obs, actor(obs)))).mean(axis=0)
    # The same is what the doctor compares with returns.
    first = model.trainer.learner.values(0, obs)
    np.testing.assert_allclose(first, values, atol=0.1 * np.abs(values).max())
    model.close()
    return values


@pytest.mark.slow
def test_a_termination_ends_the_return():
    values = learned_values(lambda: Known(1, {0}, terminates=True), [0])
    np.testing.assert_allclose(values, [1.0], atol=0.05)


@pytest.mark.slow
def test_a_reward_is_discounted_by_every_step_before_it():
    values = learned_values(lambda: Known(3, {2}, terminates=True), [0, 1, 2])
    np.testing.assert_allclose(values, [GAMMA**2, GAMMA, 1.0], atol=0.06)


@pytest.mark.slow
def test_a_truncation_bootstraps_from_the_final_observation():
    # State 3 absorbs: it earns 1 a step forever, though every episode is cut after 8 steps.
    values = learned_values(lambda: Known(8, set(range(8)), terminates=False), [0, 3])
    np.testing.assert_allclose(values, [1 / (1 - GAMMA)] * 2, rtol=0.05)


@pytest.mark.slow
def test_the_same_world_that_terminates_is_worth_less():
    values = learned_values(lambda: Known(2, {0, 1}, terminates=True), [0, 1])
    np.testing.assert_allclose(values, [1 + GAMMA, 1.0], atol=0.08)


HEADS = {
    "categorical": {"critic": {"head": "categorical"}},
    "hl-gauss": {"critic": {"head": "hl-gauss"}},
    "normalized": {"env": {"normalize_rewards": True}, "critic": {"loss": "huber"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("size", some([1.0, 1e-6, 1e9], [1.0]))
@pytest.mark.parametrize("head", HEADS)
def test_values_are_those_of_rewards_of_any_size(head, size):
    """A reward before a termination, two steps behind: γ², γ and 1 of it."""
    values = learned_values(lambda: Known(3, {2}, True, size), [0, 1, 2], **HEADS[head])
    np.testing.assert_allclose(values / size, [GAMMA**2, GAMMA, 1.0], atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("head", some(list(HEADS), ["categorical"]))
def test_what_a_run_and_its_maps_say_of_values_is_in_rewards(head, tmp_path):
    """Two steps before a reward of a million it is worth γ² of that."""
    options = {
        "actor": NETWORK,
        "critic": NETWORK,
        "target": {"gamma": GAMMA, "tau": 0.05},
        "explore": {"start_steps": 100},
        "replay": {"capacity": 3_000, "batch_size": 32},
        "train": {"total_steps": 1_500, "eval_interval": 500, "eval_episodes": 2},
        "log": {"dir": str(tmp_path), "interval": 500, "tensorboard": False},
    }
    run = qmu.train(lambda: Known(3, {2}, True, 1e6), **reading.merge(options, HEADS[head]))
    last = [line for line in run.metrics() if "health/q_bias" in line][-1]
    expected = 1e6 * np.mean([GAMMA**2, GAMMA, 1.0])
    assert abs(last["health/q_bias"]) < 0.15 * expected
    assert last["health/return_mean"] == pytest.approx(expected, rel=1e-4)
    logged = [line for line in run.metrics() if "train/q_mean" in line][-1]
    assert logged["train/q_mean"] == pytest.approx(expected, rel=0.15)
    assert logged["health/q_std"] == pytest.approx(1e6 * np.std([0.81, 0.9, 1.0]), rel=0.4)
    assert logged["health/reward_std"] > 5e4
    # What the maps of a report show.
    agents, _ = maps.agents_of(run)
    states = np.eye(4, dtype=np.float32)[:3]
    values = np.asarray(best_values(agents, 0, states))
    np.testing.assert_allclose(values / 1e6, [GAMMA**2, GAMMA, 1.0], atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_values_beyond_a_truncation_lie_within_the_bins(head):
    values = learned_values(lambda: Known(8, set(range(8)), False), [0, 3], **HEADS[head])
    np.testing.assert_allclose(values, [1 / (1 - GAMMA)] * 2, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_a_world_that_terminates_is_worth_less_in_bins_too(head):
    values = learned_values(lambda: Known(2, {0, 1}, True, -1.0), [0, 1], **HEADS[head])
    np.testing.assert_allclose(values, [-1 - GAMMA, -1.0], atol=0.08)
