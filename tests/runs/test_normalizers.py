"""Wrappers inside of a world that normalize by themselves: told before a run and of exports."""

import json
import re

import gymnasium as gym
import numpy as np
import pytest
import runs
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import qmu
from qmu.cli import main
from qmu.world.make import find_maker
from qmu.world.normalizing import Normalizer, normalizers_in, normalizers_of

OBSERVATIONS = Normalizer("NormalizeObservation", "observations")
REWARDS = Normalizer("NormalizeReward", "rewards")


def normalizing():
    world = gym.make("Pendulum-v1")
    return gym.wrappers.NormalizeReward(gym.wrappers.NormalizeObservation(world))


class OfSomebodyElse(gym.Wrapper):
    """A filter as others write it: its statistics have Gymnasium's name."""

    def __init__(self, env):
        super().__init__(env)
        self.ret_rms = object()


def test_they_are_found_wherever_they_are_among_wrappers():
    inside = gym.wrappers.TimeLimit(normalizing(), 20)
    assert normalizers_of(inside) == (REWARDS, OBSERVATIONS)
    assert normalizers_of(OfSomebodyElse(gym.make("Pendulum-v1")))[0].of == "rewards"
    assert normalizers_of(gym.make("Pendulum-v1")) == ()
    assert find_maker(normalizing).normalizers == (REWARDS, OBSERVATIONS)


def test_those_inside_of_a_ready_made_vector_environment_are_found():
    vector = SyncVectorEnv([normalizing], autoreset_mode=AutoresetMode.SAME_STEP)
    assert find_maker(vector).normalizers == (REWARDS, OBSERVATIONS)


@pytest.mark.parametrize(
    ("wrapper", "option"),
    [
        ("NormalizeObservation", "--env.normalize-obs"),
        ("NormalizeReward", "--env.normalize-rewards"),
    ],
)
def test_one_around_a_ready_made_vector_environment_is_refused_by_its_name(wrapper, option):
    vector = SyncVectorEnv([lambda: gym.make("Pendulum-v1")])
    with pytest.raises(qmu.ConfigError, match=f"leave {wrapper} out and give {option}"):
        find_maker(getattr(gym.wrappers.vector, wrapper)(vector))


@pytest.mark.parametrize(
    "held", [None, 3, [1, "a"], [{"wrapper": "A"}], [{"wrapper": "A", "of": []}]]
)
def test_a_description_that_lists_none_or_is_damaged_lists_none(held):
    assert normalizers_in({"normalizers": held}) == ()


def test_a_run_tells_them_once_keeps_them_and_its_exports_say_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning) as told:
        directory = runs.train(tmp_path, normalizing, train={"total_steps": 80})
    said = [str(one.message) for one in told]
    assert [re.match(r"Normalize\w+", text)[0] for text in said] == [REWARDS[0], OBSERVATIONS[0]]
    assert "give --env.normalize-rewards" in said[0]
    assert "give --env.normalize-obs" in said[1]
    described = json.loads((directory / "run.json").read_text())
    assert described["normalizers"] == [
        {"wrapper": "NormalizeReward", "of": "rewards"},
        {"wrapper": "NormalizeObservation", "of": "observations"},
    ]
    assert main(["export", str(directory), "p.npz"]) == 0
    out = capsys.readouterr().out
    assert all(f"note        {text}\n" in out for text in said)
    card = (tmp_path / "p.md").read_text()
    assert all(text in card for text in said)
    # Of a policy's own folder, too.
    assert qmu.export(directory / "best", "q.npz").notes == tuple(said)


def test_a_model_and_its_exports_say_them(tmp_path):
    with pytest.warns(RuntimeWarning, match="NormalizeObservation inside of the world"):
        model = qmu.DDPG(lambda: gym.wrappers.NormalizeObservation(gym.make("Pendulum-v1")))
    (note,) = qmu.export(model, tmp_path / "p.npz").notes
    assert "give --env.normalize-obs" in note


def test_a_run_without_any_says_nothing(tmp_path):
    directory = runs.train(tmp_path, train={"total_steps": 80})
    assert "normalizers" not in json.loads((directory / "run.json").read_text())
    made = qmu.export(directory, tmp_path / "p.npz")
    assert made.notes == ()
    assert np.isfinite(made.difference)
