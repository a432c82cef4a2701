"""Studies on a Ray cluster of three nodes, which are processes of this machine."""

import importlib.util
import json
import subprocess
import sys
import time

import pytest
import tomli_w
from clusters import three_nodes, wait_for

from qmu import cli
from qmu.study import results

# Not imported here: a cluster of this machine alone is prepared for before Ray is imported.
NO_RAY = importlib.util.find_spec("ray") is None
pytestmark = [pytest.mark.extra, pytest.mark.skipif(NO_RAY, reason="Ray is not installed")]

TINY = {
    "question": "Does it work?",
    "environments": ["Pendulum-v1"],
    "seeds": 2,
    # Long enough to lose a process, and then a node, on a fast machine.
    "total_steps": 24_000,
    "options": {
        "env": {"episode_length": 20},
        "actor": {"hidden_sizes": [8]},
        "critic": {"hidden_sizes": [8]},
        "replay": {"batch_size": 8},
        "explore": {"start_steps": 50},
        "train": {
            "eval_episodes": 1,
            "eval_interval": 250,
            "final_episodes": 1,
            "save_interval": 500,
        },
        "log": {"interval": 250},
    },
    "environment": {"Pendulum-v1": {"threshold": -50}},
    "arms": {"one critic": {}, "two critics": {"critic": {"count": 2}}},
}


@pytest.fixture
def cluster():
    """Return a cluster of three nodes, of which one may be killed."""
    with three_nodes() as made:
        yield made


def begin(words, folder):
    """Start a study; return its process when each of its two programs has brought a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qmu", "study", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if len({path.parent.parent for path in folder.glob("runs/*/*/checkpoints/*/man*")}) == 2:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def curves(directory):
    """Return the evaluations of every arm of a study."""
    (place,) = results.study_results(directory).places
    return {one.arm: one.curves.tolist() for one in place.outcomes}


def test_a_study_survives_the_loss_of_a_process_and_of_a_node(cluster, tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(tomli_w.dumps(TINY))
    away = tmp_path / "away"
    words = [str(file), "--dir", str(away), "--on", cluster.address]
    process = begin(words, away)
    wait_for("ray::Trainee", 2, process)[0].kill()
    time.sleep(3)
    wait_for("ray::Trainee", 2, process)
    cluster.kill_a_node()
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert said.count("its process was lost after step") >= 2
    assert cli.main(["study", str(file), "--dir", str(tmp_path / "here")]) == 0
    assert curves(away) == curves(tmp_path / "here")
    described = [json.loads(path.read_text()) for path in away.glob("runs/*/*/run.json")]
    assert any("resumed" in one for one in described)
