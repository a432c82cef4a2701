"""Videos at evaluations: when, of whom, and that training does not notice."""

import json
import os
import time

import gymnasium as gym
import numpy as np
import pytest
import runs

import qmu
from qmu.cli import main
from qmu.collecting.evaluate import Score
from qmu.learning.loop import Trainer
from qmu.saving import storage
from qmu.watching import camera

FILMING = {"log": {"video_interval": 60}}


@pytest.fixture
def filmed(monkeypatch):
    """Replace the encoder by a file with the first observation; return what was filmed."""
    found = []

    class Stage:
        def close(self):
            found.append("closed")

    def film(actor, worlds, seeds, path, steps, stopped):
        found.append((path.stem, list(seeds), steps))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(path.stem.encode())
        return Score((0.0,), (1,))

    monkeypatch.setattr(camera, "stage", lambda maker, guard: Stage())
    monkeypatch.setattr(camera, "film", film)
    return found


def names(directory):
    return sorted(path.name for path in (directory / "videos").iterdir())


@pytest.mark.long
def test_the_first_evaluation_after_each_multiple_is_filmed(tmp_path, filmed):
    directory = runs.train(tmp_path, **FILMING)
    # Evaluations come at 40, 80, 120, ..., 240.
    steps = ["000000080", "000000120", "000000200", "000000240"]
    assert names(directory) == [f"seed-0-{step}.mp4" for step in steps]
    assert filmed[0] == ("seed-0-000000080", [1_000_000], 1_000)
    assert filmed[-1] == "closed"


def test_the_first_seed_of_every_arm_is_filmed(tmp_path, filmed):
    from qmu.config import reading
    from qmu.runs.train import train_config

    changes = {"train": {"seeds": 2}, "log": {"video_interval": 240}}
    config = reading.from_dict(runs.options(tmp_path, changes))
    arms = {"slow": {"actor": {"lr": 1e-5}}, "fast": {"actor": {"lr": 1e-3}}}
    run = train_config(config, "Pendulum-v1", arms=arms)
    assert names(run.directory) == ["fast.seed-0-000000240.mp4", "slow.seed-0-000000240.mp4"]


@pytest.mark.long
def test_a_resumed_run_has_the_videos_of_one_that_was_never_interrupted(tmp_path, filmed):
    whole = runs.train(tmp_path / "whole", **FILMING)
    directory = runs.train(tmp_path / "cut", **FILMING)
    for path in runs.checkpoints(directory)[:2]:
        storage.remove(path)
    later = [entry for entry in filmed if entry != "closed"][4:]
    videos = directory / "videos"
    (videos / "seed-0-000000230.mp4").touch()  # of a step that the run will not be at again
    (videos / f"{storage.UNFINISHED}seed-0-000000240.mp4").touch()
    (videos / "mine-000000240.mp4").touch()
    del filmed[:]
    info = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
    qmu.resume(directory)
    assert names(directory) == ["mine-000000240.mp4", *names(whole)]
    assert len(later) == 4
    # It goes on at step 120, whose evaluation came before the save.
    assert filmed[:-1] == later[2:]


def test_a_video_that_fails_is_told_once_and_the_run_goes_on(tmp_path, filmed, monkeypatch):
    calls = []

    def fails(*arguments):
        calls.append(arguments)
        raise OSError("no room")

    monkeypatch.setattr(camera, "film", fails)
    with pytest.warns(
        RuntimeWarning, match="no video of step 80, the run goes on: no room"
    ) as told:
        directory = runs.train(tmp_path, **FILMING)
    assert len(told) == 1
    assert len(calls) == 4
    # The world that it failed in is of no use to the next one.
    assert filmed == ["closed"] * 4
    assert qmu.open_run(directory).info["status"] == "finished"


def test_time_for_videos_does_not_count_as_steps_per_second(tmp_path, filmed, monkeypatch):
    moved = []
    monkeypatch.setattr(camera, "film", lambda *arguments: time.sleep(0.05))

    def stood_still(self, seconds):
        before = self.logged_at
        plain(self, seconds)
        moved.append((seconds, self.logged_at[0] - before[0], self.logged_at[1] - before[1]))

    plain = Trainer.stood_still
    monkeypatch.setattr(Trainer, "stood_still", stood_still)
    runs.train(tmp_path, **FILMING)
    assert len(moved) == 4
    for seconds, steps, shift in moved:
        assert seconds >= 0.05
        assert (steps, shift) == (0, pytest.approx(seconds))


def test_a_signal_breaks_a_video_off(tmp_path, monkeypatch):
    import signal

    from qmu.watching.video import BrokenOffError

    def film(actor, worlds, seeds, path, steps, stopped):
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
        raise BrokenOffError

    class Stage:
        def close(self):
            pass

    monkeypatch.setattr(camera, "stage", lambda maker, guard: Stage())
    monkeypatch.setattr(camera, "film", film)
    with pytest.raises(qmu.StoppedError), pytest.warns(RuntimeWarning, match="stopping") as told:
        runs.train(tmp_path, **FILMING)
    assert len(told) == 1


@pytest.mark.extra
@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedPendulum-v5"])
def test_a_filmed_run_is_bit_for_bit_the_one_without_videos(name, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    seeds = {"train": {"seeds": 2}}
    plain = runs.train(tmp_path / "plain", name, **seeds)
    directory = runs.train(tmp_path / "filmed", name, **seeds, **FILMING)
    assert len(names(directory)) == 4
    assert runs.final_state(directory) == runs.final_state(plain)
    assert runs.metrics(directory) == runs.metrics(plain)


class Dark(gym.Env):
    """Has no pictures."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}


@pytest.mark.extra
def test_what_cannot_be_filmed_is_told_before_anything_is_written(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(qmu.ConfigError, match="no video can be made here: Dark raised in render"):
        runs.train(tmp_path, Dark, **FILMING)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qmu.watching.video.find_spec", lambda name: None)
    assert main(["train", "Pendulum-v1", "--log.video-interval", "1000"]) == 2
    assert "install it with pip install 'qmu[video]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
