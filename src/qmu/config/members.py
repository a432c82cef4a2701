"""Who the members of a run are: every seed of every arm."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from qmu.config.lengths import seeds
from qmu.config.reading import vary
from qmu.config.whole import Config

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
        for own in [vary(config, changes)]
        for seed in seeds(config)
    )


def diverged(member: Member, step: int, what: str) -> str:
    """Return what is to be said of numbers that are not finite."""
    return (
        f"the member with {member.label} diverged: at step {step} {what} are no finite numbers. "
        "Lower --actor.lr and --critic.lr, or look for huge rewards or observations in the "
        "environment"
    )
