"""The options of what is done to actions while rows are collected."""

from dataclasses import dataclass

from qmu.config.declared import (
    COLOR,
    FINITE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    WIDTH,
    numeric,
    one_of,
    structural,
)
from qmu.config.networks import Actor
from qmu.errors import ConfigError


@dataclass(frozen=True)
class Explore:
    """What is done to actions while rows are collected."""

    start_steps: int | None = structural(
        None,
        help="first steps with random actions; none: 5% of train.schedule-steps (0: of "
        "total-steps), at most 10000",
        rule=NOT_NEGATIVE,
    )
    noise: str = structural(
        "normal",
        help="noise on actions: normal, ou (Ornstein-Uhlenbeck), colored, or none",
        rule=one_of("normal", "ou", "colored", "none"),
    )
    mean: float = numeric(0.0, help="mean of the action noise, in half action ranges", rule=FINITE)
    std: float = numeric(
        0.2,
        help="standard deviation of the action noise (ou: of its pushes), in half action ranges",
        rule=NOT_NEGATIVE,
    )
    std_last: float | None = numeric(
        None,
        help="std of the last of several worlds: it grows evenly from the first's; none: all alike",
        rule=NOT_NEGATIVE,
    )
    color: float = numeric(
        1.0,
        help="β of colored noise, whose power is 1 / f^β: 0 white, 1 pink, 2 brown",
        rule=COLOR,
    )
    ou_theta: float = numeric(
        0.15, help="pull of the ou noise back to its mean, per unit of its time", rule=NOT_NEGATIVE
    )
    ou_dt: float = numeric(
        0.01, help="the ou noise's time per step: it forgets in 1 / (theta dt) steps", rule=POSITIVE
    )
    parameter_distance: float | None = numeric(
        None,
        help="parameter noise: wanted change of actions, in half action ranges; none: off",
        rule=WIDTH,
    )
    noise_end: float = numeric(
        1.0,
        help="share of std, std-last, parameter-distance left at train.schedule-steps, linearly",
        rule=FRACTION,
    )
    epsilon: float = numeric(
        0.0, help="share of steps whose action is uniformly random", rule=FRACTION
    )


def check_noise(explore: Explore, actor: Actor, updates_per_step: float, worlds: int) -> None:
    """Raise ConfigError where options about exploration contradict each other, or others."""
    last = f"--explore.std-last {explore.std_last}"
    if explore.std_last is not None and explore.noise == "none":
        raise ConfigError(
            f"{last} is the size of a noise on actions, and --explore.noise is none: choose "
            "normal, ou or colored, or leave --explore.std-last out"
        )
    if explore.std_last is not None and worlds == 1:
        raise ConfigError(
            f"{last} is the noise of the last of several worlds, and --env.count is 1: give "
            "--env.count 2 or more, or leave --explore.std-last out"
        )
    if explore.noise == "ou" and explore.ou_theta * explore.ou_dt > 1:
        raise ConfigError(
            f"--explore.ou-theta {explore.ou_theta} times --explore.ou-dt {explore.ou_dt} is more "
            "than 1: the noise would overshoot its mean; lower one of them"
        )
    if explore.parameter_distance is None:
        return
    for option, value in (
        ("--train.updates-per-step", updates_per_step),
        ("--actor.lr", actor.lr),
    ):
        if value == 0:
            raise ConfigError(
                f"--explore.parameter-distance perturbs an actor that {option} 0 never improves: "
                "leave the one out, or let it learn"
            )
    if actor.norm == "batch":
        raise ConfigError(
            "--explore.parameter-distance leaves normalizations alone, and those of --actor.norm "
            "batch are part of the weights of an actor that acts: choose --actor.norm layer"
        )
    if actor.input_norm:
        raise ConfigError(
            "--explore.parameter-distance leaves normalizations alone, and --actor.input-norm is "
            "part of the weights of an actor that acts: leave one of the two out"
        )
