#!/usr/bin/env bash
# jax 0.10.2 on a CPU: in a loop, gates that are cut out of one array are computed far more slowly.
#
# Expected: a gated recurrent unit takes as long whether its three gates come as one array, which
# is cut up in each step as every textbook does, or as three arrays.
# Seen: cut up, sigmoid and tanh are what takes the time: without the product of the state, a loop
# of 64 steps takes more than twice as long, with it more than 1.4 times (12.4 and 1.8 ms, 16.4 and 6.0 on two cores
# of an EPYC of the fourth generation).
#
# It matters to everybody who writes a recurrent network with lax.scan: split the gates outside of it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import statistics
import sys
import time

import jax
import jax.numpy as jnp

TIME, BATCH, SIZE = 64, 64, 128
keys = jax.random.split(jax.random.key(0), 3)
gates = 0.1 * jax.random.normal(keys[0], (TIME, BATCH, 3 * SIZE))
weight = 0.1 * jax.random.normal(keys[1], (SIZE, 3 * SIZE))
start = jax.random.normal(keys[2], (BATCH, SIZE))


def unit(state, gate, own):
    reset, keep = jax.nn.sigmoid(gate[0] + own[0]), jax.nn.sigmoid(gate[1] + own[1])
    new = jnp.tanh(gate[2] + reset * own[2])
    return new + keep * (state - new)


def loop(cut, product):
    def step(state, gate):
        own = jnp.split(state @ weight, 3, axis=1) if product else [0.5 * state] * 3
        after = unit(state, jnp.split(gate, 3, axis=1) if cut else gate, own)
        return after, after

    given = gates if cut else tuple(jnp.split(gates, 3, axis=2))
    run = jax.jit(lambda given: jax.lax.scan(step, start, given)[1])
    run(given).block_until_ready()
    return run, given


def seconds(run, given):
    began = time.perf_counter()
    run(given).block_until_ready()
    return time.perf_counter() - began


print("jax", jax.__version__)
print("expected: the same time")
for product in (False, True):
    both = [loop(cut, product) for cut in (True, False)]
    assert jnp.allclose(*(run(given) for run, given in both), atol=1e-6)
    one, three = (
        statistics.median(times)
        for times in zip(*([seconds(*each) for each in both] for _ in range(40)), strict=True)
    )
    print(f"{1e3 * one:.2f} and {1e3 * three:.2f} ms: {one / three:.2f}", file=sys.stderr)
    with_it, least = ("with", 1.4) if product else ("without", 2)
    print(f"seen, {with_it} the product: more than {least} times as long: {one / three > least}")
END
cat seen
diff seen - <<'END'
jax 0.10.2
expected: the same time
seen, without the product: more than 2 times as long: True
seen, with the product: more than 1.4 times as long: True
END
