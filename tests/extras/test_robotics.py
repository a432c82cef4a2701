"""Worlds of Gymnasium-Robotics: `make test-robotics`."""

import numpy as np
import pytest
from short import first_observation, train

import qmu
from qmu.world.make import trainable

pytestmark = pytest.mark.extra


@pytest.fixture(autouse=True)
def _robotics():
    pytest.importorskip("gymnasium_robotics")


def test_fetch_trains_and_its_policy_takes_its_dictionary(tmp_path):
    policy = train("FetchReach-v4", tmp_path, episode_length=None).policy()
    assert [(part.name, part.size) for part in policy.parts] == [
        ("achieved_goal", 3),
        ("desired_goal", 3),
        ("observation", 10),
    ]
    observed = first_observation("FetchReach-v4")
    flat = np.concatenate([observed[part.name] for part in policy.parts])
    np.testing.assert_array_equal(policy(observed), policy(flat))
    with pytest.raises(ValueError, match="without desired_goal"):
        policy({"observation": observed["observation"], "achieved_goal": flat[:3], "goal": 1})


@pytest.mark.parametrize("name", ["HandReach-v3", "PointMaze_UMaze-v3", "AdroitHandDoor-v1"])
def test_the_other_robots_are_checked(name):
    assert qmu.check_env(name, steps=100).possible


def test_the_family_is_listed():
    listed = {name for _, name in trainable("robotics")}
    assert {"FetchReach-v4", "FetchPush-v4", "AntMaze_UMaze-v5", "FrankaKitchen-v1"} <= listed
