#!/usr/bin/env bash
# jax 0.10.2 and torch 2.13.0: exactly at a bound, functions that are equal have four gradients.
#
# Expected: one gradient at x = 1 for the functions that hold x between -1 and 1.
# Seen: 0.5 of jnp.clip, 0 of lax.clamp, 1 of jax.nn.hard_tanh and torch.clamp, 0 of torch's hardtanh. Both
# libraries contradict themselves.
#
# It matters where actions lie at their bounds: an action that may come back from there in one library
# is stuck in the other, and a port of a loss has other gradients.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet torch==2.13.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import jax
import jax.numpy as jnp
import torch

print("jax", jax.__version__, "and torch", torch.__version__.partition("+")[0])
print("expected: one gradient at the bound")
FUNCTIONS = {
    "jnp.clip": lambda x: jnp.clip(x, -1.0, 1.0),
    "lax.clamp": lambda x: jax.lax.clamp(-1.0, x, 1.0),
    "jax.nn.hard_tanh": jax.nn.hard_tanh,
}
for name, function in FUNCTIONS.items():
    print(f"seen, {name}: {jax.grad(function)(1.0):.1f}")
for function in (torch.clamp, torch.nn.functional.hardtanh):
    x = torch.tensor(1.0, requires_grad=True)
    function(x, -1.0, 1.0).backward()
    print(f"seen, torch's {function.__name__}: {x.grad:.1f}")
END
cat seen
diff seen - <<'END'
jax 0.10.2 and torch 2.13.0
expected: one gradient at the bound
seen, jnp.clip: 0.5
seen, lax.clamp: 0.0
seen, jax.nn.hard_tanh: 1.0
seen, torch's clamp: 1.0
seen, torch's hardtanh: 0.0
END
