"""Compare whole training loops: qmu, Stable-Baselines3 and SBX, side by side in one run.

    make bench                                    # or: .venv/bin/python benchmarks/speed.py
    python benchmarks/speed.py --rounds 2 --only pendulum-small

Every measurement is a process of its own. Those of one case alternate, round after round, so that
a drift of the machine's speed meets all of them; the table shows medians over the rounds and the
median of the ratios within a round. Nothing else may run beside it. The results go to
benchmarks/results/speed-DATE.json.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from process import machine, wake_microseconds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = [sys.executable, str(HERE / "ours.py")]
RIVALS = [str(ROOT / ".venv-bench" / "bin" / "python"), str(HERE / "rivals.py")]


# Above so many microseconds between two cores, a machine counts as busy (docs/decisions/0009).
QUIET = 40.0


class Contender(NamedTuple):
    """A command that prints one line of JSON, and what of it counts."""

    name: str
    command: list[str]
    figure: str = "steps_per_second"


class Goal(NamedTuple):
    """What a ratio of two contenders must reach, and what it should."""

    above: str
    below: str
    must: float
    aim: float


class Case(NamedTuple):
    """Contenders that alternate, and the goals for their ratios."""

    name: str
    title: str
    contenders: list[Contender]
    goals: list[Goal]


def loop(name: str, launcher: list[str], setting: str, steps: int, extra: str = "") -> Contender:
    """Return a contender that trains with this setting."""
    words = f"{setting} --warmup-steps 2000 --steps {steps} {extra}".split()
    return Contender(name, [*launcher, *words])


def against_rivals(
    name: str, title: str, setting: str, steps: int, goals: list[Goal], *others: Contender
) -> Case:
    """Return the case of one member against the two other libraries, and others beside them."""
    return Case(
        name,
        title,
        [
            loop("qmu", [*OURS, "loop"], setting, steps),
            loop("sbx", [*RIVALS, "sbx"], setting, steps),
            loop("sb3", [*RIVALS, "sb3"], setting, steps // 3),
            *others,
        ],
        goals,
    )


def members(name: str, title: str, setting: str, steps: int, must: float, aim: float) -> Case:
    """Return the case of ten members against one."""
    return Case(
        name,
        title,
        [
            loop("10 members", [*OURS, "loop"], setting, steps, "--members 10"),
            loop("1 member", [*OURS, "loop"], setting, 3 * steps),
        ],
        [Goal("10 members", "1 member", must, aim)],
    )


LARGE = "--hidden 256 256 --batch 256"
SMALL = "--hidden 64 64 --batch 64"
CASES = [
    against_rivals(
        "cheetah",
        "HalfCheetah-v5, 256-256, batch 256, 1 member",
        f"--env HalfCheetah-v5 {LARGE}",
        9_000,
        [
            Goal("qmu", "sbx", 1.5, 1.65),
            Goal("qmu", "sb3", 2.6, 4.0),
            Goal("default recipe", "sbx", 1.3, 1.3),
        ],
        loop("default recipe", [*OURS, "loop"], "--env HalfCheetah-v5 --preset default", 9_000),
    ),
    against_rivals(
        "pendulum-small",
        "Pendulum-v1, 64-64, batch 64, 1 member",
        f"--env Pendulum-v1 {SMALL}",
        18_000,
        [Goal("qmu", "sbx", 4, 6), Goal("qmu", "sb3", 10, 15)],
    ),
    members(
        "members-large",
        "Pendulum-v1, 256-256, batch 256, 10 members, summed",
        f"--env Pendulum-v1 {LARGE}",
        1_500,
        1.15,
        1.3,
    ),
    members(
        "members-small",
        "Pendulum-v1, 64-64, batch 64, 10 members, summed",
        f"--env Pendulum-v1 {SMALL}",
        12_000,
        1.2,
        1.6,
    ),
    Case(
        "update",
        "update alone, 256-256, batch 256, over the matrix-product floor",
        [Contender("share of the floor", [*OURS, "update", *LARGE.split()], "share_of_floor")],
        [Goal("share of the floor", "", 0.65, 0.8)],
    ),
]


def run_json(command: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command and return the JSON in the last line that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=os.environ | (environment or {}),
        )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_case(case: Case, rounds: int) -> dict[str, Any]:
    """Measure a case's contenders in turn, and return medians, ratios and all figures."""
    print(f"\n{case.title}", flush=True)
    figures: dict[str, list[dict[str, Any]]] = {one.name: [] for one in case.contenders}
    for _ in range(rounds):
        for one in case.contenders:
            figures[one.name].append(run_json(one.command))
    kinds = {one.name: one.figure for one in case.contenders}
    values = {name: [row[kinds[name]] for row in rows] for name, rows in figures.items()}
    for name, rows in figures.items():
        first = [row["seconds_to_first_update"] for row in rows if "seconds_to_first_update" in row]
        ready = f", first update after {statistics.median(first):.1f} s" if first else ""
        low, high = min(values[name]), max(values[name])
        print(
            f"  {name:20} {statistics.median(values[name]):10.4g}  ({low:.4g} to {high:.4g}){ready}"
        )
    reached = []
    for goal in case.goals:
        below = values.get(goal.below, [1.0] * rounds)
        ratios = [a / b for a, b in zip(values[goal.above], below, strict=True)]
        reached.append(goal._asdict() | {"ratios": ratios, "median": statistics.median(ratios)})
        print(verdict(goal, statistics.median(ratios)), flush=True)
    return {"name": case.name, "title": case.title, "goals": reached, "figures": figures}


def verdict(goal: Goal, ratio: float) -> str:
    """Return a goal and what was reached of it as one line."""
    over = f" / {goal.below}" if goal.below else ""
    said = "aim reached" if ratio >= goal.aim else "reached" if ratio >= goal.must else "MISSED"
    return f"  {goal.above}{over}: {ratio:.2f}  (must {goal.must}, aim {goal.aim}): {said}"


def measure_start(rounds: int) -> dict[str, Any]:
    """Time `qmu --help`, and `qmu train Pendulum-v1` until its first update."""
    print("\nstart", flush=True)
    helps, colds, warms = [], [], []
    command = [*OURS, "first-update"]
    for _ in range(rounds):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-m", "qmu", "--help"], check=True, capture_output=True)
        helps.append(time.perf_counter() - before)
        with tempfile.TemporaryDirectory() as cache:
            place = {"XDG_CACHE_HOME": cache}
            colds.append(run_json(command, place)["seconds_to_first_update"])
            warms.append(run_json(command, place)["seconds_to_first_update"])
    limits = {
        "qmu --help": (helps, 1.0, 0.3),
        "first update, cold": (colds, 10.0, 5.0),
        "first update, with compilation cache": (warms, 6.0, 3.0),
    }
    rows = []
    for name, (seconds, must, aim) in limits.items():
        median = statistics.median(seconds)
        said = "aim reached" if median <= aim else "reached" if median <= must else "MISSED"
        print(f"  {name}: {median:.2f} s  (must {must}, aim {aim}): {said}", flush=True)
        rows.append({"name": name, "seconds": seconds, "median": median, "must": must, "aim": aim})
    return {"name": "start", "title": "start", "goals": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare whole training loops.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], help="names of cases")
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    output = arguments.output or HERE / "results" / f"speed-{today}.json"
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    wake = wake_microseconds()
    state = "quiet" if wake <= QUIET else "busy"
    print(f"{wake:.0f} microseconds for a core to wake another: {state}", flush=True)
    measured = [measure_case(case, arguments.rounds) for case in cases]
    for case in measured:
        held = [row.get("stream_over_raw") for row in case["figures"].get("qmu", [])]
        if case["name"] == "cheetah":
            print(f"\nstream memory over raw bytes: {held[0]:.3f}  (must 1.05)")
    if not arguments.only or "start" in arguments.only:
        measured.append(measure_start(arguments.rounds))
    output.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "date": today,
        "machine": machine(),
        "wake_microseconds": wake,
        "state": state,
        "rounds": arguments.rounds,
        "cases": measured,
    }
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten to {output}")


if __name__ == "__main__":
    main()
