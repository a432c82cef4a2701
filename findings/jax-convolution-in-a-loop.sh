#!/usr/bin/env bash
# jax 0.10.2 on a CPU: the gradient of a convolution is many times slower inside of a compiled loop.
#
# Expected: five updates in a `fori_loop` take about as long as the same five written out, one after another, in
# one compiled program.
# Seen: more than five times as long (27 and 32 times on two busy cores). The forward pass in a loop does
# not suffer like that: it takes less than five times as long as written out.
#
# It matters where several updates are one compiled program, which is what spares a CPU the calls.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6

export JAX_PLATFORMS=cpu
env/bin/python - >seen <<'END'
import functools
import sys
import time

import jax
import jax.numpy as jnp

UPDATES, ROUNDS, MANY = 5, 8, 5.0
keys = jax.random.split(jax.random.key(0), 3)
images = jax.random.normal(keys[0], (32, 64, 64, 9))
weights = (
    0.10 * jax.random.normal(keys[1], (3, 3, 9, 32)),
    0.05 * jax.random.normal(keys[2], (3, 3, 32, 32)),
)


def convolve(x, kernel):
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=names)


def loss(weights):
    return jnp.mean(jnp.square(convolve(jax.nn.relu(convolve(images, weights[0])), weights[1])))


def update(weights):
    return jax.tree.map(lambda old, slope: old - 1e-3 * slope, weights, jax.grad(loss)(weights))


def forward(weights):
    # What comes out goes in again, so that no turn of the loop can be left out.
    return jax.tree.map(lambda old: old + 1e-9 * loss(weights), weights)


def written_out(function):
    return jax.jit(lambda held: functools.reduce(lambda own, _: function(own), range(UPDATES), held))


def looped(function):
    return jax.jit(lambda held: jax.lax.fori_loop(0, UPDATES, lambda _, own: function(own), held))


def seconds(program):
    begin = time.perf_counter()
    jax.block_until_ready(program(weights))
    return time.perf_counter() - begin


def told(name, function):
    """Time both programs in turn; the quickest of each is the one least disturbed."""
    programs = looped(function), written_out(function)
    rounds = [[seconds(program) for program in programs] for _ in range(1 + ROUNDS)]
    inside, outside = (min(times) for times in zip(*rounds[1:], strict=True))
    ratio = inside / outside
    print(f"{name}: {ratio:.1f} times as long", file=sys.stderr)
    print(f"seen, {name}: {'more' if ratio > MANY else 'less'} than {MANY:.0f} times as long")


print("jax", jax.__version__, "on", jax.default_backend())
print("expected in a loop: about as long as written out")
told("updates", update)
told("forward passes", forward)
END
cat seen
diff seen - <<'END'
jax 0.10.2 on cpu
expected in a loop: about as long as written out
seen, updates: more than 5 times as long
seen, forward passes: less than 5 times as long
END
