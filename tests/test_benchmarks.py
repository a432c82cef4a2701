"""Every benchmark runs, with tiny numbers: what it would measure here is worth nothing.

Not `rivals.py`, which needs the libraries that qmu is compared with.
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"batch_size": 8},
    "explore": {"start_steps": 20},
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a benchmark with these words and constants of its own.

    It returns the module. What is written goes to `tmp_path`.
    """
    monkeypatch.syspath_prepend(BENCHMARKS)
    for folder in ("results", "docs"):
        (tmp_path / "benchmarks" / folder).mkdir(parents=True)

    def run_one(name, words="", **constants):
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words.split()])
        if hasattr(module, "HERE"):
            monkeypatch.setattr(module, "HERE", tmp_path / "benchmarks")
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        module.main()
        return module

    return run_one


def results(tmp_path):
    """Return the results that a benchmark has written, by the beginning of their names."""
    files = (tmp_path / "benchmarks" / "results").glob("*.json")
    return {file.name.partition("-")[0]: json.loads(file.read_text()) for file in files}


def test_random_actions(run, tmp_path):
    file = tmp_path / "random.json"
    run("random_actions", EPISODES=2, WORLDS=("Pendulum-v1",), RESULTS=file)
    (found,) = json.loads(file.read_text())["worlds"].values()
    assert len(found["returns"]) == 2


def test_intervals(run, capsys):
    run("intervals", "--studies 10")
    assert capsys.readouterr().out.count(" seeds  ") == 21


def test_recipes(run, capsys, tmp_path):
    shutil.copy(BENCHMARKS / "published.csv", tmp_path / "benchmarks")
    for file in (BENCHMARKS / "results").glob("learning-*.json"):
        shutil.copy(file, tmp_path / "benchmarks" / "results")
    run("recipes")
    assert "| HalfCheetah-v5 |" in capsys.readouterr().out


@pytest.mark.long
def test_learning_and_its_picture(run, tmp_path, capsys):
    learning = importlib.import_module("learning")
    case = learning.Case("Pendulum-v1", 300, -200, True, "last_ten", 1, 3, 1)
    words = "actor.hidden_sizes=[8] critic.hidden_sizes=[8] explore.start_steps=20"
    run("learning", f"--seeds 1 --option {words}", CASES=[case])
    measured = results(tmp_path)["learning"]
    assert [len(row) for row in measured["curve"]] == [1, 1, 1]
    assert (
        "seeds below -200: 1; steps until an evaluation reached it: never"
        in capsys.readouterr().out
    )
    (tmp_path / "docs").mkdir()
    run("plot")
    assert (tmp_path / "docs" / "learning.png").is_file()


@pytest.mark.long
def test_gains(run, tmp_path, capsys):
    learning = importlib.import_module("learning")
    case = learning.Case("Pendulum-v1", 300, None, False, "last_ten", 1)
    run(
        "gains",
        "--world Pendulum-v1 --only prioritized --seeds 1",
        CASES=[case], SMALL=TINY, STEPS=300, EVALUATIONS=3, EPISODES=1,
    )  # fmt: skip
    assert list(results(tmp_path)["gains"]["arms"]) == ["default", "prioritized"]
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1].startswith("| prioritized | ")


@pytest.mark.long
def test_switches(run, tmp_path):
    file = tmp_path / "switches.json"
    words = f"--only prioritized --pairs 2 --steps 32 --output {file}"
    world = {"env": {"id": "Pendulum-v1"}}
    run("switches", words, WORLD="Pendulum-v1", PLAIN=TINY | world, RANDOM_STEPS=20)
    (row,) = json.loads(file.read_text())["switches"]
    assert row["time_ratio"] > 0


@pytest.mark.long
def test_versions(run, tmp_path, capsys):
    words = f"{sys.executable} {sys.executable} --rounds 2 --chunks 1 --only tiny"
    run("versions", words, KINDS={"tiny": [TINY, 1]})
    found = results(tmp_path)["versions"]
    assert len(found["versions"]) == 2
    assert all(one["ms"] > 0 for own in found["kinds"]["tiny"]["rounds"] for one in own)
    assert capsys.readouterr().out.splitlines()[1].startswith("  tiny ")


@pytest.mark.long
def test_health(run, tmp_path):
    run("health", "--pairs 2 --steps 32", SIZES={"tiny": TINY})
    assert results(tmp_path)["health"]["rows"]["tiny"]["time_ratio"] > 0


@pytest.mark.long
def test_workers(run, tmp_path):
    words = "--pairs 2 --steps 32 --workers 1 --worlds 1"
    run("workers", words, WORLDS={"Pendulum-v1": "Pendulum-v1"}, CASES={"tiny": TINY})
    (row,) = results(tmp_path)["workers"]["rows"]
    assert row["time_ratio"] > 0


@pytest.mark.long
def test_cluster(run, tmp_path):
    run("cluster", "--steps 200 --rounds 1 --trials 0", PLACES={"processes": []}, ARMS=(4, 5))
    one, two = results(tmp_path)["cluster"]["studies"]
    assert (one["workers"], two["workers"]) == (1, 2)
    for row in (one, two):
        ((first, second),) = row["training_seconds"]
        assert 0 < max(first, second) < row["seconds"][0]
        assert 0 < row["serial_seconds"][0] < row["seconds"][0]


@pytest.mark.long
def test_saving(run, tmp_path):
    run("saving", "--rows 1000 --saves 2", WORLD="Pendulum-v1", NEW_ROWS=100)
    uniform, prioritized = results(tmp_path)["saving"]["cases"]
    for case in (uniform, prioritized):
        assert len(case["scheduled_seconds"]) == 2
        assert case["whole_stream_seconds"] > 0
        assert case["resume_seconds"] > 0


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        "loop --hidden 8 --batch 8 --warmup-steps 1100 --steps 32",
        "update --hidden 8 --batch 8 --blocks 1",
        "first-update",
    ],
)
def test_ours(run, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("ours", words)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    figure = {"loop": "steps_per_second", "update": "share_of_floor"}
    assert found[figure.get(words.split()[0], "seconds_to_first_update")] > 0


@pytest.mark.long
def test_speed(run, tmp_path):
    speed = importlib.import_module("speed")
    words = "update --hidden 8 --batch 8 --blocks 1"
    one = speed.Contender("tiny", [*speed.OURS, *words.split()], "share_of_floor")
    case = speed.Case("tiny", "a tiny update", [one], [speed.Goal("tiny", "", 0.1, 0.2)])
    file = tmp_path / "speed.json"
    run("speed", f"--rounds 2 --only tiny --output {file}", CASES=[case])
    (measured,) = json.loads(file.read_text())["cases"]
    assert len(measured["goals"][0]["ratios"]) == 2


@pytest.mark.long
def test_encoder(run, capsys, monkeypatch):
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    words = "ours --kind drqv2 --batch 2 --side 15 --channels 1 --updates 1 --blocks 1"
    run("encoder", words)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["milliseconds"] >= found["fastest"] > 0
