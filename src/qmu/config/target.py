"""The options of the target networks."""

from dataclasses import dataclass

from qmu.config.declared import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    numeric,
    one_of,
    structural,
)
from qmu.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """The target networks: what they follow and how fast, and what is discounted."""

    tau: float = numeric(
        0.005, help="share of the online weights taken over per soft update", rule=SHARE
    )
    interval: int = structural(1, help="updates between two soft updates", rule=POSITIVE)
    gamma: float = numeric(0.99, help="discount per step", rule=FRACTION)
    smoothing: str = structural(
        "action",
        help="noise on: each next action, those of a batch alike (shared), the actor's weights",
        rule=one_of("action", "shared", "weights"),
    )
    smoothing_std: float | None = numeric(
        0.2,
        help="smoothing noise, in half action ranges (weights: share of their size); none: off",
        rule=NOT_NEGATIVE,
    )
    smoothing_clip: float | None = numeric(
        None, help="largest smoothing noise of an action, in half action ranges", rule=POSITIVE
    )


def check_smoothing(target: Target) -> None:
    """Raise ConfigError where options about target smoothing contradict each other."""
    if not target.smoothing_std:
        for name, given in (
            ("smoothing-clip", target.smoothing_clip is not None),
            (f"smoothing {target.smoothing}", target.smoothing != "action"),
        ):
            if given:
                raise ConfigError(
                    f"--target.{name} is about a noise that there is none of: give its size with "
                    "--target.smoothing-std, such as 0.2, or leave both out (None)"
                )
    if target.smoothing == "weights" and target.smoothing_clip is not None:
        raise ConfigError(
            "--target.smoothing-clip cuts noise on actions, and --target.smoothing weights puts "
            "it on the target actor's weights: leave one of them out"
        )
