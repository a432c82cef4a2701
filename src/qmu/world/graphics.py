"""What MuJoCo draws with: loaded with its worlds, whether or not anything is drawn."""

import gc
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NamedTuple

from qmu.errors import told


class Backend(NamedTuple):
    """What draws without a display: the library, and Debian's and Ubuntu's package that has it."""

    library: str
    package: str


# By the value of the environment variable MUJOCO_GL.
BACKENDS = {"osmesa": Backend("OSMesa", "libosmesa6"), "egl": Backend("EGL", "libegl1")}
# The modules of mujoco and of dm_control that load one of them.
LOADERS = rf"(mujoco|dm_control\._render)\..*({'|'.join(BACKENDS)})"


def drawing_needs() -> str:
    """Return what MuJoCo draws with where there is no display, as the end of a sentence.

    It is empty where MuJoCo is not at work.
    """
    if "mujoco" not in sys.modules:
        return ""
    packages = " or ".join(backend.package for backend in BACKENDS.values())
    return (
        ". MuJoCo draws without a display with OSMesa or EGL: install the system package "
        f"{packages} (as Debian and Ubuntu call them), and set MUJOCO_GL to {' or '.join(BACKENDS)}"
    )


def no_graphics(wanted: str, error: BaseException) -> str | None:
    """Return that an error is of what MuJoCo draws with, and the way out; None for other errors.

    `wanted` could not be made because of it.
    """
    if "MUJOCO_GL" in str(error):
        known = ", ".join([*BACKENDS, "glfw"])
        return (
            f"{wanted} cannot be made here: the environment variable MUJOCO_GL has a value that is "
            f"not known ({told(error)}): give it one of {known}, or none (`unset MUJOCO_GL`)"
        )
    raised_by = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    loaders = [found for name in raised_by if (found := re.match(LOADERS, name))]
    if not loaders:
        return None
    value = loaders[-1][2]
    backend = BACKENDS[value]
    others = " or ".join(name for name in [*BACKENDS, "glfw"] if name != value)
    return (
        f"{wanted} cannot be made here: MUJOCO_GL={value} lets MuJoCo draw with {backend.library}, "
        f"which does not work here ({told(error)}): install the system package {backend.package} "
        f"(as Debian and Ubuntu call it), set MUJOCO_GL to {others}, or to disabled where nothing "
        "is to be drawn"
    )


def let_go(close: Callable[[], object], error: BaseException | None) -> None:
    """Close worlds that an error has kept from being drawn, and delete what is left of them.

    What MuJoCo and dm_control have made only in part complains when it is deleted: done here, and
    not at the end of the program, nobody hears of it. The failure itself is told in a sentence.
    """
    usual, sys.unraisablehook = sys.unraisablehook, lambda complaint: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            close()
            while error is not None:
                # The frames that an error has come through hold what they were working on.
                traceback.clear_frames(error.__traceback__)
                error = error.__cause__
            gc.collect()
    finally:
        sys.unraisablehook = usual
