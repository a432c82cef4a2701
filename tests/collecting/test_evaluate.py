"""Scores of episodes whose returns and lengths are known."""

import numpy as np
import pytest
from actors import Acting
from probes import Counter

from qmu.collecting import evaluate as module
from qmu.collecting.evaluate import Score, evaluate
from qmu.errors import WorldError
from qmu.world.host import HostWorlds
from qmu.world.spaces import read_spaces

LENGTHS = [2, 3, 5]


def make_worlds(count, lengths=LENGTHS, kind=Counter, **options):
    spaces = read_spaces("Counter", kind.observation_space, kind.action_space)
    return HostWorlds([kind(lengths=lengths, **options) for _ in range(count)], spaces)


@Acting
def half(obs):
    """Act half way to the upper bound: 4 in the world's units, which is also the reward."""
    return np.full((len(obs), 1), 0.5, np.float32)


@pytest.mark.parametrize("terminates", [True, False])
@pytest.mark.parametrize("worlds", [1, 2, 3, 4])
def test_each_seed_is_one_episode_however_many_worlds_there_are(worlds, terminates):
    score = evaluate(half, make_worlds(worlds, terminates=terminates), [0, 2, 1, 4])
    # Seed s is an episode of LENGTHS[s % 3] steps, each rewarded with 4.
    assert score.lengths == (2, 5, 3, 3)
    assert score.rewards == (8.0, 20.0, 12.0, 12.0)


def test_the_actor_sees_each_running_world_s_observation():
    seen = []

    @Acting
    def actor(obs):
        seen.append(obs.tolist())
        # As an action in [-1, 1]: -2 + 8 · episode / 10 in the world's units.
        return obs[:, :1] / np.float32(5) - 1

    score = evaluate(actor, make_worlds(2), [0, 1])
    assert seen == [[[0, 0], [1, 0]], [[0, 1], [1, 1]], [[1, 2]]]
    np.testing.assert_allclose(score.rewards, [2 * -2.0, 3 * -1.2], rtol=1e-6)


def test_an_evaluation_can_be_repeated():
    worlds = make_worlds(2)
    assert evaluate(half, worlds, [1, 0, 5]) == evaluate(half, worlds, [1, 0, 5])


def test_an_episode_without_an_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_EPISODE", 7)
    score = evaluate(half, make_worlds(1, lengths=[10**9]), [0, 1])
    assert score.lengths == (7, 7)
    assert score.rewards == (28.0, 28.0)
    assert score.cut == 2
    assert score.told_cut().startswith(
        "of 2 episodes 2 had not ended after 7 steps, where it was cut"
    )


def test_an_end_that_is_declared_is_reached(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_EPISODE", 7)
    worlds = make_worlds(2, lengths=[9, 12])
    worlds.longest = 12
    assert evaluate(half, worlds, [0, 1]) == Score((36.0, 48.0), (9, 12))
    worlds.longest = 10
    assert evaluate(half, worlds, [0, 1, 1]) == Score((36.0, 40.0, 40.0), (9, 10, 10), cut=2)


def test_an_episode_s_own_end_comes_first(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_EPISODE", 4)
    assert evaluate(half, make_worlds(1), [0, 1, 2]).lengths == (2, 3, 4)


class Broken(Counter):
    """Returns an impossible reward at every step."""

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, np.nan, terminated, truncated, info


def test_a_fault_says_that_it_happened_during_evaluation():
    with pytest.raises(WorldError, match="Counter returned the reward nan"):
        evaluate(half, make_worlds(1, kind=Broken), [0])


def test_a_score_summarizes_its_episodes():
    score = Score(rewards=(1.0, 3.0, 8.0), lengths=(2, 4, 6))
    assert score.mean == 4.0
    # ((1 - 4)² + (3 - 4)² + (8 - 4)²) / 3 = 26 / 3
    assert score.std == pytest.approx((26 / 3) ** 0.5)
    assert score.mean_length == 4.0


class Flaky(Counter):
    """Fails in every third reset, and in every seventeenth step, of all worlds together."""

    resets = steps = 0

    def reset(self, *, seed=None, options=None):
        Flaky.resets += 1
        if Flaky.resets % 3 == 0:
            raise ConnectionError("the robot does not answer")
        return super().reset(seed=seed)

    def step(self, action):
        Flaky.steps += 1
        if Flaky.steps % 17 == 0:
            raise ConnectionError("the robot has fallen silent")
        return super().step(action)


@pytest.mark.parametrize("count", [1, 4])
def test_an_episode_that_fails_begins_again_in_a_new_world(count):
    worlds, plain = make_worlds(count, kind=Flaky), make_worlds(count)
    worlds.make = lambda: Flaky(lengths=LENGTHS)
    trace, expected = module.Trace(), module.Trace()
    seeds = range(30)
    assert evaluate(half, worlds, seeds, trace) == evaluate(half, plain, seeds, expected)
    np.testing.assert_equal(vars(trace), vars(expected))
    assert len(worlds.replaced) > 10
    assert {why.split(": ")[-1] for why in worlds.replaced} == {
        "the robot does not answer",
        "the robot has fallen silent",
    }


def test_an_episode_that_always_fails_ends_the_evaluation():
    worlds = make_worlds(2, kind=Broken)
    worlds.make = lambda: Broken(lengths=LENGTHS)
    with pytest.raises(WorldError, match=r"reward nan.*5 new worlds in a row failed, too"):
        evaluate(half, worlds, [0, 1])
