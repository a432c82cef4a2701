"""What to type to go on with a run, to measure it, or to train it once more.

Files import nothing and hold no functions, so a module, wrappers, and whatever was given in Python
are given again. `described` is what `run.json` says of a run: the last of these, and its arms.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qmu.config import Config, flag, reading
from qmu.places import shown
from qmu.records.directory import CONFIG_FILE

# What can be given in Python only.
GIVEN = ("schedules", "networks")
# Where arms are trained again: not among the runs of the study that they were trained for.
ELSEWHERE = "AGAIN"


def how_to_go_on(directory: Path, config: Config, described: Mapping[str, Any]) -> str:
    """Return the command that goes on with a run, or the call in Python."""
    given = placeholders(described)
    if config.env.id is not None and not given:
        return shlex.join(["qmu", "resume", shown(directory), *world_words(config)])
    return call("resume", [repr(shown(directory)), *world_arguments(config), *given])


def how_to_score(directory: Path, config: Config, described: Mapping[str, Any]) -> str:
    """Return the command that measures a run's best policy, or the call in Python."""
    if config.env.id is not None and not has_own_actor(described):
        words = ["qmu", "eval", shown(directory), *world_words(config), "--episodes", "20"]
        return shlex.join(words)
    world = ", ".join(world_arguments(config))
    opened = how_to_open(directory, described)
    return f"{opened}{f'.in_world({world})' if world else ''}.evaluate()"


def how_to_open(directory: Path, described: Mapping[str, Any]) -> str:
    """Return the call that opens a run."""
    networks = ["networks=..."] if has_own_actor(described) else []
    return call("open_run", [repr(shown(directory)), *networks])


def has_own_actor(described: Mapping[str, Any]) -> bool:
    """Tell whether a run's policies are networks of the user's own."""
    return not {"actor", "encoder"}.isdisjoint(described.get("networks", []))


def world_words(config: Config) -> list[str]:
    """Return what has to be typed again of a run's world: what only the user may import."""
    named = [config.env.id] if ":" in (config.env.id or "") else []
    return [*option("--env", named), *option("--wrappers", config.env.wrappers)]


def world_arguments(config: Config) -> list[str]:
    """Return what has to be given again of a run's world in Python."""
    name, wrappers = config.env.id, config.env.wrappers
    env = [f"env={'...' if name is None else repr(name)}"] if name is None or ":" in name else []
    return [*env, *([f"wrappers={list(wrappers)}"] if wrappers else [])]


def how_to_train(directory: Path, config: Config, described: Mapping[str, Any]) -> list[str]:
    """Return the command that trains a run again, or the call in Python; one for each arm."""
    name, given, file = config.env.id, placeholders(described), shown(directory / CONFIG_FILE)
    calls = []
    for arm, numbers in (described.get("arms") or {"": {}}).items():
        groups = reading.merge(numbers, {"log": {"dir": ELSEWHERE, "name": arm}} if arm else {})
        if config.env.wrappers:
            groups = reading.merge(groups, {"env": {"wrappers": list(config.env.wrappers)}})
        if name is not None and not given:
            calls.append(shlex.join(["qmu", "train", name, "--config", file, *typed(groups)]))
            continue
        source = "..." if name is None else repr(name)
        spelled = [f"{group}={values}" for group, values in groups.items()]
        calls.append(call("train", [source, f"preset={file!r}", *given, *spelled]))
    return calls


def typed(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return options as the words of a command line."""
    return [
        word
        for group, values in groups.items()
        for name, value in values.items()
        for word in option(flag(group, name), value if isinstance(value, list) else [value])
    ]


def option(name: str, values: Iterable[Any]) -> list[str]:
    """Return an option with its values as words; nothing without a value."""
    words = [str(value) for value in values]
    return [name, *words] if words else []


def placeholders(described: Mapping[str, Any]) -> list[str]:
    """Return the arguments that only the user can fill in."""
    return [f"{name}=..." for name in GIVEN if described.get(name)]


def call(function: str, arguments: Iterable[str]) -> str:
    """Return a call of one of qmu's functions."""
    return f"qmu.{function}({', '.join(arguments)})"
