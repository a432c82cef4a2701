"""A world that exists once: a robot, a port, a licence. Nobody makes a second one beside it."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from qmu.errors import ConfigError
from qmu.world.host import close_quietly

Environment = gym.Env[Any, Any]


class Only:
    """Makes the only world: the one that a first look was taken at, as long as it is there.

    Another is made after that one has been closed, or for another render mode.
    """

    def __init__(self, make: Callable[[str | None], Environment], first: Environment) -> None:
        """Take what makes it, given a render mode, and the first one, which was given none."""
        self.make = make
        self.kept: Environment | None = first

    def __call__(self, render_mode: str | None) -> Environment:
        """Return the only world, which the caller closes or gives back."""
        kept = self.kept
        if kept is not None and render_mode is None:
            self.kept = None
            return kept
        self.close()
        return self.make(render_mode)

    def give_back(self, environment: Environment) -> None:
        """Keep the world for whoever asks next."""
        self.kept = environment

    def close(self) -> None:
        """Close the world, if nobody has it."""
        if self.kept is not None:
            close_quietly(self.kept)
            self.kept = None


class Lent(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that was given as it is: whoever has made it closes it."""

    def close(self) -> None:
        """Leave it open."""


def no_other(name: str) -> Callable[[str | None], Environment]:
    """Return what makes no other world in the place of an environment that was given as it is."""

    def refuse(render_mode: str | None) -> Environment:
        del render_mode
        raise ConfigError(
            f"{name} was given as it is, and with --env.single no other is made in its place: give "
            "a function that makes it"
        )

    return refuse
