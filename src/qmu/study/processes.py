"""Trains programs of a study in processes of this machine."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from qmu.study.folder import arms_of, log_of
from qmu.study.plan import Program

# Of a GPU's memory, what the programs that share it may take.
GPU_ROOM = 0.9


class Process:
    """A program in a process of its own, which ends when its standard input does."""

    def __init__(self, words: list[str], log: Path) -> None:
        """Start `python -m qmu.study.worker` with these words; what it says goes into a file."""
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "qmu.study.worker", *words],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Return the exit code; None while it works, negative if a signal ended it."""
        code = self.process.poll()
        if code is not None:
            self.close()
        return code

    def look(self, seconds: float) -> None:
        """Wait so long, or until its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def stop(self) -> None:
        """Ask it to save what it has learned, and to end."""
        self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end; after so many seconds, end it."""
        self.look(seconds)
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close what it would read."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()


class Processes:
    """Trains so many programs side by side, each on its part of the processor's cores."""

    def __init__(self, directory: Path, workers: int, typed: list[str]) -> None:
        """Divide the processors; `typed` are environments that need a module."""
        self.directory, self.typed = directory, typed
        self.shares = divided(processors(), workers)
        self.places = workers

    def start(self, place: int, program: Program) -> Process:
        """Train a program, or go on with it."""
        words = words_of(self.directory, program, self.shares[place], self.typed)
        return Process(words, log_of(self.directory, program))


class Lease:
    """Processors of this machine that no other lease has, as long as the process lives."""

    def __init__(self, count: int) -> None:
        """Take so many, or as many as are left; where none is left, share all of them."""
        folder = Path(tempfile.gettempdir()) / f"qmu-processors-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        self.locks: list[FileLock] = []
        taken: list[int] = []
        for one in processors():
            lock = FileLock(folder / f"{one}.lock")
            if len(taken) < count:
                with contextlib.suppress(Timeout):
                    lock.acquire(timeout=0)
                    self.locks.append(lock)
                    taken.append(one)
        self.processors = taken or processors()

    def end(self) -> None:
        """Give the processors back."""
        for lock in self.locks:
            lock.release()


def share_gpu(gpus: float) -> None:
    """Let JAX, in this process and in its children, take its part of a GPU's memory only."""
    if 0 < gpus < 1:
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{GPU_ROOM * gpus:.3f}"


def words_of(directory: Path, program: Program, share: list[int], typed: list[str]) -> list[str]:
    """Return what `qmu.study.worker` is told: which program, where, and on which processors."""
    told = ",".join(map(str, share))
    return [str(directory), program.world.id, arms_of(program), told, *typed]


def divided(processors: list[int], workers: int) -> list[list[int]]:
    """Return each worker's processors; with more workers than processors, some share one."""
    if workers >= len(processors):
        return [[processors[place % len(processors)]] for place in range(workers)]
    return [processors[place::workers] for place in range(workers)]


def processors() -> list[int]:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
