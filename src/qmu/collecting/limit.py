"""How long a world may take for a step or a reset, while its process runs."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from qmu.errors import ConfigError
from qmu.signals import end_at_once

# An environment that hangs outside of Python notices no signal: after so many limits the process
# has to end.
HOPELESS = 3
# A limit is divided into so many ticks, of so many seconds at least and at most.
TICKS, SHORTEST, LONGEST = 10, 0.01, 1.0
# A tick that took longer than so many was not one of a busy machine.
LATE = 3


class TookTooLongError(Exception):
    """Raised inside of an environment that took too long."""


class Alarm:
    """The timer's signal, which all limits of a process share.

    It is taken for the first of them, and given back when the last one is closed.
    """

    def __init__(self) -> None:
        """Begin without a limit."""
        self.limits: list[TimeLimit] = []
        self.before: Any = None

    def take(self, limit: "TimeLimit") -> None:
        """Ring for this limit, too, whenever it is the one that is entered."""
        if not self.limits:
            self.before = signal.signal(signal.SIGALRM, self.ring)
        self.limits.append(limit)

    def give_back(self, limit: "TimeLimit") -> None:
        """Ring no longer for this limit."""
        if limit not in self.limits:
            return
        self.limits.remove(limit)
        if not self.limits:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Raise TookTooLongError where the main thread is, if that is inside of a limit.

        Only once: it may be so early that `__exit__` is never called. If the process has stood
        still meanwhile, ring again after what is left.
        """
        del number, frame
        for limit in self.limits:
            if limit.entered is not None:
                left = limit.left()
                if left > 0:
                    signal.setitimer(signal.ITIMER_REAL, max(left, SHORTEST))
                    return
                limit.entered = None
                raise TookTooLongError(
                    f"it took longer than {limit.seconds:g} s (--env.step-timeout)"
                )


ALARM = Alarm()


class Clock:
    """Counts the seconds in which the process ran, and not those in which it was stopped.

    A thread looks at the time in small ticks. One that took far longer than it should is time in
    which the process stood still (SIGSTOP, a frozen container), but for what the main thread has
    computed in it: native code may have kept the thread from ticking.
    """

    def __init__(self, tick: float, look: Callable[[], None]) -> None:
        """Begin to tick; `look` is called at every tick."""
        self.tick, self.look = tick, look
        self.busy = computing_time()
        # When it ticked last, what the main thread had computed then, and how long it had stood.
        self.seen = (time.monotonic(), self.busy(), 0.0)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Tick."""
        while not self.done.wait(self.tick):
            self.seen = self.looked()
            self.look()

    def looked(self) -> tuple[float, float, float]:
        """Return what is seen at this moment."""
        moment, busy, stood = self.seen
        now, computed = time.monotonic(), self.busy()
        counted = max(LATE * self.tick, computed - busy)
        return now, computed, stood + max(now - moment - counted, 0.0)

    def ran(self) -> float:
        """Return how many seconds the process has run, since a moment that is always the same."""
        now, _, stood = self.looked()
        return now - stood

    def close(self) -> None:
        """Tick no longer."""
        self.done.set()
        if self.thread is not threading.current_thread():
            self.thread.join()


def computing_time() -> Callable[[], float]:
    """Return what tells the seconds that the main thread has computed; elsewhere those of all."""
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        return lambda: time.clock_gettime(clock)
    return time.process_time


class TimeLimit:
    """A limit in seconds for what is done while it is entered; None for no limit.

    The main thread is interrupted by a signal, wherever Python code runs or waits in it.
    """

    def __init__(self, seconds: float | None) -> None:
        """Take the limit.

        Raises:
            ConfigError: there is one, and it cannot be kept here.
        """
        self.seconds = seconds
        self.entered: float | None = None
        self.last_words: Callable[[], str] | None = None
        if seconds is None:
            return
        if (
            not hasattr(signal, "setitimer")
            or threading.current_thread() is not threading.main_thread()
        ):
            raise ConfigError(
                "--env.step-timeout needs a system with interval timers, and the main thread: "
                "leave it out"
            )
        tick = min(max(seconds / TICKS, SHORTEST), LONGEST)
        self.clock = Clock(tick, self.look)
        ALARM.take(self)

    def __enter__(self) -> None:
        """Begin to count."""
        if self.seconds is not None:
            self.entered = self.clock.ran()
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *failure: object) -> None:
        """Count no longer."""
        if self.seconds is not None:
            self.entered = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def close(self) -> None:
        """Need the signal no longer."""
        ALARM.give_back(self)
        if self.seconds is not None:
            self.clock.close()

    def left(self) -> float:
        """Return how many seconds are left; all of them where it is not entered."""
        seconds, entered = self.seconds or 0.0, self.entered
        return seconds if entered is None else seconds - (self.clock.ran() - entered)

    @contextmanager
    def watched(self, last_words: Callable[[], str]) -> Iterator[None]:
        """End the process, with these words, if it hangs where no signal interrupts it."""
        self.last_words = last_words
        try:
            yield
        finally:
            self.last_words = None

    def look(self) -> None:
        """End the process if what is entered takes far too long, and somebody has last words."""
        if self.last_words is not None and self.left() < (1 - HOPELESS) * (self.seconds or 0.0):
            print(self.last_words(), file=sys.stderr, flush=True)
            end_at_once(1)
