"""Worlds of PyBullet, dm_control and Box2D: `make test-extras`."""

import importlib.util

import mujoco
import numpy as np
import pytest
from short import first_observation, train

import qmu
from qmu import command
from qmu.cli import main
from qmu.study import plan
from qmu.world import hearing
from qmu.world.make import trainable

pytestmark = pytest.mark.extra

FALLING = """
<mujoco><worldbody><body><joint type="slide"/><geom size=".1" mass="1"/></body></worldbody></mujoco>
"""
BULLET = ["HopperBulletEnv-v0", "AntBulletEnv-v0", "HalfCheetahBulletEnv-v0"]
BOX2D = ["BipedalWalker-v3", "LunarLanderContinuous-v3"]


@pytest.mark.parametrize("name", BULLET)
def test_pybullet_trains(name, tmp_path):
    pytest.importorskip("pybullet_envs_gymnasium")
    train(name, tmp_path)


@pytest.mark.parametrize("name", BOX2D)
def test_box2d_trains(name, tmp_path):
    pytest.importorskip("Box2D", exc_type=ImportError)
    train(name, tmp_path)


def test_dm_control_trains_and_its_policy_takes_its_dictionary(tmp_path):
    pytest.importorskip("dm_control")
    run = train("dm_control/walker-walk-v0", tmp_path)
    policy = run.policy()
    assert [part.name for part in policy.parts] == ["height", "orientations", "velocity"]
    observed = first_observation("dm_control/walker-walk-v0")
    flat = np.concatenate([np.ravel(observed[part.name]) for part in policy.parts])
    np.testing.assert_array_equal(policy(observed), policy(flat))


@pytest.mark.parametrize(
    ("module", "name", "size"),
    [
        ("pybullet_envs_gymnasium", "Walker2DBulletEnv-v0", 22),
        ("dm_control", "dm_control/cheetah-run-v0", 17),
        ("dm_control", "dm_control/manipulator-bring_ball-v0", 44),
        ("dm_control", "dm_control/reach_site_features-v0", 45),
        ("Box2D", "BipedalWalkerHardcore-v3", 24),
    ],
)
def test_a_world_is_checked(module, name, size):
    pytest.importorskip(module, exc_type=ImportError)
    checkup = qmu.check_env(name, steps=300)
    assert checkup.possible
    assert checkup.evidence.spaces.obs_size == size


def test_actions_without_useful_bounds_are_found():
    pytest.importorskip("dm_control")
    checkup = qmu.check_env("dm_control/lqr-lqr_2_1-v0", steps=50)
    assert "action bounds are huge" in {symptom.name for symptom in checkup.symptoms}


def test_what_mujoco_says_is_heard_instead_of_printed_by_dm_control(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    core = pytest.importorskip("dm_control.mujoco.wrapper.core")
    hearing.take()
    with hearing.heard():
        physics = core.MjData(core.MjModel.from_xml_string(FALLING))
        physics.qvel[0] = 1e300
        mujoco.mj_step(physics.model.ptr, physics.ptr)
    (said,) = hearing.take()
    assert "QVEL" in said
    assert capfd.readouterr() == ("", "")
    assert mujoco.get_mju_user_warning() is core._warning_callback
    assert list(tmp_path.iterdir()) == []


def test_the_families_are_listed(capsys):
    pytest.importorskip("pybullet_envs_gymnasium")
    listed = {name for _, name in trainable("pybullet")}
    assert set(BULLET) <= listed
    assert main(["envs", "--family", "pybullet"]) == 0
    assert "HopperBulletEnv-v0" in capsys.readouterr().out


def test_the_study_bullet_begins(tmp_path):
    pytest.importorskip("pybullet_envs_gymnasium")
    study = plan.read_study("bullet", ["HopperBulletEnv-v0"], 1)
    command.dry_run(study, command.Where(1))


def test_robotics_that_are_not_here_are_a_sentence(capsys):
    if importlib.util.find_spec("gymnasium_robotics"):
        pytest.skip("they are here")
    assert main(["check", "FetchReach-v4"]) == 2
    assert 'pip install "qmu[robotics]"' in capsys.readouterr().err
