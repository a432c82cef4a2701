"""What a world declares: what of it may change, and what may not."""

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from qmu.world.declared import declared, misfits, others, same_bounds
from qmu.world.spaces import read_spaces

OBS, ACTION = Box(-1, 1, (2,)), Box(np.float64([-0.1, 0]), np.float64([0.1, 5]), dtype=np.float64)


def of(observation=OBS, action=ACTION, longest=50):
    return declared(read_spaces("Some-v0", observation, action), longest)


def test_what_is_written_is_what_is_read():
    several = Dict({"gear": Discrete(3), "place": OBS})
    for written in (of(), of(several), of(longest=None)):
        assert json.loads(json.dumps(written)) == written
        assert misfits(json.loads(json.dumps(written)), written) == []
        assert others(json.loads(json.dumps(written)), written) == []


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (of(Box(-1, 1, (3,))), r"observations were [2], and are [3]"),
        (of(Box(-1, 1, (2, 1))), r"observations were [2], and are [2, 1]"),
        (of(action=Box(-1, 1, (1,))), "actions were [2], and are [1]"),
        (of(action=Box(-0.1, 5, (2,))), "actions were in [-0.1, 0.1] [0, 5], and are in [-0.1, 5]"),
    ],
)
def test_what_networks_do_not_fit_is_named(now, words):
    assert misfits(of(), now) == [words]


def test_parts_are_compared_with_their_choices():
    one, other = (of(Dict({"gear": Discrete(3, start=start)})) for start in (0, 1))
    (found,) = misfits(one, other)
    assert "parts of observations were" in found


def test_a_limit_and_bounds_of_observations_may_change_and_are_named():
    assert others(of(), of(longest=20)) == ["the time limit was 50, and is 20"]
    assert others(of(longest=None), of()) == ["the time limit was none, and is 50"]
    assert others(of(), of(Box(-2, 2, (2,)))) == [
        "the bounds of observations were [-1, 1], and are [-2, 2]"
    ]
    older = {key: value for key, value in of().items() if key not in ("longest", "obs_bounds")}
    assert others(older, of(longest=20)) == []


def test_bounds_in_single_and_double_precision_are_the_same():
    low, high = np.float64([-0.1, 0.7]), np.float64([0.1, 1e6])
    assert same_bounds(low, high, np.float32(low), np.float32(high))
    assert not same_bounds(low, high, low, high * 1.001)
    assert not same_bounds(low, high, low, high + 0.01)
    assert same_bounds([0.0], [0.0], [0.0], [0.0])
    assert not same_bounds([0.0], [1.0], [0.0, 0.0], [1.0, 1.0])
