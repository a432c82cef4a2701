"""Messages that name the cause: resets, tensors, spaces, time limits, vector environments."""

import re
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import qmu
from qmu.world.make import find_maker

BOX = spaces.Box(-10, 10, (2,))
PAIR = r"reset must return an observation and a dictionary: return obs, \{\}"


class World(gym.Env):
    """Two numbers, and nothing to do."""

    observation_space = BOX
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action):
        return self.seen(), 0.0, False, False, {}

    def seen(self):
        return np.zeros(2, np.float32)


def begin(world):
    """Start an episode in a world."""
    worlds = find_maker(world).worlds(1)
    worlds.reset([0])
    return worlds


def returning(returned, space=BOX):
    """Return a kind of world whose reset returns this."""

    class Returning(World):
        observation_space = space

        def reset(self, *, seed=None, options=None):
            return returned

    return Returning


ALONE = {
    "two numbers": (np.float32([1, 2]), BOX),
    "two numbers in a list": ([1.0, 2.0], BOX),
    "two numbers in a tuple": ((1.0, 2.0), BOX),
    "three numbers": (np.float32([1, 2, 3]), spaces.Box(-10, 10, (3,))),
    "one number": (1.0, spaces.Box(-10, 10, ())),
    "two names": (
        {"a": np.float32([1]), "b": np.float32([2])},
        spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=spaces.Box(-1, 1, (1,))),
    ),
    "two parts": (
        (np.float32([1]), np.float32([2])),
        spaces.Tuple([spaces.Box(-1, 1, (1,)), spaces.Box(-1, 1, (1,))]),
    ),
    "nothing": (None, BOX),
}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda world: world,
        lambda world: gym.wrappers.TimeLimit(world, 10),
        lambda world: gym.wrappers.TransformObservation(world, lambda obs: obs, None),
    ],
    ids=["bare", "limited", "transformed"],
)
def test_a_reset_that_returns_the_observation_alone_is_told_as_that(name, wrap):
    world = returning(*ALONE[name])
    with pytest.raises(qmu.WorldError, match=f"reset returned .*: {PAIR}"):
        begin(lambda: wrap(world()))


def test_a_reset_that_fails_otherwise_is_not_told_as_that():
    class Raises(World):
        def reset(self, *, seed=None, options=None):
            one, two = [1, 2, 3]
            return one, two

    class OtherShape(World):
        def seen(self):
            return np.zeros(3, np.float32)

    for world, words in ((Raises, "values to unpack"), (OtherShape, r"shape \(3,\)")):
        for made in (world, lambda world=world: gym.wrappers.TimeLimit(world(), 10)):
            with pytest.raises(qmu.WorldError, match=words) as told:
                begin(made)
            assert "must return" not in str(told.value)
            assert "options" not in str(told.value)


def test_an_info_that_is_none_is_taken():
    begin(returning((np.zeros(2, np.float32), None))).close()


class Indexes(World):
    def reset(self, *, seed=None, options=None):
        self.goal = options["goal"]
        return super().reset(seed=seed)


class LooksUp(World):
    def reset(self, *, seed=None, options=None):
        given = options or {}
        self.goal = given["goal"]
        return super().reset(seed=seed)


class Requires(World):
    def reset(self, *, seed=None, options):
        return super().reset(seed=seed)


class Asks(World):
    def reset(self, *, seed=None, options=None):
        if options is None:
            raise ValueError("options must hold a goal")
        return super().reset(seed=seed)


@pytest.mark.parametrize(
    "made",
    [
        *(Indexes, LooksUp, Requires),
        lambda: gym.wrappers.TimeLimit(Indexes(), 10),
        lambda: gym.wrappers.TimeLimit(LooksUp(), 10),
    ],
    ids=["indexes", "looks up", "requires", "indexes inside", "looks up inside"],
)
def test_a_reset_that_needs_options_is_told_how_to_get_them(made):
    with pytest.raises(qmu.WorldError, match=r"reset no options: .*--env\.wrappers.*options=\{"):
        begin(made)


def test_what_a_world_says_of_options_itself_is_told_with_the_way_out():
    with pytest.raises(qmu.WorldError, match=r"options must hold a goal; .*--env\.wrappers"):
        begin(Asks)


def test_the_way_out_is_one():
    class WithGoal(gym.Wrapper):
        def reset(self, *, seed=None, options=None):
            return self.env.reset(seed=seed, options={"goal": 3})

    begin(lambda: WithGoal(Indexes())).close()


class Tensor:
    """As PyTorch's, with a gradient or on a device."""

    shape = (2,)

    def __init__(self, kind):
        self.kind = kind

    def __array__(self, dtype=None, copy=None):
        raise self.kind("Can't call numpy() on Tensor")

    def __float__(self):
        raise self.kind("Can't call numpy() on Tensor")

    def detach(self):
        return self


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
def test_a_tensor_that_is_no_array_is_told_with_what_makes_it_one(kind):
    with pytest.raises(qmu.WorldError, match=r"return obs\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        begin(returning((Tensor(kind), {})))


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
@pytest.mark.parametrize("place", ["reward", "terminated"])
def test_other_tensors_are_told_as_what_they_are(kind, place):
    class Returns(World):
        def step(self, action):
            returned = {"reward": 0.0, "terminated": False} | {place: Tensor(kind)}
            return self.seen(), returned["reward"], returned["terminated"], False, {}

    worlds = begin(Returns)
    with pytest.raises(qmu.WorldError, match=f"{place}.*Tensor object"):
        worlds.step(np.zeros((1, 1), np.float32))


def lasts(maker, most=40):
    """Return how many steps an episode of a maker's worlds has, up to `most`."""
    worlds = maker.worlds(1)
    worlds.reset([0])
    for step in range(most):
        (outcome,) = worlds.step(np.zeros((1, 1), np.float32))
        if outcome.truncated:
            return step + 1
    return None


def limits_in_limits():
    inner = gym.wrappers.TimeLimit(World(), 5)
    return gym.wrappers.TimeLimit(gym.wrappers.RescaleAction(inner, -1, 1), 20)


@pytest.mark.parametrize(("length", "steps"), [(None, 5), (3, 3), (12, 12), (30, 30), (0, None)])
def test_an_episode_length_replaces_all_time_limits(length, steps, monkeypatch):
    spec = gym.envs.registration.EnvSpec("Limits-v0", limits_in_limits, max_episode_steps=25)
    monkeypatch.setitem(gym.registry, "Limits-v0", spec)
    for source in ("Limits-v0", limits_in_limits):
        maker = find_maker(source, episode_length=length)
        assert maker.longest == steps
        assert lasts(maker) == steps


@pytest.mark.parametrize(
    "space",
    [
        spaces.Sequence(BOX),
        spaces.Graph(BOX, None),
        spaces.OneOf([BOX, spaces.Discrete(2)]),
        spaces.Text(5),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_space_without_fixed_places_is_not_sent_to_a_wrapper_that_leaves_it(space):
    with pytest.raises(qmu.ConfigError, match=r"Box in a gymnasium\.ObservationWrapper") as told:
        find_maker(returning(None, space))
    assert "FlattenObservation" not in str(told.value)
    assert type(space).__name__ in str(told.value)


class Pool(World):
    """A single environment by its class, and several by what it does, with a spec of its own."""

    num_envs = 2
    single_observation_space, single_action_space = BOX, World.action_space
    spec = SimpleNamespace(config={"num_envs": 2})


class PoolByClass(Pool, gym.vector.VectorEnv):
    """The same, and a vector environment by its class, too."""


@pytest.mark.parametrize("kind", [Pool, PoolByClass])
@pytest.mark.parametrize("by_factory", [False, True])
def test_what_is_a_single_and_a_vector_environment_is_refused(kind, by_factory):
    with pytest.raises(qmu.ConfigError, match=f"{kind.__name__}, steps several worlds at once"):
        find_maker(kind if by_factory else kind())


def test_a_vector_environment_is_no_single_one_of_a_factory():
    def make():
        return SyncVectorEnv([World], autoreset_mode=AutoresetMode.SAME_STEP)

    with pytest.raises(qmu.ConfigError, match=re.escape("SyncVectorEnv, steps several worlds")):
        find_maker(make)
    assert find_maker(make()).vector is not None


def test_a_spec_without_an_id_is_no_name():
    class OfItsOwn(World):
        spec = SimpleNamespace()

    assert find_maker(OfItsOwn).name == "OfItsOwn"


class Idiom(gym.Env):
    """Looks its goal up in options, as many do."""

    observation_space = action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        options = options or {}
        self.goal = options["goal"]
        return np.zeros(1, np.float32), {}


class Gathered(Idiom):
    def reset(self, seed=None, **given):
        return given["options"]["goal"], {}


class Demands(Idiom):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("give the map's name in options")


class Together(Idiom):
    def reset(self, *, seed=None, options=None):
        self.goal = options["goal"]
        return super().reset(seed=seed)


@pytest.mark.parametrize("world", [Idiom, Gathered, Demands, Together])
def test_options_are_missed_in_many_ways(world):
    if world is Gathered:
        world = lambda: WithOptions(Gathered())  # noqa: E731
    with pytest.raises(qmu.WorldError, match="qmu gives reset no options"):
        find_maker(world).worlds(1).reset([0])


class WithOptions(gym.Wrapper):
    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options=options)


class Old(Idiom):
    def reset(self):
        return np.zeros(1, np.float32), {}


class Newer(Idiom):
    def reset(self, seed=None):
        return np.zeros(1, np.float32), {}


@pytest.mark.parametrize("world", [Old, lambda: WithOptions(Newer())])
def test_a_reset_that_takes_too_little_is_told_what_it_has_to_take(world):
    with pytest.raises(qmu.WorldError, match=r"reset has to take a seed and options: def reset"):
        find_maker(world).worlds(1).reset([0])
