"""One action for several steps of a world, as one decision."""

from typing import Any

import gymnasium as gym

from qmu.world.around import wrappers
from qmu.world.scalars import one_number


class Repeat(gym.Wrapper[Any, Any, Any, Any]):
    """Executes each action several times, or until the episode ends; the rewards are summed.

    What it returns besides is what the world has returned last, its info included: where worlds
    that reset themselves put the last observation of an episode.
    """

    def __init__(self, environment: gym.Env[Any, Any], times: int) -> None:
        """Go around a world, whose time limits are inside: they count its own steps."""
        super().__init__(environment)
        self.times = times
        # Steps of the world in all.
        self.steps = 0

    def step(self, action: Any) -> Any:
        """Execute an action. What is no number or truth value is returned at once, as it is."""
        last, total = self.steps + self.times, 0.0
        while True:
            obs, reward, terminated, truncated, info = self.env.step(action)
            self.steps += 1
            number = one_number(reward)
            if number is None:
                return obs, reward, terminated, truncated, info
            total += number
            goes_on = one_number(terminated) == 0 and one_number(truncated) == 0
            if self.steps == last or not goes_on:
                return obs, total, terminated, truncated, info


def repeated(environment: gym.Env[Any, Any], times: int) -> gym.Env[Any, Any]:
    """Return an environment whose actions are repeated; itself, where they are not."""
    return environment if times == 1 else Repeat(environment, times)


def repeat_in(environment: Any) -> Repeat | None:
    """Return what repeats the actions of an environment; None where nothing does."""
    return next((one for one in wrappers(environment) if isinstance(one, Repeat)), None)
