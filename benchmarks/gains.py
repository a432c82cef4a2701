"""What each switch gains: the default recipe with it, or without it, against the default.

    python benchmarks/gains.py                     # Hopper-v5 and HalfCheetah-v5, hours
    python benchmarks/gains.py --world Hopper-v5 --only prioritized "two critics"
    python benchmarks/gains.py --world Ant-v5 --steps 40000 --seeds 6 --tag search \
        --arm "two critics with bins" critic.count=2 critic.head=hl-gauss

Small networks (64-64, batches of 64; others with --width), 30,000 steps, ten seeds, so that there
can be many arms. A seed's result is the mean of the last ten of fifty evaluations: of the last
fifth of the training. Beside an arm's mean stands its difference to the default's mean with its
95% bootstrap interval; where that contains 0, nothing has been shown. Results go to
benchmarks/results/gains-WORLD[-TAG].json, arm by arm: what is there is not trained again. Other
arms than the switches are given with --arm; then no other is trained but the default.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from learning import CASES, MORE_CASES, Case, measure, parse_options
from process import machine, package_versions
from switches import SWITCHES, Options

HERE = Path(__file__).resolve().parent
STEPS, EVALUATIONS, EPISODES = 30_000, 50, 2


def networks(width: int) -> Options:
    """Return networks of two layers of that width, with as many rows in a batch."""
    return {
        "actor": {"hidden_sizes": [width, width]},
        "critic": {"hidden_sizes": [width, width]},
        "replay": {"batch_size": width},
    }


SMALL = networks(64)
WITHOUT: dict[str, Options] = {
    "without layer norm": {"critic": {"norm": "none"}},
    "n-step 1": {"replay": {"n_step": 1}},
    "n-step 5": {"replay": {"n_step": 5}},
    "without target smoothing": {"target": {"smoothing_std": None}},
    "without preactivation penalty": {"actor": {"preactivation_penalty": 0}},
    "constant learning rates": {"actor": {"lr_end": 1}, "critic": {"lr_end": 1}},
    "1,000 random steps": {"explore": {"start_steps": 1000}},
}
MORE: dict[str, Options] = {
    "falling noise": {"explore": {"noise_end": 0.1}},
    "final layers within 3e-3": {name: {"final_range": 3e-3} for name in ("actor", "critic")},
    "xavier weights, zero biases": {
        name: {"weights_init": "xavier", "bias_init": "zeros"} for name in ("actor", "critic")
    },
}
DEFAULT = "default"


def arms() -> dict[str, Options]:
    """Return name -> what is changed about the default recipe."""
    from qmu import config
    from qmu.config import reading

    added = {
        switch.name: switch.options
        for switch in SWITCHES
        if reading.from_dict(switch.options) != config.Config()
    }
    return {DEFAULT: {}} | WITHOUT | added | MORE


def row(name: str, results: dict[str, list[float]]) -> str:
    """Return an arm's result as the row of a table."""
    from qmu.records import stats

    mean = statistics.mean(results[name])
    apart, low, high = stats.difference([np.array(results[name])], [np.array(results[DEFAULT])])
    seeds = " ".join(f"{value:.0f}" for value in results[name])
    return f"| {name} | {mean:.0f} | {apart:+.0f} ({low:+.0f} to {high:+.0f}) | {seeds} |"


def main() -> None:
    """Train what is not there yet, and print the table."""
    from qmu.config import reading

    parser = argparse.ArgumentParser(description="Measure what each switch gains.")
    parser.add_argument("--world", nargs="+", default=["Hopper-v5", "HalfCheetah-v5"])
    parser.add_argument("--only", nargs="+", default=[], help="names of arms")
    parser.add_argument("--arm", nargs="+", action="append", default=[], help="NAME OPTION=VALUE")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--width", type=int, help="of both layers, and a batch's rows; else 64")
    parser.add_argument("--tag", default="", help="part of the results' name")
    arguments = parser.parse_args()
    own = {name: parse_options(words) for name, *words in arguments.arm}
    named = (*arguments.only, *own)
    size = SMALL if arguments.width is None else networks(arguments.width)
    for case in [case for case in CASES + MORE_CASES if case.world in arguments.world]:
        small = case._replace(
            steps=arguments.steps, evaluations=EVALUATIONS, episodes=EPISODES, final_episodes=1
        )
        path = HERE / "results" / f"gains-{case.world}{arguments.tag and '-' + arguments.tag}.json"
        report = json.loads(path.read_text()) if path.exists() else {"arms": {}}
        for name, changes in (arms() | own).items():
            wanted = not named or name in (DEFAULT, *named)
            if wanted and name not in report["arms"]:
                report["arms"][name] = trained(small, arguments.seeds, reading.merge(size, changes))
                report |= {"command": ["python", "benchmarks/gains.py", *sys.argv[1:]]}
                report |= {
                    "machine": machine(),
                    "versions": package_versions(),
                    "steps": small.steps,
                }
                path.write_text(json.dumps(report, separators=(",", ":")) + "\n")
            if name in report["arms"]:
                results = {arm: values["last_ten"] for arm, values in report["arms"].items()}
                print(row(name, results), flush=True)


def trained(case: Case, seeds: int, options: dict[str, Any]) -> dict[str, Any]:
    """Train an arm, and return what is worth keeping."""
    measured = measure(case, seeds, "default", options)
    kept = ("seeds", "last_ten", "curve", "seconds")
    return {"options": options} | {name: measured[name] for name in kept}


if __name__ == "__main__":
    main()
