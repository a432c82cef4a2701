"""A run's own description, as others may have written it: what is read is what it should be."""

import contextlib
import json
import shutil
import subprocess
import sys

import pytest
import runs
from budget import examples

import qmu
from qmu.cli import main
from qmu.records.described import MEMBER, RUN, parse_run, said_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return runs.train(tmp_path_factory.mktemp("trained"), train={"total_steps": 120})


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def say(run, text):
    (run / "run.json").write_text(text, encoding="utf-8")


def commands(run):
    out = str(run.parent / "out")
    return [
        ["doctor", str(run)],
        ["compare", str(run)],
        ["report", str(run), "--out", f"{out}.html"],
        ["export", str(run), f"{out}.npz"],
        ["eval", str(run), "--episodes", "1"],
        ["resume", str(run), "--train.total-steps", "160"],
    ]


BRACKETS = {
    "100,000 brackets": "[" * 100_000,
    "brackets inside": '{"environment": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "no object": "[1, 2]",
    "half": '{"environment": "Pendulum-v1", ',
    "twice": '{"environment": "Pendulum-v1", "status": "finished", "status": "failed"}',
    "no text": "\ud800",
}


@pytest.mark.parametrize("name", BRACKETS)
def test_a_damaged_description_is_said_by_every_command(run, name, capsys):
    (run / "run.json").write_bytes(BRACKETS[name].encode("utf-8", "surrogatepass"))
    for words in commands(run):
        with contextlib.suppress(SystemExit):
            assert main(words) == 2, words
        assert f"{run / 'run.json'} is damaged" in capsys.readouterr().err, words
    assert said_of(run) == {}


WRONG = [3, "word", [], [3], {}, {"a": 3}, {"a": {"b": 3}}, None, True, 1e400, 10**30, -1]


def test_no_value_of_any_name_makes_a_traceback(run, capsys):
    whole = json.loads((run / "run.json").read_text(encoding="utf-8"))
    refused, every, some = 0, examples(12, 1), examples(1, 3)
    for name in RUN:
        for value in WRONG[::every]:
            say(run, json.dumps(whole | {name: value}))
            for words in commands(run)[:some]:
                code = main(words)
                said = capsys.readouterr().err
                assert code in (0, 2), (name, value, words)
                refused += f"its {name} is " in said
                assert said == "" or code == 2
    assert refused > 60 * some // every


@pytest.mark.parametrize("name", MEMBER)
def test_a_member_is_what_it_should_be(run, name):
    whole = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (member,) = whole["members"]
    say(run, json.dumps(whole | {"members": [member | {name: [3]}]}))
    with pytest.raises(qmu.ConfigError, match=r"run\.json is damaged: its members is"):
        _ = qmu.open_run(run).info


def test_a_description_has_a_format_and_those_before_had_none(run):
    whole = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert whole.pop("format") == 1
    say(run, json.dumps(whole))
    assert qmu.open_run(run).info == whole
    say(run, json.dumps(whole | {"format": 2}))
    with pytest.raises(qmu.ConfigError, match=r"it has format 2.*formats up to 1: use a newer one"):
        _ = qmu.open_run(run).info


def test_what_a_run_writes_is_what_is_read(trained, tmp_path):
    info = qmu.open_run(trained).info
    assert parse_run(json.dumps(info)) == info
    assert set(info) <= set(RUN)
    shutil.copytree(trained, tmp_path / "again")
    again = qmu.resume(tmp_path / "again", total_steps=160, schedule_steps=320)
    assert set(again.info) <= set(RUN)
    assert again.info["format"] == 1


def test_a_run_whose_description_was_damaged_while_it_trained_has_one_again(tmp_path):
    class Damage(qmu.Callback):
        def on_save(self, moment, folder):
            say(runs.only_run(tmp_path), "{")

    run = qmu.train("Pendulum-v1", callbacks=[Damage()], **runs.options(tmp_path))
    assert run.info["status"] == "finished"
    assert run.info["environment"] == "Pendulum-v1"


@pytest.mark.long
def test_a_damaged_description_takes_no_time(run):
    say(run, "[" * 100_000)
    done = subprocess.run(
        [sys.executable, "-m", "qmu", "doctor", str(run)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "nests deeper" in done.stderr


@pytest.mark.parametrize("said", [3, [3], {"a": 3}, [["a", "b", "c"]], None])
def test_what_a_study_and_a_tuning_keep_may_be_damaged_too(tmp_path, said):
    from qmu.study.folder import APART_FILE, apart
    from qmu.tuning.plan import TRIALS_FILE, kept_trials

    (tmp_path / APART_FILE).write_text(json.dumps({"programs": said}))
    (tmp_path / TRIALS_FILE).write_text(json.dumps({"trials": said}))
    for read in (apart, kept_trials):
        with pytest.raises(qmu.ConfigError, match="is damaged"):
            read(tmp_path)
