"""What a policy observes: arrays, or the parts that its description lists."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.parts import Part, is_several, join_batch, join_either

# Choices are counted in whole numbers of 64 bits.
LARGEST = 2**62


def observed(
    parts: tuple[Part, ...], obs_shape: tuple[int, ...], observation: Any, dtype: Any = np.float32
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return an observation, or a batch of them, as an array, and the length of the batch.

    Raises:
        ValueError: it is of another shape; a part is not there, or none of its choices.
    """
    several = is_several(parts, observation)
    whole = join_either(parts, observation, dtype) if several else observation
    array = np.asarray(whole, dtype=dtype)
    return array, batch_of(array.shape, obs_shape)


def observed_batch(
    parts: tuple[Part, ...], obs_shape: tuple[int, ...], observation: Any, dtype: Any = np.float32
) -> NDArray[Any]:
    """Return a batch of observations as an array [batch, *obs_shape].

    Raises:
        ValueError: as `observed` does, or it is one observation.
    """
    if is_several(parts, observation):
        return join_batch(parts, observation, dtype)
    array = np.asarray(observation, dtype=dtype)
    if not batch_of(array.shape, obs_shape):
        raise ValueError(
            f"one observation, of shape {array.shape}, where a batch of them was to be given"
        )
    return array


def batch_of(shape: tuple[int, ...], obs_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the leading axis of a batch of observations; nothing for a single observation.

    Raises:
        ValueError: observations of `obs_shape` do not have this shape.
    """
    batch = shape[: len(shape) - len(obs_shape)]
    if len(batch) > 1 or tuple(shape[len(batch) :]) != obs_shape:
        raise ValueError(
            f"an observation of shape {tuple(shape)}; this policy takes {obs_shape}, "
            "or a batch of them along one leading axis"
        )
    return batch


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
