"""What a tuning asks and keeps, without Ray: tests/extras/test_ray_tune.py searches."""

import io
import json
import math
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from qmu import cli, configure
from qmu import config as options
from qmu.config import Config, replace
from qmu.errors import ConfigError, QmuError
from qmu.presets import read_preset
from qmu.study import results, trial, tuned, tuning
from qmu.study.folder import begin
from qmu.study.search import EARLY, IMPOSSIBLE, WHOLE, Trial
from qmu.study.space import space_of

SPACE = {
    "actor": {"lr": {"log": [1e-4, 1e-2]}},
    "critic": {"count": {"choice": [1, 2]}},
}


def asked(**changes):
    """Return a tuning of Pendulum-v1."""
    train = {"total_steps": 600, "seeds": 2, "eval_interval": 100}
    base = configure.from_dict({"env": {"id": "Pendulum-v1"}, "train": train})
    whole = tuning.Tuning(base, space_of(SPACE, base), 3, 200, "mean", 0, 5)
    return whole if not changes else tuning.Tuning(**(vars(whole) | changes))


def tried():
    """Return three trials: one stopped early, the best, one that could not be."""
    return [
        Trial(0, {"actor.lr": 0.001, "critic.count": "1"}, -500.0, (-5.0,), 200, 3.0, EARLY, ""),
        Trial(1, {"actor.lr": 0.002, "critic.count": "2"}, -200.0, (-2.0,), 600, 9.0, WHOLE, ""),
        Trial(2, {"actor.lr": 0.01, "critic.count": "1"}, -math.inf, (), 0, 1.0, IMPOSSIBLE, "no"),
    ]


def test_what_is_asked_is_kept_in_the_directory(tmp_path):
    one = asked()
    tuning.begin_tuning(one, tmp_path / "t")
    assert tuning.open_tuning(tmp_path / "t") == one
    with pytest.raises(ConfigError, match="holds a tuning: go on with --resume"):
        tuning.check_new(tmp_path / "t")
    with pytest.raises(ConfigError, match="not a tuning's directory"):
        tuning.open_tuning(tmp_path)
    (tmp_path / "t" / tuning.TUNING_FILE).write_text("trials = 3\n")
    with pytest.raises(ConfigError, match="describes no tuning"):
        tuning.open_tuning(tmp_path / "t")


def test_what_was_tried_is_kept(tmp_path):
    assert tuning.kept_trials(tmp_path) == []
    tuning.keep_trials(tmp_path, tried())
    assert tuning.kept_trials(tmp_path) == tried()
    json.loads((tmp_path / tuning.TRIALS_FILE).read_text(), parse_constant=pytest.fail)


def test_a_search_says_once_that_nothing_is_trained(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(tuned, "monotonic", lambda: now[0])
    out = io.StringIO()
    tell = tuned.teller(asked(), Console(file=out, width=200))
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


def test_the_best_trial_becomes_a_preset(tmp_path):
    path = tuning.write_best(asked(), tried(), tmp_path)
    assert read_preset(str(path)) == {
        "actor": {"lr": 0.002},
        "critic": {"count": 2},
    }
    assert "trial 1 of 3" in path.read_text()
    with pytest.raises(QmuError, match="no trial has a score: no"):
        tuning.best_of(tried()[2:])


def test_a_trial_that_was_stopped_early_is_the_best_only_where_none_was_trained_to_the_end():
    early, whole, impossible = tried()
    early = early._replace(score=-100.0)
    assert tuning.best_of([early, whole, impossible]) == whole
    assert tuned.ranked([impossible, early, whole]) == [whole, early, impossible]
    assert tuning.best_of([early, impossible]) == early
    assert tuned.best_words(early) == (
        "None was trained to the end. Trial 0, stopped early at step 200, has the highest one"
    )


def test_a_search_is_over_when_every_trial_has_ended():
    trials = tried()
    assert tuning.is_over(asked(), trials)
    assert not tuning.is_over(asked(), trials[:2])
    assert not tuning.is_over(asked(), [trials[0]._replace(status="running"), *trials[1:]])


def test_a_base_recipe_that_is_the_best_is_trained_once_and_called_so(tmp_path):
    values = options.to_dict(asked().base)
    better = {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    one = asked(base=configure.from_dict(configure.merge(values, better)))
    study = tuning.fresh_study(one, tried())
    assert [arm.name for arm in study.arms] == [tuning.BASE]
    begin(study, tmp_path / "fresh")
    fresh = results.study_results(tmp_path / "fresh")
    text = tuned.write_page(one, tried(), fresh, tmp_path).read_text()
    assert "Nothing better than the base recipe was found." in text


def test_the_best_recipe_is_trained_on_seeds_that_no_trial_had():
    study = tuning.fresh_study(asked(), tried())
    assert (study.seeds, study.first_seed) == (5, tuning.LATER)
    assert [arm.name for arm in study.arms] == [tuning.BASE, tuning.BEST]
    assert study.arms[1].changes == {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    assert study.worlds[0].total_steps == 600


def test_short_trials_are_evaluated_and_saved_often_unless_it_is_said():
    config = replace(Config(), "train", total_steps=2000)
    base = tuning.base_of(config, lambda path: False).train
    assert (base.seeds, base.eval_interval, base.save_interval) == (3, 100, 500)
    base = tuning.base_of(config, lambda path: path == "train.eval_interval").train
    assert base.eval_interval == config.train.eval_interval


def test_what_a_file_says_is_kept_as_what_is_typed(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("[train]\nseeds = 1\n")
    assert cli.is_given("train.seeds", file, [])
    assert not cli.is_given("train.eval_interval", file, [])
    assert cli.is_given("train.eval_interval", None, ["--train.eval-interval=5"])


def test_nothing_else_is_asked_of_a_tuning_that_goes_on(tmp_path, capsys):
    folder = tmp_path / "t"
    tuning.begin_tuning(asked(), folder)
    before = (folder / tuning.TUNING_FILE).read_text()
    for words, said in [
        (["--fresh-seeds", "3", "--seeds=4"], "leave out --fresh-seeds, --train.seeds, or begin"),
        (["InvertedPendulum-v5"], "asks for Pendulum-v1, not InvertedPendulum-v5"),
    ]:
        assert cli.main(["tune", *words, "--resume", str(folder)]) == 2
        assert said in capsys.readouterr().err
    lines = [line for line in before.splitlines() if not line.startswith("grace_steps")]
    (folder / tuning.TUNING_FILE).write_text("\n".join(lines))
    assert cli.main(["tune", "--resume", str(folder)]) == 2
    assert "describes no tuning: grace_steps is missing" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [tuning.TUNING_FILE]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no environment was named"),
        (["Pendulum-v1", "--trials", "0"], "--trials must be 1 or more"),
        (["Pendulum-v1", "--score", "best"], "--score must be mean or low"),
        (["Pendulum-v1", "--score", "low"], "takes 5 seeds"),
        (["Pendulum-v1", "--grace-steps", "1000000"], "--grace-steps must lie between"),
        (["Pendulum-v1", "--space", "none"], "there is no search space 'none'"),
        (["Pendulum-v1", "--fresh-seeds", "-1"], "--fresh-seeds must be 0 or more"),
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
