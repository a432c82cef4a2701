#!/usr/bin/env bash
# jax 0.10.2, CPU: orthogonal first weights of the same key are others on one core than on two.
#
# Expected: a key decides the first weights: jax's random numbers are the same everywhere.
# Seen: `jax.nn.initializers.orthogonal` factorizes a matrix with LAPACK, which divides its work among the cores:
# of a layer of 39200 x 50 the bits differ between a process with one core and one with two.
#
# It matters where a run is to be the same on a laptop and on a server: the random numbers are, and the
# network that begins is not.
set -euo pipefail

[ "$(nproc)" -ge 2 ] || { echo "two cores are needed"; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 scipy==1.17.0

export JAX_PLATFORMS=cpu
cat >draw.py <<'END'
import hashlib

import jax
import numpy as np

make = jax.nn.initializers.orthogonal()
for name, draw in {"normal": jax.random.normal, "orthogonal": make}.items():
    weights = np.asarray(draw(jax.random.key(0), (39200, 50)))
    print(name, hashlib.sha256(weights.tobytes()).hexdigest())
END
cores=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
taskset -c "$cores" env/bin/python draw.py >one
env/bin/python draw.py >two
{
  env/bin/python -c "import jax; print('jax', jax.__version__)"
  echo "expected: the same bits on one core and on two"
  echo "seen, normal: $([ "$(grep normal one)" = "$(grep normal two)" ] && echo the same || echo others)"
  echo "seen, orthogonal: $([ "$(grep orthogonal one)" = "$(grep orthogonal two)" ] && echo the same || echo others)"
} >seen
cat seen
diff seen - <<'END'
jax 0.10.2
expected: the same bits on one core and on two
seen, normal: the same
seen, orthogonal: others
END
