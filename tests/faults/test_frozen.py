"""Processes that are stopped, as a laptop's lid does it, or stay so: the run's own, and workers."""

import os
import signal
import sys
import time

import psutil
import pytest
import runs
from test_signals import PATIENCE, ended_by, go_on, start, wait_for_checkpoint

import qmu
from qmu.collecting import elsewhere, outpost


@pytest.mark.fault
@pytest.mark.parametrize("words", [[], ["--env.workers", "1"]], ids=["here", "worker"])
def test_a_run_that_was_stopped_for_many_limits_goes_on(words, tmp_path):
    process = start(tmp_path, "--env.step-timeout", "0.5", *words)
    directory = wait_for_checkpoint(process, tmp_path)
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    for one in everybody:
        one.suspend()
    time.sleep(6)
    for one in everybody:
        one.resume()
    before = len(list((directory / "checkpoints").glob("0*")))
    wait_for_checkpoint(process, tmp_path, 2)
    limit = time.monotonic() + PATIENCE
    while len(list((directory / "checkpoints").glob("0*"))) < before + 2:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    ended_by(process, signal.SIGINT, 130)
    assert go_on(directory) > 250


@pytest.mark.fault
@pytest.mark.parametrize(
    "hidden", [["8"], ["300", "300"]], ids=["an order it takes", "one that is too long"]
)
def test_a_frozen_worker_does_not_hold_up_ctrl_c(hidden, tmp_path):
    process = start(tmp_path, "--env.workers", "1", "--actor.hidden-sizes", *hidden)
    directory = wait_for_checkpoint(process, tmp_path)
    (worker,) = psutil.Process(process.pid).children()
    worker.suspend()
    time.sleep(0.5)
    said = ended_by(process, signal.SIGINT, 130)
    assert "is saved in" in said
    assert psutil.wait_procs([worker], timeout=5)[1] == []
    info = qmu.open_run(directory).info
    assert info["status"] == "interrupted"
    assert go_on(directory) == info["steps"]


class Freezing(qmu.Callback):
    """Stops the run's worker at a step."""

    def __init__(self, step):
        self.step = step

    def on_chunk(self, moment):
        if self.step is not None and moment.step >= self.step:
            self.step = None
            (worker,) = psutil.Process().children()
            os.kill(worker.pid, signal.SIGSTOP)


def freeze(folder, monkeypatch, **env):
    monkeypatch.setattr(outpost, "LOOK", 0.05)
    monkeypatch.setattr(elsewhere, "QUIET", 1.5)
    changes = {"env": {"workers": 1, "step_timeout": 0.1} | env}
    return qmu.train("Pendulum-v1", callbacks=[Freezing(100)], **runs.options(folder, changes))


@pytest.mark.long
def test_a_frozen_worker_is_noticed_and_what_was_learned_saved(tmp_path, monkeypatch):
    with pytest.raises(qmu.WorldError, match=r"Pendulum-v1 says nothing any more: it is frozen"):
        freeze(tmp_path, monkeypatch)
    info = qmu.open_run(runs.only_run(tmp_path)).info
    assert info["status"] == "failed"
    assert info["steps"] >= 100
    assert go_on(runs.only_run(tmp_path), wrappers=None) == info["steps"]
    assert psutil.Process().children() == []


@pytest.mark.long
def test_a_frozen_worker_is_replaced_where_that_is_asked(tmp_path, monkeypatch):
    with pytest.warns(RuntimeWarning, match="was replaced: .* says nothing any more"):
        run = freeze(tmp_path, monkeypatch, on_error="restart")
    assert run.info["status"] == "finished"
    said = [line for line in run.metrics() if "rollout/restarts" in line]
    assert said[-1]["rollout/restarts"] == 1


@pytest.mark.long
def test_a_worker_that_is_at_work_says_so(tmp_path, monkeypatch):
    """It takes longer for a chunk than a silent one may."""
    monkeypatch.setattr(elsewhere, "QUIET", 2.0)
    changes = {
        "env": {"workers": 1, "step_timeout": 0.2},
        "train": {"total_steps": 40, "chunk": 40, "save_interval": 0, "eval_interval": 40},
        "explore": {"start_steps": 20},
    }
    run = qmu.train(slow, **runs.options(tmp_path, changes))
    assert run.info["status"] == "finished"


def slow():
    import gymnasium as gym

    class Slow(gym.Wrapper):
        def step(self, action):
            if sys.argv[0].endswith("outpost.py"):
                time.sleep(0.1)
            return self.env.step(action)

    return Slow(gym.make("Pendulum-v1"))
