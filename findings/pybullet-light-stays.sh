#!/usr/bin/env bash
# pybullet 3.2.7: the light that one picture asks for stays for all later ones.
#
# Expected: `lightColor` and its like are options of one call of `getCameraImage`; a call without them has
# the default light.
# Seen: a later call without them has the light of the call before, in a simulation that was reset, too. Only
# another connection begins anew.
#
# It matters for training on pixels with varied lights, and for tests that share a connection.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet pybullet==3.2.7 numpy==2.4.6

env/bin/python - 2>/dev/null >seen <<'END'
from importlib.metadata import version

import numpy as np
import pybullet as bullet

VIEW = bullet.computeViewMatrix([2, 2, 2], [0, 0, 0], [0, 0, 1])
LENS = bullet.computeProjectionMatrixFOV(60, 1, 0.1, 10)
DIM = {"lightColor": [0.2, 0.2, 0.2], "lightAmbientCoeff": 0.1, "lightDiffuseCoeff": 0.1}


def begin():
    red = {"rgbaColor": [1, 0, 0, 1], "halfExtents": [0.5, 0.5, 0.5]}
    shape = bullet.createVisualShape(bullet.GEOM_BOX, **red)
    bullet.createMultiBody(0, -1, shape)


def picture(**light):
    tiny = bullet.ER_TINY_RENDERER
    return np.reshape(bullet.getCameraImage(64, 64, VIEW, LENS, renderer=tiny, **light)[2], -1)


def word():
    seen = picture()
    known = {"default light": plain, "the light before": dim}
    return next((name for name, one in known.items() if np.array_equal(seen, one)), "another light")


bullet.connect(bullet.DIRECT)
begin()
plain = picture()
dim = picture(**DIM)
assert not np.array_equal(plain, dim)
print("pybullet", version("pybullet"))
print("expected of a picture that asks for no light: default light")
print("seen, after one that did:", word())
bullet.resetSimulation()
begin()
print("seen, simulation reset:", word())
bullet.disconnect()
bullet.connect(bullet.DIRECT)
begin()
print("seen, connected anew:", word())
END
cat seen
diff seen - <<'END'
pybullet 3.2.7
expected of a picture that asks for no light: default light
seen, after one that did: the light before
seen, simulation reset: the light before
seen, connected anew: default light
END
