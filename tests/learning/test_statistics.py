"""Running statistics of observations, whatever their size and offset; those of older versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu.learning.statistics import (
    OLD_EPSILON,
    Statistics,
    is_old,
    no_statistics,
    observed,
    statistics_in,
    with_deviations,
)

ALL = slice(None)


def chunks_of(obs, counts):
    """Yield observations [members, worlds, rows, obs] in chunks of 33 rows, with their counts."""
    rows = obs.shape[2]
    for start in range(0, rows, 33):
        part = obs[:, :, start : start + 33]
        yield part, np.clip(counts - start, 0, part.shape[2]).astype(np.int32)


def all_seen(obs, counts):
    """Return the statistics of the first rows of each world, told chunk by chunk."""
    statistics = no_statistics(obs.shape[0], obs.shape[3])
    for part, own in chunks_of(obs, counts):
        statistics = observed(statistics, part, own)
    return statistics


@given(
    size=st.floats(-25, 25).map(lambda power: 10.0**power),
    offset=st.sampled_from([0.0, 1.0, -1e3]),
    seed=st.integers(0, 9),
)
def test_they_are_those_of_all_observations_of_any_size(size, offset, seed):
    generator = np.random.default_rng(seed)
    obs = np.float32(size * (generator.normal(size=(2, 3, 80, 2)) * [1, 100] + offset))
    counts = generator.integers(2, 80, (2, 3))
    statistics = all_seen(obs, counts)
    for member in range(2):
        seen = [obs[member, world, : counts[member, world]] for world in range(3)]
        seen = np.concatenate(seen).astype(np.float64)
        assert statistics.seen[member] == len(seen)
        mean, std = statistics.scales(slice(member, member + 1))
        assert mean.dtype == std.dtype == np.float32
        np.testing.assert_allclose(mean[0], seen.mean(axis=0), rtol=1e-6, atol=1e-6 * size)
        # 1e-12 of the mean square: a deviation of a thousandth of it is off by a millionth.
        np.testing.assert_allclose(std[0], seen.std(axis=0), rtol=3e-6)


def test_numbers_that_never_change_are_not_blown_up():
    obs = np.float32([0.1, 0.0, 1e9, -3e-20]) * np.ones((1, 1, 50, 1), np.float32)
    mean, std = all_seen(obs, np.array([[50]])).scales(ALL)
    np.testing.assert_array_equal(mean, obs[0, 0, :1])
    # A millionth of what they are; 0 has nothing to be scaled by.
    np.testing.assert_allclose(std, [[1e-7, 1.0, 1e3, 3e-26]], rtol=1e-5)


def test_no_observation_changes_no_statistic():
    before = all_seen(np.ones((1, 1, 5, 2), np.float32), np.array([[5]]))
    after = observed(before, np.full((1, 1, 3, 2), 7, np.float32), np.zeros((1, 1), np.int32))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    mean, std = no_statistics(1, 2).scales(ALL)
    assert (mean.tolist(), std.tolist()) == ([[0, 0]], [[1, 1]])


def test_what_an_older_version_kept_goes_on_with_its_own_epsilon():
    held = {
        "agents.normalizer.count": np.float32([10, 20]),
        "agents.normalizer.mean": np.float32([[1, 2, 3], [4, 5, 6]]),
        "agents.normalizer.variance": np.float32([[1e-10, 1, 4], [1, 1, 1]]),
        "other": np.zeros(3),
    }
    modern = with_deviations(held)
    expected = np.sqrt(np.float32([1e-10, 1, 4]) + np.float32(1e-8))
    np.testing.assert_array_equal(modern["agents.normalizer.std"][0], expected)
    statistics = statistics_in(held, "agents", 2, 3)
    assert is_old(statistics)
    assert statistics.added.tolist() == [OLD_EPSILON] * 2
    _, std = statistics.scales(ALL)
    # (1e-10 + 1e-8)^(1/2), with 1e-12 of the mean square, 1: the last digits are the new ones.
    np.testing.assert_allclose(std[0], [1.005037e-4, 1.0, 2.0], rtol=6e-5)
    again = observed(statistics, np.ones((2, 1, 1, 3), np.float32), np.ones((2, 1), np.int32))
    assert is_old(again)
    written = {f"statistics.{name}": value for name, value in again._asdict().items()}
    assert is_old(statistics_in(written, "agents", 2, 3))


def test_new_ones_come_back_to_the_bit():
    obs = np.random.default_rng(0).normal(size=(2, 1, 40, 3)).astype(np.float32)
    before = all_seen(obs, np.array([[40], [30]]))
    written = {f"statistics.{name}": value for name, value in before._asdict().items()}
    for one, other in zip(before, statistics_in(written, "", 2, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not is_old(before)
    assert isinstance(before, Statistics)


@pytest.mark.parametrize("lacking", ["statistics.mean", "statistics.added"])
def test_damaged_ones_are_refused(lacking):
    from qmu.saving.arrays import UnreadableError

    written = {f"statistics.{name}": one for name, one in no_statistics(1, 2)._asdict().items()}
    del written[lacking]
    with pytest.raises(UnreadableError, match=f"{lacking} is missing"):
        statistics_in(written, "agents", 1, 2)
