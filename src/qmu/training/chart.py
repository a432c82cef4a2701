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
    after "try".
    """

    name: str
    seen: str
    meaning: str
    sure: str
    advice: str
    serious: bool = False


class Chart(NamedTuple):
    """What is known of a member: its options, and what it has logged, oldest first.

    `longest` is the environment's own limit of an episode, in steps.
    """

    config: Config
    lines: Lines
    longest: int | None

    def all(self, name: str) -> list[float]:
        """Return all values of a metric."""
        return [float(line[name]) for line in self.lines if line.get(name) is not None]

    def recent(self, name: str, least: int = RECENT) -> float:
        """Return the mean of a metric's last values; NaN where there are less than `least`."""
        values = self.all(name)[-RECENT:]
        return float(np.mean(values)) if len(values) >= least else float("nan")

    @property
    def steps(self) -> int:
        """Steps that the member had taken when it logged last; 0 if it has not."""
        return max((int(line.get("step", 0)) for line in self.lines), default=0)

    @property
    def updates(self) -> int:
        """Updates that it had made by then."""
        learning = max(0, self.steps - options.learn_after(self.config))
        return int(self.config.train.updates_per_step * learning)

    @property
    def limit(self) -> int | None:
        """The most steps that an episode can have, if that is known."""
        limits = [self.config.env.episode_length, self.longest]
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
