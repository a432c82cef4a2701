#!/usr/bin/env bash
# MuJoCo 3.17.0 with Gymnasium 1.4.0: a simulation that becomes unstable begins anew inside of a step.
#
# Expected: a step of a world raises, ends the episode, or goes on from where it was.
# Seen: `mj_step` resets the state when an acceleration is too large, writes a line into MUJOCO_LOG.TXT, and
# returns as ever. The environment's step returns the first state of a new simulation as the successor of the
# last one, with terminated and truncated False; only the simulation's clock, and a counter of warnings, tell.
#
# It matters for learning: such rows are transitions that no physics made. Looking at `data.time`, or at
# `data.warning`, after each step finds them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet 'gymnasium[mujoco]==1.4.0' mujoco==3.17.0

cat >hinge.xml <<'END'
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="hinge" type="hinge" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.05"/>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="1e10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
END

env/bin/python - >seen 2>said <<'END'
import os

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv


class Hinge(MujocoEnv):
    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"], "render_fps": 100}

    def __init__(self):
        space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        super().__init__(os.path.abspath("hinge.xml"), 1, observation_space=space)

    def step(self, action):
        self.do_simulation(action, self.frame_skip)
        return np.concatenate([self.data.qpos, self.data.qvel]), 0.0, False, False, {}

    def reset_model(self):
        return np.concatenate([self.data.qpos, self.data.qvel])


world = Hinge()
world.reset(seed=0)
back, ended = 0, False
before = world.data.time
for _ in range(100):
    _, _, terminated, truncated, _ = world.step(np.ones(1))
    ended |= terminated or truncated
    back += world.data.time <= before
    before = world.data.time
counted = world.data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number > 0
print("gymnasium", gym.__version__, "mujoco", mujoco.__version__)
print("expected: the clock goes on, or the episode ends")
print("seen: the clock went back in", "many" if back > 10 else back, "of 100 steps; ended:", ended)
print("seen: MuJoCo has counted bad accelerations:", counted)
END
cat seen
diff seen - <<'END'
gymnasium 1.4.0 mujoco 3.17.0
expected: the clock goes on, or the episode ends
seen: the clock went back in many of 100 steps; ended: False
seen: MuJoCo has counted bad accelerations: True
END
