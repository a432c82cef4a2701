"""A study's directory: what is asked, the runs that answer it, and how far they are.

It holds `study.toml` (what is asked, complete), `runs/` (a run for each program), `logs/` (what the
processes said), and `apart.json`: programs in which an arm has diverged, whose arms are trained in
programs of their own.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from qmu.config.files import read_toml
from qmu.errors import ConfigError
from qmu.records.described import said_of
from qmu.records.directory import CHECKPOINTS, METRICS, RUN_FILE, folder_name, read_json
from qmu.runs.results import Run
from qmu.saving import storage, store
from qmu.study.plan import Program, Study, described, programs, study_of

STUDY_FILE, APART_FILE = "study.toml", "apart.json"
RUNS, LOGS = "runs", "logs"
# The newest lines of metrics are in so many last bytes.
TAIL = 4096
STEP = re.compile(rb'{"step": (\d+)')
# What may be said differently of a study that has been trained.
OPINIONS, WORLD_OPINIONS = ("question", "base"), ("threshold", "low", "high")


def open_directory(directory: Path) -> Study:
    """Return the study in a directory.

    Raises:
        ConfigError: there is none.
    """
    path = directory / STUDY_FILE
    if not storage.is_file(path):
        raise ConfigError(f"{directory} is not a study's directory: it has no {STUDY_FILE}")
    return study_of(directory.name, read_toml(path))


def begin(study: Study, directory: Path) -> None:
    """Make a study's directory, unless it is there.

    Raises:
        ConfigError: it cannot be made.
    """
    if not storage.is_file(directory / STUDY_FILE):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write to {directory}: {error.strerror}") from None
        keep(study, directory)


def keep(study: Study, directory: Path) -> None:
    """Write a study into its directory. Raises ConfigError where that cannot be done."""
    try:
        storage.replace_file(directory / STUDY_FILE, tomli_w.dumps(described(study)).encode())
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}") from None


def settle(study: Study, directory: Path) -> Study:
    """Return the study that is gone on with in a directory that has begun.

    What is trained, and in which order, is what the directory holds; the question, the base arm
    and what scores mean are the newly asked study's, and are written down. Whoever calls holds the
    lock.

    Raises:
        ConfigError: another study is trained there.
    """
    before = open_directory(directory)
    changed = list(differences(trained_part(before), trained_part(study)))
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ConfigError(
            f"{directory} holds another study: {changed[0]}{more}. Give another --dir, or the same "
            "options as before to go on with it"
        )
    asked = {world.id: world for world in study.worlds}
    worlds = tuple(
        world._replace(**{key: getattr(asked[world.id], key) for key in WORLD_OPINIONS})
        for world in before.worlds
    )
    now = dataclasses.replace(
        before, name=study.name, question=study.question, base=study.base, worlds=worlds
    )
    if described(now) != described(before):
        keep(now, directory)
    return now


def trained_part(study: Study) -> dict[str, Any]:
    """Return what a study trains, as `described` has it, without order."""
    held = {key: value for key, value in described(study).items() if key not in OPINIONS}
    worlds = {
        world: {key: value for key, value in own.items() if key not in WORLD_OPINIONS}
        for world, own in held["environment"].items()
    }
    return held | {"environments": sorted(held["environments"]), "environment": worlds}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield what two dictionaries differ in, a sentence for each path."""
    for key in [*before, *(key for key in now if key not in before)]:
        where = f"{path}{key}"
        one, other = before.get(key), now.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{where}.")
        elif key not in now:
            yield f"{where} was {told(one)}, now it is not given"
        elif key not in before:
            yield f"{where} was not given, now it is {told(other)}"
        elif one != other:
            yield f"{where} was {told(one)}, now it is {told(other)}"


def told(value: Any) -> str:
    """Return a value of a study as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {told(own)}" for key, own in value.items()) or "there"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def apart(directory: Path) -> set[tuple[str, str]]:
    """Return the programs (world, name) that have been taken apart.

    Raises:
        ConfigError: the file that says it is damaged.
    """
    held = read_json(directory / APART_FILE).get("programs", [])
    try:
        return {(str(world), str(name)) for world, name in held}
    except (TypeError, ValueError):
        raise ConfigError(f"{directory / APART_FILE} is damaged: remove it") from None


def run_of(directory: Path, program: Program) -> Run | None:
    """Return the newest run of a program, if there is one."""
    folder = directory / RUNS / folder_name(program.world.id)
    found = [
        file.parent
        for file in folder.glob(f"{program.name}-????????-??????-????/{RUN_FILE}")
        if set(said_of(file.parent).get("arms", {})) == set(program.arms)
    ]
    return Run(max(found, key=lambda path: path.name)) if found else None


def status_of(run: Run | None) -> str:
    """Return how a program stands: new, running, finished, or how its run has ended."""
    return "new" if run is None else str(said_of(run.directory).get("status", "new"))


def can_go_on(run: Run) -> bool:
    """Tell whether a run has a checkpoint."""
    return bool(store.complete(run.directory / CHECKPOINTS))


def steps_taken(run: Run | None) -> int:
    """Return the steps that each member of a run has taken, by its newest line of metrics."""
    if run is None or not (run.directory / METRICS).exists():
        return 0
    with (run.directory / METRICS).open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        lines = file.read().splitlines()
    steps = [int(found[1]) for line in lines if (found := STEP.match(line))]
    return max(steps, default=0)


def find_program(study: Study, directory: Path, world: str, arms: str) -> Program:
    """Return a study's program by its world and its arms, as `arms_of` spells them.

    Raises:
        ConfigError: there is no such program.
    """
    for program in programs(study, apart(directory)):
        if (program.world.id, arms_of(program)) == (world, arms):
            return program
    raise ConfigError(f"{directory} trains no program of {arms} in {world}")


def arms_of(program: Program) -> str:
    """Return a program's arms in a word; together with the world, no other program has it."""
    return ",".join(program.arms)


def take_apart(directory: Path, program: Program) -> None:
    """Note that a program's arms are to be trained in programs of their own."""
    noted = sorted(apart(directory) | {(program.world.id, program.name)})
    data = json.dumps({"programs": noted}).encode()
    storage.replace_file(directory / APART_FILE, data)


def log_of(directory: Path, program: Program) -> Path:
    """Return the file that holds what a program's process said."""
    return directory / LOGS / f"{folder_name(program.world.id)}-{program.name}.log"
