"""How members share devices, and how one member's function becomes all members' function.

Nobody else knows the layout. State always has a leading member axis. Members are divided into one
group per device, and each group is one compiled call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmu.config.members import Member


class Group(NamedTuple):
    """Consecutive members that share a device."""

    device: Any
    members: tuple[Member, ...]


def divide(members: tuple[Member, ...], devices: list[Any]) -> list[Group]:
    """Return one group per device, as equal as can be, consecutive members together."""
    used = devices[: len(members)]
    base, extra = divmod(len(members), len(used))
    groups, start = [], 0
    for index, device in enumerate(used):
        size = base + (index < extra)
        groups.append(Group(device, members[start : start + size]))
        start += size
    return groups


def for_each(function: Callable[..., Any], platform: str, *members: Any) -> Any:
    """Apply function(position, *one member's values) to every member of a group.

    `members` have a leading member axis, and so has the result. A group of one is indexed: a
    batch axis of 1 costs 20-50%. On a CPU members follow one another; on other devices they are
    one batch.
    """
    size = jax.tree.leaves(members[0])[0].shape[0]
    positions = jnp.arange(size)
    if size == 1:
        alone = function(0, *jax.tree.map(lambda leaf: leaf[0], members))
        return jax.tree.map(lambda leaf: leaf[None], alone)
    if platform == "cpu":
        return jax.lax.map(lambda packed: function(*packed), (positions, *members))
    return jax.vmap(function)(positions, *members)
