"""Observations of several parts, or with images, as one row: worlds and policies read them alike.

A part may come with more or fewer axes of length one than its space has. How a row lies is said by
a `Layout`: numbers, or bytes where one of the parts is an image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.layout import Layout, row

# The kinds of dtype that are numbers.
NUMBERS = "biuf"
# How the axes of an image may lie, and which permutation makes height, width, channels of them.
CHANNELS_LAST, CHANNELS_FIRST, GREY = (
    "height width channels",
    "channels height width",
    "height width",
)
AXES = {CHANNELS_LAST: (0, 1, 2), CHANNELS_FIRST: (1, 2, 0), GREY: (0, 1)}


class Part(NamedTuple):
    """A part of an observation that is made of several, as it lies in the flat one.

    `path` leads to it: names of dictionaries, positions in tuples. Numbers are taken as they come,
    in the order of `shape`. Of choices (`choices[i]` of them, counted from `first[i]`) each number
    becomes as many zeros and ones. An image says by `image` how its axes lie. The only part of an
    observation that is an image, and nothing else, has no path.
    """

    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    choices: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    image: str = ""

    @property
    def size(self) -> int:
        """Numbers, or bytes, of the flat observation that it becomes."""
        return sum(self.choices) if self.choices else math.prod(self.shape)

    @property
    def name(self) -> str:
        """The path as it is told."""
        return ".".join(map(str, self.path)) or "the observation"

    @property
    def pixels(self) -> tuple[int, int, int]:
        """The height, width and channels of an image."""
        height, width, *channels = (self.shape[axis] for axis in AXES[self.image])
        return height, width, channels[0] if channels else 1


def layout_of(parts: Sequence[Part], numbers: int, frames: int = 1) -> Layout:
    """Return how an observation of these parts lies in a row; without any, it has `numbers`."""
    if not parts:
        return Layout(numbers, frames=frames)
    images = tuple(part.pixels for part in parts if part.image)
    return Layout(sum(part.size for part in parts if not part.image), images, frames)


def is_several(parts: Sequence[Part], observation: Any) -> bool:
    """Tell whether an observation comes in parts, and not as the one array that they make."""
    if not parts or isinstance(observation, Mapping | tuple):
        return bool(parts)
    return parts[0].path == ()


def join(parts: Sequence[Part], observation: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Return an observation of several parts as one array [obs], in which they follow each other.

    Raises:
        ValueError: a part is not there, has another shape, is no number or none of its choices.
    """
    held = [one(part, find(parts, part, observation)) for part in parts]
    return joined(parts, held, (), dtype)


def join_batch(parts: Sequence[Part], observation: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Return a batch of observations, of which every part has one axis more: [batch, obs].

    Raises:
        ValueError: as `join` does, or the parts are not of batches of one size.
    """
    held = [array_of(part, find(parts, part, observation)) for part in parts]
    sizes = {array.shape[:1] for array in held}
    if len(sizes) > 1 or () in sizes:
        shapes = ", ".join(
            f"{part.name} {array.shape}" for part, array in zip(parts, held, strict=True)
        )
        raise ValueError(
            f"no batch of observations, in which every part has a first axis of the same length: "
            f"{shapes}; this policy takes {told(parts)}"
        )
    (batch,) = sizes
    every = [fitted(*both, batch) for both in zip(parts, held, strict=True)]
    return joined(parts, every, batch, dtype)


def join_either(parts: Sequence[Part], observation: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Return one observation [obs], or a batch of them [batch, obs]; what may be both is one.

    It is a batch where every part has one axis more than its space, all of the same length.

    Raises:
        ValueError: it is neither.
    """
    held = [array_of(part, find(parts, part, observation)) for part in parts]
    if is_batch(parts, held) and not all(map(fits, parts, held)):
        return join_batch(parts, observation, dtype)
    return join(parts, observation, dtype)


def join_step(parts: Sequence[Part], observation: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Return one observation [obs], or a batch of them [batch, obs]; what may be both is a batch.

    Raises:
        ValueError: it is neither.
    """
    held = [array_of(part, find(parts, part, observation)) for part in parts]
    if is_batch(parts, held):
        return join_batch(parts, observation, dtype)
    return join(parts, observation, dtype)


def is_batch(parts: Sequence[Part], held: Sequence[NDArray[Any]]) -> bool:
    """Tell whether every part has one axis more than its space, all of the same length."""
    deeper = all(
        array.ndim and array.shape[1:] == part.shape
        for part, array in zip(parts, held, strict=True)
    )
    return deeper and len({array.shape[:1] for array in held}) == 1


def one(part: Part, value: Any) -> NDArray[Any]:
    """Return the numbers of a part of one observation, in its shape."""
    return fitted(part, array_of(part, value), ())


def array_of(part: Part, value: Any) -> NDArray[Any]:
    """Return what stands where a part belongs as an array of numbers; of an image, of bytes."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{part.name} is no array: {error}") from None
    if part.image and array.dtype != np.uint8:
        raise ValueError(
            f"{part.name} is an image of dtype {array.dtype}; it has to be of uint8, from 0 to 255"
        )
    if array.dtype.kind not in NUMBERS:
        raise ValueError(f"{part.name} has the dtype {array.dtype}, which is no number: {value!r}")
    return array


def fits(part: Part, array: NDArray[Any]) -> bool:
    """Tell whether an array is a part of one observation, but for axes of length one."""
    return array.shape == part.shape or long(array.shape) == long(part.shape)


def long(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of a shape that are not of length one."""
    return tuple(size for size in shape if size != 1)


def fitted(part: Part, array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """Return a part's numbers in its shape, behind the axis of a batch."""
    if array.shape[len(batch) :] == part.shape:
        return array
    if long(array.shape[len(batch) :]) != long(part.shape):
        raise ValueError(
            f"{part.name} has the shape {array.shape}; it has to be {part.shape}, or in a batch "
            "that of every part behind one more axis, of the same length in all of them"
        )
    return array.reshape((*batch, *part.shape))


def joined(
    parts: Sequence[Part], held: Sequence[NDArray[Any]], batch: tuple[int, ...], dtype: Any
) -> NDArray[Any]:
    """Return parts, each in its shape, as one array [*batch, obs]."""
    layout = layout_of(parts, 0)
    flat, end = np.empty((*batch, layout.numbers), np.float32 if layout.images else dtype), 0
    images = []
    for part, array in zip(parts, held, strict=True):
        if part.image:
            images.append(pixels(part, array, batch))
            continue
        start, end = end, end + part.size
        flat[..., start:end] = numbers(part, array, batch)
    return row(layout, flat, images) if images else flat


def pixels(part: Part, array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """Return an image with its height, width and channels in this order, behind a batch's axis."""
    ahead = len(batch)
    axes = (*range(ahead), *(ahead + axis for axis in AXES[part.image]))
    return array.transpose(axes).reshape(*batch, *part.pixels)


def numbers(part: Part, array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """Return what a part becomes in the flat observation: [*batch, size]."""
    if not part.choices:
        return array.reshape(*batch, part.size)
    chosen = array.reshape(*batch, len(part.choices))
    with np.errstate(invalid="ignore"):
        counted = chosen.astype(np.int64) - np.asarray(part.first)
    inside = (counted >= 0) & (counted < np.asarray(part.choices))
    if not (inside & (chosen == np.floor(chosen))).all():
        raise ValueError(f"{part.name} is {array}, which is none of its choices")
    rows = [
        np.eye(size, dtype=np.float32)[counted[..., index]]
        for index, size in enumerate(part.choices)
    ]
    return np.concatenate(rows, axis=-1)


def find(parts: Sequence[Part], part: Part, observation: Any) -> Any:
    """Return what an observation holds where a part belongs."""
    held = observation
    for step in part.path:
        inside = step in held if isinstance(held, Mapping) else is_in(step, held)
        if not inside:
            raise ValueError(f"an observation without {part.name}; there have to be {told(parts)}")
        held = held[step]
    return held


def is_in(step: str | int, held: Any) -> bool:
    """Tell whether something that is no dictionary has this position."""
    return isinstance(step, int) and isinstance(held, tuple | list) and 0 <= step < len(held)


def told(parts: Sequence[Part]) -> str:
    """Return the parts in words: their names and shapes."""
    return ", ".join(f"{part.name} {part.shape}" for part in parts)


def as_given(part: Part, held: NDArray[Any]) -> NDArray[Any]:
    """Return an image's bytes in rows [..., size] with the axes that its environment gives it."""
    batch = held.shape[:-1]
    if part.image == GREY:
        return held.reshape(*batch, *part.shape)
    ahead, back = len(batch), np.argsort(AXES[part.image])
    axes = (*range(ahead), *(ahead + int(axis) for axis in back))
    return held.reshape(*batch, *part.pixels).transpose(axes)
