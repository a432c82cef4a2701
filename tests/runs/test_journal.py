"""A model that logs writes a run, which every tool reads and `qmu resume` goes on with."""

import json
import os
import shutil
import signal
import time

import gymnasium as gym
import pytest
import runs

import qmu
from qmu import cli
from qmu.runs.lock import locked

CONSTANT = {"train": {"total_steps": None, "schedule_steps": None}}


def model_in(folder, **changes):
    """Return a small model that logs into this folder."""
    return qmu.DDPG("Pendulum-v1", **runs.options(folder, changes))


class At(qmu.Callback):
    """Does something at a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_chunk(self, moment):
        return self.action() if moment.step >= self.step else None


def failing():
    raise RuntimeError("enough")


def interrupting():
    os.kill(os.getpid(), signal.SIGINT)


def files_in(directory):
    """Return the names of a run's files, but for what MuJoCo has said in the whole process."""
    names = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    return sorted(name for name in names if name != "messages.txt")


def test_a_model_writes_what_a_run_writes(tmp_path):
    directory = runs.train(tmp_path / "run", log={"tensorboard": True})
    with pytest.raises(qmu.ConfigError, match="has written no run"):
        model_in(tmp_path / "none").run  # noqa: B018
    assert not (tmp_path / "none").exists()
    model = model_in(tmp_path / "model", log={"tensorboard": True}).learn(240)
    model.close()
    own = model.run.directory
    named = [name for name in files_in(directory) if "events.out" not in name]
    assert [name for name in files_in(own) if "events.out" not in name] == named
    assert any("events.out" in name for name in files_in(own))
    # What a call has not logged at its end it logs then.
    lines, before = runs.metrics(own), runs.metrics(directory)
    (last,) = [line for line in lines if line not in before]
    assert [line for line in lines if line != last] == before
    assert last["step"] == 240
    assert model.log.items() >= {"rollout/episodes": 8.0}.items()
    run, trained = model.run, qmu.open_run(directory)
    assert (run.directory / "config.toml").read_text().replace(
        str(tmp_path / "model"), str(tmp_path / "run")
    ) == (directory / "config.toml").read_text()
    assert run.info["members"] == trained.info["members"]
    assert run.info["status"] == "finished"
    for one, other in zip(runs.weights(own), runs.weights(directory), strict=True):
        assert (one == other).all()
    assert cli.main(["report", str(own)]) == 0
    assert run.evaluate(2) == trained.evaluate(2)
    assert run.plot() is not None


def test_every_call_goes_on_in_one_run_and_ends_as_a_run_does(tmp_path):
    model = model_in(tmp_path, **CONSTANT)
    model.learn(60)
    first = runs.only_run(tmp_path)
    assert model.run.info["members"][0]["best_step"] in (40, 60)
    # A model that has rested was not at work.
    model.journal.record.started -= 1_000
    model.journal.rested_at -= 1_000
    model.learn(100)
    assert runs.only_run(tmp_path) == first == model.run.directory
    info = json.loads((first / "run.json").read_text())
    assert (info["status"], info["steps"]) == ("finished", 160)
    assert info["seconds"] < 500
    scored = [line["step"] for line in runs.metrics(first) if "eval/mean_reward" in line]
    assert scored == [40, 60, 80, 120, 160]
    assert len(runs.checkpoints(first)) == 3
    with pytest.raises(
        qmu.ConfigError, match=r"is being trained by this process: close\(\) the model"
    ):
        qmu.resume(first, total_steps=200)
    model.close()
    rates = {line["train/actor_lr"] for line in runs.metrics(first) if "train/actor_lr" in line}
    qmu.resume(first, total_steps=220)
    lines = runs.metrics(first)
    assert {line["train/actor_lr"] for line in lines if "train/actor_lr" in line} == rates
    assert qmu.open_run(first).info["steps"] == 220


def test_a_call_that_was_broken_off_is_gone_on_with_to_where_it_would_have_ended(tmp_path):
    whole = model_in(tmp_path / "whole", **CONSTANT).learn(200)
    whole.close()
    model = model_in(tmp_path / "broken", **CONSTANT)
    with pytest.raises(RuntimeError, match="enough") as raised:
        model.learn(200, callbacks=[At(100, failing)])
    assert any("go on with: qmu resume" in note for note in raised.value.__notes__)
    assert model.run.info["status"] == "failed"
    model.close()
    run = qmu.resume(model.run.directory, exact=True)
    assert run.info["steps"] == 200
    assert runs.final_state(run.directory) == runs.final_state(whole.run.directory)


def test_ctrl_c_saves_and_the_model_learns_on(tmp_path):
    model = model_in(tmp_path, **CONSTANT)
    with (
        pytest.warns(RuntimeWarning, match="stopping when this chunk is done"),
        pytest.raises(KeyboardInterrupt),
    ):
        model.learn(200, callbacks=[At(50, interrupting)])
    assert model.run.info["status"] == "interrupted"
    assert model.journal.record.saved_at == model.steps < 100
    model.learn(40, callbacks=[At(0, lambda: qmu.Stop("tired"))])
    assert (model.run.info["status"], model.run.info["error"]) == ("finished", None)
    assert model.run.info["stopped"] == "At.on_chunk: tired"
    assert model.stopped == qmu.Stop("tired")
    model.close()


def test_a_directory_that_is_gone_is_said_and_followed_by_another(tmp_path):
    model = model_in(tmp_path, **CONSTANT).learn(60)
    lost = model.run.directory
    with pytest.raises(qmu.LostRunError, match="The model has what it has learned"):
        model.learn(60, callbacks=[At(80, lambda: shutil.rmtree(lost, ignore_errors=True))])
    steps = model.steps
    second = model.learn(40).run.directory
    assert second != lost
    shutil.rmtree(second)
    with pytest.raises(qmu.LostRunError, match="another run"):
        model.learn(40)
    third = model.learn(40).run.directory
    shutil.rmtree(third)
    with pytest.raises(qmu.LostRunError, match="another run"):
        model.run  # noqa: B018
    fourth = model.learn(40).run
    assert fourth.info["steps"] == model.steps == steps + 120
    assert len({lost, second, third, fourth.directory}) == 4
    assert not any(folder.exists() for folder in (lost, second, third))
    model.close()


def test_a_run_that_is_moved_between_two_calls_is_read_and_gone_on_with(tmp_path):
    model = model_in(tmp_path, **CONSTANT).learn(60)
    moved = tmp_path / "elsewhere"
    model.run.directory.rename(moved)
    with pytest.warns(RuntimeWarning, match="was moved: the run goes on in"):
        assert model.run.directory == moved
    assert model.learn(40).run.info["steps"] == 100
    model.close()
    assert not any(tmp_path.glob("*/*/run.json"))


@pytest.mark.parametrize("what", ["close", "set_env", "learn"])
def test_a_callback_does_not_take_the_model_away_from_itself(what, tmp_path):
    model = model_in(tmp_path, **CONSTANT)
    asked = {"close": (), "set_env": ("Pendulum-v1",), "learn": (10,)}
    with pytest.raises(qmu.ConfigError, match=rf"^{what}: this model is learning; a callback ends"):
        model.learn(100, callbacks=[At(30, lambda: getattr(model, what)(*asked[what]))])
    assert model.learn(20).run.info["status"] == "finished"
    model.close()
    model.close()
    with pytest.raises(qmu.ConfigError, match="worlds are closed"):
        model.learn(20)


def test_a_signal_at_the_very_end_of_a_call_is_heard_when_it_is_over(tmp_path, monkeypatch):
    model = model_in(tmp_path, **CONSTANT).learn(40)
    record = model.journal.record
    monkeypatch.setattr(record, "show_curves", interrupting)
    with (
        pytest.warns(RuntimeWarning, match="stopping when"),
        pytest.raises(KeyboardInterrupt) as raised,
    ):
        model.learn(40)
    assert "the run is whole" in raised.value.__notes__[0]
    assert model.run.info["status"] == "finished"
    model.close()


def test_ctrl_c_leaves_a_model_without_a_run_whole(tmp_path):
    model = qmu.DDPG("Pendulum-v1", **runs.of_a_model(runs.options(tmp_path, CONSTANT)))
    with (
        pytest.warns(RuntimeWarning, match="stopping when this chunk is done"),
        pytest.raises(KeyboardInterrupt),
    ):
        model.learn(200, callbacks=[At(50, interrupting)])
    assert model.steps == 50
    assert model.learn(50).steps == 100
    model.close()


def test_time_without_a_call_does_not_count_and_failed_calls_take_none_of_it(tmp_path, monkeypatch):
    model = model_in(tmp_path, **CONSTANT).learn(40)
    now = time.monotonic
    before = model.run.info["seconds"]
    for hour in range(1, 4):
        monkeypatch.setattr(time, "monotonic", lambda hour=hour: now() + 3_600 * hour)
        monkeypatch.setattr("qmu.runs.journal.write_config", failing_disk)
        with pytest.raises(qmu.ConfigError, match="no room"):
            model.learn(40)
    monkeypatch.setattr("qmu.runs.journal.write_config", lambda *given: None)
    assert before < model.learn(40).run.info["seconds"] < before + 100
    model.close()


def failing_disk(*given):
    raise OSError("no room")


def pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=30)


def test_another_world_and_a_loaded_model_begin_another_run(tmp_path):
    model = model_in(tmp_path / "first", **CONSTANT).learn(60)
    before = model.run.directory
    model.set_env(pendulum)
    with locked(before):
        model.learn(40)
    assert model.run.directory != before
    model.save(tmp_path / "model")
    model.close()
    silent = qmu.DDPG.load(tmp_path / "model", env=pendulum).learn(40)
    with pytest.raises(qmu.ConfigError, match=r"with log=\{'dir': 'runs'\}"):
        silent.run  # noqa: B018
    with pytest.raises(qmu.ConfigError, match=r"log\.name has no effect on a qmu\.DDPG"):
        qmu.DDPG.load(tmp_path / "model", env=pendulum, log={"name": "mine"})
    logged = qmu.DDPG.load(
        tmp_path / "model", env=pendulum, log={"dir": str(tmp_path / "second"), "name": "mine"}
    )
    assert logged.learn(40).run.directory.name.startswith("mine-")
    assert logged.run.info["steps"] == logged.steps == 140
    # Its worlds are made by a function.
    assert logged.run.evaluate(1).lengths == (30,)
    for one in (silent, logged):
        one.close()


def test_a_run_that_is_too_short_to_learn_in_can_be_read(tmp_path):
    model = model_in(tmp_path, explore={"start_steps": None}, **CONSTANT).learn(50)
    model.close()
    assert model.run.config.train.total_steps is None
    assert model.run.info["steps"] == 50
    with pytest.raises(qmu.ConfigError, match=r"names no end: give one, such as --train\.total-"):
        qmu.resume(model.run.directory)
    assert qmu.resume(model.run.directory, total_steps=1_040).info["steps"] == 1_040


def test_a_model_that_knows_all_its_steps_ends_where_its_call_ends(tmp_path):
    model = model_in(tmp_path, train={"total_steps": 240, "schedule_steps": None})
    model.learn(80)
    assert model.run.config.train.total_steps == 80
    with pytest.raises(RuntimeError, match="enough"):
        model.learn(80, callbacks=[At(130, failing)])
    model.close()
    run = qmu.resume(model.run.directory)
    assert run.info["steps"] == 160
    assert run.config.train.schedule_steps == 240


def test_where_a_run_is_written_is_where_the_model_was_made(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    model = model_in("own", **CONSTANT)
    monkeypatch.chdir(tmp_path / "second")
    model.learn(40)
    model.save("model")
    model.close()
    assert model.run.directory.is_relative_to(tmp_path / "first" / "own")
    assert (tmp_path / "second" / "model.safetensors").is_file()


def test_a_place_that_there_is_not_is_told_when_the_model_is_made():
    with pytest.raises(qmu.ConfigError, match="there is no environment variable"):
        model_in("$NOWHERE_AT_ALL/runs")


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"train": {"total_episodes": 3}}, r"train\.total_episodes has no effect on a qmu\.DDPG"),
        ({"log": {"wandb_project": "a/b"}}, "wandb"),
    ],
)
def test_what_has_no_effect_is_refused_also_where_a_run_is_written(groups, said, tmp_path):
    with pytest.raises(qmu.ConfigError, match=said):
        model_in(tmp_path, **groups)
    assert not any(tmp_path.iterdir())


def test_a_model_that_logs_has_one_interval_of_evaluations(tmp_path):
    model = model_in(tmp_path)
    with pytest.raises(qmu.ConfigError, match=r"train=\{'eval_interval': \.\.\.\}"):
        model.learn(40, eval_interval=20)
    assert not any(tmp_path.iterdir())
    model.close()


def test_a_folder_that_takes_no_run_is_told_before_a_step(tmp_path):
    (tmp_path / "file").touch()
    model = model_in(tmp_path / "file")
    began = time.monotonic()
    with pytest.raises(qmu.ConfigError, match="cannot make the run's directory"):
        model.learn(40)
    assert (model.steps, time.monotonic() - began < 60) == (0, True)
    model.close()
