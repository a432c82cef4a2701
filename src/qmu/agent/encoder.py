"""Encoders: records of convolutions that make features of images, and stand before the networks."""

import math
from collections.abc import Sequence
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from qmu import config
from qmu.agent.convolution import SIDE, Convolution, output_side
from qmu.agent.layers import EPSILON, Linear
from qmu.errors import ConfigError

# The pixels that lie between two outputs of each convolution: Fujimoto et al. 2025 (MR.Q), and
# Yarats et al. 2021 (DrQ-v2), whose second to fourth convolutions see four times as many places.
STRIDES = {"strided": (2, 2, 2, 1), "drqv2": (2, 1, 1, 1)}
CHANNELS = 32

# What becomes of a pixel: a product and a difference. Not a division, which JAX makes a product
# with the reciprocal on some devices and not on others.
PIXEL_SCALE = 1 / 255
PIXEL_OFFSET = -0.5

# Height, width, channels.
Shape = tuple[int, int, int]
Pictures = UInt8[Array, "batch height width channels"]


class CentredNorm(eqx.Module):
    """Each sample's features to mean 0 and variance 1, then scaled and shifted.

    Ba, Kiros and Hinton 2016, eq. 4. The variance is that of the centred features: as a difference
    of squares it is wrong where a mean is large, and thousands of pixels can make it so.
    """

    scale: Float[Array, " features"]
    offset: Float[Array, " features"]

    def __call__(self, inputs: Float[Array, "batch features"]) -> Float[Array, "batch features"]:
        """Return the normalized features of a batch."""
        centred = inputs - jnp.mean(inputs, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + EPSILON) * self.scale[None] + self.offset[None]


class ImageEncoder(eqx.Module):
    """Four convolutions with ReLU, then a trunk: a layer, its normalization, a tanh.

    Yarats et al. 2021, section 3.1 and Table 2; there the trunk stands in actor and critic each.
    """

    convolutions: tuple[Convolution, ...]
    trunk: Linear
    norm: CentredNorm

    def __call__(self, images: Pictures) -> Float[Array, "batch features"]:
        """Return the features of a batch of images, in [-1, 1]."""
        hidden = self.maps(images)[-1]
        return jnp.tanh(self.norm(self.trunk(hidden.reshape(len(hidden), -1))))

    def maps(self, images: Pictures) -> list[Float[Array, "batch rows columns outputs"]]:
        """Return what each convolution makes of a batch of images."""
        dtype = self.trunk.weight.dtype
        hidden = images.astype(dtype) * jnp.asarray(PIXEL_SCALE, dtype)
        hidden, found = hidden + jnp.asarray(PIXEL_OFFSET, dtype), []
        for convolution in self.convolutions:
            hidden = jax.nn.relu(convolution(hidden))
            found.append(hidden)
        return found


class ImageEncoderLike(Protocol):
    """What makes features of one image: the built-in encoder, or one of the user's own."""

    def __call__(self, images: Pictures) -> Float[Array, "batch features"]:
        """Return the features of a batch of images."""

    def maps(self, images: Pictures) -> list[Float[Array, "batch rows columns outputs"]]:
        """Return what each convolution makes of a batch of images; nothing where none is known."""


class Encoder(eqx.Module):
    """What the networks see of an observation: its numbers, then features of each of its images."""

    images: tuple[ImageEncoderLike, ...]

    def __call__(
        self, numbers: Float[Array, "batch numbers"], images: Sequence[Pictures]
    ) -> Float[Array, "batch numbers+features"]:
        """Return the numbers of a batch as they are, and behind them the features of its images.

        Args:
            numbers: those of the observations; [batch, 0] where there are none.
            images: one batch for each image of an observation.
        """
        features = [encode(own) for encode, own in zip(self.images, images, strict=True)]
        return jnp.concatenate([numbers, *features], axis=-1)


def init_encoder(key: PRNGKeyArray, shapes: Sequence[Shape], settings: config.Encoder) -> Encoder:
    """Return an encoder with random weights for images of these shapes.

    Raises:
        ConfigError: an image is too small for the convolutions.
    """
    keys = jax.random.split(key, len(shapes))
    each = [
        init_image_encoder(own, shape, settings) for own, shape in zip(keys, shapes, strict=True)
    ]
    return Encoder(tuple(each))


def init_image_encoder(key: PRNGKeyArray, shape: Shape, settings: config.Encoder) -> ImageEncoder:
    """Return an encoder of one image with random weights: orthogonal ones, and no biases.

    Weights of convolutions are √2 times as large, for the ReLU behind them (Saxe et al. 2014).

    Raises:
        ConfigError: the image is too small for the convolutions.
    """
    check_size(shape, settings.kind)
    strides = STRIDES[settings.kind]
    *keys, trunk_key = jax.random.split(key, len(strides) + 1)
    channels = [shape[2], *[CHANNELS] * len(strides)]
    convolutions = [
        Convolution(
            orthogonal(own, (SIDE, SIDE, inputs, outputs), 2**0.5), jnp.zeros(outputs), stride
        )
        for own, inputs, outputs, stride in zip(
            keys, channels[:-1], channels[1:], strides, strict=True
        )
    ]
    rows, columns = (last_side(side, strides) for side in shape[:2])
    features = settings.features
    trunk = Linear(
        orthogonal(trunk_key, (rows * columns * CHANNELS, features), 1.0), jnp.zeros(features)
    )
    norm = CentredNorm(jnp.ones(features), jnp.zeros(features))
    return ImageEncoder(tuple(convolutions), trunk, norm)


def orthogonal(key: PRNGKeyArray, shape: tuple[int, ...], size: float) -> Array:
    """Draw weights [..., outputs] whose columns, or rows, are orthogonal and of this length.

    By modified Gram and Schmidt: LAPACK's factors of a large matrix depend on the number of cores.
    """
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    few, many = sorted((inputs, outputs))

    def clear(index: Array, rows: Array) -> Array:
        own = rows[index]
        products = jnp.sum(rows * own[None], axis=1)
        shares = jnp.where(jnp.arange(few) > index, products / products[index], 0)
        cleared = rows - shares[:, None] * own[None]
        return cleared.at[index].set(own * jax.lax.rsqrt(products[index]))

    rows = jax.lax.fori_loop(0, few, clear, jax.random.normal(key, (few, many)))
    weights: Array = size * (rows.T if few == outputs else rows).reshape(shape)
    return weights


def last_side(side: int, strides: Sequence[int]) -> int:
    """Return how many outputs the last convolution has along a side of so many pixels."""
    for stride in strides:
        side = output_side(side, stride)
    return side


def smallest_side(kind: str) -> int:
    """Return the fewest pixels along a side of an image for this kind of encoder."""
    side = 1
    for stride in reversed(STRIDES[kind]):
        side = (side - 1) * stride + SIDE
    return side


def check_size(shape: Shape, kind: str) -> None:
    """Raise ConfigError where an image [height, width, channels] is too small for the encoder."""
    if min(shape[:2]) >= smallest_side(kind):
        return
    enough = [other for other in STRIDES if min(shape[:2]) >= smallest_side(other)]
    raise ConfigError(
        f"images of {shape[0]} x {shape[1]} pixels are too small for --encoder.kind {kind}, whose "
        f"convolutions need {smallest_side(kind)} along each side: take larger images"
        + "".join(f", or --encoder.kind {other}" for other in enough)
    )


def feature_count(numbers: int, images: int, settings: config.Encoder) -> int:
    """Return how many features an observation of so many numbers and images has."""
    return numbers + images * settings.features


def init_encoder_optimizer(encoder: Encoder) -> optax.OptState:
    """Return Adam's state before the first step."""
    with jax.numpy_dtype_promotion("standard"):
        return optax.scale_by_adam().init(encoder)


def encoder_step(
    encoder: Encoder, gradient: Encoder, state: optax.OptState, settings: config.Encoder
) -> tuple[Encoder, optax.OptState]:
    """Return the encoder and Adam's state after one step down the gradient.

    Kingma and Ba 2015, Algorithm 1.
    """
    # Optax mixes dtypes, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        step, state = optax.scale_by_adam().update(gradient, state)
    return jax.tree.map(lambda old, change: old - settings.lr * change, encoder, step), state
