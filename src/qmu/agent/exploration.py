"""What is done to actions while rows are collected. Units are half action ranges.

These run on the host, beside the worlds, so they take and return NumPy arrays.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def normal_noise(
    generator: np.random.Generator, shape: tuple[int, ...], mean: float, std: float
) -> Floats:
    """Draw uncorrelated noise from N(mean, std²), independent per step, world and dimension."""
    noise = generator.standard_normal(shape, dtype=np.float32)
    return np.float32(mean) + np.float32(std) * noise


def uniform_actions(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw actions uniformly from [-1, 1)."""
    return 2 * generator.random(shape, dtype=np.float32) - 1


def explore(action: Floats, noise: Floats) -> Floats:
    """Return the actions with noise added, clipped to the action bounds [-1, 1]."""
    return np.minimum(np.maximum(action + noise, -1), 1)
