"""What recipes have learned, beside each other, as a Markdown table from benchmarks/results.

    python benchmarks/recipes.py

A cell is the mean of the seeds' last ten evaluations with its 95% bootstrap interval. Published
figures are DDPG's and TD3's after a million steps, by the last ten evaluations.
"""

import csv
import json
from pathlib import Path

import numpy as np

from qmu.records import stats

HERE = Path(__file__).resolve().parent
WORLDS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5")
RECIPES = {
    "default": ("", "-default"),
    "`fujimoto2018-ddpg`": ("-fujimoto2018-ddpg",),
    "`td3-2020`": ("-td3-2020",),
    "default, parameter noise": ("-parameter-noise",),
}


def cell(world: str, endings: tuple[str, ...]) -> str:
    """Return what a recipe has reached in a world."""
    for ending in endings:
        path = HERE / "results" / f"learning-{world}{ending}.json"
        if path.exists():
            scores = np.array(json.loads(path.read_text())["last_ten"])
            value, low, high = stats.mean(scores)
            return f"{value:,.0f} ({low:,.0f} to {high:,.0f})"
    return ""


def published(world: str) -> str:
    """Return what others report after a million steps."""
    with (HERE / "published.csv").open(encoding="utf-8") as file:
        found = {
            row["algorithm"]: float(row["mean"])
            for row in csv.DictReader(file)
            if row["env"] == world.partition("-")[0]
            and row["metric"] == "mean of the last 10 evaluations"
            and row["algorithm"] in ("DDPG", "TD3")
        }
    return ", ".join(f"{name} {mean:,.0f}" for name, mean in found.items())


def main() -> None:
    """Print the table."""
    print("| world |", " | ".join(RECIPES), "| published, 1,000,000 steps |")
    print("|---" * (len(RECIPES) + 2) + "|")
    for world in WORLDS:
        cells = [cell(world, endings) for endings in RECIPES.values()]
        print(f"| {world} |", " | ".join(cells), f"| {published(world)} |")


if __name__ == "__main__":
    main()
