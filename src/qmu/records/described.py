"""What `run.json` says of a run. It may be anybody's: what is read of it is what it should be."""

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qmu.deploy import seal
from qmu.errors import ConfigError
from qmu.records.directory import RUN_FILE, RUN_FORMAT, RUNNING
from qmu.records.lines import is_integer, is_number

Check = Callable[[Any], bool]
# What is said of a run's end, and no longer holds when it goes on.
OF_THE_END = ("stopped", "members", "best_seed", "best_arm")


def is_text(value: Any) -> bool:
    """Tell whether this is a text."""
    return isinstance(value, str)


def is_object(value: Any) -> bool:
    """Tell whether this is an object."""
    return isinstance(value, dict)


def or_none(check: Check) -> Check:
    """Return the check that lets null through, too."""
    return lambda value: value is None or check(value)


def all_of(check: Check) -> Check:
    """Return the check of a list of such values."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def values_of(check: Check) -> Check:
    """Return the check of an object with such values, whatever their names are."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def fields_of(checks: Mapping[str, Check]) -> Check:
    """Return the check of an object; what it has of these names is such a value."""

    def check(value: Any) -> bool:
        return isinstance(value, dict) and wrong_of(value, checks) is None

    return check


def wrong_of(value: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    """Return the name of a value that is not what it should be; None if all are."""
    return next((name for name in checks if name in value and not checks[name](value[name])), None)


VERSIONS = values_of(or_none(is_text))
MEMBER: dict[str, Check] = {
    "seed": is_integer,
    "arm": is_text,
    "episodes": is_integer,
    "last_mean_reward": or_none(is_number),
    "best_mean_reward": or_none(is_number),
    "best_step": is_integer,
    "final_mean_reward": is_number,
    "final_std_reward": is_number,
}
RESUMED: dict[str, Check] = {
    "step": is_integer,
    "from": is_text,
    "started": is_text,
    "command": all_of(is_text),
    "versions": VERSIONS,
    "world_changed": all_of(is_text),
    "lost_rows": is_integer,
}
RUN: dict[str, Check] = {
    "format": is_integer,
    "environment": is_text,
    "status": is_text,
    "process": is_integer,
    "host": is_text,
    "started": is_text,
    "command": all_of(is_text),
    "python": is_text,
    "platform": is_text,
    "processors": or_none(is_integer),
    "versions": VERSIONS,
    "commit": or_none(is_text),
    "arms": values_of(values_of(is_object)),
    "schedules": all_of(is_text),
    "networks": all_of(is_text),
    "steps": is_integer,
    "seconds": is_number,
    "error": or_none(is_text),
    "stopped": is_text,
    "members": all_of(fields_of(MEMBER)),
    "best_seed": is_integer,
    "best_arm": is_text,
    "resumed": all_of(fields_of(RESUMED)),
}


def parse_run(text: str) -> dict[str, Any]:
    """Return what the text of a `run.json` says; the first ones said no format.

    Raises:
        ValueError: it does not describe a run.
        ConfigError: it was written by a newer version.
    """
    try:
        said = seal.read_json(text)
    except RecursionError:
        raise ValueError("it nests deeper than any description of a run") from None
    if not isinstance(said, dict) or "environment" not in said:
        raise ValueError("it does not describe a run")
    written = said.get("format", RUN_FORMAT)
    if is_integer(written) and written > RUN_FORMAT:
        raise ConfigError(
            f"it has format {written}, and this version of qmu reads formats up to {RUN_FORMAT}: "
            "use a newer one"
        )
    wrong = wrong_of(said, RUN)
    if wrong is not None:
        raise ValueError(f"its {wrong} is {said[wrong]!r:.80}")
    return said


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run says of itself.

    Raises:
        ConfigError: it is damaged, or was written by a newer version.
    """
    path = directory / RUN_FILE
    try:
        return parse_run(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def goes_on(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of itself once it goes on, in this process."""
    now = {"status": RUNNING, "process": os.getpid(), "host": platform.node(), "error": None}
    return {name: value for name, value in said.items() if name not in OF_THE_END} | now


def said_of(directory: Path) -> dict[str, Any]:
    """Return what a run says of itself; nothing if that cannot be read."""
    try:
        return read_run(directory)
    except ConfigError:
        return {}
