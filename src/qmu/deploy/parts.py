"""What a policy observes: arrays, or the parts that its description lists."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.parts import AXES, Part, is_several, join_batch, join_either, join_step

# Choices are counted in whole numbers of 64 bits.
LARGEST = 2**62


def observed(
    parts: tuple[Part, ...], obs_shape: tuple[int, ...], observation: Any, dtype: Any = np.float32
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return an observation, or a batch of them, as an array, and the length of the batch.

    The array is of rows, where there are several parts or an image.

    Raises:
        ValueError: it is of another shape; a part is not there, or none of its choices, or an image
            of another dtype.
    """
    if is_several(parts, observation):
        rows = join_either(parts, observation, dtype)
        return rows, rows.shape[:-1]
    array = array_as(observation, dtype)
    return array, batch_of(array.shape, obs_shape)


def observed_step(
    parts: tuple[Part, ...], obs_shape: tuple[int, ...], observation: Any, dtype: Any = np.float32
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return what `observed` does, where what may be one observation or a batch of one is a batch.

    Raises:
        ValueError: as `observed` does.
    """
    if is_several(parts, observation):
        rows = join_step(parts, observation, dtype)
        return rows, rows.shape[:-1]
    return observed(parts, obs_shape, observation, dtype)


def observed_batch(
    parts: tuple[Part, ...], obs_shape: tuple[int, ...], observation: Any, dtype: Any = np.float32
) -> NDArray[Any]:
    """Return a batch of observations as an array [batch, *obs_shape].

    Raises:
        ValueError: as `observed` does, or it is one observation.
    """
    if is_several(parts, observation):
        return join_batch(parts, observation, dtype)
    array = array_as(observation, dtype)
    if not batch_of(array.shape, obs_shape):
        raise ValueError(
            f"one observation, of shape {array.shape}, where a batch of them was to be given"
        )
    return array


def array_as(observation: Any, dtype: Any) -> NDArray[Any]:
    """Return an observation as an array of a dtype.

    Raises:
        ValueError: it is of other numbers than the bytes that are wanted.
    """
    array = np.asarray(observation)
    if dtype == np.uint8 and array.dtype != np.uint8:
        raise ValueError(
            f"observations with images as one array of {array.dtype}; that array is of uint8"
        )
    return array.astype(dtype, copy=False)


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
        Part(
            path=listed(one["path"]),
            shape=listed(one["shape"]),
            choices=listed(one["choices"]),
            first=listed(one["first"]),
            image=str(one.get("image", "")),
        )
        for one in described
    )
    for part in parts:
        if not is_usable(part):
            raise ValueError(f"{part} is no part of an observation")
    return parts


def is_usable(part: Part) -> bool:
    """Tell whether a part can be found in an observation, and makes numbers of what is there."""
    if part.image and not (part.image in AXES and len(part.shape) == len(AXES[part.image])):
        return False
    choosing = len(part.choices) == len(part.first) == math.prod(part.shape)
    return (
        all(type(number) is int for number in part.shape + part.choices + part.first)
        and (part.path != () or part.image != "")
        and all(type(step) in (str, int) for step in part.path)
        and all(size >= 0 for size in part.shape)
        and all(choices > 0 for choices in part.choices)
        and all(abs(first) < LARGEST for first in part.first)
        and (choosing or part.choices == part.first == ())
        and not (part.image and part.choices)
    )


def listed(values: Any) -> tuple[Any, ...]:
    """Return the values of a list.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is no list")
    return tuple(values)
