"""Who the members of a run are, and how one member's function becomes all members' function.

Nobody else knows the layout. State always has a leading member axis. Members are divided into one
group per device, and each group is one compiled call.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmu import config as options
from qmu import configure
from qmu.config import Config

# Name of an arm -> the numeric options in which it differs from the run's configuration, as a
# nested dictionary.
Arms = Mapping[str, Mapping[str, Any]]


class Member(NamedTuple):
    """One agent of a run: its name, which names its folders, its arm, its seed, its options."""

    name: str
    arm: str
    seed: int
    config: Config

    @property
    def label(self) -> str:
        """What a person is told instead of the name."""
        return f"{self.arm}, seed {self.seed}" if self.arm else f"seed {self.seed}"

    @property
    def short(self) -> str:
        """The label where everybody knows that it is a seed."""
        return f"{self.arm} {self.seed}" if self.arm else str(self.seed)


def members_of(config: Config, arms: Arms) -> tuple[Member, ...]:
    """Return a run's members: every seed of every arm. Without arms there is one, without a name.

    Raises:
        ConfigError: arms differ in more than numbers.
    """
    return tuple(
        Member(f"{arm}.seed-{seed}" if arm else f"seed-{seed}", arm, seed, own)
        for arm, changes in (arms or {"": {}}).items()
        for own in [configure.vary(config, changes)]
        for seed in options.seeds(config)
    )


def diverged(member: Member, step: int, what: str) -> str:
    """Return what is to be said of numbers that are not finite."""
    return (
        f"the member with {member.label} diverged: at step {step} {what} are no finite numbers. "
        "Lower --actor.lr and --critic.lr, or look for huge rewards or observations in the "
        "environment"
    )


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
