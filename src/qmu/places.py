"""Paths, as a person is shown them."""

from pathlib import Path


def shown(path: Path) -> Path:
    """Return a path from the working folder, if it lies in there; others as they are."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):
        return path
