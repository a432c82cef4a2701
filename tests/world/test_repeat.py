"""Actions that are repeated: what is summed, what ends, what is counted."""

import gymnasium as gym
import numpy as np
import pytest
import runs
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probes import Counter

import qmu
from qmu.config import reading
from qmu.errors import ConfigError, WorldError
from qmu.watching.play import rate_of
from qmu.world.collector import Collector
from qmu.world.host import HostWorlds
from qmu.world.make import find_maker
from qmu.world.repeat import Repeat, repeat_in, repeated

ONE = np.ones((1, 1), np.float32)
# Episodes of 7 and 5 steps: 3, 3, 1 and 3, 2 where an action is repeated three times.
LENGTHS = (7, 5)


class Rising(Counter):
    """Pays the time of the step."""

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(self.time), terminated, truncated, info


class Renewing(Rising):
    """Resets itself inside of its step, and puts the last observation into its info."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if terminated or truncated:
            info = {"final_obs": obs}
            obs, _ = super().reset()
        return obs, reward, terminated, truncated, info

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            return super().reset(seed=seed)
        return self.observe(), {}


class Failing(Rising):
    """Raises in its step 5."""

    def step(self, action):
        if self.time == 4:
            raise OSError("the cable is out")
        return super().step(action)


class Saying(Counter):
    """Returns something else than a step does, in its second step."""

    def __init__(self, **said):
        super().__init__(lengths=(9,))
        self.said = said

    def step(self, action):
        names = ("obs", "reward", "terminated", "truncated", "info")
        held = dict(zip(names, super().step(action), strict=True))
        return tuple((held | self.said if self.time == 2 else held).values())


def outcomes(worlds, count):
    return [worlds.step(ONE)[0] for _ in range(count)]


def worlds_of(kind, times, seed=0, **given):
    maker = find_maker(lambda: kind(**given), repeat=times)
    worlds = maker.worlds(1)
    worlds.reset([seed])
    return worlds


@pytest.mark.parametrize("kind", [Rising, Renewing])
def test_rewards_are_summed_and_an_end_ends_the_repeat(kind):
    worlds = worlds_of(kind, 3, lengths=LENGTHS)
    found = outcomes(worlds, 5)
    # 1+2+3, 4+5+6, 7; and of the second episode 1+2+3, 4+5.
    assert [one.reward for one in found] == [6, 15, 7, 6, 9]
    assert [one.terminated for one in found] == [False, False, True, False, True]
    assert [tuple(one.final) for one in found] == [(0, 3), (0, 6), (0, 7), (1, 3), (1, 5)]
    assert tuple(found[2].current) == (1, 0)
    assert worlds.world_steps() == 12


def test_once_is_no_wrapper():
    world = Counter()
    assert repeated(world, 1) is world
    (environment,) = find_maker(Counter, repeat=1).worlds(1).environments
    assert repeat_in(environment) is None


def test_a_truncation_inside_of_a_repeat_is_one():
    worlds = worlds_of(Rising, 2, lengths=(3,), terminates=False)
    found = outcomes(worlds, 2)
    assert [(one.reward, one.terminated, one.truncated) for one in found] == [
        (3, False, False),
        (3, False, True),
    ]


def test_the_limit_counts_steps_of_the_world_and_an_episode_its_actions():
    maker = find_maker("Pendulum-v1", episode_length=10, repeat=4)
    assert maker.longest == 3
    worlds = maker.worlds(1)
    worlds.reset([0])
    found = outcomes(worlds, 3)
    assert [one.truncated for one in found] == [False, False, True]
    assert worlds.world_steps() == 10
    assert find_maker("Pendulum-v1", repeat=4).longest == 50
    assert find_maker("Pendulum-v1", episode_length=0, repeat=4).longest is None


def test_a_repeat_is_what_the_same_action_given_again_is():
    maker = find_maker("Pendulum-v1", repeat=4)
    worlds, plain = maker.worlds(1), find_maker("Pendulum-v1").worlds(1)
    worlds.reset([3]), plain.reset([3])
    for action in np.linspace(-2, 2, 50, dtype=np.float32):
        one = worlds.step(np.array([[action]]))[0]
        several = [plain.step(np.array([[action]]))[0] for _ in range(4)]
        assert one.reward == pytest.approx(sum(other.reward for other in several), rel=1e-12)
        np.testing.assert_array_equal(one.final, several[-1].final)
    assert several[-1].truncated
    assert one.truncated


def test_wrappers_of_the_user_see_every_step_of_the_world():
    maker = find_maker(Rising, wrappers=["gymnasium.wrappers.RecordEpisodeStatistics"], repeat=3)
    (environment,) = maker.worlds(1).environments
    assert isinstance(environment, Repeat)
    environment.reset(seed=0)
    _, total, _, _, info = environment.step(np.ones(1))
    assert (info["episode"]["l"], info["episode"]["r"], total) == (3, 6, 6)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"reward": None}, "reward None"),
        ({"reward": np.ones(3)}, "which is not one number"),
        ({"terminated": "no"}, "terminated='no'"),
        ({"truncated": 2}, "truncated=2"),
        ({"reward": float("nan")}, "the reward nan"),
    ],
)
def test_what_is_no_step_is_refused_as_it_is_without(said, words):
    for times in (1, 4):
        worlds = worlds_of(Saying, times, **said)
        with pytest.raises(WorldError, match=words):
            outcomes(worlds, 2)


def test_steps_before_a_failure_are_counted_and_the_new_world_is_repeated_too():
    made = []

    def make():
        made.append(repeated((Failing if len(made) == 0 else Rising)(lengths=(9,)), 3))
        return made[-1]

    worlds = HostWorlds([make()], find_maker(Rising).spaces, make=make)
    worlds.reset([0])
    outcomes(worlds, 2)
    assert worlds.world_steps() == 3 + 1
    outcomes(worlds, 3)
    assert worlds.world_steps() == 3 + 1 + 9


def test_a_collection_counts_its_own_steps_only():
    maker = find_maker(lambda: Rising(lengths=LENGTHS), repeat=3)
    collector = Collector([maker.worlds(2), maker.worlds(2)], [0, 1])
    collector.reset([[0, 1], [0, 1]])

    def act(member, time, obs, rewards, started):
        return np.zeros((2, 1), np.float32)

    # Worlds of 7, 5, 7, ... and 5, 7, 5, ... steps: 3 + 3 + 1 and 3 + 2 + 3.
    collector.collect(3, act, 8)
    assert collector.world_steps() == [15, 15]
    collector.members[0].step(np.ones((2, 1), np.float32))
    collector.collect(1, act, 8)
    # The first member's worlds had 2 and 1 steps left of their episodes.
    assert collector.world_steps() == [3, 6]


def test_a_ready_made_vector_environment_is_refused():
    vector = SyncVectorEnv(
        [lambda: gym.make("Pendulum-v1")], autoreset_mode=AutoresetMode.SAME_STEP
    )
    with pytest.raises(ConfigError, match=r"--env\.repeat 2 repeats actions of single"):
        find_maker(vector, repeat=2)


def test_a_second_of_a_repeated_world_is_fewer_actions():
    one, other = (repeated(gym.make("Pendulum-v1"), times) for times in (1, 4))
    assert rate_of(one) == 4 * rate_of(other) == 30


class Sevens(Rising):
    """Episodes of 7 and 5 steps in turn, whatever the seed."""

    def __init__(self):
        super().__init__(lengths=LENGTHS)
        self.begun = 0

    def reset(self, *, seed=None, options=None):
        self.begun += 1
        return super().reset(seed=self.begun - 1)


# Episodes are of 3 and 2 actions: 12 steps of the world in 5.
RUN = {
    "env": {"repeat": 3, "episode_length": None},
    "explore": {"start_steps": 10},
    "train": {"total_steps": 20, "save_interval": 0, "eval_interval": 10, "chunk": 5, "seeds": 2},
    "log": {"interval": 10},
}


def frames_of(run):
    own = ("seed-0", "seed-1")
    lines = [line for line in run.metrics() if "time/frames" in line and line["member"] in own]
    return [(line["member"], line["step"], line["time/frames"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_counts_the_steps_of_the_world(workers, tmp_path):
    directory = runs.train(tmp_path, Sevens, **reading.merge(RUN, {"env": {"workers": workers}}))
    run = qmu.open_run(directory)
    assert sorted(frames_of(run)) == [
        (member, step, 24 * step / 10) for member in ("seed-0", "seed-1") for step in (10, 20)
    ]
    assert run.policy().info["repeat"] == 3
    # Evaluations and whoever looks at it have the same actions: 2 and 3 are an episode.
    assert set(run.in_world(Sevens).evaluate(2).lengths) <= {2, 3}
    # Its worlds begin anew, with 7 steps.
    resumed = qmu.resume(directory, env=Sevens, total_steps=30)
    assert frames_of(resumed)[-2:] == [("seed-0", 30, 72), ("seed-1", 30, 72)]


def test_without_repeats_nothing_is_logged(tmp_path):
    directory = runs.train(tmp_path, Sevens, **reading.merge(RUN, {"env": {"repeat": 1}}))
    assert frames_of(qmu.open_run(directory)) == []
