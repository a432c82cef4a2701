"""Running statistics of the observations that members have stored, in double precision."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.saving.arrays import named

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Of the mean square of a number so much is added to its variance: a number that never changes is
# not blown up, and one that changes is scaled by what it changes by, however small that is.
EPSILON = 1e-12
# What versions before added to a variance, whatever its size.
OLD_EPSILON = 1e-8
# A smaller deviation is that of a number which never changes, in single precision.
SMALLEST = 1e-30


class Statistics(NamedTuple):
    """Of each member: how many observations, their mean and variance; what is added to that."""

    seen: Doubles  # [members]
    mean: Doubles  # [members, obs]
    variance: Doubles  # [members, obs]
    added: Doubles  # [members]; 0, but for what an older version has begun

    def scales(self, part: slice) -> tuple[Floats, Floats]:
        """Return some members' means and deviations [members, obs], as networks are given them."""
        mean, variance = self.mean[part], self.variance[part]
        square = variance + EPSILON * (np.square(mean) + variance) + self.added[part, None]
        std = np.sqrt(square)
        return mean.astype(np.float32), np.where(std < SMALLEST, 1.0, std).astype(np.float32)


def no_statistics(members: int, obs_size: int) -> Statistics:
    """Return the statistics of no observation."""
    zeros = np.zeros((members, obs_size))
    return Statistics(np.zeros(members), zeros, zeros, np.zeros(members))


def observed(statistics: Statistics, obs: Floats, counts: NDArray[np.int32]) -> Statistics:
    """Return the statistics after some more observations.

    Args:
        statistics: those before.
        obs: the rows of a chunk [members, worlds, rows, obs].
        counts: how many of each world's rows count [members, worlds], the first ones.
    """
    members, _, rows, size = obs.shape
    count, mean, variance = (np.array(one) for one in statistics[:3])
    for member in range(members):
        seen = np.arange(rows)[None] < counts[member][:, None]
        new = obs[member][seen].reshape(-1, size).astype(np.float64)
        if not len(new):
            continue
        total = count[member] + len(new)
        mean[member], variance[member] = united(
            mean[member], variance[member], new.mean(axis=0), new.var(axis=0), len(new) / total
        )
        count[member] = total
    return Statistics(count, mean, variance, statistics.added)


def united(
    mean: Doubles, variance: Doubles, new_mean: Doubles, new_variance: Doubles, share: Any
) -> tuple[Doubles, Doubles]:
    """Return mean and variance of the union of two sets, of which the new one is this share.

    Chan, Golub and LeVeque 1979, eq. 2.1.
    """
    apart = new_mean - mean
    spread = (1 - share) * variance + share * new_variance
    return mean + share * apart, spread + share * (1 - share) * np.square(apart)


def with_deviations(held: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays in which normalizers have deviations, and not the variances of older ones."""
    old = ".normalizer.variance"
    found = {
        f"{name.removesuffix(old)}.normalizer.std": np.sqrt(array + np.float32(OLD_EPSILON))
        for name, array in held.items()
        if name.endswith(old)
    }
    return dict(held) | found


def statistics_in(held: Mapping[str, Any], agents: str, members: int, obs_size: int) -> Statistics:
    """Return the statistics that arrays hold, or what an older version kept with the `agents`.

    Raises:
        UnreadableError: there are none.
    """
    shapes = ((members,), (members, obs_size), (members, obs_size), (members,))
    if "statistics.seen" in held:
        return Statistics(
            *(
                named(held, f"statistics.{name}", shape, np.float64)
                for name, shape in zip(Statistics._fields, shapes, strict=True)
            )
        )
    kept = [
        named(held, f"{agents}.normalizer.{name}", shape, np.float32).astype(np.float64)
        for name, shape in zip(("count", "mean", "variance"), shapes[:3], strict=True)
    ]
    return Statistics(kept[0], kept[1], kept[2], np.full(members, OLD_EPSILON))


def is_old(statistics: Statistics) -> bool:
    """Tell whether an older version has begun them."""
    return bool(statistics.added.any())


OLD = (
    "its observations are normalized as an older version did it, with 1e-8 added to variances, and "
    "go on like that: numbers smaller than 1e-4 stay small. A new run has no such limit"
)
