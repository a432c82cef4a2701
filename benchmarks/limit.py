"""What an update of plain DDPG is made of: the barest program, and what is left without parts.

    python benchmarks/limit.py

17 observations, 6 actions, 256-256, batch 256, as in `ours.py update`: an update as a program of
its own, nothing of qmu in it; then the same with plain steps instead of Adam and without soft
updates; then without activations and losses, too; then its ten products of 256 x 256 x 256 alone,
each waiting for the one before, or two and two side by side. Microseconds of an update, medians
over rounds in which all of them take turns, with the smallest and the largest. What the products
alone take is what no arrangement of the rest can save. The actor climbs the critic as it was before
the update, so both gradients can run side by side: not the order of the paper, and of qmu. Nothing
else may run beside it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from process import machine, package_versions, wake_microseconds

OBS, ACTION, UNITS, BATCH, ROWS = 17, 6, 256, 256, 10_000
UPDATES = 200
PRODUCTS = 10
Layers = list[tuple[jax.Array, jax.Array]]


def init(key: jax.Array, sizes: list[int]) -> Layers:
    """Return the layers of a network."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(own, (inputs, outputs)) * inputs**-0.5, jnp.zeros(outputs))
        for own, inputs, outputs in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def perceptron(layers: Layers, inputs: jax.Array) -> jax.Array:
    """Return a network's outputs."""
    for weight, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ weight + bias)
    weight, bias = layers[-1]
    return inputs @ weight + bias


def linear(layers: Layers, inputs: jax.Array) -> jax.Array:
    """Return what is left of a network without biases and activations."""
    for weight, _ in layers:
        inputs = inputs @ weight
    return inputs


def value(network: Any, critic: Layers, obs: jax.Array, action: jax.Array) -> jax.Array:
    """Return Q(s, a)."""
    return network(critic, jnp.concatenate([obs, action], -1))[:, 0]


def slopes(state: Any, batch: Any) -> tuple[Layers, Layers]:
    """Return the gradients of critic and actor, the actor's at the critic as it is."""
    actor, critic, slow_actor, slow_critic = state[:4]
    obs, action, reward, following = batch
    next_action = jnp.tanh(perceptron(slow_actor, following))
    target = reward + 0.99 * value(perceptron, slow_critic, following, next_action)

    def critic_loss(own: Layers) -> jax.Array:
        return jnp.mean((value(perceptron, own, obs, action) - target) ** 2)

    def actor_loss(own: Layers) -> jax.Array:
        return -jnp.mean(value(perceptron, critic, obs, jnp.tanh(perceptron(own, obs))))

    return jax.grad(critic_loss)(critic), jax.grad(actor_loss)(actor)


def adam(
    layers: Layers, mean: Any, square: Any, slope: Layers, count: jax.Array
) -> tuple[Any, ...]:
    """Return layers and moments after a step of Adam."""
    mean = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, mean, slope)
    square = jax.tree.map(lambda old, new: 0.999 * old + 0.001 * new * new, square, slope)
    first, second = 1 - 0.9**count, 1 - 0.999**count
    layers = jax.tree.map(
        lambda old, one, two: old - 1e-3 * (one / first) / (jnp.sqrt(two / second) + 1e-8),
        layers,
        mean,
        square,
    )
    return layers, mean, square


def whole(state: Any, batch: Any, count: jax.Array) -> Any:
    """An update."""
    critic_slope, actor_slope = slopes(state, batch)
    actor, critic, slow_actor, slow_critic, *moments = state
    critic, *of_critic = adam(critic, moments[2], moments[3], critic_slope, count)
    actor, *of_actor = adam(actor, moments[0], moments[1], actor_slope, count)

    def follow(slow: Layers, fast: Layers) -> Any:
        return jax.tree.map(lambda old, new: old + 0.005 * (new - old), slow, fast)

    slow = follow(slow_actor, actor), follow(slow_critic, critic)
    return (actor, critic, *slow, *of_actor, *of_critic)


def stepped(layers: Layers, slope: Layers) -> Layers:
    """Return layers after a plain step."""
    return jax.tree.map(lambda old, new: old - 1e-6 * new, layers, slope)


def gradients(state: Any, batch: Any, count: jax.Array) -> Any:
    """Without Adam and soft updates."""
    del count
    critic_slope, actor_slope = slopes(state, batch)
    actor, critic = stepped(state[0], actor_slope), stepped(state[1], critic_slope)
    return (actor, critic, actor, critic, *state[4:])


def linear_gradients(state: Any, batch: Any, count: jax.Array) -> Any:
    """Without activations, biases and losses, too: products, large and small."""
    del count
    actor, critic, slow_actor, slow_critic = state[:4]
    obs, action, _, following = batch
    target = value(linear, slow_critic, following, linear(slow_actor, following))

    def critic_sum(own: Layers) -> jax.Array:
        return jnp.sum(value(linear, own, obs, action) * target)

    def actor_sum(own: Layers) -> jax.Array:
        return jnp.sum(value(linear, critic, obs, linear(own, obs)))

    actor = stepped(actor, jax.grad(actor_sum)(actor))
    critic = stepped(critic, jax.grad(critic_sum)(critic))
    return (actor, critic, actor, critic, *state[4:])


def products(state: Any, batch: Any, count: jax.Array) -> Any:
    """The ten large products, each of which waits for the one before."""
    del batch, count
    (first, (left, bias), last), right = state[0], state[1][1][0]
    found = left
    for _ in range(PRODUCTS):
        found = found @ right
    return ([first, (0.9 * left + 1e-3 * found, bias), last], *state[1:])


def pairs(state: Any, batch: Any, count: jax.Array) -> Any:
    """The ten large products, of which two at a time do not wait for each other."""
    del batch, count
    (first, (left, bias), last), right = state[0], state[1][1][0]
    found, other = left, left + 1
    for _ in range(PRODUCTS // 2):
        found, other = found @ right, other @ right
    return ([first, (0.9 * left + 1e-3 * (found + other), bias), last], *state[1:])


PARTS = {
    "the whole update": whole,
    "without Adam and soft updates": gradients,
    "and without activations": linear_gradients,
    "its ten large products": products,
    "these in pairs": pairs,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    obs_key, action_key, key = jax.random.split(jax.random.key(0), 3)
    actor = init(obs_key, [OBS, UNITS, UNITS, ACTION])
    critic = init(action_key, [OBS + ACTION, UNITS, UNITS, 1])
    zero_actor, zero_critic = (jax.tree.map(jnp.zeros_like, own) for own in (actor, critic))
    moments = (zero_actor, zero_actor, zero_critic, zero_critic)
    start = (actor, critic, actor, critic, *moments)
    table = (
        jax.random.normal(key, (ROWS, OBS)),
        jax.random.uniform(key, (ROWS, ACTION)),
        jax.random.normal(key, (ROWS,)),
        jax.random.normal(key, (ROWS, OBS)),
    )

    def program(part: Callable[..., Any]) -> Callable[[Any], Any]:
        def one(index: Any, state: Any) -> Any:
            rows = jax.random.randint(jax.random.fold_in(key, index), (BATCH,), 0, ROWS)
            batch = tuple(own[rows] for own in table)
            return part(state, batch, (index + 1).astype(jnp.float32))

        return jax.jit(lambda state: jax.lax.fori_loop(0, UPDATES, one, state))

    programs = {name: program(part) for name, part in PARTS.items()}
    for run in programs.values():
        jax.block_until_ready(run(start))  # type: ignore[no-untyped-call]
    found: dict[str, list[float]] = {name: [] for name in programs}
    wake = wake_microseconds()
    for _ in range(arguments.rounds):
        for name, run in programs.items():
            before = time.perf_counter()
            jax.block_until_ready(run(start))  # type: ignore[no-untyped-call]
            found[name].append(1e6 * (time.perf_counter() - before) / UPDATES)
    for name, each in found.items():
        print(f"{name:30} {statistics.median(each):6.0f} us  {min(each):6.0f} to {max(each):6.0f}")
    print(json.dumps({"machine": machine(), "wake_microseconds": wake} | package_versions()))


if __name__ == "__main__":
    main()
