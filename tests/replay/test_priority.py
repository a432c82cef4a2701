"""The tree of priorities against plain lists, and the frequencies and weights of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from qmu.layout import Layout
from qmu.replay.priority import (
    CHILDREN,
    EPSILON,
    MEASURES,
    Priorities,
    draw,
    init_priorities,
    level_sizes,
    note_rows,
    of_sequences,
    priorities_bytes,
    renewed,
    replaced,
    weights,
)
from qmu.replay.stream import append, init_stream, startable
from qmu.rows import Rows

REPLACE = jax.jit(replaced)
DRAW = jax.jit(draw, static_argnames="shape")
RENEWED = jax.jit(renewed, static_argnames="measure")
NOTE = jax.jit(note_rows)
APPEND = jax.jit(append)
KEY = jax.random.key(3)


def member(priorities, index=0):
    return jax.tree.map(lambda leaf: leaf[index], priorities)


def tree_of(values):
    """Return one member's priorities, which are these."""
    empty = member(init_priorities(1, len(values)))
    return REPLACE(empty, jnp.arange(len(values)), jnp.asarray(values, jnp.float32))


def weighted(priorities, shape, beta, key=KEY):
    """Return what is drawn of one member's priorities, and what it weighs."""
    place, priority = DRAW(priorities, key, shape=shape)
    return place, weights(priority, beta)


def renew(priorities, place, error, alpha, kind="td-error"):
    return RENEWED(priorities, place, error, alpha, measure=MEASURES[kind])


def check_sums(priorities):
    """Every node is the sum of its children."""
    for below, above in zip(priorities.levels, priorities.levels[1:], strict=False):
        sums = np.asarray(below).reshape(-1, CHILDREN).sum(axis=1)
        np.testing.assert_allclose(np.asarray(above)[: len(sums)], sums, rtol=1e-6)
        assert not np.asarray(above)[len(sums) :].any()


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (1, [1]),
        (32, [32]),
        (33, [64, 2]),
        (1024, [1024, 32]),
        (1025, [1056, 64, 2]),
        (1_000_001, [1_000_032, 31_264, 992, 31]),
    ],
)
def test_levels_have_a_node_for_32_of_the_level_below(rows, sizes):
    assert level_sizes(rows) == sizes


@pytest.mark.parametrize("fading", [False, True])
def test_the_memory_that_is_asked_for_is_the_memory_that_is_taken(fading):
    priorities = init_priorities(3, 5000, fading)
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(priorities))
    assert taken == priorities_bytes(3, 5000, fading)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 1199), st.integers(0, 100)), min_size=1, max_size=20),
        max_size=8,
    )
)
def test_the_tree_is_what_a_plain_list_would_be(changes):
    priorities, plain = member(init_priorities(1, 1100)), np.zeros(1120, np.float32)
    for change in changes:
        # 20 rows at a time compile once. Of one row twice the last would win: each only once.
        last = dict(change)
        places = [place if place < 1100 else 99_999 for place in last]
        values = list(last.values())
        missing = 20 - len(places)
        priorities = REPLACE(
            priorities,
            jnp.array(places + [99_999] * missing),
            jnp.array(values + [0] * missing, jnp.float32),
        )
        for place, value in zip(places, values, strict=True):
            if place < 1100:
                plain[place] = value
    np.testing.assert_array_equal(priorities.levels[0], plain)
    check_sums(priorities)


@pytest.mark.parametrize("rows", [5, 40, 1500])
def test_rows_are_drawn_in_proportion_to_their_priority(rows):
    values = np.random.default_rng(rows).integers(0, 5, rows).astype(np.float64)
    values[0] = 3.0
    place, _ = DRAW(tree_of(values), KEY, shape=(400, 100))
    counts = np.bincount(np.asarray(place).ravel(), minlength=rows)
    expected = 40_000 * values / values.sum()
    assert not counts[values == 0].any()
    some = values > 0
    assert chisquare(counts[some], expected[some]).pvalue > 1e-4


def test_draws_of_a_batch_are_stratified():
    # Ten draws of ten equal rows, one from each tenth: every row once.
    place, _ = DRAW(tree_of(np.ones(10)), KEY, shape=(50, 10))
    np.testing.assert_array_equal(place, np.tile(np.arange(10), (50, 1)))


def test_weights_make_up_for_the_priorities():
    place, weight = weighted(tree_of([1.0, 4.0, 0.0, 16.0]), (200,), 0.5)
    # (1 / P)^0.5 relative to the rarest row in the batch: 1, (1/4)^0.5, (1/16)^0.5
    expected = np.array([1.0, 0.5, np.nan, 0.25])[np.asarray(place)]
    np.testing.assert_allclose(weight, expected, rtol=1e-6)


@pytest.mark.parametrize(("beta", "expected"), [(0.0, [1.0, 1.0]), (1.0, [1.0, 0.25])])
def test_beta_is_how_much_they_make_up_for(beta, expected):
    place, weight = weighted(tree_of([1.0, 4.0]), (50,), beta)
    np.testing.assert_allclose(weight, np.array(expected)[np.asarray(place)], rtol=1e-6)


def test_nothing_is_drawn_from_an_empty_tree():
    _, weight = weighted(member(init_priorities(1, 100)), (8,), 0.5)
    np.testing.assert_array_equal(weight, np.zeros(8))


def test_a_priority_is_the_power_of_the_td_error():
    before = tree_of([1.0, 1.0, 1.0, 0.0])
    after = renew(before, jnp.array([0, 2, 3]), jnp.array([4.0, 0.0, 9.0]), 0.5)
    # 4^0.5 = 2; nothing is lost for ever; row 3 starts no transition, whatever was computed for it.
    np.testing.assert_allclose(after.levels[0], [2.0, 1.0, EPSILON**0.5, 0.0], rtol=1e-3)
    assert float(after.largest) == pytest.approx(2.0)


def test_alpha_0_is_uniform():
    after = renew(tree_of([1.0, 1.0]), jnp.array([0, 1]), jnp.array([100.0, 0.01]), 0.0)
    np.testing.assert_array_equal(after.levels[0], [1.0, 1.0])


def test_a_priority_of_lap_is_the_power_of_an_error_above_1():
    after = renew(
        tree_of([2.0, 2.0, 2.0, 0.0]),
        jnp.array([0, 1, 2, 3]),
        jnp.array([0.25, 16.0, 1.0, 9.0]),
        0.5,
        "lap",
    )
    # max(|error|, 1)^0.5; row 3 starts no transition.
    np.testing.assert_allclose(after.levels[0], [1.0, 4.0, 1.0, 0.0], rtol=1e-6)
    assert float(after.largest) == pytest.approx(4.0)


@pytest.mark.parametrize("kind", MEASURES)
def test_rows_are_drawn_as_the_paper_says_of_their_errors(kind):
    errors = np.array([0.1, 0.5, 0.9, 1.5, 4.0, 20.0])
    raw = {"td-error": (errors + 1e-6) ** 0.4, "lap": np.maximum(errors, 1) ** 0.4}[kind]
    tree = renew(tree_of(np.ones(6)), jnp.arange(6), jnp.asarray(errors), 0.4, kind)
    place, _ = DRAW(tree, KEY, shape=(400, 100))
    counts = np.bincount(np.asarray(place).ravel(), minlength=6)
    assert chisquare(counts, 40_000 * raw / raw.sum()).pvalue > 1e-4
    if kind == "lap":
        # Not as the td-error would: the smallest errors are alike.
        other = (errors + 1e-6) ** 0.4
        assert chisquare(counts, 40_000 * other / other.sum()).pvalue < 1e-4


def test_without_beta_all_rows_weigh_1():
    place, weight = weighted(tree_of([1.0, 4.0, 0.0, 16.0]), (200,), None)
    assert set(np.asarray(place).tolist()) == {0, 1, 3}
    np.testing.assert_array_equal(weight, np.ones(200))
    _, weight = weighted(member(init_priorities(1, 100)), (8,), None)
    np.testing.assert_array_equal(weight, np.zeros(8))


def test_draws_by_the_td_error_are_those_that_they_were():
    # What version 0.1 drew, before there was another way: rows, weights, and priorities.
    tree = tree_of(np.arange(70) * 7 % 11)
    place, weight = weighted(tree, (2, 8), 0.5)
    assert place.tolist() == [[1, 17, 23, 35, 37, 48, 53, 64], [2, 9, 24, 28, 37, 46, 61, 61]]
    expected = [0.6546537, 0.5773503, 0.6546537, 1, 0.7071068, 0.7071068, 0.6123725, 0.6123725]
    np.testing.assert_allclose(weight[0], expected, rtol=1e-6)
    tree = renew(tree, place, jnp.arange(16.0).reshape(2, 8), 0.7)
    np.testing.assert_allclose(tree.levels[1], [136.93672, 149.12114, 27.90453], rtol=1e-6)
    place, _ = weighted(tree, (2, 8), 0.5, jax.random.key(4))
    assert place.tolist() == [[7, 15, 20, 34, 39, 48, 54, 69], [7, 13, 24, 31, 37, 47, 53, 61]]


def rows_of(*worlds):
    """Return the rows of one member's worlds; each is a word such as 'sse' (e: a final one)."""
    slots = 8
    shape = (1, len(worlds), slots)
    rows = Rows(
        np.zeros((*shape, 1), np.float32),
        np.zeros((*shape, 1), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
        np.zeros(shape, bool),
        np.array([[len(world) for world in worlds]], np.int32),
    )
    for index, world in enumerate(worlds):
        for time, kind in enumerate(world):
            rows.last[0, index, time] = kind == "e"
        rows.last[0, index, len(world)] = True
    return rows


def test_new_rows_get_the_largest_priority_and_those_that_start_nothing_none():
    stream, priorities = init_stream(10, 1, 2, Layout(1), 1), init_priorities(1, 12)
    for chunk in (("sse", "s"), ("ss", "es")):
        rows = rows_of(*chunk)
        priorities = NOTE(priorities, stream, rows)
        stream = APPEND(stream, rows)
    # Rings of 6: world 0 has s s e s s and its newest observation; world 1 s e s and its newest.
    expected = [1, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0, 0]
    np.testing.assert_array_equal(priorities.levels[0][0], expected)

    priorities = jax.tree.map(
        lambda leaf: leaf[None],
        renew(member(priorities), jnp.array([0, 3]), jnp.array([4.0, 9.0]), 0.5),
    )
    priorities = NOTE(priorities, stream, rows_of("sss", "s"))
    # World 0 goes on at slot 5 and overwrites 0 and 1; its newest observation is in slot 2. World
    # 1 goes on at slot 3. New rows have the largest priority so far, 9^0.5.
    expected = [3, 3, 0, 3, 1, 3, 1, 0, 1, 3, 0, 0]
    np.testing.assert_allclose(priorities.levels[0][0], expected, rtol=1e-5)


@given(st.lists(st.lists(st.text("se", max_size=7), min_size=2, max_size=2), max_size=12))
def test_exactly_the_stored_transitions_can_be_drawn(chunks):
    stream, priorities = init_stream(14, 1, 2, Layout(1), 1), init_priorities(1, 16)
    for chunk in chunks:
        rows = rows_of(*chunk)
        priorities = NOTE(priorities, stream, rows)
        stream = APPEND(stream, rows)
    stored = np.zeros((2, 8), bool)
    for world in range(2):
        for age in range(int(stream.size[0, world])):
            stored[world, (int(stream.head[0, world]) - 1 - age) % 8] = True
    drawable = np.asarray(priorities.levels[0][0]).reshape(2, 8) > 0
    np.testing.assert_array_equal(drawable, stored & np.asarray(startable(stream.flags[0])))
    check_sums(member(priorities))


def test_members_have_priorities_of_their_own():
    both = init_priorities(2, 4)
    changed = renew(
        REPLACE(member(both, 1), jnp.arange(2), jnp.ones(2)), jnp.array([0]), jnp.array([25.0]), 0.5
    )
    assert isinstance(changed, Priorities)
    np.testing.assert_allclose(changed.levels[0], [5.0, 1.0, 0.0, 0.0], rtol=1e-5)
    assert not np.asarray(both.levels[0]).any()


def test_the_priority_of_a_sequence_by_hand():
    # Two sequences of three steps, step by step behind each other; the last of the second is none.
    error = jnp.array([1.0, 4.0, 2.0, 0.0, 6.0, 9.0])
    weight = jnp.array([1.0, 0.5, 1.0, 0.5, 1.0, 0.0])
    # 0.9 of the largest and 0.1 of the mean: of 1, 2, 6 and of 4, 0.
    expected = [0.9 * 6 + 0.1 * 3, 0.9 * 4 + 0.1 * 2]
    np.testing.assert_allclose(of_sequences(error, weight, 2), expected, rtol=1e-6)
    assert of_sequences(error, jnp.zeros(6), 2).tolist() == [0.0, 0.0]
