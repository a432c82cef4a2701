"""What the commands print, where it may find no room or no reader."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class Output:
    """While it is entered, it is the standard output; what is not written to that is `missed`.

    It may be on a disk that is full, or a pipe that nobody reads any more. That ends a command, and
    is no error of the program.
    """

    def __init__(self) -> None:
        """Stand before what is the standard output now."""
        self.held: Any = sys.stdout
        self.missed: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.held, name)

    def __enter__(self) -> "Output":
        """Become the standard output, if there is one."""
        if self.held is not None:
            replaced: Any = self
            sys.stdout = replaced
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Write out what is pending, or let it be forgotten; an error of writing ends here."""
        if self.held is None:
            return False
        sys.stdout, first = self.held, self.missed
        with contextlib.suppress(OSError):
            self.flush()
        if self.missed is not None:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.held.fileno())
        return error is not None and (error is first or isinstance(error, BrokenPipeError))

    def write(self, text: str) -> int:
        """Write a text."""
        with self.noted():
            return int(self.held.write(text))

    def flush(self) -> None:
        """Write what is pending."""
        with self.noted():
            self.held.flush()

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what cannot be written."""
        try:
            yield
        except OSError as error:
            self.missed = error
            raise


def complain(text: str) -> None:
    """Say something on the standard error output, if that takes it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
