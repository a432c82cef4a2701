"""Signals that ask a run to stop: the first one is noted, a second Ctrl-C ends the process."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any

import psutil

from qmu.errors import StoppedError

SHOW_CURSOR = "\x1b[?25h"
# What a shell says of a process that a signal has ended.
ENDED_BY = 128
# The file of the functions that import modules.
IMPORTS = "<frozen importlib._bootstrap>"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once while something is imported.

    Imports swallow the exception that it is otherwise: those that try several ways, and those of
    C++ that call Python. Where the user, or nobody, hears signals, nothing is changed.
    """
    listening = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if listening:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if listening and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; in the middle of an import, end the process."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            os.write(sys.stderr.fileno(), b"qmu: interrupted\n")
            end_at_once(ENDED_BY + number)
        frame = frame.f_back
    raise KeyboardInterrupt


@contextlib.contextmanager
def noted(received: list[int]) -> Iterator[None]:
    """Put signals that ask to stop into a list until it is left; they do nothing else.

    Those that are ignored stay ignored, and but for Ctrl-C and SIGTERM those that somebody hears.
    """
    taken = [
        number
        for number, handler in handlers().items()
        if handler in ORDINARY[number] or (number in ALWAYS and handler is not signal.SIG_IGN)
    ]
    before = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in taken
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended_by(received: list[int], what: str) -> BaseException:
    """Return what to raise where signals have ended something, which has been saved."""
    if signal.SIGINT in received:
        return KeyboardInterrupt()
    return StoppedError(f"the {what} was stopped by {name_of(received[0])}")


def name_of(number: int) -> str:
    """Return how a signal is called."""
    return signal.Signals(number).name


# What asks to stop: a person, a service, a terminal that is closed, and schedulers, which say so
# before they kill (SIGUSR1), or when the time of the processor is used up.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU")
# What Python does at one of them that nobody hears, or the command line.
ORDINARY: dict[int, tuple[Any, ...]] = {
    getattr(signal, name): (signal.default_int_handler, interrupt)
    if name == "SIGINT"
    else (signal.SIG_DFL,)
    for name in NAMES
    if hasattr(signal, name)
}
# The number of a signal -> who hears it.
Handlers = dict[int, Any]
ALWAYS = (signal.SIGINT, signal.SIGTERM)


def handlers() -> Handlers:
    """Return who hears the signals that ask to stop."""
    return {number: signal.getsignal(number) for number in ORDINARY}


def handlers_of_user(before: Handlers, after: Handlers) -> Handlers:
    """Return who hears the signals now, but for those whom making a world has set.

    Args:
        before: who heard them before the world was made.
        after: who did after it.
    """
    return {
        number: before[number] if now == after[number] else now
        for number, now in handlers().items()
    }


class Signals:
    """While it is entered, signals are noted; a handler that the user has set is left alone.

    One that a world sets is not: it would take Ctrl-C away from the run. Python hears signals in
    the main thread: elsewhere nothing is noted. In an interactive session a second Ctrl-C raises
    KeyboardInterrupt.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        at_first: Handlers | None = None,
        only: Collection[int] = tuple(ORDINARY),
    ) -> None:
        """Take what is told of signals, who heard them before a world was made, and which count."""
        self.tell = tell
        self.received: int | None = None
        heard = handlers() if at_first is None else at_first
        here = threading.current_thread() is threading.main_thread()
        self.before = {
            number: handler
            for number, handler in heard.items()
            if here and number in only and handler in ORDINARY[number]
        }

    def __enter__(self) -> "Signals":
        """Begin to listen, where Python can: in the main thread."""
        self.listen()
        LISTENING.append(self)
        return self

    def listen(self) -> None:
        """Hear the signals, also where a world has meanwhile begun to hear them instead."""
        for number in self.before:
            # Methods are equal, and never the same.
            if signal.getsignal(number) != self.note:
                signal.signal(number, self.note)

    def __exit__(self, *failure: object) -> None:
        """Put back what was there before."""
        LISTENING.remove(self)
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def stopped(self) -> bool:
        """Tell whether a signal has come."""
        self.listen()
        return self.received is not None

    def or_stopped(self, stopped: Callable[[], bool]) -> Callable[[], bool]:
        """Return what tells whether a signal has come, or somebody else has ended it."""
        return lambda: self.stopped() or stopped()

    def check(self, where: str = "") -> None:
        """Raise what the signal that has come is to end the run with, if one has; say `where`."""
        if not self.stopped():
            return
        assert self.received is not None
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise StoppedError(f"stopped by {name_of(self.received)}{where}")

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; end everything at a second Ctrl-C."""
        del frame
        if self.received is not None and number == signal.SIGINT:
            if hasattr(sys, "ps1") or "IPython" in sys.modules:
                # A session with a person in it, and with more than this run.
                raise KeyboardInterrupt
            end_at_once(ENDED_BY + signal.SIGINT)
        if self.received is None:
            self.received = number
            self.tell("stopping when this chunk is done; Ctrl-C ends at once, without saving")


# Those that are entered.
LISTENING: list[Signals] = []


def listen_again() -> None:
    """Hear signals where a world may have begun to hear them instead, as many do in a reset."""
    for one in LISTENING:
        one.listen()


def ending(code: int) -> str:
    """Return how a process has ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"


def end_at_once(code: int) -> None:
    """End this process with this code, and its children, without another word."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())
    os._exit(code)
