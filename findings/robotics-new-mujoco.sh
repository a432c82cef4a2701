#!/usr/bin/env bash
# gymnasium-robotics 1.4.2 with mujoco 4.0.0: pip puts them together, and the robots cannot be made.
#
# Expected: what pip installs, and finds nothing wrong with, works together.
# Seen: FetchReach-v4 and HandReach-v3 fail with an AssertionError that has no words; PointMaze works. With mujoco
# 3.11.0 they work.
#
# It matters to whoever installs the worlds without naming a version of mujoco.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet gymnasium-robotics==1.4.2 gymnasium==1.4.0 mujoco==4.0.0 numpy==2.4.6

env/bin/python - >seen <<'END'
import subprocess
import sys
import warnings
from importlib.metadata import version

PROGRAM = """
import sys
import gymnasium as gym, gymnasium_robotics
gym.register_envs(gymnasium_robotics)
try:
    gym.make(sys.argv[1]).reset(seed=0)
    print("works")
except AssertionError as error:
    print("AssertionError", repr(str(error)))
"""


def pip(*words):
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    return done.stdout.strip()


for mujoco in ("4.0.0", "3.11.0"):
    if mujoco != version("mujoco"):
        pip("uninstall", "--yes", "mujoco", "mujoco-core", "mujoco-studio")
        pip("install", "--quiet", f"mujoco=={mujoco}")
    print("gymnasium-robotics", version("gymnasium-robotics"), "with mujoco", version("mujoco"))
    print("expected: works; pip check:", pip("check"))
    for world in ("FetchReach-v4", "HandReach-v3", "PointMaze_UMaze-v3"):
        words = [sys.executable, "-W", "ignore", "-c", PROGRAM, world]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        print(f"seen, {world}:", done.stdout.strip().splitlines()[-1])
END
cat seen
diff seen - <<'END'
gymnasium-robotics 1.4.2 with mujoco 4.0.0
expected: works; pip check: No broken requirements found.
seen, FetchReach-v4: AssertionError ''
seen, HandReach-v3: AssertionError ''
seen, PointMaze_UMaze-v3: works
gymnasium-robotics 1.4.2 with mujoco 3.11.0
expected: works; pip check: No broken requirements found.
seen, FetchReach-v4: works
seen, HandReach-v3: works
seen, PointMaze_UMaze-v3: works
END
