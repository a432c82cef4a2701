"""An environment that was given as it is: others like it are made from its spec, or are copies."""

import contextlib
import copy
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from qmu.errors import FAILURES, ConfigError, told, warn
from qmu.world.host import close_quietly

# Steps of fresh environments, after which what they are made of is still the same.
STEPS = (0, 1, 3)
# What is told of a value at most.
LONGEST = 40
MISSING = object()


def again(environment: gym.Env[Any, Any], mode: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Return another environment like this one, made from its spec, or copied.

    `mode` says how it is rendered, as `gymnasium.make` is told.
    """
    if environment.spec is None:
        return copy.deepcopy(environment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = copy.deepcopy(environment.spec)
        spec.kwargs.pop("render_mode", None)
        made: gym.Env[Any, Any] = gym.make(spec, **mode)
    return made


def check_given(name: str, environment: gym.Env[Any, Any]) -> None:
    """Say what others like an environment share with it, or do not have.

    Raises:
        ConfigError: it was changed after it was made, and others would not be.
    """
    if environment.spec is None:
        warn(
            f"{name} has no specification to make it again from, so its worlds are copies of it: "
            "what it holds outside of Python (a connection, a port, a window) is shared by all of "
            "them; if it holds such things, give a function that returns a new environment"
        )
        return
    tell_changes(name, environment, partial(again, environment, {}))


def check_given_several(name: str, source: Any, make: Callable[[], gym.Env[Any, Any]]) -> None:
    """Look at the environments of a vector environment, of which `make` makes single ones.

    Those of processes are not seen.

    Raises:
        ConfigError: one was changed after it was made.
    """
    for environment in getattr(source, "envs", ())[:1]:
        tell_changes(name, environment, make)


def tell_changes(
    name: str, environment: gym.Env[Any, Any], make: Callable[[], gym.Env[Any, Any]]
) -> None:
    """Say that an environment is not as `make` makes it.

    Raises:
        ConfigError: it is not, and nobody has acted in it.
    """
    changed = "; ".join(changes(environment, make))
    if not changed:
        return
    said = (
        f"{name} was changed after it was made ({changed}), and the worlds of training or "
        "evaluation, which are made as it was, are without that: give a function that makes it, "
        "changes it and returns it"
    )
    if is_used(environment):
        warn(f"{said}, unless it is only what has happened in it")
    else:
        raise ConfigError(said)


def is_used(environment: gym.Env[Any, Any]) -> bool:
    """Tell whether somebody has acted in an environment, which may have left something in it."""
    return getattr(environment.unwrapped, "_np_random", None) is not None


def changes(environment: gym.Env[Any, Any], make: Callable[[], gym.Env[Any, Any]]) -> Iterator[str]:
    """Yield in words what of an environment is not as it is made, and does not change by itself."""
    fresh = []
    try:
        for steps in STEPS:
            made = make()
            fresh.append(made)
            # What fails here fails again where it is told.
            with contextlib.suppress(*FAILURES):
                use(made, steps)
        others = [list(layers(made)) for made in fresh]
        for depth, layer in enumerate(layers(environment)):
            alike = [own[depth] for own in others if depth < len(own)]
            if len(alike) < len(STEPS) or any(type(one) is not type(layer) for one in alike):
                return
            for key in sorted(vars(layer).keys() & compared(layer)):
                yield from change(layer, key, vars(layer)[key], alike)
    except FAILURES as error:
        # It cannot be made again: this is told where it is tried for a run.
        del error
    finally:
        for made in fresh:
            close_quietly(made)


def use(environment: gym.Env[Any, Any], steps: int) -> None:
    """Take some random steps, after a reset; without one, leave it as it was made."""
    if steps:
        environment.reset(seed=steps)
        environment.action_space.seed(steps)
    for _ in range(steps):
        environment.step(environment.action_space.sample())


def layers(environment: Any) -> Iterator[Any]:
    """Yield the wrappers around an environment, the outermost first, and the environment."""
    while isinstance(environment, gym.Wrapper):
        yield environment
        environment = environment.env
    yield environment


def compared(layer: Any) -> set[str]:
    """Return which attributes of a layer say what it is; those of Gymnasium's own keep books."""
    if type(layer).__module__.startswith("gymnasium.wrappers."):
        return set()
    return {key for key in vars(layer) if key != "render_mode" and not key.startswith("_ezpickle")}


def change(layer: Any, key: str, value: Any, alike: list[Any]) -> Iterator[str]:
    """Yield in words what an attribute is, if fresh ones agree that it is something else."""
    if callable(value) and not isinstance(value, gym.Space | type):
        if all(key not in vars(one) and hasattr(one, key) for one in alike):
            yield f"{key} of {type(layer).__name__} was replaced"
        return
    own = readable(value)
    first, *rest = (readable(getattr(one, key, MISSING)) for one in alike)
    if own is MISSING or first is MISSING:
        return
    if all(same(first, one) for one in rest) and not same(first, own):
        words, before = short(value), short(getattr(alike[0], key))
        was = "was changed" if words == before else f"is {words}, and was {before}"
        yield f"{key} of {type(layer).__name__} {was}"


def readable(value: Any) -> Any:
    """Return what can be compared of a value; `MISSING` of one that cannot."""
    if type(value).__name__ == "MjModel":
        mujoco = sys.modules["mujoco"]
        buffer = np.empty(mujoco.mj_sizeModel(value), np.uint8)
        mujoco.mj_saveModel(value, None, buffer)
        return buffer
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "biufcSU" else MISSING
    if isinstance(value, list | tuple):
        inner = [readable(one) for one in value]
        return MISSING if any(one is MISSING for one in inner) else inner
    if isinstance(value, dict):
        named = {key: readable(one) for key, one in value.items()}
        return MISSING if any(one is MISSING for one in named.values()) else named
    plain = value is None or isinstance(value, bool | int | float | complex | str | np.generic)
    return value if plain or isinstance(value, gym.Space) else MISSING


def same(one: Any, other: Any) -> bool:
    """Tell whether two readable values are equal; NaN is NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, gym.Space) or isinstance(other, gym.Space):
        return bool(one == other)
    number = isinstance(one, np.ndarray | np.generic | float | int | complex)
    if number and isinstance(other, np.ndarray | np.generic | float | int | complex):
        array, another = np.asarray(one), np.asarray(other)
        numeric = array.dtype.kind in "biufc" and another.dtype.kind in "biufc"
        return np.array_equal(array, another, equal_nan=numeric)
    return bool(one == other)


def short(value: Any) -> str:
    """Return a value as it is told."""
    words = " ".join(re.sub(" at 0x[0-9a-f]+", "", repr(value)).split())
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}..."


def cannot_be_made(name: str, environment: gym.Env[Any, Any], error: BaseException) -> str:
    """Return why there is no other environment like one that was given, and the way out."""
    tried = "copying it" if environment.spec is None else "gymnasium.make with its spec"
    return (
        "training, evaluation and members need worlds of their own, and "
        f"{name} cannot be made again ({tried} raised {told(error)}); give a function that "
        "returns a new environment instead"
    )
