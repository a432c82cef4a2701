"""Spaces of several parts: dictionaries and tuples, whose parts lie in a fixed order.

The order is that of the space: the names of a `Dict` in alphabetical order (the order given, if it
was made from pairs), the positions of a `Tuple`; nested ones where they stand.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.parts import NUMBERS, Part

# Axes of a picture that are not its channels have so many pixels at least.
SMALLEST_SIDE = 16

Leaf = tuple[tuple[str | int, ...], gym.Space[Any]]


def parts_of(name: str, space: gym.Space[Any]) -> tuple[Part, ...]:
    """Return the parts of an observation space, in their order; none of a space that has none.

    Raises:
        ConfigError: one of them does not become a fixed number of numbers, or there are none.
    """
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return ()
    parts = tuple(part_of(name, inner, path) for path, inner in leaves(space))
    if not sum(part.size for part in parts):
        raise ConfigError(f"{name} has empty observations: {space}")
    return parts


def leaves(space: gym.Space[Any], path: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """Yield the spaces without parts of their own in a space, each with the way to it."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for position, inner in enumerate(space):
            yield from leaves(inner, (*path, position))
    else:
        yield path, space


def is_image(space: spaces.Box) -> bool:
    """Tell whether numbers are a picture: bytes from 0 to 255, with two sides of some length.

    It has two axes, or three, of which the first or the last has the channels.
    """
    shape = space.shape
    if space.dtype != np.uint8 or (space.low != 0).any() or (space.high != 255).any():
        return False
    sides = {2: [shape], 3: [shape[:2], shape[1:]]}.get(len(shape), [])
    return any(min(side) >= SMALLEST_SIDE for side in sides)


def part_of(name: str, space: gym.Space[Any], path: tuple[str | int, ...]) -> Part:
    """Return how a space without parts of its own lies in the flat observation."""
    told = ".".join(map(str, path))
    if isinstance(space, spaces.Box):
        if is_image(space):
            raise ConfigError(
                f"{name} observes an image among others: {told} has the shape {space.shape}; leave "
                "it out of what is observed, or encode it, in a wrapper "
                f"({flag('env', 'wrappers')})"
            )
        if np.dtype(space.dtype).kind in NUMBERS:
            return Part(path, space.shape)
    if isinstance(space, spaces.MultiBinary):
        return Part(path, space.shape)
    if isinstance(space, spaces.Discrete):
        return Part(path, (), (int(space.n),), (int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        choices = tuple(int(one) for one in space.nvec.reshape(-1))
        first = tuple(int(one) for one in space.start.reshape(-1))
        return Part(path, space.shape, choices, first)
    raise ConfigError(
        f"{name} observes what has no fixed number of numbers: {told} is {space}; qmu flattens "
        "dictionaries and tuples of Box, Discrete, MultiDiscrete and MultiBinary; leave it out in "
        f"a wrapper ({flag('env', 'wrappers')})"
    )


def bounds_of(space: gym.Space[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between which numbers each one of a flat observation lies: [obs], [obs]."""
    low, high = [], []
    for path, inner in leaves(space):
        if isinstance(inner, spaces.Box):
            low.append(np.asarray(inner.low, np.float64).reshape(-1))
            high.append(np.asarray(inner.high, np.float64).reshape(-1))
        else:
            size = part_of("", inner, path).size
            low.append(np.zeros(size))
            high.append(np.ones(size))
    return np.concatenate(low), np.concatenate(high)
