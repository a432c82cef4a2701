"""How large discounted returns are, beside a reference that keeps all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu.learning.returns import no_returns, returns_in, rewarded
from qmu.rows import Rows

SUPPORT = 5.0


def rows_of(rewards, terminated=(), last=(), counts=None):
    """Return the rows of one member: rewards [worlds, time], and where which flags are set."""
    rewards = np.asarray(rewards, np.float32)[None]
    flags = [np.zeros(rewards.shape, bool) for _ in range(2)]
    for flag, places in zip(flags, (terminated, last), strict=True):
        for world, time in places:
            flag[0, world, time] = True
    worlds, times = rewards.shape[1:]
    count = np.full((1, worlds), times) if counts is None else np.asarray(counts)[None]
    nothing = np.zeros((*rewards.shape, 1), np.float32)
    return Rows(nothing, nothing, rewards, flags[0], flags[1], count.astype(np.int32))


def test_returns_by_hand():
    found = rewarded(no_returns(1, 1), rows_of([[1.0, 1.0, 2.0]]), [0.5])
    # G: 1, 1.5, 2.75.
    np.testing.assert_allclose(found.mean, [1.75])
    np.testing.assert_allclose(found.variance, [(0.75**2 + 0.25**2 + 1.0) / 3])
    np.testing.assert_allclose(found.largest, [2.75])
    np.testing.assert_allclose(found.units(slice(1)), [np.sqrt(found.variance[0])], rtol=1e-6)


def test_a_termination_begins_a_return_anew_and_a_cut_does_not():
    ended = rewarded(no_returns(1, 1), rows_of([[1.0, 1.0]], terminated=[(0, 0)]), [0.5])
    assert (ended.largest.item(), ended.running.item()) == (1.0, 1.0)
    # The final observation's row is no step, and the next episode goes on where this one was.
    cut = rewarded(no_returns(1, 1), rows_of([[1.0, 9.0, 1.0]], last=[(0, 1)]), [0.5])
    assert (cut.seen.item(), cut.largest.item()) == (2.0, 1.5)


def test_a_first_unit_is_1_and_the_largest_return_is_the_end_of_the_bins():
    none = no_returns(1, 2)
    np.testing.assert_array_equal(none.units(slice(1)), [1.0])
    zeros = rewarded(none, rows_of([[0.0, 0.0], [0.0, 0.0]]), [0.9])
    np.testing.assert_array_equal(zeros.units(slice(1)), [1.0])
    # A constant reward of 1: returns come close to 10, and hardly differ.
    constant = rewarded(no_returns(1, 1), rows_of(np.ones((1, 500))), [0.9])
    np.testing.assert_allclose(constant.units(slice(1)), [10 / SUPPORT], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1.0, 1e9, 1e30])
def test_units_follow_the_rewards_whatever_their_size(size):
    generator = np.random.default_rng(0)
    rewards = generator.normal(size=(1, 300))
    one = rewarded(no_returns(1, 1), rows_of(rewards), [0.99]).units(slice(1))
    scaled = rewarded(no_returns(1, 1), rows_of(size * rewards), [0.99]).units(slice(1))
    np.testing.assert_allclose(scaled, size * one, rtol=1e-5)
    assert np.isfinite(scaled).all()


@given(
    st.integers(1, 3),
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.integers(0, 2**20),
)
def test_statistics_are_those_of_all_returns_together(worlds, chunks, seed):
    generator = np.random.default_rng(seed)
    returns, kept, running = no_returns(2, worlds), [[], []], np.zeros((2, worlds))
    gammas = [0.9, 0.5]
    for most in chunks:
        shape = (2, worlds, most + 1)
        reward = generator.normal(size=shape).astype(np.float32)
        terminated, last = generator.random((2, *shape)) < 0.2
        count = generator.integers(0, most + 1, shape[:2])
        nothing = np.zeros((*shape, 1), np.float32)
        returns = rewarded(returns, Rows(nothing, nothing, reward, terminated, last, count), gammas)
        for member, world in np.ndindex(2, worlds):
            for time in range(count[member, world]):
                if last[member, world, time]:
                    continue
                own = gammas[member] * running[member, world] + reward[member, world, time]
                kept[member].append(own)
                running[member, world] = 0.0 if terminated[member, world, time] else own
    for member, own in enumerate(kept):
        if own:
            np.testing.assert_allclose(returns.mean[member], np.mean(own), atol=1e-12)
            np.testing.assert_allclose(returns.variance[member], np.var(own), atol=1e-12)
            assert returns.largest[member] == pytest.approx(np.abs(own).max(), abs=1e-12)
        assert returns.seen[member] == len(own)
    np.testing.assert_allclose(returns.running, running, atol=1e-12)


def test_returns_come_back_from_arrays():
    found = rewarded(no_returns(1, 2), rows_of([[1.0, 2.0], [3.0, 4.0]]), [0.9])
    held = {f"returns.{name}": value for name, value in found._asdict().items()}
    for ours, theirs in zip(returns_in(held, 1, 2), found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Of another number of worlds, those under way begin anew.
    other = returns_in(held, 1, 3)
    np.testing.assert_array_equal(other.running, np.zeros((1, 3)))
    np.testing.assert_array_equal(other.largest, found.largest)
