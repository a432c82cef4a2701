"""A report that a person reads top to bottom: one HTML file that needs no network, or Markdown."""

import base64
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from qmu import config as options
from qmu import configure
from qmu.errors import ConfigError
from qmu.saving import storage
from qmu.study import pictures
from qmu.study.maps import maps
from qmu.study.plan import Study, config_of
from qmu.study.results import (
    COLUMNS,
    PROTOCOL,
    Outcome,
    Place,
    Results,
    answer,
    cells,
    number,
    rows,
    share,
    together,
)
from qmu.training.curves import style
from qmu.training.directory import VIDEOS
from qmu.training.doctor import diagnose
from qmu.training.results import Run

HTML, MARKDOWN = "report.html", "report.md"
# A page carries its videos; a longer one stays where it is, and the page says where.
MOST_VIDEO_BYTES = 20 * 2**20
TEMPLATES = resources.files(__name__.rpartition(".")[0])


def write_report(results: Results, directory: Path, paths: Sequence[Path], markdown: bool) -> Path:
    """Write a report into a directory; return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    name = MARKDOWN if markdown else HTML
    environment = jinja2.Environment(
        autoescape=not markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string((TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))
    text = template.render(**contents(results, paths))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        storage.replace_file(directory / name, text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {directory / name}: {error.strerror}; choose another --out"
        ) from None
    return directory / name


def contents(results: Results, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what the templates show."""
    return {
        "name": results.name,
        "question": results.question,
        "answer": answer(results),
        "protocol": PROTOCOL,
        "columns": COLUMNS,
        "base": results.base,
        "arms": [
            {"name": arm, "index": index, "colour": style(index)["color"]}
            for index, arm in enumerate(results.arms)
        ],
        "places": [place_contents(results, place) for place in results.places],
        "overall": overall(results),
        "profiles": pictures.profiles(results) if len(results.arms) > 1 else None,
        "diagnoses": diagnoses(results),
        "speeds": speeds(results),
        "differences": differences(results),
        "commands": commands(results, paths),
        "versions": versions(results),
    }


def place_contents(results: Results, place: Place) -> dict[str, Any]:
    """Return what is shown of a world."""
    seeds = {len(one.seeds) for one in place.outcomes}
    unfinished = [one for one in place.outcomes if not one.finished]
    there = {one.arm for one in place.outcomes}
    return {
        "world": place.world.id,
        "steps": f"{place.world.total_steps:,}",
        "seeds": " or ".join(str(count) for count in sorted(seeds)),
        "threshold": None if place.world.threshold is None else number(place.world.threshold),
        "picture": pictures.world_curves(results, place),
        "maps": maps_of(place),
        "videos": videos_of(results, place),
        "missing": [f"{one.arm}: {words_of(one)}" for one in unfinished]
        + [f"{arm}: not begun" for arm in results.arms if arm not in there],
        "rows": [
            {
                "arm": row.arm,
                "index": results.arms.index(row.arm),
                "cells": cells(row),
                "seeds": " ".join(number(score) for score in sorted(row.scores, reverse=True)),
            }
            for row in rows(results, place)
        ],
    }


def maps_of(place: Place) -> dict[str, str] | None:
    """Return maps of what the best arm has learned, where observations are small enough."""
    finished = [one for one in place.outcomes if one.finished]
    if not finished:
        return None
    best = max(finished, key=lambda one: float(one.scores.mean()))
    picture = maps(best)
    return None if picture is None else {"arm": best.arm, "picture": picture}


def videos_of(results: Results, place: Place) -> list[dict[str, Any]]:
    """Return the newest video of each arm that has some, as a page can hold it."""
    found = []
    for one in place.outcomes:
        folder = one.run.directory / VIDEOS
        own = [path for name in one.member_names for path in folder.glob(f"{name}-*.mp4")]
        if not own:
            continue
        newest = max(own, key=lambda path: path.stem.rpartition("-")[2])
        small = newest.stat().st_size <= MOST_VIDEO_BYTES
        data = base64.b64encode(newest.read_bytes()).decode() if small else None
        index = results.arms.index(one.arm)
        found.append({"arm": one.arm, "index": index, "path": newest, "data": data})
    return found


def words_of(outcome: Outcome) -> str:
    """Return how an arm stands that has not finished."""
    last = int(outcome.steps[-1]) if len(outcome.steps) else 0
    error = outcome.run.info.get("error")
    return f"{outcome.status} at step {last:,}" + (f" ({error})" if error else "")


def overall(results: Results) -> list[dict[str, Any]]:
    """Return the lines of the table over all worlds."""
    if len(results.places) < 2:
        return []
    return [
        {
            "arm": arm,
            "index": results.arms.index(arm),
            "middle": share(middle),
            "beats": share(beats),
        }
        for arm, (middle, beats) in together(results).items()
    ]


def speeds(results: Results) -> list[dict[str, Any]]:
    """Return how long each program took; arms of one program share its time."""
    seen: dict[Path, dict[str, Any]] = {}
    for place in results.places:
        for one in place.outcomes:
            entry = seen.setdefault(
                one.run.directory,
                {"world": place.world.id, "arms": [], "steps": 0.0, "seconds": one.seconds},
            )
            entry["arms"].append(one.arm)
            entry["steps"] += len(one.seeds) * (float(one.steps[-1]) if len(one.steps) else 0.0)
    return [
        {
            "world": entry["world"],
            "arms": ", ".join(entry["arms"]),
            "time": f"{entry['seconds']:,.0f} s",
            "speed": f"{entry['steps'] / entry['seconds']:,.0f}" if entry["seconds"] else "-",
        }
        for entry in seen.values()
    ]


def diagnoses(results: Results) -> list[dict[str, Any]]:
    """Return what the doctor finds in each run, and in which of its members."""
    found = []
    for run in runs_of(results):
        arms = {
            one.arm
            for place in results.places
            for one in place.outcomes
            if one.run.directory == run.directory
        }
        name = f"{run.info['environment']}: {', '.join(sorted(arms, key=results.arms.index))}"
        found.append({"name": name, "found": diagnose(run)})
    return found


def differences(results: Results) -> list[dict[str, Any]]:
    """Return, for each arm, in which options it differs from the base arm."""
    found = []
    for index, arm in enumerate(results.arms):
        lines = {
            place.world.id: changed
            for place in results.places
            for changed in [place_differences(results, place, arm)]
        }
        shown = list(lines.values())
        # In most studies they are the same in all worlds.
        alike = all(one == shown[0] for one in shown)
        words = shown[0] if alike else [f"{w}: {line}" for w, one in lines.items() for line in one]
        found.append({"arm": arm, "index": index, "lines": words})
    return found


def place_differences(results: Results, place: Place, arm: str) -> list[str]:
    """Return in which options an arm differs from the base arm in a world."""
    configs = {name: arm_config(results, place, name) for name in (results.base, arm)}
    base, own = configs[results.base], configs[arm]
    if base is None or own is None or base is own:
        return []
    base = options.replace(base, "log", **vars(own.log))
    return [
        line.replace("(default:", f"({results.base}:") for line in configure.differences(own, base)
    ]


def arm_config(results: Results, place: Place, arm: str) -> options.Config | None:
    """Return an arm's configuration in a world; None if it has not been there."""
    if isinstance(results.study, Study):
        named = next(one for one in results.study.arms if one.name == arm)
        return config_of(results.study, place.world, named)
    outcome = next((one for one in place.outcomes if one.arm == arm), None)
    if outcome is None:
        return None
    name = outcome.member_names[0]
    return next(member.config for member in outcome.run.members if member.name == name)


def commands(results: Results, paths: Sequence[Path]) -> list[str]:
    """Return what to type to get the same results."""
    if isinstance(results.study, Study):
        return [
            f"qmu study {shlex.quote(str(paths[0] / 'study.toml'))} --dir AGAIN",
            f"qmu report {shlex.quote(str(paths[0]))}",
        ]
    return [command_of(run) for run in runs_of(results)]


def command_of(run: Run) -> str:
    """Return the command that trains a run again."""
    config = run.directory / "config.toml"
    words = ["qmu", "train", str(run.info["environment"]), "--config", str(config)]
    return shlex.join(words)


def runs_of(results: Results) -> list[Run]:
    """Return the runs behind results, each once."""
    found = {one.run.directory: one.run for place in results.places for one in place.outcomes}
    return list(found.values())


def versions(results: Results) -> list[str]:
    """Return what the runs were trained with and on, each line once."""
    lines: dict[str, None] = {}
    for run in runs_of(results):
        info = run.info
        packages = ", ".join(
            f"{name} {version}" for name, version in info.get("versions", {}).items() if version
        )
        lines[f"Python {info.get('python')}, {packages}; {info.get('platform')}"] = None
    return list(lines)
