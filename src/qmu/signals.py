"""Ctrl-C and SIGTERM: the first one asks a run to stop, a second Ctrl-C ends the process."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
    """Put Ctrl-C and SIGTERM into a list until it is left; they do nothing else."""
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in ORDINARY
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
    return StoppedError(f"the {what} was stopped by SIGTERM")


# What Python does at a signal that nobody hears, or the command line.
ORDINARY = {
    signal.SIGINT: (signal.default_int_handler, interrupt),
    signal.SIGTERM: (signal.SIG_DFL,),
}


class Signals:
    """While it is entered, signals are noted; a handler that the user has set is left alone.

    Python hears signals in the main thread: elsewhere nothing is noted. In an interactive session a
    second Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Say what a signal does by `tell`."""
        self.tell = tell
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        """Begin to listen, where Python can: in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number, handlers in ORDINARY.items():
                if signal.getsignal(number) in handlers:
                    self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *failure: object) -> None:
        """Put back what was there before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def stopped(self) -> bool:
        """Tell whether a signal has come."""
        return self.received is not None

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
