"""What a run has written of itself: its description, its options, its metrics."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmu.config import Config, reading
from qmu.config.files import read_toml
from qmu.config.members import Member, members_of
from qmu.errors import ConfigError
from qmu.records.directory import CONFIG_FILE, METRICS, RUN_FILE
from qmu.records.lines import read_lines


@dataclass(frozen=True)
class Kept:
    """A run's directory, read."""

    directory: Path

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says: versions, status, steps, each member's scores.

        Raises:
            ConfigError: it is damaged.
        """
        path = self.directory / RUN_FILE
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is damaged: {error}") from None
        if not isinstance(described, dict) or not isinstance(described.get("environment"), str):
            raise ConfigError(f"{path} is damaged: it does not describe a run")
        return described

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
        """Return the lines of `metrics.jsonl`: step, seconds, member, names -> numbers."""
        return read_lines(self.directory / METRICS)
