"""What it costs to measure the learner's health, once per 256 updates.

    python benchmarks/health.py

The same training (HalfCheetah-v5, one update per step), with the vitals and with zeros in their
place, in alternating blocks of one process: the median of the ratios of neighbouring blocks, with
its 95% bootstrap interval. Nothing else may run beside it. The result goes to
benchmarks/results/health-DATE.json.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from process import machine, package_versions
from switches import Options, alternate, start

HERE = Path(__file__).resolve().parent
LIMIT = 1.03
SIZES: dict[str, Options] = {
    "256-256, batch 256": {},
    "64-64, batch 64": {
        "actor": {"hidden_sizes": [64, 64]},
        "critic": {"hidden_sizes": [64, 64]},
        "replay": {"batch_size": 64},
    },
}


def start_without(changes: Options) -> Any:
    """Return a trainer whose program measures nothing."""
    import jax
    import jax.numpy as jnp

    from qmu.agent.vitals import vitals
    from qmu.learning import learner

    def zeros(*arguments: Any) -> Any:
        shapes = jax.eval_shape(vitals, *arguments)
        return jax.tree.map(lambda one: jnp.zeros(one.shape), shapes)

    with mock.patch.object(learner, "vitals", zeros):
        return start(changes)


def main() -> None:
    """Measure, print and write down what vitals cost."""
    parser = argparse.ArgumentParser(description="Measure what vitals cost.")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1280, help="of a block")
    arguments = parser.parse_args()
    rows = {}
    for name, changes in SIZES.items():
        row = alternate(start_without(changes), start(changes), arguments.pairs, arguments.steps)
        low, high = row["interval"]
        said = "reached" if row["time_ratio"] <= LIMIT else "MISSED"
        print(f"{name}: {row['time_ratio']:.3f} ({low:.3f} to {high:.3f}), limit {LIMIT}: {said}")
        rows[name] = row
    report = {
        "command": ["python", "benchmarks/health.py", *sys.argv[1:]],
        "limit": LIMIT,
        "rows": rows,
        "machine": machine(),
        "versions": package_versions(),
    }
    path = HERE / "results" / f"health-{datetime.datetime.now():%Y-%m-%d}.json"
    path.write_text(json.dumps(report, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
