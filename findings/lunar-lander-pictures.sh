#!/usr/bin/env bash
# gymnasium 1.4.0 with box2d 2.3.10: LunarLander's picture depends on how often it was drawn before.
#
# Expected: `render` looks and changes nothing: the same seed and actions give the same picture, and so does a
# second look.
# Seen: observations are the same, pictures are not. Each look ages the exhaust's particles.
#
# It matters for training on pixels: a video that is made beside it changes what the policy sees.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet gymnasium==1.4.0 box2d==2.3.10 pygame==2.6.1 numpy==2.4.6

export SDL_VIDEODRIVER=dummy PYGAME_HIDE_SUPPORT_PROMPT=1
env/bin/python - >seen <<'END'
from importlib.metadata import version

import gymnasium as gym
import numpy as np


def flight(draws):
    """Return an observation after five steps, with so many pictures of each, and two pictures of it."""
    world = gym.make("LunarLander-v3", continuous=True, render_mode="rgb_array")
    world.reset(seed=0)
    for _ in range(5):
        obs, *_ = world.step(np.array([1.0, 0.0], np.float32))
        for _ in range(draws):
            world.render()
    pictures = world.render(), world.render()
    world.close()
    return obs, *pictures


def word(one, other):
    return "the same" if np.array_equal(one, other) else "different"


print("gymnasium", version("gymnasium"), "with box2d", version("box2d"))
print("expected: all the same")
obs, picture, again = flight(0)
obs_drawn, picture_drawn, _ = flight(1)
print("seen, observations of flights with and without pictures:", word(obs, obs_drawn))
print("seen, last pictures of flights with and without others:", word(picture, picture_drawn))
print("seen, two pictures of one moment:", word(picture, again))
END
cat seen
diff seen - <<'END'
gymnasium 1.4.0 with box2d 2.3.10
expected: all the same
seen, observations of flights with and without pictures: the same
seen, last pictures of flights with and without others: different
seen, two pictures of one moment: different
END
