"""The only world of a run, in which training and evaluations take turns."""

import time
from collections import deque
from functools import partial

import numpy as np

from qmu.world.host import Floats, Guard, HostWorlds, Result
from qmu.world.make import Maker

# The median step is that of so many newest ones.
TIMED = 1_000


class OnlyWorld(HostWorlds):
    """The only world there is.

    It is measured for how long it is left alone inside of an episode: from the end of a reset or
    step to the next step.
    """

    def __init__(self, maker: Maker, guard: Guard, restarting: bool) -> None:
        """Make the world, which runs in `guard`; if `restarting`, it is replaced where it fails."""
        make = partial(maker.make_one, None)
        super().__init__([make()], maker.spaces, guard, make if restarting else None, maker.longest)
        # Whether an episode goes on in which a step was taken.
        self.inside = False
        # Whether the next end is waited for; after it no episode has begun.
        self.awaited, self.at_rest = False, False
        self.left_at: float | None = None
        self.longest_gap = 0.0
        self.seconds: deque[float] = deque(maxlen=TIMED)
        self.closed = False

    def start(self, index: int, seed: int | None) -> Floats:
        """Start an episode."""
        self.inside, self.at_rest, self.left_at = False, False, None
        obs = super().start(index, seed)
        self.left_at = time.perf_counter()
        return obs

    def execute(self, index: int, action: Floats) -> Result:
        """Execute one action, without a reset at the episode's end."""
        began = time.perf_counter()
        if self.left_at is not None:
            self.longest_gap = max(self.longest_gap, began - self.left_at)
        self.left_at = None
        result = super().execute(index, action)
        self.left_at = time.perf_counter()
        self.seconds.append(self.left_at - began)
        self.inside = not (result.terminated or result.truncated)
        return result

    def begin_next(self, index: int, final: Floats) -> Floats:
        """Start the episode after one that has ended, unless its end is awaited."""
        if not self.awaited:
            return super().begin_next(index, final)
        self.at_rest = True
        return final

    def gaps(self) -> dict[str, float]:
        """Return the longest gap since the last call, and the median step, in seconds."""
        if not self.seconds:
            return {}
        longest, self.longest_gap = self.longest_gap, 0.0
        return {
            "time/longest_gap": longest,
            "time/median_step": float(np.median(self.seconds)),
        }

    def close(self) -> None:
        """Close the environment, once."""
        if not self.closed:
            self.closed = True
            super().close()
