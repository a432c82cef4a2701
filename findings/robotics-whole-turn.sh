#!/usr/bin/env bash
# gymnasium-robotics 1.4.2: a block that lies exactly as it should can be a whole turn away.
#
# Expected: a quaternion and its negative are the same rotation, so the distance between them is 0 and
# the goal is reached.
# Seen: HandManipulateBlock counts the angle between them as 2 pi: the reward says failed, the dense reward
# is as low as a rotation can make it. The simulator may give either sign.
#
# It matters for learning (equal states, unequal rewards) and for whoever makes goals from quaternions.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet gymnasium-robotics==1.4.2 gymnasium==1.4.0 mujoco==3.11.0 numpy==2.4.6

env/bin/python -W ignore - >seen <<'END'
from importlib.metadata import version

import gymnasium as gym
import gymnasium_robotics
import mujoco
import numpy as np

gym.register_envs(gymnasium_robotics)


def matrix(quaternion):
    out = np.empty(9)
    mujoco.mju_quat2Mat(out, quaternion)
    return out


sparse = gym.make("HandManipulateBlock-v1").unwrapped
dense = gym.make("HandManipulateBlockDense-v1").unwrapped
goal = sparse.reset(seed=0)[0]["desired_goal"]
other = np.concatenate([goal[:3], -goal[3:]])
assert np.array_equal(matrix(goal[3:]), matrix(other[3:]))
print("gymnasium-robotics", version("gymnasium-robotics"), "with mujoco", version("mujoco"))
print("expected of the same rotation: reached, reward 0")
for name, achieved in (("the goal itself", goal), ("its negative quaternion", other)):
    reached = bool(sparse._is_success(achieved, goal))
    rewards = [abs(world.compute_reward(achieved, goal, {})) for world in (sparse, dense)]
    word = "reached" if reached else "not reached"
    print(f"seen, {name}: {word}, reward -{rewards[0]:.0f}, dense -{rewards[1]:.3f}")
END
cat seen
diff seen - <<'END'
gymnasium-robotics 1.4.2 with mujoco 3.11.0
expected of the same rotation: reached, reward 0
seen, the goal itself: reached, reward -0, dense -0.000
seen, its negative quaternion: not reached, reward -1, dense -6.283
END
