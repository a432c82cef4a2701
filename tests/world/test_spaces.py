"""Which spaces are refused, with which words; scaling actions to their bounds."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text
from hypothesis import given
from hypothesis import strategies as st

from qmu.errors import ConfigError
from qmu.layout import Layout
from qmu.world.spaces import read_spaces, to_environment

OBS = Box(-np.inf, np.inf, (3,))
ACTION = Box(-2.0, 6.0, (2,))


def test_accepted_spaces_say_sizes_bounds_and_dtype():
    action = Box(np.array([[-1.0, 0.0]]), np.array([[1.0, 5.0]]), dtype=np.float64)
    spaces = read_spaces("Some-v0", Box(-1, 1, (2, 3)), action)
    assert (spaces.name, spaces.obs_shape, spaces.action_shape) == ("Some-v0", (2, 3), (1, 2))
    assert (spaces.obs_size, spaces.action_size) == (6, 2)
    assert spaces.low.tolist() == [-1.0, 0.0]
    assert spaces.high.tolist() == [1.0, 5.0]
    assert spaces.low.dtype == spaces.high.dtype == np.float32
    assert spaces.action_dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint8, np.bool_])
def test_observations_may_have_any_number_as_dtype(dtype):
    assert read_spaces("Some-v0", Box(0, 1, (3,), dtype), ACTION).obs_size == 3


@pytest.mark.parametrize(
    "table",
    [
        Box(0, 1, (8, 8), np.uint8),
        Box(0, 255, (8, 8), np.uint8),
        Box(0, 255, (64, 12), np.uint8),
        Box(0, 254, (64, 64), np.uint8),
        Box(1, 255, (64, 64, 3), np.uint8),
        Box(0, 255, (64, 64), np.int16),
        Box(0, 255, (2, 64, 64, 3), np.uint8),
        Box(0, 255, (64, 2, 64), np.uint8),
        Box(0, 1, (3, 32, 32)),
        Box(-np.inf, np.inf, (4, 3, 2)),
    ],
    ids=str,
)
def test_tables_are_numbers_alone_and_in_a_dictionary(table):
    assert read_spaces("Some-v0", table, ACTION).obs_shape == table.shape
    several = read_spaces("Some-v0", gym.spaces.Dict({"table": table}), ACTION)
    assert several.parts[0].shape == table.shape
    assert several.obs_size == int(np.prod(table.shape))


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ((96, 80, 3), (96, 80, 3)),
        ((84, 84), (84, 84, 1)),
        ((3, 64, 48), (64, 48, 3)),
        ((9, 16, 16), (16, 16, 9)),
        ((16, 16, 12), (16, 16, 12)),
    ],
    ids=str,
)
def test_bytes_with_two_sides_are_an_image_alone_and_beside_numbers(shape, pixels):
    image = Box(0, 255, shape, np.uint8)
    spaces = read_spaces("Some-v0", image, ACTION)
    assert spaces.layout == Layout(0, (pixels,))
    assert spaces.obs_shape == shape
    several = gym.spaces.Dict(eye=image, joints=Box(-1, 1, (2,)))
    assert read_spaces("Some-v0", several, ACTION).layout == Layout(2, (pixels,))
    assert read_spaces("Some-v0", several, ACTION, ("eye",)).layout == Layout(2, (pixels,))
    table = read_spaces("Some-v0", image, ACTION, ("none",))
    assert table.layout == Layout(int(np.prod(shape)))


@pytest.mark.parametrize(
    ("space", "images", "words"),
    [
        (Box(0, 255, (32, 40, 48), np.uint8), "auto", "may be height width channels or channels"),
        (Box(0, 1, (32, 40, 3)), "all", "observes the observation of float32[32, 40, 3], and an"),
        (Box(0, 255, (15, 40, 3), np.uint8), "all", "with sides of 16 pixels at least"),
        (Box(0, 255, (32, 40, 3), np.uint8), "eye", "has no such part: there is the observation"),
    ],
)
def test_what_is_no_image_or_may_be_two_is_refused(space, images, words):
    with pytest.raises(ConfigError) as refused:
        read_spaces("Some-v0", space, ACTION, (images,))
    assert words in str(refused.value)
    assert "--env.images" in str(refused.value)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Discrete(7), ["Discrete(7) observations", "FlattenObservation", "one-hot"]),
        (MultiBinary(3), ["MultiBinary observations", "FlattenObservation"]),
        (Text(5), ["Text observations"]),
        (Box(-1, 1, (1,) * 32), ["observations of 32 axes", "wrapper"]),
        (Box(-1, 1, (0,)), ["empty observations of shape (0,)"]),
    ],
)
def test_a_refused_observation_space_names_itself_the_rule_and_a_way_out(space, words):
    with pytest.raises(ConfigError) as refused:
        read_spaces("Some-v0", space, ACTION)
    for word in ["Some-v0 has", "Box observations of numbers", *words]:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Discrete(2), ["Discrete(2) actions", "continuous variant", "qmu envs"]),
        (MultiDiscrete([2, 3]), ["MultiDiscrete actions", "continuous variant"]),
        (gym.spaces.Dict(arm=ACTION), ["Dict actions"]),
        (Box(-1, 1, (0,)), ["empty actions of shape (0,)"]),
        (Box(-5, 5, (2,), np.int32), ["actions of dtype int32", "float dtype"]),
        (Box(-np.inf, np.inf, (2,)), ["without finite bounds", "RescaleAction"]),
        (Box(np.float32([0, -np.inf]), np.float32([1, 0])), ["without finite bounds", "-inf"]),
    ],
)
def test_a_refused_action_space_names_itself_the_rule_and_a_way_out(space, words):
    with pytest.raises(ConfigError) as refused:
        read_spaces("Some-v0", OBS, space)
    for word in ["Some-v0 has", "bounded Box actions", *words]:
        assert word in str(refused.value)


def test_exchanged_bounds_are_refused():
    space = Box(-1, 1, (1,))
    space.low, space.high = space.high, space.low
    with pytest.raises(ConfigError, match="lower action bound above the upper one"):
        read_spaces("Some-v0", OBS, space)


def test_bounds_beyond_float32_are_refused():
    space = Box(-1e300, 1e300, (1,), np.float64)
    with pytest.raises(ConfigError, match="bounds"):
        read_spaces("Some-v0", OBS, space)


def scale(action, low, high):
    bounds = np.float32([low]), np.float32([high])
    return to_environment(np.float32([action]), *bounds).item()


@pytest.mark.parametrize(
    ("action", "expected"), [(-1.0, -2.0), (-0.5, 0.0), (0.0, 2.0), (0.5, 4.0), (1.0, 6.0)]
)
def test_actions_are_scaled_to_asymmetric_bounds(action, expected):
    assert scale(action, -2.0, 6.0) == expected


def test_every_dimension_has_its_own_bounds():
    action = np.float32([[0.0, -1.0, 1.0], [0.5, 0.5, 0.5]])
    low, high = np.float32([-1.0, 0.0, -3.0]), np.float32([1.0, 10.0, -2.0])
    scaled = to_environment(action, low, high)
    np.testing.assert_allclose(scaled, [[0.0, 0.0, -2.0], [0.5, 7.5, -2.25]], rtol=1e-6)
    assert scaled.dtype == np.float32


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
BOUNDS = st.tuples(FLOATS, FLOATS).map(sorted)


@given(st.floats(-1, 1, width=32, allow_subnormal=False), BOUNDS)
def test_actions_never_leave_their_bounds(action, bounds):
    low, high = bounds
    assert low <= scale(action, low, high) <= high


@given(BOUNDS)
def test_the_ends_of_the_unit_interval_are_the_bounds(bounds):
    low, high = bounds
    assert scale(-1.0, low, high) == low
    assert scale(1.0, low, high) == high


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(-1, 1, width=32))
def test_scaling_can_be_undone(below, above, action):
    low, high = np.float32(-below), np.float32(above)
    back = (scale(action, low, high) - low) / (high - low) * 2 - 1
    assert back == pytest.approx(action, abs=1e-4)


def test_float64_actions_stay_inside_float64_bounds():
    space = Box(-0.1, 0.1, (1,), np.float64)  # 0.1 as float32 is larger than as float64
    spaces = read_spaces("Some-v0", OBS, space)
    for end in (-1.0, 1.0):
        action = to_environment(np.float32([end]), spaces.low, spaces.high)
        assert space.contains(action.astype(spaces.action_dtype))
