"""What is taken away of observations: by name, by what a world says of itself, by places."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple

import qmu
from qmu.errors import ConfigError
from qmu.world.hide import KNOWN, MUJOCO, places_of
from qmu.world.make import find_maker


class Told(gym.Env):
    """Observes what it is told to; it stands still."""

    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, space):
        self.observation_space = space
        space.seed(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


NESTED = Dict(
    {
        "arm": Dict({"angles": Box(-1, 1, (2,)), "speeds": Box(-9, 9, (2,))}),
        "gear": Discrete(3),
    }
)


def test_parts_of_dictionaries_are_named():
    environment = qmu.Hide(Told(NESTED), "arm.speeds")
    observation, _ = environment.reset(seed=0)
    assert list(observation) == ["arm", "gear"]
    assert list(observation["arm"]) == ["angles"]
    assert observation in environment.observation_space
    without_arm = qmu.Hide(Told(NESTED), "arm")
    assert list(without_arm.step(np.zeros(1))[0]) == ["gear"]


@pytest.mark.parametrize(
    ("parts", "kept"),
    [(("velocity",), [0, 1]), ((2,), [0, 1]), (("position",), [2]), (("0", "2"), [1])],
)
def test_of_pendulum_it_is_known_what_is_what(parts, kept):
    whole, less = gym.make("Pendulum-v1"), qmu.Hide(gym.make("Pendulum-v1"), parts)
    first, _ = whole.reset(seed=3)
    np.testing.assert_array_equal(less.reset(seed=3)[0], first[kept])
    np.testing.assert_array_equal(less.observation_space.high, whole.observation_space.high[kept])
    after = whole.step(np.float32([1.0]))[0]
    np.testing.assert_array_equal(less.step(np.float32([1.0]))[0], after[kept])


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Hopper-v5", "Ant-v5", "Humanoid-v5"])
@pytest.mark.parametrize("part", MUJOCO)
def test_mujocos_worlds_say_where_positions_and_velocities_are(name, part):
    environment = gym.make(name)
    whole, _ = environment.reset(seed=0)
    places = list(places_of(environment, len(whole))[part])
    own = getattr(environment.unwrapped.data, MUJOCO[part])
    skipped = environment.unwrapped.observation_structure["skipped_qpos"]
    expected = own[skipped:] if part == "position" else own
    np.testing.assert_allclose(whole[places], np.clip(expected, -10, 10))
    less, _ = qmu.Hide(environment, part).reset(seed=0)
    np.testing.assert_array_equal(less, np.delete(whole, places))


@pytest.mark.parametrize("name", ["Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5"])
def test_of_mujocos_worlds_without_a_structure_velocities_are_known(name):
    environment = gym.make(name)
    environment.reset(seed=0)
    observation = environment.step(environment.action_space.sample())[0]
    count = len(KNOWN[name]["velocity"])
    found = observation[list(KNOWN[name]["velocity"])]
    velocities = environment.unwrapped.data.qvel[:count]
    np.testing.assert_allclose(found, np.clip(velocities, -10, 10), rtol=1e-6)


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_of_classic_control_places_are_those_of_the_state(name):
    environment = gym.make(name)
    environment.reset(seed=0)
    observation = environment.step(environment.action_space.sample())[0]
    (place,) = KNOWN[name]["velocity"]
    assert observation[place] == pytest.approx(environment.unwrapped.state[1], rel=1e-5)


@pytest.mark.parametrize(
    ("space", "parts", "words"),
    [
        (NESTED, ["arm.force"], "there are arm, arm.angles, arm.speeds, gear"),
        (NESTED, ["arm", "gear"], "nothing is left"),
        (Box(-1, 1, (3,)), ["velocity"], "give places of numbers from 0 to 2"),
        (Box(-1, 1, (3,)), ["3"], "give places of numbers from 0 to 2"),
        (Box(-1, 1, (3,)), ["0", "1", "2"], "nothing is left"),
        (Box(0, 255, (40, 40, 3), np.uint8), ["0"], "takes parts of a dictionary, or numbers"),
        (Tuple((Box(-1, 1, (3,)),)), ["0"], "takes parts of a dictionary, or numbers"),
        (Box(-1, 1, (3,)), [], "name what is to be hidden"),
        (NESTED, ["gear", "gear"], "each once"),
    ],
)
def test_what_cannot_be_hidden_is_refused(space, parts, words):
    with pytest.raises(ConfigError) as refused:
        qmu.Hide(Told(space), parts)
    assert words in str(refused.value)
    assert "--env.hide" in str(refused.value)


def test_a_ready_made_vector_environment_is_refused():
    vector = gym.make_vec(
        "Pendulum-v1",
        num_envs=2,
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    with pytest.raises(ConfigError, match=r"qmu\.Hide"):
        find_maker(vector, hide=["velocity"])


def test_a_world_without_some_numbers_is_made_so_everywhere():
    maker = find_maker("Pendulum-v1", hide=["velocity"])
    assert maker.spaces.obs_shape == (2,)
    assert maker.made == {"hidden": ["velocity"]}
    worlds = maker.worlds(2)
    assert [len(obs) for obs in worlds.reset([0, 1])] == [2, 2]
    worlds.close()
