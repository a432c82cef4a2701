"""Where paths lead, and the working folder, which worlds may change."""

import contextlib
import os
import re
from pathlib import Path
from types import TracebackType

from qmu.errors import ConfigError


def absolute(path: str | Path, folder: str | None = None) -> Path:
    """Return where a path leads from a folder; `~` and `$NAME` are expanded.

    A path that is there as it is spelled is taken as it is.

    Args:
        path: what somebody has given.
        folder: from where; None: from the working folder as it is now.

    Raises:
        ConfigError: it names a home or a variable that there is not.
    """
    text = os.fspath(path)
    if not os.path.lexists(os.path.join(folder or "", text)):
        text = os.path.expandvars(os.path.expanduser(text))
        unknown = re.search(r"^~[^/\\]*|\$\{?\w+\}?", text)
        if unknown:
            what = "home" if unknown[0].startswith("~") else "environment variable"
            raise ConfigError(f"{path}: there is no {what} {unknown[0]}; write the path out")
    return Path(folder or "", text).absolute()


def shown(path: Path) -> str:
    """Return a path as a person types it: from the working folder, if it lies below."""
    folder = home()
    try:
        return str(path) if folder is None else str(path.relative_to(folder))
    except ValueError:
        return str(path)


# The working folders of those who have let worlds change it, the first one's first.
HOMES: list[str | None] = []


def home() -> str | None:
    """Return the working folder as it was before worlds could change it, if it is there."""
    return HOMES[0] if HOMES else here()


class WorkingFolder:
    """While it is entered, worlds may change the working folder; then it is what it was before.

    Entered again, it is what they have changed it to.
    """

    def __init__(self) -> None:
        """Begin with the folder that there is."""
        self.theirs: str | None = None

    def __enter__(self) -> str | None:
        """Go where the worlds have been; return the folder that there was, if it is there."""
        before = here()
        HOMES.append(before)
        go(self.theirs)
        return before

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Come back."""
        now, before = here(), HOMES.pop()
        self.theirs = None if now == before else now
        go(before)


def here() -> str | None:
    """Return the working folder, unless it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def go(folder: str | None) -> None:
    """Make a folder the working folder, if it is there."""
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
