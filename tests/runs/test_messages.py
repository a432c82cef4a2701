"""What MuJoCo says in a run lies once in its folder."""

import pytest
from budget import some

from qmu.cli import main
from qmu.runs.messages import Messages
from qmu.world import hearing

WORLD = """
import gymnasium as gym
import mujoco
import numpy as np

gym.register("Breaks-v0", "breaks:Breaks", max_episode_steps=20)

MODEL = '''
<mujoco><worldbody><body><joint type="slide"/><geom size=".1" mass="1"/></body></worldbody></mujoco>
'''

class Breaks(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] = self.np_random.uniform(-1, 1)
        self.steps = 0
        return self.data.qpos.astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        self.data.qvel[0] = 1e300 if self.steps == 5 else action[0]
        mujoco.mj_step(self.model, self.data)
        obs = self.data.qpos.astype(np.float32)
        return obs, float(obs[0]), False, False, {}
"""
WORDS = [
    *("--train.total-steps", "48", "--train.chunk", "8", "--train.eval-interval", "48"),
    *("--train.eval-episodes", "1", "--train.final-episodes", "1", "--env.count", "2"),
    *("--actor.hidden-sizes", "8", "--critic.hidden-sizes", "8", "--replay.batch-size", "8"),
    *("--explore.start-steps", "16", "--log.no-tensorboard"),
]


@pytest.fixture(autouse=True)
def nothing_heard_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hearing.take()


@pytest.mark.parametrize("workers", some(["0", "2"], ["2"]))
def test_a_simulation_that_breaks_down_is_told_once(tmp_path, monkeypatch, capfd, workers):
    (tmp_path / "breaks.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "breaks:Breaks-v0", *WORDS, "--env.workers", workers]) == 0
    (file,) = tmp_path.glob("runs/*/*/messages.txt")
    (line,) = file.read_text().splitlines()
    # In the first chunk, of 8 steps in each of 2 worlds: long before an evaluation.
    assert line.startswith("before step 16: Nan, Inf or huge value in QVEL at DOF 0. The")
    printed = capfd.readouterr()
    # The display may break the line anywhere.
    assert "".join(printed.out.split()).count("MuJoCosaid,beforestep16:Nan,Inf") == 1
    assert "QVEL" not in printed.err
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_check_says_what_mujoco_warns_of(tmp_path, monkeypatch, capfd):
    (tmp_path / "breaks.py").write_text(WORLD)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["check", "breaks:Breaks-v0", "--steps", "100"]) == 0
    printed = capfd.readouterr()
    assert "warning: MuJoCo warns\n  seen   Nan, Inf or huge value in QVEL" in printed.out
    assert printed.err == ""


def test_of_a_world_that_is_fine_no_word_is_said(tmp_path, capfd):
    assert main(["train", "HalfCheetah-v5", *WORDS, "--env.workers", "2"]) == 0
    assert main(["check", "HalfCheetah-v5", "--steps", "100"]) == 0
    assert main(["envs", "--family", "mujoco"]) == 0
    printed = capfd.readouterr()
    assert "mujoco said" not in printed.out.lower()
    assert "deprecated" not in printed.out + printed.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_a_run_that_is_resumed_does_not_repeat_what_it_has_said(tmp_path):
    file, told = tmp_path / "messages.txt", []
    for step in (10, 20):
        hearing.note([f"compiler attribute 'x' is deprecated in line {step}", f"Time = 0.{step}"])
        Messages(file, told.append).write(step)
    assert file.read_text().splitlines() == [
        "before step 10: compiler attribute 'x' is deprecated in line 10",
        "before step 10: Time = 0.10",
    ]
    assert told == ["MuJoCo said, before step 10: Time = 0.10"]
