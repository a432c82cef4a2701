"""What worlds in processes of their own gain: steps per second of whole trainings, side by side.

    python benchmarks/workers.py
    python benchmarks/workers.py --ray 2 8    # also in actors on Ray, in the last world alone

Four worlds of one member, in the run's own process and in two of their own, in alternating blocks
of one process (`--env.workers` 0 against 2). Each world is taken with the default networks and an
update per step, where learning is what takes the time; with small networks and an update per four
steps; and without updates, where it is the simulator. The last world sleeps for 5 ms a step. The
median of the ratios of neighbouring blocks, with its 95% bootstrap interval. Nothing else may run
beside it. The result goes to benchmarks/results/workers-DATE.json.

With `--ray`, eight worlds that sleep are in the run's own process, against as many processes as
each number says, and against as many actors of a Ray cluster on this machine (`--env.workers
ray:N`); the result goes to ray-workers-DATE.json.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from process import machine, package_versions
from switches import Options, alternate, block

HERE = Path(__file__).resolve().parent
SMALL: Options = {
    "actor": {"hidden_sizes": [64, 64]},
    "critic": {"hidden_sizes": [64, 64]},
    "replay": {"batch_size": 64},
}
# What is measured on Ray, and how many of it.
SLEEPER, WORLDS_ON_RAY = "5 ms a step", 8
CASES: dict[str, Options] = {
    "256-256, an update per step": {},
    "64-64, an update per four steps": SMALL | {"train": {"updates_per_step": 0.25}},
    "no updates": {"explore": {"start_steps": 10**6}, "train": {"learn_after": 10**6}},
}


class Sleeping(gym.Wrapper[Any, Any, Any, Any]):
    """A world that waits for 5 ms in each step, as one behind a network or a machine does."""

    def step(self, action: Any) -> Any:
        time.sleep(0.005)
        return super().step(action)


def sleeping() -> gym.Env[Any, Any]:
    """Return a pendulum that sleeps."""
    return Sleeping(gym.make("Pendulum-v1", disable_env_checker=True))


WORLDS: dict[str, Any] = {
    "Ant-v5": "Ant-v5",
    "Humanoid-v5": "Humanoid-v5",
    SLEEPER: sleeping,
}


class Pair(NamedTuple):
    """A world and a recipe, which are trained in the run's own process and with workers."""

    world: str
    case: str
    workers: int | str
    worlds: int


def pairs_of(arguments: argparse.Namespace) -> list[Pair]:
    """Return what is measured."""
    if not arguments.ray:
        return [
            Pair(world, case, arguments.workers, arguments.worlds)
            for world in WORLDS
            for case in CASES
        ]
    return [
        Pair(SLEEPER, case, workers, WORLDS_ON_RAY)
        for case in CASES
        for number in arguments.ray
        for workers in (number, f"ray:{number}")
    ]


def start(world: Any, changes: Options, workers: int | str, worlds: int) -> Any:
    """Return a trainer that has compiled, and does what it will go on doing."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import find_maker

    base: Options = {
        "env": {"workers": workers, "count": worlds},
        "explore": {"start_steps": 256},
        "replay": {"capacity": 100_000},
        "train": {"total_steps": 10_000_000, "save_interval": 0},
    }
    config = reading.from_dict(reading.merge(base, changes))
    trainer = Trainer(config, find_maker(world))
    block(trainer, 1024)
    return trainer


def main() -> None:
    """Measure, print and write down what workers gain."""
    parser = argparse.ArgumentParser(description="Measure what worker processes gain.")
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1024, help="of a block")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--ray", type=int, nargs="+", help="measure so many actors on Ray")
    arguments = parser.parse_args()
    rows = []
    print("workers; steps/s in the run's own process, with them; their ratio, its 95% interval")
    for pair in pairs_of(arguments):
        source, changes = WORLDS[pair.world], CASES[pair.case]
        plain = start(source, changes, 0, pair.worlds)
        other = start(source, changes, pair.workers, pair.worlds)
        found = alternate(plain, other, arguments.pairs, arguments.steps)
        rates = {name: statistics.median(own) for name, own in found["steps_per_second"].items()}
        gain, (high, low) = 1 / found["time_ratio"], [1 / end for end in found["interval"]]
        print(
            f"  {pair.world:12} {pair.case:32} {pair.workers!s:>5} {rates['plain']:7,.0f} "
            f"{rates['switched']:7,.0f}  {gain:.2f} [{low:.2f}, {high:.2f}]",
            flush=True,
        )
        rows.append({**pair._asdict(), "options": changes, **found})
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    kind = "ray-workers" if arguments.ray else "workers"
    output = HERE / "results" / f"{kind}-{today}.json"
    report = {
        "command": ["python", "benchmarks/workers.py", *sys.argv[1:]],
        "date": today,
        "machine": machine(),
        "versions": package_versions(),
        **vars(arguments),
        "rows": rows,
    }
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
