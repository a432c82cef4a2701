"""How large the discounted returns of members are, by the rewards that they have stored.

Rewards are divided by it before they are learned from, so that values lie within what bins can say.
In double precision: a first reward of 1e30 has a square.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.agent.heads import SUPPORT
from qmu.learning.statistics import united
from qmu.rows import Rows
from qmu.saving.arrays import named

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# A smaller unit is that of rewards which are 0, in single precision.
SMALLEST = 1e-30


class Returns(NamedTuple):
    """Of each member: how many returns, their mean, variance, and largest size; those under way."""

    seen: Doubles  # [members]
    mean: Doubles  # [members]
    variance: Doubles  # [members]
    largest: Doubles  # [members]
    running: Doubles  # [members, worlds]

    def units(self, part: slice) -> Floats:
        """Return how large a reward is that some members learn from as 1 [members].

        The deviation of the returns, or what makes the largest one the end of the bins, if that is
        more: Lee et al. 2025b (SimbaV2), section 4.4. It is 1 before anything but zeros has come.
        """
        unit = np.maximum(np.sqrt(self.variance[part]), self.largest[part] / SUPPORT)
        return np.where(unit < SMALLEST, 1.0, unit).astype(np.float32)


def no_returns(members: int, worlds: int) -> Returns:
    """Return what is known of no rewards."""
    none = np.zeros(members)
    return Returns(none, none, none, none, np.zeros((members, worlds)))


def rewarded(returns: Returns, rows: Rows, gammas: Sequence[float]) -> Returns:
    """Return what is known after the rewards of a chunk.

    After each step a world's return is G = γ G + r. It begins with 0 where an episode was
    terminated, and goes on where one was cut off: values bootstrap there, too, and of short
    episodes of a task without an end they are larger than what any of them brings.

    Args:
        returns: those before.
        rows: of the chunk.
        gammas: the members' discounts.
    """
    gamma = np.asarray(gammas, np.float64)[:, None]
    count, mean, variance, largest = (np.array(one) for one in returns[:4])
    running = returns.running
    for time in range(int(rows.count.max(initial=0))):
        counts = (time < rows.count) & ~rows.last[:, :, time]
        reward = rows.reward[:, :, time].astype(np.float64)
        running = np.where(counts, gamma * running + reward, running)
        count, mean, variance = with_more(count, mean, variance, running, counts)
        sizes = np.max(np.where(counts, np.abs(running), 0.0), axis=1)
        largest = np.maximum(largest, sizes)
        running = np.where(counts & rows.terminated[:, :, time], 0.0, running)
    return Returns(count, mean, variance, largest, running)


def with_more(
    count: Doubles, mean: Doubles, variance: Doubles, values: Doubles, counts: NDArray[np.bool_]
) -> tuple[Doubles, Doubles, Doubles]:
    """Return count, mean and variance [members] after those values [members, worlds] that count."""
    more = counts.sum(axis=1).astype(np.float64)
    total = count + more
    own_mean = np.sum(values, axis=1, where=counts) / np.maximum(more, 1.0)
    own = np.sum(np.square(values - own_mean[:, None]), axis=1, where=counts)
    own_variance, share = own / np.maximum(more, 1.0), more / np.maximum(total, 1.0)
    return total, *united(mean, variance, own_mean, own_variance, share)


def returns_in(held: Mapping[str, Any], members: int, worlds: int) -> Returns:
    """Return what arrays hold of returns. Of other worlds, those under way begin anew.

    Raises:
        UnreadableError: there is nothing.
    """
    seen, mean, variance, largest = (
        named(held, f"returns.{name}", (members,), np.float64) for name in Returns._fields[:4]
    )
    running = held.get("returns.running")
    if running is None or running.shape != (members, worlds):
        running = np.zeros((members, worlds))
    return Returns(seen, mean, variance, largest, running)
