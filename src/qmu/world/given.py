"""An environment that was given as it is: others like it are made from its spec, or are copies."""

import contextlib
import copy
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np

from qmu.errors import FAILURES, ConfigError, told, warn
from qmu.world.host import close_quietly

# Steps of fresh environments, after which what they are made of is still the same.
STEPS = (0, 1, 3)
# What is told of a value at most.
LONGEST = 40
# So many values of an environment are looked at, on so many levels of it.
MOST_VALUES, DEEPEST = 5_000, 6
MISSING, REPLACED = object(), object()


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
        given, first, *rest = (dict(found(one)) for one in (environment, *fresh))
    except FAILURES as error:
        # It cannot be made again: this is told where it is tried for a run.
        del error
        return
    finally:
        for made in fresh:
            close_quietly(made)
    for path in sorted(given.keys() & first.keys()):
        settled = all(path in one and same(first[path], one[path]) for one in rest)
        if settled and not same(first[path], given[path]):
            words, before = short(given[path]), short(first[path])
            was = "was changed" if words == before else f"is {words}, and was {before}"
            yield f"{path} {was}"
    # A function in an object stands for its class's.
    for path in sorted(given.keys() - first.keys()):
        if given[path] is REPLACED:
            yield f"{path} was replaced"


def use(environment: gym.Env[Any, Any], steps: int) -> None:
    """Take some random steps, after a reset; without one, leave it as it was made."""
    if steps:
        environment.reset(seed=steps)
        environment.action_space.seed(steps)
    for _ in range(steps):
        environment.step(environment.action_space.sample())


def found(environment: Any) -> Iterator[tuple[str, Any]]:
    """Yield what can be compared in an environment, each value with the way to it.

    That is what its wrappers, its objects, lists and dictionaries hold of numbers, texts, arrays,
    spaces and models of MuJoCo.
    """
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", environment)]
    while waiting and len(seen) < MOST_VALUES:
        path, value = waiting.pop()
        plain = readable(value)
        if plain is not MISSING:
            yield path, plain
            continue
        if id(value) in seen or path.count(".") > DEEPEST:
            continue
        seen.add(id(value))
        waiting += inside(path, value)


def inside(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in an object, a list or a dictionary, with the ways to it."""
    if isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", one) for key, one in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{index}]", one) for index, one in enumerate(value))
    elif isinstance(value, gym.Wrapper):
        yield path, value.env
        yield from members(value, path, compared(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type | ModuleType):
        yield from members(value, path, vars(value).keys())


def members(value: Any, path: str, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, with the way to it from a wrapper or the environment."""
    here = path or type(value).__name__
    own = set(names)
    # What an object does not have itself is its class's.
    of_class = {
        key: held
        for kind in reversed(type(value).__mro__)
        if not kind.__module__.startswith(("builtins", "gymnasium"))
        for key, held in vars(kind).items()
        if key not in own and not key.startswith("__") and readable(held) is not MISSING
    }
    yield from ((f"{here}.{key}", held) for key, held in of_class.items())
    for key in own:
        held = vars(value)[key]
        if callable(held) and not isinstance(held, gym.Space | type) and not hasattr(held, "reset"):
            if hasattr(type(value), key):
                yield f"{here}.{key}", REPLACED
        elif key != "render_mode" and not key.startswith("_ezpickle"):
            yield f"{here}.{key}", held


def compared(wrapper: Any) -> Iterable[str]:
    """Return which attributes of a wrapper say what it is; those of Gymnasium's own keep books."""
    own = type(wrapper).__module__.startswith("gymnasium.wrappers.")
    return () if own else vars(wrapper).keys() - {"env"}


def readable(value: Any) -> Any:
    """Return what can be compared of a value; `MISSING` of one that cannot, or is not one value."""
    if value is REPLACED:
        return value
    if type(value).__name__ == "MjModel":
        mujoco = sys.modules["mujoco"]
        buffer = np.empty(mujoco.mj_sizeModel(value), np.uint8)
        mujoco.mj_saveModel(value, None, buffer)
        return buffer
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "biufcSU" else MISSING
    plain = value is None or isinstance(value, bool | int | float | complex | str | np.generic)
    return value if plain or isinstance(value, gym.Space) else MISSING


def same(one: Any, other: Any) -> bool:
    """Tell whether two readable values are equal; NaN is NaN."""
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
