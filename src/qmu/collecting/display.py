"""Whether there is a display, and what draws where there is none."""

import contextlib
import ctypes.util
import os
import sys
from collections.abc import Iterator

from qmu.config import Env
from qmu.errors import ConfigError
from qmu.world.graphics import BACKENDS

# What was set here lets pygame draw, and opens no window that anybody could see.
HIDDEN: list[str] = []


def has_display() -> bool:
    """Tell whether there is a display, as far as the system says."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in displays)


def check_display(asked: str, instead: str) -> None:
    """Raise ConfigError where no window can be opened: MuJoCo's viewer would end the process.

    It says what was `asked` for, and what to do `instead`.
    """
    if not has_display() and (HIDDEN or not os.environ.get("SDL_VIDEODRIVER")):
        raise ConfigError(
            f"{asked}: there is no display to open a window on (DISPLAY is not set); {instead}, "
            "or start the command under a virtual one, such as xvfb-run"
        )


def choose_backend() -> None:
    """Let MuJoCo draw without a display, where there is none and nobody has chosen how."""
    if not sys.platform.startswith("linux") or has_display() or "MUJOCO_GL" in os.environ:
        return
    for name, backend in BACKENDS.items():
        if ctypes.util.find_library(backend.library) is not None:
            os.environ["MUJOCO_GL"] = name
            return


def be_ready(env: Env) -> None:
    """Choose what draws worlds without a display, if these are drawn, before they are made."""
    if env.pixels is None:
        return
    choose_backend()
    if not has_display() and "SDL_VIDEODRIVER" not in os.environ:
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        HIDDEN.append("SDL_VIDEODRIVER")


@contextlib.contextmanager
def without_window() -> Iterator[None]:
    """Let pygame be started without a display, where there is none, and without a complaint."""
    if has_display() or "SDL_VIDEODRIVER" in os.environ:
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]
