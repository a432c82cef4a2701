"""Trains the programs of a study, some at a time; goes on where it was stopped."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from qmu.records.described import said_of
from qmu.signals import ended_by, noted
from qmu.study.folder import apart, log_of, run_of, status_of, steps_taken, take_apart
from qmu.study.plan import Program, Study, programs

# Seconds between two looks at the programs.
PAUSE = 0.5
# Seconds that stopped programs have to save what they have learned.
PATIENCE = 60.0
# A program that has lost its process so often is not tried again.
MOST_LOST = 3


class Job(Protocol):
    """A program that is being trained somewhere."""

    def poll(self) -> int | None:
        """Return the exit code of its process; None while it works, negative if it was lost."""

    def stop(self) -> None:
        """Ask it to save what it has learned, and to end."""

    def wait(self, seconds: float) -> None:
        """Wait for its end; after so many seconds, end it."""


class Engine(Protocol):
    """Where programs are trained: so many `places` have one each."""

    places: int

    def start(self, place: int, program: Program) -> Job:
        """Train a program, or go on with it."""


class Doing(NamedTuple):
    """A program that is at work."""

    program: Program
    job: Job


class Progress(NamedTuple):
    """How far a study is: steps of all members, programs at work, and what has gone wrong."""

    done: int
    total: int
    working: list[Program]
    notes: list[str]


class Conduct:
    """Trains what is still to be trained of a study."""

    def __init__(self, study: Study, directory: Path, engine: Engine) -> None:
        """Find out what has been done before."""
        self.study, self.directory, self.engine = study, directory, engine
        self.doing: dict[int, Doing] = {}
        self.lost: Counter[str] = Counter()
        self.failed: list[tuple[Program, str]] = []
        self.notes: list[str] = []
        self.stopped: list[int] = []
        self.replan()

    def replan(self) -> None:
        """Find out what is to be done; programs that have diverged are taken apart."""
        self.plan = programs(self.study, apart(self.directory))
        standing = [status_of(run_of(self.directory, program)) for program in self.plan]
        for program, status in zip(self.plan, standing, strict=True):
            if status == "diverged" and len(program.arms) > 1:
                self.notes.append(
                    f"{program.called(self.study)} is taken apart, and each arm trained again "
                    f"alone: {self.why(program)}"
                )
                take_apart(self.directory, program)
                return self.replan()
        over = [status in ("finished", "diverged") for status in standing]
        self.done = sum(
            program.steps for program, ended in zip(self.plan, over, strict=True) if ended
        )
        self.waiting = [
            program for program, ended in zip(self.plan, over, strict=True) if not ended
        ]

    def run(self, show: Callable[[Progress], None]) -> None:
        """Train until nothing is left; tell `show` how far it is.

        Raises:
            StoppedError: of SIGTERM; what had been learned is saved.
            KeyboardInterrupt: of Ctrl-C; what had been learned is saved.
        """
        with noted(self.stopped):
            try:
                while (self.doing or self.left()) and not self.stopped:
                    self.start()
                    time.sleep(PAUSE)
                    self.collect()
                    show(self.progress())
            finally:
                self.end()
        if self.stopped:
            raise ended_by(self.stopped, "study")

    def left(self) -> list[Program]:
        """Return the programs that nobody is at, and that have not failed just now."""
        busy = [one.program for one in self.doing.values()]
        tried = [program for program, _ in self.failed]
        return [one for one in self.waiting if one not in busy and one not in tried]

    def start(self) -> None:
        """Give every place that has nothing to do a program."""
        for place in range(self.engine.places):
            left = self.left()
            if place not in self.doing and left:
                self.doing[place] = Doing(left[0], self.engine.start(place, left[0]))

    def collect(self) -> None:
        """Take note of the programs that have ended."""
        for place, (program, job) in list(self.doing.items()):
            code = job.poll()
            if code is None:
                continue
            del self.doing[place]
            status = status_of(run_of(self.directory, program))
            taken_apart = status == "diverged" and len(program.arms) > 1
            if status != "finished" and not taken_apart and not self.stopped:
                self.miss(program, code)
            self.replan()

    def miss(self, program: Program, code: int) -> None:
        """Note that a program has ended without a result; one that was lost is tried again."""
        name = program.called(self.study)
        self.lost[name] += code < 0
        if code < 0 and self.lost[name] < MOST_LOST:
            step = steps_taken(run_of(self.directory, program))
            self.notes.append(
                f"{name}: its process was lost after step {step:,}; another one goes on from the "
                "newest checkpoint"
            )
            return
        why = f"its process was lost {MOST_LOST} times" if code < 0 else self.why(program)
        self.failed.append((program, why))
        self.notes.append(f"{name}: {why}")

    def why(self, program: Program) -> str:
        """Return why a program has no result, in words."""
        run = run_of(self.directory, program)
        error = None if run is None else said_of(run.directory).get("error")
        return str(error) if error else f"see {log_of(self.directory, program)}"

    def progress(self) -> Progress:
        """Return how far the study is."""
        working = [one.program for one in self.doing.values()]
        taken = sum(
            steps_taken(run_of(self.directory, program)) * program.members for program in working
        )
        total = sum(program.steps for program in self.plan)
        return Progress(self.done + taken, total, working, self.notes)

    def end(self) -> None:
        """Stop what is at work, and wait until it has saved."""
        for one in self.doing.values():
            one.job.stop()
        limit = time.monotonic() + PATIENCE
        for one in self.doing.values():
            one.job.wait(max(limit - time.monotonic(), 0.1))
