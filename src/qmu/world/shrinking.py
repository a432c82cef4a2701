"""Pictures of another size, by area: each new pixel is the mean of what lies under it.

Where a pixel is cut, it counts with its share. In whole numbers, so that every machine has the same
pixels; halves are rounded up.
"""

import functools
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def resized(picture: Picture, size: int) -> Picture:
    """Return a picture [height, width, channels] as a new square [size, size, channels]."""
    height, width, channels = picture.shape
    if height == width == size:
        # The world may draw into the same memory again.
        return picture.copy()
    # Sums stay below 255 × height × width.
    kind = np.int32 if 511 * height * width < 2**31 else np.int64
    rows = shares(height, size) @ picture.reshape(height, -1).astype(kind)
    across = rows.reshape(size, width, channels).transpose(1, 0, 2).reshape(width, -1)
    sums = (shares(width, size) @ across).reshape(size, size, channels).transpose(1, 0, 2)
    area = height * width
    return np.ascontiguousarray((2 * sums + area) // (2 * area), dtype=np.uint8)


@functools.cache
def shares(length: int, size: int) -> Any:
    """Return how much of each old pixel lies in each new one [size, length], as a sparse matrix.

    An old pixel is `size` long, and a new one `length`.
    """
    edges = np.union1d(np.arange(length + 1) * size, np.arange(size + 1) * length)
    first, lengths = edges[:-1], np.diff(edges)
    places = (first // length, first // size)
    return scipy.sparse.csr_array((lengths.astype(np.int32), places), shape=(size, length))
