"""What a world declares, as it is written down with what was learned in it; what has changed."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu.layout import Layout
from qmu.world.spaces import Spaces, bounds

# Bounds of actions are the same if they differ by less than this share of their range: 0.1 in
# single precision is not 0.1 in double.
TOLERANCE = 1e-5


def declared(spaces: Spaces, longest: int | None) -> dict[str, Any]:
    """Return what a world declares, as JSON holds it; `longest` are steps of an episode at most."""
    parts = {"parts": [as_list(part._asdict()) for part in spaces.parts]} if spaces.parts else {}
    return parts | {
        "name": spaces.name,
        "obs_shape": list(spaces.obs_shape),
        "action_shape": list(spaces.action_shape),
        "low": spaces.low.tolist(),
        "high": spaces.high.tolist(),
        "obs_bounds": spaces.obs_bounds,
        "longest": longest,
        "frames": spaces.frames,
    }


def layout_in(described: Mapping[str, Any]) -> Layout:
    """Return how observations lie in a row, by what a world has declared."""
    return Layout(math.prod(described["obs_shape"]), frames=described.get("frames", 1))


def as_list(held: Any) -> Any:
    """Return tuples as lists, as JSON has them."""
    if isinstance(held, dict):
        return {name: as_list(value) for name, value in held.items()}
    return [as_list(one) for one in held] if isinstance(held, tuple | list) else held


def misfits(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what makes networks of the world before of no use in that of now."""
    found = []
    for name, words in (
        ("obs_shape", "observations"),
        ("parts", "parts of observations"),
        ("action_shape", "actions"),
    ):
        was, is_now = as_list(before.get(name)), as_list(now.get(name))
        if was != is_now:
            found.append(f"{words} were {told(was)}, and are {told(is_now)}")
    if not found and not same_bounds(before["low"], before["high"], now["low"], now["high"]):
        was, is_now = (" ".join(bounds(*map(array, pair))) for pair in (ends(before), ends(now)))
        found.append(f"actions were in {was}, and are in {is_now}")
    return found


def others(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what a world declares otherwise than before, though networks fit it.

    What was not written down, by an older version, has not changed.
    """
    found = []
    for name, was, is_now in (
        ("longest", "the time limit was", "is"),
        ("obs_bounds", "the bounds of observations were", "are"),
    ):
        if name in before and before[name] != now[name]:
            found.append(f"{was} {told(before[name])}, and {is_now} {told(now[name])}")
    return found


def same_bounds(
    low: ArrayLike, high: ArrayLike, other_low: ArrayLike, other_high: ArrayLike
) -> bool:
    """Tell whether actions have the same bounds, but for rounding."""
    one, other = (
        np.stack([array(low), array(high)]),
        np.stack([array(other_low), array(other_high)]),
    )
    if one.shape != other.shape:
        return False
    reach = np.maximum(one[1] - one[0], np.abs(one).max(axis=0))
    return bool((np.abs(one - other) <= TOLERANCE * reach).all())


def array(values: ArrayLike) -> NDArray[np.float64]:
    """Return bounds as numbers in a row."""
    return np.asarray(values, np.float64).reshape(-1)


def ends(described: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the bounds of actions that are written down."""
    return described["low"], described["high"]


def told(value: Any) -> str:
    """Return what is written down, in words."""
    return "none" if value is None else str(value)
