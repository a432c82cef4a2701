"""A configuration's file: TOML."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmu.errors import ConfigError

# Levels of lists and tables in a file.
DEEPEST = 100


def read_toml(path: Path) -> dict[str, Any]:
    """Return the nested dictionary in a TOML file.

    Raises:
        ConfigError: the file is not there, or is not TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Return the nested dictionary in a TOML text; `name` is what the user knows it by.

    Raises:
        ConfigError: the text is not TOML, or nests deeper than anything that qmu reads.
    """
    try:
        held = tomllib.loads(text)
        too_deep = is_deeper(held, DEEPEST)
    except RecursionError:
        too_deep = True
    except ValueError as error:
        raise ConfigError(f"{name} is not a TOML file: {error}") from None
    if too_deep:
        raise ConfigError(
            f"{name} nests lists and tables more than {DEEPEST} deep, and no option is like that: "
            "write it flatter"
        )
    return held


def is_deeper(held: Mapping[str, Any], levels: int) -> bool:
    """Tell whether lists and tables lie inside of each other on more levels than these."""
    nested: list[Any] = [held]
    for _ in range(levels):
        nested = [
            inner
            for one in nested
            for inner in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(inner, Mapping | list)
        ]
    return bool(nested)
