"""Episodes as videos: rendered without a window, numbers drawn in, encoded as H.264."""

import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from qmu.collecting.display import choose_backend, has_display, without_window
from qmu.collecting.evaluate import Score
from qmu.deploy.policy import Actor
from qmu.errors import FAILURES, ConfigError, WorldError, told
from qmu.saving import storage
from qmu.signals import ending
from qmu.watching.overlay import Picture, drawn, enlarged
from qmu.watching.play import Shown, play, rate_of, score_of
from qmu.world.graphics import drawing_needs, let_go
from qmu.world.hearing import heard
from qmu.world.host import Guard, HostWorlds
from qmu.world.make import Maker

INSTALL = "pip install 'qmu[video]'"
ENDING = ".mp4"
# Worlds of more steps per second are shown in real time by every second or third of them: rendering
# takes most of the time.
MOST_PICTURES = 30
# An encoder that does not come to its end within so many seconds never will.
ENCODER_SECONDS = 120
# Of a moving picture: how long it is, pictures per second, and pixels across.
GIF_SECONDS, GIF_RATE, GIF_WIDTH = 10, 10, 240


class BrokenOffError(Exception):
    """Somebody has asked for an end in the middle of a video; nothing is left of it."""


class Encoder:
    """Writes pictures, as they come, into an mp4 file that plays everywhere.

    The file has its name when it is complete, after `with`; it is not there otherwise.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """Write to this path, `rate` pictures per second. Nothing is started before a picture."""
        self.path, self.rate = path, rate
        self.unfinished = path.with_name(storage.UNFINISHED + path.name)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Encoder":
        """Make room for the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A file, because a pipe that nobody reads meanwhile is full at some time.
        self.said: IO[bytes] = tempfile.TemporaryFile()
        return self

    def write(self, picture: Picture) -> None:
        """Write a picture, of even sides; all have those of the first.

        Raises:
            OSError: the encoder has ended.
        """
        if self.process is None:
            height, width = picture.shape[:2]
            self.program = ffmpeg()
            self.process = subprocess.Popen(
                [self.program, *arguments(width, height, self.rate), named(self.unfinished)],
                stdin=subprocess.PIPE,
                stderr=self.said,
                # Ctrl-C is for the run, which lets the encoder end.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(picture.tobytes())
        except OSError as error:
            self.end()
            raise self.failed("it ended too early") from error

    def end(self) -> None:
        """Wait for the encoder.

        Raises:
            OSError: it failed.
        """
        process, self.process = self.process, None
        if process is None:
            return
        try:
            process.communicate(timeout=ENCODER_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise self.failed(f"it took longer than {ENCODER_SECONDS} s") from None
        if process.returncode != 0:
            self.said.seek(0)
            raise self.failed(last_words(self.said.read(), process.returncode))

    def failed(self, why: str) -> OSError:
        """Return what to raise where the encoder has failed."""
        return OSError(f"ffmpeg ({self.program}) could not write {self.path}: {why}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the file its name; what is not complete is removed."""
        if kind is not None and self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
        try:
            if kind is None:
                self.end()
                storage.rename(self.unfinished, self.path)
        finally:
            self.said.close()
            self.unfinished.unlink(missing_ok=True)


def named(path: Path) -> str:
    """Return a path as ffmpeg is told: what is before a colon would be a protocol otherwise."""
    return f"file:{path}"


def last_words(said: bytes, code: int) -> str:
    """Return the last line of what ffmpeg has complained about, or how it has ended."""
    return (said.decode(errors="replace").strip().splitlines() or [f"it {ending(code)}"])[-1]


def arguments(width: int, height: int, rate: float) -> list[str]:
    """Return what ffmpeg is told: raw pictures in, H.264 out, as browsers play it."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}"]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p"]
    file = ["-movflags", "+faststart", "-f", "mp4", "-y"]
    return ["-nostdin", "-v", "error", *raw, "-i", "-", "-an", *coded, *file]


def ffmpeg() -> str:
    """Return the path of the encoder that comes with imageio-ffmpeg, or that the user has named.

    Raises:
        ConfigError: the extra is not installed, or there is no encoder.
    """
    if any(find_spec(package) is None for package in ("imageio_ffmpeg", "PIL")):
        raise ConfigError(f"videos need the extra `video`: install it with {INSTALL}")
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise ConfigError(
            "there is no ffmpeg to write videos with: install one, or name it with the "
            f"environment variable IMAGEIO_FFMPEG_EXE; {INSTALL} brings one for most systems"
        ) from None


def stage(maker: Maker, guard: Guard | None = None) -> HostWorlds:
    """Return a world of its own that can be filmed, as a first picture has shown.

    Raises:
        ConfigError: it cannot be rendered here, or there is nothing to encode videos with.
    """
    ffmpeg()
    choose_backend()
    return rendering(maker, "no video can be made here", guard)


def rendering(maker: Maker, refusal: str, guard: Guard | None = None) -> HostWorlds:
    """Return a world that gives pictures, as a first one has shown.

    Raises:
        ConfigError: it does not; the sentence begins with `refusal`.
    """
    worlds = HostWorlds([maker.make_one("rgb_array")], maker.spaces, guard)
    try:
        with without_window(), warnings.catch_warnings():
            # Of a failure there is one sentence.
            warnings.simplefilter("ignore")
            worlds.start(0, 0)
            rendered(worlds)
    except FAILURES as error:
        let_go(worlds.close, error)
        said = str(error).rstrip(".")
        raise ConfigError(f"{refusal}: {said}{way_out(maker)}") from error
    return worlds


def way_out(maker: Maker) -> str:
    """Return what to do about a world that cannot be rendered, in words."""
    if "mujoco" in sys.modules and sys.platform.startswith("linux") and not has_display():
        return f"{drawing_needs()}; now it is {os.environ.get('MUJOCO_GL', 'not set')}"
    return f". {maker.name} has to be made with render_mode='rgb_array' and to return pictures"


def rendered(worlds: HostWorlds, before: Picture | None = None) -> Picture:
    """Return the picture of the first world as it is.

    Raises:
        WorldError: it cannot be rendered, or what it returns is no picture, or one of another size
            than the one before.
    """
    name = worlds.spaces.name
    try:
        with heard():
            picture: Any = worlds.environments[0].render()
    except FAILURES as error:
        raise WorldError(f"{name} raised in render: {told(error)}") from error
    shape: tuple[int, ...] = getattr(picture, "shape", ())
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or picture.dtype != np.uint8:
        raise WorldError(
            f"{name} returned {picture!r:.60} from render, which is no picture "
            "[height, width, 3] of uint8"
        )
    if before is not None and shape != before.shape:
        raise WorldError(
            f"{name} returned a picture of {shape[1]} × {shape[0]} from render after one of "
            f"{before.shape[1]} × {before.shape[0]}, and those of a video have one size"
        )
    return np.asarray(picture)


def gif_of(path: Path) -> bytes:
    """Return the first seconds of a video as a small moving picture, for what plays no videos.

    Raises:
        ConfigError: there is no ffmpeg.
        OSError: the video cannot be read.
    """
    small = f"fps={GIF_RATE},scale={GIF_WIDTH}:-2:flags=lanczos"
    filters = f"{small},split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse"
    shown = ["-nostdin", "-v", "error", "-t", str(GIF_SECONDS), "-i", named(path), "-vf", filters]
    program = ffmpeg()
    failed = f"ffmpeg ({program}) could not read {path}"
    try:
        made = subprocess.run(
            [program, *shown, "-f", "gif", "-"],
            capture_output=True,
            timeout=ENCODER_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"{failed} in {ENCODER_SECONDS} s") from None
    if made.returncode != 0:
        raise OSError(f"{failed}: {last_words(made.stderr, made.returncode)}")
    return made.stdout


class Frames:
    """The pictures of episodes in the first world, with numbers drawn in."""

    def __init__(self, worlds: HostWorlds) -> None:
        """Take the worlds."""
        self.worlds = worlds
        rate = rate_of(worlds.environments[0])
        self.every = math.ceil(rate / MOST_PICTURES)
        self.rate = rate / self.every  # pictures per second
        self.newest: Picture | None = None

    def due(self, shown: Shown) -> bool:
        """Tell whether there is a picture of a moment."""
        return shown.step % self.every == 0 or shown.last

    def draw(self, shown: Shown, number: int, count: int) -> Picture:
        """Return the picture of a moment in one of several episodes, the world as it is now.

        Raises:
            WorldError: there is none, or one of another size than the one before.
        """
        self.newest = rendered(self.worlds, self.newest)
        which = [f"episode {number} of {count}"] if count > 1 else []
        lines = [*which, f"step {shown.step:,}", f"return {shown.total_reward:,.1f}"]
        return drawn(enlarged(self.newest), lines, shown.action, shown.sights)


def film(
    actor: Actor,
    worlds: HostWorlds,
    seeds: Sequence[int],
    path: Path,
    steps: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Score:
    """Write an episode for each seed into one video; return their score.

    Args:
        actor: acts.
        worlds: what `stage` has returned.
        seeds: of the episodes.
        path: of the file.
        steps: an episode is shown, and goes on, up to this step.
        stopped: asked before each step whether to break off.

    Raises:
        WorldError: the world raised, or returned something impossible.
        OSError: the file could not be written.
        BrokenOffError: `stopped` said so.
    """
    frames, ends = Frames(worlds), []
    with Encoder(path, frames.rate) as encoder:
        for number, seed in enumerate(seeds, 1):
            for shown in play(actor, worlds, seed, steps):
                if stopped():
                    raise BrokenOffError
                if frames.due(shown):
                    encoder.write(frames.draw(shown, number, len(seeds)))
                if shown.last:
                    ends.append(shown)
    return score_of(ends)
