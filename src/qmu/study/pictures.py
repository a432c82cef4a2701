"""Pictures of results, as SVG whose parts are named after the arms: `arm-INDEX-...`."""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from qmu.study import stats
from qmu.study.results import Outcome, Place, Results, number
from qmu.training.curves import SIZE, axes_of, draw_seeds, label_axes, style

LEVELS = np.linspace(0, 1, 101)


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element, without what comes before it in a file."""
    out = io.StringIO()
    # Text as text, and ids that do not change from one report to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "qmu"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = out.getvalue()
    return text[text.index("<svg") :]


def learning_curves(results: Results, place: Place) -> str:
    """Return a world's curves: every seed thin, their mean thick, a 95% band around it."""
    figure = Figure(figsize=SIZE)
    axes = axes_of(figure)
    for outcome in place.outcomes:
        if outcome.curves.size:
            draw_curves(axes, outcome, results.arms.index(outcome.arm), results.places.index(place))
    if place.world.threshold is not None:
        axes.axhline(place.world.threshold, color="#888888", linewidth=0.8, linestyle=(0, (2, 3)))
    label_axes(axes)
    axes.yaxis.set_major_formatter(lambda value, _: number(value) if value % 1 else f"{value:,.0f}")
    return svg(figure)


def draw_curves(axes: Any, outcome: Outcome, index: int, world: int) -> None:
    """Draw an arm's seeds, mean and band, each named after it."""
    thin, thick = draw_seeds(axes, outcome.steps, outcome.curves, index)
    for seed, line in zip(outcome.seeds, thin, strict=True):
        line.set_gid(f"arm-{index}-{world}-seed-{seed}")
    thick.set_gid(f"arm-{index}-{world}-mean")
    bounds = np.array([stats.mean(values) for values in outcome.curves.T])
    if np.isfinite(bounds).all():
        colour = style(index)["color"]
        band = axes.fill_between(
            outcome.steps, bounds[:, 1], bounds[:, 2], color=colour, alpha=0.15, linewidth=0
        )
        band.set_gid(f"arm-{index}-{world}-band")


def profiles(results: Results) -> str:
    """Return the share of seeds above each score, over all worlds, for arms that have finished."""
    figure = Figure(figsize=SIZE)
    axes = axes_of(figure)
    for index, arm in enumerate(results.arms):
        if not results.complete(arm):
            continue
        share, low, high = stats.profile(results.strata(arm), LEVELS)
        look = style(index)
        (line,) = axes.plot(LEVELS, share, linewidth=2, **look)
        line.set_gid(f"arm-{index}-profile")
        if np.isfinite(low).all():
            band = axes.fill_between(
                LEVELS, low, high, color=look["color"], alpha=0.12, linewidth=0
            )
            band.set_gid(f"arm-{index}-profile-band")
    axes.set_xlabel("normalized score")
    axes.set_ylabel("share of seeds above it")
    axes.set_ylim(-0.02, 1.02)
    return svg(figure)
