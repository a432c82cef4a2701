#!/usr/bin/env bash
# gymnasium 1.4.0: MaxAndSkipObservation ends an episode with an observation from before its end.
#
# Expected: the last observation of an episode is of its last steps: their maximum, pixel by pixel.
# Seen: where an episode ends within the skipped steps, the observation is the one returned before, up to
# a whole skip older. In an episode that ends within its first ones, it is one of the episode before.
#
# It matters where a time limit ends an episode: the value of the last observation is asked for, and it is
# another moment's.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet gymnasium==1.4.0 numpy==2.4.6

env/bin/python - >seen <<'END'
import gymnasium as gym
import numpy as np


class Clock(gym.Env):
    """Pictures whose pixels are the number of the episode, times 100, and of the step."""

    observation_space = gym.spaces.Box(0, 255, (2, 2, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,))

    def __init__(self, limits):
        self.limits, self.episode, self.time = limits, -1, 0

    def picture(self):
        return np.full((2, 2, 3), 100 * self.episode + self.time, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self.picture(), {}

    def step(self, action):
        self.time += 1
        return self.picture(), 0.0, False, self.time == self.limits[self.episode], {}


print("gymnasium", gym.__version__)
LIMITS = (8, 6, 2)
world = gym.wrappers.MaxAndSkipObservation(Clock(LIMITS), skip=4)
for episode, limit in enumerate(LIMITS):
    world.reset()
    ended = False
    while not ended:
        obs, _, _, ended, _ = world.step(np.zeros(1, np.float32))
    seen = divmod(int(obs.max()), 100)
    print(f"expected: episode {episode}, step {limit}; seen: episode {seen[0]}, step {seen[1]}")
END
cat seen
diff seen - <<'END'
gymnasium 1.4.0
expected: episode 0, step 8; seen: episode 0, step 8
expected: episode 1, step 6; seen: episode 1, step 4
expected: episode 2, step 2; seen: episode 1, step 4
END
