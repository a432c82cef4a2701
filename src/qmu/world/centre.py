"""What is taken from large observations before they are rounded to single precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.errors import FAILURES, WorldError
from qmu.parts import is_several, join
from qmu.world.make import Maker
from qmu.world.spaces import Spaces

# Smaller numbers are exact to 4e-6 in single precision.
LARGE = 100.0
SEED = 0


def centred(maker: Maker) -> Maker:
    """Return the maker of worlds whose observations have a centre, where they are large.

    It is the first observation of an episode, and 0 where that is less than 100: a time of 1.7e9
    in seconds has steps of 128 in single precision, and what has passed since has not. Numbers
    beside images have none.
    """
    if maker.spaces.layout.images:
        return maker
    first = first_numbers(maker)
    large = np.abs(first) >= LARGE
    return maker.around(np.where(large, first, 0.0)) if large.any() else maker


def first_numbers(maker: Maker) -> NDArray[np.float64]:
    """Return the numbers of an episode's first observation [obs]; zeros where there is none."""
    zeros = np.zeros(maker.spaces.obs_size)
    with maker.looking() as environment:
        try:
            obs, _ = environment.reset(seed=SEED)
            found = np.asarray(numbers_of(maker, obs), np.float64).reshape(-1)
        except (*FAILURES, WorldError):
            # What fails here fails again, where it is told.
            return zeros
    return found if found.shape == zeros.shape and np.isfinite(found).all() else zeros


def numbers_of(maker: Maker, obs: Any) -> Any:
    """Return the numbers of an observation, in parts or not."""
    several = is_several(maker.spaces.parts, obs)
    return join(maker.spaces.parts, obs, np.float64) if several else obs


def written_centre(spaces: Spaces) -> dict[str, list[float]]:
    """Return the centre of observations, as JSON holds it, by its name; nothing without one."""
    return {} if spaces.centre is None else {"centre": spaces.centre.tolist()}


def read_centre(held: Any, spaces: Spaces) -> NDArray[np.float64]:
    """Return the centre that is written down.

    Raises:
        TypeError, ValueError: it is none.
    """
    centre = np.asarray(held, np.float64)
    if centre.shape != (spaces.obs_size,) or not np.isfinite(centre).all():
        raise ValueError(f"{held!r:.100} is no centre of {spaces.obs_size} numbers")
    return centre
