"""What layers consist of, in NumPy: activations, layer normalization."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# The weight [inputs, outputs] and the bias [outputs] of a layer.
Layer = tuple[Floats, Floats]

ONE = np.float32(1)
# The slope of a leaky ReLU below 0, and what is added to a variance before the root of it.
SLOPE, NORM_EPSILON = 0.01, 1e-5


def relu(x: Floats) -> Floats:
    """Return max(x, 0)."""
    return np.maximum(x, np.float32(0))


def leaky_relu(x: Floats) -> Floats:
    """Return x, or x / 100 where it is negative."""
    return np.maximum(x, np.float32(SLOPE) * x)


def elu(x: Floats) -> Floats:
    """Return x, or exp(x) - 1 where it is negative."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, np.float32(0))))


def silu(x: Floats) -> Floats:
    """Return x σ(x), with σ as (1 + tanh(x/2)) / 2, which cannot overflow."""
    half = np.float32(0.5) * x
    bent: Floats = np.tanh(half)
    return half * (ONE + bent)


def layer_norm(x: Floats, scale: Floats, offset: Floats) -> Floats:
    """Return each sample's units with mean 0 and variance 1, scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    deviation: Floats = np.sqrt(variance + np.float32(NORM_EPSILON))
    return centred / deviation * scale + offset


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "silu": silu,
    "tanh": np.tanh,
}


def all_finite(array: Floats) -> bool:
    """Tell whether all numbers of an array are finite; most are by their sum, which is fast."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(array.sum())) or bool(np.isfinite(array).all())
