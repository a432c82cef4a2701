"""What the user names, and is imported for that: modules with environments, wrappers.

Nothing here is called with a name that only a file holds: see `check_id_in_file` and
`check_wrappers_in_file`.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import gymnasium as gym

from qmu.errors import FAILURES, ConfigError, told

Wrapper = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]


def check_id_in_file(name: str | None, file: Any, way_out: str) -> None:
    """Raise ConfigError for an id `module:name` that a file names: files import nothing."""
    if name is not None and ":" in name:
        raise ConfigError(
            f"{file} names the environment {name}, whose module a file may not import: {way_out}"
        )


def check_wrappers_in_file(wrappers: Sequence[str], file: Any, way_out: str) -> None:
    """Raise ConfigError for wrappers that a file names: files import nothing."""
    if wrappers:
        raise ConfigError(
            f"{file} names the wrappers {' '.join(wrappers)}, which a file may not import: "
            f"{way_out}"
        )


def check_wrappers_again(
    wrappers: Sequence[str], typed: Sequence[str] | None, file: Any, way_out: str
) -> None:
    """Raise ConfigError unless the wrappers that a file names have been named again, all of them.

    `typed` is None where nothing was.
    """
    if typed is None:
        check_wrappers_in_file(wrappers, file, way_out)
    elif tuple(typed) != tuple(wrappers):
        trained = " ".join(wrappers) or "none"
        raise ConfigError(
            f"the wrappers {' '.join(typed)} are not those that {file} names, {trained}: name the "
            "same, in this order, or begin anew"
        )


def import_module(name: str, what_for: str) -> ModuleType:
    """Return the module of this name; also one in the working folder.

    Raises:
        ConfigError: there is none, or it raises.
    """
    # The folder is searched by `python -m qmu`, but not by the command `qmu`.
    if "" not in sys.path:
        sys.path.insert(0, "")
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigError(
            f"the module {name} of {what_for} cannot be imported ({told(error)}): it must "
            "lie in the working folder or be installed, and import without an error"
        ) from error


def find_wrapper(name: str) -> Wrapper:
    """Return the wrapper of a dotted name: a Gymnasium wrapper, or a function of an environment.

    Raises:
        ConfigError: it cannot be imported, does not exist, or is something else.
    """
    module, _, last = name.rpartition(".")
    held = import_module(module, f"the wrapper {name}")
    try:
        wrapper = getattr(held, last)
    except AttributeError:
        raise ConfigError(
            f"there is no wrapper {name}: the module {module} has no {last}"
        ) from None
    if isinstance(wrapper, type) and not issubclass(wrapper, gym.Wrapper):
        raise ConfigError(
            f"{name} is a class, but no gymnasium.Wrapper: give a wrapper of single environments, "
            "or a function that takes an environment and returns one"
        )
    if not callable(wrapper):
        raise ConfigError(
            f"{name} is no wrapper, it is {type(wrapper).__name__}: give a gymnasium.Wrapper, or a "
            "function that takes an environment and returns one"
        )
    return wrapper


def wrapped(
    environment: gym.Env[Any, Any], wrappers: Sequence[tuple[str, Wrapper]]
) -> gym.Env[Any, Any]:
    """Return the environment in these wrappers (name, wrapper), the first one innermost.

    Raises:
        ConfigError: a wrapper raises, or returns no environment.
    """
    for name, wrapper in wrappers:
        try:
            outer = wrapper(environment)
        except FAILURES as error:
            raise ConfigError(
                f"the wrapper {name} raised {told(error)}; it must need nothing but the environment"
            ) from error
        if not isinstance(outer, gym.Env):
            raise ConfigError(
                f"the wrapper {name} returned {type(outer).__name__}, which is no gymnasium.Env"
            )
        environment = outer
    return environment
