"""What a study asks: worlds, arms, seeds; and which programs answer it.

A study is a TOML file. Seeds, and arms that differ in numbers only, are members of one program;
arms that differ in structure are programs of their own.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from qmu import config as options
from qmu.config import Config, reading
from qmu.config.files import parse_toml, read_toml
from qmu.config.spelling import nearest, spelled
from qmu.errors import ConfigError
from qmu.presets import SUFFIX, heading, on, read_preset
from qmu.study import rules
from qmu.study.rules import MOST_CONFIRMED, MOST_RUNS
from qmu.world.named import check_id_in_file, check_wrappers_in_file

SHELF = resources.files(__name__.rpartition(".")[0]) / "built_in"
# Evaluations in the course of a training, unless the study says otherwise.
EVALUATIONS = 100
# More members than this are divided among programs.
MOST_MEMBERS = 40
# A stream has room for so many rows at least, and at most.
LEAST_ROWS, MOST_ROWS = 10_000, 1_000_000
# Files are named after arms, and the time or the world; a file's name has 255 bytes at most.
LONGEST_SLUG = 150
# What files are named after where a name has neither letters from a to z nor digits.
NAMELESS = "arm"


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

    def called(self, study: Study) -> str:
        """Return its world and the names of its arms, for a person to read."""
        return f"{self.world.id}: {'; '.join(study.arm(slug).name for slug in self.arms)}"


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
        confirmed: whether it may be one of more than 10,000 agents.

    Raises:
        ConfigError: there is none, it is not one, or it is large and not confirmed.
    """
    if name.endswith(SUFFIX):
        path = Path(name)
        held, title = read_toml(path), path.name.removesuffix(SUFFIX)
    elif name in names():
        held, title = parse_toml(text_of(name), f"the study {name}"), name
    else:
        raise ConfigError(
            f"there is no study {name!r}{nearest(name, names())} (`qmu study --list` "
            f"shows them; a file of your own ends in {SUFFIX})"
        )
    try:
        asked = typed_into(held, environments, seeds, total_steps)
        study = study_of(title, asked, MOST_CONFIRMED if confirmed else MOST_RUNS)
        if environments is None:
            for world in study.worlds:
                check_id_in_file(world.id, "it", "give it on the command line, with --env")
    except ConfigError as error:
        raise ConfigError(f"the study {name}: {error}") from None
    return study


def typed_into(
    held: Mapping[str, Any],
    environments: Sequence[str] | None,
    seeds: int | None,
    total_steps: int | None,
) -> dict[str, Any]:
    """Return a file's dictionary with what was typed in its place.

    Raises:
        ConfigError: it has unknown keys, or a table of a world that it does not name.
    """
    rules.check_keys(held, rules.KEYS, "")
    asked, tables = dict(held), dict(held.get("environment", {}))
    rules.check_tables(tables, [*held.get("environments", []), *(environments or [])])
    if environments is not None:
        asked["environments"] = list(environments)
        tables = {world: table for world, table in tables.items() if world in environments}
    if seeds is not None:
        asked["seeds"] = seeds
    if total_steps is not None:
        asked["total_steps"] = total_steps
        tables = {world: table | {"total_steps": total_steps} for world, table in tables.items()}
    return asked | {"environment": tables}


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
    rules.check(held, most)
    arms = told_apart(read_arms(held))
    base = held.get("base", arms[0].name)
    if base not in [arm.name for arm in arms]:
        known = [arm.name for arm in arms]
        raise ConfigError(f"base is no arm: {base!r}{nearest(base, known)}")
    study = Study(
        name=name,
        question=held["question"],
        preset=held.get("preset", "default"),
        worlds=tuple(read_world(world, held) for world in held["environments"]),
        seeds=held["seeds"],
        first_seed=held.get("first_seed", 0),
        arms=tuple(arms),
        base=base,
        changes=reading.merge({}, held.get("options", {})),
    )
    for world in study.worlds:
        for arm in study.arms:
            config_of(study, world, arm)
    return study


def read_world(name: str, held: Mapping[str, Any]) -> World:
    """Return an environment of the study, with what is said about it."""
    own = held.get("environment", {}).get(name, {})
    rules.check_table(name, own)
    steps = own.get("total_steps", held.get("total_steps", 100_000))
    low, high = own.get("low"), own.get("high")
    changes = reading.merge({}, own.get("options", {}))
    return World(name, steps, own.get("threshold"), low, high, changes)


def read_arms(held: Mapping[str, Any]) -> list[Arm]:
    """Return the arms: those that are listed, or the full grid."""
    listed, grid = held.get("arms", {}), held.get("grid", {})
    if listed:
        return [listed_arm(name, changes) for name, changes in listed.items()]
    arms = []
    for values in itertools.product(*grid.values()):
        name = ", ".join(
            f"{path} {spelled(tuple(value) if isinstance(value, list) else value)}"
            for path, value in zip(grid, values, strict=True)
        )
        changes = nested(zip(grid, values, strict=True))
        rules.check_options(changes, "the grid", arm=True)
        arms.append(Arm(name, slug_of(name), None, reading.merge({}, changes)))
    return arms


def listed_arm(name: str, given: Mapping[str, Any]) -> Arm:
    """Return an arm that the study lists."""
    changes = dict(given)
    preset = changes.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise ConfigError(f"arms.{name}.preset is not a text: {preset!r}")
    rules.check_options(changes, f"arms.{name}", arm=True)
    return Arm(name, slug_of(name), preset, reading.merge({}, changes))


def nested(pairs: Any) -> dict[str, Any]:
    """Return ("group.option", value) pairs as a nested dictionary."""
    found: dict[str, Any] = {}
    for path, value in pairs:
        group, _, option = path.partition(".")
        found.setdefault(group, {})[option.replace("-", "_")] = value
    return found


def slug_of(name: str) -> str:
    """Return a name as the part of a file's name; what it has of other letters is left out."""
    if not name.strip():
        raise ConfigError("an arm has no name: files are named after it")
    signed = re.sub(r"(?<![A-Za-z0-9.])-(?=[0-9.])", "m", name)
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", signed).strip("-.").lower() or NAMELESS
    if len(slug) > LONGEST_SLUG:
        raise ConfigError(
            f"an arm's name has {len(slug)} letters, and files are named after it: give it "
            f"{LONGEST_SLUG} at most, in [arms] ({slug[:20]}...)"
        )
    return slug


def told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms, with a number behind what would name the files of an earlier arm.

    Raises:
        ConfigError: two arms have the same name.
    """
    found: dict[str, Arm] = {}
    slugs: set[str] = set()
    for arm in arms:
        if arm.name in found:
            raise ConfigError(f"two arms have one name, {arm.name!r}: leave one of them out")
        numbered = (f"{arm.slug}-{number}" for number in itertools.count(2))
        slug = next(one for one in itertools.chain([arm.slug], numbered) if one not in slugs)
        found[arm.name] = arm._replace(slug=slug)
        slugs.add(slug)
    return list(found.values())


def config_of(study: Study, world: World, arm: Arm) -> Config:
    """Return the configuration of an arm in a world.

    Whatever a preset says of the run's length, the study says it better; and its episodes are the
    environment's, or returns could not be compared. The stream holds everything: two rows per step
    are the most there can be.
    """
    steps = world.total_steps
    plain = {
        "env": {"id": world.id, "episode_length": None},
        "train": {
            "total_steps": steps,
            "total_episodes": None,
            "eval_interval": max(steps // EVALUATIONS, 1),
            "eval_episodes": 5,
            "seed": study.first_seed,
            "seeds": study.seeds,
        },
        "replay": {"capacity": min(max(2 * steps, LEAST_ROWS), MOST_ROWS)},
        "log": {"tensorboard": False},
    }
    values = read_preset(arm.preset or study.preset, world.id)
    for changes in (plain, study.changes, world.changes, arm.changes):
        values = reading.merge(values, changes)
    try:
        config = reading.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"arm {arm.name!r} in {world.id}: {error}") from None
    rules.check_comparable(config)
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
    found = options.resolved(config)
    values = (
        (option, getattr(getattr(found, group), option.name)) for group, option in options.options()
    )
    return tuple(value if options.shapes(option) else value is None for option, value in values)


def other_numbers(config: Config, base: Config) -> dict[str, dict[str, float]]:
    """Return the numeric options in which a configuration differs from one of the same shape."""
    found: dict[str, dict[str, float]] = {}
    both = options.resolved(config), options.resolved(base)
    for group, option in options.options():
        value, usual = (getattr(getattr(one, group), option.name) for one in both)
        if not options.shapes(option) and value != usual:
            found.setdefault(group, {})[option.name] = value
    return found
