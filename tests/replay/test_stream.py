"""The stream against a slow reference: plain lists, one row at a time."""

import itertools

import pytest
from histories import ACTION, EVENTS, GAMMA, OBS, Members
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from qmu.layout import Layout
from qmu.replay.stream import init_stream, stream_bytes


@pytest.mark.parametrize(
    ("members", "worlds", "capacity", "steps"),
    [(1, 1, 5, 1), (1, 1, 40, 3), (1, 3, 8, 1), (2, 2, 10, 2), (3, 1, 3, 4)],
)
def test_a_stream_holds_what_plain_lists_hold(members, worlds, capacity, steps):
    """Rings wrap, worlds have different paces, chunks bring more rows than a ring holds."""
    chunk = st.lists(
        st.lists(EVENTS, min_size=worlds, max_size=worlds), min_size=members, max_size=members
    )

    @given(st.lists(chunk, min_size=1, max_size=8))
    def check(chunks):
        group = Members(members, worlds, capacity, steps)
        for events in chunks:
            group.play(events)
            for member in range(members):
                assert group.stored(member) == group.expected(member)

    check()


@pytest.mark.parametrize(
    ("members", "worlds", "capacity", "steps", "layout"),
    [
        (1, 1, 5, 1, Layout(OBS, frames=2)),
        (2, 3, 12, 3, Layout(OBS, frames=4)),
        (1, 2, 8, 2, Layout(OBS, ((2, 3, 1),))),
        (2, 1, 6, 1, Layout(OBS, ((2, 2, 3), (3, 1, 1)), frames=3)),
    ],
    ids=["two frames", "four frames", "a picture", "pictures of three frames"],
)
def test_frames_and_pictures_are_read_as_plain_lists_are(members, worlds, capacity, steps, layout):
    """No frame is of another episode, or older than the ring; the first one is repeated."""
    chunk = st.lists(
        st.lists(EVENTS, min_size=worlds, max_size=worlds), min_size=members, max_size=members
    )

    @given(st.lists(chunk, min_size=1, max_size=6))
    def check(chunks):
        group = Members(members, worlds, capacity, steps, layout)
        for events in chunks:
            group.play(events)
            for member in range(members):
                assert group.stored(member) == group.expected(member)

    check()


@pytest.mark.parametrize(
    ("members", "worlds", "capacity", "steps"), [(1, 1, 4, 1), (1, 3, 8, 3), (2, 2, 10, 1)]
)
def test_samples_are_windows_of_that_member(members, worlds, capacity, steps):
    chunk = st.lists(
        st.lists(EVENTS, min_size=worlds, max_size=worlds), min_size=members, max_size=members
    )

    @given(st.lists(chunk, min_size=1, max_size=4))
    def check(chunks):
        group = Members(members, worlds, capacity, steps)
        for events in chunks:
            group.play(events)
        for member in range(members):
            expected = set(itertools.chain(*group.expected(member)))
            drawn = group.drawn(member)
            assert set(drawn) <= expected
            assert bool(drawn) == bool(expected)

    check()


def test_no_transition_crosses_the_end_of_an_episode():
    group = Members(1, 1, 50)
    group.play([[["go on", "truncate", "terminate", "go on"]]])
    # Numbers: 0 1 (2 final) 3 (4 final) 5 6. Nothing starts from 2 or 4.
    following = {int(row[0]): int(row[5]) for row in group.drawn(0)}
    assert following == {0: 1, 1: 2, 3: 4, 5: 6}


def test_a_termination_has_discount_0_and_a_truncation_has_not():
    group = Members(1, 1, 50)
    group.play([[["go on", "truncate", "terminate", "go on"]]])
    discounts = {int(row[0]): row[4] for row in group.drawn(0)}
    assert discounts == {0: GAMMA, 1: GAMMA, 3: 0.0, 5: GAMMA}


def test_a_window_of_three_steps_by_hand():
    group = Members(1, 1, 50, steps=3)
    group.play([[["go on", "go on", "go on", "truncate"]]])
    # Rewards are 0 2 4 6; 4 is the final observation, 5 the newest.
    returns = {int(row[0]): (row[3], row[4], int(row[5])) for row in group.drawn(0)}
    assert returns == {
        0: (0 + 2 / 2 + 4 / 4, 1 / 8, 3),
        1: (2 + 4 / 2 + 6 / 4, 1 / 8, 4),
        2: (4 + 6 / 2, 1 / 4, 4),
        3: (6, 1 / 2, 4),
    }


def test_the_newest_transition_can_be_sampled_at_once():
    group = Members(1, 1, 50)
    for newest in range(5):
        group.play([[["go on"]]], slots=3)
        assert newest in {int(row[0]) for row in group.drawn(0)}


def test_of_more_rows_than_a_ring_holds_the_newest_stay():
    group = Members(1, 1, 3)
    group.play([[["go on"] * 8]])
    assert {int(row[0]) for row in group.drawn(0)} == {5, 6, 7}


def test_every_transition_is_equally_likely():
    group = Members(2, 3, 30)
    # Member 1's worlds: one that has wrapped, a short one, one with many ends.
    for _ in range(4):
        idle = [[], [], []]
        group.play([idle, [["go on"] * 4, ["go on"], ["terminate", "truncate", "go on"]]])
    transitions_kept = list(itertools.chain(*group.expected(1)))
    assert [len(world) for world in group.expected(1)] == [10, 4, 6]
    drawn = group.drawn(1, count=40_000)
    counts = [drawn.count(transition) for transition in transitions_kept]
    assert sum(counts) == len(drawn)
    assert chisquare(counts).pvalue > 0.01


def test_different_keys_draw_different_transitions():
    group = Members(1, 1, 50)
    group.play([[["go on"] * 8]])
    assert group.drawn(0, seed=0) != group.drawn(0, seed=1)
    assert group.drawn(0, seed=0) == group.drawn(0, seed=0)


def test_an_empty_stream_gives_slots_of_weight_0():
    group = Members(1, 2, 10)
    assert group.drawn(0) == []
    group.play([[[], []]])
    assert group.drawn(0) == []


def test_few_slots_stay_empty_where_every_second_row_is_a_final_observation():
    group = Members(1, 1, 8)
    for _ in range(3):
        group.play([[["terminate"] * 4]])
    # Four candidates all miss with probability 1/16: of 10000 slots 625 ± 24.
    assert 10_000 - len(group.drawn(0, count=10_000)) == pytest.approx(625, abs=120)


def test_a_batch_has_the_shape_that_was_asked_for():
    group = Members(1, 1, 8)
    group.play([[["go on"] * 4]])
    batch = group.sample(0, (3, 5))
    assert batch.obs.shape == batch.next_obs.shape == (3, 5, OBS)
    assert batch.action.shape == (3, 5, ACTION)
    assert batch.reward.shape == batch.discount.shape == batch.weight.shape == (3, 5)


@pytest.mark.parametrize(
    ("capacity", "members", "worlds", "obs_size", "action_size"),
    [(1000, 1, 1, 17, 6), (1000, 3, 7, 5, 2), (10, 2, 10, 3, 1)],
)
def test_the_announced_bytes_are_those_of_the_arrays(
    capacity, members, worlds, obs_size, action_size
):
    stream = init_stream(capacity, members, worlds, Layout(obs_size), action_size)
    announced = stream_bytes(capacity, members, worlds, Layout(obs_size), action_size)
    assert announced == stream.numbers.nbytes + stream.flags.nbytes


def test_a_million_rows_of_halfcheetah_take_hardly_more_than_their_numbers():
    # 17 + 6 numbers and a reward, 4 bytes each; one byte each for the end and its kind.
    raw = 1_000_000 * ((17 + 6 + 1) * 4 + 2)
    assert stream_bytes(1_000_000, 1, 1, Layout(17), 6) <= 1.05 * raw


def test_a_million_rows_of_pictures_take_those_of_one_frame_each_whatever_the_frames():
    layout = Layout(3, ((84, 84, 3),), 3)
    raw = 1_000_000 * (84 * 84 * 3 + 4 * (3 + 6 + 1))
    assert stream_bytes(1_000_000, 1, 1, layout, 6) <= 1.05 * raw
    assert stream_bytes(1_000_000, 1, 1, layout._replace(frames=1), 6) == stream_bytes(
        1_000_000, 1, 1, layout, 6
    )


@pytest.mark.parametrize("worlds", [1, 2, 3, 7])
def test_a_stream_has_room_for_its_capacity(worlds):
    stream = init_stream(20, 1, worlds, Layout(OBS), ACTION)
    rows = worlds * (stream.rows_per_world - 1)
    assert 20 <= rows < 20 + worlds
