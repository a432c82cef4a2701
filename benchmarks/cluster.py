"""What studies gain by a second worker, with and without Ray, and what Ray costs a search's trials.

    .venv-ray/bin/python benchmarks/cluster.py

A study of four arms that take equally long and share no program is trained with one worker and with
two, in processes of this machine and on a Ray cluster that is started for it, in alternating
rounds. The serial part of a command is its time before the first training has begun and after the
last one has ended. A search without early stops tries one recipe after another on Ray; its
overhead per trial is what a trial takes beyond the seconds of its training. Training the same
recipe with `qmu train` says what of that Python, imports and the end of a run take anyway.

Nothing else may run beside it. The result goes to benchmarks/results/cluster-DATE.json.
"""

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
from process import machine, package_versions

from qmu.wording import counted

HERE = Path(__file__).resolve().parent
WORLD = "Pendulum-v1"
WORKERS = (1, 2)
ARMS = (64, 65, 66, 67)
PLACES = {"processes": [], "Ray": ["--on", "ray"]}


class Timed(NamedTuple):
    """A command that has trained: seconds in all, of each training, and outside of them."""

    seconds: float
    trainings: list[float]
    serial: float


def timed(words: Sequence[str], directory: Path) -> Timed:
    """Return how long a command takes, which leaves its runs below a directory."""
    begun, at = time.monotonic(), time.time()
    subprocess.run([sys.executable, "-m", "qmu", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    held = [json.loads(path.read_text()) for path in sorted(directory.rglob("run.json"))]
    starts = [datetime.datetime.fromisoformat(one["started"]).timestamp() for one in held]
    trainings = [float(one["seconds"]) for one in held]
    ends = [start + own for start, own in zip(starts, trainings, strict=True)]
    # The moments in run.json are whole seconds.
    serial = (min(starts) - at) + (at + seconds - max(ends))
    return Timed(seconds, trainings, max(serial, 0.0))


def options(steps: int) -> dict[str, Any]:
    """Return the options that all trainings share."""
    return {
        "actor": {"hidden_sizes": [64, 64]},
        "critic": {"hidden_sizes": [64, 64]},
        "replay": {"batch_size": 64},
        "train": {"total_steps": steps, "eval_interval": steps, "save_interval": 0},
    }


def study_file(folder: Path, steps: int) -> Path:
    """Write the study; return its file."""
    shared = options(steps)
    del shared["train"]["total_steps"]
    path = folder / "study.toml"
    path.write_text(
        tomli_w.dumps(
            {
                "question": "How long does it take?",
                "environments": [WORLD],
                "seeds": 1,
                "total_steps": steps,
                "options": shared,
                "arms": {f"{size} units": {"actor": {"hidden_sizes": [size]}} for size in ARMS},
            }
        )
    )
    return path


def measure_studies(folder: Path, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row per place and number of workers."""
    file = study_file(folder, steps)
    found: dict[tuple[str, int], list[Timed]] = {}
    for number in range(rounds):
        for place, more in PLACES.items():
            for workers in WORKERS:
                directory = folder / f"{place}-{workers}-{number}"
                words = ["study", str(file), "--dir", str(directory), "--workers", str(workers)]
                found.setdefault((place, workers), []).append(timed([*words, *more], directory))
    return [
        {
            "place": place,
            "workers": workers,
            "seconds": [one.seconds for one in own],
            "serial_seconds": [one.serial for one in own],
            "training_seconds": [one.trainings for one in own],
        }
        for (place, workers), own in found.items()
    ]


def measure_trials(folder: Path, steps: int, trials: int) -> dict[str, Any]:
    """Return what a search's trials take, and a single training of their base recipe."""
    recipe, space = folder / "recipe.toml", folder / "space.toml"
    # Evaluations and checkpoints are those that a search chooses for its trials.
    networks = {group: own for group, own in options(steps).items() if group != "train"}
    recipe.write_text(tomli_w.dumps(networks))
    space.write_text(tomli_w.dumps({"actor": {"lr": {"log": [5e-4, 2e-3]}}}))
    shared = [WORLD, "--config", str(recipe), "--train.total-steps", str(steps), "--seeds", "1"]
    searched = timed(
        [
            *("tune", *shared, "--space", str(space), "--trials", str(trials), "--workers", "1"),
            *("--grace-steps", str(steps), "--fresh-seeds", "0", "--dir", str(folder / "search")),
        ],
        # Not beside it, where Ray keeps the checkpoints of the same runs.
        folder / "search" / "runs",
    )
    alone = timed(["train", *shared, "--log.dir", str(folder / "alone")], folder / "alone")
    between = searched.seconds - searched.serial - sum(searched.trainings)
    return {
        "trials": trials,
        "search": searched._asdict(),
        "alone": alone._asdict(),
        "overhead_per_trial": between / (trials - 1),
    }


def show_studies(rows: Sequence[dict[str, Any]]) -> None:
    """Print the studies' rows."""
    for row in rows:
        print(
            f"study, {row['place']:9} {counted(row['workers'], 'worker'):9}: "
            f"{statistics.median(row['seconds']):6.1f} s, of which "
            f"{statistics.median(row['serial_seconds']):.1f} s serial"
        )
    for place in dict.fromkeys(row["place"] for row in rows):
        one, two = (row["seconds"] for row in rows if row["place"] == place)
        ratios = [alone / both for alone, both in zip(one, two, strict=True)]
        told = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{place}: two workers are {statistics.median(ratios):.2f} times as fast ({told})")


def show_search(row: dict[str, Any]) -> None:
    """Print what a search's trials take."""
    own = statistics.median(row["search"]["trainings"])
    print(
        f"search: {row['trials']} trials of {own:.1f} s one after another, "
        f"{row['overhead_per_trial']:.1f} s more for each beside its training, "
        f"{row['search']['serial']:.1f} s before and after them; `qmu train` takes "
        f"{row['alone']['serial']:.1f} s beside its training"
    )


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description="Measure what Ray gains and costs.")
    parser.add_argument("--steps", type=int, default=20_000, help="of a training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6, help="of the search; 0: none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        studies = measure_studies(folder, arguments.steps, arguments.rounds)
        show_studies(studies)
        search = None
        if arguments.trials:
            search = measure_trials(folder, arguments.steps, arguments.trials)
            show_search(search)
    output = HERE / "results" / f"cluster-{datetime.datetime.now():%Y-%m-%d}.json"
    report = {
        "command": ["python", "benchmarks/cluster.py", *sys.argv[1:]],
        "machine": machine(),
        "versions": package_versions(),
        **vars(arguments),
        "studies": studies,
        "search": search,
    }
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
