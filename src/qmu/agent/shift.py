"""Random shifts of images: what a critic sees of a batch is a few pixels aside.

Yarats et al. 2021 (DrQ-v2), section 3.1. Their shift is interpolated at whole pixels, where that is
the pixel itself; so it is moved as bytes here.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt8

from qmu import config

Pictures = UInt8[Array, "batch height width channels"]


def augmented(
    key: PRNGKeyArray, images: Sequence[Pictures], settings: config.Encoder
) -> tuple[Pictures, ...]:
    """Return each image of a batch of observations, shifted by itself; as it is without a shift."""
    if settings.shift == 0:
        return tuple(images)
    keys = jax.random.split(key, len(images))
    return tuple(shifted(own, one, settings.shift) for own, one in zip(keys, images, strict=True))


def shifted(key: PRNGKeyArray, images: Pictures, pixels: int) -> Pictures:
    """Return images that are moved by up to so many whole pixels down or up, right or left.

    Each image of the batch is moved by itself, all its channels alike. What comes in repeats the
    image's edge.
    """
    moves = jax.random.randint(key, (len(images), 2), -pixels, pixels + 1)
    return moved(images, moves, pixels)


def moved(images: Pictures, moves: Array, most: int) -> Pictures:
    """Return images in which pixel (r, q) is what was at (r, q) + move, or at the edge next to it.

    Args:
        images: bytes [batch, height, width, channels].
        moves: whole numbers [batch, 2] of rows and columns, in ±most.
        most: the largest move.
    """
    # Whole rows of pixels are gathered first: docs/decisions/0010-convolutions.md has other ways.
    batch, height, width, channels = images.shape
    rows = jnp.clip(jnp.arange(height)[None] + moves[:, :1], 0, height - 1)
    places = (jnp.arange(batch)[:, None] * height + rows).reshape(-1)
    whole = images.reshape(batch * height, width * channels)[places].reshape(images.shape)
    wide = jnp.pad(whole, ((0, 0), (0, 0), (most, most), (0, 0)), mode="edge")

    def cut(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(image, start, width, axis=1)

    found: Array = jax.vmap(cut)(wide, moves[:, 1] + most)
    return found
