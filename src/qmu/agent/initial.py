"""Networks with random weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from qmu import config
from qmu.agent.layers import BatchNorm, LayerNorm, Linear, Norm, Norms
from qmu.agent.networks import Actor, Critic, with_unit_weights
from qmu.config.heads import bins

# Hidden units of a residual block, for each number that goes around it (Lee et al. 2025a); and how
# many go around it at least, where there are as many hidden units.
EXPANSION, NARROWEST = 4, 8


def xavier(key: PRNGKeyArray, inputs: int, shape: tuple[int, ...]) -> Array:
    """Draw from U(±sqrt(6 / (inputs + outputs))) (Glorot and Bengio 2010, eq. 16)."""
    return symmetric(key, (6.0 / (inputs + shape[-1])) ** 0.5, shape)


def fan_in(key: PRNGKeyArray, inputs: int, shape: tuple[int, ...]) -> Array:
    """Draw from U(±1 / sqrt(inputs)) (Lillicrap et al. 2015, section 7)."""
    return symmetric(key, inputs**-0.5, shape)


def zeros(key: PRNGKeyArray, inputs: int, shape: tuple[int, ...]) -> Array:
    """Return zeros."""
    del key, inputs
    return jnp.zeros(shape)


def symmetric(key: PRNGKeyArray, limit: float, shape: tuple[int, ...]) -> Array:
    """Draw from U(±limit)."""
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


WEIGHT_INITS = {"xavier": xavier, "uniform": fan_in}
BIAS_INITS = {"zeros": zeros, "uniform": fan_in}


def init_layers(
    key: PRNGKeyArray, sizes: Sequence[tuple[int, int]], options: config.Network
) -> tuple[Linear, ...]:
    """Return the layers of these sizes, each (inputs, outputs).

    With a final range, the last layer's weights and biases come from U(±final_range) instead
    (3e-3 in Lillicrap et al. 2015, section 7), which makes the first outputs nearly zero.
    """
    layers = []
    for depth, (inputs, outputs) in enumerate(sizes):
        weight_key, bias_key = jax.random.split(jax.random.fold_in(key, depth))
        if options.final_range is not None and depth == len(sizes) - 1:
            weight = symmetric(weight_key, options.final_range, (inputs, outputs))
            bias = symmetric(bias_key, options.final_range, (outputs,))
        else:
            weight = WEIGHT_INITS[options.weights_init](weight_key, inputs, (inputs, outputs))
            bias = BIAS_INITS[options.bias_init](bias_key, inputs, (outputs,))
        layers.append(Linear(weight, bias))
    return tuple(layers)


def init_layer_norm(size: int) -> LayerNorm:
    """Return a layer normalization that neither scales nor shifts."""
    return LayerNorm(jnp.ones(size), jnp.zeros(size))


def init_batch_norm(size: int) -> BatchNorm:
    """Return a batch normalization that neither scales nor shifts, before the first batch."""
    return BatchNorm(jnp.ones(size), jnp.zeros(size), jnp.zeros(size), jnp.ones(size))


NORM_INITS: dict[str, Callable[[int], Norm]] = {"layer": init_layer_norm, "batch": init_batch_norm}


def init_norms(options: config.Network, sizes: Sequence[int]) -> Norms:
    """Return a normalization for each of these numbers of units, or None for the kind `none`."""
    if options.norm == "none":
        return None
    return tuple(NORM_INITS[options.norm](size) for size in sizes)


class Shape(NamedTuple):
    """The sizes of a body: of its layers and projections (inputs, outputs), and of its norms."""

    layers: list[tuple[int, int]]
    projections: list[tuple[int, int] | None] | None
    norms: list[int]


def plain_shape(inputs: list[int], hidden: Sequence[int], outputs: int) -> Shape:
    """Return the sizes of layers one after another; `inputs` enter at the first ones."""
    below = [0, *hidden]
    entering = [*inputs, *[0] * len(below)]
    widths = [one + more for one, more in zip(below, entering, strict=False)]
    return Shape(list(zip(widths, [*hidden, outputs], strict=True)), None, list(hidden))


def residual_shape(inputs: list[int], hidden: Sequence[int], outputs: int) -> Shape:
    """Return the sizes of residual blocks, which are a quarter as wide as their hidden units."""
    layers: list[tuple[int, int]] = []
    projections: list[tuple[int, int] | None] = []
    entering = [*inputs, *[0] * (len(hidden) + 1)]
    width, norms = 0, []
    for units, more in zip(hidden, entering, strict=False):
        own = max(-(-units // EXPANSION), min(units, NARROWEST))
        projections.append(None if width + more == own and width else (width + more, own))
        layers += [(own, units), (units, own)]
        norms.append(own)
        width = own
    layers.append((width + entering[len(hidden)], outputs))
    return Shape(layers, projections, [*norms, width] if hidden else [])


SHAPES = {"plain": plain_shape, "residual": residual_shape}


def init_body(
    key: PRNGKeyArray, inputs: list[int], outputs: int, options: config.Network
) -> dict[str, Any]:
    """Return the parts of a body with random weights, by name; `inputs` enter at its first layers.

    What is normalized on entering is the first of them.
    """
    shape = SHAPES[options.body](inputs, options.hidden_sizes, outputs)
    projections = None
    if shape.projections is not None:
        own = jax.random.fold_in(key, len(shape.layers))
        # Of a projection nothing is special: `final_range` is about the last layer.
        made = iter(
            init_layers(
                own,
                [size for size in shape.projections if size is not None],
                dataclasses.replace(options, final_range=None),
            )
        )
        projections = tuple(None if size is None else next(made) for size in shape.projections)
    return {
        "layers": init_layers(key, shape.layers, options),
        "norms": init_norms(options, shape.norms),
        "activation": options.activation,
        "entry": init_batch_norm(inputs[0]) if options.input_norm else None,
        "projections": projections,
    }


def init_actor(key: PRNGKeyArray, obs_size: int, action_size: int, options: config.Actor) -> Actor:
    """Return an actor with random weights."""
    actor = Actor(**init_body(key, [obs_size], action_size, options))
    return with_unit_weights(actor) if options.weight_norm else actor


def init_critic(
    key: PRNGKeyArray, obs_size: int, action_size: int, options: config.Critic
) -> Critic:
    """Return a critic with random weights."""
    inputs = [obs_size + action_size] if options.action_layer == 0 else [obs_size, action_size]
    parts = init_body(key, inputs, bins(options) or 1, options)
    critic = Critic(**parts, action_layer=options.action_layer, head=options.head)
    return with_unit_weights(critic) if options.weight_norm else critic
