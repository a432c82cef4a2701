"""Studies through the command: trained, stopped, gone on with, and what they say."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tomli_w

import qmu
from qmu import cli
from qmu.study import results, work
from qmu.study.plan import programs

TINY = {
    "question": "Does it work?",
    "environments": ["Pendulum-v1"],
    "seeds": 3,
    "total_steps": 300,
    "options": {
        "env": {"episode_length": 20},
        "actor": {"hidden_sizes": [8]},
        "critic": {"hidden_sizes": [8]},
        "replay": {"batch_size": 8},
        "explore": {"start_steps": 50},
        "train": {"eval_episodes": 1, "eval_interval": 25, "final_episodes": 1},
        "log": {"interval": 50},
    },
    "environment": {"Pendulum-v1": {"threshold": -50}},
    "arms": {
        "quiet": {"explore": {"std": 0.1}},
        "loud": {"explore": {"std": 0.5}},
        "two critics": {"critic": {"count": 2}},
    },
}


def write(folder, **changes):
    """Write the tiny study into a file; return the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.toml"
    file.write_text(tomli_w.dumps(TINY | changes))
    return str(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a study that has been trained, and what the command said."""
    folder = tmp_path_factory.mktemp("study")
    words = ["study", write(folder), "--dir", str(folder / "tiny")]
    done = subprocess.run(
        [sys.executable, "-m", "qmu", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "tiny", done.stdout


def test_a_study_trains_every_seed_of_every_arm_and_says_the_answer(trained):
    directory, said = trained
    assert "Does it work?" in said
    assert "Best is " in said
    assert results.PROTOCOL in said
    found = results.study_results(directory)
    (place,) = found.places
    assert [one.arm for one in place.outcomes] == ["quiet", "loud", "two critics"]
    for outcome in place.outcomes:
        assert outcome.finished
        assert outcome.curves.shape == (3, 12)
        assert outcome.steps.tolist() == list(range(25, 301, 25))
    # What the arms share a program with changes nothing about them.
    runs = {one.arm: one.run.directory for one in place.outcomes}
    assert runs["quiet"] == runs["loud"] != runs["two critics"]


def test_a_finished_study_is_not_trained_again(trained, capsys):
    directory, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (directory / "runs").rglob("*")}
    assert cli.main(["study", str(directory.parent / "tiny.toml"), "--dir", str(directory)]) == 0
    assert "Best is " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (directory / "runs").rglob("*")} == before


def test_another_study_is_not_mixed_into_a_directory(trained, capsys):
    directory, _ = trained
    file = write(directory.parent / "other", seeds=4)
    assert cli.main(["study", file, "--dir", str(directory)]) == 2
    assert "holds another study: its seeds was 3, now it is 4" in capsys.readouterr().err


def test_runs_of_a_study_can_be_compared(trained, capsys):
    directory, _ = trained
    paths = sorted(str(path.parent) for path in directory.glob("runs/*/*/run.json"))
    assert len(paths) == 2
    assert cli.main(["compare", *paths]) == 0
    said = capsys.readouterr().out
    assert "Which of the runs learns best?" in said
    assert cli.main(["compare", str(directory), paths[0]]) == 2
    assert "is a study: give it alone" in capsys.readouterr().err


@pytest.mark.fault
def test_a_study_that_is_stopped_goes_on(tmp_path):
    words = ["study", write(tmp_path, total_steps=4000), "--dir", str(tmp_path / "tiny")]
    process = subprocess.Popen(
        [sys.executable, "-m", "qmu", *words, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 120
    while time.monotonic() < limit and len(list(tmp_path.glob("tiny/runs/*/*/metrics.jsonl"))) < 2:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "the same command goes on" in said
    stopped = [
        json.loads(path.read_text())["status"] for path in tmp_path.glob("tiny/runs/*/*/run.json")
    ]
    assert stopped == ["stopped", "stopped"]
    assert cli.main(words) == 0
    found = results.study_results(tmp_path / "tiny")
    assert all(one.finished for place in found.places for one in place.outcomes)
    resumed = [
        json.loads(path.read_text())["resumed"] for path in tmp_path.glob("tiny/runs/*/*/run.json")
    ]
    assert [len(times) for times in resumed] == [1, 1]


@pytest.mark.slow
def test_an_arm_that_diverges_does_not_take_the_others_with_it(tmp_path, capsys):
    arms = {"plain": {}, "mad": {"critic": {"lr": 1e30}, "actor": {"lr": 1e30}}}
    options = TINY["options"] | {"critic": {"hidden_sizes": [8], "norm": "none"}}
    worlds = {"Pendulum-v1": {"threshold": -1e9}}
    file = write(tmp_path, arms=arms, options=options, environment=worlds, seeds=1)
    assert cli.main(["study", file, "--dir", str(tmp_path / "tiny")]) == 1
    said = capsys.readouterr()
    assert "some programs have failed" in said.err
    assert "the member with mad, seed 0 diverged" in said.err
    found = results.study_results(tmp_path / "tiny")
    plain, mad = found.places[0].outcomes
    assert plain.finished
    assert mad.status == "diverged"
    assert np.isnan(mad.scores).all()
    assert [one.failed for one in results.rows(found, found.places[0])] == [0, 1]
    # It would diverge again: the study is over.
    assert cli.main(["study", file, "--dir", str(tmp_path / "tiny")]) == 0


def test_processors_are_divided_among_workers():
    assert work.divided([0, 1, 2, 3], 2) == [[0, 2], [1, 3]]
    assert work.divided([0, 1], 3) == [[0], [1], [0]]
    assert work.divided([5], 1) == [[5]]


def test_what_is_wrong_with_a_request_is_said_before_anything_is_written(tmp_path, capsys):
    target = tmp_path / "made"
    file = write(tmp_path)
    for words, said in (
        ([file, "--workers", "0"], "--workers must be 1 or more"),
        (["nothing"], "there is no study 'nothing'"),
        ([str(tmp_path / "no.toml")], "cannot read the configuration"),
        ([file, "--seeds", "5000"], "give --yes if that is what you want"),
        ([file, "--env", "Nothing-v0"], "Nothing-v0"),
        ([], "which study?"),
    ):
        assert cli.main(["study", *words, "--dir", str(target)]) == 2, words
        assert said in capsys.readouterr().err
        assert not target.exists()


def test_a_dry_run_trains_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", write(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "9 agents in 2 programs" in said
    assert "about " in said
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml"}
    assert cli.main(["study", "--list"]) == 0
    assert "noise" in capsys.readouterr().out


def test_a_directory_without_a_study_or_run_is_refused(tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path)]) == 2
    assert "is not a run's directory" in capsys.readouterr().err
    with pytest.raises(qmu.ConfigError, match="not a study's directory"):
        work.open_directory(tmp_path)


def test_programs_of_a_directory_are_those_of_its_file(trained):
    directory, _ = trained
    assert [program.name for program in programs(work.open_directory(directory))] == [
        "quiet",
        "two-critics",
    ]
