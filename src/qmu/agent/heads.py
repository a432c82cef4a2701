"""How critics say a value, what they learn it from, and by which loss.

A value is one number, or the mean of a distribution over bins. Bins lie at equal distances within
±`SUPPORT`, in units of a scale that follows the rewards (`learning/returns.py`).
"""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from qmu.agent.losses import (
    cross_entropy,
    huber_error,
    projected,
    smeared,
    squared_error,
    td_target,
)
from qmu.config import Critic
from qmu.config.heads import spread

Value = Float[Array, " batch"]
# What a critic says, before it is read: values [batch], or logits [batch, bins].
Said = Array
# What is learned: values [batch], or distributions [batch, bins].
Target = Array

# The largest value that bins can say.
SUPPORT = 5.0

# What several critics' values [critics, batch, ...] are made one value by.
COMBINED: dict[str, Callable[[Array], Array]] = {
    "first": lambda values: values[0],
    "mean": lambda values: jnp.mean(values, axis=0),
    "min": lambda values: jnp.min(values, axis=0),
}
LOSSES: dict[str, Callable[[Array, Array], Array]] = {
    "squared": squared_error,
    "huber": huber_error,
}


class Head(Protocol):
    """How a value is said: what is read of it, what it learns from, and the loss."""

    def read(self, outputs: Float[Array, "batch outputs"]) -> Said:
        """Return what a network's last layer says."""

    def value(self, said: Said) -> Float[Array, "*batch"]:
        """Return the values in what was said."""

    def target(self, reward: Value, discount: Value, said: Said, settings: Critic) -> Target:
        """Return what to learn of r + d V, where several critics say [critics, batch, ...] of V."""

    def target_value(self, target: Target) -> Value:
        """Return the values in what is to be learned."""

    def loss(self, said: Said, target: Target, settings: Critic) -> Value:
        """Return each row's loss."""


class Scalar:
    """A value is one number; its loss is the square of its error, or Huber's."""

    def read(self, outputs: Float[Array, "batch 1"]) -> Value:
        """Return what a network's last layer says."""
        return outputs[:, 0]

    def value(self, said: Said) -> Float[Array, "*batch"]:
        """Return what was said."""
        return said

    def target(self, reward: Value, discount: Value, said: Said, settings: Critic) -> Value:
        """Return r + d V, with V the smallest or the mean of what critics say."""
        return td_target(reward, discount, COMBINED[settings.bootstrap](said))

    def target_value(self, target: Target) -> Value:
        """Return what is to be learned."""
        return target

    def loss(self, said: Said, target: Target, settings: Critic) -> Value:
        """Return each row's loss."""
        return LOSSES[settings.loss](said, target)


class Categorical:
    """A value is the mean of a distribution, which learns the distribution of r + d V.

    Bellemare, Dabney and Munos 2017, Algorithm 1.
    """

    def read(self, outputs: Float[Array, "batch bins"]) -> Said:
        """Return what a network's last layer says."""
        return outputs

    def value(self, said: Float[Array, "*batch bins"]) -> Float[Array, "*batch"]:
        """Return the means of the distributions."""
        return jax.nn.softmax(said) @ places(said.shape[-1])

    def target(self, reward: Value, discount: Value, said: Said, settings: Critic) -> Target:
        """Return the distribution of r + d V.

        That of V is the mixture of what critics say (`mean`), or what the critic says whose value
        is the smallest (`min`).
        """
        chances = jax.nn.softmax(said)
        if settings.bootstrap == "min":
            lowest = jnp.argmin(self.value(said), axis=0)
            chance = jnp.take_along_axis(chances, lowest[None, :, None], axis=0)[0]
        else:
            chance = jnp.mean(chances, axis=0)
        atoms = places(said.shape[-1])[None]
        moved = reward[:, None] + discount[:, None] * atoms
        return jax.lax.stop_gradient(projected(chance, moved, SUPPORT))

    def target_value(self, target: Target) -> Value:
        """Return the means of what is to be learned."""
        return target @ places(target.shape[-1])

    def loss(self, said: Said, target: Target, settings: Critic) -> Value:
        """Return each row's cross-entropy."""
        del settings
        return cross_entropy(said, target)


class HLGauss(Categorical):
    """A value is the mean of a distribution, which learns a normal one around the number r + d V.

    Imani and White 2018, section 3; Farebrother et al. 2024, section 3.1.
    """

    def target(self, reward: Value, discount: Value, said: Said, settings: Critic) -> Target:
        """Return a normal distribution around r + d V, with V as for scalars."""
        y = td_target(reward, discount, COMBINED[settings.bootstrap](self.value(said)))
        return smeared(y, said.shape[-1], SUPPORT, spread(settings))


HEADS: dict[str, Head] = {
    "scalar": Scalar(),
    "categorical": Categorical(),
    "hl-gauss": HLGauss(),
}


def places(bins: int) -> Float[Array, " bins"]:
    """Return the value that each bin stands for."""
    return jnp.linspace(-SUPPORT, SUPPORT, bins)
