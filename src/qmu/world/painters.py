"""How a world's picture is drawn: simulators' at the size that is wanted, others' made smaller.

MuJoCo is not imported for this: worlds bring it along.
"""

import atexit
import functools
import importlib
import threading
import weakref
from importlib import metadata
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.world.families import family_of, versions
from qmu.world.shrinking import Picture, resized

# Of a MuJoCo world's picture that somebody looks at, where those that are learned from are smaller.
SHOWN = 480
# The camera that stands where the model's statistics put it, as MuJoCo numbers it.
FREE, FREE_INDEX = "free", -1


class Drawing(NamedTuple):
    """What pictures are asked for: squares of `size` pixels, by a camera, with shadows or not.

    `numbers` asks for the world's own observation beside them.
    """

    size: int
    camera: str | None = None
    shadows: bool = False
    numbers: bool = False


class Painter(Protocol):
    """Draws a world as it is."""

    drawn_by: str  # what draws, with its version

    def draw(self) -> Picture:
        """Return the picture [size, size, 3] of the world as it is."""

    def shown(self) -> Picture:
        """Return a larger picture [height, width, 3] of the same moment, to be looked at."""

    def close(self) -> None:
        """Give back what it draws with."""


class Shrinking:
    """Draws as the world itself does, and makes the picture smaller.

    Some worlds' next picture depends on how often one was drawn: one is, and serves whoever asks.
    """

    def __init__(self, environment: gym.Env[Any, Any], drawing: Drawing) -> None:
        """Take a world that gives pictures.

        Raises:
            ConfigError: a camera is asked for, which it has not.
        """
        if drawing.camera is not None:
            raise ConfigError(
                f"{flag('env', 'camera')} {drawing.camera}: only worlds of MuJoCo and dm_control "
                "have cameras to choose from; leave it out"
            )
        self.environment, self.size = environment, drawing.size
        self.newest: Picture | None = None
        self.drawn_by = versions_behind(environment)

    def draw(self) -> Picture:
        """Return the picture of the world as it is."""
        self.newest = checked(self.environment.render())
        return resized(self.newest, self.size)

    def shown(self) -> Picture:
        """Return the newest picture, as large as the world has drawn it."""
        assert self.newest is not None
        return self.newest

    def close(self) -> None:
        """Leave everything to the world."""


class Bullet(Shrinking):
    """Draws a world of PyBullet's at the size that is wanted: a tenth of the time of its own."""

    def __init__(self, environment: gym.Env[Any, Any], drawing: Drawing) -> None:
        """Take the world.

        Raises:
            ConfigError: a camera is asked for, which it has not.
        """
        super().__init__(environment, drawing)
        bare: Any = environment.unwrapped
        self.bare, self.own = bare, (bare._render_width, bare._render_height)

    def draw(self) -> Picture:
        """Return the picture of the world as it is."""
        return self.drawn(self.size, self.size)

    def shown(self) -> Picture:
        """Return a picture of the world as it is, as large as it is without."""
        return self.drawn(*self.own)

    def drawn(self, width: int, height: int) -> Picture:
        """Return a picture of this size."""
        self.bare._render_width, self.bare._render_height = width, height
        return checked(self.environment.render())


class MuJoCo:
    """Draws a MuJoCo world of Gymnasium's, by what it draws with itself.

    Their viewers rely on a current context, and what is freed is freed in the one that is current:
    when one of several worlds is closed, or forgotten, all others are black from then on. So each
    picture is drawn in its own context, and left with a spare one, in which nothing is to be lost.
    """

    def __init__(self, environment: gym.Env[Any, Any], drawing: Drawing) -> None:
        """Take a world that has drawn nothing yet.

        Raises:
            ConfigError: there is no such camera.
        """
        bare: Any = environment.unwrapped
        self.environment, self.shadows = environment, drawing.shadows
        self.renderer: Any = bare.mujoco_renderer
        self.renderer.width = self.renderer.height = drawing.size
        if drawing.camera is not None:
            self.renderer.camera_id = camera_index(bare.model, drawing.camera)
        enlarge(bare.model, drawing.size)
        self.large: Any = None
        self.drawn_by = version_of("mujoco")

    def draw(self) -> Picture:
        """Return the picture of the world as it is."""
        return self.drawn(self.renderer, self.environment.render)

    def shown(self) -> Picture:
        """Return a larger picture of the world as it is."""
        if self.large is None:
            own = self.renderer
            self.large = type(own)(
                own.model,
                own.data,
                own.default_cam_config,
                SHOWN,
                SHOWN,
                own.max_geom,
                camera_id=own.camera_id,
            )
        return self.drawn(self.large, functools.partial(self.large.render, "rgb_array"))

    def drawn(self, renderer: Any, render: Any) -> Picture:
        """Return what a renderer draws, in its own context."""
        if renderer.viewer is None:
            # It makes its viewer with the first picture.
            render()
            self.set_shadows(renderer.viewer)
        renderer.viewer.make_context_current()
        picture = checked(render())
        leave(renderer.viewer)
        return picture

    def set_shadows(self, viewer: Any) -> None:
        """Have a viewer draw shadows, or none."""
        viewer.scn.flags[importlib.import_module("mujoco").mjtRndFlag.mjRND_SHADOW] = self.shadows

    def close(self) -> None:
        """Free what it draws with, in the context that it belongs to."""
        for renderer in filter(None, (self.renderer, self.large)):
            release(renderer)
        self.large = None


def enlarge(model: Any, size: int) -> None:
    """Have a model's pictures fit into what they are drawn in, also those that are looked at."""
    buffer = model.vis.global_
    buffer.offwidth = max(buffer.offwidth, size, SHOWN)
    buffer.offheight = max(buffer.offheight, size, SHOWN)


def release(renderer: Any) -> None:
    """Free a renderer's viewer in its own context.

    The renderer then has none to close: closing would end all windows of the process, too.
    """
    viewer, renderer.viewer = renderer.viewer, None
    renderer._viewers.clear()
    if viewer is not None:
        viewer.make_context_current()
        viewer.con.free()
        leave(viewer)
        viewer.free()


def leave(viewer: Any) -> None:
    """Leave a viewer's context for the spare one."""
    kind: Any = type(viewer.opengl_context)
    spare_context(kind).make_current()


@functools.cache
def spare_context(kind: Any) -> Any:
    """Return this process's context of a kind that nothing is drawn in."""
    # Deleted later, at the very end of the program, it would complain.
    atexit.register(spare_context.cache_clear)
    return kind(1, 1)


class Suite:
    """Draws a world of dm_control's, by its own physics, which keeps to its own context."""

    def __init__(self, environment: gym.Env[Any, Any], drawing: Drawing) -> None:
        """Take a world of Shimmy's.

        Raises:
            ConfigError: there is no such camera.
        """
        bare: Any = environment.unwrapped
        self.environment, self.bare = environment, bare
        model = bare._env.physics.model.ptr
        enlarge(model, drawing.size)
        if drawing.camera is None:
            # Published pictures are those of the first camera; the free one loses who walks away.
            camera = 0 if model.ncam else FREE_INDEX
        else:
            camera = camera_index(model, drawing.camera)
        self.asked = {"camera_id": camera, "render_flag_overrides": {"shadow": drawing.shadows}}
        self.size = drawing.size
        self.drawn_by = f"{version_of('mujoco')}, {version_of('dm-control')}"
        suites_left().add(self)

    def draw(self) -> Picture:
        """Return the picture of the world as it is."""
        return self.drawn(self.size)

    def shown(self) -> Picture:
        """Return a larger picture of the world as it is."""
        return self.drawn(SHOWN)

    def drawn(self, size: int) -> Picture:
        """Return a picture of this size."""
        self.bare.render_kwargs = self.asked | {"height": size, "width": size}
        return checked(self.environment.render())

    def close(self) -> None:
        """Leave everything to the world."""
        suites_left().discard(self)


@functools.cache
def suites_left() -> "weakref.WeakSet[Suite]":
    """Return the set of those that nobody has closed, whose worlds are closed when Python ends.

    dm_control frees what it draws with in a thread of a pool, and does so at exit, when no pool
    takes anything any more: a program that forgets a world would end with its complaints. Pools end
    by what threading calls before, the last one that was registered first: they are imported here.
    """
    importlib.import_module("concurrent.futures.thread")
    suites: weakref.WeakSet[Suite] = weakref.WeakSet()

    def close() -> None:
        for suite in list(suites):
            suite.bare.close()

    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(close)
    return suites


def painter_of(environment: gym.Env[Any, Any], drawing: Drawing) -> Painter:
    """Return what draws a world.

    Raises:
        ConfigError: there is no such camera.
    """
    bare: Any = environment.unwrapped
    if hasattr(bare, "mujoco_renderer") and hasattr(bare, "model"):
        return MuJoCo(environment, drawing)
    if type(bare).__module__.startswith("shimmy.dm_control"):
        return Suite(environment, drawing)
    if hasattr(bare, "_render_width") and hasattr(bare, "_render_height"):
        return Bullet(environment, drawing)
    return Shrinking(environment, drawing)


def checked(picture: Any) -> Picture:
    """Return a picture, in its own memory and in order.

    Raises:
        TypeError: it is none.
    """
    if getattr(picture, "ndim", 0) != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        held = " ".join(repr(picture).split())
        raise TypeError(
            f"render returned {held:.60}, which is no picture [height, width, 3] of uint8: "
            "the world has to be made with render_mode='rgb_array'"
        )
    return np.ascontiguousarray(picture)


def camera_index(model: Any, wanted: str) -> int:
    """Return the index of a camera that is named, or numbered, in a model of MuJoCo's.

    Raises:
        ConfigError: there is none.
    """
    names = [model.camera(index).name for index in range(model.ncam)]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    if wanted == FREE:
        return FREE_INDEX
    there = ", ".join([*(f"{index} ({name})" for index, name in enumerate(names)), FREE])
    raise ConfigError(
        f"{flag('env', 'camera')} {wanted}: there is no such camera; there is {there}"
    )


def version_of(package: str) -> str:
    """Return a package's name and version."""
    return f"{package} {metadata.version(package)}"


def versions_behind(environment: gym.Env[Any, Any]) -> str:
    """Return which packages, of which versions, draw a world that draws itself; what is known."""
    family = None if environment.spec is None else family_of(environment.spec)
    there = {} if family is None else versions(family)
    return ", ".join(f"{name} {version}" for name, version in there.items()) or version_of(
        "gymnasium"
    )
