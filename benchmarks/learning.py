"""What the default recipe learns: several seeds per world, all of them shown.

    python benchmarks/learning.py                          # all cases, hours
    python benchmarks/learning.py --only Hopper-v5 --seeds 3 --option critic.count=1 --tag plain
    python benchmarks/learning.py --only Ant-v5 --seeds 5 --preset td3-2020 --tag td3-2020

A world is evaluated a hundred times during its training, deterministically, on worlds of its own.
A seed's result is the mean of its last ten evaluations: of the last tenth of the training. Beside
it stands the best policy's score on 100 episodes that did not choose it. A seed has failed when its
result is below the case's bound. The results go to benchmarks/results/learning-WORLD[-TAG].json,
next to what others have published (another version of the environment, another budget: an
orientation).
"""

import argparse
import csv
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from process import machine, package_versions

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE / "published.csv"
LAST = 10


class Case(NamedTuple):
    """A world, its budget, and the bound that every seed or their mean has to reach in a figure.

    Without a bound, what is reached is reported and not judged.
    """

    world: str
    steps: int
    bound: float | None
    every_seed: bool
    figure: str
    episodes: int
    evaluations: int = 100
    final_episodes: int = 100


CASES = [
    Case("Pendulum-v1", 10_000, -200, True, "best_policy", 10),
    Case("InvertedPendulum-v5", 30_000, 990, True, "last_ten", 5),
    Case("HalfCheetah-v5", 100_000, 4_500, False, "last_ten", 3),
    Case("Hopper-v5", 100_000, 1_000, False, "last_ten", 10),
]
# Measured when they are named, for the switches and the presets.
MORE_CASES = [
    Case("MountainCarContinuous-v0", 100_000, 90, True, "last_ten", 5),
    Case("Walker2d-v5", 100_000, None, False, "last_ten", 3, final_episodes=20),
    Case("Ant-v5", 100_000, None, False, "last_ten", 2, final_episodes=20),
]


def measure(case: Case, seeds: int, preset: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Train a case and return what every seed reached."""
    from qmu import config as options
    from qmu.config import reading
    from qmu.learning.events import Best, Evaluated
    from qmu.learning.loop import FINAL_SEEDS, Trainer
    from qmu.presets import read_preset
    from qmu.world.make import find_maker

    given = {
        "env": {"id": case.world},
        "train": {
            "total_steps": case.steps,
            "seeds": seeds,
            "eval_interval": case.steps // case.evaluations,
            "eval_episodes": case.episodes,
            "save_interval": 0,
        },
    }
    recipe = reading.merge(read_preset(preset, case.world), given)
    config = reading.from_dict(reading.merge(recipe, changes))
    trainer = Trainer(config, find_maker(case.world))
    curve: list[list[float]] = []
    bests = [Best()] * seeds
    started = time.monotonic()
    for event in trainer.run(case.steps):
        if isinstance(event, Evaluated):
            curve.append([score.mean for score in event.scores])
            bests = [best.or_better(event, index) for index, best in enumerate(bests)]
            if len(curve) % 10 == 0:
                row = " ".join(f"{value:.0f}" for value in curve[-1])
                print(f"  {event.step:7}  {time.monotonic() - started:5.0f} s  {row}", flush=True)
    seconds = time.monotonic() - started
    actors = [best.actor for best in bests if best.actor is not None]
    finals = trainer.score(actors, FINAL_SEEDS, case.final_episodes)
    newest = trainer.score(trainer.learner.actors(lag=False), FINAL_SEEDS, case.final_episodes)
    trainer.close()
    return {
        "world": case.world,
        "steps": case.steps,
        "seeds": list(options.seeds(config)),
        "last_ten": np.mean(curve[-LAST:], axis=0).round(2).tolist(),
        "final_episodes": case.final_episodes,
        "best_policy": [round(score.mean, 2) for score in finals],
        "last_policy": [round(score.mean, 2) for score in newest],
        "best_at_step": [best.step for best in bests],
        "curve": np.round(curve, 2).tolist(),
        "seconds": round(seconds, 1),
        "config": options.to_dict(config),
    }


def report(case: Case, measured: dict[str, Any]) -> list[str]:
    """Return the result of a case as lines."""
    results = measured["last_ten"]
    mean = statistics.mean(results)
    lines = [
        f"{case.world}, {case.steps} steps, {len(results)} seeds, {measured['seconds']:.0f} s",
        "  mean of the last ten evaluations  " + " ".join(f"{value:.0f}" for value in results),
        f"  best policy, {case.final_episodes} new episodes     "
        + " ".join(f"{value:.0f}" for value in measured["best_policy"]),
        f"  last policy, {case.final_episodes} new episodes     "
        + " ".join(f"{value:.0f}" for value in measured["last_policy"]),
        f"  mean {mean:.0f}{interval(results)}, median {statistics.median(results):.0f}, "
        f"worst {min(results):.0f}",
    ]
    lines += verdict(case, case.bound, measured) if case.bound is not None else []
    name = case.world.partition("-")[0]
    return lines + [f"  published: {row}" for row in published(name)]


def verdict(case: Case, bound: float, measured: dict[str, Any]) -> list[str]:
    """Return whether a case has reached its bound, as lines."""
    from qmu.records import stats

    failed = sum(result < bound for result in measured["last_ten"])
    judged = measured[case.figure]
    value = min(judged) if case.every_seed else statistics.mean(judged)
    whose = "every seed" if case.every_seed else "the mean"
    curves = np.transpose(measured["curve"])
    steps = np.arange(1, curves.shape[1] + 1) * float(case.steps // case.evaluations)
    solved = stats.steps_to(steps, curves, bound)
    return [
        f"  seeds below {bound:g}: {failed}; steps until an evaluation reached it: "
        + " ".join("never" if one is None else str(one) for one in solved),
        f"  {whose} must reach {bound:g} ({case.figure}): {value:.0f}",
        "  reached" if value >= bound else "  MISSED",
    ]


def interval(results: list[float]) -> str:
    """Return the 95% bootstrap interval of the mean, in words."""
    from qmu.records import stats

    if len(results) < stats.FEWEST or len(set(results)) == 1:
        return ""
    _, low, high = stats.mean(np.array(results))
    return f" (95% interval {low:.0f} to {high:.0f})"


def published(name: str) -> list[str]:
    """Return what others report for DDPG on a world, whatever its version."""
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["env"].partition("-")[0] == name and "DDPG" in row["algorithm"]
        ]
    return [
        f"{row['algorithm']} {row['mean']} at {int(row['steps']):,} steps, {row['metric']}, "
        f"{row['seeds']} seeds: {row['source']}"
        for row in rows
    ]


def parse_options(words: list[str]) -> dict[str, dict[str, Any]]:
    """Return the nested options of words such as critic.count=2."""
    changes: dict[str, dict[str, Any]] = {}
    for word in words:
        path, _, value = word.partition("=")
        group, _, name = path.partition(".")
        try:
            changes.setdefault(group, {})[name] = json.loads(value)
        except ValueError:
            changes.setdefault(group, {})[name] = value
    return changes


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the default recipe on several seeds.")
    parser.add_argument("--only", nargs="+", default=[], help="environment ids")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--preset", default="default", help="a recipe, such as td3 or auto")
    parser.add_argument("--option", nargs="+", default=[], help="changes: critic.count=2 ...")
    parser.add_argument("--tag", default="", help="part of the result's name, for variants")
    arguments = parser.parse_args()
    named = [case for case in CASES + MORE_CASES if case.world in arguments.only]
    for case in named if arguments.only else CASES:
        shortened = case._replace(steps=arguments.steps or case.steps)
        measured = measure(
            shortened, arguments.seeds, arguments.preset, parse_options(arguments.option)
        )
        suffix = f"-{arguments.tag}" if arguments.tag else ""
        path = HERE / "results" / f"learning-{case.world}{suffix}.json"
        path.parent.mkdir(exist_ok=True)
        header = {
            "date": datetime.datetime.now().strftime("%Y-%m-%d"),
            "command": ["python", "benchmarks/learning.py", *sys.argv[1:]],
            "machine": machine(),
            "versions": package_versions(),
        }
        # Written first: a training of an hour is not lost to a mistake in a line of text.
        path.write_text(json.dumps(header | measured, separators=(",", ":")) + "\n")
        print("\n".join(report(shortened, measured)), flush=True)


if __name__ == "__main__":
    main()
