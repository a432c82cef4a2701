"""A run in one picture: the evaluations of all its members, while they are at hand."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmu.config.members import Member

if TYPE_CHECKING:
    from qmu.watching.curves import Curve

METRIC = "eval/mean_reward"


def portrait(
    members: Sequence[Member], lines: Sequence[Mapping[str, Any]], title: str
) -> bytes | None:
    """Return the members' evaluations as a PNG file; None if there are less than two of them."""
    curves = curves_of(members, lines, METRIC)
    if not any(len(curve.steps) > 1 for curve in curves):
        return None
    from qmu.watching.curves import learning_curves

    figure = learning_curves(curves, legend=len(curves) > 1)
    figure.axes[0].set_title(title, loc="left", fontsize="medium")
    return figure.png()


def curves_of(
    members: Sequence[Member], lines: Sequence[Mapping[str, Any]], metric: str
) -> "list[Curve]":
    """Return a metric over the steps that all seeds of an arm have logged it at, per arm."""
    from qmu.watching.curves import Curve

    found: dict[str, dict[int, float]] = {member.name: {} for member in members}
    for line in lines:
        if line["member"] in found and line.get(metric) is not None:
            found[line["member"]][line["step"]] = float(line[metric])
    curves = []
    for look, arm in enumerate(dict.fromkeys(member.arm for member in members)):
        own = [member for member in members if member.arm == arm]
        steps = sorted(set.intersection(*(set(found[member.name]) for member in own)))
        values = np.array([[found[member.name][step] for step in steps] for member in own])
        if steps:
            seeds = [member.seed for member in own]
            curves.append(Curve(arm or "mean", np.array(steps, float), values, seeds, look))
    return curves
