#!/usr/bin/env bash
# gymnasium-robotics 1.4.2: rewards of a batch of goals are not those of its rows.
#
# Expected: `compute_reward` of arrays gives each row's reward, as it does in Fetch (hindsight calls it so), and
# `compute_terminated` a truth value for each row.
# Seen: in the hand's pen worlds every row of a batch has another reward than alone: where the turn about the pen's own
# axis is ignored, it is the third row's angles that are overwritten and not every row's third
# angle. `compute_terminated` gives one truth value for a batch, in Fetch, too.
#
# It matters for hindsight: relabelled goals get wrong rewards, silently.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet gymnasium-robotics==1.4.2 gymnasium==1.4.0 mujoco==3.11.0 numpy==2.4.6

env/bin/python -W ignore - >seen <<'END'
import warnings
from importlib.metadata import version

import gymnasium as gym
import gymnasium_robotics
import numpy as np

gym.register_envs(gymnasium_robotics)
ROWS = 32


def goals(world):
    """Return achieved and desired goals of episodes' beginnings [rows, goal]."""
    first = [world.reset(seed=seed)[0] for seed in range(ROWS)]
    return [np.stack([obs[f"{name}_goal"] for obs in first]) for name in ("achieved", "desired")]


print("gymnasium-robotics", version("gymnasium-robotics"), "with mujoco", version("mujoco"))
print(f"expected: 0 of {ROWS} rewards differ from those row by row; {ROWS} truth values")
for name in ("FetchReachDense-v4", "HandManipulateEggDense-v1", "HandManipulatePenDense-v1"):
    world = gym.make(name).unwrapped
    achieved, desired = goals(world)
    together = world.compute_reward(achieved, desired, {})
    alone = [world.compute_reward(*row, {}) for row in zip(achieved, desired, strict=True)]
    differ = np.sum(~np.isclose(together, alone, atol=1e-5))
    truths = np.size(world.compute_terminated(achieved, desired, {}))
    print(f"seen, {name}: {differ} differ; {truths} truth value{'s' if truths > 1 else ''}")
END
cat seen
diff seen - <<'END'
gymnasium-robotics 1.4.2 with mujoco 3.11.0
expected: 0 of 32 rewards differ from those row by row; 32 truth values
seen, FetchReachDense-v4: 0 differ; 1 truth value
seen, HandManipulateEggDense-v1: 0 differ; 1 truth value
seen, HandManipulatePenDense-v1: 32 differ; 1 truth value
END
