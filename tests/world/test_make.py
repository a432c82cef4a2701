"""From ids, factories, environments and vector environments to worlds."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probes import LISTED, Counter

from qmu.errors import ConfigError
from qmu.world.host import VectorWorlds
from qmu.world.make import find_maker, trainable

SAME_STEP = {"autoreset_mode": AutoresetMode.SAME_STEP}


def episode_length(worlds):
    """Return the steps of the first world's first episode."""
    worlds.reset([0] * worlds.count)
    middle = (worlds.spaces.low + worlds.spaces.high)[None] / 2
    for step in range(1, 1000):
        outcome = worlds.step(np.repeat(middle, worlds.count, axis=0))[0]
        if outcome.terminated or outcome.truncated:
            return step
    return None


@pytest.mark.parametrize("name", ["Pendulm-v1", "pendulum-v1", "Pendulum", "Pendulum-v77"])
def test_an_unknown_id_names_the_nearest(name):
    with pytest.raises(ConfigError, match=rf"no environment '{name}'.*did you mean Pendulum-v1"):
        find_maker(name)


def test_an_id_unlike_any_other_points_to_the_list():
    with pytest.raises(ConfigError, match=r"no environment 'qqqqqq'; `qmu envs` lists"):
        find_maker("qqqqqq")


def test_an_id_that_cannot_be_made_says_why():
    with pytest.raises(ConfigError, match=r"HalfCheetah-v2 cannot be made here \(ImportError"):
        find_maker("HalfCheetah-v2")


def test_an_id_with_discrete_actions_is_refused():
    with pytest.raises(ConfigError, match=r"CartPole-v1 has Discrete\(2\) actions"):
        find_maker("CartPole-v1")


def test_an_id_may_name_the_module_that_registers_it():
    maker = find_maker("gymnasium.envs.classic_control:Pendulum-v1")
    assert maker.spaces.obs_size == 3


def test_an_id_makes_as_many_fresh_worlds_as_asked():
    maker = find_maker("Pendulum-v1")
    worlds = maker.worlds(3)
    assert (maker.name, worlds.count) == ("Pendulum-v1", 3)
    assert len({id(environment) for environment in worlds.environments}) == 3
    assert maker.evaluation_worlds(2, render=False).count == 2
    assert episode_length(worlds) == 200


def test_a_factory_makes_every_world():
    made = []

    def factory():
        made.append(Counter())
        return made[-1]

    maker = find_maker(factory)
    worlds = maker.worlds(2)
    assert maker.name == "Counter"
    assert worlds.environments == made[-2:]


def broken_factory():
    raise OSError("no such robot")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (broken_factory, "factory raised OSError: no such robot"),
        (lambda: None, "factory returned NoneType, which is not a gymnasium.Env"),
        (Counter().reset, "factory returned tuple"),
    ],
)
def test_a_factory_that_makes_no_environment_is_refused(factory, words):
    with pytest.raises(ConfigError, match=words):
        find_maker(factory)


class Undeclared(gym.Env):
    """Has one of the two spaces, and none of the other."""

    def __init__(self, lacking):
        for name in {"observation_space", "action_space"} - {lacking}:
            setattr(self, name, getattr(Counter, name))


@pytest.mark.parametrize("lacking", ["observation_space", "action_space"])
@pytest.mark.parametrize("around", [[], ["gymnasium.wrappers.RecordEpisodeStatistics"]])
def test_an_environment_without_a_space_is_described(lacking, around):
    with pytest.raises(ConfigError, match=f"Undeclared has no {lacking}: set self.{lacking} in"):
        find_maker(lambda: Undeclared(lacking), wrappers=around)


def test_a_space_that_is_none_is_described():
    class Counting(Counter):
        observation_space = (2,)

    with pytest.raises(ConfigError, match=r"Counting has the observation_space \(2,\): set"):
        find_maker(Counting)


class Unclosing(Counter):
    """Cannot be closed."""

    def close(self):
        raise RuntimeError("the door is stuck")


def test_an_environment_that_cannot_be_closed_can_be_trained_in():
    assert find_maker(Unclosing).name == "Unclosing"


def test_the_list_goes_on_with_environments_that_are_broken(monkeypatch):
    worlds = {"Bare-v0": lambda: Undeclared("action_space"), "Unclosing-v0": Unclosing}
    for name, make in worlds.items():
        monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, make))
    listed = {name for _, name in trainable("other")}
    assert "Unclosing-v0" in listed
    assert "Bare-v0" not in listed


@pytest.mark.parametrize("thing", [3, None, ["Pendulum-v1"]])
def test_anything_else_is_no_environment(thing):
    with pytest.raises(ConfigError, match=r"is no environment: give an id"):
        find_maker(thing)


def test_an_environment_with_a_spec_is_made_again_from_it():
    environment = gym.make("Pendulum-v1", g=3.0, max_episode_steps=5)
    worlds = find_maker(environment).worlds(2)
    assert all(world is not environment for world in worlds.environments)
    assert [world.unwrapped.g for world in worlds.environments] == [3.0, 3.0]
    assert episode_length(worlds) == 5


NOT_SHOWN = (
    r"^NotShown-v0 cannot be shown: it can be made, but not with render_mode='{mode}' "
    r"\(TypeError.*\); let its __init__ take render_mode, keep it as self.render_mode, and name "
    r"'{mode}' in metadata\['render_modes'\]$"
)


@pytest.mark.parametrize("is_made", [False, True])
def test_an_environment_that_takes_no_render_mode_is_told_when_it_is_to_be_shown(
    is_made, monkeypatch
):
    spec = gym.envs.registration.EnvSpec("NotShown-v0", Counter)
    monkeypatch.setitem(gym.registry, "NotShown-v0", spec)
    maker = find_maker(gym.make("NotShown-v0") if is_made else "NotShown-v0")
    assert maker.worlds(1).count == 1
    with pytest.raises(ConfigError, match=NOT_SHOWN.format(mode="human")):
        maker.evaluation_worlds(1, render=True)
    with pytest.raises(ConfigError, match=NOT_SHOWN.format(mode="rgb_array")):
        maker.make_one("rgb_array")


@pytest.mark.filterwarnings("ignore:Counter has no specification")
def test_an_environment_without_a_spec_is_copied():
    environment = Counter(lengths=[4])
    maker = find_maker(environment)
    one, other = maker.worlds(2).environments
    assert one is not other is not environment
    assert one.lengths == [4]
    assert maker.name == "Counter"


@pytest.mark.filterwarnings("ignore:Counter has no specification")
def test_an_environment_that_cannot_be_copied_asks_for_a_factory():
    environment = Counter()
    environment.handle = (step for step in ())  # generators cannot be copied
    with pytest.raises(ConfigError, match=r"Counter cannot be made again .*give a function"):
        find_maker(environment)


@pytest.mark.parametrize(
    "source",
    [
        "Pendulum-v1",
        lambda: gym.make("Pendulum-v1"),
        gym.make("Pendulum-v1"),
        lambda: Counter(lengths=[10**6]),
        lambda: gym.wrappers.RescaleAction(gym.make("Pendulum-v1"), -1, 1),
    ],
    ids=["id", "factory", "environment", "unlimited", "limited inside a wrapper"],
)
@pytest.mark.parametrize("length", [3, 300])
def test_an_episode_length_replaces_the_time_limit(source, length):
    maker = find_maker(source, episode_length=length)
    assert episode_length(maker.worlds(1)) == length
    assert episode_length(maker.evaluation_worlds(1, render=False)) == length


class Limited(gym.wrappers.TimeLimit):
    """Has a time limit of 7 steps."""

    def __init__(self, environment):
        super().__init__(environment, 7)


def saying(**attributes):
    """Return a world with these attributes, which ends its episodes itself."""
    world = Counter()
    vars(world).update(attributes)
    return world


def by_hand(*factories):
    return SyncVectorEnv(factories, **SAME_STEP)


@pytest.mark.parametrize(
    ("source", "longest"),
    [
        ("Pendulum-v1", 200),
        (lambda: gym.make("Pendulum-v1", max_episode_steps=30), 30),
        (lambda: gym.make("Pendulum-v1").unwrapped, None),
        (lambda: gym.wrappers.RescaleAction(Limited(Counter()), -1, 1), 7),
        (lambda: gym.wrappers.TimeLimit(gym.make("Pendulum-v1"), 500), 200),
        (Counter, None),
        (lambda: saying(max_episode_steps=35_040), 35_040),
        (lambda: saying(_max_episode_steps=np.int64(9)), 9),
        (lambda: saying(max_episode_steps=None, _env=SimpleNamespace(_step_limit=999.5)), 1000),
        (lambda: saying(max_episode_steps=True, _env=SimpleNamespace(_step_limit=np.inf)), None),
        (lambda: Limited(saying(max_episode_steps=35_040)), 7),
        pytest.param(
            lambda: gym.make_vec(
                "Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs=SAME_STEP
            ),
            200,
            marks=LISTED,
        ),
        (lambda: by_hand(lambda: Limited(Counter()), lambda: Limited(Counter())), 7),
        (lambda: by_hand(Counter), None),
    ],
    ids=[
        *("id", "factory", "unwrapped", "without spec", "two limits", "none"),
        *("said", "said in secret", "of dm_control", "nothing said", "said, and limited"),
        *("vector", "vector by hand", "vector without"),
    ],
)
def test_the_time_limit_is_that_of_the_wrappers(source, longest):
    made = source if isinstance(source, str) else source()
    is_vector = isinstance(made, gym.vector.VectorEnv)
    assert find_maker(made if is_vector else source).longest == longest


def test_a_limit_of_the_named_wrappers_is_one(monkeypatch):
    monkeypatch.setattr(gym.wrappers, "Limited", Limited, raising=False)
    named = ["gymnasium.wrappers.Limited"]
    assert find_maker(Counter, wrappers=named).longest == 7
    assert find_maker(Counter, episode_length=3, wrappers=named).longest == 3
    assert find_maker(Counter, episode_length=30, wrappers=named).longest == 7


@LISTED
def test_a_same_step_vector_environment_is_used_as_it_is():
    vector = gym.make_vec("Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs=SAME_STEP)
    maker = find_maker(vector)
    worlds = maker.worlds(2)
    assert isinstance(worlds, VectorWorlds)
    assert (worlds.environment, worlds.count, maker.name) == (vector, 2, "Pendulum-v1")
    assert maker.spaces.action_shape == (1,)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_a_vector_environment_in_another_mode_is_refused(mode):
    vector = SyncVectorEnv([Counter], autoreset_mode=mode)
    with pytest.raises(ConfigError, match=f"same-step autoreset mode, not {mode.value}: make it"):
        find_maker(vector)


def test_a_vector_environment_keeps_its_time_limit():
    vector = by_hand(Counter)
    with pytest.raises(ConfigError, match="episode-length cannot change a ready-made"):
        find_maker(vector, episode_length=5)


@LISTED
def test_a_vector_environment_is_evaluated_on_single_worlds_like_its_own():
    vector = gym.make_vec(
        "Pendulum-v1",
        2,
        vectorization_mode="sync",
        vector_kwargs=SAME_STEP,
        max_episode_steps=5,
        g=3.0,
    )
    worlds = find_maker(vector).evaluation_worlds(3, render=False)
    assert worlds.count == 3
    assert worlds.environments[0].unwrapped.g == 3.0
    assert episode_length(worlds) == 5


@LISTED
def test_a_vector_environments_wrappers_are_around_the_evaluation_worlds_too():
    wrappers = [gym.wrappers.TimeAwareObservation]
    made = gym.make_vec(
        "Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs=SAME_STEP, wrappers=wrappers
    )
    (world,) = find_maker(made).evaluation_worlds(1, render=False).environments
    assert world.observation_space == made.single_observation_space
    scaled = by_hand(lambda: gym.wrappers.RescaleAction(Counter(), -3, 3))
    (world,) = find_maker(scaled).evaluation_worlds(1, render=False).environments
    assert world.action_space == scaled.single_action_space


def test_a_vector_environment_wrapped_as_a_whole_asks_for_a_factory():
    vector = gym.make_vec("Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs=SAME_STEP)
    wrapped = gym.wrappers.vector.RescaleAction(vector, -1, 1)
    with pytest.raises(ConfigError, match="RescaleAction does not say how they are made"):
        find_maker(wrapped)


def test_a_factory_that_returns_the_same_environment_is_refused():
    environment = Counter()
    maker = find_maker(lambda: environment)
    with pytest.raises(ConfigError, match="returned the same environment twice"):
        maker.worlds(1)


def test_the_list_holds_what_can_be_trained_and_nothing_else():
    listed = {name: family for family, name in trainable()}
    assert listed["Pendulum-v1"] == "classic control"
    assert listed["HalfCheetah-v5"] == "mujoco"
    assert not {"CartPole-v1", "FrozenLake-v1", "HalfCheetah-v2", "phys2d/Pendulum-v0"} & set(
        listed
    )


def test_the_list_can_be_of_one_family():
    assert {family for family, _ in trainable("classic control")} == {"classic control"}
