"""Actor and critic: records of weight matrices that can be called on a batch."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from qmu import config
from qmu.agent.kinds import CriticLike, RecallLike

# Added to a variance before the root is taken of it.
EPSILON = 1e-5
# How much of a running statistic a batch replaces.
RENEWAL = 0.01

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class Linear(eqx.Module):
    """x W + b. Rows are samples, so a batch is one matrix product."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __call__(self, inputs: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        """Return the outputs of a batch."""
        return inputs @ self.weight + self.bias[None]


class LayerNorm(eqx.Module):
    """Each sample's hidden units to mean 0 and variance 1, then scaled and shifted.

    Ba, Kiros and Hinton 2016, eq. 4.
    """

    scale: Float[Array, " units"]
    offset: Float[Array, " units"]

    def __call__(self, inputs: Float[Array, "batch units"]) -> Float[Array, "batch units"]:
        """Return the normalized units of a batch."""
        # Mean and mean of squares in one pass over the units: 635 updates/s against 578 in two.
        mean = jnp.mean(inputs, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(inputs), axis=-1, keepdims=True) - jnp.square(mean)
        factor = jax.lax.rsqrt(jnp.maximum(variance, 0.0) + EPSILON)
        return (inputs - mean) * factor * self.scale[None] + self.offset[None]

    def learning(
        self, inputs: Float[Array, "batch units"]
    ) -> tuple[Float[Array, "batch units"], "LayerNorm"]:
        """Return the normalized units of a batch to learn from; a sample needs no other one."""
        return self(inputs), self

    def with_statistics(self, seen: Any) -> "LayerNorm":
        """Return itself: there are no statistics."""
        del seen
        return self


class BatchNorm(eqx.Module):
    """Each hidden unit to mean 0 and variance 1 over a batch, then scaled and shifted.

    While a network learns from a batch, that batch's statistics count; everywhere else (acting,
    evaluation, target networks, the critic that an actor climbs) running means of them do.
    Ioffe and Szegedy 2015, Algorithms 1 and 2.
    """

    scale: Float[Array, " units"]
    offset: Float[Array, " units"]
    mean: Float[Array, " units"]
    variance: Float[Array, " units"]

    def __call__(self, inputs: Float[Array, "batch units"]) -> Float[Array, "batch units"]:
        """Return the units of a batch, normalized by the running statistics."""
        return self.normalize(inputs, self.mean, self.variance)

    def learning(
        self, inputs: Float[Array, "batch units"]
    ) -> tuple[Float[Array, "batch units"], "BatchNorm"]:
        """Return the units normalized by the batch's own statistics, and the running ones anew."""
        mean = jnp.mean(inputs, axis=0)
        variance = jnp.mean(jnp.square(inputs - mean[None]), axis=0)
        pairs = ((self.mean, mean), (self.variance, variance))
        running = [jax.lax.stop_gradient(old + RENEWAL * (new - old)) for old, new in pairs]
        seen = BatchNorm(self.scale, self.offset, *running)
        return self.normalize(inputs, mean, variance), seen

    def normalize(
        self,
        inputs: Float[Array, "batch units"],
        mean: Float[Array, " units"],
        variance: Float[Array, " units"],
    ) -> Float[Array, "batch units"]:
        """Return the units with this mean and variance taken out, then scaled and shifted."""
        factor = jax.lax.rsqrt(variance + EPSILON) * self.scale
        return (inputs - mean[None]) * factor[None] + self.offset[None]

    def with_statistics(self, seen: Any) -> "BatchNorm":
        """Return itself with the running statistics of another one."""
        return BatchNorm(self.scale, self.offset, seen.mean, seen.variance)


Norm = LayerNorm | BatchNorm
Norms = tuple[Norm, ...] | None
Apply = Callable[[Any, Array], tuple[Array, Any]]


def running(norm: Norm, inputs: Array) -> tuple[Array, Norm]:
    """Apply a normalization outside of learning."""
    return norm(inputs), norm


def learning(norm: Norm, inputs: Array) -> tuple[Array, Norm]:
    """Apply a normalization to a batch that is learned from."""
    return norm.learning(inputs)


class Actor(eqx.Module):
    """μ(s): observations to actions in [-1, 1], by a final tanh.

    With `norms`, every hidden layer is normalized before its activation.
    """

    layers: tuple[Linear, ...]
    norms: Norms
    activation: str = eqx.field(static=True)

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the actions for a batch of observations."""
        return jnp.tanh(self.preactivation(obs))

    def learning(
        self, obs: Float[Array, "batch obs"]
    ) -> tuple[Float[Array, "batch action"], Norms]:
        """Return the input of the final tanh for a batch to learn from, and the norms' state."""
        return feed_forward(self.layers, self.norms, self.activation, [obs], learning)

    def preactivation(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the input of the final tanh for a batch of observations."""
        return feed_forward(self.layers, self.norms, self.activation, [obs], running)[0]

    def hidden(self, obs: Float[Array, "batch obs"]) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer."""
        return hidden_layers(self.layers, self.norms, self.activation, [obs], running)[0]

    def with_statistics(self, seen: Norms) -> "Actor":
        """Return the actor with the running statistics of the normalizations `seen`, if any."""
        return dataclasses.replace(self, norms=renewed(self.norms, seen))

    def perturbed(self, key: PRNGKeyArray, std: float | Float[Array, ""]) -> "Actor":
        """Return the actor with normal noise on its weights and biases, but not on its norms.

        The noise of a weight is `std` times the root mean square of its matrix.
        """
        layers = []
        for depth, layer in enumerate(self.layers):
            size = std * jnp.sqrt(jnp.mean(jnp.square(layer.weight)))
            keys = jax.random.split(jax.random.fold_in(key, depth))
            weight, bias = (
                values + size * jax.random.normal(own, values.shape)
                for own, values in zip(keys, (layer.weight, layer.bias), strict=True)
            )
            layers.append(Linear(weight, bias))
        return dataclasses.replace(self, layers=tuple(layers))


class Critic(eqx.Module):
    """Q(s, a): observations and actions to values.

    The action enters at layer `action_layer`, beside what comes from the layer before. With
    `norms`, every hidden layer is normalized before its activation.
    """

    layers: tuple[Linear, ...]
    norms: Norms
    activation: str = eqx.field(static=True)
    action_layer: int = eqx.field(static=True)

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch of observations and actions."""
        return self.forward(obs, action, running)[0]

    def learning(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> tuple[Float[Array, " batch"], Norms]:
        """Return the values of a batch to learn from, and the norms' state."""
        return self.forward(obs, action, learning)

    def forward(self, obs: Array, action: Array, apply: Apply) -> tuple[Array, Norms]:
        """Return the values and the normalizations, applied by `apply`."""
        inputs = self.inputs(obs, action)
        values, norms = feed_forward(self.layers, self.norms, self.activation, inputs, apply)
        return values[:, 0], norms

    def hidden(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer."""
        inputs = self.inputs(obs, action)
        return hidden_layers(self.layers, self.norms, self.activation, inputs, running)[0]

    def with_statistics(self, seen: Norms) -> "Critic":
        """Return the critic with the running statistics of the normalizations `seen`, if any."""
        return dataclasses.replace(self, norms=renewed(self.norms, seen))

    def inputs(self, obs: Array, action: Array) -> list[Array]:
        """Return what enters at each layer, from the first on."""
        if self.action_layer == 0:
            return [jnp.concatenate([obs, action], axis=-1)]
        return [obs, action]


class Critics(eqx.Module):
    """One or several critics, each with weights of its own; a memory is shared by all of them."""

    each: tuple[CriticLike, ...]
    memory: RecallLike | None = None

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, "critics batch"]:
        """Return every critic's values of a batch of what was recalled, and actions."""
        return jnp.stack([critic(obs, action) for critic in self.each])

    def recalled(self, obs: Any) -> Float[Array, "batch obs"]:
        """Return what critics are given of observations: themselves, without a memory."""
        return obs if self.memory is None else self.memory(obs, obs.critics_state)


def feed_forward(
    layers: tuple[Linear, ...],
    norms: Norms,
    activation: str,
    inputs: Sequence[Float[Array, "batch inputs"]],
    apply: Apply,
) -> tuple[Float[Array, "batch outputs"], Norms]:
    """Apply all layers; after each but the last, its normalization and the activation.

    `inputs[k]` enters at layer k. Returns the outputs, and the normalizations as `apply` left them.
    """
    hidden, left = hidden_layers(layers, norms, activation, inputs, apply)
    below = hidden[-1] if hidden else inputs[0]
    return layers[-1](joined(below, inputs, len(layers) - 1)), left


def hidden_layers(
    layers: tuple[Linear, ...],
    norms: Norms,
    activation: str,
    inputs: Sequence[Float[Array, "batch inputs"]],
    apply: Apply,
) -> tuple[list[Float[Array, "batch units"]], Norms]:
    """Return the units of each hidden layer, and the normalizations as `apply` left them."""
    activate = ACTIVATIONS[activation]
    hidden: list[Array] = []
    left = []
    for depth, layer in enumerate(layers[:-1]):
        units = layer(joined(hidden[-1] if hidden else inputs[0], inputs, depth))
        if norms is not None:
            units, norm = apply(norms[depth], units)
            left.append(norm)
        hidden.append(activate(units))
    return hidden, None if norms is None else tuple(left)


def joined(hidden: Array, inputs: Sequence[Array], depth: int) -> Array:
    """Return what a layer sees: the hidden units, and what enters there."""
    if 0 < depth < len(inputs):
        return jnp.concatenate([hidden, inputs[depth]], axis=-1)
    return hidden


def renewed(norms: Norms, seen: Norms) -> Norms:
    """Return normalizations with the running statistics of others; as they are without those."""
    if norms is None or seen is None:
        return norms
    return tuple(own.with_statistics(other) for own, other in zip(norms, seen, strict=True))


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


def init_norms(options: config.Network) -> Norms:
    """Return a normalization for each hidden layer, or None for the kind `none`."""
    if options.norm == "none":
        return None
    return tuple(NORM_INITS[options.norm](size) for size in options.hidden_sizes)


def init_actor(key: PRNGKeyArray, obs_size: int, action_size: int, options: config.Actor) -> Actor:
    """Return an actor with random weights."""
    sizes = list(itertools.pairwise((obs_size, *options.hidden_sizes, action_size)))
    return Actor(init_layers(key, sizes, options), init_norms(options), options.activation)


def init_critic(
    key: PRNGKeyArray, obs_size: int, action_size: int, options: config.Critic
) -> Critic:
    """Return a critic with random weights."""
    sizes = list(itertools.pairwise((obs_size, *options.hidden_sizes, 1)))
    inputs, outputs = sizes[options.action_layer]
    sizes[options.action_layer] = (inputs + action_size, outputs)
    layers = init_layers(key, sizes, options)
    return Critic(layers, init_norms(options), options.activation, options.action_layer)
