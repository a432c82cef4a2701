"""Runs whose rewards are of any size: they are trained, and no number is lost on the way."""

import math
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu import cli
from qmu.config import reading
from qmu.saving import store


class Sized(gym.Env):
    """Sees noise for ten steps; its rewards are a function of the action, and of all steps."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, reward):
        self.reward, self.steps = reward, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        self.steps += 1
        reward = float(self.reward(self.steps, float(action[0])))
        return self.seen(), reward, self.time == 10, False, {}

    def seen(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


REWARDS = {
    "tiny": lambda step, action: 1e-9 * (1 + action),
    "huge": lambda step, action: 1e9 * (1 + action),
    "constant": lambda step, action: 1.0,
    "constant and huge": lambda step, action: 1e9,
    "nothing": lambda step, action: 0.0,
    "smaller than single precision": lambda step, action: 1e-42 * action,
    "a first one of 1e30": lambda step, action: 1e30 if step == 1 else action,
    "a first one of -1e30": lambda step, action: -1e30 if step == 1 else action,
    "one of 1e30 amid others": lambda step, action: 1e30 if step == 120 else action,
}
FIRST = "a first one of 1e30"
NORMALIZED = {"env": {"normalize_rewards": True}}
KINDS = {
    "scalar": NORMALIZED,
    "huber": reading.merge(NORMALIZED, {"critic": {"loss": "huber"}}),
    "categorical": {"critic": {"head": "categorical"}},
    "hl-gauss": {"critic": {"head": "hl-gauss"}},
    "lap": {"critic": {"head": "categorical"}, "replay": {"priorities": "lap"}},
    "td-error": reading.merge(NORMALIZED, {"replay": {"priorities": "td-error"}}),
}
# Together they have every kind of reward, and every kind of values and priorities, once.
SHORT = [
    ("tiny", "scalar"),
    ("huge", "hl-gauss"),
    ("nothing", "categorical"),
    (FIRST, "lap"),
    (FIRST, "td-error"),
]


def trained(folder, reward, kind):
    """Train in such a world, and return the directory of the run."""
    options = reading.merge({"env": {"episode_length": None}, "log": {"interval": 25}}, KINDS[kind])
    return runs.train(folder, lambda: Sized(REWARDS[reward]), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reward", "kind"), some([(one, kind) for one in REWARDS for kind in KINDS], SHORT)
)
def test_no_number_is_lost(reward, kind, tmp_path):
    directory = trained(tmp_path, reward, kind)
    values = [one for line in runs.metrics(directory) for one in line.values()]
    assert None not in values
    assert all(math.isfinite(one) for one in values if isinstance(one, float))
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    assert any(name.startswith("returns") for name in saved.arrays)
    assert any("priorities" in name for name in saved.arrays) is (kind in ("lap", "td-error"))
    for name, array in saved.arrays.items():
        assert np.isfinite(array).all(), name


def test_what_a_single_precision_square_cannot_hold_is_refused_without_a_scale(tmp_path):
    with pytest.raises(qmu.DivergedError, match="no finite numbers"):
        runs.train(tmp_path, lambda: Sized(REWARDS[FIRST]), env={"episode_length": None})


BASE = {"env": {"normalize_rewards": True, "count": 2}}
train = partial(runs.saved_half_way, base=BASE)


@pytest.mark.slow
def test_worlds_in_other_processes_have_the_same_returns(tmp_path):
    # Each process has one of the members.
    runs.assert_same_elsewhere(train, tmp_path, {"train": {"seeds": 2}})


@pytest.mark.slow
def test_a_run_in_units_of_its_rewards_goes_on_by_the_command(tmp_path, capsys):
    whole = train(tmp_path / "whole").directory
    half = train(tmp_path / "half", steps=60).directory
    unit = "train/reward_unit"
    units = [line[unit] for line in runs.metrics(half) if unit in line]
    assert units[-1] > 1
    assert cli.main(["resume", str(half), "--train.total-steps", "120"]) == 0
    assert "rror" not in capsys.readouterr().err
    assert runs.final_state(half) == runs.final_state(whole)
    assert runs.metrics(half) == runs.metrics(whole)


def known(model):
    """Return what a model knows of its returns, and the unit that it learns by."""
    learner = model.trainer.learner
    (members,) = learner.members
    return learner.returns, learner.returns.units(slice(1)), members.agents.reward_unit


@pytest.mark.parametrize("worlds", [1, 2])
def test_a_model_comes_back_with_its_unit(worlds, tmp_path):
    groups = {"env": {"count": worlds, "normalize_rewards": True}, "actor": {"hidden_sizes": [8]}}
    groups |= {"critic": {"hidden_sizes": [8]}, "explore": {"start_steps": 50}}
    model = qmu.DDPG("Pendulum-v1", **groups).learn(150)
    model.save(tmp_path / "model")
    loaded = qmu.DDPG.load(tmp_path / "model")
    (before, unit, learned), (after, again, _) = known(model), known(loaded)
    assert before.running.shape == (1, worlds)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert unit == again == learned > 1
    loaded.learn(150)
    assert known(loaded)[0].seen > before.seen
    for one in (model, loaded):
        one.close()
