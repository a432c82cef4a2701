"""Sequences of rows against a slow reference: plain lists, one row at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from histories import ACTION, GAMMA, OBS, Members, chunks_of, seen_at
from hypothesis import given

from qmu.layout import Layout
from qmu.replay.sequences import Reading, sequences
from qmu.replay.stream import startable

SEQUENCES = jax.jit(sequences, static_argnames="reading")


def read(group, member, reading):
    """Return each world's startable slots, oldest first, and the sequences that begin there."""
    stream = jax.tree.map(np.asarray, group.stream)
    ring = stream.rows_per_world
    for world, (head, size) in enumerate(
        zip(stream.head[member], stream.size[member], strict=True)
    ):
        slot = (head - 1 - np.arange(ring - 1)[::-1]) % ring
        valid = (np.arange(ring - 1)[::-1] < size) & startable(stream.flags[member, world, slot])
        place = jnp.int32(member), np.full_like(slot, world)
        yield valid, SEQUENCES(group.stream, *place, slot, valid, reading=reading, gamma=GAMMA)


def remembered(numbers, action, reward, begins, state):
    """Return the state after one step of a memory that can be told from any other."""
    state = 0.0 if begins else state
    return 0.5 * state + float(np.sum(numbers)) + 0.25 * float(np.sum(action)) + 0.125 * reward


def states_of(timed, index):
    """Return the states after each step of one of some sequences."""
    state, states = 0.0, []
    for time in range(len(timed.begins)):
        own = (np.asarray(part)[time, index] for part in (timed.obs, timed.action, timed.reward))
        state = remembered(*own, bool(timed.begins[time, index]), state)
        states.append(state)
    return states


def known_states(kept, start, length, layout):
    """Return the states after each row from one on, by the rows themselves."""
    state, states = 0.0, []
    for place in range(start, min(start + length, len(kept))):
        before = kept[place - 1] if place > 0 and not kept[place - 1].last else None
        action, reward = (before.action, before.reward) if before else ((0.0,), 0.0)
        numbers = seen_at(kept, place, layout)
        state = remembered(numbers, action, reward, before is None, state)
        states.append(state)
    return states


def check_world(history, capacity, valid, batch, reading, layout):
    """Compare the sequences of one world with what the plain list of its rows says."""
    kept = history.kept(capacity)
    starts = [place for place, row in enumerate(kept) if not row.last]
    batch = jax.tree.map(np.asarray, batch)
    count = len(valid)
    learned = range(reading.burn_in, reading.steps)
    weight = batch.weight.reshape(len(learned), count)
    assert not weight[:, ~valid].any()
    for index, start in zip(np.flatnonzero(valid), starts, strict=True):
        expected = known_states(kept, start, reading.steps + reading.ahead, layout)
        online = states_of(batch.obs.timed, index)
        following = states_of(batch.next_obs.timed, index)
        for row, time in enumerate(learned):
            place, flat = start + time, row * count + index
            there = place < len(kept) - 1 and not kept[place].last
            assert weight[row, index] == there
            if not there:
                continue
            window = history.window(kept, place, reading.ahead, layout)
            size = layout.frames * OBS
            first, action, total, discount, end = (
                window[:size],
                window[size : size + ACTION],
                *window[size + ACTION : size + ACTION + 2],
                window[size + ACTION + 2 :],
            )
            assert batch.obs.timed.obs[time, index].tolist() == list(first)
            assert (batch.action[flat].tolist(), batch.reward[flat]) == (list(action), total)
            assert batch.discount[flat] == discount
            asked = int(batch.next_obs.asked[row, index])
            assert batch.next_obs.timed.obs[asked, index].tolist() == list(end)
            assert online[time] == pytest.approx(expected[time])
            assert following[asked] == pytest.approx(expected[asked])


@pytest.mark.parametrize(
    ("members", "worlds", "capacity", "reading", "frames"),
    [
        (1, 1, 40, Reading(steps=4, burn_in=0, ahead=1), 1),
        (1, 1, 7, Reading(steps=5, burn_in=2, ahead=3), 1),
        (2, 2, 16, Reading(steps=3, burn_in=1, ahead=2), 2),
        (1, 3, 9, Reading(steps=1, burn_in=0, ahead=1), 1),
        (1, 1, 3, Reading(steps=6, burn_in=5, ahead=2), 1),
    ],
)
def test_sequences_are_what_plain_lists_hold(members, worlds, capacity, reading, frames):
    """Rings wrap, episodes end within sequences, worlds have different paces."""
    layout = Layout(OBS, frames=frames)

    @given(chunks_of(members, worlds))
    def check(chunks):
        group = Members(members, worlds, capacity, layout=layout)
        for events in chunks:
            group.play(events)
        share = -(-capacity // worlds)
        for member in range(members):
            found = read(group, member, reading)
            for history, (valid, batch) in zip(group.histories[member], found, strict=True):
                check_world(history, share, valid, batch, reading, layout)

    check()
