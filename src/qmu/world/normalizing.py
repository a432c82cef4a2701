"""Wrappers inside of a world that normalize by statistics of their own.

Each world then has other statistics, and a policy has none. What qmu does instead are options.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym

from qmu.config.spelling import flag

OBSERVATIONS, REWARDS = "observations", "rewards"
# Where Gymnasium's wrappers, and those written after them, keep their statistics.
STATISTICS = {"obs_rms": OBSERVATIONS, "return_rms": REWARDS, "ret_rms": REWARDS}


class Normalizer(NamedTuple):
    """A wrapper, and of what it keeps statistics: observations, or rewards."""

    wrapper: str
    of: str


def normalizers_of(environment: Any) -> tuple[Normalizer, ...]:
    """Return the normalizing wrappers around an environment, single or vector, the outermost first.

    One whose statistics are frozen is none: it is the same in every world.
    """
    found = []
    while isinstance(environment, gym.Wrapper | gym.vector.VectorWrapper):
        if getattr(environment, "update_running_mean", True):
            kinds = {STATISTICS[name] for name in vars(environment) if name in STATISTICS}
            found += [Normalizer(type(environment).__name__, kind) for kind in sorted(kinds)]
        environment = environment.env
    return tuple(found)


def normalizers_in(described: Mapping[str, Any]) -> tuple[Normalizer, ...]:
    """Return the normalizing wrappers that a run's description lists, as `listed` made it."""
    held = described.get("normalizers")
    entries = [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    return tuple(
        Normalizer(str(one.get("wrapper")), one["of"])
        for one in entries
        if one.get("of") in (OBSERVATIONS, REWARDS)
    )


def listed(normalizers: Iterable[Normalizer]) -> list[dict[str, str]]:
    """Return what a run's description says of normalizing wrappers."""
    return [one._asdict() for one in normalizers]


def consequence(normalizer: Normalizer) -> str:
    """Return what is wrong with a normalizing wrapper inside of a world, in words."""
    if normalizer.of == OBSERVATIONS:
        return (
            f"{normalizer.wrapper} inside of the world has statistics of that world alone: those "
            "of evaluations are others, and the policy and its exports have none"
        )
    return (
        f"{normalizer.wrapper} inside of the world scales rewards, in each world by another number "
        "that changes: scores are not the world's own returns"
    )


def instead(normalizer: Normalizer) -> str:
    """Return the option that does what a normalizing wrapper is meant to do, in words."""
    if normalizer.of == OBSERVATIONS:
        option = flag("env", "normalize_obs")
        return f"leave {normalizer.wrapper} out and give {option}, which the policy keeps"
    option = flag("env", "normalize_rewards")
    return f"leave {normalizer.wrapper} out and give {option}, which leaves scores as they are"


def notes_on(normalizers: Iterable[Normalizer]) -> list[str]:
    """Return a sentence on each of these wrappers."""
    return [f"{consequence(one)}; {instead(one)}" for one in dict.fromkeys(normalizers)]
