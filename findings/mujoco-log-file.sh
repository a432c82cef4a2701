#!/usr/bin/env bash
# gymnasium 1.4.0 with mujoco 4.0.0: making a world writes a file into the folder where one is.
#
# Expected: `gymnasium.make` leaves the working folder alone.
# Seen: HalfCheetah-v5 adds a line to MUJOCO_LOG.TXT there, about an option in Gymnasium's own model that
# will go; each further world adds another one. With mujoco 3.11.0 there is no file.
#
# It matters for working folders that are compared, read-only, or shared by many workers.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet 'gymnasium[mujoco]==1.4.0' mujoco==4.0.0 numpy==2.4.6

env/bin/python - >seen <<'END'
import os
import pathlib
import re
from importlib.metadata import version

import gymnasium as gym

os.mkdir("work")
os.chdir("work")
print("gymnasium", version("gymnasium"), "with mujoco", version("mujoco"))
print("expected: no file in the working folder")
for count in (1, 2):
    gym.make("HalfCheetah-v5").close()
    files = sorted(path.name for path in pathlib.Path().iterdir())
    lines = [line for path in files for line in open(path) if line.strip()]
    print(f"seen, worlds made {count}: {files}, lines {len(lines)}")
said = re.search(r" \d{4}: (.*) and will", lines[0])
print("seen:", said[1] if said else "another message")
END
cat seen
diff seen - <<'END'
gymnasium 1.4.0 with mujoco 4.0.0
expected: no file in the working folder
seen, worlds made 1: ['MUJOCO_LOG.TXT'], lines 1
seen, worlds made 2: ['MUJOCO_LOG.TXT'], lines 2
seen: compiler attribute 'settotalmass' is deprecated
END
