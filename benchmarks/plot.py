"""Draw the learning curves of benchmarks/results/learning-*.json into docs/learning.png.

python benchmarks/plot.py
"""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

HERE = Path(__file__).resolve().parent
WORLDS = ("Pendulum-v1", "InvertedPendulum-v5", "HalfCheetah-v5", "Hopper-v5")


def draw(axis: Axes, measured: dict[str, Any]) -> None:
    """Draw every seed thin and their mean thick, over the steps."""
    curve = np.array(measured["curve"])
    steps = np.linspace(0, measured["steps"], len(curve) + 1)[1:] / 1000
    for index in range(curve.shape[1]):
        axis.plot(steps, curve[:, index], color="#4c78a8", linewidth=0.6, alpha=0.45)
    axis.plot(steps, curve.mean(axis=1), color="#1f3a5f", linewidth=2)
    axis.set_title(f"{measured['world']}, {curve.shape[1]} seeds", fontsize=10)
    axis.set_xlabel("thousand steps", fontsize=9)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def main() -> None:
    found = [HERE / "results" / f"learning-{world}.json" for world in WORLDS]
    measured = [json.loads(path.read_text()) for path in found if path.is_file()]
    figure, axes = plt.subplots(
        1, len(measured), figsize=(3.4 * len(measured), 2.9), squeeze=False, layout="constrained"
    )
    for axis, one in zip(axes[0], measured, strict=True):
        draw(axis, one)
    axes[0][0].set_ylabel("return of an evaluation", fontsize=9)
    figure.savefig(HERE.parent / "docs" / "learning.png", dpi=110)


if __name__ == "__main__":
    main()
