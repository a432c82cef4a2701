"""Noise and random actions, in half action ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu.agent.exploration import (
    adapted,
    distance,
    explore,
    noise_of,
    perturb,
    scales,
    uniform_actions,
)
from qmu.collecting.station import divided
from qmu.config import Explore

SHAPE = (2_000, 2, 5)
STAY = np.zeros(SHAPE[1], bool)


def draw_noise(kind, std, shape=SHAPE, started=None, **settings):
    """Return the noise of a chunk; `started` maps a step to the worlds that begin there."""
    noise, explored = noise_of(kind, None), Explore(noise=kind, std=std, **settings)
    all_worlds = scales(explored, range(shape[1]), shape[1])
    noise.draw(np.random.default_rng(0), shape, explored, all_worlds)
    return np.stack([noise.at(time, (started or {}).get(time, STAY)) for time in range(shape[0])])


def test_normal_noise_has_the_mean_and_deviation_that_were_asked_for():
    noise = draw_noise("normal", 0.1, mean=0.3)
    # 20000 draws: the mean is known to 0.1 / sqrt(20000) = 0.0007.
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0.3, atol=0.01)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 0.1, atol=0.005)
    assert noise.dtype == np.float32


def test_noise_is_independent_in_time_worlds_and_dimensions():
    noise = draw_noise("normal", 1.0)
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.05
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) < 0.05
    assert abs(np.mean(noise[..., 0] * noise[..., 1])) < 0.05


def test_random_actions_fill_the_bounds():
    actions = uniform_actions(np.random.default_rng(0), SHAPE)
    assert -1 <= actions.min() < -0.99
    assert 0.99 < actions.max() <= 1
    assert abs(actions.mean()) < 0.02
    assert actions.dtype == np.float32


def test_exploring_adds_the_noise_and_clips_to_the_bounds():
    action, noise = np.float32([[0.5, 0.9, -0.9]]), np.float32([[0.25, 0.5, -0.5]])
    np.testing.assert_array_equal(explore(action, noise), [[0.75, 1.0, -1.0]])
    np.testing.assert_array_equal(action, np.float32([[0.5, 0.9, -0.9]]))


def test_no_noise_is_none():
    assert not draw_noise("none", 1.0).any()


def test_ou_noise_has_its_stationary_moments_and_its_memory():
    shape = (40_000, 2, 5)
    noise = draw_noise("ou", 0.3, shape, mean=0.4, ou_theta=0.5, ou_dt=0.1)[500:]
    # x' = x - 0.05 (x - mean) + 0.3 √0.1 N: the variance v solves v = 0.95² v + 0.009.
    variance = 0.009 / (1 - 0.95**2)
    # A memory of 20 steps leaves about 1000 independent values in each of 10 series.
    np.testing.assert_allclose(noise.mean(), 0.4, atol=0.02)
    np.testing.assert_allclose(noise.var(), variance, rtol=0.05)
    apart = noise - noise.mean(axis=0)
    for lag in (1, 10, 30):
        correlation = np.mean(apart[lag:] * apart[:-lag]) / np.mean(apart**2)
        np.testing.assert_allclose(correlation, 0.95**lag, atol=0.05)


def test_ou_noise_starts_from_the_mean_in_every_episode_of_its_own_world():
    kept = draw_noise("ou", 0.3, ou_dt=0.1)
    restarted = draw_noise("ou", 0.3, started={1000: np.array([True, False])}, ou_dt=0.1)
    np.testing.assert_array_equal(kept[:1000], restarted[:1000])
    np.testing.assert_array_equal(kept[:, 1], restarted[:, 1])
    push = kept[1000, 0] - 0.985 * kept[999, 0]
    np.testing.assert_allclose(restarted[1000, 0], push, atol=1e-6)


def test_ou_noise_goes_on_from_one_chunk_to_the_next():
    noise = noise_of("ou", None)
    generator = np.random.default_rng(0)
    settings = Explore(noise="ou", ou_dt=0.1)
    noise.draw(generator, (50, 1, 1), settings, np.float32([[0.3]]))
    (last,) = [noise.at(time, np.zeros(1, bool)) for time in range(50)][-1:]
    noise.draw(generator, (1, 1, 1), settings, np.float32([[0.0]]))
    np.testing.assert_allclose(noise.at(0, np.zeros(1, bool)), 0.985 * last, rtol=1e-5)


def test_the_scale_grows_evenly_from_the_first_world_to_the_last():
    spread = Explore(std=0.1, std_last=0.5)
    np.testing.assert_allclose(
        scales(spread, range(5), 5), [[0.1], [0.2], [0.3], [0.4], [0.5]], rtol=1e-6
    )
    np.testing.assert_array_equal(scales(Explore(std=0.3), range(2), 2), np.float32([[0.3]] * 2))
    falling = Explore(std=0.4, std_last=0.0)
    np.testing.assert_allclose(scales(falling, range(3), 3), [[0.4], [0.2], [0.0]], atol=1e-7)


@given(st.integers(2, 20), st.integers(1, 20), st.floats(0, 2), st.floats(0, 2))
def test_parts_of_a_members_worlds_have_the_scales_of_the_whole(count, parts, std, last):
    settings = Explore(std=std, std_last=last)
    whole = scales(settings, range(count), count)
    apart = [scales(settings, worlds, count) for worlds in divided(count, min(parts, count))]
    np.testing.assert_array_equal(np.concatenate(apart), whole)


@pytest.mark.parametrize("kind", ["normal", "ou", "colored"])
def test_every_noise_has_the_scale_of_its_world(kind):
    plain = draw_noise(kind, 1.0, mean=0.0)
    spread = draw_noise(kind, 1.0, mean=0.0, std_last=3.0)
    np.testing.assert_array_equal(spread[:, 0], plain[:, 0])
    np.testing.assert_allclose(spread[:, 1], 3 * plain[:, 1], atol=1e-4)


def test_perturbed_weights_differ_by_noise_of_that_size():
    before = (np.ones((100, 100), np.float32), np.zeros(400, np.float32))
    after = perturb(np.random.default_rng(0), before, 0.2)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(np.std(other - one), 0.2, rtol=0.1)
        assert other.dtype == np.float32


def test_the_distance_of_actions_is_the_root_of_their_mean_square():
    action, other = np.float32([[0.0, 0.5], [1.0, -1.0]]), np.float32([[0.3, 0.5], [1.0, -0.6]])
    # Squares 0.09, 0, 0, 0.16: their mean is 0.0625.
    np.testing.assert_allclose(distance(action, other), 0.25, rtol=1e-6)


def test_parameter_noise_grows_below_the_wanted_distance_and_shrinks_beyond_it():
    assert adapted(0.5, apart=0.1, wanted=0.2) == 0.5 * 1.01
    assert adapted(0.5, apart=0.3, wanted=0.2) == 0.5 / 1.01
