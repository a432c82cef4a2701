"""The run that a model writes while it learns: one directory, gone on with by every call."""

import contextlib
import time
import weakref
from pathlib import Path

from qmu import config as options
from qmu.config import Config, checks
from qmu.errors import ConfigError, LostRunError, warn
from qmu.learning.callbacks import Listeners
from qmu.learning.loop import Trainer
from qmu.records.described import goes_on, said_of
from qmu.records.directory import RUN_FILE, write_config, write_json
from qmu.runs.lock import locked
from qmu.runs.record import open_record
from qmu.runs.train import Work, go_through
from qmu.signals import Handlers


class Journal:
    """A run's directory that a model writes into; until it is closed, no other process does.

    Every call of `learn` ends as a run does: evaluated, saved and scored.
    """

    def __init__(self, trainer: Trainer, home: str | None) -> None:
        """Make the directory; a relative one is one of `home`.

        Raises:
            ConfigError: it cannot be made, or the options ask for something that is not there.
        """
        self.trainer = trainer
        self.record = open_record(trainer, home, warn)
        held = contextlib.ExitStack()
        held.enter_context(locked(self.record.directory))
        held.callback(self.record.close)
        self.rested_at = time.monotonic()
        # Whoever closes no model leaves whole files, too.
        self.close = weakref.finalize(self, held.close)

    def learn(self, work: Work, end: int, listeners: Listeners, heard: Handlers) -> None:
        """Train as `work` does until step `end`, and write what a run writes.

        It raises what `go_through` does, and

        Raises:
            ConfigError: the directory cannot be written into.
        """
        # It did not run since the last call.
        self.record.started += time.monotonic() - self.rested_at
        try:
            self.go_on(end)
            go_through(self.trainer, self.record, work, None, listeners, heard)
        except LostRunError:
            raise self.gone() from None
        finally:
            self.rested_at = time.monotonic()

    def place(self) -> Path:
        """Return where the directory is now.

        Raises:
            LostRunError: it is gone.
        """
        if self.close.alive:
            try:
                self.record.look()
            except LostRunError:
                raise self.gone() from None
        return self.record.directory

    def gone(self) -> LostRunError:
        """Return what to raise where the directory is gone, which is not written into again."""
        self.close()
        return LostRunError(
            f"{self.record.directory}, which the model writes its run into, is not there any more "
            f"at step {self.trainer.step}. The model has what it has learned: its next learn "
            "begins another run, and save writes it into a file"
        )

    def go_on(self, end: int) -> None:
        """Say in the run's files that it goes on, and until when."""
        record = self.record
        record.look()
        try:
            write_config(record.directory, until(self.trainer.config, end))
            write_json(record.directory / RUN_FILE, goes_on(said_of(record.directory)))
        except OSError as error:
            raise ConfigError(f"{record.directory} cannot be written to: {error}") from None


def until(config: Config, end: int) -> Config:
    """Return a model's configuration as that of a run which ends at a step, and is else the same.

    With too few steps to learn in there is no such run: then it is the model's own.
    """
    if config.train.total_steps == end:
        return config
    schedule = options.schedule_steps(config) or 0
    ending = options.replace(
        config, "train", total_steps=end, total_episodes=None, schedule_steps=schedule
    )
    ending = options.replace(ending, "explore", start_steps=options.start_steps(config))
    try:
        checks.check(ending)
    except ConfigError:
        return config
    return ending
