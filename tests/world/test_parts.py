"""Observations of several parts: their order, what is refused, and the policy that takes them."""

from collections import OrderedDict

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple, flatten

from qmu.deploy.parts import join
from qmu.errors import ConfigError
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
def test_a_policy_flattens_as_the_world_does(space):
    parts = parts_of(space)
    space.seed(0)
    samples = [space.sample() for _ in range(20)]
    for sample in samples:
        np.testing.assert_array_equal(join(parts, sample), np.float32(flatten(space, sample)))


def test_a_batch_has_an_axis_more_in_every_part():
    parts = parts_of(Dict({"a": REAL, "b": Discrete(3)}))
    joined = join(parts, {"a": np.zeros((4, 2)), "b": np.array([0, 1, 2, 0])})
    assert joined.shape == (4, 5)
    assert joined[1].tolist() == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        ({"a": [0.0, 0.0]}, r"without b; this policy takes a \(2,\), b \(\)"),
        ({"a": [0.0, 0.0], "c": 1}, "without b"),
        ({"a": [0.0], "b": 1}, r"a has the shape \(1,\); this policy takes \(2,\)"),
        ({"a": [0.0, 0.0], "b": 3}, "b is 3, which is none of its choices"),
        ({"a": np.zeros((2, 2)), "b": 1}, "batches of different sizes"),
        ((1, 2), "without a"),
    ],
)
def test_an_observation_that_does_not_fit_is_described(observation, words):
    with pytest.raises(ValueError, match=words):
        join(parts_of(Dict({"a": REAL, "b": Discrete(3)})), observation)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Box(0, 255, (8, 8, 3), np.uint8), r"observes an image among others: eye has the shape"),
        (Box(0, 255, (8, 8), np.uint8), "observes an image among others: eye"),
        (Box(0, 1, (3, 32, 32)), "observes an image among others: eye"),
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
