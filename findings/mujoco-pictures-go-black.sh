#!/usr/bin/env bash
# gymnasium 1.4.0 with mujoco 4.0.0: a world's pictures depend on the other worlds of the process.
#
# Expected: `render` shows its own world, whatever others do.
# Seen: as soon as an unlike world has drawn, a picture of an unchanged world differs. When that other
# world is closed, the first one's pictures are black. No error, no warning.
#
# It matters for several worlds of one process: vector environments, an evaluation beside a training.
#
# It needs OpenGL without a display: libegl1 and libgl1-mesa-dri of Debian, for example.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet 'gymnasium[mujoco]==1.4.0' mujoco==4.0.0 numpy==2.4.6

export MUJOCO_GL=egl
env/bin/python - >seen <<'END'
from importlib.metadata import version

import gymnasium as gym
import numpy as np


def make(name):
    world = gym.make(name, render_mode="rgb_array", width=64, height=64)
    world.reset(seed=0)
    return world


def look(world, before):
    picture = world.render()
    if not picture.any():
        return "black"
    return "the same" if np.array_equal(picture, before) else "another picture"


print("gymnasium", version("gymnasium"), "with mujoco", version("mujoco"))
print("expected of a world that is not stepped: always the same picture")
pendulum = make("InvertedPendulum-v5")
first = pendulum.render()
print("seen, drawn again:", look(pendulum, first))
hopper = make("Hopper-v5")
hopper.render()
print("seen, another world has drawn:", look(pendulum, first))
hopper.close()
print("seen, that one is closed:", look(pendulum, first))
END
cat seen
diff seen - <<'END'
gymnasium 1.4.0 with mujoco 4.0.0
expected of a world that is not stepped: always the same picture
seen, drawn again: the same
seen, another world has drawn: another picture
seen, that one is closed: black
END
