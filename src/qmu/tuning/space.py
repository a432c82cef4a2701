"""What a tuning searches: options, each in a range, a range of magnitudes, or among choices.

A space is a TOML file with a table for each group of options:

    [actor]
    lr = { log = [1e-5, 1e-2] }
    hidden_sizes = { choice = [[64, 64], [256, 256]] }

    [explore]
    std = { range = [0.05, 0.5] }
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from qmu import config as options
from qmu.config import Config, reading
from qmu.config.files import parse_toml, read_toml
from qmu.config.former import FORMER, check_once, value_of
from qmu.config.spelling import nearest, spelled
from qmu.config.values import is_number
from qmu.errors import ConfigError
from qmu.presets import SUFFIX, heading, on
from qmu.study.rules import LOG, OWNED

SHELF = resources.files(__name__.rpartition(".")[0]) / "spaces"
RANGE, MAGNITUDES, CHOICE = KINDS = ("range", "log", "choice")
# The space of worlds that belong to no family with one of its own, and of those that are seen.
ANY, IMAGES, MEMORY = "any", "images", "memory"
# Options that say how a trial is measured, or in what: a score would not be one.
MEASURES = {
    ("env", "single"),
    *(
        ("train", name)
        for name in ("eval_interval", "eval_episodes", "final_episodes", "save_interval", "device")
    ),
}
# A drawn value, as a sampler and a table know it: choices are texts.
Drawn = float | int | str


class Dimension(NamedTuple):
    """An option that is searched: between two bounds, or among choices by their spelling."""

    group: str
    option: str
    kind: str
    bounds: tuple[float, float] | tuple[int, int] | None
    choices: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The option's name with its group, such as actor.lr."""
        return f"{self.group}.{self.option}"

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return self.bounds is not None and isinstance(self.bounds[0], int)

    def value(self, drawn: Drawn) -> Any:
        """Return the option's value that was drawn."""
        return self.choices[str(drawn)] if self.kind == CHOICE else drawn


def names() -> list[str]:
    """Return the names of the built-in spaces."""
    return sorted(on(SHELF))


def title(name: str) -> str:
    """Return a built-in space's first line: what it is for."""
    return heading(text_of(name))


def text_of(name: str) -> str:
    """Return the text of a built-in space."""
    return (SHELF / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def fitting(family: str | None, *, images: bool, memory: bool = False) -> str:
    """Return the name of the built-in space for a family of worlds.

    For a recipe with a memory, and for images, there is one for any world.
    """
    if memory:
        return MEMORY
    if images:
        return IMAGES
    slug = (family or ANY).replace(" ", "-").replace("_", "-")
    return slug if slug in names() else ANY


def read_held(name: str) -> dict[str, Any]:
    """Return the dictionary of a built-in space, or of a file whose name ends in .toml.

    Raises:
        ConfigError: there is none.
    """
    if name.endswith(SUFFIX):
        return read_toml(Path(name))
    if name not in names():
        raise ConfigError(
            f"there is no search space {name!r}{nearest(name, names())} (`qmu tune "
            f"--list` shows them; a file of your own ends in {SUFFIX})"
        )
    return parse_toml(text_of(name), f"the space {name}")


def without_misfits(held: Mapping[str, Any], base: Config) -> dict[str, Any]:
    """Return a built-in space's dictionary without the choices that the base recipe contradicts.

    An option of which one choice is left, or none, is not searched.
    """
    found: dict[str, Any] = {}
    for group, table in held.items():
        for option, given in table.items():
            one = dimension_of(group, option, given)
            if one.kind == CHOICE:
                values = [value for value in one.choices.values() if fits(one, value, base)]
                if len(values) < min(2, len(one.choices)):
                    continue
                given = {CHOICE: values}
            found.setdefault(group, {})[option] = given
    return found


def fits(dimension: Dimension, value: Any, base: Config) -> bool:
    """Tell whether the base recipe may have this value."""
    try:
        check_value(dimension, value, base)
    except ConfigError:
        return False
    return True


def space_of(held: Mapping[str, Any], base: Config) -> tuple[Dimension, ...]:
    """Return the dimensions of a dictionary, each bound and choice of which fits the base recipe.

    Raises:
        ConfigError: it has none, or one that cannot be searched.
    """
    found = []
    for group, table in held.items():
        if group not in options.GROUPS:
            known = nearest(group, options.GROUPS)
            raise ConfigError(f"unknown group of options {group!r}{known}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{group} is a group of options: write [{group}] and options below")
        check_once(group, table)
        found += [dimension_of(group, option, given) for option, given in table.items()]
    if not found:
        raise ConfigError("it is empty: give at least one option a range, log, or choice")
    for one in found:
        for value in extremes(one):
            check_value(one, value, base)
    return tuple(found)


def dimension_of(group: str, option: str, given: Any) -> Dimension:
    """Return what is said of one option."""
    path = f"{group}.{option}"
    if (group, option) in OWNED or (group, option) in MEASURES or group == LOG:
        raise ConfigError(
            f"{path} is not a part of a recipe: leave it out and give it as an option"
        )
    # A wrong name is said as everywhere else.
    kinds = get_type_hints(options.GROUPS[group])
    if option not in kinds and (group, option) not in FORMER:
        reading.read_group(group, {option: None})
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise ConfigError(
            f"{path} needs one of {{ range = [low, high] }}, {{ log = [low, high] }} and "
            f"{{ choice = [...] }}, not {given!r}; a value that all trials share is given as an "
            "option"
        )
    ((kind, values),) = given.items()
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{path}: {kind} needs a list with values, not {values!r}")
    if kind == CHOICE:
        return Dimension(group, option, kind, None, choices_of(path, values))
    return Dimension(group, option, kind, bounds_of(path, kind, values, kinds.get(option)), {})


def choices_of(path: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return choices by their spelling."""
    found: dict[str, Any] = {}
    for value in values:
        text = spelled(tuple(value) if isinstance(value, list) else value)
        if text in found:
            raise ConfigError(f"{path}: choice has {text} twice")
        found[text] = value
    return found


def bounds_of(
    path: str, kind: str, values: Sequence[Any], type_: Any
) -> tuple[float, float] | tuple[int, int]:
    """Return the bounds of a range: whole numbers for an option of such."""
    if len(values) != 2 or not all(is_number(value) for value in values):
        raise ConfigError(f"{path}: {kind} needs two numbers, [low, high], not {list(values)}")
    whole = type_ in (int, int | None)
    low, high = (int(value) if whole else float(value) for value in values)
    if (low, high) != tuple(values):
        raise ConfigError(f"{path} takes whole numbers: {kind} = {list(values)}")
    if not low < high:
        raise ConfigError(f"{path}: {kind} needs a low end below the high one, not {list(values)}")
    if kind == MAGNITUDES and low <= 0:
        raise ConfigError(f"{path}: log needs bounds above 0, not {list(values)}")
    return low, high


def extremes(dimension: Dimension) -> list[Any]:
    """Return the values of a dimension that are tried before the search: bounds or choices."""
    return list(dimension.choices.values() if dimension.bounds is None else dimension.bounds)


def check_value(dimension: Dimension, value: Any, base: Config) -> None:
    """Raise ConfigError if the base recipe with this value is none."""
    try:
        with_values(base, {dimension.group: {dimension.option: value}})
    except ConfigError as error:
        raise ConfigError(f"{dimension.path} cannot be {spelled(value)}: {error}") from None


def with_values(base: Config, values: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return a configuration with other values of some options. Raises ConfigError."""
    return reading.from_dict(reading.merge(options.to_dict(base), values))


def chosen(space: Sequence[Dimension], drawn: Mapping[str, Drawn]) -> dict[str, dict[str, Any]]:
    """Return drawn values (by path) as a nested dictionary of options."""
    found: dict[str, dict[str, Any]] = {}
    for dimension in space:
        value = dimension.value(drawn[dimension.path])
        found.setdefault(dimension.group, {})[dimension.option] = value
    return found


def described(space: Sequence[Dimension]) -> dict[str, dict[str, Any]]:
    """Return the dictionary that `space_of` reads."""
    found: dict[str, dict[str, Any]] = {}
    for one in space:
        found.setdefault(one.group, {})[one.option] = {one.kind: extremes(one)}
    return found


def base_drawn(space: Sequence[Dimension], base: Config) -> dict[str, Drawn] | None:
    """Return where the base recipe lies in the space; None if it lies outside."""
    found: dict[str, Drawn] = {}
    recipe = options.resolved(base)
    for one in space:
        value = value_of(getattr(recipe, one.group), one.group, one.option)
        if one.bounds is None:
            word = spelled(value)
            if word not in one.choices:
                return None
            found[one.path] = word
        elif value is None or not one.bounds[0] <= value <= one.bounds[1]:
            return None
        else:
            found[one.path] = value
    return found
