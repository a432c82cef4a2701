"""The statistics against numbers worked out by hand, and their intervals against simulated data."""

import subprocess
import sys

import numpy as np
import pytest
import scipy
from budget import some
from hypothesis import given
from hypothesis import strategies as st

from qmu.records import stats

CURVES = np.array([[0.0, 10.0, 20.0, 30.0], [0.0, 0.0, 40.0, 20.0]])
STEPS = np.array([10.0, 20.0, 30.0, 50.0])


def test_the_last_evaluations_of_each_seed_are_its_score():
    curves = np.arange(36.0)[None]
    assert stats.last_scores(curves) == np.mean(np.arange(26, 36))
    # Of fewer than thirty the last third, and at least one.
    assert stats.last_scores(curves[:, :12]) == np.mean([8, 9, 10, 11])
    np.testing.assert_array_equal(stats.last_scores(CURVES), [30.0, 20.0])


def test_the_area_is_the_mean_over_steps():
    # (0 + 10) / 2 * 10 + (10 + 20) / 2 * 10 + (20 + 30) / 2 * 20 = 700, over 40 steps.
    # 0 + (0 + 40) / 2 * 10 + (40 + 20) / 2 * 20 = 800.
    np.testing.assert_array_equal(stats.area_under(STEPS, CURVES), [17.5, 20.0])
    np.testing.assert_array_equal(stats.area_under(STEPS[:1], CURVES[:, :1]), [0.0, 0.0])


def test_steps_to_a_threshold_are_those_of_the_first_evaluation_there():
    assert stats.steps_to(STEPS, CURVES, 20.0) == [30, 30]
    assert stats.steps_to(STEPS, CURVES, 30.0) == [50, 30]
    assert stats.steps_to(STEPS, CURVES, 35.0) == [None, 30]


def test_a_seed_without_a_number_has_failed():
    assert stats.failed(np.array([1.0, 3.0, np.nan, 2.0]), 2.0) == 2


def test_normalized_scores():
    np.testing.assert_array_equal(
        stats.normalized(np.array([-10.0, 0.0, 30.0]), -10, 10), [0, 0.5, 2]
    )


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end():
    # 1 2 | 3 4 5 6 | 70 80, in two worlds.
    strata = [np.array([80.0, 1.0, 3.0, 5.0]), np.array([4.0, 70.0, 6.0, 2.0])]
    assert stats.interquartile_mean(strata).value == 4.5


def test_the_probability_of_improvement_counts_pairs():
    # World one: 2 beats 1, ties 2; 4 beats 1, 2 -> (1 + 0.5 + 1 + 1) / 4; world two: none of 2.
    ours = [np.array([2.0, 4.0]), np.array([0.0])]
    theirs = [np.array([1.0, 2.0]), np.array([1.0, 2.0])]
    assert stats.probability_of_improvement(ours, theirs).value == pytest.approx(0.875 / 2)


def test_a_profile_is_the_share_of_runs_above_each_level():
    strata = [np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0]), np.full(5, 2.0)]
    share, low, high = stats.profile(strata, np.array([-1.0, 0.0, 1.0, 2.0, 3.0]))
    # At 0: 3/4 and 1; at 1: 1/4 and 1; at 2: 1/4 and 0.
    np.testing.assert_allclose(share, [1.0, 0.875, 0.625, 0.125, 0.0])
    assert (low <= share).all()
    assert (share <= high).all()
    assert low[0] == high[0] == 1.0


def test_the_difference_of_arms():
    ours, theirs = [np.array([3.0, 4.0, 5.0, 6.0, 7.0])], [np.array([1.0, 1.0, 1.0, 1.0, 1.0])]
    value, low, high = stats.difference(ours, theirs)
    assert value == 4.0
    assert 2.0 <= low < 4.0 < high <= 6.0
    assert stats.difference(ours, ours).value == 0.0
    # In two worlds the middle halves count: 3 4 5 6 of 1 3 4 5 6 80 and 1 of ones.
    two = [np.array([1.0, 3.0, 80.0]), np.array([4.0, 5.0, 6.0])]
    assert stats.difference(two, [np.ones(3), np.ones(3)]).value == 3.5


def test_an_interval_that_allows_for_a_choice_is_wider():
    rng = np.random.default_rng(3)
    ours, theirs = [rng.normal(size=10)], [rng.normal(size=10)]
    alone, among = (stats.difference(ours, theirs, count) for count in (1, 7))
    assert among.value == alone.value
    assert among.low < alone.low < alone.high < among.high


def test_the_score_interval_of_a_probability():
    # All pairs won by three seeds of three: (1 - p)^2 = 1.96^2 var(p) has the root 0.5010, where
    # var = p (1 - p) (1 + 2 ((1 - p) / (2 - p) + p / (1 + p))) / 9.
    three = [np.array([4.0, 5.0, 6.0])], [np.array([1.0, 2.0, 3.0])]
    value, low, high = stats.probability_of_improvement(*three)
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(0.50102, abs=1e-5)
    p = 0.50102
    variance = p * (1 - p) * (1 + 2 * ((1 - p) / (2 - p) + p / (1 + p))) / 9
    assert 1.959964**2 * variance == pytest.approx((1 - p) ** 2, rel=1e-4)
    turned = stats.probability_of_improvement(*three[::-1])
    assert turned == pytest.approx((0.0, 0.0, 1 - low))
    # Two such worlds: the distance to the bound is 0.49898 / sqrt(2).
    both = stats.probability_of_improvement(three[0] * 2, three[1] * 2)
    assert both.low == pytest.approx(1 - 0.49898 / np.sqrt(2), abs=1e-5)


def test_without_enough_seeds_there_is_no_interval():
    for seeds in (1, 2, 4):
        scores = np.arange(float(seeds))
        for found in (
            stats.mean(scores),
            stats.interquartile_mean([scores]),
            stats.difference([scores], [scores]),
        ):
            assert np.isnan(found.low)
            assert np.isnan(found.high)
        share, low, high = stats.profile([scores], np.array([-1.0, 5.0]))
        np.testing.assert_array_equal(share, [1.0, 0.0])
        assert np.isnan([low, high]).all()
    two = np.array([1.0, 2.0])
    assert np.isnan(stats.probability_of_improvement([two], [two]).low)


def test_equal_seeds_have_an_interval_without_width():
    assert stats.mean(np.full(5, 7.0)) == (7.0, 7.0, 7.0)


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=12))
def test_an_interval_holds_its_value_and_stays_within_the_seeds(scores):
    value, low, high = stats.mean(np.array(scores))
    slack = 1e-9 * (1 + max(map(abs, scores)))
    assert min(scores) - slack <= low <= value + slack
    assert value - slack <= high <= max(scores) + slack


def test_the_percentiles_are_wider_for_few_seeds():
    # Student's 97.5% for 4 and 9 degrees of freedom are 2.7764 and 2.2622; times sqrt(n / (n - 1))
    # they are 3.1041 and 2.3846 standard deviations of a normal number.
    for seeds, tail in ((5, 0.000954), (10, 0.00855)):
        assert stats.tails([np.zeros(seeds)]) == pytest.approx((tail, 1 - tail), abs=1e-5)


DRAWN = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "skewed": (lambda rng, size: rng.exponential(size=size), 1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seeds", "least"),
    some(
        [("normal", 5, 0.88), ("normal", 10, 0.92), ("skewed", 5, 0.84), ("skewed", 10, 0.88)],
        [("normal", 5, 0.88)],
    ),
)
def test_the_intervals_hold_the_truth_about_as_often_as_they_say(kind, seeds, least):
    draw, truth = DRAWN[kind]
    rng = np.random.default_rng(0)
    intervals = [stats.mean(draw(rng, seeds)) for _ in range(600)]
    share = np.mean([low <= truth <= high for _, low, high in intervals])
    assert least <= share <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 3.0])
def test_the_interval_of_a_probability_holds_the_truth_near_1_as_well(seeds, apart):
    rng = np.random.default_rng(0)
    truth = scipy.stats.norm.cdf(apart / np.sqrt(2))
    held = []
    for _ in range(600):
        ours, theirs = rng.normal(apart, size=seeds), rng.normal(size=seeds)
        found = stats.probability_of_improvement([ours], [theirs])
        held.append(found.low <= truth <= found.high)
    assert 0.88 <= np.mean(held) <= 0.99


@pytest.mark.long
@pytest.mark.slow
def test_intervals_over_worlds_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        ours = [rng.normal(0.5, size=5), rng.normal(0.5, size=5)]
        theirs = [rng.normal(size=5), rng.normal(size=5)]
        # P(X > Y) of normals 0.5 apart is Phi(0.5 / sqrt(2)).
        improved = stats.probability_of_improvement(ours, theirs)
        middle = stats.interquartile_mean(theirs)
        apart = stats.difference(ours[:1], theirs[:1])
        held.append(
            [
                improved.low <= 0.63816 <= improved.high,
                middle.low <= 0 <= middle.high,
                apart.low <= 0.5 <= apart.high,
            ]
        )
    assert (np.mean(held, axis=0) > 0.9).all(), np.mean(held, axis=0)


def test_the_interval_over_episodes_is_students():
    rewards = np.array([1.0, 2.5, -3.0, 4.0, 0.5])
    found = stats.mean_of_episodes(rewards.mean(), rewards.std(), 5)
    # 2.776 is the 97.5% quantile of Student's distribution with 4 degrees of freedom.
    half = 2.776445 * rewards.std(ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(found, [1.0, 1.0 - half, 1.0 + half], rtol=1e-6)
    assert np.isnan(stats.mean_of_episodes(1.0, 0.5, 2)[1:]).all()


def test_what_a_training_needs_of_scipy_loads_quickly():
    code = "import sys, qmu.records.stats; print('scipy.stats' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
