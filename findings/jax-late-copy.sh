#!/usr/bin/env bash
# jax 0.10.2 on a CPU: `jnp.array` returns before it has copied, and `device_put` may never copy.
#
# Expected: `jnp.array` copies, as its documentation says, so the NumPy array may be written to as soon as
# the call has returned; and an array of JAX's never changes.
# Seen: after `jnp.array` of 4 MB, a write to the NumPy array is in some of JAX's arrays, or in a part of them
# (which ones is a race: 45 of 200 on two cores). `device_put` of an array whose address is a multiple of 64
# shares its memory for good, also after `block_until_ready`.
#
# It matters where a buffer is used again: frames of a camera, batches of a loader. A copy by NumPy first
# (`jnp.array(x.copy())`) is safe, as nobody writes to it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import jax
import jax.numpy as jnp
import numpy as np

SIZE, TRIALS = 2**20, 400


def ones(offset):
    """Return ones in memory whose address is so far behind a multiple of 64."""
    raw = np.empty(4 * SIZE + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    values = raw[start : start + 4 * SIZE].view(np.float32)
    values[:] = 1
    return values


def changed(hand_over, offset):
    """Return in how many trials a later write is seen in JAX's array."""
    count = 0
    for _ in range(TRIALS):
        source = ones(offset)
        given = hand_over(source)
        source[:] = 2
        count += bool((np.asarray(given) != 1).any())
    return count


print("jax", jax.__version__, "on", jax.default_backend())
print("expected: no write to the NumPy array is seen")
print("seen after jnp.array:", "some writes" if changed(jnp.array, 16) else "none")
put = changed(lambda source: jax.device_put(source).block_until_ready(), 0)
print("seen after device_put and block_until_ready:", "all writes" if put == TRIALS else "not all")
print("seen after jnp.array of a copy:", changed(lambda source: jnp.array(source.copy()), 16))
END
cat seen
diff seen - <<'END'
jax 0.10.2 on cpu
expected: no write to the NumPy array is seen
seen after jnp.array: some writes
seen after device_put and block_until_ready: all writes
seen after jnp.array of a copy: 0
END
