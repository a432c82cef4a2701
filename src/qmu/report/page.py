"""A report that a person reads top to bottom: one HTML file that needs no network, or Markdown.

Beside it, every evaluation as a table for other programs.
"""

import base64
import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from qmu import config as options
from qmu.config import reading
from qmu.errors import ConfigError
from qmu.health.doctor import examine_run
from qmu.records.again import how_to_train
from qmu.records.directory import VIDEOS
from qmu.report import pictures
from qmu.report.maps import maps
from qmu.runs.results import Run
from qmu.saving import storage
from qmu.study.plan import Study, config_of
from qmu.study.results import (
    COLUMNS,
    PROTOCOL,
    Outcome,
    Place,
    Results,
    answer,
    cells,
    not_begun,
    number,
    rows,
    share,
    together,
)
from qmu.watching.curves import style

TEMPLATES = resources.files(__name__.rpartition(".")[0])
# A page carries its videos; a longer one stays where it is, and the page says where.
MOST_VIDEO_BYTES = 20 * 2**20


def write_report(results: Results, directory: Path, paths: Sequence[Path], kind: str) -> Path:
    """Write a report of a kind of `KINDS` into a directory; return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    name, make = KINDS[kind]
    text = make(results, paths)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        storage.replace_file(directory / name, text.encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {directory / name}: {error.strerror}; choose another --out"
        ) from None
    return directory / name


def html(results: Results, paths: Sequence[Path]) -> str:
    """Return the page."""
    return filled("report.html", results, paths)


def markdown(results: Results, paths: Sequence[Path]) -> str:
    """Return the tables alone."""
    return filled("report.md", results, paths)


def csv_table(results: Results, paths: Sequence[Path]) -> str:
    """Return every evaluation, one line each: world, arm, seed, step, mean_reward."""
    del paths
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("world", "arm", "seed", "step", "mean_reward"))
    for place in results.places:
        for one in place.outcomes:
            for seed, curve in zip(one.seeds, one.curves, strict=True):
                for step, value in zip(one.steps, curve, strict=True):
                    writer.writerow((place.world.id, one.arm, seed, int(step), f"{value:.7g}"))
    return out.getvalue()


# Kind of report -> the name of its file, and what makes it.
KINDS: dict[str, tuple[str, Callable[[Results, Sequence[Path]], str]]] = {
    "html": ("report.html", html),
    "markdown": ("report.md", markdown),
    "csv": ("evaluations.csv", csv_table),
}


def filled(name: str, results: Results, paths: Sequence[Path]) -> str:
    """Return a template with what it shows of results."""
    return rendered(name, contents(results, paths))


def rendered(name: str, held: Mapping[str, Any]) -> str:
    """Return a template with what it shows; pages share a style."""
    environment = jinja2.Environment(
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # An arm may be called anything, and a bar ends a cell of a table in Markdown.
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return environment.from_string(text).render(**held, style=style).rstrip("\n") + "\n"


def contents(results: Results, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what the templates show."""
    comparing = len(results.arms) > 1 and any(map(results.complete, results.arms))
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
        "profiles": pictures.profiles(results) if comparing else None,
        "diagnoses": diagnoses(results),
        "speeds": speeds(results),
        "differences": differences(results),
        "commands": commands(results, paths),
        "rest": shlex.join(["qmu", "report", *map(str, paths), "--markdown", "--csv"]),
        "versions": versions(results),
    }


def place_contents(results: Results, place: Place) -> dict[str, Any]:
    """Return what is shown of a world."""
    seeds = {len(one.seeds) for one in place.outcomes}
    unfinished = [one for one in place.outcomes if not one.finished]
    return {
        "world": place.world.id,
        "steps": f"{place.world.total_steps:,}",
        "seeds": counted(sorted(seeds)),
        "threshold": None if place.world.threshold is None else number(place.world.threshold),
        "picture": pictures.world_curves(results, place),
        "maps": maps_of(place),
        "videos": videos_of(results, place),
        "missing": [f"{one.arm}: {words_of(one)}" for one in unfinished]
        + [f"{arm}: not begun" for arm in not_begun(results, place)],
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


def counted(seeds: Sequence[int]) -> str:
    """Return numbers of seeds in words."""
    if not seeds:
        return "no seeds yet"
    return f"{' or '.join(map(str, seeds))} seed{'' if list(seeds) == [1] else 's'}"


def maps_of(place: Place) -> dict[str, str] | None:
    """Return maps of what the best arm has learned, where observations are small enough."""
    finished = [one for one in place.outcomes if one.finished]
    if not finished:
        return None
    best = max(finished, key=lambda one: float(one.scores.mean()))
    picture = maps(best, place.world.id)
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
    """Return what the doctor finds in each run, and in which members; the worst run is first."""
    found = []
    for run in runs_of(results):
        arms = {
            one.arm
            for place in results.places
            for one in place.outcomes
            if one.run.directory == run.directory
        }
        name = f"{run.info['environment']}: {', '.join(sorted(arms, key=results.arms.index))}"
        found.append({"name": name, "checkup": examine_run(run)})
    return sorted(found, key=lambda entry: entry["checkup"].urgency)


def differences(results: Results) -> list[dict[str, Any]]:
    """Return, for each of several arms, in which options it differs from the base arm."""
    if len(results.arms) == 1:
        return []
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
        same = "what the others are held against" if arm == results.base else "the same"
        found.append({"arm": arm, "index": index, "lines": words or [same]})
    return found


def place_differences(results: Results, place: Place, arm: str) -> list[str]:
    """Return in which options an arm differs from the base arm in a world."""
    own = arm_config(results, place, arm)
    base = options.replace(arm_config(results, place, results.base), "log", **vars(own.log))
    return [
        line.replace("(default:", f"({results.base}:") for line in reading.differences(own, base)
    ]


def arm_config(results: Results, place: Place, arm: str) -> options.Config:
    """Return an arm's configuration in a world; without a study, in the world of its run."""
    if isinstance(results.study, Study):
        named = next(one for one in results.study.arms if one.name == arm)
        return config_of(results.study, place.world, named)
    outcome = next(one for some in results.places for one in some.outcomes if one.arm == arm)
    name = outcome.member_names[0]
    return next(member.config for member in outcome.run.members if member.name == name)


def commands(results: Results, paths: Sequence[Path]) -> list[str]:
    """Return what to type to get the same results."""
    if isinstance(results.study, Study):
        worlds = [place.world.id for place in results.places]
        # A file imports nothing: an id that needs a module is typed, and all others with it.
        typed = ["--env", *worlds] if any(":" in world for world in worlds) else []
        again = ["qmu", "study", str(paths[0] / "study.toml"), "--dir", "AGAIN", *typed]
        return [
            shlex.join(again),
            f"qmu report {shlex.quote(str(paths[0]))}",
        ]
    return [
        line
        for run in runs_of(results)
        for line in how_to_train(run.directory, run.config, run.info)
    ]


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
