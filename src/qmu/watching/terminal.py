"""A terminal that ends no run, whatever becomes of what it writes to."""

import contextlib
import os
import sys
from typing import IO, Any

from rich.console import Console


class Lenient:
    """A text file that may take nothing, as on a disk that is full: that is told once."""

    def __init__(self, file: IO[str], told: set[str]) -> None:
        """Write to this file; `told` is what has been told already."""
        self.held, self.told = file, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self.held, name)

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        with self.patience():
            self.held.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is pending, if that is possible."""
        with self.patience():
            self.held.flush()

    @contextlib.contextmanager
    def patience(self) -> Any:
        """Go on where something cannot be written; a reader that has left is another matter."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if "lenient" not in self.told:
                self.told.add("lenient")
                with contextlib.suppress(OSError):
                    print(f"qmu: nothing can be shown: {error}", file=sys.stderr)


class Stubborn(Console):
    """A terminal whose reader may leave, as `head` does, and whose disk may be full.

    The run goes on without it.
    """

    def __init__(self, **options: Any) -> None:
        """Take what a terminal of rich takes."""
        self.told: set[str] = set()
        super().__init__(**options)

    @property
    def file(self) -> IO[str]:
        """What is written to."""
        lenient: Any = Lenient(super().file, self.told)
        return lenient

    @file.setter
    def file(self, file: IO[str]) -> None:
        self._file = file

    def on_broken_pipe(self) -> None:
        """Print nothing more, into nothing."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
