"""The wrappers around an environment."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym


def wrappers(environment: Any) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    """Yield the wrappers around an environment, the outermost first."""
    while isinstance(environment, gym.Wrapper):
        yield environment
        environment = environment.env
