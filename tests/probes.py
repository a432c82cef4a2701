"""Worlds whose every observation, reward and end is known beforehand."""

import gymnasium as gym
import numpy as np
import pytest

LOW, HIGH = -2.0, 6.0
# `make_vec` of Gymnasium 1.2 and 1.3 keeps no list of what makes its environments.
LISTED = pytest.mark.skipif(
    tuple(map(int, gym.__version__.split(".")[:2])) < (1, 4), reason="needs Gymnasium 1.4"
)


class Counter(gym.Env):
    """Counts its steps: an observation is (episode, time), a reward is the action.

    Episode e has `lengths[e % len(lengths)]` steps. A seed is the number of the next episode.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gym.spaces.Box(LOW, HIGH, (1,))

    def __init__(self, lengths=(3,), terminates=True, reuse=False):
        self.lengths = lengths
        self.terminates = terminates
        self.reuse = reuse
        self.buffer = np.zeros(2, np.float32)
        self.episode, self.time = -1, 0

    def reset(self, *, seed=None, options=None):
        self.episode = self.episode + 1 if seed is None else seed
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        self.time += 1
        ended = self.time >= self.lengths[self.episode % len(self.lengths)]
        reward = float(action[0])
        return self.observe(), reward, ended and self.terminates, ended and not self.terminates, {}

    def observe(self):
        """Return the observation; with `reuse`, always in the same array, as some worlds do."""
        buffer = self.buffer if self.reuse else np.zeros(2, np.float32)
        buffer[:] = self.episode, self.time
        return buffer
