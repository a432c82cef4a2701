"""Worlds whose values are known: the critic must find them, each in seconds."""

import gymnasium as gym
import numpy as np
import pytest

import qmu

GAMMA = 0.9
NETWORK = {"hidden_sizes": [32, 32], "lr": 3e-3}


class Known(gym.Env):
    """Episodes of `length` steps, reward 1 at `rewarded` steps; ends by time or by termination."""

    observation_space = gym.spaces.Box(0, 1, (4,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length, rewarded, terminates):
        self.length, self.rewarded, self.terminates = length, rewarded, terminates

    def observe(self):
        return np.eye(4, dtype=np.float32)[min(self.time, 3)]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        reward = float(self.time in self.rewarded)
        self.time += 1
        ended = self.time == self.length
        return self.observe(), reward, ended and self.terminates, ended and not self.terminates, {}


def learned_values(make, states, steps=2_500):
    """Train, and return the critics' mean values of some states under the policy."""
    model = qmu.DDPG(
        make,
        actor=NETWORK,
        critic=NETWORK,
        target={"gamma": GAMMA, "tau": 0.05},
        explore={"start_steps": 100},
        replay={"capacity": 3_000, "batch_size": 32},
    ).learn(steps)
    (members,) = model.trainer.learner.members
    obs = np.eye(4, dtype=np.float32)[list(states)]
    (actor,) = model.trainer.learner.actors(lag=False)
    import jax

    critics = jax.tree.map(lambda leaf: leaf[0], members.agents.critics)
    return np.asarray(critics(obs, actor(obs))).mean(axis=0)


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
