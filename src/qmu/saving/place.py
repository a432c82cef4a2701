"""A folder that is written into for hours, wherever it is moved to meanwhile."""

import contextlib
import os
import sys
from pathlib import Path


class GoneError(Exception):
    """A folder is not where it was; `deleted` tells whether it is nowhere any more."""

    def __init__(self, path: Path, deleted: bool) -> None:
        """Take where it was."""
        super().__init__(f"{path} is not there any more")
        self.path, self.deleted = path, deleted


class Place:
    """Where a folder is. It is held open, so that another one of its name is not taken for it."""

    def __init__(self, folder: Path) -> None:
        """Hold a folder that is there.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = folder.resolve()
        self.identity = os.stat(self.path)
        # Windows opens no folders, and lets none be moved in which a file is open.
        self.descriptor = None if os.name == "nt" else os.open(self.path, os.O_RDONLY)

    def moved(self) -> bool:
        """Look whether the folder is where it was, and where it is if it is not; tell if it moved.

        Raises:
            GoneError: it was deleted, or the system does not say where it is.
        """
        if self.is_at(self.path):
            return False
        deleted = self.descriptor is not None and os.fstat(self.descriptor).st_nlink == 0
        now = None if deleted or self.descriptor is None else path_of(self.descriptor)
        if now is None or not self.is_at(now):
            raise GoneError(self.path, deleted)
        self.path = now
        return True

    def is_at(self, path: Path) -> bool:
        """Tell whether a path leads to the folder; one that cannot be looked at may."""
        try:
            there = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        # Held open, it keeps its number also where numbers are given anew.
        held = self.identity if self.descriptor is None else os.fstat(self.descriptor)
        return os.path.samestat(there, held)

    def close(self) -> None:
        """Hold the folder no longer."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def path_of(descriptor: int) -> Path | None:
    """Return the path of an open folder; None where the system does not say it."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            return Path(
                os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
            )
        return None
    with contextlib.suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    return None
