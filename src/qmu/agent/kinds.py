"""What acting and learning need of a network, whatever it is made of."""

from typing import Any, Protocol

from jaxtyping import Array, Float


class ActorLike(Protocol):
    """μ(s), whatever it is made of: what acting and learning need of it.

    Observations are [batch, obs]; of an actor with a memory they are `Sequences`.
    """

    def __call__(self, obs: Any) -> Float[Array, "batch action"]:
        """Return the actions for a batch of observations."""

    def learning(self, obs: Any) -> tuple[Float[Array, "batch action"], Any]:
        """Return the input of the final tanh for a batch to learn from, and the norms' state."""

    def preactivation(self, obs: Any) -> Float[Array, "batch action"]:
        """Return the input of the final tanh for a batch of observations."""

    def hidden(self, obs: Any) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer, of those that are known."""

    def with_statistics(self, seen: Any) -> "ActorLike":
        """Return the actor with the running statistics of the norms `seen`, if any."""


class RecallLike(Protocol):
    """What remembers: it makes of sequences what their rows are seen as."""

    def __call__(self, seen: Any, start: Any) -> Float[Array, "rows seen"]:
        """Return the observations that are asked for, each with the state after it."""


class CriticLike(Protocol):
    """Q(s, a), whatever it is made of: what learning needs of it."""

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch of observations and actions."""

    def said(self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]) -> Array:
        """Return what its head reads values in: themselves, or logits [batch, bins]."""

    def learning(
        self,
        obs: Float[Array, "batch obs"],
        action: Float[Array, "batch action"],
        rows: slice | None = None,
    ) -> tuple[Array, Any]:
        """Return what its head reads of a batch to learn from, and the norms' state.

        With `rows`, it is said of some rows of the batch alone.
        """

    def hidden(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> list[Float[Array, "batch units"]]:
        """Return the hidden units of each layer, of those that are known."""

    def with_statistics(self, seen: Any) -> "CriticLike":
        """Return the critic with the running statistics of the norms `seen`, if any."""
