"""Pictures of results, as SVG whose parts are named after the arms: `arm-INDEX-...`."""

import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from qmu.study import stats
from qmu.study.results import Outcome, Place, Results, number

# Colours that people with other colour vision tell apart (Okabe and Ito 2008), then lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#000000")
LINES = ("-", "--", ":", "-.")
SIZE = (9.0, 4.2)
LEVELS = np.linspace(0, 1, 101)


def style(index: int) -> dict[str, Any]:
    """Return an arm's colour and line."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element, without what comes before it in a file.

    Its ids follow from `name`, which no other picture of the page has.
    """
    out = io.StringIO()
    # Text as text, and ids that do not change from one report to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = out.getvalue()
    # Groups that have no name of ours are called alike in all pictures.
    text = re.sub(r'<g id="(?!arm-)[^"]*"', "<g", text[text.index("<svg") :])
    # So are the colour bars of one picture, if they are the same; nothing refers to either.
    return re.sub(r' id="image[0-9a-f]+"', "", text)


def axes_of(figure: Figure) -> Any:
    """Return plain axes."""
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def learning_curves(results: Results, place: Place) -> str:
    """Return a world's curves: every seed thin, their mean thick, a 95% band around it."""
    figure = Figure(figsize=SIZE)
    axes = axes_of(figure)
    for outcome in place.outcomes:
        if outcome.curves.size:
            draw_curves(axes, outcome, results.arms.index(outcome.arm), results.places.index(place))
    if place.world.threshold is not None:
        axes.axhline(place.world.threshold, color="#888888", linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlabel("steps of each seed")
    axes.set_ylabel("return of an evaluation")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: number(value) if value % 1 else f"{value:,.0f}")
    return svg(figure, f"curves-{place.world.id}")


def draw_curves(axes: Any, outcome: Outcome, index: int, world: int) -> None:
    """Draw an arm's seeds, mean and band, each named after it."""
    look = style(index)
    for seed, curve in zip(outcome.seeds, outcome.curves, strict=True):
        (line,) = axes.plot(outcome.steps, curve, linewidth=0.6, alpha=0.35, **look)
        line.set_gid(f"arm-{index}-{world}-seed-{seed}")
    (line,) = axes.plot(outcome.steps, outcome.curves.mean(axis=0), linewidth=2, **look)
    line.set_gid(f"arm-{index}-{world}-mean")
    bounds = np.array([stats.mean(values) for values in outcome.curves.T])
    if np.isfinite(bounds).all():
        band = axes.fill_between(
            outcome.steps, bounds[:, 1], bounds[:, 2], color=look["color"], alpha=0.15, linewidth=0
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
    return svg(figure, "profiles")
