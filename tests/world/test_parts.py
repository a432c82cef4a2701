"""Observations of several parts: their order, what is refused, and the policy that takes them."""

import dataclasses
from collections import OrderedDict

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple, flatten
from policies import make_policy

from qmu.errors import ConfigError, WorldError
from qmu.parts import join, join_batch, join_either
from qmu.world.make import find_maker

REAL = Box(-np.inf, np.inf, (2,))


class Several(gym.Env):
    """Observes whatever its space has, at random."""

    action_space = Box(-1, 1, (1,))

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def parts_of(space):
    return find_maker(lambda: Several(space)).spaces.parts


def test_names_are_in_alphabetical_order_and_nested_ones_where_they_stand():
    space = Dict({"b": REAL, "a": Tuple((Discrete(3), Dict({"d": REAL, "c": Box(0, 1, (2, 3))})))})
    parts = parts_of(space)
    assert [part.name for part in parts] == ["a.0", "a.1.c", "a.1.d", "b"]
    assert [part.size for part in parts] == [3, 6, 2, 2]


def test_names_given_as_pairs_keep_their_order():
    space = Dict(OrderedDict([("b", REAL), ("a", REAL)]))
    assert [part.name for part in parts_of(space)] == ["b", "a"]


ALL_KINDS = Dict(
    {
        "real": REAL,
        "grid": Box(-1, 1, (2, 2), np.float64),
        "block": Box(-1, 1, (1, 2, 2)),
        "scalar": Box(0, 1, ()),
        "gear": Discrete(4, start=1),
        "levers": MultiDiscrete([2, 3]),
        "lamps": MultiBinary(3),
        "pair": Tuple((Discrete(2), REAL)),
    }
)


@pytest.mark.parametrize("space", [ALL_KINDS, Tuple((ALL_KINDS, Discrete(2)))])
def test_parts_lie_as_gymnasium_flattens_them(space):
    parts = parts_of(space)
    space.seed(0)
    samples = [space.sample() for _ in range(20)]
    for sample in samples:
        np.testing.assert_array_equal(join(parts, sample), np.float32(flatten(space, sample)))


def test_a_batch_has_an_axis_more_in_every_part():
    parts = parts_of(Dict({"a": REAL, "b": Discrete(3)}))
    observations = {"a": np.zeros((4, 2)), "b": np.array([0, 1, 2, 0])}
    for joined in (join_either(parts, observations), join_batch(parts, observations)):
        assert joined.shape == (4, 5)
        assert joined[1].tolist() == [0, 0, 0, 1, 0]


LITTLE = Dict({"door": Box(0, 9, (), np.int32), "mode": Discrete(2), "x": Box(-1, 1, (1,))})


@pytest.mark.parametrize(
    "observation",
    [
        {"door": 3.7, "mode": 1, "x": [0.5]},
        {"door": [3.7], "mode": np.array([1]), "x": 0.5},
        {"door": [[3.7]], "mode": 1.0, "x": [[0.5]]},
        {"door": [3.7], "mode": [1], "x": [[0.5]]},
    ],
)
def test_axes_of_length_one_are_neither_lacking_nor_too_many(observation):
    parts = parts_of(LITTLE)
    expected = np.float32([3.7, 0, 1, 0.5])
    np.testing.assert_array_equal(join(parts, observation), expected)
    np.testing.assert_array_equal(join_either(parts, observation), expected)


def test_a_batch_of_one_is_read_as_one_unless_it_is_said_to_be_a_batch():
    parts = parts_of(LITTLE)
    observations = {"door": [3], "mode": [1], "x": [[0.5]]}
    assert join_either(parts, observations).shape == (4,)
    assert join_batch(parts, observations).tolist() == [[3, 0, 1, 0.5]]
    with pytest.raises(ValueError, match=r"no batch of observations.*door \(\), mode \(1,\), x"):
        join_batch(parts, {"door": 3, "mode": [1], "x": [[0.5]]})


class Recited(Several):
    """Returns the same observation again and again, whatever its space says."""

    def __init__(self, space, said):
        super().__init__(space)
        self.said = said

    def reset(self, *, seed=None, options=None):
        return self.said, {}

    def step(self, action):
        return self.said, 0.0, False, False, {}


HALVES = Dict({"half": Box(-9, 9, (2,), np.float16), "whole": Box(0, 9, (1,), np.int32)})


@pytest.mark.parametrize("half", [[0.1, 1.234567], np.float64([0.1, 1.234567])])
def test_a_policy_and_its_world_read_the_same_numbers(half):
    observation = {"half": half, "whole": 3.7}
    maker = find_maker(lambda: Recited(HALVES, observation))
    (obs,) = maker.worlds(1).reset([0])
    np.testing.assert_array_equal(obs, np.float32([0.1, 1.234567, 3.7]))
    policy = dataclasses.replace(make_policy((3,)), parts=maker.spaces.parts)
    np.testing.assert_array_equal(policy(observation), policy(obs))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (np.zeros(3), "returned ndarray as an observation; .* has parts: half, whole"),
        ({"half": [0, 0]}, "without whole; there have to be half"),
        ({"half": [0, 0, 0], "whole": 1}, r"half has the shape \(3,\); it has to be \(2,\)"),
        ({"half": [0, np.nan], "whole": 1}, r"returned nan at position 1 \(half\)"),
        ({"half": [0, 0], "whole": "many"}, "whole has the dtype .*, which is no number: 'many'"),
        ({"half": [[1, 2], [3]], "whole": 1}, "half is no array"),
    ],
)
def test_what_a_world_returns_and_cannot_be_read_is_named(said, words):
    with pytest.raises(WorldError, match=words):
        find_maker(lambda: Recited(HALVES, said)).worlds(1).reset([0])


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        ({"a": [0.0, 0.0]}, r"without b; there have to be a \(2,\), b \(\)"),
        ({"a": [0.0, 0.0], "c": 1}, "without b"),
        ({"a": [0.0], "b": 1}, r"a has the shape \(1,\); it has to be \(2,\)"),
        ({"a": [0.0, 0.0], "b": 3}, "b is 3, which is none of its choices"),
        ({"a": [0.0, 0.0], "b": 1.5}, "b is 1.5, which is none of its choices"),
        ({"a": np.zeros((2, 2)), "b": 1}, r"a has the shape \(2, 2\); it has to be \(2,\)"),
        ({"a": np.zeros((2, 2)), "b": [1, 1, 1]}, r"a has the shape \(2, 2\)"),
        ((1, 2), "without a"),
    ],
)
def test_an_observation_that_does_not_fit_is_described(observation, words):
    with pytest.raises(ValueError, match=words):
        join_either(parts_of(Dict({"a": REAL, "b": Discrete(3)})), observation)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Box(0, 255, (32, 40, 48), np.uint8), "may be height width channels or channels height"),
        (Text(5), "no fixed number of numbers: eye is Text"),
    ],
)
def test_what_cannot_be_flattened_is_refused(part, words):
    with pytest.raises(ConfigError, match=words):
        parts_of(Dict({"arm": REAL, "eye": part}))


def test_an_empty_dictionary_is_refused():
    with pytest.raises(ConfigError, match="empty observations"):
        parts_of(Dict({}))


def test_rows_hold_flat_observations():
    maker = find_maker(lambda: Several(ALL_KINDS))
    worlds = maker.worlds(2)
    first = worlds.reset([3, 4])
    assert [obs.shape for obs in first] == [(maker.spaces.obs_size,)] * 2
    ALL_KINDS.seed(4)
    np.testing.assert_array_equal(first[1], np.float32(flatten(ALL_KINDS, ALL_KINDS.sample())))
