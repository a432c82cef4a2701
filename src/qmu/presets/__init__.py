"""Recipes by name: one TOML file each, named after the paper or post that it reproduces."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from qmu.config import reading
from qmu.config.files import parse_toml, read_toml
from qmu.config.spelling import nearest
from qmu.errors import ConfigError

SUFFIX = ".toml"
# The name that stands for the environment's own recipe, if there is one, or else for the default.
AUTO, DEFAULT = "auto", "default"
SHELF = resources.files(__name__)


def names() -> list[str]:
    """Return the names of all recipes, the default first."""
    return [DEFAULT, *sorted(name for name in on(SHELF) if name != DEFAULT)]


def environments() -> list[str]:
    """Return the ids of the environments that have a recipe of their own."""
    shelf = SHELF / AUTO
    # An id with a namespace, as in dm_control/walker-walk-v0, is a file in a folder.
    inside = {space.name: on(space) for space in shelf.iterdir() if space.is_dir()}
    spaced = [f"{space}/{name}" for space, held in inside.items() for name in held]
    return sorted([*on(shelf), *spaced])


def on(shelf: Traversable) -> list[str]:
    """Return the names of the recipes in a folder."""
    return [
        file.name.removesuffix(SUFFIX) for file in shelf.iterdir() if file.name.endswith(SUFFIX)
    ]


def title(name: str) -> str:
    """Return a recipe's first line: what it is."""
    return heading(text_of(name, None))


def heading(text: str) -> str:
    """Return the first line of a file's text, which says what it is."""
    return text.partition("\n")[0].removeprefix("# ")


def read_preset(name: str, environment: str | None = None) -> dict[str, Any]:
    """Return a recipe's options as a nested dictionary; only what differs from the defaults.

    Args:
        name: one of `names()`, `auto` for the environment's own, or a path that ends in .toml.
        environment: the environment's id, which `auto` needs.

    Raises:
        ConfigError: there is no such recipe, or it holds an unknown key, a wrong type or a value
            out of its range.
    """
    if not name.endswith(SUFFIX):
        return parse_toml(text_of(name, environment), f"the preset {name}")
    values = read_toml(Path(name))
    try:
        reading.read_dict(values)
    except ConfigError as error:
        raise ConfigError(f"the preset {name} is not one: {error}") from None
    return values


def text_of(name: str, environment: str | None) -> str:
    """Return the text of a recipe's file."""
    if name == AUTO and environment is None:
        raise ConfigError(
            "the preset auto is the recipe of an environment: name one by its id "
            f"({', '.join(environments())} have one of their own)"
        )
    if name == AUTO:
        own = environment in environments()
        return (SHELF / AUTO / f"{environment}{SUFFIX}" if own else file_of(DEFAULT)).read_text(
            encoding="utf-8"
        )
    if name not in names():
        raise ConfigError(
            f"there is no preset {name!r}{nearest(name, [*names(), AUTO])} "
            "(`qmu presets` lists them; a file of your own ends in .toml)"
        )
    return file_of(name).read_text(encoding="utf-8")


def file_of(name: str) -> Traversable:
    """Return the file of a recipe."""
    return SHELF / f"{name}{SUFFIX}"
