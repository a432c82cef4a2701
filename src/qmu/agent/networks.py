"""Actor and critic: records of weight matrices that can be called on a batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from qmu.agent.heads import HEADS, Said
from qmu.agent.kinds import CriticLike, RecallLike
from qmu.agent.layers import ACTIVATIONS, Apply, BatchNorm, Linear, Norms, learning, running

# What a length is divided by at least.
SHORTEST = 1e-12


class NormsAfter(NamedTuple):
    """A network's normalizations, with the running statistics after a batch."""

    entry: BatchNorm | None
    hidden: Norms


class Body(eqx.Module):
    """Layers of hidden units, one after another or as residual blocks, and a last layer.

    With `norms`, every hidden layer is normalized before its activation; of a residual body, what
    goes into each block and into the last layer is. An `entry` normalizes what the network is
    given. A residual body has two layers to a block, and a projection where widths change.
    """

    layers: tuple[Linear, ...]
    norms: Norms
    activation: str = eqx.field(static=True)
    entry: BatchNorm | None = eqx.field(default=None, kw_only=True)
    projections: tuple[Linear | None, ...] | None = eqx.field(default=None, kw_only=True)

    def forward(
        self, inputs: Sequence[Array], apply: Apply, rows: slice | None = None
    ) -> tuple[Array, NormsAfter]:
        """Return the outputs, and the normalizations as `apply` left them.

        `inputs[k]` [batch, ...] enters at layer k, or at block k. With `rows`, outputs are those of
        some rows of the batch.
        """
        below, _, seen = self.below(inputs, apply)
        return self.layers[-1](below if rows is None else below[rows]), seen

    def below(
        self, inputs: Sequence[Array], apply: Apply
    ) -> tuple[Array, list[Float[Array, "batch units"]], NormsAfter]:
        """Return what the last layer is given, the hidden units, and the normalizations."""
        first, entry = entered(self.entry, inputs[0], apply)
        inputs = [first, *inputs[1:]]
        if self.projections is None:
            hidden, norms = plain(self.layers, self.norms, self.activation, inputs, apply)
            last, depth = hidden[-1] if hidden else inputs[0], len(self.layers) - 1
        else:
            last, hidden, norms = residual(self, self.projections, inputs, apply)
            depth = len(self.projections)
        return joined(last, inputs, depth), hidden, NormsAfter(entry, norms)

    def renewed(self, seen: NormsAfter) -> dict[str, Any]:
        """Return the normalizations, by name, with the running statistics of those `seen`."""
        entry = None if self.entry is None else self.entry.with_statistics(seen.entry)
        if self.norms is None or seen.hidden is None:
            return {"entry": entry, "norms": self.norms}
        pairs = zip(self.norms, seen.hidden, strict=True)
        return {"entry": entry, "norms": tuple(own.with_statistics(other) for own, other in pairs)}


class Actor(Body):
    """μ(s): observations to actions in [-1, 1], by a final tanh."""

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the actions for a batch of observations."""
        return jnp.tanh(self.preactivation(obs))

    def learning(
        self, obs: Float[Array, "batch obs"]
    ) -> tuple[Float[Array, "batch action"], NormsAfter]:
        """Return the input of the final tanh for a batch to learn from, and the norms' state."""
        return self.forward([obs], learning)

    def preactivation(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the input of the final tanh for a batch of observations."""
        return self.forward([obs], running)[0]

    def hidden(self, obs: Float[Array, "batch obs"]) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer."""
        return self.below([obs], running)[1]

    def with_statistics(self, seen: NormsAfter) -> "Actor":
        """Return the actor with the running statistics of the normalizations `seen`, if any."""
        return dataclasses.replace(self, **self.renewed(seen))

    def perturbed(self, key: PRNGKeyArray, std: float | Float[Array, ""]) -> "Actor":
        """Return the actor with normal noise on its weights and biases, but not on its norms.

        The noise of a weight is `std` times the root mean square of its matrix.
        """
        layers = noisy(key, self.layers, std)
        if self.projections is None:
            return dataclasses.replace(self, layers=layers)
        projections = noisy(jax.random.fold_in(key, len(self.layers)), self.projections, std)
        return dataclasses.replace(self, layers=layers, projections=projections)


class Critic(Body):
    """Q(s, a): observations and actions to values, or to what a head reads values in.

    The action enters at layer, or block, `action_layer`, beside what comes from the one before.
    """

    action_layer: int = eqx.field(static=True)
    head: str = eqx.field(default="scalar", static=True, kw_only=True)

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch of observations and actions."""
        return HEADS[self.head].value(self.said(obs, action))

    def said(self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]) -> Said:
        """Return what the head reads values in."""
        return HEADS[self.head].read(self.forward(self.inputs(obs, action), running)[0])

    def learning(
        self,
        obs: Float[Array, "batch obs"],
        action: Float[Array, "batch action"],
        rows: slice | None = None,
    ) -> tuple[Said, NormsAfter]:
        """Return what the head reads of a batch to learn from, and the norms' state.

        With `rows`, it is said of some rows of the batch alone, which is normalized as a whole.
        """
        outputs, seen = self.forward(self.inputs(obs, action), learning, rows)
        return HEADS[self.head].read(outputs), seen

    def hidden(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer."""
        return self.below(self.inputs(obs, action), running)[1]

    def with_statistics(self, seen: NormsAfter) -> "Critic":
        """Return the critic with the running statistics of the normalizations `seen`, if any."""
        return dataclasses.replace(self, **self.renewed(seen))

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


class Pairs(NamedTuple):
    """What critics are asked about: observations, as they are given them, and actions."""

    obs: Float[Array, "batch obs"]
    action: Float[Array, "batch action"]


def learned_from(
    critic: CriticLike, pairs: Pairs, following: Pairs | None, rows: slice
) -> tuple[Said, Any]:
    """Return what a critic says of some rows to learn from, and its norms' state.

    With what follows on them, both are one batch to normalize.
    """
    obs, action = (own[rows] for own in pairs)
    if following is None:
        return critic.learning(obs, action)
    more = (own[rows] for own in following)
    both_obs, both_action = (jnp.concatenate(two) for two in zip((obs, action), more, strict=True))
    return critic.learning(both_obs, both_action, slice(len(obs)))


def foreseen(critics: Critics, pairs: Pairs, following: Pairs) -> Said:
    """Return what critics say of what follows [critics, batch, ...], in one batch with the pairs.

    Statistics are those of this batch: Bhatt et al. 2024 (CrossQ), section 3.2. With targets that
    follow at once (`target.tau 1`) it is their critic without targets.
    """
    rows = slice(len(pairs.obs), None)
    obs, action = (jnp.concatenate(two) for two in zip(pairs, following, strict=True))
    return jnp.stack([critic.learning(obs, action, rows)[0] for critic in critics.each])


def entered(
    entry: BatchNorm | None, inputs: Float[Array, "batch inputs"], apply: Apply
) -> tuple[Float[Array, "batch inputs"], BatchNorm | None]:
    """Return what a network makes of its input first, and the normalization after that."""
    return (inputs, None) if entry is None else apply(entry, inputs)


def plain(
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


def residual(
    body: Body,
    projections: Sequence[Linear | None],
    inputs: Sequence[Float[Array, "batch inputs"]],
    apply: Apply,
) -> tuple[Array, list[Float[Array, "batch units"]], Norms]:
    """Return what comes out of all blocks, their hidden units, and the normalizations.

    A block is x + W₂ f(W₁ norm(x)), and what comes out of the last one is normalized, too: Lee et
    al. 2025a (SimBa), section 4.
    """
    activate = ACTIVATIONS[body.activation]
    stream, hidden = inputs[0], []
    left: list[Any] = []

    def normalize(units: Array) -> Array:
        if body.norms is None:
            return units
        units, norm = apply(body.norms[len(left)], units)
        left.append(norm)
        return units

    for depth, projection in enumerate(projections):
        stream = joined(stream, inputs, depth)
        if projection is not None:
            stream = projection(stream)
        wide, narrow = body.layers[2 * depth : 2 * depth + 2]
        hidden.append(activate(wide(normalize(stream))))
        stream = stream + narrow(hidden[-1])
    if projections:
        stream = normalize(stream)
    return stream, hidden, None if body.norms is None else tuple(left)


def joined(hidden: Array, inputs: Sequence[Array], depth: int) -> Array:
    """Return what a layer sees: the hidden units, and what enters there."""
    if 0 < depth < len(inputs):
        return jnp.concatenate([hidden, inputs[depth]], axis=-1)
    return hidden


def noisy(key: PRNGKeyArray, layers: Any, std: float | Float[Array, ""]) -> Any:
    """Return layers with noise on weights and biases, in shares of a weight's size."""
    found: list[Linear | None] = []
    for depth, layer in enumerate(layers):
        if layer is None:
            found.append(None)
            continue
        size = std * jnp.sqrt(jnp.mean(jnp.square(layer.weight)))
        keys = jax.random.split(jax.random.fold_in(key, depth))
        weight, bias = (
            values + size * jax.random.normal(own, values.shape)
            for own, values in zip(keys, (layer.weight, layer.bias), strict=True)
        )
        found.append(Linear(weight, bias))
    return tuple(found)


def with_unit_weights(body: Any) -> Any:
    """Return a network in which the incoming weights of every hidden unit have length 1.

    The last layer is left as it is. Palenicek et al. 2025, section 4.2 (weight normalization by a
    projection after each step).
    """

    def unit(layer: Linear | None) -> Linear | None:
        if layer is None:
            return None
        length = jnp.sqrt(jnp.sum(jnp.square(layer.weight), axis=0, keepdims=True))
        return Linear(layer.weight / jnp.maximum(length, SHORTEST), layer.bias)

    layers = (*map(unit, body.layers[:-1]), body.layers[-1])
    projections = None if body.projections is None else tuple(map(unit, body.projections))
    return dataclasses.replace(body, layers=layers, projections=projections)
