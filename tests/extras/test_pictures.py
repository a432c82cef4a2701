"""Pictures of worlds of dm_control, Box2D and PyBullet: `make test-extras`."""

import subprocess
import sys

import numpy as np
import pytest
from sights import make, pictures

from qmu.collecting.display import choose_backend
from qmu.world.hearing import heard
from qmu.world.painters import SHOWN, Drawing
from qmu.world.pixels import drawn, told_of

pytestmark = pytest.mark.extra
SMALL = Drawing(64)
SUITE = "dm_control/cartpole-swingup-v0"


@pytest.fixture(autouse=True)
def windowless(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    # Before dm_control is imported, if it is not.
    choose_backend()
    with heard():
        yield


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("dm_control", SUITE),
        ("Box2D", "LunarLanderContinuous-v3"),
        ("Box2D", "BipedalWalker-v3"),
        ("Box2D", "CarRacing-v3"),
        ("pybullet_envs_gymnasium", "HopperBulletEnv-v0"),
    ],
)
def test_a_picture_does_not_depend_on_a_video_being_recorded(module, name):
    pytest.importorskip(module, exc_type=ImportError)
    shown = []
    found = pictures(name, SMALL, steps=8)

    def look(world):
        shown.append([world.render() for _ in range(3)])

    seen = pictures(name, SMALL, steps=8, look=look)
    np.testing.assert_array_equal(found, seen)
    assert found.shape == (9, 64, 64, 3)
    assert found.std() > 10
    # All of a moment are the same one, larger.
    assert all((one[0] == other).all() for one in shown for other in one)
    assert min(shown[0][0].shape[:2]) > 64


def test_landers_own_pictures_depend_on_how_often_they_were_drawn():
    pytest.importorskip("Box2D", exc_type=ImportError)
    world = make("LunarLanderContinuous-v3")
    world.reset(seed=3)
    # The main engine leaves smoke, which fades with each picture.
    for _ in range(3):
        world.step(np.ones(2, np.float32))
    assert (world.render() != world.render()).any()
    world.close()


def test_dm_control_draws_its_first_camera_or_another_with_shadows_or_none():
    pytest.importorskip("dm_control")
    first, fixed, other, free = (
        pictures(SUITE, Drawing(64, camera), steps=1) for camera in (None, "fixed", "1", "free")
    )
    np.testing.assert_array_equal(first, fixed)
    assert (first != other).any()
    assert (first != free).any()
    bare = make(SUITE)
    bare.reset(seed=3)
    physics = bare.unwrapped._env.physics
    shadows = pictures(SUITE, Drawing(64, shadows=True), steps=0)[0]
    np.testing.assert_array_equal(shadows, physics.render(64, 64, camera_id=0))
    bare.close()


def test_dm_control_draws_pictures_larger_than_its_models_ask_for():
    pytest.importorskip("dm_control")
    (picture,) = pictures(SUITE, Drawing(700), steps=0)
    assert picture.shape == (700, 700, 3)
    assert picture.std() > 1


def test_dm_controls_pictures_survive_other_worlds_that_are_closed():
    pytest.importorskip("dm_control")
    one, other, third = (
        drawn(make(name), SMALL) for name in (SUITE, "dm_control/cheetah-run-v0", "HalfCheetah-v5")
    )
    before = [world.reset(seed=0)[0] for world in (one, other, third)]
    assert one.render().shape == (SHOWN, SHOWN, 3)
    other.close()
    np.testing.assert_array_equal(one.reset(seed=0)[0], before[0])
    np.testing.assert_array_equal(third.reset(seed=0)[0], before[2])
    third.close()
    np.testing.assert_array_equal(one.reset(seed=0)[0], before[0])
    one.close()


def test_the_numbers_beside_a_picture_may_be_a_dictionary():
    pytest.importorskip("dm_control")
    drawing = Drawing(64, numbers=True)
    world = drawn(make(SUITE), drawing)
    observed, _ = world.reset(seed=0)
    assert observed["numbers"].keys() == {"position", "velocity"}
    assert world.observation_space.contains(observed)
    assert {"mujoco", "dm-control"} == set(told_of(world, drawing)["drawn_by"].split()[::2])
    world.close()


FORGETFUL = """
import gymnasium as gym
from qmu.world.families import register
from qmu.world.painters import Drawing
from qmu.world.pixels import drawn
register("SUITE")
world = drawn(gym.make("SUITE", render_mode="rgb_array", disable_env_checker=True), Drawing(32))
world.reset(seed=0)
"""


def test_a_program_that_forgets_a_world_ends_without_a_word():
    pytest.importorskip("dm_control", exc_type=ImportError)
    program = FORGETFUL.replace("SUITE", SUITE)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert "shutdown" not in done.stderr
