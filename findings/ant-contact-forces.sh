#!/usr/bin/env bash
# gymnasium 1.4.0: the 78 contact forces that Ant-v5 shows are switches, and 24 of them never move.
#
# Expected: 78 graded forces and torques, 6 for each of 13 bodies, small and large ones.
# Seen: they are cut to -1..1 (newtons and newton meters), which the weight of the robot exceeds many times. Under
# random actions six of ten that are not 0 lie exactly at a bound. The 24 of the first body of each
# leg, which the torso keeps off the ground, are 0 in every step; those of the others in most.
#
# It matters because Ant-v4, which most published figures are for, shows 27 numbers and none of these. Where
# observations are normalized by their deviation, a number that is 0 in 99 of 100 steps becomes one of 10 in the
# other: half of what a network sees are such spikes. Give `contact_force_range`, or
# `include_cfrc_ext_in_observation=False`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet 'gymnasium[mujoco]==1.4.0' mujoco==3.17.0 numpy==2.4.6

cat >program.py <<'END'
import gymnasium
import numpy as np

world = gymnasium.make("Ant-v5")
generator = np.random.default_rng(0)
obs, _ = world.reset(seed=0)
seen = []
for _ in range(5_000):
    obs, _, terminated, truncated, _ = world.step(generator.uniform(-1, 1, 8))
    seen.append(obs)
    if terminated or truncated:
        world.reset()
forces = np.array(seen)[:, 27:]
moved = forces != 0
without = gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False)
print(f"numbers: {len(obs)}, without contact forces: {without.observation_space.shape[0]}")
print("contact forces that ever move: expected: 78; seen:", int(moved.any(axis=0).sum()))
print("largest size: expected: hundreds; seen:", np.abs(forces).max())
half = (np.abs(forces[moved]) == 1).mean() > 0.5
print("most of those that are not 0 lie at a bound: expected: False; seen:", bool(half))
print("0 in more than nine of ten steps: expected: few; seen:", int((moved.mean(axis=0) < 0.1).sum()))
END

env/bin/python -c 'from importlib.metadata import version; print("gymnasium", version("gymnasium"))' >seen
env/bin/python program.py >>seen
cat seen
diff seen - <<'END'
gymnasium 1.4.0
numbers: 105, without contact forces: 27
contact forces that ever move: expected: 78; seen: 54
largest size: expected: hundreds; seen: 1.0
most of those that are not 0 lie at a bound: expected: False; seen: True
0 in more than nine of ten steps: expected: few; seen: 72
END
