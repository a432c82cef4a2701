#!/usr/bin/env bash
# jax 0.10.2 on a CPU: a division by a constant is a product with its reciprocal.
#
# Expected: `x / 255` is the nearest float32 to the quotient, as IEEE 754 has it and NumPy computes it.
# Seen: 126 of the 256 values of a byte differ in their last bit, compiled or not. A product with one
# constant is the same in both libraries.
#
# It matters where pixels become numbers in JAX for training, and in NumPy or ONNX for acting.
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

pixels = np.arange(256, dtype=np.uint8)
numbers = pixels.astype(np.float32)
scale = np.float32(1 / 255)


def divided(x):
    return x.astype(jnp.float32) / 255


def multiplied(x):
    return x.astype(jnp.float32) * scale


print("jax", jax.__version__, "on", jax.default_backend())
print("expected: 0 of 256 quotients differ from NumPy's")
for name, function in (("compiled", jax.jit(divided)), ("not compiled", divided)):
    differ = np.sum(np.asarray(function(jnp.asarray(pixels))) != numbers / np.float32(255))
    print(f"seen, {name}: {differ} differ")
differ = np.sum(np.asarray(jax.jit(multiplied)(pixels)) != numbers * scale)
print(f"seen, products with a constant: {differ} differ")
END
cat seen
diff seen - <<'END'
jax 0.10.2 on cpu
expected: 0 of 256 quotients differ from NumPy's
seen, compiled: 126 differ
seen, not compiled: 126 differ
seen, products with a constant: 0 differ
END
