"""Worlds whose observations are their own pictures, drawn once for every action."""

import weakref
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from qmu.config.env import Env
from qmu.config.spelling import flag
from qmu.errors import FAILURES, ConfigError, WorldError, told
from qmu.world.graphics import drawing_needs, let_go, no_graphics
from qmu.world.host import FINAL, final_in
from qmu.world.painters import Drawing, painter_of
from qmu.world.parts import AUTO, image_of
from qmu.world.scalars import one_number
from qmu.world.shrinking import Picture

# The parts of an observation with numbers.
PIXELS, NUMBERS = "pixels", "numbers"


class Pixels(gym.Wrapper[Any, Any, Any, Any]):
    """Observes the picture [size, size, 3] of a world, or that and the world's own numbers.

    It is drawn once after a reset, and once after a step: nothing that is shown besides changes it.
    """

    def __init__(self, environment: gym.Env[Any, Any], drawing: Drawing) -> None:
        """Go around a world that was made to give pictures.

        Raises:
            ConfigError: there is no such camera, or an image is among its own observations.
        """
        super().__init__(environment)
        box: gym.Space[Any] = gym.spaces.Box(0, 255, (drawing.size, drawing.size, 3), np.uint8)
        if drawing.numbers:
            own = environment.observation_space
            if isinstance(own, gym.spaces.Box) and image_of("the world", own, (), (AUTO,)):
                raise ConfigError(
                    f"{flag('env', 'numbers')}: the world's own observations are no numbers but "
                    f"images {own.shape}; leave it out"
                )
            box = gym.spaces.Dict({PIXELS: box, NUMBERS: own})
        self.observation_space = box
        self.numbers = drawing.numbers
        self.painter = painter_of(environment, drawing)
        # A world that is forgotten is not closed by anybody.
        self.forgotten = weakref.finalize(self, self.painter.close)
        self.forgotten.atexit = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Start an episode, and draw it."""
        returned: Any = self.env.reset(seed=seed, options=options)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            return returned
        return self.observed(returned[0]), returned[1]

    def step(self, action: Any) -> Any:
        """Execute an action, and draw what it led to.

        Raises:
            WorldError: the world has reset itself, so that its last moment cannot be drawn.
        """
        obs, reward, terminated, truncated, info = self.env.step(action)
        ended = one_number(terminated) != 0 or one_number(truncated) != 0
        final = final_in(info, obs) if ended else obs
        if final is not obs:
            if not same(final, obs):
                raise WorldError(
                    "it resets itself inside of its step, and the last moment of an episode can "
                    "be drawn no more: let it leave resets to whoever steps it"
                )
            # It is the picture that is observed last.
            info = {name: value for name, value in info.items() if name not in FINAL}
        return self.observed(obs), reward, terminated, truncated, info

    def observed(self, own: Any) -> Any:
        """Return what is observed, given the world's own observation."""
        picture = self.painter.draw()
        return {PIXELS: picture, NUMBERS: own} if self.numbers else picture

    def render(self) -> Any:
        """Return a picture to look at, of the moment that was drawn last."""
        return self.painter.shown()

    def close(self) -> None:
        """Close the world, after what draws it."""
        self.forgotten()
        super().close()


def same(one: Any, other: Any) -> bool:
    """Tell whether two observations are equal; also of several parts."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def drawing_of(settings: Env) -> Drawing | None:
    """Return what pictures options ask for; None where they ask for none."""
    if settings.pixels is None:
        return None
    return Drawing(settings.pixels, settings.camera, settings.shadows, settings.numbers)


def drawn(environment: gym.Env[Any, Any], drawing: Drawing | None) -> gym.Env[Any, Any]:
    """Return an environment whose observations are its pictures; itself, where none are asked for.

    Raises:
        ConfigError: as `Pixels` does.
    """
    return environment if drawing is None else Pixels(environment, drawing)


def check_drawn(name: str, environment: gym.Env[Any, Any], seed: int = 0) -> Picture | None:
    """Begin an episode in a world, if it is one of pictures; return the first of them.

    Raises:
        ConfigError: it cannot be drawn here.
    """
    if not isinstance(environment, Pixels):
        return None
    try:
        observed: Any = environment.reset(seed=seed)
    except FAILURES as error:
        let_go(environment.close, error)
        raise ConfigError(why_not_drawn(name, error)) from error
    first: Picture = observed[0]
    return first


def told_of(environment: gym.Env[Any, Any], drawing: Drawing | None) -> dict[str, Any]:
    """Return what policies say of how the pictures of a world were drawn."""
    if drawing is None or not isinstance(environment, Pixels):
        return {}
    return {
        "pixels": drawing.size,
        "camera": drawing.camera,
        "shadows": drawing.shadows,
        "numbers": drawing.numbers,
        "drawn_by": environment.painter.drawn_by,
    }


def why_not_drawn(name: str, error: BaseException) -> str:
    """Return why there are no pictures of a world, and the way out."""
    return no_graphics(name, error) or (
        f"{flag('env', 'pixels')}: {name} gives no pictures here ({told(error)}){drawing_needs()}"
    )
