"""A world in which what is seen at the beginning decides what is right at the end.

    PYTHONPATH=benchmarks qmu train cues:Cue-v0 --env.kwargs "steps = 50" --preset memory ...

Nothing in between tells one cue from the other, so that whoever acts on what lies less far back has
forgotten it.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box


class Cue(gym.Env[Any, Any]):
    """Shows 1 or -1 once, and asks for half of it after so many steps.

    An observation is the cue, then zeros, and whether the action counts. The reward is how far that
    one is off, so that 0 is the best return; of those who have forgotten the cue, who do best with
    the action 0, it is -0.5.
    """

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, steps: int = 50) -> None:
        self.steps = steps
        self.time, self.cue = 0, 0.0

    def look(self) -> Any:
        """Return what is seen now."""
        shown = self.cue if self.time == 0 else 0.0
        return np.array([shown, self.time == self.steps], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Draw another cue."""
        super().reset(seed=seed)
        self.time, self.cue = 0, float(self.np_random.choice([-1.0, 1.0]))
        return self.look(), {}

    def step(self, action: Any) -> Any:
        """Go on by a step; the action counts in the last one."""
        counts = self.time == self.steps
        reward = -abs(float(action[0]) - 0.5 * self.cue) if counts else 0.0
        self.time += not counts
        return self.look(), reward, counts, False, {}


gym.register("Cue-v0", "cues:Cue")
