"""Callbacks: what they are told, how they end a training, what happens when they fail."""

import dataclasses
import traceback

import numpy as np
import pytest
import runs

import qmu
from qmu import cli
from qmu.watching.console import Console


class Noting(qmu.Callback):
    """Writes down what it is told."""

    def __init__(self):
        self.chunks, self.evaluations, self.saves = [], [], []

    def on_chunk(self, moment):
        self.chunks.append(moment)

    def on_evaluation(self, moment):
        self.evaluations.append(moment)

    def on_save(self, moment, folder):
        self.saves.append((moment, folder))


class Ending(qmu.Callback):
    """Ends a training at an event of this kind, at this step or later."""

    def __init__(self, kind, step):
        self.step = step
        setattr(self, kind, self.decide)

    def decide(self, moment, *more):
        return qmu.Stop("seen enough") if moment.step >= self.step else None


class Failing(qmu.Callback):
    """Fails in the second chunk."""

    def on_chunk(self, moment):
        if moment.step > 8:
            raise ValueError("a mistake of the user's")


def train(folder, *callbacks, **changes):
    return qmu.train("Pendulum-v1", callbacks=callbacks, **runs.options(folder, changes))


def test_callbacks_hear_of_chunks_evaluations_and_checkpoints(tmp_path):
    noting = Noting()
    run = train(tmp_path, noting, train={"seeds": 2})
    assert [moment.step for moment in noting.chunks][:7] == [8, 16, 24, 32, 40, 48, 50]
    assert [moment.step for moment in noting.evaluations] == [40, 80, 120, 160, 200, 240]
    assert [moment.step for moment, _ in noting.saves] == [60, 120, 180, 240]
    assert [folder for _, folder in noting.saves][1:] == runs.checkpoints(run.directory)[::-1]
    last = noting.evaluations[-1]
    assert last.members == ("seed-0", "seed-1")
    assert last.total_steps == 240
    lines = [line for line in run.metrics() if line["step"] == 240 and "eval/mean_reward" in line]
    told = {line["member"]: line["eval/mean_reward"] for line in lines}
    assert {name: score.mean for name, score in last.scores.items()} == {
        name: told[name] for name in last.members
    }
    assert noting.chunks[0].metrics == {}
    assert noting.chunks[-1].metrics["seed-1"]["rollout/episodes"] > 0


def test_what_a_callback_is_told_stays_as_it_was(tmp_path):
    noting = Noting()
    run = train(tmp_path, noting)
    first, last = (moment.policies()["seed-0"] for moment in (noting.chunks[0], noting.chunks[-1]))
    assert (first.info["step"], last.info["step"]) == (8, 240)
    saved = qmu.load_policy(runs.checkpoints(run.directory)[0] / "seed-0")
    np.testing.assert_array_equal(saved.network.weights[0], last.network.weights[0])
    assert (first.network.weights[0] != last.network.weights[0]).any()
    with pytest.raises(dataclasses.FrozenInstanceError):
        noting.chunks[0].step = 0
    with pytest.raises(TypeError):
        noting.chunks[-1].metrics["seed-0"]["rollout/episodes"] = 0.0


class Curious(qmu.Callback):
    """Looks at everything."""

    def on_chunk(self, moment):
        for policy in moment.policies().values():
            assert np.isfinite(policy(np.zeros(3))).all()

    def on_evaluation(self, moment):
        self.on_chunk(moment)


def test_a_callback_that_looks_changes_no_bit(tmp_path):
    alone = train(tmp_path / "alone").directory
    watched = train(tmp_path / "watched", Curious()).directory
    assert runs.final_state(alone) == runs.final_state(watched)
    assert runs.metrics(alone) == runs.metrics(watched)


@pytest.mark.parametrize(
    ("kind", "end"), [("on_chunk", 100), ("on_evaluation", 120), ("on_save", 120)]
)
def test_a_callback_ends_a_run_properly(tmp_path, kind, end):
    run = train(tmp_path, Ending(kind, 100))
    assert (run.info["status"], run.info["steps"]) == ("finished", end)
    assert run.info["stopped"] == f"Ending.{kind}: seen enough"
    assert np.isfinite(run.info["members"][0]["final_mean_reward"])
    assert runs.checkpoints(run.directory)[0].name == f"{end:09}"
    assert run.metrics()[-1]["step"] == end


def test_a_run_that_a_callback_has_ended_can_be_gone_on_with(tmp_path):
    run = train(tmp_path, Ending("on_evaluation", 120))
    noting = Noting()
    again = qmu.resume(run.directory, callbacks=[noting])
    assert again.info["steps"] == 240
    assert "stopped" not in again.info
    assert noting.chunks[0].step == 128
    assert noting.chunks[0].scores["seed-0"].lengths == (30,)
    whole = train(tmp_path / "whole")
    assert runs.final_state(again.directory) == runs.final_state(whole.directory)


def test_all_callbacks_hear_of_the_event_at_which_one_of_them_ends_the_run(tmp_path):
    noting = Noting()
    run = train(tmp_path, Ending("on_chunk", 16), noting)
    assert [moment.step for moment in noting.chunks] == [8, 16]
    assert [moment.step for moment, _ in noting.saves] == [16]
    assert run.info["stopped"].startswith("Ending.on_chunk")


def test_a_failing_callback_ends_the_run_with_its_own_traceback(tmp_path):
    with pytest.raises(ValueError, match="a mistake of the user's") as caught:
        train(tmp_path, Failing())
    assert traceback.extract_tb(caught.tb)[-1].name == "on_chunk"
    assert "raised in the callback Failing.on_chunk at step 16" in caught.value.__notes__
    directory = runs.only_run(tmp_path)
    run = qmu.open_run(directory)
    assert run.info["status"] == "failed"
    assert run.info["error"] == "ValueError: a mistake of the user's"
    assert runs.checkpoints(directory)[0].name == f"{16:09}"
    assert qmu.resume(directory).info["status"] == "finished"


class Continuing(qmu.Callback):
    """Returns what other libraries want."""

    def on_chunk(self, moment):
        return True


def test_a_callback_that_returns_something_else_is_told_what_to_return(tmp_path):
    with pytest.raises(TypeError, match=r"Continuing.on_chunk returned True: return None"):
        train(tmp_path, Continuing())


class Mistyped(qmu.Callback):
    def on_evaluate(self, moment):
        return qmu.Stop("never")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([Noting], r"the class Noting itself: make one of it, Noting\(\)"),
        ([print], r"which is none: derive its class from qmu\.Callback"),
        (Noting(), "must be a list of qmu.Callback objects"),
        ([Mistyped()], r"Mistyped\.on_evaluate would never be called: .* on_chunk, on_evaluation,"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(tmp_path, given, said):
    with pytest.raises(qmu.ConfigError, match=said):
        qmu.train("Pendulum-v1", callbacks=given, **runs.options(tmp_path))
    with pytest.raises(qmu.ConfigError, match=said):
        qmu.DDPG("Pendulum-v1").learn(1, callbacks=given)
    assert list(tmp_path.iterdir()) == []


def test_the_display_says_what_has_ended_the_run(tmp_path, capsys):
    run = train(tmp_path, Ending("on_chunk", 16))
    Console().summary(run)
    assert "ended by Ending.on_chunk: seen enough" in capsys.readouterr().out
    assert cli.main(["resume", str(run.directory)]) == 0


def test_a_model_tells_its_callbacks_and_stops_for_them():
    model = qmu.DDPG("Pendulum-v1", seed=1, **MODEL)
    noting = Noting()
    model.learn(300, callbacks=[noting, Ending("on_chunk", 100)])
    assert model.steps == noting.chunks[-1].step == 128
    assert model.stopped == qmu.Stop("seen enough")
    assert noting.chunks[0].total_steps == 300
    model.learn(32, callbacks=[noting])
    assert model.stopped is None
    assert model.steps == 160
    model.close()


def test_a_model_is_evaluated_where_it_is_asked_to_be():
    model = qmu.DDPG("Pendulum-v1", train={"eval_episodes": 1}, **MODEL)
    noting = Noting()
    model.learn(120, eval_interval=50, callbacks=[noting])
    assert [moment.step for moment in noting.chunks] == [32, 64, 96, 120]
    assert [moment.step for moment in noting.evaluations] == [64, 120]
    assert noting.evaluations[0].scores["seed-0"].lengths == (30,)
    with pytest.raises(qmu.ConfigError, match="eval_interval must be a whole number above 0"):
        model.learn(10, eval_interval=0)
    model.close()


def test_a_model_whose_callback_failed_learns_on():
    model = qmu.DDPG("Pendulum-v1", **MODEL)
    with pytest.raises(ValueError, match="a mistake") as caught:
        model.learn(300, callbacks=[Failing()])
    assert "raised in the callback Failing.on_chunk at step 32" in caught.value.__notes__
    assert model.learn(32).steps == 64
    model.close()


MODEL = {name: runs.SMALL[name] for name in ("env", "actor", "critic", "replay", "explore")}
