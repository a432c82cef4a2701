"""An encoder of images outside of training, in NumPy: bytes in, features out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.deploy.layers import Floats, all_finite, layer_norm, relu

Bytes = NDArray[np.uint8]
# Pixels along each side of what one output of a convolution sees.
SIDE = 3
# What becomes of a pixel, as in training: a product with the one number, then a sum with the other.
PIXEL_SCALE, PIXEL_OFFSET = np.float32(1 / 255), np.float32(-0.5)


@dataclass(frozen=True)
class PixelEncoder:
    """One image's encoder: convolutions with ReLU, a layer, its normalization, a tanh.

    Attributes:
        weights: of the convolutions, each [3, 3, inputs, outputs].
        biases: of the convolutions, each [outputs].
        strides: pixels between two outputs of each convolution.
        trunk_weight: [rows * columns * outputs, features].
        trunk_bias: [features].
        scale: of the normalization, [features].
        offset: of the normalization, [features].
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    strides: tuple[int, ...]
    trunk_weight: Floats
    trunk_bias: Floats
    scale: Floats
    offset: Floats

    def __call__(self, images: Bytes) -> Floats:
        """Return features [batch, features] for images [batch, height, width, channels]."""
        hidden = images.astype(np.float32)
        hidden *= PIXEL_SCALE
        hidden += PIXEL_OFFSET
        for weight, bias, stride in zip(self.weights, self.biases, self.strides, strict=True):
            hidden = relu(convolved(hidden, weight, stride) + bias)
        units = hidden.reshape(len(hidden), -1) @ self.trunk_weight + self.trunk_bias
        return np.tanh(layer_norm(units, self.scale, self.offset))

    def finite(self) -> bool:
        """Tell whether all its numbers are finite."""
        return all(map(all_finite, self.arrays(0).values()))

    def arrays(self, index: int) -> dict[str, Floats]:
        """Return its numbers, by the names that they have in a file.

        Args:
            index: which of an observation's images it is for.
        """
        kinds = {"weight": self.weights, "bias": self.biases}
        convolutions = {
            f"conv.{depth}.{kind}": array
            for kind, arrays in kinds.items()
            for depth, array in enumerate(arrays)
        }
        trunk = {
            "trunk.weight": self.trunk_weight,
            "trunk.bias": self.trunk_bias,
            "trunk.scale": self.scale,
            "trunk.offset": self.offset,
        }
        return {f"encoder.{index}.{name}": own for name, own in (convolutions | trunk).items()}


def pixel_encoder(arrays: Mapping[str, Floats], index: int, strides: Sequence[int]) -> PixelEncoder:
    """Return the encoder whose `arrays` these are.

    Raises:
        KeyError: one is missing.
    """

    def own(name: str) -> Floats:
        return arrays[f"encoder.{index}.{name}"]

    depths = range(len(strides))
    return PixelEncoder(
        tuple(own(f"conv.{depth}.weight") for depth in depths),
        tuple(own(f"conv.{depth}.bias") for depth in depths),
        tuple(strides),
        own("trunk.weight"),
        own("trunk.bias"),
        own("trunk.scale"),
        own("trunk.offset"),
    )


def convolved(images: Floats, weight: Floats, stride: int) -> Floats:
    """Return a convolution without padding, [batch, rows, columns, outputs], as one product.

    Args:
        images: [batch, height, width, inputs].
        weight: [3, 3, inputs, outputs].
        stride: pixels between two outputs.
    """
    patches = patches_of(images, stride)
    outputs = weight.shape[-1]
    flat = patches.reshape(-1, weight.size // outputs) @ weight.reshape(-1, outputs)
    return flat.reshape(*patches.shape[:3], outputs)


def patches_of(images: Floats, stride: int) -> NDArray[Any]:
    """Return what each output sees, [batch, rows, columns, 3, 3, inputs], a view of the images."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (SIDE, SIDE), axis=(1, 2))
    return windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def encoder_fits(encoder: PixelEncoder, image: tuple[int, int, int]) -> bool:
    """Tell whether an encoder leads from an image (height, width, channels) to features."""
    *sides, channels = image
    for weight, bias, stride in zip(encoder.weights, encoder.biases, encoder.strides, strict=True):
        if weight.ndim != 4 or weight.shape[:3] != (SIDE, SIDE, channels):
            return False
        channels = weight.shape[3]
        sides = [(side - SIDE) // stride + 1 for side in sides]
        if bias.shape != (channels,) or min(sides) < 1:
            return False
    features = encoder.trunk_weight.shape[-1:]
    return encoder.trunk_weight.shape == (sides[0] * sides[1] * channels, *features) and all(
        own.shape == features for own in (encoder.trunk_bias, encoder.scale, encoder.offset)
    )
