"""Learning curves as pictures: every seed thin, the mean of an arm's seeds thick."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qmu.training.members import Member

# Colours that people with other colour vision tell apart (Okabe and Ito 2008), then lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b", "#000000")
LINES = ("-", "--", ":", "-.")
SIZE = (9.0, 4.2)


def style(index: int) -> dict[str, Any]:
    """Return an arm's colour and line."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }


def axes_of(figure: Any) -> Any:
    """Return plain axes."""
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def label_axes(axes: Any) -> None:
    """Say what the axes of learning curves are."""
    axes.set_xlabel("steps of each seed")
    axes.set_ylabel("return of an evaluation")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def draw_seeds(axes: Any, steps: Any, curves: Any, index: int) -> tuple[list[Any], Any]:
    """Draw the curves [seeds, steps] of an arm and their mean; return the lines."""
    look = style(index)
    thin = [axes.plot(steps, curve, linewidth=0.6, alpha=0.35, **look)[0] for curve in curves]
    (thick,) = axes.plot(steps, np.mean(curves, axis=0), linewidth=2, **look)
    return thin, thick


def picture_of(
    members: Sequence[Member], lines: Sequence[Mapping[str, Any]], title: str
) -> bytes | None:
    """Return the members' evaluations as a PNG file; None if there are less than two of them."""
    curves: dict[str, dict[int, float]] = {member.name: {} for member in members}
    for line in lines:
        value = line.get("eval/mean_reward")
        if line["member"] in curves and value is not None:
            curves[line["member"]][line["step"]] = value
    steps = sorted({step for curve in curves.values() for step in curve})
    if len(steps) < 2:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=120, layout="constrained")
    axes = axes_of(figure)
    for index, arm in enumerate(dict.fromkeys(member.arm for member in members)):
        own = [member for member in members if member.arm == arm]
        rows = [[curves[member.name].get(step, np.nan) for step in steps] for member in own]
        _, thick = draw_seeds(axes, steps, np.array(rows), index)
        thick.set_label(arm or ("mean of the seeds" if len(own) > 1 else own[0].label))
    label_axes(axes)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
