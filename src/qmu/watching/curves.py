"""Learning curves as pictures: every seed thin, their mean thick, a 95% band around it."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from qmu.records import stats
from qmu.records.stats import Floats

# Colours that people with other colour vision tell apart (Okabe and Ito 2008), then lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#000000")
LINES = ("-", "--", ":", "-.")
SIZE = (9.0, 4.2)
# Dots per inch where a picture is shown as pixels.
DPI = 110


class Curve(NamedTuple):
    """What the seeds of a recipe measured: values [seeds, steps] at these steps."""

    name: str
    steps: Floats
    values: Floats
    seeds: Sequence[int]
    look: int = 0  # the number of its colour and line
    ids: str = ""  # what the names of its parts in an SVG begin with


class Picture(Figure):
    """A figure that shows itself in a notebook, whether or not pyplot is at hand."""

    def png(self) -> bytes:
        """Return the picture as pixels: the bytes of a PNG file."""
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=DPI, bbox_inches="tight")
        return out.getvalue()

    # Notebooks ask for this.
    _repr_png_ = png


def style(look: int) -> dict[str, Any]:
    """Return a curve's colour and line."""
    return {
        "color": COLOURS[look % len(COLOURS)],
        "linestyle": LINES[look // len(COLOURS) % len(LINES)],
    }


def axes_of(figure: Figure, *place: Any, sharey: Any = None) -> Any:
    """Return plain axes, at a place of the figure's grid if there is one.

    `sharey` are axes whose vertical range is theirs, too.
    """
    axes = figure.add_subplot(*place, sharey=sharey)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def learning_curves(
    curves: Sequence[Curve],
    *,
    label: str = "return of an evaluation",
    threshold: float | None = None,
    legend: bool = False,
) -> Picture:
    """Return a picture of learning curves.

    Args:
        curves: one per recipe.
        label: what is measured.
        threshold: where a thin line lies across.
        legend: name the curves in the picture.
    """
    figure = Picture(figsize=SIZE)
    axes = axes_of(figure)
    for curve in curves:
        draw_curve(axes, curve)
    number_axes(axes, threshold)
    axes.set_xlabel("steps of each seed")
    axes.set_ylabel(label)
    if legend:
        axes.legend(frameon=False)
    return figure


def number_axes(axes: Any, threshold: float | None) -> None:
    """Write steps and returns as people do, and draw a threshold if there is one."""
    if threshold is not None:
        axes.axhline(threshold, color="#888888", linewidth=0.8, linestyle=(0, (2, 3)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.{4 if value % 1 else 12}g}")


def draw_curve(axes: Any, curve: Curve) -> None:
    """Draw the seeds, their mean and its band, each named after the curve."""
    look = style(curve.look)
    for seed, values in zip(curve.seeds, curve.values, strict=True):
        (line,) = axes.plot(curve.steps, values, linewidth=0.6, alpha=0.35, **look)
        line.set_gid(f"{curve.ids}seed-{seed}")
    mean = curve.values.mean(axis=0)
    (line,) = axes.plot(curve.steps, mean, linewidth=2, label=curve.name, **look)
    line.set_gid(f"{curve.ids}mean")
    bounds = np.array([stats.mean(values) for values in curve.values.T])
    if np.isfinite(bounds).all():
        band = axes.fill_between(
            curve.steps, bounds[:, 1], bounds[:, 2], color=look["color"], alpha=0.15, linewidth=0
        )
        band.set_gid(f"{curve.ids}band")
