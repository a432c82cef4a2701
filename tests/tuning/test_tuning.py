"""What a tuning asks and keeps, without Ray: tests/extras/test_ray_tune.py searches."""

import io
import json
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from searches import asked, tried

from qmu import cli
from qmu.config import Config, reading, replace
from qmu.errors import ConfigError
from qmu.tuning import plan, shown, trial


def test_what_is_asked_is_kept_in_the_directory(tmp_path):
    one = asked()
    plan.begin_tuning(one, tmp_path / "t")
    assert plan.open_tuning(tmp_path / "t") == one
    with pytest.raises(ConfigError, match="holds a tuning: go on with --resume"):
        plan.check_new(tmp_path / "t")
    with pytest.raises(ConfigError, match="not a tuning's directory"):
        plan.open_tuning(tmp_path)
    (tmp_path / "t" / plan.TUNING_FILE).write_text("trials = 3\n")
    with pytest.raises(ConfigError, match="describes no tuning"):
        plan.open_tuning(tmp_path / "t")


def test_what_was_tried_is_kept(tmp_path):
    assert plan.kept_trials(tmp_path) == []
    plan.keep_trials(tmp_path, tried())
    assert plan.kept_trials(tmp_path) == tried()
    json.loads((tmp_path / plan.TRIALS_FILE).read_text(), parse_constant=pytest.fail)


def test_a_search_says_once_that_nothing_is_trained(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(shown, "monotonic", lambda: now[0])
    out = io.StringIO()
    tell = shown.teller(asked(), Console(file=out, width=200))
    waiting = [tried()[0]._replace(status="pending")]
    running = [tried()[0]._replace(status="running")]
    for seconds, trials in [(0, waiting), (59, waiting), (61, waiting), (200, waiting)]:
        now[0] = seconds
        tell(trials)
        assert out.getvalue().count("no trial has been trained for a minute") == (seconds > 60)
    tell(running)
    for seconds in (250, 261, 262):
        now[0] = seconds
        tell(waiting)
    assert out.getvalue().count("no room for one now") == 2


def test_a_trial_tells_its_last_step_when_its_run_is_over(tmp_path):
    told = []
    reporter = trial.Reporter(lambda *words: told.append(words), "mean", 100, {})
    folder = tmp_path / "checkpoints" / "0"

    def evaluate(step, score):
        scores = {name: SimpleNamespace(mean=score) for name in "ab"}
        reporter.on_evaluation(SimpleNamespace(step=step, members=["a", "b"], scores=scores))

    reporter.on_chunk(None)
    evaluate(50, 1.0)
    reporter.on_chunk(None)
    reporter.on_save(None, folder)
    assert [(words["step"], where) for words, where in told] == [(50, None), (50, tmp_path)]
    evaluate(100, 3.0)
    reporter.on_save(None, folder)
    reporter.on_chunk(None)
    assert len(told) == 2
    assert reporter.newest() == {"score": 3.0, "step": 100, "scores": [3.0, 3.0]}


def test_a_search_is_over_when_every_trial_has_ended():
    trials = tried()
    assert plan.is_over(asked(), trials)
    assert not plan.is_over(asked(), trials[:2])
    assert not plan.is_over(asked(), [trials[0]._replace(status="running"), *trials[1:]])


def test_short_trials_are_evaluated_and_saved_often_unless_it_is_said():
    config = replace(Config(), "train", total_steps=2000)
    base = plan.base_of(config, lambda path: False).train
    assert (base.seeds, base.eval_interval, base.save_interval) == (3, 100, 500)
    base = plan.base_of(config, lambda path: path == "train.eval_interval").train
    assert base.eval_interval == config.train.eval_interval


@pytest.mark.parametrize("pixels", [None, 32])
def test_worlds_that_are_seen_are_searched_with_their_encoder(pixels):
    env = {"id": "Pendulum-v1", "pixels": pixels}
    config = reading.from_dict({"env": env, "train": {"total_steps": 600}})
    search = plan.asked(config, None, 3, None, "mean", 0, 3, 5, lambda path: False)
    assert any(one.group == "encoder" for one in search.space) == (pixels is not None)


def test_what_a_file_says_is_kept_as_what_is_typed(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("[train]\nseeds = 1\n")
    assert cli.is_given("train.seeds", file, [])
    assert not cli.is_given("train.eval_interval", file, [])
    assert cli.is_given("train.eval_interval", None, ["--train.eval-interval=5"])


def test_nothing_else_is_asked_of_a_tuning_that_goes_on(tmp_path, capsys):
    folder = tmp_path / "t"
    plan.begin_tuning(asked(), folder)
    before = (folder / plan.TUNING_FILE).read_text()
    for words, said in [
        (["--fresh-seeds", "3", "--seeds=4"], "leave out --fresh-seeds, --train.seeds, or begin"),
        (["InvertedPendulum-v5"], "asks for Pendulum-v1, not InvertedPendulum-v5"),
    ]:
        assert cli.main(["tune", *words, "--resume", str(folder)]) == 2
        assert said in capsys.readouterr().err
    lines = [line for line in before.splitlines() if not line.startswith("grace_steps")]
    (folder / plan.TUNING_FILE).write_text("\n".join(lines))
    assert cli.main(["tune", "--resume", str(folder)]) == 2
    assert "describes no tuning: grace_steps is missing" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [plan.TUNING_FILE]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no environment was named"),
        (["Pendulum-v1", "--trials", "0"], "--trials must be 1 or more"),
        (["Pendulum-v1", "--score", "best"], "--score must be mean or low"),
        (["Pendulum-v1", "--score", "low"], "takes 5 seeds"),
        (["Pendulum-v1", "--grace-steps", "1000000"], "--grace-steps must lie between"),
        (["Pendulum-v1", "--space", "nowhere"], "there is no search space 'nowhere'"),
        (["Pendulum-v1", "--space", "memory"], "has none: give --memory.kind gru or mingru"),
        (["Pendulum-v1", "--fresh-seeds", "-1"], "--fresh-seeds must be 0 or more"),
        (["Pendulum-v1", "--finalists", "-1"], "--finalists must be 0 or more"),
        (["Pendulum-v1", "--fresh-seeds", "1"], "give 2 or more, or --finalists 0"),
        (["Pendulum-v1", "--seed", "2146483648"], "later, beyond 2\\^31: lower the seed"),
        (
            ["Pendulum-v1", "--env.wrappers", "gymnasium.wrappers.FlattenObservation"],
            "a study, which takes none. .* or give --fresh-seeds 0",
        ),
        (
            ["Pendulum-v1", "--score", "low", "--seeds", "5", "--fresh-seeds", "3"],
            "in the final as well: give --fresh-seeds 5 \\(or 0, for no final\\)",
        ),
        (["Pendulum-v1", "--cpus", "0"], "--cpus must be 1 or more"),
        (["Pendulum-v1", "--gpus", "-1"], "--gpus must be 0 or more"),
        (["Pendulum-v1", "--workers", "0"], "--workers must be 1 or more"),
        (["Pendulum-v1", "--on", "there"], "give `ray` \\(this machine alone\\)"),
        (["Pendulum-v1", "--on", "ray://127.0.0.1:1"], "give --storage"),
        (["Pendulum-v9"], "Pendulum-v9"),
        (["Pendulum-v1", "--train.total-episodes", "5"], "trials end after steps"),
        (["--resume", "nowhere"], "not a tuning's directory"),
    ],
)
def test_a_wrong_request_is_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", *words]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert re.search(said, errors), errors
    assert not list(tmp_path.iterdir())
