"""What a study's file may not say, each in a sentence."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from qmu.config import Config, Env
from qmu.config.spelling import nearest
from qmu.errors import ConfigError

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
LEAST = {"seeds": 1, "first_seed": 0, "total_steps": 1}

# A study of more agents (arms, seeds and worlds) has to be confirmed; one of more than the second
# number is refused in any case.
MOST_RUNS, MOST_CONFIRMED = 10_000, 1_000_000

# Options that a study gives to all of its runs -> what says them instead.
OWNED = {
    ("env", "id"): "environments",
    ("train", "seed"): "first_seed",
    ("train", "seeds"): "seeds",
    ("train", "total_steps"): "total_steps",
    ("train", "total_episodes"): "total_steps",
    ("log", "dir"): "--dir",
    ("log", "name"): "--dir",
}
# An option and a group in which arms cannot differ: one is what returns are sums over.
LENGTH, LOG = ("env", "episode_length"), "log"


def check(held: Mapping[str, Any], most: int) -> None:
    """Raise ConfigError for what is no study, or one of more agents than `most`."""
    check_keys(held, KEYS, "")
    for required in ("question", "environments", "seeds"):
        if required not in held:
            raise ConfigError(f"{required} is missing")
        if held[required] in ("", []):
            raise ConfigError(f"{required} is empty")
    worlds = held["environments"]
    for world in worlds:
        if not isinstance(world, str) or not world:
            raise ConfigError(f"environments holds no id: {world!r}")
        if worlds.count(world) > 1:
            raise ConfigError(f"environments names {world} twice")
    check_tables(held.get("environment", {}), worlds)
    check_options(held.get("options", {}), "options", arm=False)
    check_arms(held.get("arms", {}), held.get("grid", {}))
    check_size(held, most)


def check_keys(held: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Raise ConfigError for a key that nobody knows, or a value of another type or size."""
    for key, value in held.items():
        if key not in kinds:
            raise ConfigError(f"unknown key {where}{key}{nearest(key, kinds)}")
        wanted = kinds[key]
        fits = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise ConfigError(f"{where}{key} is not {WORDS[wanted]}: {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}{key} is not a finite number: {value}")
        if key in LEAST and value < LEAST[key]:
            raise ConfigError(f"{where}{key} must be {LEAST[key]} or more, not {value}")


def check_tables(tables: Mapping[str, Any], worlds: Collection[Any]) -> None:
    """Raise ConfigError for a table of a world that is not there, or that is none."""
    known = [world for world in worlds if isinstance(world, str)]
    for world, table in tables.items():
        if world not in known:
            raise ConfigError(
                f"environment.{world} is about a world that environments does not name"
                f"{nearest(world, known)}"
            )
        if not isinstance(table, dict):
            raise ConfigError(f"environment.{world} is not a table: {table!r}")


def check_table(world: str, table: Mapping[str, Any]) -> None:
    """Raise ConfigError for what may not be said of a world."""
    check_keys(table, WORLD_KEYS, f"environment.{world}.")
    low, high = table.get("low"), table.get("high")
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise ConfigError(
            f"environment.{world} needs low and high, low below high, or none of them"
        )
    check_options(table.get("options", {}), f"environment.{world}.options", arm=False)


def check_arms(listed: Mapping[str, Any], grid: Mapping[str, Any]) -> None:
    """Raise ConfigError unless there are arms or a grid, made of tables or lists."""
    if listed and grid:
        raise ConfigError("it has [arms] and a [grid]: leave one of the two out")
    if not listed and not grid:
        raise ConfigError(
            "it compares nothing: list recipes in [arms], or options with their values in [grid]"
        )
    for name, changes in listed.items():
        if not isinstance(changes, dict):
            raise ConfigError(f"arms.{name} is not a table of options: {changes!r}")
    for path, values in grid.items():
        if isinstance(values, dict) and values:
            option = next(iter(values))
            raise ConfigError(
                f"grid.{path}.{option} needs quotes around the option: "
                f'write "{path}.{option}" = [...]'
            )
        if not isinstance(values, list) or not values:
            raise ConfigError(f"grid.{path} is not a list with values: {values!r}")


def check_options(changes: Mapping[str, Any], where: str, arm: bool) -> None:
    """Raise ConfigError for options that are the study's, or, of an `arm`, those of all arms."""
    for group, values in changes.items():
        if not isinstance(values, Mapping):
            continue  # no group of options: the configuration says so
        for option in values:
            path = (group, option)
            if path in OWNED:
                raise ConfigError(
                    f"{where} sets {group}.{option}, which belongs to the study: leave it out, and "
                    f"give {OWNED[path]}"
                )
            if arm and (path == LENGTH or group == LOG):
                raise ConfigError(
                    f"{where} sets {group}.{option}, in which arms cannot differ: give it to all "
                    "of them, in [options]"
                )


def check_apart(env: Env) -> None:
    """Raise ConfigError where what is trained on Ray would have its worlds there, too."""
    if env.workers.on_ray:
        raise ConfigError(
            f"--env.workers {env.workers}: what Ray trains takes the cluster's processors, and "
            f"would wait for more of them: give --env.workers {env.workers.number} and --cpus, or "
            "train a study without --on, whose worlds may then be on the cluster (--env.cluster)"
        )


def check_comparable(config: Config) -> None:
    """Raise ConfigError where trainings would have nothing to be compared by, or one world in all.

    They are compared by evaluations at the same steps, which in the only world wait for the end of
    an episode.
    """
    if not config.train.eval_interval:
        raise ConfigError(
            "--train.eval-interval 0: trainings are compared by their evaluations: give an interval"
        )
    if config.env.single:
        raise ConfigError(
            "--env.single is one world in all, whose evaluations wait for ends of episodes, and "
            "trainings are compared by evaluations at the same steps: train one after the other, "
            "and compare the final scores (`qmu eval`)"
        )


def check_size(held: Mapping[str, Any], most: int) -> None:
    """Raise ConfigError if a study trains more agents than this."""
    arms = len(held.get("arms", {})) or math.prod(map(len, held["grid"].values()))
    agents = arms * len(held["environments"]) * held["seeds"]
    if agents > most:
        way_out = (
            "give --yes if that is what you want, or --dry-run to see how long it may take"
            if most < MOST_CONFIRMED
            else "ask for less"
        )
        raise ConfigError(f"it trains {agents:,} agents, which is more than {most:,}: {way_out}")
