"""One process at a time writes into a run's directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qmu.errors import ConfigError
from qmu.records.described import said_of

LOCK_FILE = "run.lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the run's lock, which the system takes away from a process that has ended.

    Raises:
        ConfigError: another process holds it, or the directory cannot be written into.
    """
    lock = FileLock(directory / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{directory} is being trained by {holder(directory)}: wait for its end, or stop it"
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"{directory} cannot be written into ({why}): allow it, or copy the run to where it can"
        ) from None
    try:
        yield
    finally:
        lock.release()


def holder(directory: Path) -> str:
    """Return which process trains the run, as far as its description says."""
    described = said_of(directory)
    if not {"process", "host"} <= described.keys():
        return "another process"
    return f"process {described['process']} on {described['host']}"
