"""Ctrl-C and SIGTERM: the first one asks a run to stop, a second Ctrl-C ends the process."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil

SHOW_CURSOR = "\x1b[?25h"
# What a shell says of a process that a signal has ended.
ENDED_BY = 128


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
            ordinary = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, handler in ordinary.items():
                if signal.getsignal(number) == handler:
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
