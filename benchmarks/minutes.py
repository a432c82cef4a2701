"""How long until a deterministic evaluation first reaches a score: qmu, SBX, Stable-Baselines3.

    python benchmarks/minutes.py                                     # one seed of each, hours
    python benchmarks/minutes.py --seeds 3 --programs qmu sbx-td3 sbx-crossq
    python benchmarks/minutes.py --worlds Walker2d-v5 Humanoid-v5 --preset auto
    python benchmarks/minutes.py --worlds Pendulum-v1=-300 --every 500 --programs qmu sbx-sac

Every run is a process of its own (benchmarks/reach.py), with all cores, and nothing may run beside
it. It ends when the score is reached, and else at a limit. A seed of a world is a round: the
programs take turns in an order that rotates, so that a drift of the machine's speed meets all. A
rival is stopped at twice the median of qmu's times of that world so far (`--factor`), as that
is what a comparison has to show; qmu goes first where it has none yet.

What is measured is seconds of training since the process was started, with compilation (qmu's
cache of compiled programs is empty) and without evaluations; the time with evaluations is beside
it. qmu's runs are planned for 100,000 steps, as a user's are by default: that is what its learning
rates fall over, and where it has failed.

The rivals' settings are in benchmarks/reach.py, with their sources. Of Stable-Baselines3 there are
TD3 and SAC, on HalfCheetah-v5 alone: the two of its own algorithms with the highest scores in the
zoo's benchmark.md (HalfCheetah-v3, a million steps: 9,656 and 9,535; PPO 5,819; DDPG is not in it).

Results are written after every run, to benchmarks/results/minutes.json: a run that is there is not
run again. A run that has been stopped has taken more than the seconds that are shown.
"""

import argparse
import datetime
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from process import commit, machine, wake_microseconds
from reach import RIVALS
from speed import run_json

HERE = Path(__file__).resolve().parent
REACH = str(HERE / "reach.py")
RIVALS_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
QMU = "qmu"
SCORES = {
    "HalfCheetah-v5": 5_000.0,
    "Hopper-v5": 1_500.0,
    "Ant-v5": 1_500.0,
    "Walker2d-v5": 1_500.0,
    "Humanoid-v5": 1_000.0,
}
WORLDS = ["HalfCheetah-v5", "Hopper-v5", "Ant-v5"]
PROGRAMS = [QMU, "sbx-td3", "sbx-sac", "sbx-tqc", "sbx-crossq"]
# What runs on one world beside the others.
MORE_PROGRAMS = {"HalfCheetah-v5": ["sb3-td3", "sb3-sac"]}


class Goal(NamedTuple):
    """A world, and the mean return that an evaluation has to reach in it."""

    world: str
    score: float


class Time(NamedTuple):
    """Seconds until a score, or a ratio of two; where it was not `reached`, what it is more than.

    Of equals, the one that was not reached is the greater.
    """

    value: float
    reached: bool

    def told(self, digits: int = 0) -> str:
        """Return it in words."""
        return f"{'' if self.reached else '>'}{self.value:,.{digits}f}"


def median(times: list[Time]) -> Time:
    """Return the median; a bound of it, where what is only bounded could raise it."""
    ordered = sorted(times)
    upper = ordered[len(ordered) // 2].value
    known = all(one.reached for one in times if one.value <= upper)
    return Time(statistics.median([one.value for one in times]), known)


def over(time: Time, reference: Time) -> Time | None:
    """Return a ratio; None where the reference is no more than a bound."""
    return Time(time.value / reference.value, time.reached) if reference.reached else None


def times_of(
    runs: list[dict[str, Any]], goal: Goal, program: str, figure: str = "seconds"
) -> dict[int, Time]:
    """Return a program's times by seed."""
    found = [
        run
        for run in runs
        if (run["world"], run["score"], run["program"]) == (*goal, program)
    ]  # fmt: skip
    return {run["seed"]: Time(run[figure], run["reached"]) for run in found}


def in_turn(programs: list[str], turn: int, own: str, first: bool) -> list[str]:
    """Return the programs in the order of a round; `first` puts our own one before the others."""
    start = turn % len(programs)
    rotated = programs[start:] + programs[:start]
    return sorted(rotated, key=lambda program: program != own) if first else rotated


def limit_of(runs: list[dict[str, Any]], goal: Goal, own: str, factor: float, most: float) -> float:
    """Return the seconds after which a rival is stopped."""
    times = list(times_of(runs, goal, own).values())
    if not times or not median(times).reached:
        return most
    return min(most, factor * median(times).value)


def report(runs: list[dict[str, Any]], goal: Goal, own: str, factor: float) -> list[str]:
    """Return a world's table, and whether each rival takes so many times as long, as lines."""
    named = dict.fromkeys(run["program"] for run in runs)
    programs = sorted(
        (name for name in named if times_of(runs, goal, name)), key=lambda name: name != own
    )
    ours = times_of(runs, goal, own)
    lines = [
        f"{goal.world}, seconds of training until an evaluation reached {goal.score:,g}",
        f"  {'program':15} {'median':>8}  {f'over {own}':>24}  {'with evaluations':>16}  each seed",
    ]
    ratios: list[Time | None] = []
    for program in programs:
        times = times_of(runs, goal, program)
        middle = median(list(times.values()))
        whole = median(list(times_of(runs, goal, program, "seconds_with_evaluations").values()))
        ratio = over(middle, median(list(ours.values()))) if ours else None
        said = "" if ratio is None or program == own else ratio.told(2) + spread(times, ours)
        each = "  ".join(f"{seed}: {times[seed].told()}" for seed in sorted(times))
        lines.append(f"  {program:15} {middle.told():>8}  {said:>24}  {whole.told():>16}  {each}")
        ratios += [ratio] if program in RIVALS else []
    if ratios:
        lines.append(f"  {factor:g} times as fast as each of them: {verdict(ratios, factor)}")
    return lines


def spread(times: dict[int, Time], ours: dict[int, Time]) -> str:
    """Return the range of the ratios of those seeds that both have, in words."""
    pairs = [over(times[seed], ours[seed]) for seed in times if seed in ours]
    known = sorted(ratio for ratio in pairs if ratio is not None)
    return f" ({known[0].told(2)} to {known[-1].told(2)})" if len(known) > 1 else ""


def verdict(ratios: list[Time | None], factor: float) -> str:
    """Return whether all ratios are that high, in words."""
    if any(ratio is None or (ratio.reached and ratio.value < factor) for ratio in ratios):
        return "no"
    if any(ratio is not None and ratio.value < factor for ratio in ratios):
        return "not shown: a rival was stopped before that"
    return "yes"


def goal_of(word: str) -> Goal:
    """Return the goal of a word such as Hopper-v5 or Hopper-v5=2000."""
    world, _, score = word.partition("=")
    try:
        return Goal(world, float(score) if score else SCORES[world])
    except KeyError:
        raise argparse.ArgumentTypeError(f"which score? {world}=NUMBER") from None


def opened(path: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs that a file of results has, which were made on this machine and like this.

    Raises:
        SystemExit: they were made elsewhere, or with other evaluations.
    """
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    for name in ("machine", "protocol"):
        if found[name] != header[name]:
            raise SystemExit(
                f"{path} has runs with the {name} {found[name]}, and this is {header[name]}: "
                "write to another file (--output)"
            )
    runs: list[dict[str, Any]] = found["runs"]
    return runs


def save(path: Path, header: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """Write all results; what was there stays whole until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(header | {"runs": runs}, separators=(",", ":")) + "\n")
    new.replace(path)


def run_one(
    arguments: argparse.Namespace, goal: Goal, program: str, seed: int, limit: float
) -> dict[str, Any]:
    """Run a program in a process of its own, and return what it says."""
    rival = program in RIVALS
    python = str(arguments.rivals.absolute()) if rival else sys.executable
    words = f"--world {goal.world} --score={goal.score} --seed {seed} --limit {limit}"
    words += f" --every {arguments.every} --episodes {arguments.episodes}"
    words += f" --total-steps {arguments.total_steps} --most-steps {arguments.most_steps}"
    preset = arguments.preset
    if preset.endswith(".toml"):
        # The process runs in a folder of its own.
        preset = str(Path(preset).absolute())
    wake = wake_microseconds()
    with tempfile.TemporaryDirectory() as cache:
        found = run_json(
            [python, REACH, program if rival else QMU, "--preset", preset, *words.split()],
            {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": cache},
        )
    return found | {
        # A preset of qmu's is a program of its own.
        "program": program,
        "limit": None if math.isinf(limit) else limit,
        "date": str(datetime.datetime.now(datetime.UTC).date()),
        "commit": commit(),
        "wake_microseconds": wake,
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    goals = [goal_of(world) for world in WORLDS]
    parser.add_argument(
        "--worlds", nargs="+", type=goal_of, default=goals, help="WORLD, or WORLD=SCORE"
    )
    parser.add_argument("--programs", nargs="+", choices=[QMU, *RIVALS], help="instead of all")
    parser.add_argument("--preset", default="default", help="qmu's recipe")
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, ...")
    parser.add_argument("--factor", type=float, default=2.0, help="of qmu's time, for a rival")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds of any run")
    parser.add_argument("--most-steps", type=int, default=1_000_000, help="of any run")
    parser.add_argument("--total-steps", type=int, default=100_000, help="planned length of qmu's")
    parser.add_argument("--every", type=int, default=2_500, help="steps between two evaluations")
    parser.add_argument("--episodes", type=int, default=5, help="of an evaluation")
    parser.add_argument("--rivals", type=Path, default=RIVALS_PYTHON, help="a Python with SBX")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    arguments = parse_options()
    own = QMU if arguments.preset == "default" else f"{QMU}-{Path(arguments.preset).stem}"
    output = arguments.output or HERE / "results" / "minutes.json"
    header = {
        "command": ["python", "benchmarks/minutes.py", *sys.argv[1:]],
        "machine": machine(),
        "protocol": {
            name: getattr(arguments, name) for name in ("every", "episodes", "total_steps")
        },
    }
    runs = opened(output, header)
    for seed in range(arguments.seeds):
        for index, goal in enumerate(arguments.worlds):
            asked = arguments.programs or PROGRAMS + MORE_PROGRAMS.get(goal.world, [])
            programs = [own if program == QMU else program for program in asked]
            alone = not times_of(runs, goal, own)
            for program in in_turn(programs, seed + index, own, first=alone):
                if seed in times_of(runs, goal, program):
                    continue
                limit = arguments.limit
                if program in RIVALS:
                    limit = limit_of(runs, goal, own, arguments.factor, limit)
                run = run_one(arguments, goal, program, seed, limit)
                runs.append(run)
                save(output, header, runs)
                told = Time(run["seconds"], run["reached"]).told()
                print(
                    f"{goal.world}  seed {seed}  {program:15} {told:>8} s  {run['steps']:9,} steps",
                    flush=True,
                )
    for goal in arguments.worlds:
        print("\n" + "\n".join(report(runs, goal, own, arguments.factor)))


if __name__ == "__main__":
    main()
