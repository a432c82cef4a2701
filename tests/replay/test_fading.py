"""Priorities that fade with age: numbers worked out by hand, and a slow list as a reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu.layout import Layout
from qmu.replay.priority import (
    CHILDREN,
    LEAST,
    MEASURES,
    STALE,
    Fading,
    Priorities,
    begun,
    draw,
    faded,
    init_priorities,
    note_rows,
    refreshed,
    renewed,
    weights,
)
from qmu.replay.stream import append, init_stream
from qmu.rows import Rows

NOTE, APPEND, BEGIN = jax.jit(note_rows), jax.jit(append), jax.jit(begun)
FADE = jax.jit(faded, static_argnames="length")
REFRESH = jax.jit(refreshed, static_argnames="length")
RENEW = jax.jit(renewed, static_argnames="measure")
SLOTS = 24


def alone(priorities):
    return jax.tree.map(lambda leaf: leaf[0], priorities)


def together(priorities):
    return jax.tree.map(lambda leaf: leaf[None], priorities)


def ring_of(values):
    """Return one member's fading priorities in a ring of one world, which are these."""
    empty = alone(init_priorities(1, len(values), fading=True))
    return BEGIN(empty, jnp.arange(len(values)), jnp.asarray(values, jnp.float32))


def rows_of(*worlds):
    """Return the rows of one member's worlds; each is a word such as 'sse' (e: a final one)."""
    shape = (1, len(worlds), SLOTS)
    last = np.zeros(shape, bool)
    for index, world in enumerate(worlds):
        last[0, index, : len(world)] = [kind == "e" for kind in world]
        last[0, index, len(world)] = True
    return Rows(
        np.zeros((*shape, 1), np.float32),
        np.zeros((*shape, 1), np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
        last,
        np.array([[len(world) for world in worlds]], np.int32),
    )


def test_a_ring_fades_by_hand():
    # The newest observation is in slot 2; slot 1 has the newest row, slot 3 the oldest.
    tree = ring_of([8.0, 8.0, 0.0, 8.0, 4.0, 8.0])
    after = FADE(tree, jnp.array([2]), length=6, fade=jnp.float32(0.5))
    # Ages 1, 0, -, 4, 3, 2. A sixteenth is below a tenth.
    np.testing.assert_allclose(after.levels[0], [4, 8, 0, 0.8, 0.5, 2], rtol=1e-6)
    np.testing.assert_array_equal(after.fading.raw, [8, 8, 0, 8, 4, 8])


def test_with_several_worlds_a_step_is_a_row_of_each():
    # Two rings of three, whose newest observations are in slots 0 and 2.
    tree = ring_of([0.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    after = FADE(tree, jnp.array([0, 2]), length=3, fade=jnp.float32(0.9))
    np.testing.assert_allclose(after.levels[0], [0, 0.81, 1, 0.81, 1, 0], rtol=1e-6)


def test_what_is_drawn_keeps_its_age_and_gets_another_priority():
    tree = FADE(ring_of([8.0, 8.0, 0.0, 8.0]), jnp.array([2]), length=4, fade=jnp.float32(0.5))
    np.testing.assert_allclose(tree.levels[0], [4, 8, 0, 2], rtol=1e-6)
    drawn, error = jnp.array([3, 2, 0, 3]), jnp.array([16.0, 5.0, 0.3, 16.0])
    after = RENEW(tree, drawn, error, 0.5, measure=MEASURES["lap"])
    np.testing.assert_allclose(after.fading.raw, [1, 8, 0, 4], rtol=1e-6)
    np.testing.assert_allclose(after.levels[0], [0.5, 8, 0, 1], rtol=1e-6)
    # The largest is unfaded: new rows begin with it.
    assert float(after.largest) == 4.0


def test_weights_make_up_for_what_has_faded():
    tree = FADE(ring_of([2.0, 2.0, 0.0]), jnp.array([2]), length=3, fade=jnp.float32(0.5))
    place, priority = draw(tree, jax.random.key(0), (60,))
    # Drawn 1 to 2: with β = 1 the rarer row weighs 1, and the other one a half.
    assert np.bincount(np.asarray(place)).tolist() == [20, 40]
    expected = np.array([1.0, 0.5])[np.asarray(place)]
    np.testing.assert_allclose(weights(priority, 1.0), expected, rtol=1e-6)


def test_all_fade_again_when_32_rows_have_come_in():
    stream, tree = init_stream(100, 1, 2, Layout(1), 1), init_priorities(1, 102, fading=True)
    heads, since = [], []
    for _ in range(5):
        rows = rows_of("s" * 5, "s" * 5)
        tree, stream = NOTE(tree, stream, rows), APPEND(stream, rows)
        before = int(tree.fading.since[0])
        tree = together(REFRESH(alone(tree), stream.head[0], length=51, fade=jnp.float32(0.9)))
        heads.append(float(tree.levels[0][0][0]))
        since.append((before, int(tree.fading.since[0])))
    assert STALE == 32
    assert since == [(10, 10), (20, 20), (30, 30), (40, 0), (10, 10)]
    # The first row of the first world: 19 steps of two rows have come after it.
    np.testing.assert_allclose(heads, [1, 1, 1, LEAST, LEAST], rtol=1e-5)
    assert LEAST > 0.9**38


def test_members_in_one_batch_fade_when_their_own_rows_have_come_in():
    two = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[ring_of([1.0, 1.0, 1.0, 0.0])] * 2)
    two = dataclasses.replace(two, fading=Fading(two.fading.raw, jnp.array([31, 32])))
    head, fade = jnp.array([[3], [3]]), jnp.array([0.5, 0.5], jnp.float32)
    after = jax.vmap(lambda own, at, how: refreshed(own, at, 4, how))(two, head, fade)
    np.testing.assert_allclose(after.levels[0], [[1, 1, 1, 0], [0.25, 0.5, 1, 0]], rtol=1e-6)
    assert after.fading.since.tolist() == [31, 0]


class Slow:
    """The same, of one member, row by row."""

    def __init__(self, worlds, length, fade):
        self.raw, self.age = np.zeros((worlds, length)), np.zeros((worlds, length))
        self.head, self.built = np.zeros(worlds, int), np.zeros((worlds, length))
        self.fade, self.since, self.largest = fade, 0, 1.0

    def note(self, words):
        worlds, length = self.raw.shape
        for world, word in enumerate(words):
            for kind in word:
                at = self.head[world]
                self.age[world] += worlds
                self.raw[world, at] = 0 if kind == "e" else self.largest
                self.age[world, at] = self.built[world, at] = 0
                self.head[world] = (at + 1) % length
            self.raw[world, self.head[world]] = 0
            self.since += len(word)
        if self.since >= 32:
            self.built, self.since = self.age.copy(), 0

    def renew(self, place, error):
        for where, one in dict(zip(place, error, strict=True)).items():
            at = divmod(where, self.raw.shape[1])
            if self.raw[at] > 0:
                self.raw[at] = max(one, 1.0) ** 0.5
                self.largest = max(self.largest, self.raw[at])

    def tree(self):
        return (self.raw * np.maximum(self.fade**self.built, 0.1)).reshape(-1)


def words(size):
    return st.text("ssse", max_size=size)


@given(
    st.integers(1, 3).flatmap(
        lambda worlds: st.lists(
            st.tuples(
                st.lists(words(20), min_size=worlds, max_size=worlds),
                st.lists(st.tuples(st.integers(0, 12 * worlds - 1), st.floats(0, 30)), max_size=4),
            ),
            min_size=1,
            max_size=10,
        )
    ),
    st.sampled_from([1.0, 0.99, 0.9, 0.5]),
)
def test_fading_is_that_of_a_slow_list(chunks, fade):
    # Rings of 12 slots wrap, and a chunk may be longer than one.
    worlds, length = len(chunks[0][0]), 12
    stream = init_stream(11 * worlds, 1, worlds, Layout(1), 1)
    assert stream.rows_per_world == length
    tree, slow = init_priorities(1, worlds * length, fading=True), Slow(worlds, length, fade)
    for word, errors in chunks:
        rows = rows_of(*word)
        tree, stream = NOTE(tree, stream, rows), APPEND(stream, rows)
        own = REFRESH(alone(tree), stream.head[0], length=length, fade=jnp.float32(fade))
        slow.note(word)
        # Four at a time compile once. Of one row twice, either error may stay: each only once.
        last = dict(errors)
        slots = slice(worlds * length)
        if last:
            padded = (list(last) + [next(iter(last))] * 4)[:4]
            values = [last[place] for place in padded]
            own = RENEW(own, jnp.array(padded), jnp.array(values), 0.5, measure=MEASURES["lap"])
            slow.renew(padded, values)
        np.testing.assert_allclose(own.fading.raw[slots], slow.raw.reshape(-1), rtol=1e-5)
        np.testing.assert_allclose(own.levels[0][slots], slow.tree(), rtol=1e-4)
        assert float(own.largest) == pytest.approx(slow.largest, rel=1e-5)
        for below, above in zip(own.levels, own.levels[1:], strict=False):
            sums = np.asarray(below).reshape(-1, CHILDREN).sum(axis=1)
            np.testing.assert_allclose(above[: len(sums)], sums, rtol=1e-5)
        tree = together(own)


def test_without_fading_there_is_nothing_beside_the_tree():
    plain = init_priorities(2, 100)
    assert isinstance(plain, Priorities)
    assert plain.fading is None
    assert len(jax.tree.leaves(plain)) == len(plain.levels) + 1
