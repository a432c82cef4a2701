"""How long a world may take for a step or a reset."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from qmu.errors import ConfigError
from qmu.signals import end_at_once

# An environment that hangs outside of Python notices no signal: after so many limits the process
# has to end.
HOPELESS = 3


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

        Only once: it may be so early that `__exit__` is never called.
        """
        del number, frame
        for limit in self.limits:
            if limit.entered is not None:
                limit.entered = None
                raise TookTooLongError(
                    f"it took longer than {limit.seconds:g} s (--env.step-timeout)"
                )


ALARM = Alarm()


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
        ALARM.take(self)

    def __enter__(self) -> None:
        """Begin to count."""
        if self.seconds is not None:
            self.entered = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *failure: object) -> None:
        """Count no longer."""
        if self.seconds is not None:
            self.entered = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def close(self) -> None:
        """Need the signal no longer."""
        ALARM.give_back(self)

    @contextmanager
    def watched(self, last_words: str) -> Iterator[None]:
        """End the process, with these words, if it hangs where no signal interrupts it."""
        if self.seconds is None:
            yield
            return
        done = threading.Event()
        watch = threading.Thread(
            target=self.watch, args=(self.seconds, done, last_words), daemon=True
        )
        watch.start()
        try:
            yield
        finally:
            done.set()
            watch.join()

    def watch(self, seconds: float, done: threading.Event, last_words: str) -> None:
        """Look again and again whether what is entered takes far too long."""
        while not done.wait(seconds):
            entered = self.entered
            if entered is not None and time.monotonic() - entered > HOPELESS * seconds:
                print(last_words, file=sys.stderr, flush=True)
                end_at_once(1)
