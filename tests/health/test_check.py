"""`qmu check`: worlds made to have a disease, and healthy ones."""

import re
import time

import gymnasium as gym
import numpy as np
import pytest
from budget import some

import qmu
from qmu.cli import main
from qmu.health.symptoms import ERROR, HINT, WARNING

OPEN = gym.spaces.Box(-np.inf, np.inf, (2,))


class Point(gym.Env):
    """A point on a line that is to come to rest at 0: nothing is wrong with it."""

    observation_space = OPEN
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self.state = np.float32(self.np_random.uniform(-1, 1, 2))
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        push = np.float32([self.state[1] * 0.1, action[0] * 0.1])
        self.state = np.clip(self.state + push, -5, 5)
        return self.seen(), self.reward(), *self.ends(), {}

    def seen(self):
        return self.state.copy()

    def reward(self):
        return -float(np.abs(self.state).sum())

    def ends(self):
        return False, self.time >= 50


class Raising(Point):
    def ends(self):
        if self.time == 20:
            raise ZeroDivisionError("the arm is straight")
        return super().ends()


class NotANumber(Point):
    def seen(self):
        return np.float32([np.nan, 0]) if self.time == 7 else super().seen()


class InfiniteReward(Point):
    def reward(self):
        return float("inf")


class OtherShape(Point):
    def seen(self):
        return np.zeros(3, np.float32)


class OldGym(Point):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated or truncated, info


class Random(Point):
    def reward(self):
        return float(np.random.default_rng().uniform(-1, 0))


class Remembering(Point):
    total = 0.0

    def reward(self):
        self.total += 0.01
        return super().reward() - self.total


class SharedByClass(Point):
    """Every instance moves the same point."""

    @property
    def state(self):
        return SharedByClass.point

    @state.setter
    def state(self, value):
        SharedByClass.point = value


class SharedGoal(Point):
    """Where the point has to go is drawn in each reset, and the newest is that of all."""

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed)
        SharedGoal.goal = float(self.np_random.uniform())
        return result

    def reward(self):
        return -abs(self.goal - float(self.state[0]))


class SharedRandom(Point):
    """Seeds NumPy's own generator, which is one for all."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            np.random.seed(seed)
        return super().reset(seed=seed)

    def reward(self):
        return float(np.random.uniform(-1, 0))


def normalizing_observations():
    return gym.wrappers.NormalizeObservation(Point())


def normalizing_rewards():
    return gym.wrappers.NormalizeReward(Point())


class Endless(Point):
    def ends(self):
        return False, False


class BeginsOnce(Endless):
    """Goes wrong when it is reset again."""

    begun = False

    def reset(self, *, seed=None, options=None):
        if self.begun:
            raise ConnectionError("the robot is busy")
        self.begun = True
        return super().reset(seed=seed)


class Single(Point):
    """Cannot be beside another one."""

    stepped = None

    def step(self, action):
        if Single.stepped is None:
            Single.stepped = self
        if Single.stepped is not self:
            raise ConnectionError("the port is taken")
        return super().step(action)


class FewSeeds(Point):
    """Takes only one seed."""

    def reset(self, *, seed=None, options=None):
        if seed:
            raise ValueError("there is no map of this number")
        return super().reset(seed=seed)


class EndsAtOnce(Point):
    def ends(self):
        return bool(self.state[0] > -9), False


class LimitAsTermination(Point):
    def ends(self):
        return self.time >= 50, False


class LimitAsBoth(Point):
    def ends(self):
        return self.time >= 50, self.time >= 50


class ConstantReward(Point):
    def reward(self):
        return -1.0


class HugeReward(Point):
    def reward(self):
        return 1000 * super().reward()


class TinyReward(Point):
    def reward(self):
        return 0.001 * super().reward()


class OffsetReward(Point):
    def reward(self):
        return 1e6 + super().reward()


class HugeObservations(Point):
    def seen(self):
        return np.float32(1e8) * self.state


class TinyObservations(Point):
    def seen(self):
        return np.float32(1e-5) * self.state


class FarObservations(Point):
    def seen(self):
        return self.state + np.float32(2000)


class OutsideOfItsSpace(Point):
    observation_space = gym.spaces.Box(-0.5, 0.5, (2,))


class OnlyTerminates(Point):
    def ends(self):
        return bool(abs(self.state[0]) > 1.2), False


class HugeActions(Point):
    action_space = gym.spaces.Box(-1e6, 1e6, (1,))

    def step(self, action):
        return super().step(action / 1e6)


class AsymmetricActions(Point):
    action_space = gym.spaces.Box(0, 1, (1,))


class StuckAction(Point):
    action_space = gym.spaces.Box(np.float32([-1, 2]), np.float32([1, 2]))


class LargeObservation(Point):
    def seen(self):
        return self.state * np.float32([1, 1000])


class ConstantObservation(Point):
    def seen(self):
        return self.state * np.float32([1, 0])


class SameStart(Point):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros(2, np.float32)
        return self.seen(), {}


class SameArray(Point):
    buffer = np.zeros(2, np.float32)

    def seen(self):
        self.buffer[:] = self.state
        return self.buffer


class OtherType(Point):
    def seen(self):
        return self.state.astype(np.float64)


class NoInfo(Point):
    def step(self, action):
        return *super().step(action)[:4], None


class OtherTypeInReset(Point):
    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return obs.tolist(), info


class NoInfoInReset(Point):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], None


class NeitherTypeNorInfo(OtherType, NoInfo):
    """Has both faults."""


class ResetsItself(Point):
    """Begins the next episode in the step that ends one, as worlds in JAX do."""

    def step(self, action):
        obs, reward, terminated, truncated, _ = super().step(action)
        if not truncated:
            return obs, reward, terminated, truncated, {}
        return self.reset()[0], reward, terminated, truncated, {"final_observation": obs}


def behind_a_wrapper():
    return gym.wrappers.TransformObservation(ResetsItself(), lambda obs: 2 * obs, OPEN)


class OtherParts(Point):
    """Declares whole numbers and an axis, and returns neither."""

    observation_space = gym.spaces.Dict(
        {"count": gym.spaces.Box(-9, 9, (1,), np.int32), "speed": gym.spaces.Box(-5, 5, ())}
    )

    def seen(self):
        return {"count": self.state[0], "speed": np.float32(self.state[1])}


class PartOutside(OtherParts):
    """One of its parts lies beyond its bounds."""

    def seen(self):
        return {"count": np.int32([20]), "speed": self.state[1]}


class Slow(Point):
    def ends(self):
        time.sleep(0.005)
        return super().ends()


class ImageOfNumbers(Point):
    observation_space = gym.spaces.Box(0, 1, (16, 20, 3), np.float32)

    def seen(self):
        shape = self.observation_space.shape
        return np.broadcast_to(np.abs(self.state[0]) % 1, shape).astype(np.float32)


class StillImage(Point):
    observation_space = gym.spaces.Box(0, 255, (32, 40, 3), np.uint8)

    def seen(self):
        return np.full(self.observation_space.shape, 7, np.uint8)


DISEASES = [
    (Raising, ERROR, "the world fails", "at step 20, Raising raised in step .*the arm is straight"),
    (NotANumber, ERROR, "the world returns what is impossible", "at step 7, .*nan at position 0"),
    (InfiniteReward, ERROR, "the world returns what is impossible", "the reward inf"),
    (OtherShape, ERROR, "the world returns what is impossible", r"shape \(3,\)"),
    (OldGym, ERROR, "the world fails", "not enough values to unpack"),
    (BeginsOnce, ERROR, "the world fails", "when it begins anew, at step 1, .*the robot is busy"),
    (Single, ERROR, "the world fails", "in a second world, at step 1, .*the port is taken"),
    (FewSeeds, ERROR, "the world fails", "when it is given another seed, .*no map of this number"),
    (Random, WARNING, "not deterministic after reset(seed)", "another row at step 0"),
    (Remembering, WARNING, "reset(seed) does not begin anew", "at step 0 in the same world"),
    (SharedByClass, WARNING, "worlds of one process share state", "row at step 0 than each"),
    (SharedGoal, WARNING, "worlds of one process share state", "row at step 0 than each"),
    (SharedRandom, WARNING, "worlds of one process share state", "row at step 0 than each"),
    (normalizing_observations, WARNING, "the world normalizes by itself", "NormalizeObservation"),
    (normalizing_rewards, WARNING, "the world normalizes by itself", "NormalizeReward"),
    (EndsAtOnce, WARNING, "every episode ends at once", "400 episodes of one step"),
    (LimitAsTermination, WARNING, "a time limit is told as a termination", "terminated after 50"),
    (LimitAsBoth, WARNING, "a time limit is told as a termination", "terminated and truncated"),
    (ConstantReward, WARNING, "the reward is constant", "all 400 rewards were -1"),
    (HugeReward, WARNING, "rewards are huge", "mean square"),
    (TinyReward, WARNING, "rewards are tiny", "mean square"),
    (OffsetReward, WARNING, "rewards have an offset", r"they are 1e\+06 on average"),
    (HugeObservations, WARNING, "observations are large", r"the largest number \de\+08"),
    (TinyObservations, WARNING, "observations are tiny", r"standard deviations are \d.*e-06"),
    (FarObservations, WARNING, "observations are large", r"the largest number 2e\+03"),
    (OutsideOfItsSpace, WARNING, "observations outside of their space", "the space says -0.5 to"),
    (Endless, WARNING, "no time limit", "no episode ended"),
    (OnlyTerminates, HINT, "no time limit", "only ended by a termination"),
    (HugeActions, WARNING, "action bounds are huge", r"-1e\+06 to 1e\+06"),
    (AsymmetricActions, HINT, "action bounds are not around 0", "0 to 1"),
    (StuckAction, HINT, "an action without a range", "action 1 can only be 2"),
    (LargeObservation, HINT, "observations of very different sizes", "standard deviations"),
    (ConstantObservation, HINT, "parts of the observation never change", "1 of 2 numbers"),
    (SameStart, HINT, "every episode begins alike", "5 seeds"),
    (SameArray, HINT, "the same array is returned at every step", "in 4.. of 400|in 3.. of 400"),
    (OtherType, HINT, "observations of another type than declared", "float64, and the space says"),
    (OtherTypeInReset, HINT, "observations of another type than declared", "float32, list, and"),
    (NoInfo, HINT, "info is no dictionary", "^step returned NoneType$"),
    (NoInfoInReset, HINT, "info is no dictionary", "^reset returned NoneType$"),
    (ResetsItself, HINT, "the world resets itself inside of step", "at 8 of 8 ends the info"),
    (behind_a_wrapper, WARNING, "the world resets itself inside of step", "but not that one"),
    (OtherParts, HINT, "observations of another type than declared", "count is float32, and .*int"),
    (PartOutside, WARNING, "observations outside of their space", r"position 0 \(count\) was 20"),
    (
        ImageOfNumbers,
        WARNING,
        "what looks like an image is taken for numbers",
        r"^the observation is of float32\[16, 20, 3\]$",
    ),
    (StillImage, WARNING, "an image never changes", "the observation was the same in all"),
    (Slow, HINT, "steps are slow", r"a step takes \d+\.?\d* ms"),
]


@pytest.mark.parametrize(
    ("world", "level", "name", "seen"),
    [
        pytest.param(*case, id=case[0].__name__, marks=[pytest.mark.long] * (case[0] is Slow))
        for case in DISEASES
    ],
)
def test_a_disease_is_found(world, level, name, seen):
    checkup = qmu.check_env(world, steps=400)
    by_name = {symptom.name: symptom for symptom in checkup.symptoms}
    assert list(by_name)[0] == name  # noqa: RUF015 - the list is what is told
    assert by_name[name].level == level
    assert checkup.possible is (level != ERROR)
    assert re.search(seen, by_name[name].seen)
    assert name in str(checkup)


def test_a_part_of_another_shape_is_told():
    told = [one for one in qmu.check_env(OtherParts, steps=100).symptoms if "shape" in one.name]
    assert [(one.level, one.seen) for one in told] == [
        (HINT, "count has the shape (), and the space says (1,)")
    ]


class MoreParts(OtherParts):
    """Observes what its space does not know, also in a dictionary inside, and not as declared."""

    observation_space = gym.spaces.Dict(
        {
            "count": gym.spaces.Box(-9, 9, (1,), np.int32),
            "deep": gym.spaces.Tuple((gym.spaces.Dict({"speed": gym.spaces.Box(-5, 5, ())}),)),
        }
    )

    def seen(self):
        inside = {"speed": float(self.state[1]), "heat": 3}
        return {"count": self.state[:1], "deep": (inside,), "note": {"of": "mine"}}


def test_all_that_a_world_returns_and_its_space_does_not_say_is_told():
    checkup = qmu.check_env(MoreParts, steps=100)
    seen = {symptom.name: symptom.seen for symptom in checkup.symptoms}
    assert seen["parts that the space lacks"] == "observations hold deep.0.heat, note, too"
    assert seen["observations of another type than declared"] == (
        "count is float32, and the space says int32; deep.0.speed is float, and the space says "
        "float32"
    )


@pytest.mark.parametrize(
    "world", some([Point, "Pendulum-v1", "Hopper-v5", "HalfCheetah-v5"], [Point, "Pendulum-v1"])
)
def test_nothing_is_wrong_with_a_healthy_world(world):
    checkup = qmu.check_env(world)
    assert checkup.symptoms == ()
    assert "Nothing is wrong with it" in str(checkup)


def test_rows_that_could_not_be_compared_are_not_called_the_same():
    said = str(qmu.check_env(BeginsOnce, steps=400))
    assert "give the same rows" not in said
    assert "until it failed, the same seed and actions gave no other rows" in said


def test_the_remedies_are_remedies():
    assert qmu.check_env(Endless, episode_length=100).symptoms == ()
    huge = qmu.check_env(HugeReward)
    (symptom,) = huge.symptoms
    assert symptom.advice == "--env.reward-scale 0.001, or --env.normalize-rewards"


def test_a_normalizing_wrapper_is_named_with_the_option_that_does_it_right():
    wrappers = ["gymnasium.wrappers.NormalizeReward", "gymnasium.wrappers.NormalizeObservation"]
    symptoms = qmu.check_env(Point, wrappers=wrappers, steps=60).symptoms
    (found,) = [one for one in symptoms if one.name == "the world normalizes by itself"]
    assert found.seen == "NormalizeObservation and NormalizeReward"
    assert "leave NormalizeObservation out and give --env.normalize-obs" in found.advice
    assert "leave NormalizeReward out and give --env.normalize-rewards" in found.advice


def test_frozen_statistics_are_the_same_in_every_world():
    def frozen():
        world = gym.wrappers.NormalizeObservation(Point())
        world.update_running_mean = False
        return world

    assert qmu.check_env(frozen).symptoms == ()


def test_types_of_observations_and_infos_are_two_faults():
    names = [symptom.name for symptom in qmu.check_env(NeitherTypeNorInfo).symptoms]
    assert names == ["observations of another type than declared", "info is no dictionary"]


def test_the_worst_comes_first():
    class Both(Endless):
        """Has two diseases of the second rank, and one of the third."""

        def reward(self):
            return 1000 * super().reward()

        def seen(self):
            return self.state.astype(np.float64)

    levels = [symptom.level for symptom in qmu.check_env(Both).symptoms]
    assert levels == [WARNING, WARNING, HINT]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (np.full(8, -1.0), np.full(8, 1.0), "8 numbers in [-1, 1]"),
        (np.full((2, 3), -np.inf), np.full((2, 3), np.inf), "6 numbers (2 × 3) in [-inf, inf]"),
        (np.array([-1.0, -1.0]), np.array([-0.0, 2.0]), "2 numbers in [-1, 0], [-1, 2]"),
        (np.arange(7), np.arange(1, 8), "7 numbers in bounds of their own, the widest [0, 7]"),
    ],
)
def test_bounds_are_told_as_a_person_reads_them(low, high, words):
    class Bounded(Point):
        observation_space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))

        def seen(self):
            return self.observation_space.low

    lines = str(qmu.check_env(Bounded, steps=3)).splitlines()
    assert f"  observations  {words}" in lines


def test_a_checkup_shows_itself_as_it_is_printed():
    checkup = qmu.check_env(Point, steps=60)
    assert repr(checkup) == str(checkup)
    assert str(checkup).startswith("Point\n  observations  2 numbers in [-inf, inf]\n")


def test_a_negative_zero_is_a_zero():
    class Ends(Point):
        action_space = gym.spaces.Box(np.float32([-1.0]), np.float32([-0.0]))

        def reward(self):
            return -0.0

    said = str(qmu.check_env(Ends, steps=400))
    assert "  actions       1 number in [-1, 0]\n" in said
    assert "  rewards       0 to 0, mean 0, with random actions\n" in said
    assert "they are -1 to 0\n" in said
    assert "all 400 rewards were 0\n" in said


@pytest.mark.long
def test_a_slow_world_is_advised_to_take_steps_side_by_side():
    (symptom,) = qmu.check_env(Slow, steps=400).symptoms
    assert "--env.count 2 --env.workers 2" in symptom.advice


def test_the_command_says_what_a_world_is(capsys):
    words = ["check", "Pendulum-v1", "--steps", "600", "--kwargs", "g = 2.0", "--seed", "3"]
    assert main([*words, "--wrappers", "gymnasium.wrappers.TimeAwareObservation"]) == 0
    out = capsys.readouterr().out
    assert "4 numbers" in out
    assert "  actions       1 number in [-2, 2]\n" in out
    assert "200 steps" in out
    assert "3 ended in 600 steps: 0 terminated, 3 truncated" in out
    assert "the same seed and actions give the same rows" in out
    assert "25 bytes a row" in out


def test_the_command_says_what_is_hidden(capsys):
    words = ["check", "Pendulum-v1", "--steps", "20"]
    assert main([*words, "--hide", "velocity"]) == 0
    said = capsys.readouterr().out
    assert "  observations  2 numbers in [-1, 1]\n  hidden        velocity\n" in said
    assert main(words) == 0
    assert "hidden" not in capsys.readouterr().out


def test_the_command_fails_for_a_world_that_cannot_be_trained_in(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        gym.registry, "Sick-v0", gym.envs.registration.EnvSpec("Sick-v0", NotANumber)
    )
    assert main(["check", "Sick-v0"]) == 1
    assert "ERROR: the world returns what is impossible" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Pendulm-v1"], "did you mean Pendulum-v1"),
        (["CartPole-v1"], "has Discrete(2) actions"),
        (["Pendulum-v1", "--steps", "0"], "--steps must be 1 or more"),
        (["Pendulum-v1", "--seed", "-1"], "--seed must lie in"),
        (["Pendulum-v1", "--kwargs", "{"], "is not a table of TOML"),
        (["Pendulum-v1", "--episode-length", "-1"], "must be 0 or greater"),
    ],
)
def test_a_wrong_request_is_a_sentence(capsys, words, said):
    assert main(["check", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_options_are_spelled_as_a_check_takes_them():
    with pytest.raises(qmu.ConfigError, match="--camera track is about the pictures of --pixels"):
        qmu.check_env("Pendulum-v1", camera="track")
