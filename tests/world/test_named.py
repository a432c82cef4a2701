"""What is imported because the user has named it: modules, wrappers; keyword arguments."""

import sys

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from qmu.config.tables import read_table
from qmu.errors import ConfigError
from qmu.world.make import find_maker
from qmu.world.named import find_wrapper

WRAPPERS = """
import gymnasium as gym

class Slower(gym.ActionWrapper):
    def action(self, action):
        return action / 2

class Named(gym.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.name = type(env).__name__

class Raising(gym.Wrapper):
    def __init__(self, env, strength):
        super().__init__(env)

class Other:
    pass

def shorter(env):
    return gym.wrappers.TimeLimit(env, 7)

def nothing(env):
    return None

NUMBER = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module into the working folder, and its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_wrappers_are_applied_in_their_order_to_every_world(module):
    name = module("around", WRAPPERS)
    maker = find_maker("Pendulum-v1", wrappers=[f"{name}.Slower", f"{name}.Named"])
    for worlds in (maker.worlds(2), maker.evaluation_worlds(2, render=False)):
        for world in worlds.environments:
            assert type(world).__name__ == "Named"
            assert world.name == "Slower"


def test_a_function_is_a_wrapper_too(module):
    name = module("around", WRAPPERS)
    (world,) = find_maker("Pendulum-v1", wrappers=[f"{name}.shorter"]).worlds(1).environments
    world.reset(seed=0)
    ends = [world.step(world.action_space.sample())[3] for _ in range(7)]
    assert ends == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        (
            "nowhere.Wrapper",
            r"the module nowhere of the wrapper nowhere.Wrapper cannot be imported",
        ),
        ("around.Missing", "there is no wrapper around.Missing: the module around has no Missing"),
        ("around.Other", "around.Other is a class, but no gymnasium.Wrapper"),
        ("around.NUMBER", "around.NUMBER is no wrapper, it is int"),
        ("around.Raising", "the wrapper around.Raising raised TypeError.*strength"),
        ("around.nothing", "the wrapper around.nothing returned NoneType"),
    ],
)
def test_what_is_no_wrapper_is_described(module, wrapper, words):
    module("around", WRAPPERS)
    with pytest.raises(ConfigError, match=words):
        find_maker("Pendulum-v1", wrappers=[wrapper])


def test_a_ready_made_vector_environment_is_not_wrapped():
    vector = SyncVectorEnv(
        [lambda: gym.make("Pendulum-v1")], autoreset_mode=AutoresetMode.SAME_STEP
    )
    with pytest.raises(ConfigError, match="wrap each environment where you make it"):
        find_maker(vector, wrappers=["gymnasium.wrappers.TimeAwareObservation"])


def test_wrappers_of_gymnasium_have_names_too():
    maker = find_maker("Pendulum-v1", wrappers=["gymnasium.wrappers.TimeAwareObservation"])
    assert maker.spaces.obs_size == 4
    assert find_wrapper("gymnasium.wrappers.TimeAwareObservation")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('no robot')", r"\(RuntimeError: no robot\)"),
        ("def broken(:", r"\(SyntaxError: invalid syntax"),
        ("import nothing_of_this_name", r"\(ModuleNotFoundError: No module named 'nothing_of"),
        ("import sys; sys.exit('bye')", r"\(SystemExit: bye\)"),
        ("", r"\(broken registers none of this name\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_described(module, text, words):
    name = module("broken", text)
    with pytest.raises(ConfigError, match=words):
        find_maker(f"{name}:Broken-v0")


def test_a_module_in_the_working_folder_is_found(module):
    text = "import gymnasium as gym\nfrom gymnasium.envs.classic_control import PendulumEnv\n"
    name = module("mine", text + "gym.register('Mine-v0', PendulumEnv, max_episode_steps=20)")
    try:
        maker = find_maker(f"{name}:Mine-v0")
    finally:
        gym.registry.pop("Mine-v0", None)
    assert (maker.name, maker.longest) == ("mine:Mine-v0", 20)


def test_keyword_arguments_reach_every_world():
    maker = find_maker("Pendulum-v1", kwargs=read_table("g = 1.5"))
    for world in [*maker.worlds(2).environments, *maker.evaluation_worlds(1, False).environments]:
        assert world.unwrapped.g == 1.5


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("Pendulum-v1", "gravity = 2", r"does not take --env.kwargs \{gravity = 2\} \(TypeError"),
        ("Hopper-v5", "xml_file = 'no.xml'", "Hopper-v5 does not take --env.kwargs .xml_file"),
        ("Pendulum-v1", "name = 'x'", r"does not take --env.kwargs \{name = \"x\"\}"),
        ("Pendulum-v1", "episode_length = 3", "does not take --env.kwargs"),
        ("HalfCheetah-v5", "frameskip = 2", "does not take --env.kwargs .*frameskip"),
    ],
)
def test_wrong_keyword_arguments_are_described(name, text, words):
    with pytest.raises(ConfigError, match=words):
        find_maker(name, kwargs=read_table(text))


def test_a_factory_takes_no_keyword_arguments():
    with pytest.raises(ConfigError, match="for the environment of an id, and this is function"):
        find_maker(lambda: gym.make("Pendulum-v1"), kwargs=read_table("g = 1"))
