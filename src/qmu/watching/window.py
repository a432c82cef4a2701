"""A window that shows a world's pictures, with numbers drawn in."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from qmu.errors import ConfigError
from qmu.watching.overlay import Picture
from qmu.watching.play import Seen, Shown
from qmu.watching.video import Frames, rendering
from qmu.world.host import HostWorlds
from qmu.world.make import Maker


class Window:
    """A window of pygame's, opened with the first picture, and of its size."""

    def __init__(self, name: str) -> None:
        """Take what stands above the pictures."""
        # It would greet whoever imports it, and draw through OpenGL: beside a simulator that
        # renders by it, in the same process, windows stayed black.
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "hide")
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        import pygame

        self.pygame, self.name = pygame, name
        self.surface: Any = None

    def show(self, picture: Picture) -> bool:
        """Show a picture; return whether the window is still wanted.

        Raises:
            ConfigError: no window can be opened.
        """
        pygame = self.pygame
        if self.surface is None:
            try:
                pygame.display.init()
                self.surface = pygame.display.set_mode(picture.shape[1::-1])
            except pygame.error as error:
                raise ConfigError(
                    f"play: no window can be opened here ({error}); write a video instead (--video "
                    "out.mp4)"
                ) from error
            pygame.display.set_caption(self.name)
        pygame.surfarray.blit_array(self.surface, picture.swapaxes(0, 1))
        pygame.display.flip()
        return all(event.type != pygame.QUIT for event in pygame.event.get())

    def close(self) -> None:
        """Close the window."""
        self.pygame.display.quit()


@contextlib.contextmanager
def opened(maker: Maker, tell: Callable[[str], None]) -> Iterator[tuple[HostWorlds, Seen]]:
    """Yield worlds to play in, and what shows a moment of the first one in a window.

    It is the world's own, told by `tell`, where the world has one and gives no pictures.

    Raises:
        ConfigError: neither can be had.
    """
    try:
        worlds = rendering(maker, f"{maker.name} cannot be shown")
    except ConfigError as refusal:
        worlds = own_window(maker, refusal)
        tell(
            f"{maker.name} gives no pictures to draw into: its own window is shown, without the "
            "step, the return and the action"
        )
        try:
            yield worlds, lambda shown, number, count: True
        finally:
            worlds.close()
        return
    window, frames = Window(maker.name), Frames(worlds)

    def see(shown: Shown, number: int, count: int) -> bool:
        return not frames.due(shown) or window.show(frames.draw(shown, number, count))

    try:
        yield worlds, see
    finally:
        window.close()
        worlds.close()


def own_window(maker: Maker, refusal: ConfigError) -> HostWorlds:
    """Return worlds of which the first opens a window of its own.

    Raises:
        ConfigError: the refusal of its pictures, if it has no window either.
    """
    try:
        worlds = maker.evaluation_worlds(1, render=True)
    except ConfigError:
        raise refusal from None
    first = worlds.environments[0]
    if "human" not in ((first.metadata or {}).get("render_modes") or ()):
        worlds.close()
        raise refusal
    return worlds
