"""How an observation lies in a row, and how rows are seen by networks.

Without images a row is the observation's numbers, in single precision. With images it is bytes:
those of the numbers, four each, then each image's, row of pixels by row of pixels, channels last.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Bytes of a number among images.
NUMBER = 4


class Layout(NamedTuple):
    """What a row of an observation holds, and how many rows networks see it as.

    `images` are (height, width, channels). With `frames` K an observation is seen together with
    the K - 1 before it in its episode; before the first one, that one is repeated.
    """

    numbers: int
    images: tuple[tuple[int, int, int], ...] = ()
    frames: int = 1

    @property
    def size(self) -> int:
        """Entries of a row: numbers, or bytes where there are images."""
        if not self.images:
            return self.numbers
        return NUMBER * self.numbers + sum(map(math.prod, self.images))

    @property
    def dtype(self) -> Any:
        """The dtype of a row."""
        return np.uint8 if self.images else np.float32

    @property
    def bytes(self) -> int:
        """Bytes of a row."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def seen_numbers(self) -> int:
        """Numbers that networks see: those of all frames."""
        return self.frames * self.numbers

    @property
    def seen_images(self) -> tuple[tuple[int, int, int], ...]:
        """Images that networks see: the channels of all frames behind each other."""
        return tuple((height, width, self.frames * deep) for height, width, deep in self.images)

    @property
    def places(self) -> list[slice]:
        """Where each image lies in a row."""
        ends = [NUMBER * self.numbers]
        for image in self.images:
            ends.append(ends[-1] + math.prod(image))
        return [slice(*pair) for pair in itertools.pairwise(ends)]


class Seen(NamedTuple):
    """Observations as networks see them, where there are images: of all frames, the oldest first.

    numbers [..., frames * numbers] float32; images, each [..., height, width, frames * channels]
    uint8.
    """

    numbers: Any
    images: tuple[Any, ...]


def numbers_of(layout: Layout, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return the numbers [..., numbers] of rows [..., size]."""
    if not layout.images:
        return rows
    held = np.ascontiguousarray(rows[..., : NUMBER * layout.numbers])
    return held.reshape(-1).view(np.float32).reshape(*rows.shape[:-1], layout.numbers)


def seen(layout: Layout, rows: NDArray[Any]) -> Any:
    """Return rows [..., (frames,) size] as networks see them: numbers [..., numbers], or `Seen`."""
    batch = rows.shape[: rows.ndim - 1 - (layout.frames > 1)]
    if not layout.images:
        return rows.reshape(*batch, layout.seen_numbers)
    frames = rows.reshape(*batch, layout.frames, layout.size)
    numbers = numbers_of(layout, frames)
    images = tuple(
        np.moveaxis(frames[..., place].reshape(*batch, layout.frames, *image), -4, -2).reshape(
            *batch, *whole
        )
        for place, image, whole in zip(
            layout.places, layout.images, layout.seen_images, strict=True
        )
    )
    return Seen(numbers.reshape(*batch, layout.seen_numbers), images)


def images_of(layout: Layout, row: NDArray[Any]) -> tuple[NDArray[np.uint8], ...]:
    """Return the images [height, width, channels] of one row."""
    return tuple(
        row[place].reshape(image) for place, image in zip(layout.places, layout.images, strict=True)
    )


def row(layout: Layout, numbers: NDArray[np.float32], images: list[NDArray[np.uint8]]) -> Any:
    """Return rows of bytes [..., size] of numbers [..., numbers] and images [..., *image]."""
    batch = numbers.shape[:-1]
    held = np.ascontiguousarray(numbers, np.float32).view(np.uint8)
    flat = [image.reshape(*batch, -1) for image in images]
    rows: NDArray[np.uint8] = np.concatenate([held, *flat], axis=-1)
    assert rows.shape[-1] == layout.size
    return rows
