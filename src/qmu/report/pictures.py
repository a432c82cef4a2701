"""Pictures of results, as SVG whose parts are named after the arms: `arm-INDEX-...`."""

import io
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from qmu.records import stats
from qmu.study.results import Place, Results
from qmu.watching.curves import SIZE, Curve, axes_of, learning_curves, style

LEVELS = np.linspace(0, 1, 101)
# What no eye sees of a picture: who drew it, and the third to sixth decimal of a point.
NOTHING = dict.fromkeys(("Date", "Creator", "Format", "Type"))
PATH = re.compile(r' d="[^"]*"')
LONG = re.compile(r"-?\d+\.\d{3,}")


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element, without what comes before it in a file.

    Its ids follow from `name`, which no other picture of the page has.
    """
    out = io.StringIO()
    # Text as text, and ids that do not change from one report to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata=NOTHING, bbox_inches="tight")
    text = PATH.sub(lambda path: LONG.sub(shortened, path[0]), out.getvalue())
    # Groups that have no name of ours are called alike in all pictures.
    text = re.sub(r'<g id="(?!arm-)[^"]*"', "<g", text[text.index("<svg") :])
    # So are the colour bars of one picture, if they are the same; nothing refers to either.
    return re.sub(r' id="image[0-9a-f]+"', "", text)


def shortened(coordinate: re.Match[str]) -> str:
    """Return a coordinate to a hundredth of a point."""
    return f"{float(coordinate[0]):.2f}"


def world_curves(results: Results, place: Place) -> str:
    """Return a world's curves, of every arm that has some."""
    world = results.places.index(place)
    curves = [
        Curve(
            outcome.arm,
            outcome.steps,
            outcome.curves,
            outcome.seeds,
            index,
            f"arm-{index}-{world}-",
        )
        for outcome in place.outcomes
        if outcome.curves.size
        for index in [results.arms.index(outcome.arm)]
    ]
    figure = learning_curves(curves, threshold=place.world.threshold)
    return svg(figure, f"curves-{place.world.id}")


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
