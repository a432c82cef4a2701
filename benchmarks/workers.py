"""What worlds in processes of their own gain: steps per second of whole trainings, side by side.

    python benchmarks/workers.py

Four worlds of one member, in the run's own process and in two of their own, in alternating blocks
of one process (`--env.workers` 0 against 2). Each world is taken with the default networks and an
update per step, where learning is what takes the time; with small networks and an update per four
steps; and without updates, where it is the simulator. The last world sleeps for 5 ms a step. The
median of the ratios of neighbouring blocks, with its 95% bootstrap interval. Nothing else may run
beside it. The result goes to benchmarks/results/workers-DATE.json.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from process import machine, package_versions
from switches import Options, alternate, block

HERE = Path(__file__).resolve().parent
SMALL: Options = {
    "actor": {"hidden_sizes": [64, 64]},
    "critic": {"hidden_sizes": [64, 64]},
    "replay": {"batch_size": 64},
}
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
    "5 ms a step": sleeping,
}


def start(world: Any, changes: Options, workers: int, worlds: int) -> Any:
    """Return a trainer that has compiled, and does what it will go on doing."""
    from qmu import configure
    from qmu.training.loop import Trainer
    from qmu.world.make import find_maker

    base: Options = {
        "env": {"workers": workers, "count": worlds},
        "explore": {"start_steps": 256},
        "replay": {"capacity": 100_000},
        "train": {"total_steps": 10_000_000, "save_interval": 0},
    }
    config = configure.from_dict(configure.merge(base, changes))
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
    arguments = parser.parse_args()
    rows = []
    print("steps/s in the run's own process, with workers; their ratio, its 95% interval")
    for world, source in WORLDS.items():
        for case, changes in CASES.items():
            plain = start(source, changes, 0, arguments.worlds)
            other = start(source, changes, arguments.workers, arguments.worlds)
            found = alternate(plain, other, arguments.pairs, arguments.steps)
            rates = {
                name: statistics.median(own) for name, own in found["steps_per_second"].items()
            }
            gain, (high, low) = 1 / found["time_ratio"], [1 / end for end in found["interval"]]
            print(
                f"  {world:12} {case:32} {rates['plain']:7,.0f} {rates['switched']:7,.0f}  "
                f"{gain:.2f} [{low:.2f}, {high:.2f}]",
                flush=True,
            )
            rows.append({"world": world, "case": case, "options": changes, **found})
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    output = HERE / "results" / f"workers-{today}.json"
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
