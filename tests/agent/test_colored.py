"""Colored noise against a slow sum over frequencies, and against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmu.agent.exploration import MOST_LENGTH, UNKNOWN_LENGTH, colored, noise_of, weights
from qmu.config import Explore

SCALE = np.ones((2, 1), np.float32)
COLORS = [0.0, 0.5, 1.0, 2.0]


def slow_covariance(color, length):
    """Return the covariance of two samples by how far they are apart [length].

    Of 2 length frequencies those beyond the middle are the mirror images of those before it.
    """
    power = []
    for number in range(2 * length):
        frequency = min(number, 2 * length - number) / (2 * length)
        power.append(max(frequency, 1 / (2 * length)) ** -color)
    return [
        sum(
            own / sum(power) * math.cos(math.pi * number * apart / length)
            for number, own in enumerate(power)
        )
        for apart in range(length)
    ]


def series(color, length, count, seed=0):
    return colored(np.random.default_rng(seed), weights(color, length), count)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        # Frequencies 0, 1, 2, 3 of 4 steps: 1, 1, 1/2, 1, in all 7/2. One step apart, they are
        # multiplied with 1, 0, -1, 0.
        (2, [1, 1 / 7]),
        # 1, 1, 1/2, 1/3, 1/2, 1, in all 13/3. Two steps apart, they are multiplied with 1, -1/2,
        # -1/2, 1, -1/2, -1/2: 1 - 1/2 - 1/4 + 1/3 - 1/4 - 1/2 = -1/6.
        (3, [1, 7 / 26, -1 / 26]),
        (1, [1]),
    ],
)
def test_pink_noise_is_correlated_as_its_spectrum_says_by_hand(length, expected):
    np.testing.assert_allclose(slow_covariance(1.0, length), expected, atol=1e-12)
    drawn = series(1.0, length, 200_000)
    covariance = drawn.T @ drawn / len(drawn)
    # 200000 draws: a product is known to 1 / sqrt(200000) = 0.0022, a square to 0.0032.
    for time in range(length):
        for other in range(length):
            assert covariance[time, other] == pytest.approx(expected[abs(time - other)], abs=0.015)


@pytest.mark.parametrize("color", COLORS)
def test_every_sample_has_the_variance_1_and_none_is_tied_beyond_the_spectrum(color):
    length = 24
    drawn = series(color, length, 40_000)
    assert drawn.dtype == np.float32
    covariance = drawn.T @ drawn / len(drawn)
    slow = slow_covariance(color, length)
    expected = [[slow[abs(one - other)] for other in range(length)] for one in range(length)]
    # Known to 0.007 where samples are alike; 576 numbers stay within 6 times that.
    np.testing.assert_allclose(covariance, expected, atol=0.042)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.03)


@pytest.mark.parametrize("color", COLORS)
def test_the_averaged_periodogram_is_that_of_the_spectrum(color):
    length, count = 40, 6_000
    drawn = series(color, length, count)
    found = np.mean(np.abs(np.fft.rfft(drawn)) ** 2, axis=0) / length
    slow = slow_covariance(color, length)
    # What a window of this length sees of the spectrum, by a sum over all pairs of samples.
    expected = [
        sum(
            slow[abs(one - other)] * math.cos(2 * math.pi * number * (one - other) / length)
            for one in range(length)
            for other in range(length)
        )
        / length
        for number in range(length // 2 + 1)
    ]
    np.testing.assert_allclose(found, expected, rtol=0.1)


def test_the_power_of_pink_noise_falls_with_the_frequency():
    drawn = series(1.0, 1_000, 2_000)
    power = np.mean(np.abs(np.fft.rfft(drawn)) ** 2, axis=0)
    numbers = np.arange(10, 200)
    slope, _ = np.polyfit(np.log(numbers), np.log(power[numbers]), 1)
    assert slope == pytest.approx(-1, abs=0.03)


@settings(max_examples=50)
@given(st.floats(0, 2), st.integers(1, 300))
def test_the_variance_is_1_for_any_color_and_length(color, length):
    sizes = weights(color, length).astype(float)
    # Two numbers for each frequency but the first and the last, which are real; the real part
    # of one counts twice, with its mirror image.
    variance = sizes[0] ** 2 + sizes[-1] ** 2 + 4 * np.sum(sizes[1:-1] ** 2)
    assert variance == pytest.approx(1, rel=1e-4)
    assert np.isfinite(series(color, length, 2)).all()


def test_dimensions_are_independent():
    drawn = series(1.0, 8, 40_000).reshape(20_000, 2, 8)
    assert np.abs(np.mean(drawn[:, 0] * drawn[:, 1], axis=0)).max() < 0.04


def begin(longest=8, **changes):
    """Return colored noise of two worlds with three dimensions, its generator and its settings."""
    noise, settings = noise_of("colored", longest), Explore(noise="colored", **changes)
    generator = np.random.default_rng(3)
    noise.draw(generator, (4, 2, 3), settings, SCALE)
    return noise, generator, settings


def steps(noise, number, started=()):
    """Return the noise of some steps; `started` has (step, world) of beginnings."""
    found = []
    for time in range(number):
        begins = np.array([(time, world) in started for world in range(2)])
        found.append(noise.at(time, begins))
    return np.stack(found)


def test_a_world_that_begins_has_new_noise_and_the_other_one_goes_on():
    kept = steps(begin()[0], 8)
    restarted = steps(begin()[0], 8, {(3, 1)})
    np.testing.assert_array_equal(kept[:, 0], restarted[:, 0])
    np.testing.assert_array_equal(kept[:3, 1], restarted[:3, 1])
    again, sizes = np.random.default_rng(3), weights(1.0, 8)
    series = [colored(again, sizes, 3).T for _ in range(3)]
    np.testing.assert_array_equal(restarted[3:, 1], series[2][:5])
    np.testing.assert_array_equal(kept, np.stack(series[:2], axis=1))


def test_an_episode_that_is_longer_goes_on_with_another_draw():
    found = steps(begin()[0], 20)
    again, sizes = np.random.default_rng(3), weights(1.0, 8)
    series = [colored(again, sizes, 3).T for _ in range(6)]
    np.testing.assert_array_equal(found[:, 1], np.concatenate(series[1::2])[:20])


def test_chunks_change_the_scale_and_the_mean_but_not_the_series():
    whole = steps(begin()[0], 8)
    noise, generator, settings = begin()
    first = steps(noise, 4)
    noise.draw(generator, (4, 2, 3), settings, 2 * SCALE)
    np.testing.assert_array_equal(np.concatenate([first, steps(noise, 4) / 2]), whole)
    noise.draw(generator, (4, 2, 3), Explore(noise="colored", mean=0.25), 0 * SCALE)
    assert (steps(noise, 4) == 0.25).all()


def test_the_color_that_holds_now_is_that_of_the_next_episode():
    noise, generator, _ = begin(color=0.0)
    before = steps(noise, 4)
    noise.draw(generator, (4, 2, 3), Explore(noise="colored", color=2.0), SCALE)
    np.testing.assert_array_equal(steps(noise, 2), steps(begin(color=0.0)[0], 6)[4:])
    brown = np.concatenate([steps(noise, 1, {(0, 0), (0, 1)}), steps(noise, 7)])
    assert np.abs(np.diff(brown, axis=0)).mean() < 0.5 * np.abs(np.diff(before, axis=0)).mean()


@pytest.mark.parametrize(
    ("longest", "length"), [(None, UNKNOWN_LENGTH), (30, 30), (10**6, MOST_LENGTH)]
)
def test_noise_is_drawn_for_the_longest_episode(longest, length):
    noise = begin(longest)[0]
    steps(noise, 1)
    assert noise.drawn.shape == (2, length, 3)
