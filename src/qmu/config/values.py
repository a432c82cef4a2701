"""From what was given to a value of the option's declared type."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from qmu.config.spelling import NONE, flag
from qmu.config.tables import Table, read_table
from qmu.config.workers import Workers, read_workers
from qmu.errors import ConfigError


def convert(group: str, name: str, value: Any, kind: Any) -> Any:
    """Return the value as the declared type, or say what was expected."""
    allowed = get_args(kind) if type(None) in get_args(kind) else (kind,)
    wanted = allowed[0]
    if type(None) in allowed and (value is None or (is_none(value) and wanted is not str)):
        return None
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is str and isinstance(value, str | Path):
        return str(value)
    if wanted is int and is_whole(value):
        return int(value)
    if wanted is float and is_number(value):
        return float(value)
    if wanted in (tuple[int, ...], tuple[str, ...]) and isinstance(value, list | tuple):
        return tuple(convert(group, name, part, get_args(wanted)[0]) for part in value)
    if wanted is Table and isinstance(value, str | Mapping):
        return read_option(group, name, value, read_given_table)
    if wanted is Workers and (isinstance(value, str) or is_whole(value)):
        text = value if isinstance(value, str) else str(int(value))
        return read_option(group, name, text, read_workers)
    words = {
        bool: "true or false",
        str: "a text",
        int: "a whole number",
        float: "a number",
        tuple[int, ...]: "a list of whole numbers",
        tuple[str, ...]: "a list of texts",
        Table: "a table of names and values",
        Workers: "a whole number, or ray:N",
    }
    raise ConfigError(f"{flag(group, name)}: {value!r} is not {words[wanted]}")


def is_none(value: Any) -> bool:
    """Tell whether a text says that something is off, in whichever case."""
    return isinstance(value, str) and value.lower() == NONE


def read_option(group: str, name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """Return what an option was given, as `read` reads it."""
    try:
        return read(value)
    except ConfigError as error:
        raise ConfigError(f"{flag(group, name)}: {error}") from None


def read_given_table(given: Any) -> Table | None:
    """Return the table that was given; None for an empty one."""
    table = read_table(given)
    return table if table.values() else None


def is_number(value: Any) -> bool:
    """Tell whether the value is a number (NumPy's included), and not a truth value."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_whole(value: Any) -> bool:
    """Tell whether the value is a whole number, such as 5 or 5.0."""
    return is_number(value) and math.isfinite(value) and int(value) == value
