"""What acting and learning need of a network, whatever it is made of."""

from typing import Any, Protocol

from jaxtyping import Array, Float


class ActorLike(Protocol):
    """μ(s), whatever it is made of: what acting and learning need of it."""

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the actions for a batch of observations."""

    def learning(self, obs: Float[Array, "batch obs"]) -> tuple[Float[Array, "batch action"], Any]:
        """Return the input of the final tanh for a batch to learn from, and the norms' state."""

    def preactivation(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the input of the final tanh for a batch of observations."""

    def hidden(self, obs: Float[Array, "batch obs"]) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer, of those that are known."""


class CriticLike(Protocol):
    """Q(s, a), whatever it is made of: what learning needs of it."""

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch of observations and actions."""

    def learning(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> tuple[Float[Array, " batch"], Any]:
        """Return the values of a batch to learn from, and the norms' state."""

    def hidden(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer, of those that are known."""
