"""Searches with Ray Tune: on this machine, and on three nodes of which one is lost."""

import contextlib
import importlib.util
import json
import math
import signal
import subprocess
import sys
import time

import psutil
import pytest
import tomli_w
from clusters import three_nodes, wait_for

from qmu import cli
from qmu.presets import read_preset
from qmu.runs.results import open_run
from qmu.study import results
from qmu.tuning import final, plan
from qmu.tuning.search import EARLY, IMPOSSIBLE, WHOLE

# Not imported here: a cluster of this machine alone is prepared for before Ray is imported.
NO_RAY = importlib.util.find_spec("ray") is None
pytestmark = [pytest.mark.extra, pytest.mark.skipif(NO_RAY, reason="Ray is not installed")]

SPACE = {
    "actor": {"lr": {"log": [1e-4, 1e-2]}},
    "critic": {"count": {"choice": [1, 2]}},
}
SMALL = [
    *("--env.episode-length", "20", "--actor.hidden-sizes", "8", "--critic.hidden-sizes", "8"),
    *("--replay.batch-size", "8", "--explore.start-steps", "50", "--train.eval-episodes", "1"),
    *("--train.final-episodes", "1", "--seeds", "2"),
]


@pytest.fixture
def words(tmp_path):
    """Return a search's words, but for where it is."""
    file = tmp_path / "space.toml"
    file.write_text(tomli_w.dumps(SPACE))
    return ["tune", "Pendulum-v1", "--space", str(file), *SMALL]


def test_a_search_finds_a_preset_and_trains_it_on_fresh_seeds(words, tmp_path, capsys):
    folder = tmp_path / "t"
    more = ["--trials", "5", "--train.total-steps", "600", "--fresh-seeds", "2"]
    more += ["--log.wandb", "offline"]
    assert cli.main([*words, *more, "--dir", str(folder)]) == 0
    said = capsys.readouterr().out
    trials = plan.kept_trials(folder)
    assert len(trials) == 5
    assert {one.status for one in trials} <= {WHOLE, EARLY}
    best = final.best_of(trials)
    assert f"trial {best.number}: " in said
    # Whether a trial or the base recipe won the final: that is the preset, and in the re-run.
    one = plan.open_tuning(folder)
    contestants = final.finalists(one, trials)
    reached = results.study_results(folder / "final")
    assert reached.arms == (final.BASE, *map(final.named, contestants))
    assert all(map(reached.complete, reached.arms))
    winner = final.winner_of(one, trials, reached)
    found = final.Found(trials, winner, reached, results.study_results(folder / "fresh"))
    assert f"final: {final.verdict(one, found)}\n" in said
    assert final.conclusion(found) in said
    recipe = final.recipe_options(final.recipe(one, found.best))
    assert read_preset(str(folder / "best.toml")) == recipe
    fresh = results.study_results(folder / "fresh")
    assert fresh.arms == tuple(dict.fromkeys([final.BASE, final.named(winner)]))
    assert fresh.study.first_seed == reached.study.first_seed + final.LATER
    # The runs are at home, as those of `qmu train` are.
    run = open_run(folder / "runs" / f"trial-{best.number:04d}")
    assert len(run.members) == 2
    assert run.info["status"] == "finished"
    assert all(math.isfinite(member["final_mean_reward"]) for member in run.info["members"])
    assert run.config.actor.lr == best.drawn["actor.lr"]
    assert list(run.directory.glob("tensorboard/*/events*"))
    assert len(list(run.directory.glob("wandb/offline-run-*/*.wandb"))) == 2
    assert "Which of the search's best recipes is the best in Pendulum-v1?" in said
    assert (folder / "fresh" / "report.html").exists()
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 1
    assert f"Trial {best.number} has the highest" in page
    # What has been found is not searched again.
    before = (folder / "trials.json").stat().st_mtime_ns
    assert cli.main(["tune", "--resume", str(folder)]) == 0
    assert (folder / "trials.json").stat().st_mtime_ns == before
    # A search that ended, but could not write down what it had found, trains nothing again.
    (folder / "trials.json").unlink()
    assert cli.main(["tune", "--resume", str(folder)]) == 0
    assert plan.kept_trials(folder) == trials


def test_recipes_that_contradict_themselves_do_not_end_a_search(words, tmp_path, capsys):
    space = tmp_path / "odd.toml"
    space.write_text(
        "[target]\ntau = { log = [1e-3, 1e-2] }\n[actor]\nlr = { choice = [1e-3, 1e30] }\n"
    )
    more = ["--trials", "4", "--train.total-steps", "400", "--fresh-seeds", "0"]
    words[3] = str(space)
    assert cli.main([*words, *more, "--dir", str(tmp_path / "t")]) == 0
    trials = plan.kept_trials(tmp_path / "t")
    diverged = [one for one in trials if one.drawn["actor.lr"] == "1e+30"]
    assert all(one.status == IMPOSSIBLE and "diverged" in one.why for one in diverged)
    assert final.best_of(trials).drawn["actor.lr"] == "0.001"


def scores(folder):
    """Return what each recipe of a search has reached."""
    return {json.dumps(one.drawn): (one.score, one.scores) for one in plan.kept_trials(folder)}


def test_a_search_survives_the_loss_of_a_process_and_of_a_node(words, tmp_path):
    # Nothing is stopped early, and the first ten recipes do not depend on one another.
    # On a fast machine 4 recipes of 3,000 steps are over before anything can be killed.
    steps = ["--train.total-steps", "6000", "--grace-steps", "6000", "--trials", "4"]
    more = [*steps, "--fresh-seeds", "0", "--train.save-interval", "500"]
    with three_nodes() as cluster:
        where = ["--on", cluster.address, "--storage", str(tmp_path / "shared")]
        process = subprocess.Popen(
            [sys.executable, "-m", "qmu", *words, *more, *where, "--dir", str(tmp_path / "away")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for("ray::ImplicitFunc", 2, process)[0].kill()
        time.sleep(4)
        wait_for("ray::ImplicitFunc", 2, process)
        cluster.kill_a_node()
        # What conducts the search, too; it may have been on that node.
        for one in wait_for("ray::Conductor", 1, process):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        said, errors = process.communicate(timeout=600)
        assert process.returncode == 0, said + errors
    assert cli.main([*words, *more, "--dir", str(tmp_path / "here")]) == 0
    assert len(scores(tmp_path / "here")) == 4
    assert scores(tmp_path / "away") == scores(tmp_path / "here")


def listening(pid):
    """Return the addresses at which the processes below a process listen, by their names."""
    found = {}
    for one in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            there = [held for held in one.net_connections("inet") if held.status == "LISTEN"]
            found.setdefault(one.name(), set()).update(held.laddr.ip for held in there)
    return found


def test_a_search_that_is_stopped_goes_on(words, tmp_path, capsys):
    folder = tmp_path / "t"
    more = ["--trials", "3", "--train.total-steps", "10000", "--grace-steps", "10000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qmu", *words, *more, "--fresh-seeds", "0", "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for("ray::ImplicitFunc", 2, process)
    found = listening(process.pid)
    assert {"gcs_server", "raylet"} <= set(found)
    assert set().union(*found.values()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert not [name for name, where in found.items() if "ashboard" in name and where]
    time.sleep(8)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 143, said + errors
    assert f"go on with qmu tune --resume {folder}" in errors
    # What had ended by then is at home.
    for one in plan.kept_trials(folder):
        if one.status == WHOLE:
            assert (folder / "runs" / f"trial-{one.number:04d}" / "best" / "policy.json").exists()
    assert cli.main(["tune", "--resume", str(folder)]) == 0
    assert [one.status for one in plan.kept_trials(folder)] == [WHOLE] * 3
    (folder / "trials.json").unlink()
    next((folder / "ray" / "trials").glob("tuner.pkl")).write_bytes(b"junk")
    capsys.readouterr()
    assert cli.main(["tune", "--resume", str(folder)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "what Ray has kept of the search in" in errors
    assert "begin a new one, with another --dir" in errors
