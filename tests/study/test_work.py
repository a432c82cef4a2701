"""Studies through the command: trained, stopped, gone on with, and what they say."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import gymnasium as gym
import numpy as np
import psutil
import pytest
import tomli_w
from probes import Counter
from rich.console import Console

import qmu
from qmu import cli
from qmu.config import reading
from qmu.layout import Layout
from qmu.report.show import progress_bar
from qmu.study import away, estimate, folder, plan, processes, results, work
from qmu.study.plan import programs
from qmu.world.make import find_maker

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
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert cli.main(words) == 0
    return folder / "tiny", said.getvalue()


def test_a_study_trains_every_seed_of_every_arm_and_says_the_answer(trained):
    directory, said = trained
    assert "Does it work?" in said
    assert "No arm is " in said
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
    assert "No arm is " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (directory / "runs").rglob("*")} == before


def test_another_study_is_not_mixed_into_a_directory(trained, capsys):
    directory, _ = trained
    file = write(directory.parent / "other", seeds=4)
    assert cli.main(["study", file, "--dir", str(directory)]) == 2
    assert "holds another study: seeds was 3, now it is 4. Give another" in capsys.readouterr().err
    file = write(
        directory.parent / "other",
        environment={"Pendulum-v1": {"total_steps": 600, "threshold": -50}},
        arms=TINY["arms"] | {"louder": {"explore": {"std": 0.7}}},
    )
    assert cli.main(["study", file, "--dir", str(directory)]) == 2
    said = capsys.readouterr().err
    assert "environment.Pendulum-v1.total_steps was 300, now it is 600 (and 1 more)" in said
    file = write(
        directory.parent / "other", arms=TINY["arms"] | {"loud": {"explore": {"std": 1.0}}}
    )
    assert cli.main(["study", file, "--dir", str(directory)]) == 2
    assert "arms.loud.explore.std was 0.5, now it is 1.0" in capsys.readouterr().err


def test_what_scores_mean_may_change_after_the_training(trained, capsys):
    directory, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (directory / "runs").rglob("*")}
    file = write(
        directory.parent / "other",
        question="Is it quiet?",
        base="loud",
        environment={"Pendulum-v1": {"threshold": -1e9, "low": -200, "high": 0}},
    )
    assert cli.main(["study", file, "--dir", str(directory)]) == 0
    said = capsys.readouterr().out
    assert "Is it quiet?" in said
    assert "failed below -1,000,000,000" in said
    found = results.study_results(directory)
    assert (found.question, found.base) == ("Is it quiet?", "loud")
    assert found.places[0].scale() == (-200, 0)
    assert [row.failed for row in results.rows(found, found.places[0])] == [0, 0, 0]
    assert {path: path.stat().st_mtime_ns for path in (directory / "runs").rglob("*")} == before
    assert cli.main(["study", write(directory.parent), "--dir", str(directory)]) == 0
    assert results.study_results(directory).base == "quiet"


def test_arms_in_another_order_are_the_same_study(trained, capsys):
    directory, _ = trained
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.json*")}
    backwards = dict(reversed(TINY["arms"].items()))
    file = write(directory.parent / "other", arms=backwards, base="quiet")
    assert cli.main(["study", file, "--dir", str(directory)]) == 0
    assert "No arm is " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*.json*")} == before
    assert [arm.name for arm in folder.open_directory(directory).arms] == list(TINY["arms"])


@pytest.mark.long
def test_a_study_that_has_begun_is_gone_on_with_in_its_own_order(tmp_path, capsys):
    directory = tmp_path / "tiny"
    first = plan.read_study(write(tmp_path, seeds=1))
    folder.begin(first, directory)
    backwards = dict(reversed(TINY["arms"].items()))
    file = write(tmp_path, arms=backwards, base="quiet", seeds=1)
    assert cli.main(["study", file, "--dir", str(directory)]) == 0
    said = capsys.readouterr().out
    assert "now Pendulum-v1: quiet; loud\n" in said
    assert "now Pendulum-v1: two critics\n" in said
    trained = {path.parent.name[:5] for path in directory.glob("runs/*/*/run.json")}
    assert trained == {"quiet", "two-c"}
    found = results.study_results(directory)
    assert all(one.finished for one in found.places[0].outcomes)


def test_a_program_is_found_by_its_world_and_its_arms(trained):
    directory, _ = trained
    study = folder.open_directory(directory)
    for program in programs(study):
        arms = folder.arms_of(program)
        assert folder.find_program(study, directory, "Pendulum-v1", arms) == program
    with pytest.raises(qmu.ConfigError, match="trains no program of loud in Pendulum-v1"):
        folder.find_program(study, directory, "Pendulum-v1", "loud")


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


def children(process):
    """Return the processes that train programs for the command `process`."""
    return [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if "qmu.study.worker" in one.cmdline()
    ]


def begin_in_background(tmp_path, words):
    """Start a study with several workers; return its process when a program has a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qmu", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not list(tmp_path.glob("tiny/runs/*/*/checkpoints/*/man*")):
        time.sleep(0.05)
    return process


def curves(directory):
    """Return the evaluations of every arm of a study."""
    (place,) = results.study_results(directory).places
    return {one.arm: one.curves.tolist() for one in place.outcomes}


@pytest.mark.fault
def test_a_program_whose_process_is_killed_goes_on_from_its_checkpoint(tmp_path):
    options = TINY["options"] | {"train": TINY["options"]["train"] | {"save_interval": 500}}
    file = write(tmp_path, options=options, total_steps=3000)
    words = ["study", file, "--dir", str(tmp_path / "tiny")]
    process = begin_in_background(tmp_path, words)
    children(process)[0].kill()
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "its process was lost after step" in said
    assert cli.main(["study", file, "--dir", str(tmp_path / "other")]) == 0
    assert curves(tmp_path / "tiny") == curves(tmp_path / "other")


@pytest.mark.fault
def test_programs_end_with_the_process_that_has_started_them(tmp_path):
    options = TINY["options"] | {"train": TINY["options"]["train"] | {"save_interval": 500}}
    file = write(tmp_path, options=options, total_steps=100_000)
    process = begin_in_background(tmp_path, ["study", file, "--dir", str(tmp_path / "tiny")])
    (worker,) = children(process)
    process.kill()
    process.communicate(timeout=60)
    worker.wait(60)
    (described,) = tmp_path.glob("tiny/runs/*/*/run.json")
    assert json.loads(described.read_text())["status"] == "stopped"


@pytest.mark.long
def test_an_arm_that_diverges_does_not_take_the_others_with_it(tmp_path, capsys):
    arms = {"plain": {}, "mad": {"critic": {"lr": 1e30}, "actor": {"lr": 1e30}}}
    options = TINY["options"] | {"critic": {"hidden_sizes": [8], "norm": "none"}}
    worlds = {"Pendulum-v1": {"threshold": -1e9}}
    file = write(tmp_path, arms=arms, options=options, environment=worlds, seeds=1)
    assert cli.main(["study", file, "--dir", str(tmp_path / "tiny")]) == 1
    said = capsys.readouterr()
    assert "some programs have failed" in said.err
    assert "the member with mad, seed 0 diverged" in said.err
    assert "Pendulum-v1: plain; mad is taken apart, and each arm trained again alone: " in said.out
    shares = [int(share) for share in re.findall(r"^(\d+)% of all steps", said.out, re.MULTILINE)]
    assert shares == sorted(shares)
    assert len(shares) == 3
    found = results.study_results(tmp_path / "tiny")
    plain, mad = found.places[0].outcomes
    assert plain.finished
    assert mad.status == "diverged"
    assert np.isnan(mad.scores).all()
    assert [one.failed for one in results.rows(found, found.places[0])] == [0, 1]
    # It would diverge again: the study is over.
    assert cli.main(["study", file, "--dir", str(tmp_path / "tiny")]) == 0


@pytest.mark.parametrize(("gpus", "share"), [(0, None), (0.5, "0.450"), (1, None), (2, None)])
def test_programs_that_share_a_gpu_take_their_part_of_its_memory(
    gpus, share, tmp_path, monkeypatch
):
    name = "XLA_PYTHON_CLIENT_MEM_FRACTION"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # What is set is taken back after the test.
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    away.Trainee(1, gpus).lease.end()
    assert os.environ.get(name) == share


def test_processors_are_divided_among_workers():
    assert processes.divided([0, 1, 2, 3], 2) == [[0, 2], [1, 3]]
    assert processes.divided([0, 1], 3) == [[0], [1], [0]]
    assert processes.divided([5], 1) == [[5]]


def test_what_is_wrong_with_a_request_is_said_before_anything_is_written(tmp_path, capsys):
    target = tmp_path / "made"
    file = write(tmp_path)
    for words, said in (
        ([file, "--workers", "0"], "--workers must be 1 or more"),
        (["nothing"], "there is no study 'nothing'"),
        ([str(tmp_path / "no.toml")], "cannot read the configuration"),
        ([file, "--seeds", "5000"], "give --yes if that is what you want"),
        ([file, "--env", "Nothing-v0"], "there is no environment 'Nothing-v0'"),
        ([file, "--env", "nomodule:X-v0"], "No module named 'nomodule'"),
        ([file, "--env", ""], "environments holds no id"),
        ([file, "--env", "Nothing-v0", "--dry-run"], "there is no environment 'Nothing-v0'"),
        ([file, "--env", "nomodule:X-v0", "--dry-run"], "No module named 'nomodule'"),
        ([file, "--env", "CartPole-v1", "--dry-run"], "CartPole-v1"),
        ([file, "--workers", "0", "--dry-run"], "--workers must be 1 or more"),
        (["--list", "extra"], "--list shows all built-in studies: leave out 'extra'"),
        ([], "which study?"),
    ):
        assert cli.main(["study", *words, "--dir", str(target)]) == 2, words
        spoken = capsys.readouterr()
        assert said in spoken.err
        assert spoken.out == ""
        assert not target.exists()


@pytest.mark.long
def test_a_dry_run_trains_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", write(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "9 agents in 2 programs" in said
    assert "on this machine with nothing beside" in said
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.toml"}
    assert cli.main(["study", "--list"]) == 0
    assert "noise" in capsys.readouterr().out
    # More than 10,000 agents are to be confirmed when they are trained.
    assert cli.main(["study", "tiny.toml", "--seeds", "4000", "--dry-run"]) == 0
    assert "12,000 agents" in capsys.readouterr().out


def test_a_world_that_raises_is_named_in_a_dry_run(tmp_path, capsys, monkeypatch):
    class Broken(Counter):
        def step(self, action):
            raise OSError("out of order")

    spec = gym.envs.registration.EnvSpec("Broken-v0", Broken)
    monkeypatch.setitem(gym.registry, "Broken-v0", spec)
    file = write(tmp_path, environments=["Broken-v0"], environment={})
    assert cli.main(["study", file, "--dry-run"]) == 1
    spoken = capsys.readouterr()
    assert spoken.err.startswith("qmu: Broken-v0 raised in step with action")
    assert spoken.err.endswith("OSError: out of order\n")
    assert spoken.out == ""


def test_the_estimate_counts_start_updates_steps_and_evaluations(tmp_path):
    held = TINY | {"total_steps": 1050, "arms": {"one": {}}, "seeds": 2, "options": {}}
    options = {"train": {"eval_episodes": 5, "eval_interval": 105, "final_episodes": 10}}
    asked = plan.study_of("trial", held | {"options": options})
    (program,) = programs(asked)
    maker = find_maker("Pendulum-v1")
    step = 1e-3
    # With an infinite rate, what is left of updates is quicker than the worlds.
    acted = 2 * (1050 + (10 * 5 + 10) * 200) * (step + estimate.ACTING)
    found = estimate.program_seconds(program, maker, np.inf, step)
    assert found == pytest.approx(estimate.START + acted)
    slow = estimate.program_seconds(program, maker, 1e6, step)
    assert slow > 100 * found


def test_only_this_process_counts_in_what_is_measured(monkeypatch):
    monkeypatch.setattr(estimate, "SAMPLE", 0.001)
    monkeypatch.setattr(estimate, "SAMPLES", 2)
    assert 0 < estimate.fastest(lambda: time.sleep(0.005)) < 0.0025


def test_the_share_that_is_shown_never_falls(trained):
    directory, _ = trained
    study = folder.open_directory(directory)
    first, second = programs(study)
    said = io.StringIO()
    out = Console(file=said, width=200)
    bar, show = progress_bar(study, out)
    assert bar is None
    show(work.Progress(500, 1000, [first], []))
    show(work.Progress(200, 1000, [second], ["why"]))
    assert said.getvalue().splitlines() == [
        "50% of all steps; now Pendulum-v1: quiet; loud",
        "why",
        "50% of all steps; now Pendulum-v1: two critics",
    ]
    out = Console(file=io.StringIO(), force_terminal=True, width=200)
    bar, show = progress_bar(study, out)
    show(work.Progress(500, 1000, [first], []))
    show(work.Progress(200, 1000, [first], []))
    (task,) = bar.tasks
    assert (task.percentage, task.description) == (50, "Pendulum-v1: quiet and 1 more")


def test_a_directory_without_a_study_or_run_is_refused(tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path)]) == 2
    assert "is not a run's directory" in capsys.readouterr().err
    with pytest.raises(qmu.ConfigError, match="not a study's directory"):
        folder.open_directory(tmp_path)


def test_programs_of_a_directory_are_those_of_its_file(trained):
    directory, _ = trained
    assert [program.name for program in programs(folder.open_directory(directory))] == [
        "quiet",
        "two-critics",
    ]


def test_the_estimate_counts_convolutions():
    """84 x 84 x 3 in stacks of three: squares of 41, 20, 9 and 7 outputs, 32 channels each."""
    config = reading.from_dict({"replay": {"batch_size": 10}})
    found = estimate.encoding(config, Layout(0, ((84, 84, 3),), frames=3))
    products = 41**2 * 81 * 32 + (20**2 + 9**2 + 7**2) * 288 * 32 + 49 * 32 * 50
    # Two operations a product; forward, twice that for the gradient, and the target's.
    assert found == 2 * 10 * 4 * products
    assert estimate.encoding(config, Layout(17)) == 0
