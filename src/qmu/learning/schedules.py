"""Numeric options that follow a function of the step, given in Python."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from qmu import config as options
from qmu.config import Config, reading
from qmu.errors import ConfigError, QmuError
from qmu.learning.groups import Group

Schedule = Callable[[int], float]
# "group.name" of an option -> its number.
Values = Mapping[str, float]

# Ends of schedules that options have of their own, and what a normalizer keeps from the start.
FIXED = {
    "actor.lr_end": "give a schedule of actor.lr instead",
    "critic.lr_end": "give a schedule of critic.lr instead",
    "explore.noise_end": "give one of explore.std, std_last or parameter_distance instead",
    "replay.beta_end": "give a schedule of replay.beta instead",
    "env.obs_clip": "it belongs to the normalizer from the start",
}


# Options whose numbers are used where another one has one of these values.
USED = {
    "replay.alpha": ("replay.priorities", ("td-error", "lap")),
    "replay.beta": ("replay.priorities", ("td-error",)),
    "explore.mean": ("explore.noise", ("normal", "ou", "colored")),
    "explore.std": ("explore.noise", ("normal", "ou", "colored")),
    "explore.std_last": ("explore.noise", ("normal", "ou", "colored")),
    "explore.color": ("explore.noise", ("colored",)),
    "explore.ou_theta": ("explore.noise", ("ou",)),
    "explore.ou_dt": ("explore.noise", ("ou",)),
}


class Schedules:
    """Functions of the step, by the names of the options whose numbers they give.

    Each is asked once per chunk, for the chunk's first step. What an option would do in time by
    itself (lr_end, noise_end, beta_end) it does not do on top.
    """

    def __init__(self, given: Mapping[str, Schedule] | None, config: Config) -> None:
        """Take the functions, and the options of the run.

        Raises:
            ConfigError: there is no such option, it has no number or none that can change, or the
                function is none; or it fails at the first step or at the last.
        """
        self.given = dict(check_mapping(given))
        for name, function in self.given.items():
            check_name(name, config)
            if not callable(function):
                raise ConfigError(
                    f"the schedule of {name} must be a function of the step, not {function!r}"
                )
        last = config.train.total_steps
        for step in [0] if last is None else [0, last - 1]:
            try:
                self.at(step)
            except QmuError as error:
                raise ConfigError(str(error)) from error.__cause__

    @property
    def names(self) -> frozenset[str]:
        """The names of the options, as group.name."""
        return frozenset(self.given)

    def at(self, step: int) -> dict[str, float]:
        """Return what the options are at a step.

        Raises:
            QmuError: a function raises, or returns what the option may not be.
        """
        return {name: number(name, function, step) for name, function in self.given.items()}


def check_again(
    owner: object,
    followed: Sequence[str],
    schedules: Mapping[str, Schedule] | None,
    way_out: str,
) -> None:
    """Raise ConfigError if a run or a model followed a schedule that is not given again."""
    missing = sorted(set(followed) - set(check_mapping(schedules)))
    if missing:
        raise ConfigError(
            f"{owner} followed a schedule of {' and '.join(missing)}, and a function cannot be "
            f"saved: give it again, {way_out}"
        )


def check_mapping(given: object) -> Mapping[str, Schedule]:
    """Return the functions by their options' names, or say how they are given."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            "schedules must be a dictionary of functions of the step, such as "
            f"{{'actor.lr': lambda step: ...}}, not {given!r}"
        )
    return given


def check_name(name: str, config: Config) -> None:
    """Raise ConfigError unless this names a number that can change with the step."""
    known = {f"{group}.{option.name}": option for group, option in options.options()}
    numbers = [path for path, option in known.items() if not options.shapes(option)]
    if name not in known:
        close = difflib.get_close_matches(str(name), numbers, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"schedules: there is no option {name!r}{hint}")
    if options.shapes(known[name]):
        raise ConfigError(
            f"schedules: {name} shapes the program and stays what it is; what can change is a "
            "number such as actor.lr"
        )
    if name in FIXED:
        raise ConfigError(f"schedules: {name} cannot change with the step: {FIXED[name]}")
    switch, values = USED.get(name, (name, ()))
    if name in USED and valued(config, switch) not in values:
        raise ConfigError(
            f"schedules: {name} is used where {switch} is {' or '.join(map(str, values))}, and it "
            f"is {valued(config, switch)}: change that, or leave the schedule out"
        )
    if valued(options.resolved(config), name) is None:
        raise ConfigError(
            f"schedules: {name} is none, which leaves that part out of the program: give it a "
            "number, too"
        )


def valued(config: Config, name: str) -> Any:
    """Return what the option `group.name` is."""
    group, _, option = name.partition(".")
    return getattr(getattr(config, group), option)


def number(name: str, function: Schedule, step: int) -> float:
    """Return what a function gives for an option at a step.

    Raises:
        QmuError: it raises, or the option may not be that.
    """
    group, _, option = name.partition(".")
    try:
        value: Any = function(step)
    except Exception as error:
        raise QmuError(
            f"the schedule of {name} raised {type(error).__name__} at step {step}: {error}"
        ) from error
    try:
        return reading.read_number(group, option, value)
    except ConfigError as error:
        raise QmuError(f"the schedule of {name} gave {value!r} at step {step}: {error}") from None


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with these numbers, or arrays of them."""
    for name, value in values.items():
        group, _, option = name.partition(".")
        config = options.replace(config, group, **{option: value})
    return config


def stacked_values(values: Values, group: Group) -> dict[str, Any]:
    """Return the numbers as arrays over a group's members, on its device."""
    size = len(group.members)
    return {
        name: jax.device_put(np.full(size, value, np.float32), group.device)
        for name, value in values.items()
    }
