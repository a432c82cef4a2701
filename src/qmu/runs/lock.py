"""One process at a time writes into a run's directory."""

import contextlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qmu.errors import ConfigError

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
        raise ConfigError(f"{directory} is being trained by {holder(directory)}") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(
            f"{directory} cannot be written into ({why}): allow it, or copy the run to where it can"
        ) from None
    with contextlib.suppress(OSError):
        lines = (str(os.getpid()), platform.node())
        (directory / LOCK_FILE).write_text("\n".join(lines), encoding="utf-8")
    try:
        yield
    finally:
        lock.release()


def holder(directory: Path) -> str:
    """Return which process trains the run, as it has written into the lock's file; and a way out.

    What the run says of itself may be of the process before.
    """
    way_out = "wait for its end, or stop it"
    try:
        process, host = (directory / LOCK_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return f"another process: {way_out}"
    if (process, host) == (str(os.getpid()), platform.node()):
        return "this process: close() the model that writes it, or wait for the end of its training"
    return f"process {process:.20} on {host:.80}: {way_out}"
