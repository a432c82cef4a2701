"""What each switch costs: training speed with it, relative to plain DDPG without it.

    python benchmarks/switches.py                        # all switches, about a minute each
    python benchmarks/switches.py --only prioritized "layer norm" --pairs 30

HalfCheetah-v5, 256-256, batch 256, one update per step. Plain DDPG and DDPG with the switch train
in one process, in blocks that alternate: a drift of the machine's speed meets both. The figure is
the median of the ratios of neighbouring blocks, with its 95% bootstrap interval. Nothing else may
run beside it. The results go to benchmarks/results/switches-DATE.json.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from process import machine, package_versions
from scipy import stats

HERE = Path(__file__).resolve().parent
WORLD = "HalfCheetah-v5"
RANDOM_STEPS = 1000
NETWORK = {"lr_end": 1, "hidden_sizes": [256, 256]}
Options = dict[str, dict[str, Any]]
PLAIN: Options = {
    "env": {"id": WORLD},
    "actor": NETWORK | {"preactivation_penalty": 0},
    "critic": NETWORK | {"norm": "none"},
    "target": {"smoothing_std": None},
    "explore": {"start_steps": RANDOM_STEPS, "std": 0.1},
    "replay": {"n_step": 1},
}


class Switch(NamedTuple):
    """A switch, its options, and the most time that it may take, if there is a limit."""

    name: str
    options: Options
    limit: float | None = None


SWITCHES = [
    Switch("plain again", {}),
    Switch("prioritized", {"replay": {"priorities": "td-error"}}, 1.15),
    Switch("lap", {"replay": {"priorities": "lap"}}, 1.15),
    Switch("lap, fading", {"replay": {"priorities": "lap", "fade": 0.9999}}),
    Switch("n-step 3", {"replay": {"n_step": 3}}, 1.05),
    Switch("layer norm, critic", {"critic": {"norm": "layer"}}, 1.25),
    Switch("layer norm, actor", {"actor": {"norm": "layer"}}),
    Switch("layer norm, both", {"critic": {"norm": "layer"}, "actor": {"norm": "layer"}}),
    Switch("batch norm, both", {"critic": {"norm": "batch"}, "actor": {"norm": "batch"}}),
    Switch("batch norm, critic", {"critic": {"norm": "batch"}}),
    Switch("batch norm, critic, joined", {"critic": {"norm": "batch", "joined": True}}),
    Switch("input norm, critic", {"critic": {"input_norm": True}}),
    Switch("input norm, both", {"critic": {"input_norm": True}, "actor": {"input_norm": True}}),
    Switch("unit weights, critic", {"critic": {"weight_norm": True}}),
    Switch("unit weights, both", {"critic": {"weight_norm": True}, "actor": {"weight_norm": True}}),
    Switch("residual, critic", {"critic": {"body": "residual"}}, 1.3),
    Switch("residual, both", {"critic": {"body": "residual"}, "actor": {"body": "residual"}}, 1.3),
    Switch("categorical", {"critic": {"head": "categorical"}}, 1.25),
    Switch("hl-gauss", {"critic": {"head": "hl-gauss"}}),
    Switch("huber", {"critic": {"loss": "huber"}}),
    Switch("reward normalization", {"env": {"normalize_rewards": True}}),
    Switch("observation normalization", {"env": {"normalize_obs": True}}, 1.05),
    Switch("two critics", {"critic": {"count": 2}}, 1.8),
    Switch("two critics, own batches", {"critic": {"count": 2, "batches": "own"}}),
    Switch(
        "two critics, regions",
        {
            "critic": {"count": 2, "batches": "regions", "bootstrap": "mean"},
            "actor": {"climbs": "mean"},
        },
    ),
    Switch(
        "two critics, mean",
        {"critic": {"count": 2, "bootstrap": "mean"}, "actor": {"climbs": "mean"}},
    ),
    Switch(
        "three critics, two asked",
        {"critic": {"count": 3, "subset": 2}, "actor": {"climbs": "mean"}},
    ),
    Switch("delayed actor and targets", {"actor": {"interval": 2}, "target": {"interval": 2}}),
    Switch("target smoothing", {"target": {"smoothing_std": 0.2}}),
    Switch("target smoothing, shared", {"target": {"smoothing_std": 0.2, "smoothing": "shared"}}),
    Switch("target smoothing, weights", {"target": {"smoothing_std": 0.2, "smoothing": "weights"}}),
    Switch("action at layer 1", {"critic": {"action_layer": 1}}),
    Switch(
        "adamw",
        {name: {"optimizer": "adamw", "weight_decay": 0.01} for name in ("actor", "critic")},
    ),
    Switch(
        "sgd with momentum",
        {name: {"optimizer": "sgd", "momentum": 0.9} for name in ("actor", "critic")},
    ),
    Switch("gradient clipping", {name: {"clip_norm": 1.0} for name in ("actor", "critic")}),
    Switch("L2 on the critic", {"critic": {"l2": 0.01}}),
    Switch("preactivation penalty", {"actor": {"preactivation_penalty": 0.01}}),
    Switch("hard target updates", {"target": {"tau": 1.0, "interval": 500}}),
    Switch("random with probability 0.1", {"explore": {"epsilon": 0.1}}),
    Switch("OU noise", {"explore": {"noise": "ou"}}),
    Switch("colored noise", {"explore": {"noise": "colored"}}),
    Switch("parameter noise", {"explore": {"noise": "none", "parameter_distance": 0.2}}),
    Switch(
        "the default recipe",
        {
            "critic": {"norm": "layer"},
            "replay": {"n_step": 3},
            "target": {"smoothing_std": 0.2},
            "actor": {"preactivation_penalty": 0.01},
        },
    ),
]


def start(changes: Options) -> Any:
    """Return a trainer that has compiled, and has begun to learn."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import find_maker

    groups = {name: PLAIN.get(name, {}) | changes.get(name, {}) for name in PLAIN | changes}
    trainer = Trainer(reading.from_dict(groups), find_maker(WORLD))
    block(trainer, RANDOM_STEPS + 300)
    return trainer


def block(trainer: Any, steps: int) -> float:
    """Train for so many steps, wait for the last update, and return the steps per second."""
    started = time.perf_counter()
    for _ in trainer.run(steps, evaluating=False):
        pass
    trainer.learner.actors(lag=False)
    return steps / (time.perf_counter() - started)


def measure(switch: Switch, pairs: int, steps: int) -> dict[str, Any]:
    """Return the speeds of alternating blocks without and with a switch, and their ratio."""
    found = alternate(start({}), start(switch.options), pairs, steps)
    return {"name": switch.name, "options": switch.options, "limit": switch.limit} | found


def alternate(plain: Any, other: Any, pairs: int, steps: int) -> dict[str, Any]:
    """Return the speeds of alternating blocks of two trainers, and the ratio of their times."""
    rates: dict[str, list[float]] = {"plain": [], "switched": []}
    for pair in range(pairs):
        # Every second pair the other way round: neither is always the first.
        for name, trainer in (("plain", plain), ("switched", other))[:: 1 - 2 * (pair % 2)]:
            rates[name].append(block(trainer, steps))
    plain.close()
    other.close()
    ratios = [fast / slow for fast, slow in zip(rates["plain"], rates["switched"], strict=True)]
    found = stats.bootstrap(
        (ratios,), np.median, rng=np.random.default_rng(0), method="percentile"
    ).confidence_interval
    return {
        "time_ratio": statistics.median(ratios),
        "interval": [found.low, found.high],
        "steps_per_second": rates,
    }


def main() -> None:
    """Measure the switches and write down what they cost."""
    parser = argparse.ArgumentParser(description="Measure what each switch costs.")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=640, help="of a block")
    parser.add_argument("--only", nargs="+", default=[], help="names of switches")
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    output = arguments.output or HERE / "results" / f"switches-{today}.json"
    print("time with the switch / time without, its 95% interval, steps/s with it")
    rows = []
    for switch in SWITCHES:
        if arguments.only and switch.name not in arguments.only:
            continue
        row = measure(switch, arguments.pairs, arguments.steps)
        rows.append(row)
        low, high = row["interval"]
        speed = statistics.median(row["steps_per_second"]["switched"])
        said = ""
        if switch.limit is not None:
            reached = "reached" if row["time_ratio"] <= switch.limit else "MISSED"
            said = f"  (at most {switch.limit}): {reached}"
        figures = f"{row['time_ratio']:.3f}  [{low:.3f}, {high:.3f}]  {speed:5.0f}"
        print(f"  {switch.name:26} {figures}{said}", flush=True)
    report = {
        "command": ["python", "benchmarks/switches.py", *sys.argv[1:]],
        "date": today,
        "machine": machine(),
        "versions": package_versions(),
        "pairs": arguments.pairs,
        "steps": arguments.steps,
        "switches": rows,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
