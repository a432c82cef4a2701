"""The options of the stream of rows, and of what is drawn from it."""

from dataclasses import dataclass

from qmu.config.declared import (
    FRACTION,
    POSITIVE,
    UP_TO_1000,
    numeric,
    structural,
)
from qmu.errors import ConfigError


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
    prioritized: bool = structural(
        False, help="draw transitions by their last TD error, instead of uniformly"
    )
    alpha: float = numeric(
        0.6, help="power of the TD error that a priority is; 0: uniform", rule=FRACTION
    )
    beta: float = numeric(
        0.4, help="power of the weights that make up for priorities, at first", rule=FRACTION
    )
    beta_end: float = numeric(
        1.0, help="what beta has become, linearly, at train.schedule-steps", rule=FRACTION
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
