"""What is known of a member, and how a finding about it is put."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qmu import config as options
from qmu.config import Config

Lines = Sequence[Mapping[str, Any]]

# A verdict is about the last so many lines of metrics, or evaluations.
RECENT = 5

CERTAIN, LIKELY, POSSIBLE = SURE = ("certain", "likely", "possible")


class Finding(NamedTuple):
    """Something that is wrong: what was seen, what it means, how sure that is, what to try.

    What was seen and what it means are sentences without their full stop; the advice goes on
    after "try". `explains` names other findings that are only consequences, and are not told.
    """

    name: str
    seen: str
    meaning: str
    sure: str
    advice: str
    serious: bool = False
    explains: tuple[str, ...] = ()


class Chart:
    """What is known of a member: its options, and what it has logged, oldest first.

    It grows with what is logged: no line is read again for the next diagnosis.
    """

    def __init__(self, config: Config, lines: Lines, longest: int | None) -> None:
        """Take a member's options, lines, and the environment's own limit of an episode.

        The limit is in steps of the member, not in those of the world that an action may be.

        After the last of the lines the member had taken `steps` steps; none if there is no line.
        `newest` is the step of the last line that has a metric, by its name.
        """
        self.config, self.longest, self.steps = config, longest, 0
        self.lines: list[Mapping[str, Any]] = []
        self.values: dict[str, list[float]] = {}
        self.newest: dict[str, int] = {}
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take another line."""
        step = int(line.get("step", 0))
        self.lines.append(line)
        self.steps = max(self.steps, step)
        for name, value in line.items():
            if isinstance(value, int | float):
                self.values.setdefault(name, []).append(float(value))
                self.newest[name] = step

    def all(self, name: str) -> Sequence[float]:
        """Return all values of a metric."""
        return self.values.get(name, [])

    def recent(self, name: str, least: int = RECENT) -> float:
        """Return the mean of a metric's last values; NaN where there are less than `least`."""
        values = self.all(name)[-RECENT:]
        return float(np.mean(values)) if len(values) >= least else float("nan")

    @property
    def reward_unit(self) -> float:
        """How large a reward is that is learned from as 1; 1 where they are taken as they come."""
        values = self.all("train/reward_unit")
        return values[-1] if values else 1.0

    @property
    def updates(self) -> int:
        """Updates that the member had made by the last line."""
        learning = max(0, self.steps - options.learn_after(self.config))
        return int(self.config.train.updates_per_step * learning)

    @property
    def limit(self) -> int | None:
        """The most steps that an episode can have, if that is known."""
        # The run's own 0 is no limit, also of the environment's.
        if self.config.env.episode_length == 0:
            return None
        env = self.config.env
        limits = [env.actions(env.episode_length), self.longest]
        return min((limit for limit in limits if limit is not None), default=None)


class Rule(NamedTuple):
    """A question to a chart, what it asks for, and of which metrics it needs how many values."""

    about: str
    ask: Callable[[Chart], Finding | None]
    needs: tuple[str, ...] = ()
    least: int = RECENT

    def lacks(self, chart: Chart) -> list[str]:
        """Return the metrics of which there are too few values."""
        config = chart.config
        # Gradients are read from Adam's moments.
        never = {
            f"health/{name}_gradient"
            for name, own in (("actor", config.actor), ("critic", config.critic))
            if own.optimizer == "sgd"
        }
        return [
            name for name in self.needs if name not in never and len(chart.all(name)) < self.least
        ]
