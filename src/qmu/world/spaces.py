"""Which spaces are accepted; scaling actions."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.layout import Layout
from qmu.parts import NUMBERS, Part, layout_of
from qmu.world.parts import AUTO, bounds_of, parts_of

# NumPy has 32 axes in its older versions, and a batch takes one.
MOST_AXES = 31
# With arrays NumPy calculates faster than with Python's numbers: 1.4 µs in `to_environment`.
HALF, ONE = np.array(0.5, np.float32), np.array(1, np.float32)

ACCEPTED = (
    "qmu takes Box observations of numbers (any float or integer dtype) or images (uint8, 0 to "
    "255), dictionaries and tuples of them, and bounded Box actions"
)


# Spaces that are no numbers in fixed places: FlattenObservation leaves some as they are, and counts
# letters and kinds in others.
UNFLAT = (gym.spaces.Sequence, gym.spaces.Graph, gym.spaces.OneOf, gym.spaces.Text)


class Spaces(NamedTuple):
    """The two spaces of a world, as the rest of the house needs them."""

    name: str
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    low: NDArray[np.float32]  # [action], in the environment's units
    high: NDArray[np.float32]  # [action]
    action_dtype: np.dtype[Any]
    parts: tuple[Part, ...] = ()  # what an observation is made of, where it comes in parts
    obs_bounds: str = ""  # between which numbers the space says that observations lie
    # [obs]: taken from observations in double precision, before they are rounded to single.
    centre: NDArray[np.float64] | None = None
    frames: int = 1  # observations that one is seen together with, itself included

    @property
    def obs_size(self) -> int:
        """Numbers in an observation; bytes, where there are images."""
        return int(np.prod(self.obs_shape))

    @property
    def layout(self) -> Layout:
        """How an observation lies in a row, and is seen."""
        return layout_of(self.parts, self.obs_size, self.frames)

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return int(np.prod(self.action_shape))


def read_spaces(
    name: str,
    observation: gym.Space[Any],
    action: gym.Space[Any],
    images: tuple[str, ...] = (AUTO,),
) -> Spaces:
    """Return what the house needs of these spaces; `images` says which observations are images.

    Raises:
        ConfigError: a space that is not accepted; the message says what is, and what may help.
    """
    parts = parts_of(name, observation, images)
    if parts and parts[0].path:
        obs_shape: tuple[int, ...] = (layout_of(parts, 0).size,)
    else:
        check_observation(name, observation)
        assert observation.shape is not None
        obs_shape = observation.shape
    check_action(name, action)
    assert isinstance(action, gym.spaces.Box)
    return Spaces(
        name=name,
        obs_shape=obs_shape,
        action_shape=action.shape,
        low=-round_down(-action.low.reshape(-1)),
        high=round_down(action.high.reshape(-1)),
        action_dtype=action.dtype,
        parts=parts,
        obs_bounds=" ".join(bounds(*bounds_of(observation))),
    )


def check_observation(name: str, space: gym.Space[Any]) -> None:
    """Raise ConfigError unless this is a Box that can be read as one row of numbers."""
    if isinstance(space, UNFLAT):
        raise ConfigError(
            f"{name} has {describe(space)} observations, which are no numbers in fixed places. "
            f"{ACCEPTED}; encode them as a Box in a gymnasium.ObservationWrapper of your own "
            f"({flag('env', 'wrappers')})"
        )
    if not isinstance(space, gym.spaces.Box):
        raise ConfigError(
            f"{name} has {describe(space)} observations. {ACCEPTED}; wrap the environment in "
            "gymnasium.wrappers.FlattenObservation to get a one-hot Box"
        )
    if 0 in space.shape:
        raise ConfigError(f"{name} has empty observations of shape {space.shape}. {ACCEPTED}")
    if len(space.shape) > MOST_AXES:
        raise ConfigError(
            f"{name} has observations of {len(space.shape)} axes. {ACCEPTED}, of at most "
            f"{MOST_AXES} axes, since a batch has one more; reshape them in a wrapper "
            f"({flag('env', 'wrappers')})"
        )
    if np.dtype(space.dtype).kind not in NUMBERS:
        raise ConfigError(f"{name} has observations of dtype {space.dtype}. {ACCEPTED}")


def check_action(name: str, space: gym.Space[Any]) -> None:
    """Raise ConfigError unless this is a Box of real numbers with finite bounds."""
    if not isinstance(space, gym.spaces.Box):
        raise ConfigError(
            f"{name} has {describe(space)} actions. {ACCEPTED}: a deterministic policy gradient "
            "needs actions that can change a little; look for a continuous variant of this "
            "environment (`qmu envs` lists what can be trained here)"
        )
    if 0 in space.shape:
        raise ConfigError(f"{name} has empty actions of shape {space.shape}. {ACCEPTED}")
    if np.dtype(space.dtype).kind != "f":
        raise ConfigError(
            f"{name} has actions of dtype {space.dtype}. {ACCEPTED}, of a float dtype"
        )
    if not (np.abs([space.low, space.high]) <= np.finfo(np.float32).max).all():
        raise ConfigError(
            f"{name} has actions without finite bounds (low {space.low}, high {space.high}). "
            f"{ACCEPTED}; wrap the environment in gymnasium.wrappers.RescaleAction or ClipAction "
            "with bounds that suit it"
        )
    if (space.low > space.high).any():
        raise ConfigError(
            f"{name} has a lower action bound above the upper one (low {space.low}, "
            f"high {space.high}): exchange them in the environment"
        )


def round_down(bound: NDArray[Any]) -> NDArray[np.float32]:
    """Return the largest float32 numbers that are not above these."""
    rounded = bound.astype(np.float32)
    return np.where(rounded > bound, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def bounds(low: NDArray[Any], high: NDArray[Any]) -> list[str]:
    """Return the bounds of numbers as a person reads them: one pair, where all have the same."""
    pairs = zip(np.ravel(low), np.ravel(high), strict=True)
    # A negative zero is a zero.
    words = [f"[{one:zg}, {other:zg}]" for one, other in pairs]
    return words[:1] if len(set(words)) == 1 else words


def describe(space: gym.Space[Any]) -> str:
    """Return the space's kind, with its size where that is short."""
    if isinstance(space, gym.spaces.Discrete):
        return f"Discrete({space.n})"
    return type(space).__name__


def to_environment(
    action: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scale actions [..., action] from [-1, 1] to [low, high], per dimension.

    Halves are added rather than the range taken, which could overflow; rounding never leads
    beyond a bound.
    """
    scaled = HALF * (ONE - action) * low + HALF * (ONE + action) * high
    return np.minimum(np.maximum(scaled, low), high)
