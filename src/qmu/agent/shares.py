"""Which rows of a batch each of several critics learns from."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from qmu.config import Config
from qmu.rows import Batch

# Slabs that a step of one unit along the random direction crosses.
SLABS_PER_UNIT = 4.0


class Share(NamedTuple):
    """The rows of the batch that a critic sees, and how much each one weighs in its loss."""

    rows: slice
    weight: Float[Array, " rows"]


class Regions(eqx.Module):
    """A fixed random partition of all pairs of observation and action, one part per critic.

    Parallel slabs across a random direction belong to the critics in turn, so each critic sees
    some of everything.
    """

    direction: Float[Array, " obs+action"]
    count: int = eqx.field(static=True)

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Int[Array, " batch"]:
        """Return which critic each pair of observation and action belongs to."""
        position = jnp.concatenate([obs, action], axis=-1) @ self.direction
        return jnp.mod(jnp.floor(SLABS_PER_UNIT * position), self.count).astype(jnp.int32)


def init_regions(
    key: PRNGKeyArray, obs_size: int, action_size: int, config: Config
) -> Regions | None:
    """Return a member's partition, or None if its critics do not learn from regions."""
    if config.critic.batches != "regions":
        return None
    direction = jax.random.normal(key, (obs_size + action_size,))
    return Regions(direction, config.critic.count)


def shared(batch: Batch, regions: Regions | None, config: Config) -> list[Share]:
    """Let every critic see the whole batch."""
    del regions
    return [Share(slice(None), batch.weight)] * config.critic.count


def own(batch: Batch, regions: Regions | None, config: Config) -> list[Share]:
    """Deal a batch that was drawn that much larger out to the critics.

    Prioritized draws lie in the order of the tree: neighbours go to different critics.
    """
    del regions
    hands = [slice(index, None, config.critic.count) for index in range(config.critic.count)]
    return [Share(hand, batch.weight[hand]) for hand in hands]


def by_region(batch: Batch, regions: Regions | None, config: Config) -> list[Share]:
    """Let every critic see the rows in its regions."""
    assert regions is not None
    region = regions(batch.obs, batch.action)
    return [
        Share(slice(None), jnp.where(region == index, batch.weight, 0.0))
        for index in range(config.critic.count)
    ]


SHARES: dict[str, Callable[[Batch, Regions | None, Config], list[Share]]] = {
    "shared": shared,
    "own": own,
    "regions": by_region,
}
