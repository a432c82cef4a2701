"""A world in which what is seen at the beginning decides what is right at the end."""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box


class Cue(gym.Env):
    """Shows 1 or -1 once, then noise, and rewards the action that repeats it after `steps` steps.

    An observation is the cue, noise, and whether the next action counts. Whoever has forgotten the
    cue does best with 0, which has a return of -1; the best return is 0.
    """

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, steps=8):
        self.steps = steps

    def look(self):
        shown = self.cue if self.time == 0 else 0.0
        return np.float32([shown, self.np_random.uniform(-1, 1), self.time == self.steps])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.cue = 0, self.np_random.choice([-1.0, 1.0])
        return self.look(), {}

    def step(self, action):
        counts = self.time == self.steps
        reward = -abs(float(action[0]) - self.cue) if counts else 0.0
        self.time += not counts
        return self.look(), reward, counts, False, {}
