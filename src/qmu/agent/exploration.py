"""What is done to actions while rows are collected. Units are half action ranges.

These run on the host, beside the worlds, so they take and return NumPy arrays.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qmu import config

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
# How much the size of the parameter noise changes at a time (Plappert et al. 2018, appendix B).
ADAPTATION = 1.01
# Weights begin below 1: noise of this size leaves nothing of the actor but its signs.
LARGEST = 10.0
# The bounds of actions. With arrays NumPy calculates faster than with Python's numbers.
LOWEST, HIGHEST = np.array(-1, np.float32), np.array(1, np.float32)


class Noise(Protocol):
    """What is added to the actions of some worlds."""

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], settings: config.Explore
    ) -> None:
        """Draw for the next steps: shape is [steps, worlds, action]."""

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step; `started` marks worlds at a beginning."""


class NormalNoise:
    """Uncorrelated noise from N(mean, std²), independent per step, world and dimension."""

    def __init__(self) -> None:
        """Begin without noise: the settings come with every chunk."""
        self.noise: Floats = np.zeros((0, 0, 0), np.float32)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], settings: config.Explore
    ) -> None:
        """Draw for the next steps: shape is [steps, worlds, action]."""
        noise = generator.standard_normal(shape, dtype=np.float32)
        self.noise = np.float32(settings.mean) + np.float32(settings.std) * noise

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step."""
        del started
        return self.noise[time]


class OrnsteinUhlenbeck:
    """Noise with a memory: x ← x + θ (mean - x) dt + std √dt N(0, 1), from the mean in an episode.

    Uhlenbeck and Ornstein 1930; Lillicrap et al. 2015, section 7. Left to itself it has the
    standard deviation std / sqrt(2θ) (for small θ dt) and forgets within 1 / (θ dt) steps.
    """

    def __init__(self) -> None:
        """Begin without noise: the process's constants come with every chunk."""
        self.mean, self.pull = np.float32(0), np.float32(0)
        self.pushes: Floats = np.zeros((0, 0, 0), np.float32)
        self.value: Floats = np.zeros((0, 0), np.float32)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], settings: config.Explore
    ) -> None:
        """Draw for the next steps: shape is [steps, worlds, action]."""
        self.mean = np.float32(settings.mean)
        self.pull = np.float32(settings.ou_theta * settings.ou_dt)
        size = np.float32(settings.std) * np.float32(settings.ou_dt**0.5)
        self.pushes = size * generator.standard_normal(shape, np.float32)
        if self.value.shape != shape[1:]:
            self.value = np.full(shape[1:], self.mean)

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step."""
        self.value = np.where(started[:, None], self.mean, self.value)
        self.value = self.value + self.pull * (self.mean - self.value) + self.pushes[time]
        return self.value


class NoNoise:
    """Nothing is added."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nothing: Floats = np.zeros((0, 0), np.float32)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], settings: config.Explore
    ) -> None:
        """Draw nothing."""
        del generator, settings
        self.nothing = np.zeros(shape[1:], np.float32)

    def at(self, time: int, started: Bools) -> Floats:
        """Return zeros [worlds, action]."""
        del time, started
        return self.nothing


NOISES: dict[str, Callable[[], Noise]] = {
    "normal": NormalNoise,
    "ou": OrnsteinUhlenbeck,
    "none": NoNoise,
}


def uniform_actions(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw actions uniformly from [-1, 1)."""
    return 2 * generator.random(shape, dtype=np.float32) - 1


def explore(action: Floats, noise: Floats) -> Floats:
    """Return the actions with noise added, clipped to the action bounds [-1, 1]."""
    return np.minimum(np.maximum(action + noise, LOWEST), HIGHEST)


def perturb(
    generator: np.random.Generator, arrays: Sequence[Floats], std: float
) -> tuple[Floats, ...]:
    """Return weights with noise from N(0, std²) on each (Plappert et al. 2018, section 3)."""
    return tuple(
        array + np.float32(std) * generator.standard_normal(array.shape, dtype=np.float32)
        for array in arrays
    )


def distance(action: Floats, other: Floats) -> float:
    """Return how far two policies' actions [rows, action] are apart.

    The root of the mean square over rows and dimensions (Plappert et al. 2018, appendix C.2).
    """
    return float(np.sqrt(np.mean(np.square(action - other))))


def adapted(std: float, apart: float, wanted: float) -> float:
    """Return the size of the parameter noise after a look at how far actions are apart.

    Plappert et al. 2018, eq. 8. It stays at or below `LARGEST`: an actor that cannot be brought so
    far from itself would otherwise get ever larger weights.
    """
    return min(std * ADAPTATION, LARGEST) if apart <= wanted else std / ADAPTATION
