"""What a study asks: worlds, arms, seeds; and which programs answer it.

A study is a TOML file. Seeds, and arms that differ in numbers only, are members of one program;
arms that differ in structure are programs of their own.
"""

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from qmu import config as options
from qmu import configure
from qmu.config import Config
from qmu.errors import ConfigError
from qmu.presets import SUFFIX, heading, on, read_preset
from qmu.world.named import check_id_in_file, check_wrappers_in_file

SHELF = resources.files(__name__.rpartition(".")[0]) / "built_in"
# Evaluations in the course of a training, unless the study says otherwise.
EVALUATIONS = 100
# More members than this are divided among programs.
MOST_MEMBERS = 40
# A study of more agents (arms, seeds and worlds) has to be confirmed; one of more than the second
# number is refused in any case.
MOST_RUNS, MOST_CONFIRMED = 10_000, 1_000_000

KEYS = {
    "question": str,
    "preset": str,
    "environments": list,
    "seeds": int,
    "first_seed": int,
    "total_steps": int,
    "base": str,
    "options": dict,
    "environment": dict,
    "arms": dict,
    "grid": dict,
}
WORLD_KEYS = {"total_steps": int, "threshold": float, "low": float, "high": float, "options": dict}
WORDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


class Arm(NamedTuple):
    """A recipe of the study: its name, how files are named after it, what it changes.

    Without a preset of its own it begins with the study's.
    """

    name: str
    slug: str
    preset: str | None
    changes: dict[str, Any]


class World(NamedTuple):
    """An environment of the study: how long it is trained in, and what its scores mean."""

    id: str
    total_steps: int
    threshold: float | None
    low: float | None
    high: float | None
    changes: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A question, and the arms, worlds and seeds that are to answer it."""

    name: str
    question: str
    preset: str
    worlds: tuple[World, ...]
    seeds: int
    first_seed: int
    arms: tuple[Arm, ...]
    base: str
    changes: dict[str, Any]

    @property
    def runs(self) -> int:
        """How many agents are trained."""
        return len(self.worlds) * len(self.arms) * self.seeds

    def arm(self, slug: str) -> Arm:
        """Return the arm that files are named after like this."""
        return next(arm for arm in self.arms if arm.slug == slug)


class Program(NamedTuple):
    """Arms that are trained in one program: its name, world, options, and what arms differ in."""

    name: str
    world: World
    config: Config
    arms: dict[str, dict[str, Any]]

    @property
    def members(self) -> int:
        """How many agents it trains."""
        return len(self.arms) * self.config.train.seeds

    @property
    def steps(self) -> int:
        """Steps of all members."""
        return self.world.total_steps * self.members


def names() -> list[str]:
    """Return the names of the built-in studies."""
    return sorted(on(SHELF))


def read_study(
    name: str,
    environments: Sequence[str] | None = None,
    seeds: int | None = None,
    total_steps: int | None = None,
    confirmed: bool = False,
) -> Study:
    """Return a built-in study, or that in a file whose name ends in .toml.

    Args:
        name: of the study, or of the file.
        environments: other worlds than the file's.
        seeds: another number of seeds.
        total_steps: another length of every training.
        confirmed: whether it may train more than 10,000 agents.

    Raises:
        ConfigError: there is none, it is not one, or it is large and not confirmed.
    """
    if name.endswith(SUFFIX):
        path = Path(name)
        held, title = configure.read_toml(path), path.name.removesuffix(SUFFIX)
    elif name in names():
        held, title = configure.parse_toml(text_of(name), f"the study {name}"), name
    else:
        raise ConfigError(
            f"there is no study {name!r}{configure.nearest(name, names())} (`qmu study --list` "
            f"shows them; a file of your own ends in {SUFFIX})"
        )
    given: dict[str, Any] = {
        "environments": None if environments is None else list(environments),
        "seeds": seeds,
    }
    if total_steps is not None:
        own = {world: {"total_steps": total_steps} for world in held.get("environment", {})}
        given["environment"] = configure.merge(held.get("environment", {}), own)
        given["total_steps"] = total_steps
    try:
        asked = held | {key: value for key, value in given.items() if value is not None}
        study = study_of(title, asked, MOST_CONFIRMED if confirmed else MOST_RUNS)
        if environments is None:
            for world in study.worlds:
                check_id_in_file(world.id, "it", "give it on the command line, with --env")
    except ConfigError as error:
        raise ConfigError(f"the study {name}: {error}") from None
    return study


def text_of(name: str) -> str:
    """Return the text of a built-in study."""
    return (SHELF / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def title(name: str) -> str:
    """Return a built-in study's first line: what it asks."""
    return heading(text_of(name))


def study_of(name: str, held: Mapping[str, Any], most: int = MOST_CONFIRMED) -> Study:
    """Return the study that a dictionary describes.

    Raises:
        ConfigError: it describes none, or one of more agents than `most`.
    """
    check_keys(held, KEYS, "")
    for required in ("question", "environments", "seeds"):
        if not held.get(required):
            raise ConfigError(f"{required} is missing, or empty")
    if held["seeds"] < 1:
        raise ConfigError(f"seeds must be 1 or more, not {held['seeds']}")
    check_size(held, most)
    arms = read_arms(held)
    check_names(arms)
    base = held.get("base", arms[0].name)
    if base not in [arm.name for arm in arms]:
        known = [arm.name for arm in arms]
        raise ConfigError(f"base is no arm: {base!r}{configure.nearest(base, known)}")
    study = Study(
        name=name,
        question=held["question"],
        preset=held.get("preset", "default"),
        worlds=tuple(read_world(world, held) for world in held["environments"]),
        seeds=held["seeds"],
        first_seed=held.get("first_seed", 0),
        arms=tuple(arms),
        base=base,
        changes=held.get("options", {}),
    )
    for world in study.worlds:
        for arm in study.arms:
            config_of(study, world, arm)
    return study


def check_size(held: Mapping[str, Any], most: int) -> None:
    """Raise ConfigError if a study trains more agents than this."""
    sizes = [len(values) for values in held.get("grid", {}).values() if isinstance(values, list)]
    arms = len(held.get("arms", {})) or math.prod(sizes)
    agents = arms * len(held["environments"]) * held["seeds"]
    if agents > most:
        way_out = "give --yes if that is what you want" if most < MOST_CONFIRMED else "ask for less"
        raise ConfigError(
            f"it trains {agents:,} agents, which is more than {most:,}: {way_out}, or --dry-run to "
            "see how long a smaller one may take"
        )


def check_keys(held: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Raise ConfigError for a key that nobody knows, or a value of another type."""
    for key, value in held.items():
        if key not in kinds:
            raise ConfigError(f"unknown key {where}{key}{configure.nearest(key, kinds)}")
        wanted = kinds[key]
        fits = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{where}{key} is not {WORDS[wanted]}: {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}{key} is not a finite number: {value}")


def read_world(name: Any, held: Mapping[str, Any]) -> World:
    """Return an environment of the study, with what is said about it."""
    if not isinstance(name, str):
        raise ConfigError(f"environments holds no id: {name!r}")
    own = held.get("environment", {}).get(name, {})
    if not isinstance(own, dict):
        raise ConfigError(f"environment.{name} is not a table: {own!r}")
    check_keys(own, WORLD_KEYS, f"environment.{name}.")
    steps = own.get("total_steps", held.get("total_steps", 100_000))
    low, high = own.get("low"), own.get("high")
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise ConfigError(f"environment.{name} needs low and high, low below high, or none of them")
    return World(name, steps, own.get("threshold"), low, high, own.get("options", {}))


def read_arms(held: Mapping[str, Any]) -> list[Arm]:
    """Return the arms: those that are listed, or the full grid."""
    listed, grid = held.get("arms", {}), held.get("grid", {})
    if bool(listed) == bool(grid):
        raise ConfigError("it has arms or a grid, not empty, and not both")
    if listed:
        for name, changes in listed.items():
            if not isinstance(changes, dict):
                raise ConfigError(f"arms.{name} is not a table of options: {changes!r}")
        return [listed_arm(name, changes) for name, changes in listed.items()]
    for path, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"grid.{path} is not a list with values: {values!r}")
    arms = []
    for values in itertools.product(*grid.values()):
        name = ", ".join(
            f"{path} {configure.spelled(tuple(value) if isinstance(value, list) else value)}"
            for path, value in zip(grid, values, strict=True)
        )
        arms.append(Arm(name, slug_of(name), None, nested(zip(grid, values, strict=True))))
    return arms


def listed_arm(name: str, given: Mapping[str, Any]) -> Arm:
    """Return an arm that the study lists."""
    changes = dict(given)
    preset = changes.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise ConfigError(f"arms.{name}.preset is not a text: {preset!r}")
    return Arm(name, slug_of(name), preset, changes)


def nested(pairs: Any) -> dict[str, Any]:
    """Return ("group.option", value) pairs as a nested dictionary."""
    found: dict[str, Any] = {}
    for path, value in pairs:
        group, _, option = path.partition(".")
        found.setdefault(group, {})[option.replace("-", "_")] = value
    return found


def slug_of(name: str) -> str:
    """Return a name as the part of a file's name."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.").lower()
    if not slug:
        raise ConfigError(f"an arm's name needs letters or digits: {name!r}")
    return slug


def check_names(arms: Sequence[Arm]) -> None:
    """Raise ConfigError if two arms would have the same files."""
    seen: dict[str, str] = {}
    for arm in arms:
        if arm.slug in seen:
            raise ConfigError(f"two arms have names alike: {seen[arm.slug]!r} and {arm.name!r}")
        seen[arm.slug] = arm.name


def config_of(study: Study, world: World, arm: Arm) -> Config:
    """Return the configuration of an arm in a world.

    Whatever the preset says of the run's length, the study says it better. The stream holds
    everything: two rows per step are the most there can be.
    """
    steps = world.total_steps
    plain = {
        "env": {"id": world.id},
        "train": {
            "total_steps": steps,
            "eval_interval": max(steps // EVALUATIONS, 1),
            "eval_episodes": 5,
            "seed": study.first_seed,
            "seeds": study.seeds,
        },
        "replay": {"capacity": min(2 * steps, 1_000_000)},
        "log": {"tensorboard": False},
    }
    values = read_preset(arm.preset or study.preset, world.id)
    for changes in (plain, study.changes, world.changes, arm.changes):
        values = configure.merge(values, changes)
    try:
        config = configure.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r} in {world.id}: {error}") from None
    way_out = "register an environment that has them in a module, and name it with --env module:id"
    check_wrappers_in_file(config.env.wrappers, "it", way_out)
    return config


def described(study: Study) -> dict[str, Any]:
    """Return the dictionary that `study_of` makes this study of, as a TOML file holds it."""
    worlds = {
        world.id: {
            key: value
            for key, value in (
                ("total_steps", world.total_steps),
                ("threshold", world.threshold),
                ("low", world.low),
                ("high", world.high),
                ("options", world.changes),
            )
            if value not in (None, {})
        }
        for world in study.worlds
    }
    return {
        "question": study.question,
        "preset": study.preset,
        "environments": [world.id for world in study.worlds],
        "seeds": study.seeds,
        "first_seed": study.first_seed,
        "base": study.base,
        "options": study.changes,
        "environment": worlds,
        "arms": {
            arm.name: arm.changes | ({"preset": arm.preset} if arm.preset else {})
            for arm in study.arms
        },
    }


def programs(study: Study, apart: Collection[tuple[str, str]] = ()) -> list[Program]:
    """Return the programs that a study takes; those `apart` (world, name) have an arm each."""
    found = []
    for world in study.worlds:
        shapes: dict[Any, list[tuple[Arm, Config]]] = {}
        for arm in study.arms:
            config = config_of(study, world, arm)
            shapes.setdefault(shape_of(config), []).append((arm, config))
        most = max(1, MOST_MEMBERS // study.seeds)
        parts = [
            alike[start : start + most]
            for alike in shapes.values()
            for start in range(0, len(alike), most)
        ]
        for part in parts:
            whole = (world.id, part[0][0].slug) not in apart
            for together in [part] if whole else [[one] for one in part]:
                name, config = together[0][0].slug, together[0][1]
                arms = {arm.slug: other_numbers(own, config) for arm, own in together}
                found.append(Program(name, world, config, arms))
    return found


def shape_of(config: Config) -> tuple[Any, ...]:
    """Return all that shapes a program; configurations that have it in common can share one."""
    values = (
        (option, getattr(getattr(config, group), option.name))
        for group, option in options.options()
    )
    return tuple(value if options.shapes(option) else value is None for option, value in values)


def other_numbers(config: Config, base: Config) -> dict[str, dict[str, float]]:
    """Return the numeric options in which a configuration differs from one of the same shape."""
    found: dict[str, dict[str, float]] = {}
    for group, option in options.options():
        value, usual = (getattr(getattr(one, group), option.name) for one in (config, base))
        if not options.shapes(option) and value != usual:
            found.setdefault(group, {})[option.name] = value
    return found
