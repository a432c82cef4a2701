"""Environments that are given as they are: what others like them lack is said."""

import warnings
from functools import partial
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv

import qmu
from qmu.errors import ConfigError
from qmu.world.given import again, changes
from qmu.world.make import find_maker


class Tasks(gym.Wrapper):
    """Has a task, which users set, and counts steps and episodes."""

    task = 0

    def __init__(self, env):
        super().__init__(env)
        self.steps, self.ended = 0, 0
        self.settings, self.parts = SimpleNamespace(mass=1.0), [1, SimpleNamespace(mass=1.0)]
        self.settings.itself = self.settings
        self.inner = gym.make("Pendulum-v1")
        self.targets = {"near": np.zeros(2), "far": [1.0, np.nan]}

    def step(self, action):
        self.steps += 1
        self.ended += self.steps % 30 == 0
        return self.env.step(action)


@pytest.fixture(autouse=True)
def _tasks():
    gym.register("Tasks-v0", lambda **kwargs: Tasks(PendulumEnv(**kwargs)), max_episode_steps=30)
    yield
    gym.registry.pop("Tasks-v0")


def lighter(env):
    env.unwrapped.g = 0.0


def task_of(env, value):
    env.env.env.env.task = value


def further(env):
    env.env.env.env.targets["far"][0] = 2.0


def shorter(env):
    env._max_episode_steps = 5


def test_a_changed_limit_is_in_the_specification():
    environment = gym.make("Tasks-v0")
    shorter(environment)
    assert find_maker(environment).longest == 5


def other_reward(env):
    env.unwrapped.step = lambda action: None


def wider(env):
    env.unwrapped.action_space = gym.spaces.Box(-5, 5, (1,))


def in_an_object(env):
    env.env.env.env.settings.mass = 9.0


def in_a_list(env):
    env.env.env.env.parts[1].mass = 9.0


def inside_of_another(env):
    env.env.env.env.inner.unwrapped.g = 0.0


CHANGES = [
    (in_an_object, "Tasks.settings.mass is 9.0, and was 1.0"),
    (in_a_list, r"Tasks.parts\[1\].mass is 9.0, and was 1.0"),
    (inside_of_another, "Tasks.inner.g is 0.0, and was 10.0"),
    (lighter, "PendulumEnv.g is 0.0, and was 10.0"),
    (lambda env: task_of(env, 3), "Tasks.task is 3, and was 0"),
    (further, r"Tasks.targets\['far'\]\[0\] is 2.0, and was 1.0"),
    (other_reward, "PendulumEnv.step was replaced"),
    (wider, r"PendulumEnv.action_space is Box\(-5.*, and was Box\(-2"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_changed_environment_is_refused_before_anything_is_made(change, words):
    environment = gym.make("Tasks-v0")
    change(environment)
    with pytest.raises(ConfigError, match=f"Tasks-v0 was changed after it was made .{words}"):
        find_maker(environment)
    with pytest.raises(ConfigError, match="give a function that makes it, changes it"):
        qmu.DDPG(environment)


def test_in_one_that_was_used_it_is_said_and_no_more():
    environment = gym.make("Tasks-v0")
    environment.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            environment.step(environment.action_space.sample())
        find_maker(environment)
    for _ in range(27):
        environment.step(environment.action_space.sample())
    with pytest.warns(RuntimeWarning, match=r"Tasks.ended is 1, and was 0.*unless it is only"):
        find_maker(environment)


@pytest.mark.parametrize("name", ["Pendulum-v1", "HalfCheetah-v5", "Reacher-v5"])
def test_what_happens_in_an_environment_is_no_change(name):
    environment = gym.make(name, render_mode="rgb_array")
    assert list(changes(environment, partial(again, environment, {}))) == []
    environment.reset(seed=3)
    for _ in range(20):
        environment.step(environment.action_space.sample())
    assert list(changes(environment, partial(again, environment, {}))) == []


def test_a_changed_model_of_mujoco_is_one():
    environment = gym.make("InvertedPendulum-v5")
    environment.unwrapped.model.opt.gravity[2] = -1
    assert sorted(changes(environment, partial(again, environment, {}))) == [
        "InvertedPendulumEnv.model was changed",
        "InvertedPendulumEnv.mujoco_renderer.model was changed",
    ]


def test_of_copies_it_is_said_what_they_share():
    with pytest.warns(RuntimeWarning, match="PendulumEnv has no specification .* are copies of it"):
        find_maker(PendulumEnv())


def test_a_changed_environment_in_a_vector_environment_is_refused():
    vector = gym.vector.SyncVectorEnv(
        [lambda: gym.make("Tasks-v0")] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP
    )
    assert find_maker(vector).longest == 30
    vector.set_attr("g", 7.0)
    with pytest.raises(ConfigError, match=r"SyncVectorEnv was changed .*PendulumEnv.g is 7.0, and"):
        find_maker(vector)
