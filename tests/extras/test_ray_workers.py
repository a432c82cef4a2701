"""Worlds in actors of a Ray cluster: the run is that of worlds in processes, whatever is lost."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import runs
import tomli_w
from clusters import processes, three_nodes

from qmu.config.reading import merge

# Not imported here: a cluster of this machine alone is prepared for before Ray is imported.
NO_RAY = importlib.util.find_spec("ray") is None
pytestmark = [pytest.mark.extra, pytest.mark.skipif(NO_RAY, reason="Ray is not installed")]

PATIENCE = 120
ACTOR = "ray::FarQuarters"
SCRIPT = """
import os, sys
import gymnasium as gym
import numpy as np
import qmu

class Witness(gym.Wrapper):
    def __init__(self):
        away = "run" not in os.environ
        assert not away or ("jax" not in sys.modules and os.environ["OMP_NUM_THREADS"] == "1")
        super().__init__(gym.make("Pendulum-v1"))

os.environ["run"] = "here"
run = qmu.train(Witness, **OPTIONS)
assert run.info["status"] == "finished"
"""


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of three nodes with two processors."""
    with three_nodes() as made:
        yield made


def start(folder, *words, **changes):
    """Start a small run as a process of its own group."""
    file = folder / "small.toml"
    file.write_text(tomli_w.dumps(runs.options(folder, changes)))
    command = [sys.executable, "-m", "qmu", "train", "Pendulum-v1", "--config", str(file), *words]
    return started(command)


def started(command):
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process):
    """Return the exit code of a process, and what it has said."""
    said, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, said + errors


def wait_for(found, process):
    """Return what `found` returns, once that is something."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and process.poll() is None:
        if one := found():
            return one
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def checkpointed(folder, count=1):
    """Return the newest checkpoints of the only run in a folder, if there are so many."""
    found = sorted(folder.glob("*/*/checkpoints/0*/manifest.json"))
    return found if len(found) >= count else []


ENDLESS = {"train": {"total_steps": 10**7, "schedule_steps": 10**7, "eval_interval": 10**6}}


REMEMBERING = {"kind": "gru", "size": 5, "sequence": 4, "start": "stored"}


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"env": {"pixels": 32, "frames": 2}},
        {"env": {"hide": ["velocity"]}, "memory": REMEMBERING},
    ],
    ids=["numbers", "pictures", "memory"],
)
def test_a_run_on_ray_is_that_in_processes_to_the_bit_also_resumed(kind, tmp_path):
    options = merge({"env": {"count": 2, "repeat": 2}, "explore": {"noise": "ou"}}, kind)
    away = tmp_path / "away"
    away.mkdir()
    whole = start(away, "--env.workers", "ray:2", **options)
    own = {"env": options["env"] | {"workers": 2}, "train": {"total_steps": 120}}
    half = options | own
    directory = runs.train(tmp_path / "here", **half)
    # Where the worlds are is nothing that a run depends on.
    file = directory / "config.toml"
    file.write_text(file.read_text().replace("workers = 2", 'workers = "ray:2"'))
    words = ["resume", str(directory), "--train.total-steps", "240"]
    resumed = started([sys.executable, "-m", "qmu", *words])
    for process in (whole, resumed):
        code, said = ended(process)
        assert code == 0, said
        assert "Warning" not in said
    assert 'workers = "ray:2"' in file.read_text()
    assert runs.final_state(directory) == runs.final_state(runs.only_run(away))
    # Steps of the world, which come home with the rows: the last line is of step 200.
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    assert max(line.get("time/frames", 0) for line in lines) == 400


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_of_a_cluster_of_its_own(tmp_path, number, code):
    process = start(tmp_path, "--env.workers", "ray:1", **ENDLESS)
    wait_for(lambda: checkpointed(tmp_path), process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any(one.name().startswith(ACTOR) for one in family)
    # As a terminal does: to all of the group.
    os.killpg(process.pid, number)
    ended_with, said = ended(process)
    assert ended_with == code, said
    assert "Traceback" not in said
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_lost_actor_is_replaced_or_ends_the_run(cluster, tmp_path):
    words = ["--env.workers", "ray:2", "--env.cluster", cluster.address, "--env.count", "2"]
    process = start(tmp_path, *words, "--env.on-error", "restart", **ENDLESS)
    wait_for(lambda: checkpointed(tmp_path), process)
    (lost, _) = processes(ACTOR)
    lost.kill()
    # A checkpoint may come before the loss is noticed: a line of metrics counts it.
    wait_for(lambda: restarts(tmp_path) == [1], process)
    os.killpg(process.pid, signal.SIGINT)
    code, said = ended(process)
    assert code == 130, said
    assert "the process of Pendulum-v1 on Ray was lost" in said
    assert restarts(tmp_path) == [1]
    wait_until_gone()
    other = tmp_path / "other"
    other.mkdir()
    process = start(other, *words, **ENDLESS)
    wait_for(lambda: checkpointed(other), process)
    processes(ACTOR)[0].kill()
    code, said = ended(process)
    assert code == 1, said
    assert "the process of Pendulum-v1 on Ray was lost" in said
    assert "Traceback" not in said
    wait_until_gone()


def restarts(folder):
    """Return what a run's metrics have counted of restarts, above 0."""
    counted = (line.get("rollout/restarts") for line in runs.metrics(runs.only_run(folder)))
    return sorted({int(number) for number in counted if number})


def wait_until_gone():
    """Wait until no actor is left."""
    limit = time.monotonic() + 20
    while processes(ACTOR):
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_worlds_of_a_script_are_stepped_on_a_cluster_without_jax(cluster, tmp_path):
    file = tmp_path / "script.py"
    changes = {"env": {"workers": "ray:2", "cluster": cluster.address, "count": 2}}
    file.write_text(SCRIPT.replace("OPTIONS", repr(runs.options(tmp_path, changes))))
    code, said = ended(started([sys.executable, str(file)]))
    assert code == 0, said


def test_more_workers_than_processors_are_refused(cluster, tmp_path):
    words = ["--env.workers", "ray:3", "--env.cluster", cluster.address, "--env.count", "3"]
    before = time.monotonic()
    code, said = ended(start(tmp_path, *words))
    assert code == 2, said
    assert "3 workers take a processor each, and the cluster has 2: ask for fewer" in said
    assert time.monotonic() - before < 60
    assert not list(tmp_path.glob("*/*/run.json"))
