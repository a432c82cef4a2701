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
# Colored noise is drawn for so many steps where an episode's length is not known, and for so many
# at most: a longer episode goes on with another draw.
UNKNOWN_LENGTH, MOST_LENGTH = 1_000, 10_000
# The bounds of actions. With arrays NumPy calculates faster than with Python's numbers.
LOWEST, HIGHEST = np.array(-1, np.float32), np.array(1, np.float32)


class Noise(Protocol):
    """What is added to the actions of some worlds."""

    def draw(
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        settings: config.Explore,
        std: Floats,
    ) -> None:
        """Draw for the next steps.

        Args:
            generator: where all random numbers come from, also those of `at`.
            shape: [steps, worlds, action].
            settings: those that hold now.
            std: the scale of each world's noise [worlds, 1], as `scales` returns it.
        """

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step; `started` marks worlds at a beginning."""


class NormalNoise:
    """Uncorrelated noise from N(mean, std²), independent per step, world and dimension."""

    def __init__(self) -> None:
        """Begin without noise: the settings come with every chunk."""
        self.noise: Floats = np.zeros((0, 0, 0), np.float32)

    def draw(
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        settings: config.Explore,
        std: Floats,
    ) -> None:
        """Draw for the next steps: shape is [steps, worlds, action]."""
        noise = generator.standard_normal(shape, dtype=np.float32)
        self.noise = np.float32(settings.mean) + std * noise

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
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        settings: config.Explore,
        std: Floats,
    ) -> None:
        """Draw for the next steps: shape is [steps, worlds, action]."""
        self.mean = np.float32(settings.mean)
        self.pull = np.float32(settings.ou_theta * settings.ou_dt)
        size = std * np.float32(settings.ou_dt**0.5)
        self.pushes = size * generator.standard_normal(shape, np.float32)
        if self.value.shape != shape[1:]:
            self.value = np.full(shape[1:], self.mean)

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step."""
        self.value = np.where(started[:, None], self.mean, self.value)
        self.value = self.value + self.pull * (self.mean - self.value) + self.pushes[time]
        return self.value


class ColoredNoise:
    """Noise whose power at the frequency f is 1 / f^β, drawn when an episode begins.

    Eberhard et al. 2023; Timmer and König 1995. Every sample has the variance std². An episode that
    is longer than what was drawn goes on with another draw.
    """

    def __init__(self, longest: int | None) -> None:
        """Take how many steps an episode has at most, if that is known."""
        self.length = min(longest or UNKNOWN_LENGTH, MOST_LENGTH)
        self.color: float | None = None
        self.drawn: Floats = np.zeros((0, self.length, 0), np.float32)

    def draw(
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        settings: config.Explore,
        std: Floats,
    ) -> None:
        """Take what the next episodes are drawn with: shape is [steps, worlds, action]."""
        self.generator, self.mean, self.std = generator, np.float32(settings.mean), std
        if self.color != settings.color:
            self.color, self.weights = settings.color, weights(settings.color, self.length)
        _, worlds, size = shape
        if self.drawn.shape != (worlds, self.length, size):
            self.drawn = np.zeros((worlds, self.length, size), np.float32)
            # Nothing is left of what was not drawn.
            self.taken, self.worlds = np.full(worlds, self.length), np.arange(worlds)

    def at(self, time: int, started: Bools) -> Floats:
        """Return the noise [worlds, action] of a step."""
        del time
        over = started | (self.taken == self.length)
        if over.any():
            for world in np.flatnonzero(over):
                self.drawn[world] = colored(self.generator, self.weights, self.drawn.shape[2]).T
            self.taken[over] = 0
        noise: Floats = self.drawn[self.worlds, self.taken]
        self.taken += 1
        return self.mean + self.std * noise


def weights(color: float, length: int) -> Floats:
    """Return the size of each frequency [length + 1] in noise of the variance 1.

    The frequencies are k / (2 length), k from 0 on: those of twice as many steps as are used. The
    size is the standard deviation of their real and imaginary parts. The frequency 0, where 1 / f^β
    has no value, has the power of the lowest one that has: an episode's noise has its own mean.
    """
    numbers = np.maximum(np.arange(length + 1.0), 1)
    power = numbers**-color
    # A frequency and its mirror image make one; the first and the last have none, and are real.
    single = np.isin(np.arange(length + 1), (0, length))
    power /= np.sum(np.where(single, power, 2 * power))
    return np.sqrt(np.where(single, power, power / 2)).astype(np.float32)


def colored(generator: np.random.Generator, weights: Floats, count: int) -> Floats:
    """Return independent series of noise [count, length] with these `weights` of frequencies.

    Timmer and König 1995: amplitude and phase of every frequency are random. Such a series is
    periodic, so it is drawn with twice the length, and its first half returned: the end is not tied
    to the beginning.
    """
    length = weights.size - 1
    parts = generator.standard_normal((count, length + 1, 2), np.float32)
    # Imaginary parts of the first and the last frequency are not looked at.
    spectrum = weights * parts.view(np.complex64)[..., 0]
    whole = np.fft.irfft(spectrum, 2 * length, norm="forward")
    return whole[:, :length].astype(np.float32, copy=False)


class NoNoise:
    """Nothing is added."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.nothing: Floats = np.zeros((0, 0), np.float32)

    def draw(
        self,
        generator: np.random.Generator,
        shape: tuple[int, ...],
        settings: config.Explore,
        std: Floats,
    ) -> None:
        """Draw nothing."""
        del generator, settings, std
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


def noise_of(kind: str, longest: int | None) -> Noise:
    """Return noise of a kind, in episodes of `longest` steps at most, if that is known."""
    return ColoredNoise(longest) if kind == "colored" else NOISES[kind]()


def scales(settings: config.Explore, worlds: range, count: int) -> Floats:
    """Return the scale of the noise [worlds, 1] in these of a member's `count` worlds.

    It grows evenly from `std` in the first world to `std_last` in the last: the mixed noise of Seo
    et al. 2025, who draw it for each world.
    """
    if settings.std_last is None:
        return np.full((len(worlds), 1), settings.std, np.float32)
    spread = np.linspace(settings.std, settings.std_last, count, dtype=np.float32)
    return spread[worlds.start : worlds.stop, None]


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
