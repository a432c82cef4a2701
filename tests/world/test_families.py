"""Families of ids: which are known, what is said of those that are missing or do not fit."""

import os
import subprocess
import sys

import gymnasium as gym
import pytest

from qmu.errors import ConfigError
from qmu.world import families
from qmu.world.families import FAMILIES, clash_of, family_named
from qmu.world.make import find_maker, trainable

NAMED = {
    "HopperBulletEnv-v0": "pybullet",
    "HumanoidFlagrunHarderBulletEnv-v0": "pybullet",
    "dm_control/walker-walk-v0": "dm_control",
    "dm_control/CmuHumanoidRunWalls-v0": "dm_control",
    "FetchReach-v4": "robotics",
    "FetchPickAndPlaceDense-v4": "robotics",
    "HandManipulateBlock_BooleanTouchSensors-v1": "robotics",
    "AntMaze_UMaze-v5": "robotics",
    "AdroitHandDoor-v1": "robotics",
    "BipedalWalkerHardcore-v3": "box2d",
    "LunarLanderContinuous-v3": "box2d",
}


@pytest.mark.parametrize("name", NAMED)
def test_an_id_tells_its_family(name):
    assert family_named(name).name == NAMED[name]


@pytest.mark.parametrize("name", ["Ant-v5", "Pendulum-v1", "Hopper-v5", "Antenna-v0", "mine:X-v0"])
def test_other_ids_belong_to_no_optional_family(name):
    assert family_named(name) is None


OPTIONAL = [family for family in FAMILIES if family.extra]


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(families.importlib.util, "find_spec", lambda module: None)


@pytest.mark.parametrize("name", [name for name in NAMED if "Cmu" not in name])
@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_family_is_answered_with_the_command(name):
    extra = family_named(name).extra
    with pytest.raises(ConfigError, match=rf'not installed here: pip install "qmu\[{extra}\]"'):
        find_maker(name)


@pytest.mark.usefixtures("nothing_installed")
def test_the_list_goes_on_without_them():
    assert {family for family, _ in trainable("classic control")} == {"classic control"}
    assert list(families.absent()) == [
        f'{one.name}: not installed here: pip install "qmu[{one.extra}]"' for one in OPTIONAL
    ]


@pytest.mark.parametrize("name", ["RodentTwoTouch-v0", "lift_brick_vision-v0"])
def test_ids_of_images_are_refused_before_they_are_made(name):
    with pytest.raises(ConfigError, match="observes images"):
        find_maker(f"dm_control/{name}")


DM_CONTROL, ROBOTICS = (family_named(n) for n in ("dm_control/walker-walk-v0", "FetchReach-v4"))


@pytest.mark.parametrize(
    ("family", "there", "words"),
    [
        (
            ROBOTICS,
            {"gymnasium-robotics": "1.4.2", "mujoco": "3.12.0"},
            "mujoco must be below 3.12",
        ),
        (ROBOTICS, {"gymnasium-robotics": "1.4.2", "mujoco": "3.11.0"}, None),
        (DM_CONTROL, {"dm-control": "1.0.50", "mujoco": "4.0.0"}, "mujoco must be below 4"),
        (
            DM_CONTROL,
            {"dm-control": "1.0.50", "mujoco": "3.15.0"},
            "dm-control 1.0.50 asks for mujoco 3.17.0 or newer",
        ),
        (DM_CONTROL, {"dm-control": "1.0.50", "mujoco": "3.17.0"}, None),
    ],
)
def test_versions_that_do_not_go_together_are_known(monkeypatch, family, there, words):
    asked = {"dm-control": ["numpy>=1.9", "mujoco>=3.17.0"], "gymnasium-robotics": ["mujoco>=2.2"]}
    monkeypatch.setattr(families.metadata, "requires", lambda package: asked.get(package))
    assert clash_of(family, there) == words


def test_a_family_whose_versions_clash_is_told_in_the_list(monkeypatch):
    monkeypatch.setattr(families, "is_installed", lambda family: True)
    monkeypatch.setattr(families.metadata, "version", lambda package: "3.15.0")
    monkeypatch.setattr(families.metadata, "requires", lambda package: None)
    assert list(families.absent("robotics")) == [
        "robotics: some may be missing, mujoco must be below 3.12: " + ROBOTICS.install
    ]


def test_adapters_of_the_old_gym_are_not_listed():
    assert families.group_of(gym.spec("GymV26Environment-v0")) is None


class Refusing(gym.Env):
    """Cannot be made, as with the wrong version of a simulator."""

    def __init__(self):
        raise AttributeError("'MjModel' object has no attribute 'efmC_perm'")


def raising(module, message):
    """Return an environment's entry point in a module of this name, which raises."""
    held = {"__name__": module}
    exec(f"def make(**kwargs):\n    raise AttributeError({message!r})", held)
    return held["make"]


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("mujoco.osmesa", "MUJOCO_GL=osmesa .* package libosmesa6 .* MUJOCO_GL to egl or glfw"),
        ("mujoco.egl.egl_ext", "MUJOCO_GL=egl .* package libegl1 .* MUJOCO_GL to osmesa or glfw"),
        ("dm_control._render.pyopengl.osmesa_renderer", "package libosmesa6"),
        ("dm_control._render.pyopengl.egl_renderer", "package libegl1"),
    ],
)
@pytest.mark.parametrize("name", ["Drawn-v0", "dm_control/drawn-walk-v0"])
def test_a_library_that_mujoco_draws_with_is_named_where_it_is_missing(
    name, module, told, monkeypatch
):
    monkeypatch.setattr(families, "is_installed", lambda family: True)
    make = raising(module, "'NoneType' object has no attribute 'glGetError'")
    spec = gym.envs.registration.EnvSpec(name, make)
    monkeypatch.setitem(gym.registry, name, spec)
    for source in (name, make):
        with pytest.raises(ConfigError, match=told) as refused:
            find_maker(source)
        assert "cannot be made here: MUJOCO_GL" in str(refused.value)
        assert "'NoneType' object has no attribute 'glGetError'" in str(refused.value)
        assert "versions" not in str(refused.value)


@pytest.mark.long
def test_a_value_of_mujoco_gl_that_is_not_known_is_told():
    said = subprocess.run(
        [sys.executable, "-m", "qmu", "check", "HalfCheetah-v5"],
        env={**os.environ, "MUJOCO_GL": "nonsense"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert said.stderr == (
        "qmu: HalfCheetah-v5 cannot be made here: the environment variable MUJOCO_GL has a value "
        "that is not known (RuntimeError: invalid value for environment variable MUJOCO_GL: "
        "nonsense): give it one of osmesa, egl, glfw, or none (`unset MUJOCO_GL`)\n"
    )


def test_a_simulator_of_the_wrong_version_is_a_sentence(monkeypatch):
    there = {"gymnasium-robotics": "1.4.2", "mujoco": "3.15.0"}
    monkeypatch.setattr(families.metadata, "version", lambda package: there[package])
    monkeypatch.setattr(families.metadata, "requires", lambda package: None)
    monkeypatch.setattr(families, "is_installed", lambda family: True)
    spec = gym.envs.registration.EnvSpec("FetchReach-v9", Refusing)
    monkeypatch.setitem(gym.registry, "FetchReach-v9", spec)
    with pytest.raises(ConfigError) as refused:
        find_maker("FetchReach-v9")
    assert str(refused.value) == (
        "FetchReach-v9 cannot be made with gymnasium-robotics 1.4.2 and mujoco 3.15.0: mujoco must "
        "be below 3.12 (AttributeError: 'MjModel' object has no attribute 'efmC_perm'); "
        'pip install "qmu[robotics]" installs versions that do, in a virtual environment of its '
        "own if something else here needs these"
    )


@pytest.mark.parametrize(
    ("there", "known"),
    [
        ({"box2d": "2.3.10"}, "box2d 2.3.10"),
        ({"box2d-py": "2.3.8"}, "box2d-py 2.3.8"),
        ({}, "the Box2D of this installation"),
    ],
)
def test_a_simulator_from_another_package_is_a_sentence(monkeypatch, there, known):
    def version(package):
        if package not in there:
            raise families.metadata.PackageNotFoundError
        return there[package]

    monkeypatch.setattr(families.metadata, "version", version)
    monkeypatch.setattr(families, "is_installed", lambda family: True)
    spec = gym.envs.registration.EnvSpec("BipedalWalker-v9", Refusing)
    monkeypatch.setitem(gym.registry, "BipedalWalker-v9", spec)
    with pytest.raises(ConfigError) as refused:
        find_maker("BipedalWalker-v9")
    assert str(refused.value).startswith(
        f"BipedalWalker-v9 cannot be made with {known}, which may not fit (AttributeError: 'MjM"
    )
