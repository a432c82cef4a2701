"""Advice, without what has been followed already."""

import re

from qmu.config import Config
from qmu.config.heads import normalizes_rewards
from qmu.config.spelling import flag, spelled

# One piece of advice that is an option: with a value, a value and more, or a switch.
OPTION = re.compile(
    r"--(?P<group>[a-z]+)\.(?P<name>[a-z-]+)(?: (?P<value>[\w.-]+))?(?P<more> or more)?"
)


def not_given(advice: str, config: Config) -> str:
    """Return the pieces of an advice, parted by commas, that the options do not follow yet.

    A factor for rewards is left out where they have a scale of their own, which would refuse it.
    Where that would be none, it is returned as it is: the fault is elsewhere then.
    """
    first, stop, rest = advice.partition(". ")
    pieces = [piece for one in first.split(", ") if (piece := open_piece(one, config))]
    return ", ".join(pieces) + stop + rest if pieces else advice


def open_piece(piece: str, config: Config) -> str:
    """Return a piece of advice as it is told with these options; nothing where it is followed."""
    if flag("env", "reward_scale") in piece and normalizes_rewards(config.env, config.critic):
        return ""
    found = OPTION.fullmatch(piece)
    if found is None:
        return piece
    option = f"--{found['group']}.{found['name']}"
    own = getattr(config, found["group"], None)
    now = getattr(own, found["name"].replace("-", "_"), None)
    if found["value"] is None:
        return "" if now is True else piece
    if found["more"] and isinstance(now, float | int) and now >= float(found["value"]):
        return f"more {option} than {spelled(now)}"
    return "" if followed(now, found["value"]) else piece


def followed(now: object, value: str) -> bool:
    """Tell whether an option has this value."""
    if isinstance(now, float | int) and not isinstance(now, bool):
        try:
            return now == float(value)
        except ValueError:
            return False
    return spelled(now) == value
