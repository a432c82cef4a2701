"""What a run has written of itself: its description, its options, its metrics."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmu.config import Config, reading
from qmu.config.files import read_toml
from qmu.config.members import Member, members_of
from qmu.records.described import read_run
from qmu.records.directory import CONFIG_FILE, METRICS
from qmu.records.lines import read_lines


@dataclass(frozen=True)
class Kept:
    """A run's directory, read."""

    directory: Path

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says: versions, status, steps, each member's scores.

        Raises:
            ConfigError: it is damaged, or was written by a newer version.
        """
        return read_run(self.directory)

    @property
    def config(self) -> Config:
        """The run's complete configuration."""
        return reading.from_dict(read_toml(self.directory / CONFIG_FILE))

    @property
    def members(self) -> tuple[Member, ...]:
        """Its agents: every seed of every arm.

        Raises:
            ConfigError: its description is damaged.
        """
        return members_of(self.config, self.info.get("arms") or {})

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`: step, seconds, member, names -> numbers.

        None where the file is not there.
        """
        return read_lines(self.directory / METRICS)
