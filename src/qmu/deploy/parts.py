"""Observations of several parts, as the environment gave them, to the flat ones of the network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.rows import Part

# Choices are counted in whole numbers of 64 bits.
LARGEST = 2**62


def one_array(parts: Sequence[Part], observation: Any) -> Any:
    """Return an observation of several parts as one array, and any other as it is.

    Raises:
        ValueError: a part is not there, or has another shape.
    """
    if parts and isinstance(observation, Mapping | tuple):
        return join(parts, observation)
    return observation


def join(parts: Sequence[Part], observation: Any) -> NDArray[np.float32]:
    """Return an observation of several parts as one array [obs], or a batch [batch, obs].

    The parts lie in it one after another. In a batch, every part has the leading axis.

    Raises:
        ValueError: a part is not there, or has another shape.
    """
    pieces = [piece(part, find(parts, part, observation)) for part in parts]
    batches = {one.shape[:-1] for one in pieces}
    if len(batches) > 1:
        raise ValueError(
            f"parts of an observation for batches of different sizes: {sorted(batches)}; "
            f"this policy takes {told(parts)}"
        )
    return np.concatenate(pieces, axis=-1)


def find(parts: Sequence[Part], part: Part, observation: Any) -> Any:
    """Return what an observation holds where a part belongs."""
    held = observation
    for step in part.path:
        inside = step in held if isinstance(held, Mapping) else is_in(step, held)
        if not inside:
            raise ValueError(f"an observation without {part.name}; this policy takes {told(parts)}")
        held = held[step]
    return held


def is_in(step: str | int, held: Any) -> bool:
    """Tell whether something that is no dictionary has this position."""
    return isinstance(step, int) and isinstance(held, tuple | list) and 0 <= step < len(held)


def piece(part: Part, value: Any) -> NDArray[np.float32]:
    """Return a part's numbers [size], or [batch, size]."""
    array = np.asarray(value)
    batch = array.shape[: array.ndim - len(part.shape)]
    if len(batch) > 1 or array.shape[len(batch) :] != part.shape:
        raise ValueError(
            f"{part.name} has the shape {array.shape}; this policy takes {part.shape}, or a batch "
            "along one leading axis"
        )
    if not part.choices:
        return array.astype(np.float32).reshape(*batch, part.size)
    chosen = array.astype(np.int64).reshape(*batch, len(part.choices)) - np.asarray(part.first)
    if ((chosen < 0) | (chosen >= np.asarray(part.choices))).any():
        raise ValueError(f"{part.name} is {value}, which is none of its choices")
    rows = [
        np.eye(size, dtype=np.float32)[chosen[..., index]]
        for index, size in enumerate(part.choices)
    ]
    return np.concatenate(rows, axis=-1)


def told(parts: Sequence[Part]) -> str:
    """Return the parts in words: their names and shapes."""
    return ", ".join(f"{part.name} {part.shape}" for part in parts)


def read_parts(described: Any) -> tuple[Part, ...]:
    """Return the parts that a policy's description lists.

    Raises:
        TypeError: it lists none.
        ValueError: they cannot be found in an observation, or make no numbers of one.
        KeyError: something is not described.
    """
    parts = tuple(
        Part(*(listed(one[name]) for name in ("path", "shape", "choices", "first")))
        for one in described
    )
    for part in parts:
        if not is_usable(part):
            raise ValueError(f"{part} is no part of an observation")
    return parts


def is_usable(part: Part) -> bool:
    """Tell whether a part can be found in an observation, and makes numbers of what is there."""
    choosing = len(part.choices) == len(part.first) == math.prod(part.shape)
    return (
        all(type(number) is int for number in part.shape + part.choices + part.first)
        and part.path != ()
        and all(type(step) in (str, int) for step in part.path)
        and all(size >= 0 for size in part.shape)
        and all(choices > 0 for choices in part.choices)
        and all(abs(first) < LARGEST for first in part.first)
        and (choosing or part.choices == part.first == ())
    )


def listed(values: Any) -> tuple[Any, ...]:
    """Return the values of a list.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is no list")
    return tuple(values)
