"""Families of ids: which are known, what is said of those that are missing or do not fit."""

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
