"""Observations of several parts: dictionaries and tuples, which are flattened in a fixed order.

The order is that of the space: the names of a `Dict` in alphabetical order (the order given, if it
was made from pairs), the positions of a `Tuple`; nested ones where they stand. It is what
`gymnasium.spaces.flatten` does.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.rows import Part

# A part with three axes and more numbers than this is an image.
MOST_NUMBERS = 1_000


def flat(name: str, environment: gym.Env[Any, Any]) -> tuple[gym.Env[Any, Any], tuple[Part, ...]]:
    """Return the environment with flat observations, and the parts they are made of.

    An environment whose observations have no parts is returned as it is.

    Raises:
        ConfigError: one of the parts cannot be flattened.
    """
    space = environment.observation_space
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return environment, ()
    parts = tuple(parts_of(name, space, ()))
    if not sum(part.size for part in parts):
        raise ConfigError(f"{name} has empty observations: {space}")
    return gym.wrappers.FlattenObservation(environment), parts


def parts_of(name: str, space: gym.Space[Any], path: tuple[str | int, ...]) -> Iterator[Part]:
    """Yield the parts of an observation space, in the order in which they are flattened."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.items():
            yield from parts_of(name, inner, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for position, inner in enumerate(space):
            yield from parts_of(name, inner, (*path, position))
    else:
        yield part_of(name, space, path)


def is_image(space: spaces.Box) -> bool:
    """Tell whether a part is an image: bytes in rows, or thousands of numbers in three axes."""
    axes, size = len(space.shape), int(np.prod(space.shape))
    return (axes >= 2 and space.dtype == np.uint8) or (axes >= 3 and size > MOST_NUMBERS)


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
        if np.dtype(space.dtype).kind in "biuf":
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
