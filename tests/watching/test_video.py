"""Episodes in windows and as videos: what is in them, and what is said where none can be made."""

import ctypes.util
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import runs
from actors import Acting
from budget import some

import qmu
from qmu.cli import main
from qmu.watching import overlay, video
from qmu.watching.play import rate_of, watch
from qmu.world.make import find_maker

FINE = np.zeros(2, np.float32)
STILL = Acting(lambda obs: np.zeros((1, 3), np.float32))


class Drawn(gym.Env):
    """Four steps with the reward 1.5; its pictures have one colour and odd sides."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    picture = np.full((251, 301, 3), 200, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return FINE, {}

    def step(self, action):
        self.time += 1
        return FINE, 1.5, self.time == 4, False, {}

    def render(self):
        return self.picture


def trained(folder, source=Drawn, **changes):
    changes = {"train": {"total_steps": 60, "save_interval": 0, "schedule_steps": 60}, **changes}
    return qmu.train(source, **runs.options(folder, changes))


def read(path):
    """Return what ffmpeg says of a video's stream, and its pictures."""
    command = [video.ffmpeg(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    (stream,) = [line for line in said.splitlines() if "Video:" in line]
    width, height = map(int, re.search(r" ([1-9]\d*)x(\d+)", stream).groups())
    raw = ["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run([*command, *raw], capture_output=True, check=True).stdout
    return stream, np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def test_a_small_picture_is_enlarged_to_even_sides():
    picture = np.arange(85 * 64 * 3, dtype=np.uint8).reshape(85, 64, 3)
    large = overlay.enlarged(picture)
    assert large.shape == (340, 256, 3)
    np.testing.assert_array_equal(large[::4, ::4], picture)
    assert overlay.enlarged(np.zeros((251, 301, 3), np.uint8)).shape == (252, 302, 3)


@pytest.mark.parametrize("count", [1, 6, 400])
def test_bars_rise_and_fall_with_the_action(count):
    pytest.importorskip("PIL")
    picture = np.full((480, 480, 3), 90, np.uint8)
    up = overlay.drawn(picture, ["step 1"], np.full(count, 1, np.float32))
    half = overlay.drawn(picture, ["step 1"], np.full(count, 0.5, np.float32))
    down = overlay.drawn(picture, ["step 1"], np.full(count, -3, np.float32))
    areas = [(image == colour).all(axis=-1) for image, colour in pairs(up, half, down)]
    assert areas[0].sum() == pytest.approx(2 * areas[1].sum(), rel=0.1)
    assert areas[0].sum() == pytest.approx(areas[2].sum(), rel=0.1)
    assert np.nonzero(areas[0])[0].max() <= np.nonzero(areas[2])[0].min()
    np.testing.assert_array_equal(picture, 90)


def pairs(up, half, down):
    return [(up, overlay.UP), (half, overlay.UP), (down, overlay.DOWN)]


@pytest.mark.parametrize(
    ("channels", "shown"),
    [(1, [0, 0, 0]), (2, [1, 1, 1]), (3, [0, 1, 2]), (4, [0, 1, 2]), (9, [6, 7, 8])],
)
def test_of_what_a_policy_sees_the_newest_colours_are_shown(channels, shown):
    sight = np.broadcast_to(np.arange(channels, dtype=np.uint8), (20, 30, channels))
    colours = overlay.colours_of(sight)
    assert colours.shape == (20, 30, 3)
    assert (colours == shown).all()


def test_what_a_policy_sees_is_in_the_upper_right_corner():
    """Two images, 90 pixels high: a quarter of the picture; the second one is twice as wide."""
    pytest.importorskip("PIL")
    picture = np.full((360, 480, 3), 90, np.uint8)
    red = np.zeros((18, 18, 3), np.uint8)
    red[:, :, 0] = 250
    grey = np.full((20, 40, 1), 30, np.uint8)
    plain = overlay.drawn(picture, ["step 1"], None)
    seen = overlay.drawn(picture, ["step 1"], None, [red, grey])
    (rows, columns), colour = np.nonzero((seen != plain).any(2)), seen[60, 440]
    np.testing.assert_array_equal(colour, [250, 0, 0])
    np.testing.assert_array_equal(seen[150, 400], 30)
    gap = 7
    assert (rows.min(), rows.max()) == (gap - 1, 3 * gap - gap + 180)
    assert (columns.min(), columns.max()) == (480 - gap - 180 - 1, 480 - gap)


@pytest.mark.parametrize(
    ("told", "rate"), [({"render_fps": 125}, 125.0), ({}, 30.0), ({"render_fps": None}, 30.0)]
)
def test_the_rate_is_the_environments_or_30(told, rate):
    class Any(Drawn):
        metadata = told

    assert rate_of(Any()) == rate


class Made(Drawn):
    """Made to be rendered."""

    render_mode = "rgb_array"


@pytest.mark.extra
def test_a_video_holds_every_moment_and_the_score_of_evaluate(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    run = trained(tmp_path, Made)
    score = run.video(tmp_path / "new" / "out.mp4", 2)
    assert score == run.evaluate(2)
    stream, frames = read(tmp_path / "new" / "out.mp4")
    for part in ("h264", "yuv420p", "302x252", " 10 fps"):
        assert part in stream
    assert len(frames) == 2 * 5
    # Text, and from the first step on bars, are drawn on the one colour of the pictures.
    assert [bool((frame[200:, :40] < 150).any()) for frame in frames[:2]] == [False, True]
    assert abs(int(frames[0][150, 150, 0]) - 200) < 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.mp4"]
    assert run.video(tmp_path / "out.mp4", steps=3).rewards == (4.5,)
    assert len(read(tmp_path / "out.mp4")[1]) == 4


@pytest.mark.extra
@pytest.mark.parametrize(
    ("rate", "shown", "steps"), [(30, 30, 5), (40, 20, 3), (85, 28.33, 3), (100, 25, 2)]
)
def test_fast_worlds_are_shown_in_real_time_at_30_pictures_per_second_at_most(
    rate, shown, steps, tmp_path
):
    pytest.importorskip("imageio_ffmpeg")

    class Fast(Made):
        metadata = {"render_fps": rate}  # noqa: RUF012

    trained(tmp_path, Fast).video(tmp_path / "out.mp4")
    stream, frames = read(tmp_path / "out.mp4")
    assert f" {shown} fps" in stream
    # Of steps 0 to 4, of which the last one is always shown.
    assert len(frames) == steps


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """Return a function that puts a few lines of Python in the place of ffmpeg."""

    def replace(code):
        file = tmp_path / "encoder.py"
        file.write_text(f"#!{sys.executable}\nimport signal, sys\n{code}\n")
        file.chmod(0o755)
        monkeypatch.setattr(video, "ffmpeg", lambda: str(file))

    return replace


def test_an_encoder_may_complain_at_length(tmp_path, encoder):
    encoder(
        """
signal.alarm(30)  # rather than to wait for ever
sys.stderr.write("It is dark.\\n" * 100_000 + "It is too dark.\\n")
sys.stdin.buffer.read()
sys.exit(1)
"""
    )

    def write():
        with video.Encoder(tmp_path / "out.mp4", 10) as writer:
            for _ in range(10):
                writer.write(np.zeros((240, 320, 3), np.uint8))

    with pytest.raises(OSError, match=r"could not write .*out\.mp4: It is too dark\.$"):
        write()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("signal.raise_signal(signal.SIGKILL)", "it was ended by SIGKILL"),
        ("sys.exit(3)", "it ended with exit code 3"),
        ("sys.stdin.close()", "it ended too early"),
    ],
)
def test_an_encoder_that_ends_without_a_word_is_named(code, said, tmp_path, encoder):
    encoder(code)
    program = tmp_path / "encoder.py"

    def write():
        with video.Encoder(tmp_path / "out.mp4", 10) as writer:
            for _ in range(10):
                writer.write(np.zeros((240, 320, 3), np.uint8))

    failed = rf"^ffmpeg \({program}\) could not write .*out\.mp4: {said}$"
    with pytest.raises(OSError, match=failed):
        write()
    if "early" not in said:
        with pytest.raises(OSError, match=rf"^ffmpeg \({program}\) could not read .*gif: {said}$"):
            video.gif_of(tmp_path / "out.gif")


class Growing(Drawn):
    """Its pictures become wider."""

    def render(self):
        return self.picture[:, : 240 + 2 * self.time]


def test_a_world_whose_pictures_change_their_size_is_told(tmp_path, encoder):
    encoder("open(sys.argv[-1].removeprefix('file:'), 'wb').write(sys.stdin.buffer.read())")
    worlds = find_maker(Growing).evaluation_worlds(1, render=False)
    out = tmp_path / "new" / "out.mp4"
    said = "Growing returned a picture of 242 × 251 from render after one of 240 × 251"
    with pytest.raises(qmu.WorldError, match=said):
        video.film(STILL, worlds, [1], out, 10)
    assert list(out.parent.iterdir()) == []


@pytest.mark.extra
@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedPendulum-v5"])
def test_a_video_needs_no_display(name, tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    run = runs.train(tmp_path, name)
    said = subprocess.run(
        [sys.executable, "-m", "qmu", "play", str(run), "--video", "out.mp4", "--steps", "5"],
        cwd=tmp_path,
        env={**without_display(), "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert "video   out.mp4\nepisode 1  return -" in said.stdout or "return 5.00" in said.stdout
    _, frames = read(tmp_path / "out.mp4")
    assert len(frames) >= 2
    assert frames[-1].std() > 10


def without_display():
    import os

    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "MUJOCO_GL")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@pytest.mark.extra
def test_a_path_may_have_a_colon(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    run = trained(tmp_path, Made)
    monkeypatch.chdir(tmp_path)
    assert run.video("at-12:30.mp4").rewards == (6.0,)
    assert len(read("file:at-12:30.mp4")[1]) == 5
    assert video.gif_of(Path("at-12:30.mp4")).startswith(b"GIF89a")


@pytest.mark.extra
def test_an_encoder_that_fails_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    run = trained(tmp_path, Made)
    monkeypatch.setattr(video, "arguments", lambda *size: ["-v", "error", "-nonsense", "1", "-i"])
    with pytest.raises(
        qmu.ConfigError, match=r"out\.mp4 cannot be written: .*ffmpeg \(.*\) could not"
    ):
        run.video(tmp_path / "new" / "out.mp4")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(qmu.ConfigError, match=r"out\.mp4 cannot be written"):
        run.video(tmp_path / "file" / "out.mp4")


class Blind(Drawn):
    picture = None


class Broken(Drawn):
    def render(self):
        raise OSError("no lamp")


@pytest.mark.extra
@pytest.mark.parametrize(
    ("world", "said"),
    [
        (Blind, "Blind returned None from render, which is no picture"),
        (Broken, "Broken raised in render: OSError: no lamp"),
    ],
)
def test_a_world_without_pictures_is_a_sentence(world, said, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    run = trained(tmp_path, world)
    with pytest.raises(qmu.ConfigError, match=f"no video can be made here: {said}") as raised:
        run.video(tmp_path / "out.mp4")
    assert "render_mode='rgb_array'" in str(raised.value) or "libosmesa6" in str(raised.value)
    assert not (tmp_path / "out.mp4").exists()


class HalfMade:
    """A renderer that could not be made whole, and complains about that when it is deleted."""

    def __init__(self):
        self.itself = self
        raise OSError("there is no OpenGL")

    def __del__(self):
        raise AttributeError("HalfMade has no context")


class Dark(Drawn):
    def render(self):
        return HalfMade()


@pytest.mark.long
def test_what_is_left_of_a_failed_renderer_complains_to_nobody(monkeypatch):
    complaints = []
    monkeypatch.setattr(video, "ffmpeg", lambda: "ffmpeg")
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(qmu.ConfigError, match="Dark raised in render: OSError: there is no OpenGL"):
        video.stage(find_maker(Dark))
    gc.collect()
    assert complaints == []
    assert sys.unraisablehook == complaints.append


@pytest.fixture
def run_directory(tmp_path):
    return str(trained(tmp_path).directory)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "play: there is no display to open a window on (DISPLAY is not set); write a video"),
        (["--episodes", "0"], "--episodes must be greater than 0, not 0"),
        (["--video", "out.mp4", "--steps", "0"], "--steps must be greater than 0, not 0"),
        (["--video", "out.gif"], "a video is an .mp4 file: out.gif is none"),
        (["--seed", "7"], "no display"),
        (["--video", "out.mp4", "--seed", "7"], "has no member with seed 7"),
        (["--video", "out.mp4"], "has no id to make it again"),
        (["--video", "out.mp4", "--env", "Pendulum-v1"], "the policy maps observations (2,)"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(words, said, run_directory, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["play", run_directory, *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.long
def test_a_missing_extra_is_told_with_its_command(tmp_path, monkeypatch, capsys):
    run = runs.train(tmp_path)
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    assert main(["play", str(run), "--video", str(tmp_path / "out.mp4")]) == 2
    assert "install it with pip install 'qmu[video]'" in capsys.readouterr().err


@pytest.mark.extra
def test_a_missing_encoder_is_told(tmp_path, monkeypatch, capsys):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def none_found():
        raise RuntimeError("No ffmpeg exe could be found.")

    run = runs.train(tmp_path)
    monkeypatch.setattr(ffmpeg, "get_ffmpeg_exe", none_found)
    assert main(["play", str(run), "--video", str(tmp_path / "out.mp4")]) == 2
    assert "there is no ffmpeg to write videos with" in capsys.readouterr().err


def test_episodes_are_shown_in_real_time(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    maker = find_maker(Drawn)
    worlds = maker.evaluation_worlds(1, render=False)
    score = watch(STILL, worlds, [1, 2], 3)
    assert (score.rewards, score.lengths) == ((4.5, 4.5), (3, 3))
    # One moment before the first step, and three after it, a tenth of a second each.
    assert len(slept) == 2 * 4
    assert 0.05 < slept[0] <= 0.1


def test_a_first_observation_beyond_float32_is_told_without_a_warning_of_numpys():
    class Far(Drawn):
        def reset(self, *, seed=None, options=None):
            return np.array([0, 1e300]), {}

    worlds = find_maker(Far).evaluation_worlds(1, render=False)
    with pytest.raises(qmu.WorldError, match=r"Far returned 1e\+300 at position 1"):
        watch(STILL, worlds, [1], 3)


def test_a_window_shows_episodes(tmp_path, monkeypatch, capsys):
    run = runs.train(tmp_path, "Pendulum-v1")
    # pygame opens its window on nothing.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert main(["play", str(run), "--episodes", "2", "--steps", "3", "--first-seed", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["episode 1", "episode 2"]
    assert all(line.endswith(", 3 steps") for line in lines)


class Shown(Drawn):
    """Can be made with a window."""

    metadata = {"render_modes": ["human"], "render_fps": 1000}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode


@pytest.mark.filterwarnings("ignore:Shown has no specification")
@pytest.mark.parametrize("env", [Shown, Shown(), lambda: Shown("rgb_array")])
def test_a_world_without_a_window_is_a_sentence(env, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = trained(tmp_path, Shown)
    said = "Shown opens no window: its render_mode is (None|'rgb_array'), not 'human': choose it"
    with pytest.raises(qmu.ConfigError, match=said):
        run.in_world(env).evaluate(1, render=True)
    with pytest.raises(qmu.ConfigError, match=said):
        trained(tmp_path / "new", env, env={"render": True})
    assert not (tmp_path / "new").exists()


class OwnWindow(Shown):
    """Has a window of its own, and gives no pictures."""

    def render(self):
        return None


@pytest.mark.long
def test_a_world_that_gives_no_pictures_is_shown_in_its_own_window(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = trained(tmp_path, OwnWindow)
    told = []
    seen = run.in_world(lambda: OwnWindow("human"))
    assert seen.play(tell=told.append).rewards == (6.0,)
    assert told == [
        "OwnWindow gives no pictures to draw into: its own window is shown, without the step, the "
        "return and the action"
    ]
    with pytest.warns(RuntimeWarning, match="gives no pictures to draw into"):
        seen.play()


class Nothing(OwnWindow):
    """Takes every render_mode, and shows nothing."""

    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.mark.long
@pytest.mark.parametrize("mode", some([None, "human", "rgb_array"], ["human"]))
def test_a_world_that_shows_nothing_is_a_sentence(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    run = trained(tmp_path, Nothing)
    said = "^Nothing cannot be shown: Nothing returned None from render, which is no picture"
    with pytest.raises(qmu.ConfigError, match=said):
        run.in_world(lambda: Nothing(mode)).play()


@pytest.fixture
def screen(monkeypatch):
    """Return the pictures that windows have shown, on a screen that nobody sees."""
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shown, flip = [], pygame.display.flip

    def seen():
        flip()
        picture = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        shown.append((pygame.display.get_caption()[0], picture))

    monkeypatch.setattr(pygame.display, "flip", seen)
    return shown


def test_a_window_shows_what_a_video_does(tmp_path, screen):
    run = trained(tmp_path, Made)
    assert run.play(2) == run.evaluate(2)
    assert [name for name, _ in screen] == ["Made"] * 2 * 5
    pictures = [picture for _, picture in screen]
    assert pictures[0].shape == (252, 302, 3)
    # Text, and from the first step on bars, are drawn on the one colour of the pictures.
    assert [bool((one[200:, :40] < 150).any()) for one in pictures[:2]] == [False, True]
    assert (pictures[0][:40, :100] != pictures[4][:40, :100]).any()
    assert tuple(pictures[0][150, 150]) == (200, 200, 200)


def test_closing_the_window_ends_it(tmp_path, screen):
    import pygame

    class Closed(Made):
        def step(self, action):
            if self.time == 1:
                pygame.event.post(pygame.event.Event(pygame.QUIT))
            return super().step(action)

    run = trained(tmp_path, Made)
    score = run.in_world(Closed).play(3)
    assert (score.rewards, score.lengths) == ((3.0,), (2,))
    assert len(screen) == 3
    assert not pygame.display.get_init()


def test_a_display_that_is_none_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    run = trained(tmp_path, Made)
    with pytest.raises(qmu.ConfigError, match=r"play: no window can be opened here \(.*nonsense"):
        run.play()


@pytest.mark.parametrize(
    ("there", "chosen"),
    [(("OSMesa", "EGL"), "osmesa"), (("EGL",), "egl"), ((), None)],
)
def test_mujoco_draws_with_what_there_is(there, chosen, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name if name in there else None)
    # So that what is set is taken back.
    monkeypatch.setenv("MUJOCO_GL", "x")
    monkeypatch.delenv("MUJOCO_GL")
    video.choose_backend()
    assert video.os.environ.get("MUJOCO_GL") == chosen
    monkeypatch.setenv("MUJOCO_GL", "mine")
    video.choose_backend()
    assert video.os.environ["MUJOCO_GL"] == "mine"


@pytest.mark.extra
def test_a_run_that_goes_on_can_be_shown(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    run = trained(tmp_path, Made)
    info = json.loads((run.directory / "run.json").read_text())
    (run.directory / "run.json").write_text(json.dumps(info | {"status": "running"}))
    seen = qmu.open_run(run.directory)
    assert seen.in_world(Made).video(tmp_path / "out.mp4").rewards == (6.0,)


# MuJoCo's OpenGL beside the window's, in one process.
SHOWS = """
import gymnasium as gym
from qmu.watching.window import Window

world = gym.make("HalfCheetah-v5", render_mode="rgb_array")
world.reset(seed=0)
window = Window("a cheetah")
while window.show(world.render()):
    pass
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xwd") and ctypes.util.find_library("OSMesa")),
    reason="there is no Xvfb to look at, or no libosmesa6",
)
def test_what_mujoco_renders_is_seen_on_a_display(tmp_path):
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "600x600x24"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    display = {"DISPLAY": f":{server.stdout.readline().strip()}"}
    hidden = {"SDL_VIDEODRIVER", "SDL_FRAMEBUFFER_ACCELERATION"}
    own = {name: value for name, value in os.environ.items() if name not in hidden}
    shown = subprocess.Popen(
        [sys.executable, "-c", SHOWS],
        env=own | display | {"MUJOCO_GL": "osmesa"},
        # By itself MuJoCo writes a file there.
        cwd=tmp_path,
    )
    try:
        limit = time.monotonic() + 60
        bright = 0.0
        while bright < 0.2 and shown.poll() is None and time.monotonic() < limit:
            time.sleep(0.5)
            screen = subprocess.run(
                ["xwd", "-root", "-silent"], env=os.environ | display, stdout=subprocess.PIPE
            ).stdout
            pixels = np.frombuffer(screen[-600 * 600 * 4 :], np.uint8)
            bright = float(np.mean(pixels > 0))
        assert bright >= 0.2, "the window is black"
    finally:
        shown.kill()
        server.kill()
        shown.wait()
        server.communicate()
