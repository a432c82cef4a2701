"""Worlds that change the working folder, and paths with a home or a variable in them."""

import json
import os
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from runs import SMALL

import qmu
from qmu.cli import main
from qmu.places import WorkingFolder, absolute, home, shown

MODULE = """
import os
import gymnasium as gym
import numpy as np

class Wanderer(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))
    moves = {moves!r}

    def __init__(self):
        os.makedirs("{away}", exist_ok=True)
        self.go("init")

    def go(self, when):
        if when in self.moves:
            os.chdir("{away}")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.go("reset")
        return np.zeros(1, np.float32), {{}}

    def step(self, action):
        self.go("step")
        return np.zeros(1, np.float32), 0.0, False, False, {{}}

gym.register("Wanderer-v0", Wanderer, max_episode_steps=20)
"""


@pytest.fixture(params=some(["init", "reset", "step"], ["reset"]))
def wandering(request, tmp_path, monkeypatch):
    """Return the folders where a run begins, and where its world goes at such a moment."""
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    (here / "wanderer.py").write_text(MODULE.format(moves=[request.param], away=away))
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield here, away
    sys.modules.pop("wanderer", None)
    gym.registry.pop("Wanderer-v0", None)


WORLD = ["wanderer:Wanderer-v0"]
LATER = ["--train.schedule-steps", "90"]
WORDS = ["--train.total-steps", "60", "--train.eval-interval", "30", "--train.save-interval", "30"]
WORDS += ["--train.eval-episodes", "1", "--train.final-episodes", "1", "--log.interval", "30"]
WORDS += ["--actor.hidden-sizes", "8", "--critic.hidden-sizes", "8", "--replay.batch-size", "8"]
WORDS += ["--explore.start-steps", "20", "--replay.capacity", "300"]


@pytest.mark.parametrize("workers", some(["0", "1"], ["1"]))
def test_a_run_is_where_it_was_to_be_whatever_its_world_does(wandering, workers, capsys):
    here, away = wandering
    assert main(["train", *WORLD, *WORDS, "--env.workers", workers]) == 0
    assert Path.cwd() == here
    (run,) = Path("runs/wanderer_Wanderer-v0").iterdir()
    assert f"writing to {run}" in capsys.readouterr().out
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "checkpoints/000000060/manifest.json").is_file()
    words = ["--env", *WORLD]
    assert main(["resume", str(run), *words, "--train.total-steps", "90", *LATER]) == 0
    assert (run / "checkpoints/000000090/manifest.json").is_file()
    assert main(["eval", str(run), *words, "--episodes", "1"]) == 0
    assert main(["check", *WORLD, "--steps", "50"]) == 0
    assert Path.cwd() == here
    assert list(away.iterdir()) == []


def test_a_model_is_saved_where_the_user_is(wandering):
    here, _ = wandering
    model = qmu.DDPG(WORLD[0], **runs.of_a_model(SMALL))
    model.learn(60).save("model")
    assert model.evaluate(1).lengths == (30,)
    model.close()
    assert Path.cwd() == here
    assert (here / "model.safetensors").is_file()


@pytest.mark.parametrize("typed", ["~/runs", "$PLACE/runs", "${PLACE}/runs"])
def test_homes_and_variables_are_expanded(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLACE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    run = qmu.train("Pendulum-v1", **(SMALL | {"log": SMALL["log"] | {"dir": typed}}))
    assert run.directory.parent.parent == tmp_path / "home" / "runs"
    assert run.config.log.dir == typed
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    policy = run.policy()
    policy.save("~/policy")
    np.testing.assert_array_equal(qmu.load("~/policy")(np.ones(3)), policy(np.ones(3)))
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("~nobody-of-this-name/runs", "there is no home ~nobody-of-this-name"),
        ("$NOWHERE/runs", r"there is no environment variable \$NOWHERE"),
        ("a/${NOWHERE}", r"there is no environment variable \$\{NOWHERE\}"),
    ],
)
def test_a_home_or_variable_that_is_not_there_is_named(typed, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(qmu.ConfigError, match=words):
        qmu.train("Pendulum-v1", log={"dir": typed})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_such_a_name_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$NOWHERE").mkdir()
    assert absolute("$NOWHERE") == tmp_path / "$NOWHERE"


def test_the_working_folder_comes_back_and_is_gone_to_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    folder = WorkingFolder()
    with folder:
        os.chdir("theirs")
        assert home() == str(tmp_path)
        assert shown(tmp_path / "runs") == "runs"
    assert Path.cwd() == tmp_path
    with folder:
        assert Path.cwd() == tmp_path / "theirs"
    (tmp_path / "theirs").rmdir()
    with folder:
        assert Path.cwd() == tmp_path
    assert shown(tmp_path.parent) == str(tmp_path.parent)
