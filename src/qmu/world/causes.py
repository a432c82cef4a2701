"""Why a world's reset has failed, where the error itself does not say it."""

import linecache
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from qmu.config.spelling import flag
from qmu.errors import FAILURES

PAIR = "reset must return an observation and a dictionary: return obs, {}"
# What code raises that takes options for a dictionary and was given none.
LACKING = (TypeError, AttributeError, ValueError, AssertionError)


def is_pair(returned: Any) -> bool:
    """Tell whether reset has returned two things."""
    return isinstance(returned, tuple | list) and len(returned) == 2


def is_whole(returned: Any) -> bool:
    """Tell whether the two things may be an observation and an info."""
    return is_pair(returned) and (returned[1] is None or isinstance(returned[1], Mapping))


def alone(returned: Any) -> str:
    """Return in words what reset has returned in the place of an observation and an info."""
    return f"reset returned {returned!r:.100}: {PAIR}"


def alone_inside(environment: Any, seed: int | None) -> str:
    """Return in words what is wrong with what the innermost environment returns from reset.

    It is reset once more for that: wrappers unpack what it returns, and two numbers, or a
    dictionary of two names, let them. Nothing is returned if nothing is wrong.
    """
    if environment.unwrapped is environment:
        return ""
    try:
        returned = environment.unwrapped.reset(seed=seed)
    except FAILURES:
        return ""
    return "" if is_whole(returned) else alone(returned)


def of_wrappers(error: BaseException) -> bool:
    """Tell whether an error was raised by a wrapper's own code, or qmu's: not by the user's."""
    *_, (frame, _) = frames(error)
    return str(frame.f_globals.get("__name__")).split(".")[0] in ("gymnasium", "qmu")


def frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that an error has come through, the innermost last, and the line in each."""
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def takes_too_little(error: BaseException) -> bool:
    """Tell whether a reset has failed because it takes no seed, or no options."""
    said = str(error)
    return isinstance(error, TypeError) and any(
        f"reset() got an unexpected keyword argument '{name}'" in said
        for name in ("seed", "options")
    )


def lacks_options(error: BaseException) -> bool:
    """Tell whether a reset has probably failed because it was given no options.

    A line of it that says `options` has failed, or a key was looked up in what is there instead.
    """
    if isinstance(error, TypeError) and "'options'" in str(error):
        return True
    for frame, line in frames(error):
        inside = frame.f_code.co_name == "reset" and has_no_options(frame.f_locals)
        if inside and isinstance(error, KeyError) and list(frames(error))[-1][0] is frame:
            return True
        if inside and "options" in str(error):
            return True
        text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
        if inside and isinstance(error, LACKING) and "options" in text and not passes_on(text):
            return True
    return False


def has_no_options(held: Mapping[str, Any]) -> bool:
    """Tell whether the variables of a reset say that it has been given no options."""
    others = (one for one in held.values() if isinstance(one, dict))
    given = held.get("options", next((one["options"] for one in others if "options" in one), 0))
    return given is None or given == {}


def passes_on(text: str) -> bool:
    """Tell whether a line only hands the options to another reset."""
    return text.strip().startswith(("return super().reset(", "super().reset(")) or (
        "env.reset(" in text
    )


def of_reading(environment: Any, returned: Any, seed: int | None) -> str:
    """Return the end of a sentence about an observation of reset that cannot be read."""
    cause = alone_inside(environment, seed) if is_whole(returned) else alone(returned)
    return f"; {cause}" if cause else ""


def of_reset(environment: Any, error: BaseException, seed: int | None) -> str:
    """Return the end of a sentence about a reset that has raised; nothing without a cause."""
    if takes_too_little(error):
        return "; reset has to take a seed and options: def reset(self, *, seed=None, options=None)"
    if lacks_options(error):
        return (
            "; qmu gives reset no options: if it needs them, let a wrapper "
            f"({flag('env', 'wrappers')}) do so, whose reset returns "
            "self.env.reset(seed=seed, options={...})"
        )
    cause = alone_inside(environment, seed) if of_wrappers(error) else ""
    return f"; {cause}" if cause else ""
