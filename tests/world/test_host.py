"""The rows of worlds whose steps are known, whatever steps them; and what worlds do wrong."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probes import HIGH, LOW, Counter

from qmu.errors import WorldError
from qmu.world.collector import Collector
from qmu.world.hearing import stepping
from qmu.world.host import (
    MOST_FAILURES,
    HostWorlds,
    Restarted,
    VectorWorlds,
    read_flag,
    read_obs,
    read_reward,
)
from qmu.world.spaces import read_spaces

SPACES = read_spaces("Counter", Counter.observation_space, Counter.action_space)
PENDULUM_STEPS = 7


def act(member, time, obs, rewards, started):
    """Return an action that tells member, time and world apart; 0 is the middle of the bounds."""
    return np.float32([[0.1 * member + 0.01 * time + 0.001 * world] for world in range(len(obs))])


def stay(member, time, obs, rewards, started):
    """Return the middle of the bounds, for which every reward is 2."""
    return np.zeros((len(obs), 1), np.float32)


def make_collector(*worlds, seeds=None, **options):
    """Return a collector of members with so many Counters each, begun with seeds 0, 10, ..."""
    members = [HostWorlds([Counter(**options) for _ in range(n)], SPACES) for n in worlds]
    collector = Collector(members, range(len(members)))
    collector.reset(seeds or [[10 * world for world in range(n)] for n in worlds])
    return collector


def history(rows, member=0, world=0):
    """Return (episode, time, kind) of every row that counts, and of the newest observation."""
    count = rows.count[member, world]
    kinds = np.where(rows.last[member, world], "last", "step")
    kinds = np.where(rows.terminated[member, world], "terminated", kinds)
    return [(*map(int, rows.obs[member, world, row]), str(kinds[row])) for row in range(count + 1)]


def test_a_termination_is_marked_and_followed_by_the_final_observation():
    rows, _ = make_collector(1, lengths=[2, 3]).collect(4, act, slots=9)
    assert history(rows) == [
        (0, 0, "step"),
        (0, 1, "terminated"),
        (0, 2, "last"),
        (1, 0, "step"),
        (1, 1, "step"),
        (1, 2, "last"),  # the newest observation
    ]
    assert rows.count.tolist() == [[5]]


def test_who_acts_is_told_the_reward_of_the_step_before_in_every_chunk():
    told = []

    def note(member, time, obs, rewards, started):
        told.append((list(rewards), started.tolist()))
        return act(member, time, obs, rewards, started)

    collector = make_collector(2, lengths=[2, 5])
    found = [collector.collect(steps, note, slots=9)[0] for steps in (3, 1)]
    steps = [
        [
            float(rows.reward[0, world, row])
            for rows in found
            for row in range(rows.count[0, world])
            if not rows.last[0, world, row]
        ]
        for world in (0, 1)
    ]
    for number in (1, 2, 3):
        assert told[number][0] == [own[number - 1] for own in steps]
    assert told[0] == ([0.0, 0.0], [True, True])
    assert [begun for _, begun in told[1:]] == [[False, False], [True, True], [False, False]]


def test_a_truncation_is_followed_by_the_final_observation_only():
    rows, _ = make_collector(1, lengths=[2, 3], terminates=False).collect(4, act, slots=9)
    assert history(rows) == [
        (0, 0, "step"),
        (0, 1, "step"),
        (0, 2, "last"),
        (1, 0, "step"),
        (1, 1, "step"),
        (1, 2, "last"),
    ]


def test_rows_keep_actions_in_the_unit_interval_and_worlds_get_their_own_units():
    rows, _ = make_collector(1, lengths=[100]).collect(3, act, slots=9)
    actions = np.float32([0.0, 0.01, 0.02])
    np.testing.assert_allclose(rows.action[0, 0, :3, 0], actions)
    # Bounds -2 and 6: the middle is 2, half the range is 4. The reward is the action.
    np.testing.assert_allclose(rows.reward[0, 0, :3], 2 + 4 * actions, rtol=1e-6)


def test_the_next_chunk_goes_on_where_the_last_one_ended():
    collector = make_collector(1, lengths=[3])
    first, _ = collector.collect(2, act, slots=9)
    second, _ = collector.collect(2, act, slots=9)
    assert history(first)[-1][:2] == history(second)[0][:2] == (0, 2)
    assert history(second) == [
        (0, 2, "terminated"),
        (0, 3, "last"),
        (1, 0, "step"),
        (1, 1, "last"),
    ]


def test_every_member_and_world_has_its_own_rows():
    collector = make_collector(2, 2, seeds=[[0, 10], [20, 31]], lengths=[2, 100])
    rows, _ = collector.collect(3, act, slots=9)
    assert rows.count.tolist() == [[4, 4], [4, 3]]
    assert history(rows, 0, 1)[0][:2] == (10, 0)
    assert history(rows, 1, 1) == [
        (31, 0, "step"),
        (31, 1, "step"),
        (31, 2, "step"),
        (31, 3, "last"),
    ]
    np.testing.assert_allclose(rows.action[1, 1, :3, 0], [0.101, 0.111, 0.121], rtol=1e-5)


def test_episodes_are_reported_once_with_return_length_and_member():
    collector = make_collector(1, 1, seeds=[[0], [1]], lengths=[2, 3])
    _, first = collector.collect(2, stay, slots=9)
    _, second = collector.collect(3, stay, slots=9)
    assert [tuple(episode) for episode in first] == [(0, 4.0, 2)]
    assert sorted(tuple(episode) for episode in second) == [(0, 6.0, 3), (1, 4.0, 2), (1, 6.0, 3)]


def test_a_reset_forgets_the_unfinished_episodes():
    collector = make_collector(1, lengths=[3])
    collector.collect(2, stay, slots=9)
    collector.reset([[5]])
    rows, episodes = collector.collect(3, stay, slots=9)
    assert history(rows)[0][:2] == (5, 0)
    assert [tuple(episode) for episode in episodes] == [(0, 6.0, 3)]


def test_rows_behind_those_that_count_are_padding():
    rows, _ = make_collector(1, lengths=[100]).collect(2, act, slots=9)
    assert rows.obs.shape == (1, 1, 9, 2)
    assert not rows.obs[0, 0, 3:].any()


def test_a_world_that_reuses_its_array_does_not_change_rows_already_written():
    fresh, _ = make_collector(2, lengths=[3]).collect(8, act, slots=17)
    reused, _ = make_collector(2, lengths=[3], reuse=True).collect(8, act, slots=17)
    for one, other in zip(fresh, reused, strict=True):
        np.testing.assert_array_equal(one, other)


def make_pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=PENDULUM_STEPS)


def make_counter():
    return Counter(lengths=[2, 5, 3])


@pytest.mark.parametrize("make_one", [make_pendulum, make_counter])
def test_a_vector_environment_gives_the_same_rows_as_single_ones(make_one):
    single = make_one()
    spaces = read_spaces("World", single.observation_space, single.action_space)
    vector = SyncVectorEnv([make_one] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    outputs = []
    for worlds in (
        HostWorlds([make_one() for _ in range(3)], spaces),
        VectorWorlds(vector, spaces),
    ):
        collector = Collector([worlds], [0])
        collector.reset([[3, 4, 6]])
        outputs.append([collector.collect(10, act, slots=21) for _ in range(2)])
        collector.close()
    for (rows, episodes), (others, other_episodes) in zip(*outputs, strict=True):
        for one, other in zip(rows, others, strict=True):
            np.testing.assert_array_equal(one, other)
        assert sorted(episodes) == sorted(other_episodes)
        assert episodes


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        ([1.0, 2.0, 3.0], r"shape \(3,\); its observation space says \(2,\)"),
        (None, r"shape \(\)"),
        ([[1.0], [2.0, 3.0]], "observation"),
        (["a", "b"], "no number"),
        ([0.0, np.nan], "nan at position 1"),
        ([np.inf, 0.0], "inf at position 0"),
        ([0.0, 1e300], "1e.300 at position 1"),
    ],
)
def test_an_impossible_observation_is_described(obs, words):
    with pytest.raises(WorldError, match=f"Counter returned .*{words}"):
        stepping()(read_obs)(SPACES, obs)


@pytest.mark.parametrize(
    "obs",
    [np.float64([1, 2]), np.int32([1, 2]), [1, 2], (1.0, np.float32(2.0)), np.float16([1, 2])],
)
def test_an_observation_is_read_as_new_float32_numbers(obs):
    flat = read_obs(SPACES, obs)
    assert flat.dtype == np.float32
    assert flat.tolist() == [1.0, 2.0]
    assert not np.shares_memory(flat, obs)


def test_a_large_observation_is_finite_enough():
    large = np.float32([3e38, -3e38])
    assert stepping()(read_obs)(SPACES, large).tolist() == large.tolist()


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (None, "None, which is not one number"),
        (np.array([1.0, 2.0]), "which is not one number"),
        (np.zeros((1, 0)), "which is not one number"),
        (np.ma.masked, "which is not one number"),
        (np.ma.masked_array([2.0], [True]), "which is not one number"),
        ("much", "'much', which is not one number"),
        ("2", "'2', which is not one number"),
        (np.nan, "nan, which must be finite"),
        (-np.inf, "-inf, which must be finite"),
        (1e39, "must be finite"),
        (10**400, "which is not one number"),
    ],
)
def test_an_impossible_reward_is_described(reward, words):
    with pytest.raises(WorldError, match=f"(?s)Counter returned the reward .*{words}"):
        read_reward(SPACES, reward)


@pytest.mark.parametrize(
    "reward",
    [2, 2.0, np.float32(2), np.array(2.0), np.int64(2), np.array([2.0]), np.array([[2]]), [2.0]],
)
def test_a_reward_is_read_as_a_number(reward):
    assert read_reward(SPACES, reward) == 2.0


@pytest.mark.parametrize("flag", [None, np.array([True, False]), [], "yes", 0.5, 2])
def test_an_impossible_flag_is_described(flag):
    with pytest.raises(WorldError, match=r"Counter returned terminated=.*, which is not true or"):
        read_flag(SPACES, "terminated", flag)


@pytest.mark.parametrize(
    "flag", [True, np.True_, 1, np.array(True), np.uint8(1), np.array([[True]]), 1.0]
)
def test_a_flag_is_read_as_true_or_false(flag):
    assert read_flag(SPACES, "terminated", flag) is True
    assert read_flag(SPACES, "terminated", np.logical_not(flag)) is False


class Resets(Counter):
    """Resets itself in the step that ends an episode, and tells where that had ended."""

    name = "final_obs"

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if not (terminated or truncated):
            return obs, reward, terminated, truncated, info
        return self.reset()[0], reward, terminated, truncated, {self.name: obs}


class ResetsAsBefore(Resets):
    name = "final_observation"


@pytest.mark.parametrize("kind", [Resets, ResetsAsBefore])
def test_an_episode_ends_where_a_world_that_resets_itself_says(kind):
    collector = Collector([HostWorlds([kind(lengths=[2])], SPACES)], [0])
    collector.reset([[0]])
    found, _ = collector.collect(3, act, slots=7)
    # It is reset once more by qmu: every other episode has no row.
    assert history(found) == [
        (0, 0, "step"),
        (0, 1, "terminated"),
        (0, 2, "last"),
        (2, 0, "step"),
        (2, 1, "last"),
    ]


def test_what_is_no_observation_in_the_info_is_named():
    class Wrong(Resets):
        def step(self, action):
            *rest, info = super().step(action)
            return *rest, {name: {"obs": last} for name, last in info.items()}

    worlds = HostWorlds([Wrong(lengths=[1])], SPACES)
    worlds.reset([0])
    with pytest.raises(WorldError, match="that it put into its info, under final_obs or final_ob"):
        worlds.step(np.zeros((1, 1), np.float32))


def test_behind_a_wrapper_that_changes_observations_the_returned_one_is_the_last():
    world = gym.wrappers.TransformObservation(
        Resets(lengths=[1]), lambda obs: obs + 1, Counter.observation_space
    )
    worlds = HostWorlds([world], SPACES)
    worlds.reset([0])
    (outcome,) = worlds.step(np.zeros((1, 1), np.float32))
    assert outcome.final.tolist() == [2, 1]


class Faulty(Counter):
    """Goes wrong in its third step, or when it is reset."""

    def __init__(self, fault):
        super().__init__(lengths=[100])
        self.fault = fault

    def reset(self, *, seed=None, options=None):
        if self.fault == "reset":
            raise RuntimeError("the motor is hot")
        return super().reset(seed=seed)

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        if self.time == 3 and self.fault == "step":
            raise RuntimeError("the motor is hot")
        reward = np.nan if self.time == 3 and self.fault == "reward" else 0.0
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "step",
            r"at step 3 of the member with seed 42: Counter raised in step with action \[2\.\]: "
            "RuntimeError: the motor is hot",
        ),
        ("reward", "at step 3 of the member with seed 42: Counter returned the reward nan"),
    ],
)
def test_a_fault_is_reported_with_its_step(fault, words):
    collector = Collector([HostWorlds([Faulty(fault)], SPACES)], [42])
    collector.reset([[0]])
    collector.collect(2, stay, slots=9)
    with pytest.raises(WorldError, match=words):
        collector.collect(2, stay, slots=9)


def test_steps_are_counted_in_the_worlds_that_are_elsewhere_too():
    collector = Collector([HostWorlds([Faulty("step")], SPACES)], [42], stride=4)
    collector.reset([[0]])
    collector.collect(1, stay, slots=9)
    assert collector.steps == 4
    with pytest.raises(WorldError, match="at step 12 of the member with seed 42"):
        collector.collect(2, stay, slots=9)


def take(worlds, steps):
    """Take steps in the middle of the bounds; return which of them led to another world."""
    middle = np.full((worlds.count, 1), (LOW + HIGH) / 2, np.float32)
    return [isinstance(worlds.step(middle)[0], Restarted) for _ in range(steps)]


def test_a_world_that_fails_now_and_then_is_replaced_for_ever():
    worlds = HostWorlds([Faulty("step")], SPACES, make=lambda: Faulty("step"))
    worlds.reset([0])
    assert take(worlds, 3 * (MOST_FAILURES + 2)) == [False, False, True] * (MOST_FAILURES + 2)
    assert len(worlds.replaced) == MOST_FAILURES + 2


def test_worlds_that_fail_before_they_take_a_step_are_given_up():
    class Stuck(Faulty):
        def step(self, action):
            raise RuntimeError("the motor is hot")

    worlds = HostWorlds([Stuck("")], SPACES, make=lambda: Stuck(""))
    worlds.reset([0])
    assert take(worlds, MOST_FAILURES) == [True] * MOST_FAILURES
    with pytest.raises(WorldError, match=f"hot .{MOST_FAILURES} new worlds in a row failed, too"):
        take(worlds, 1)


def test_rows_begin_where_episodes_were_cut_off():
    collector = make_collector(1, lengths=[100])
    rows, _ = collector.collect(2, act, slots=9, cut=np.float32([[[7, 5]]]))
    assert history(rows) == [(7, 5, "last"), (0, 0, "step"), (0, 1, "step"), (0, 2, "last")]
    assert rows.count.tolist() == [[3]]
    more, _ = collector.collect(1, act, slots=9)
    assert history(more) == [(0, 2, "step"), (0, 3, "last")]


def test_a_fault_in_reset_is_reported():
    with pytest.raises(WorldError, match="Counter raised in reset: RuntimeError: the motor is hot"):
        HostWorlds([Faulty("reset")], SPACES).reset([0])


def test_the_probe_world_has_asymmetric_bounds():
    assert (SPACES.low.item(), SPACES.high.item()) == (LOW, HIGH) == (-2.0, 6.0)


def test_a_dictionary_in_the_place_of_an_array_is_named():
    with pytest.raises(WorldError, match=r"returned a dictionary .*, of x, y; its .* shape \(2,\)"):
        read_obs(SPACES, {"x": 1, "y": 2})


class Tensor:
    """Stands for a tensor with a gradient: NumPy cannot read it."""

    def __init__(self, value):
        self.value = value

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    def item(self):
        return self.value


def test_a_tensor_with_one_number_is_that_number():
    assert read_reward(SPACES, Tensor(2.0)) == 2.0
    assert read_flag(SPACES, "terminated", Tensor(True)) is True
