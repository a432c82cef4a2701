"""Simulations that begin anew on their own: a hinge whose motor is far too strong."""

import gymnasium as gym
import numpy as np
import pytest
import runs
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import qmu
from qmu.cli import main
from qmu.health.symptoms import WARNING
from qmu.world.breakdowns import CLOCK
from qmu.world.hearing import stepping, take
from qmu.world.make import find_maker

MODEL = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.05"/>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="{gear}" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>
"""
FOUND = "MuJoCo found accelerations that were not finite or huge"


class Hinge(MujocoEnv):
    """A pole that hangs on a hinge, and is rewarded for each step."""

    metadata = {  # noqa: RUF012 - as MujocoEnv has it
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 50,
    }

    def __init__(self, path):
        super().__init__(str(path), 2, gym.spaces.Box(-np.inf, np.inf, (2,), np.float64))

    def step(self, action):
        self.do_simulation(action, self.frame_skip)
        return self.seen(), 1.0, False, False, {}

    def seen(self):
        # Large velocities are seen as 10: what is told is not told by the observation.
        return np.clip(np.concatenate([self.data.qpos, self.data.qvel]), -10, 10)

    def reset_model(self):
        self.set_state(self.np_random.uniform(-0.1, 0.1, 1), self.init_qvel)
        return self.seen()


class TurnsBack(Hinge):
    """Puts its own simulation back in the middle of an episode, without a word."""

    def step(self, action):
        if self.data.time > 0.3:
            self.reset()
        return super().step(action)


@pytest.fixture
def hinge(tmp_path):
    """Return what makes a hinge of a gear."""

    def of(gear, kind=Hinge):
        path = tmp_path / f"{gear}.xml"
        path.write_text(MODEL.format(gear=gear))
        return lambda: gym.wrappers.TimeLimit(kind(path), 50)

    yield of
    take()


@stepping()
def stepped(worlds, actions):
    """Return in which steps the simulations of worlds have begun anew, and why."""
    worlds.reset([0] * worlds.count)
    found = []
    for step, action in enumerate(actions):
        worlds.step(np.full((worlds.count, 1), action, np.float32))
        found += [(step, *one) for one in worlds.broken]
        worlds.broken = []
    return found


# With an acceleration of 2e10 the second one breaks down, in an episode's first step or a later.
STRONG = [0, 0, 1, 0, 1, 1, 0]


def test_each_step_is_found_with_its_cause(hinge):
    worlds = find_maker(hinge("1e10")).worlds(1)
    assert stepped(worlds, STRONG) == [(2, 0, FOUND), (4, 0, FOUND), (5, 0, FOUND)]
    assert stepped(worlds, [1, 0]) == [(0, 0, FOUND)]
    # At the end of an episode it is reset in its own right.
    assert stepped(worlds, [0] * 120) == []
    worlds.close()


def test_a_sound_simulation_is_not_taken_for_a_broken_one(hinge):
    worlds = find_maker(hinge("1")).worlds(2)
    assert stepped(worlds, STRONG * 20) == []
    worlds.close()


def test_a_clock_that_goes_back_is_enough(hinge):
    worlds = find_maker(hinge("1", TurnsBack)).worlds(1)
    assert {(world, cause) for _, world, cause in stepped(worlds, [0.5] * 40)} == {(0, CLOCK)}
    worlds.close()


def test_worlds_of_a_ready_made_vector_environment_are_watched(hinge):
    made = [hinge("1"), hinge("1e10")]
    vector = SyncVectorEnv(made, autoreset_mode=AutoresetMode.SAME_STEP)
    worlds = find_maker(vector).worlds(2)
    assert stepped(worlds, STRONG) == [(2, 1, FOUND), (4, 1, FOUND), (5, 1, FOUND)]
    assert stepped(worlds, [0] * 120) == []
    worlds.close()


def test_check_counts_the_steps(hinge):
    checkup = qmu.check_env(hinge("1e10"), steps=300)
    first = checkup.symptoms[0]
    assert (first.level, first.name) == (WARNING, "the simulation begins anew by itself")
    assert first.seen.endswith(f": {FOUND}")
    count = int(first.seen.split()[2])
    assert 100 < count < 300
    healthy = [one.name for one in qmu.check_env(hinge("1"), steps=300).symptoms]
    assert not any("anew" in name for name in healthy)


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.long)])
def test_a_run_tells_it_once_counts_it_and_doctor_says_it(hinge, tmp_path, capsys, workers):
    changes = {"train": {"seeds": 2}, "env": {"workers": workers}}
    with pytest.warns(RuntimeWarning) as told:
        directory = runs.train(tmp_path, hinge("1e10"), **changes)
    said = [str(one.message) for one in told]
    (training,) = [
        text for text in said if "began anew by itself inside of a step, at step" in text
    ]
    assert training.startswith("the simulation of world 0 of seed ")
    assert FOUND in training
    run = qmu.open_run(directory)
    last = {line["member"]: line for line in run.metrics() if "rollout/episodes" in line}
    counts = [last[f"seed-{seed}"]["rollout/breakdowns"] for seed in (0, 1)]
    assert all(20 < count <= 200 for count in counts)
    capsys.readouterr()
    assert main(["doctor", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "SERIOUS: The simulation begins anew by itself (seeds 0, 1; certain)" in out
    assert "weaker actuators (gear)" in out


def seen_by_doctor(directory, capsys):
    """Return what `qmu doctor` has seen of a run's simulations."""
    capsys.readouterr()
    assert main(["doctor", str(directory)]) == 0
    out = capsys.readouterr().out
    return out.partition("The simulation begins anew by itself (")[2].partition("\n  Means")[0]


def test_doctor_counts_in_the_steps_that_a_line_has_counted(hinge, tmp_path, capsys):
    changes = {"train": {"total_steps": 120}, "log": {"interval": 100}}
    with pytest.warns(RuntimeWarning):
        directory = runs.train(tmp_path, hinge("1e10"), **changes)
    lines = qmu.open_run(directory).metrics()
    # The evaluation at the end is a later line, which counts nothing of training.
    assert lines[-1]["step"] == 120
    (count,) = [line["rollout/breakdowns"] for line in lines if "rollout/breakdowns" in line]
    share = f"{count:.0f} of the first 100 steps of training ({count / 100:.2g} of them), and of "
    assert share in seen_by_doctor(directory, capsys)


def test_a_run_without_a_line_of_training_has_no_number_of_it(hinge, tmp_path, capsys):
    changes = {"train": {"total_steps": 120}, "log": {"interval": 1000}}
    with pytest.warns(RuntimeWarning) as told:
        directory = runs.train(tmp_path, hinge("1e10"), **changes)
    alone = sum(line.get("eval/breakdowns", 0) for line in qmu.open_run(directory).metrics())
    assert alone > 1
    seen = seen_by_doctor(directory, capsys)
    assert f"inside of {alone:.0f} steps in evaluations (no line counts those of training" in seen
    assert "steps of training" not in seen
    said = [str(one.message) for one in told if "began anew by itself" in str(one.message)]
    evaluating = {"in the evaluation at step" in text for text in said}
    assert evaluating == {True, False}
    for text in said:
        learned = "That is learned as what the action led to. " in text
        assert learned is not ("in the evaluation at step" in text)
        assert ("Nothing is learned from that, but the score has it. " in text) is not learned


def test_what_is_counted_goes_on_in_a_run_that_is_resumed(hinge, tmp_path):
    with pytest.warns(RuntimeWarning):
        directory = runs.train(tmp_path, hinge("1e10"), train={"total_steps": 120})
    before = qmu.open_run(directory).metrics()
    with pytest.warns(RuntimeWarning):
        run = qmu.resume(directory, env=hinge("1e10"), total_steps=240)
    counts = [line["rollout/breakdowns"] for line in run.metrics() if "rollout/breakdowns" in line]
    assert len(before) < len(run.metrics())
    assert counts == sorted(counts)


@pytest.mark.long
def test_a_sound_run_has_no_such_metric(tmp_path):
    directory = runs.train(tmp_path, "InvertedPendulum-v5", train={"total_steps": 120})
    names = {name for line in qmu.open_run(directory).metrics() for name in line}
    assert not any("breakdowns" in name for name in names)


def test_a_model_tells_it(hinge):
    options = {group: runs.SMALL[group] for group in ("actor", "critic", "replay", "explore")}
    with pytest.warns(RuntimeWarning) as told:
        qmu.DDPG(hinge("1e10"), **runs.of_a_model(options)).learn(60)
    said = [str(one.message) for one in told]
    assert len([text for text in said if "began anew by itself" in text]) == 1
