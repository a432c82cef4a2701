"""Worlds as pictures: what is drawn, when, and that nothing else changes it."""

import ctypes.util
import gc
import itertools
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probes import Counter
from sights import SMALL, make, pictures

from qmu.collecting.outpost import Outpost
from qmu.collecting.station import Order, Post
from qmu.config import Env, checks, reading
from qmu.deploy.policy import Network
from qmu.errors import ConfigError, WorldError
from qmu.watching.play import rate_of
from qmu.watching.video import Frames, rendered, rendering
from qmu.world.hearing import heard, take
from qmu.world.host import HostWorlds
from qmu.world.make import Maker, find_maker
from qmu.world.painters import SHOWN, Drawing
from qmu.world.pixels import Pixels, check_drawn, drawing_of, drawn, told_of
from qmu.world.repeat import repeated
from qmu.world.shrinking import resized
from qmu.world.spaces import read_spaces

graphics = pytest.mark.skipif(
    ctypes.util.find_library("OSMesa") is None, reason="needs OSMesa to draw with"
)


@pytest.fixture(autouse=True)
def windowless(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with heard():
        yield
    take()


class Painted(Counter):
    """Its picture has the time in its first pixel, and in the second how often it was drawn."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, size=(32, 32), lengths=(9,)):
        super().__init__(lengths=lengths)
        self.picture = np.zeros((*size, 3), np.uint8)
        self.drawn = 0

    def render(self):
        self.drawn += 1
        self.picture[0, :2] = [[self.time], [self.drawn]]
        return self.picture


def means(picture, size):
    """Return the means of areas, pixel by pixel, exactly."""
    shares = []
    for length in picture.shape[:2]:
        own = np.zeros((size, length), object)
        for new in range(size):
            for old in range(length):
                low = max(Fraction(new * length, size), old)
                high = min(Fraction((new + 1) * length, size), old + 1)
                own[new, old] = max(Fraction(0), high - low) * Fraction(size, length)
        shares.append(own)
    found = np.einsum("ih,hwc,jw->ijc", shares[0], picture.astype(object), shares[1])
    return np.vectorize(lambda mean: int(mean + Fraction(1, 2)))(found)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (8, 4), (3, 3), (4, 4), (9, 2)])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_smaller_picture_has_the_means_of_areas(shape, size):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    found = resized(picture, size)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, means(picture, size))


def test_halves_are_rounded_up_and_extremes_stay():
    picture = np.array([[[0], [1]], [[2], [3]]], np.uint8)
    assert resized(picture, 1).item() == 2
    for value in (0, 255):
        whole = np.full((400, 600, 3), value, np.uint8)
        assert (resized(whole, 84) == value).all()
    # 2/3 of 90 and 1/3 of 30; 1/3 of 30 and 2/3 of 0.
    thirds = np.array([90, 30, 0], np.uint8).reshape(1, 3, 1)
    assert resized(thirds, 2)[:, :, 0].tolist() == [[70, 10], [70, 10]]


@pytest.mark.parametrize("size", [(32, 32), (50, 64)])
def test_a_picture_belongs_to_whom_it_was_given(size):
    world = drawn(Painted(size), SMALL)
    first, _ = world.reset(seed=0)
    kept = first.copy()
    second, *_ = world.step(np.zeros(1))
    assert not np.shares_memory(first, world.unwrapped.picture)
    np.testing.assert_array_equal(first, kept)
    assert (first != second).any()
    assert world.observation_space.contains(second)


def test_a_picture_that_is_a_view_is_put_in_order():
    class Upside(Painted):
        def render(self):
            return super().render()[::-1]

    (first, _), upside = drawn(Painted(), SMALL).reset(), drawn(Upside(), SMALL).reset()[0]
    assert upside.flags.c_contiguous
    np.testing.assert_array_equal(upside, first[::-1])


def test_a_world_is_drawn_once_for_an_action_whoever_looks():
    world = drawn(repeated(Painted(), 3), SMALL)
    world.reset(seed=0)
    assert world.unwrapped.drawn == 1
    shown = [world.render() for _ in range(3)]
    observed, *_ = world.step(np.zeros(1))
    assert observed[0, :2, 0].tolist() == [3, 2]
    assert len(shown) == 3
    np.testing.assert_array_equal(world.render(), world.unwrapped.picture)
    assert world.unwrapped.drawn == 2


def test_numbers_come_beside_the_picture():
    world = drawn(Painted(), Drawing(32, numbers=True))
    observed, _ = world.reset(seed=4)
    assert observed.keys() == {"pixels", "numbers"}
    assert observed["numbers"].tolist() == [4, 0]
    assert world.observation_space.contains(observed)


def test_images_beside_the_picture_are_refused():
    class Seen(Painted):
        observation_space = gym.spaces.Box(0, 255, (96, 96, 3), np.uint8)

    with pytest.raises(ConfigError, match=r"--env\.numbers: the world's own.* images \(96"):
        drawn(Seen(), Drawing(32, numbers=True))


@pytest.mark.parametrize(
    "given", [None, "picture", np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), [np.zeros(3)]]
)
def test_what_is_no_picture_is_refused(given):
    class Blind(Painted):
        def render(self):
            return given

    with pytest.raises(ConfigError, match=r"Blind gives no pictures.*render_mode='rgb_array'"):
        check_drawn("Blind", drawn(Blind(), SMALL))


def test_a_world_without_pictures_is_refused_where_its_maker_is_found():
    with pytest.raises(ConfigError, match=r"--env\.pixels: Counter gives no pictures here"):
        find_maker(Counter, drawing=SMALL)


def test_a_last_moment_that_is_gone_is_no_picture():
    class Renewing(Painted):
        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            if terminated:
                info, obs = {"final_obs": obs}, self.reset()[0]
            return obs, reward, terminated, truncated, info

    world = drawn(Renewing(lengths=(2,)), SMALL)
    world.reset()
    world.step(np.zeros(1))
    with pytest.raises(WorldError, match="can be drawn no more"):
        world.step(np.zeros(1))


@pytest.mark.parametrize("several", [False, True])
def test_a_last_observation_that_is_the_same_gives_way_to_the_picture(several):
    class Twice(Painted):
        def step(self, action):
            obs, *others, _ = super().step(action)
            # Before the end it may be an old one.
            held = obs.copy() if self.time == 2 else obs - 1
            obs, held = ({"a": obs}, {"a": held}) if several else (obs, held)
            return obs, *others, {"final_obs": held, "other": 1}

    world = drawn(Twice(lengths=(2,)), SMALL)
    world.reset()
    world.step(np.zeros(1))
    observed, _, terminated, _, info = world.step(np.zeros(1))
    assert terminated
    assert observed[0, 0, 0] == 2
    assert info == {"other": 1}


def test_pictures_are_asked_for_by_options():
    asked = reading.from_dict({"env": {"pixels": 84, "camera": "track", "numbers": True}}).env
    assert drawing_of(asked) == Drawing(84, "track", shadows=False, numbers=True)
    assert drawing_of(Env()) is None
    world = Counter()
    assert drawn(world, None) is world
    assert told_of(world, None) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"camera": "track"}, r"--env\.camera track is about the pictures of --env\.pixels"),
        ({"shadows": True}, r"--env\.shadows is about the pictures"),
        ({"numbers": True}, r"--env\.numbers is about the pictures"),
        ({"pixels": 84, "render": True}, r"--env\.render shows a world in a window of its own"),
        ({"pixels": 31}, r"--env\.pixels must be from 32 to 1024"),
        ({"pixels": 1025}, r"--env\.pixels must be from 32 to 1024"),
    ],
)
def test_what_makes_no_sense_is_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        checks.check(reading.from_dict({"env": given}))


def test_a_ready_made_vector_environment_is_refused():
    vector = SyncVectorEnv([lambda: make("Pendulum-v1")], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ConfigError, match=r"--env\.pixels 32 draws single environments"):
        find_maker(vector, drawing=SMALL)


def test_a_camera_needs_a_world_that_has_some():
    with pytest.raises(ConfigError, match=r"--env\.camera track: only worlds of MuJoCo"):
        drawn(Painted(), Drawing(32, camera="track"))


def test_pictures_of_pendulum_are_those_of_its_seed():
    found = pictures("Pendulum-v1")
    np.testing.assert_array_equal(found, pictures("Pendulum-v1", look=lambda world: world.render()))
    assert found.shape == (6, 32, 32, 3)
    assert all((one != other).any() for one, other in itertools.pairwise(found))


def test_what_draws_is_told():
    world = drawn(make("Pendulum-v1"), SMALL)
    told = told_of(world, SMALL)
    assert told["pixels"] == 32
    assert told["drawn_by"] == f"gymnasium {gym.__version__}"


@graphics
def test_mujoco_draws_at_the_size_that_is_wanted_and_larger_to_be_looked_at():
    found = pictures("HalfCheetah-v5", drawing=Drawing(84))
    assert found.shape == (6, 84, 84, 3)
    assert found.std() > 10
    shapes = []

    def look(world):
        shapes.append(world.render().shape)

    again = pictures("HalfCheetah-v5", drawing=Drawing(84), look=look)
    np.testing.assert_array_equal(found, again)
    assert shapes == [(SHOWN, SHOWN, 3)] * 5


@graphics
def test_shadows_are_drawn_where_they_are_asked_for():
    without, with_them = (
        pictures("HalfCheetah-v5", drawing=Drawing(84, shadows=shadows))
        for shadows in (False, True)
    )
    bare = make("HalfCheetah-v5", width=84, height=84)
    bare.reset(seed=3)
    np.testing.assert_array_equal(with_them[0], bare.render())
    bare.close()
    assert (without[0] != with_them[0]).any()


@graphics
def test_no_picture_is_black_after_another_world_was_closed_or_forgotten():
    worlds = [drawn(make(name), SMALL) for name in ("HalfCheetah-v5", "Hopper-v5", "Ant-v5")]
    before = [world.reset(seed=0)[0] for world in worlds]
    # Unlike ones exchange textures where the context is not the picture's own.
    again = [world.reset(seed=0)[0] for world in worlds]
    np.testing.assert_array_equal(before, again)
    worlds.pop().close()
    others = [drawn(make("Walker2d-v5"), SMALL), make("Walker2d-v5"), make("Walker2d-v5")]
    for other in others:
        other.reset(seed=0)
        other.render()
        # One is drawn in between, which leaves its context.
        worlds[0].painter.draw()
    others.pop().close()
    del other, others
    gc.collect()
    after = [world.reset(seed=0)[0] for world in worlds]
    np.testing.assert_array_equal(before[:2], after)
    worlds.pop()
    gc.collect()
    np.testing.assert_array_equal(worlds[0].reset(seed=0)[0], before[0])
    worlds[0].close()


@graphics
def test_cameras_have_names_and_numbers():
    track, first, free, own = (
        pictures("HalfCheetah-v5", steps=1, drawing=Drawing(32, camera))
        for camera in ("track", "0", "free", None)
    )
    np.testing.assert_array_equal(track, first)
    np.testing.assert_array_equal(free, own)
    assert (track != free).any()
    with pytest.raises(ConfigError, match=r"--env\.camera 7: .*there is 0 \(track\), free"):
        drawn(make("HalfCheetah-v5"), Drawing(32, "7"))


def test_what_cannot_draw_is_told_with_its_variable(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    world = drawn(make("InvertedPendulum-v5"), SMALL)
    with pytest.raises(ConfigError, match=r"MUJOCO_GL.*osmesa"):
        check_drawn("InvertedPendulum-v5", world)
    world.close()


def small_pictures():
    """Return a maker of worlds of pictures, as numbers: what a station needs to know of them."""

    def make_one(mode):
        return drawn(repeated(make("InvertedPendulum-v5"), 2), SMALL)

    action = gym.spaces.Box(-3, 3, (1,), np.float32)
    box = gym.spaces.Box(0, 255, (32, 32, 3), np.float32)
    return Maker("Pictures", read_spaces("Pictures", box, action), make_one, None)


@graphics
@pytest.mark.slow
def test_another_process_draws_the_same():
    maker = small_pictures()
    weights = (np.zeros((maker.spaces.obs_size, 1), np.float32),)
    network = Network(weights, (np.full(1, 0.1, np.float32),), (), (), "relu", maker.spaces.layout)
    post = Post(0, reading.from_dict({}).explore)
    station = Outpost(maker, Env(workers="1", pixels=32), [post], range(1))
    try:
        station.wait_ready()
        station.ask(Order(4, 10, 0, [network], [post.explore], 4, [[5]], None))
        harvest = station.answer()
    finally:
        station.close()
    rows = harvest.rows
    worlds = HostWorlds([maker.make_one(None)], maker.spaces)
    (obs,) = worlds.reset([5])
    for time in range(4):
        np.testing.assert_array_equal(rows.obs[0, 0, time], obs)
        (outcome,) = worlds.step(3 * rows.action[0, 0, time][None])
        obs = outcome.final
    # The pole may fall inside of a repeat.
    assert harvest.world_steps == [worlds.world_steps()]
    assert 4 < worlds.world_steps() <= 8
    assert rows.obs[0, 0, 0].std() > 10
    worlds.close()


@graphics
def test_a_video_shows_the_moment_that_was_observed():
    maker = small_pictures()
    worlds = rendering(maker, "no video")
    first = rendered(worlds)
    assert first.shape == (SHOWN, SHOWN, 3)
    np.testing.assert_array_equal(first, rendered(worlds, first))
    worlds.execute(0, np.ones(1, np.float32))
    assert (rendered(worlds, first) != first).any()
    assert Frames(worlds).rate == rate_of(make("InvertedPendulum-v5")) / 2
    worlds.close()


def test_a_maker_makes_worlds_of_pictures_and_says_how():
    maker = find_maker("Pendulum-v1", repeat=2, drawing=Drawing(32, numbers=True))
    assert maker.spaces.obs_shape == (32 * 32 * 3 + 4 * 3,)
    assert maker.made["repeat"] == 2
    assert maker.made["numbers"]
    (world,) = maker.worlds(1).environments
    assert isinstance(world, Pixels)
    with pytest.raises(ConfigError, match="opens no window of its own"):
        maker.evaluation_worlds(1, render=True)


def test_the_only_world_is_drawn_too():
    maker = find_maker(Painted, single=True, drawing=SMALL)
    world = maker.make_one(None)
    assert world.unwrapped.drawn == 0
    assert world.reset(seed=0)[0].shape == (32, 32, 3)
    maker.close()


def test_pixels_are_the_outermost_wrapper():
    assert isinstance(drawn(repeated(Painted(), 2), SMALL), Pixels)
