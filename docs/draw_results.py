"""Draw a picture of each folder of docs/results/: learning curves, or what a search has tried.

Run `.venv/bin/python docs/draw_results.py` after a folder is new there. It reads the folder's own
files: `study.toml` and `evaluations.csv`, or `tuning.toml` and `trials.json`.
"""

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from qmu.study.folder import open_directory
from qmu.study.plan import Study
from qmu.tuning.plan import kept_trials, open_tuning
from qmu.tuning.shown import panels
from qmu.watching.curves import Curve, axes_of, draw_curve, number_axes

RESULTS = Path(__file__).with_name("results")
PICTURE = "picture.png"
SHADES = 256
# Inches of a world's panel, and of the names of the arms below; dots per inch.
PANEL, NAMES, DPI = (5.0, 3.2), 0.3, 80
COLUMNS = 4

Evaluations = dict[tuple[str, str], dict[int, list[tuple[int, float]]]]


def main() -> None:
    """Draw all pictures."""
    for file in sorted(RESULTS.rglob("study.toml")):
        save(curves(open_directory(file.parent), evaluations(file.parent)), file.parent)
    for file in sorted(RESULTS.rglob("tuning.toml")):
        save(panels(open_tuning(file.parent), kept_trials(file.parent)), file.parent)


def save(figure: Figure, folder: Path) -> None:
    """Write a folder's picture, with 256 colours: half of the bytes."""
    out = io.BytesIO()
    figure.savefig(out, dpi=DPI)
    Image.open(out).convert("RGB").quantize(SHADES, method=Image.Quantize.FASTOCTREE).save(
        folder / PICTURE, optimize=True
    )
    print(folder / PICTURE)


def evaluations(folder: Path) -> Evaluations:
    """Return a study's evaluations: (world, arm) -> seed -> (step, mean reward)."""
    held: Evaluations = {}
    text = (folder / "evaluations.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        seeds = held.setdefault((row["world"], row["arm"]), {})
        value = int(row["step"]), float(row["mean_reward"])
        seeds.setdefault(int(row["seed"]), []).append(value)
    return held


def curves(study: Study, held: Evaluations) -> Figure:
    """Return the learning curves of a study, a panel for each world."""
    lines = -(-len(study.arms) // COLUMNS)
    size = PANEL[0] * len(study.worlds), PANEL[1] + NAMES * lines
    figure = Figure(figsize=size, layout="constrained")
    for place, world in enumerate(study.worlds):
        axes = axes_of(figure, 1, len(study.worlds), place + 1)
        for look, arm in enumerate(study.arms):
            if (world.id, arm.name) in held:
                draw_curve(axes, curve(arm.name, look, held[world.id, arm.name]))
        number_axes(axes, world.threshold)
        axes.set_title(world.id, fontsize=10)
        axes.set_xlabel("steps of each seed")
        if place == 0:
            axes.set_ylabel("return of an evaluation")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=COLUMNS, frameon=False)
    return figure


def curve(name: str, look: int, seeds: dict[int, list[tuple[int, float]]]) -> Curve:
    """Return what the seeds of an arm measured."""
    values = np.array([[value for _, value in own] for own in seeds.values()])
    steps = np.array([step for step, _ in next(iter(seeds.values()))], float)
    return Curve(name, steps, values, list(seeds), look)


if __name__ == "__main__":
    main()
