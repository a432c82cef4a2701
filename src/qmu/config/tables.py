"""A table of values as an option: written and read as TOML, compared and hashed as text."""

import math
import tomllib
from collections.abc import Mapping
from typing import Any

from qmu.errors import ConfigError

# How a character is written in a TOML text where it may not stand for itself.
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Table(str):
    """Names and values, as one line of TOML: {ctrl_cost_weight = 0.05, frame_skip = 4}.

    Equal tables are equal texts: names are in alphabetical order.
    """

    __slots__ = ()

    def values(self) -> dict[str, Any]:
        """Return the names and values."""
        return tomllib.loads(f"table = {self}")["table"]


def read_table(given: Any) -> Table:
    """Return the table that a mapping holds, an inline table, or lines such as 'frame_skip = 4'.

    Raises:
        ConfigError: it is none of them, or holds what TOML cannot.
    """
    try:
        return Table(inline(given if isinstance(given, Mapping) else parsed(given)))
    except RecursionError:
        raise ConfigError(
            "the table is nested too deeply to be read: give a function that returns the "
            "environment instead"
        ) from None


def parsed(given: Any) -> dict[str, Any]:
    """Return what a text holds: an inline table, or lines with a name and a value.

    Raises:
        ConfigError: it is no text, or not TOML.
    """
    if not isinstance(given, str):
        raise ConfigError(f"{given!r} is not a table of names and values")
    text = given.strip()
    if text[:1] != "{":
        return loaded(text, given)
    held = loaded(f"table = {text}", given)
    if len(held) > 1:
        raise ConfigError(
            f"the table {given!r:.80} goes on behind its closing brace: write all names within "
            "the braces, or leave them out"
        )
    return held["table"]


def loaded(text: str, given: str) -> dict[str, Any]:
    """Return what a text of TOML holds; `given` is what the user knows of it."""
    try:
        return tomllib.loads(text)
    # TOML's own errors are such, and that of a number with too many digits.
    except ValueError as error:
        raise ConfigError(
            f"{given!r:.80} is not a table of TOML ({error}): write it as in "
            "'{frame_skip = 4, terrain = \"flat\"}'"
        ) from None


def inline(value: Any) -> str:
    """Return a value as TOML writes it in one line.

    Raises:
        ConfigError: TOML has no word for it.
    """
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise ConfigError(f"the names of a table are texts, unlike those of {dict(value)!r}")
        pairs = (f"{spelled_name(name)} = {inline(value[name])}" for name in sorted(value))
        return f"{{{', '.join(pairs)}}}"
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return inline(value.tolist())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    raise ConfigError(
        f"{value!r} is no text, number, truth value, list or table, which is all that a file can "
        "hold: give a function that returns the environment instead"
    )


def spelled_name(name: str) -> str:
    """Return a name as TOML writes it: in quotation marks, unless it is a plain word."""
    plain = name != "" and name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if plain else quoted(name)


def quoted(text: str) -> str:
    """Return a text as TOML writes it."""
    return f'"{"".join(map(escaped, text))}"'


def escaped(character: str) -> str:
    """Return a character as it is written inside of a TOML text."""
    if character in ESCAPES:
        return ESCAPES[character]
    if ord(character) < 32 or ord(character) == 127:
        return f"\\u{ord(character):04x}"
    return character
