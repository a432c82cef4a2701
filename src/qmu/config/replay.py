"""The options of the stream of rows, and of what is drawn from it."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from qmu.config.declared import (
    FRACTION,
    POSITIVE,
    SHARE,
    UP_TO_1000,
    numeric,
    one_of,
    structural,
)
from qmu.config.spelling import flag
from qmu.errors import ConfigError

# What numbers are that are not given, by how rows are drawn. Where they are drawn uniformly these
# have no effect.
SCHAUL = {"alpha": 0.6, "beta": 0.4, "beta_end": 1.0}
USUAL = {"uniform": SCHAUL, "td-error": SCHAUL, "lap": {"alpha": 0.4}}


@dataclass(frozen=True)
class Replay:
    """The stream of rows and what is drawn from it."""

    capacity: int = structural(
        1_000_000,
        help="rows kept per member: one per step and one per finished episode",
        rule=POSITIVE,
    )
    batch_size: int = structural(
        256, help="transitions per update; with a memory, sequences", rule=POSITIVE
    )
    n_step: int = structural(
        3, help="steps of reward before the target bootstraps; 1: a transition", rule=UP_TO_1000
    )
    priorities: str = structural(
        "uniform",
        help="how rows are drawn: uniform, by their last td-error, or lap: by it where above 1",
        rule=one_of(*USUAL),
    )
    alpha: float | None = numeric(
        None,
        help="power of the TD error that a priority is; none: 0.6, with lap 0.4; 0: uniform",
        rule=FRACTION,
    )
    beta: float | None = numeric(
        None,
        help="power of the weights that make up for td-error's draws, at first; none: 0.4",
        rule=FRACTION,
    )
    beta_end: float | None = numeric(
        None,
        help="what beta has become, linearly, at train.schedule-steps; none: 1",
        rule=FRACTION,
    )
    fade: float | None = numeric(
        None,
        help="what priorities are multiplied by per row stored since, 0.1 at least; none: off",
        rule=SHARE,
    )

    @property
    def by_priority(self) -> bool:
        """Whether rows are drawn by priorities."""
        return self.priorities != "uniform"


def usual_numbers(replay: Replay) -> Replay:
    """Return the options with the numbers that the program takes for those that are not given."""
    missing: dict[str, Any] = {
        name: number
        for name, number in USUAL[replay.priorities].items()
        if getattr(replay, name) is None
    }
    return dataclasses.replace(replay, **missing)


def check_priorities(replay: Replay) -> None:
    """Raise ConfigError where options are about priorities or weights that there are none of."""
    chosen = f"{flag('replay', 'priorities')} {replay.priorities}"
    if replay.fade is not None and not replay.by_priority:
        raise ConfigError(
            f"{flag('replay', 'fade')} {replay.fade} is about priorities, and {chosen} has none: "
            f"give {flag('replay', 'priorities')} td-error or lap, or leave it out (none)"
        )
    given = [name for name in ("beta", "beta_end") if getattr(replay, name) is not None]
    if replay.priorities == "lap" and given:
        said = " and ".join(f"{flag('replay', name)} {getattr(replay, name)}" for name in given)
        are, them = ("are", "them") if given[1:] else ("is", "it")
        raise ConfigError(
            f"{said} {are} about weights that make up for priorities, and {chosen} has none: leave "
            f"{them} out (none), or give {flag('replay', 'priorities')} td-error"
        )


def check_capacity(replay: Replay, worlds: int) -> None:
    """Raise ConfigError where the stream of so many worlds holds too little."""
    if replay.batch_size > replay.capacity:
        raise ConfigError(
            f"--replay.batch-size {replay.batch_size} is larger than --replay.capacity "
            f"{replay.capacity}: lower the one or raise the other"
        )
    if replay.capacity < 2 * worlds:
        raise ConfigError(
            f"--replay.capacity {replay.capacity} is too small for --env.count "
            f"{worlds}: every world needs at least 2 rows"
        )
    if replay.n_step > replay.capacity:
        raise ConfigError(
            f"--replay.n-step {replay.n_step} is more than --replay.capacity {replay.capacity} "
            "holds: lower the one or raise the other"
        )
