"""Spaces of several parts: dictionaries and tuples, whose parts lie in a fixed order.

The order is that of the space: the names of a `Dict` in alphabetical order (the order given, if it
was made from pairs), the positions of a `Tuple`; nested ones where they stand.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.parts import CHANNELS_FIRST, CHANNELS_LAST, GREY, NUMBERS, Part

# The sides of an image have so many pixels at least, and so many channels at most (those of stacked
# frames lie behind each other).
SMALLEST_SIDE, MOST_CHANNELS = 16, 64
# Which parts are images: those that look like it, all bytes, no part, or those of some names.
AUTO, ALL, NONE = "auto", "all", "none"

Leaf = tuple[tuple[str | int, ...], gym.Space[Any]]
Images = tuple[str, ...]


def parts_of(name: str, space: gym.Space[Any], images: Images = (AUTO,)) -> tuple[Part, ...]:
    """Return the parts of an observation space, in their order; none of a space of numbers alone.

    Args:
        name: the environment's.
        space: its observation space.
        images: which parts are images: auto, all, none, or their names.

    Raises:
        ConfigError: one of them does not become a fixed number of numbers, or there are none; or
            it is not clear which axes an image has.
    """
    check_names(name, space, images)
    if isinstance(space, spaces.Box):
        image = image_of(name, space, (), images)
        return (Part((), space.shape, image=image),) if image else ()
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return ()
    parts = tuple(part_of(name, inner, path, images) for path, inner in leaves(space))
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


def image_of(name: str, space: spaces.Box, path: tuple[str | int, ...], images: Images) -> str:
    """Return how the axes of an image lie, or nothing for numbers that are none.

    By itself it is one of bytes from 0 to 255, of two axes, or of three of which the first or the
    last are its channels.

    Raises:
        ConfigError: it is to be an image, and is none; or it can be one in two ways.
    """
    told = Part(path, ()).name
    asked = images == (ALL,) or told in images
    if images == (NONE,) or not (asked or images == (AUTO,)):
        return ""
    ways = axes_of(space.shape) if of_bytes(space) else []
    if asked and not ways:
        raise ConfigError(
            f"{flag('env', 'images')} {' '.join(images)}: {name} observes {told} of "
            f"{space.dtype}{list(space.shape)}, and an image is of uint8 with the bounds "
            "0 and 255, (height, width), (height, width, channels) or (channels, height, "
            f"width), with sides of {SMALLEST_SIDE} pixels at least"
        )
    if len(ways) > 1:
        raise ConfigError(
            f"{name} observes {told} of shape {space.shape}, which may be {' or '.join(ways)}: "
            f"give it less than {SMALLEST_SIDE} channels in a wrapper ({flag('env', 'wrappers')}), "
            f"or have it taken for numbers, with {flag('env', 'images')} none"
        )
    return ways[0] if ways else ""


def of_bytes(space: spaces.Box) -> bool:
    """Tell whether a space is one of bytes from 0 to 255, as an image's."""
    return space.dtype == np.uint8 and bool((space.low == 0).all() and (space.high == 255).all())


def axes_of(shape: tuple[int, ...]) -> list[str]:
    """Return in which ways an array of this shape may be an image."""
    if len(shape) == 2:
        return [GREY] if min(shape) >= SMALLEST_SIDE else []
    if len(shape) != 3:
        return []
    return [
        way
        for way, sides, channels in (
            (CHANNELS_LAST, shape[:2], shape[2]),
            (CHANNELS_FIRST, shape[1:], shape[0]),
        )
        if min(sides) >= SMALLEST_SIDE and 0 < channels <= MOST_CHANNELS
    ]


def check_names(name: str, space: gym.Space[Any], images: Images) -> None:
    """Raise ConfigError where a part is to be an image that is not there."""
    there = [Part(path, ()).name for path, _ in leaves(space)]
    for one in images:
        if one not in (AUTO, ALL, NONE, *there):
            raise ConfigError(
                f"{flag('env', 'images')} {one}: {name} has no such part: there "
                f"{'is' if len(there) == 1 else 'are'} {', '.join(there)}"
            )


def part_of(
    name: str, space: gym.Space[Any], path: tuple[str | int, ...], images: Images = (NONE,)
) -> Part:
    """Return how a space without parts of its own lies in the flat observation."""
    told = Part(path, ()).name
    if isinstance(space, spaces.Box):
        image = image_of(name, space, path, images)
        if image:
            return Part(path, space.shape, image=image)
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


def bounds_of_numbers(
    space: gym.Space[Any], parts: Sequence[Part]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between which numbers each number lies of what is no image: [numbers], [numbers]."""
    if not any(part.image for part in parts):
        return bounds_of(space)
    ends = [
        bounds_of(inner)
        for (_, inner), part in zip(leaves(space), parts, strict=True)
        if not part.image
    ]
    empty = np.zeros(0)
    low, high = ([empty, *(pair[side] for pair in ends)] for side in (0, 1))
    return np.concatenate(low), np.concatenate(high)


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
