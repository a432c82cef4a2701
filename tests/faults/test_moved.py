"""The folder of a run is moved, deleted, or changed for another while the run writes into it."""

import shutil

import pytest
import runs
from budget import some

import qmu
from qmu.saving import place
from qmu.saving.place import GoneError, Place


class At(qmu.Callback):
    """Does something once, at a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_chunk(self, moment):
        if self.act is not None and moment.step >= self.step:
            act, self.act = self.act, None
            act()


def train_and(folder, act, step=100):
    return qmu.train(
        "Pendulum-v1", callbacks=[At(step, act)], **runs.options(folder, {"train": {"seeds": 2}})
    )


def test_a_run_goes_on_where_its_folder_is_moved_to(tmp_path):
    whole = runs.train(tmp_path / "whole", train={"seeds": 2})

    def move():
        runs.only_run(tmp_path / "old").rename(tmp_path / "kept")

    with pytest.warns(
        RuntimeWarning, match=r"old/.* was moved: the run goes on in .*/kept"
    ) as said:
        run = train_and(tmp_path / "old", move)
    assert len(said) == 1
    assert run.directory == tmp_path / "kept"
    assert list((tmp_path / "old").glob("*/*")) == []
    assert run.info["status"] == "finished"
    assert runs.final_state(run.directory) == runs.final_state(whole)
    assert runs.metrics(run.directory) == runs.metrics(whole)


def test_the_folder_above_is_renamed_and_another_put_in_its_place(tmp_path):
    def swap():
        directory = runs.only_run(tmp_path / "runs")
        (tmp_path / "runs").rename(tmp_path / "older")
        directory.mkdir(parents=True)

    with pytest.warns(RuntimeWarning, match="was moved"):
        run = train_and(tmp_path / "runs", swap)
    assert run.directory.is_relative_to(tmp_path / "older")
    assert run.info["status"] == "finished"
    (impostor,) = (tmp_path / "runs").glob("*/*")
    assert list(impostor.iterdir()) == []


def test_a_folder_that_is_moved_in_the_middle_of_a_save_has_it(tmp_path, monkeypatch):
    from qmu.saving import storage

    real, moved = storage.write_file, []

    def write_file(path, data):
        if not moved and path.name == "state.json":
            moved.append(runs.only_run(tmp_path / "old").rename(tmp_path / "kept"))
        return real(path, data)

    monkeypatch.setattr(storage, "write_file", write_file)
    with pytest.warns(RuntimeWarning, match="was moved") as said:
        run = runs.train(tmp_path / "old")
    assert run == tmp_path / "kept"
    assert len(said) == 1
    assert (run / "checkpoints" / "000000060" / "seed-0").is_dir()
    assert qmu.open_run(run).info["status"] == "finished"
    assert list((tmp_path / "old").glob("*/*")) == []


def test_a_deleted_folder_ends_the_run_at_once_and_is_not_made_anew(tmp_path):
    steps = []

    def delete():
        shutil.rmtree(runs.only_run(tmp_path))

    class Counting(qmu.Callback):
        def on_chunk(self, moment):
            steps.append(moment.step)

    with pytest.raises(qmu.QmuError, match=r"was deleted before step 1..: what it had") as raised:
        qmu.train("Pendulum-v1", callbacks=[At(100, delete), Counting()], **runs.options(tmp_path))
    assert raised.value.exit_code == 1
    assert not hasattr(raised.value, "__notes__")
    assert steps[-1] < 112
    assert list(tmp_path.glob("*/*")) == []


def test_a_folder_that_is_deleted_while_the_best_policy_is_scored_is_not_finished(
    tmp_path, monkeypatch
):
    from qmu.learning.loop import Trainer

    score = Trainer.score

    def deleted(trainer, *words):
        shutil.rmtree(runs.only_run(tmp_path))
        return score(trainer, *words)

    monkeypatch.setattr(Trainer, "score", deleted)
    with pytest.raises(qmu.QmuError, match="was deleted before step 240"):
        runs.train(tmp_path)
    assert list(tmp_path.glob("*/*")) == []


def test_what_a_link_of_the_log_folder_leads_to_may_change(tmp_path):
    one, other, link = (tmp_path / name for name in ("one", "other", "link"))
    one.mkdir()
    other.mkdir()
    link.symlink_to(one)

    def turn():
        link.unlink()
        link.symlink_to(other)

    run = train_and(link, turn)
    assert run.directory.is_relative_to(one)
    assert run.info["status"] == "finished"
    assert list(other.iterdir()) == []


def test_a_resumed_run_is_followed_as_well(tmp_path):
    directory = runs.train(tmp_path)
    move = At(280, lambda: directory.rename(tmp_path / "kept"))
    with pytest.warns(RuntimeWarning, match="was moved"):
        run = qmu.resume(directory, total_steps=320, schedule_steps=320, callbacks=[move])
    assert run.directory == tmp_path / "kept"
    assert run.info["steps"] == 320
    assert not directory.exists()


def test_where_the_system_does_not_say_where_a_folder_is_it_is_gone(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    held = Place(tmp_path / "a")
    assert not held.moved()
    monkeypatch.setattr(place, "path_of", lambda descriptor: None)
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(GoneError) as raised:
        held.moved()
    assert not raised.value.deleted
    held.close()
    held.close()


def gone(kind, file):
    """Return what takes a run's lines away."""

    def delete():
        file().unlink()

    def move():
        file().rename(file().with_name("old.jsonl"))

    def replace():
        text = file().read_text()
        file().unlink()
        file().write_text(text)

    return {"deleted": delete, "moved": move, "replaced": replace}[kind]


@pytest.mark.parametrize("kind", some(["deleted", "moved", "replaced"], ["deleted"]))
def test_lines_that_are_gone_are_written_again_and_it_is_said_once(kind, tmp_path):
    whole = runs.train(tmp_path / "whole", train={"seeds": 2})
    act = gone(kind, lambda: runs.only_run(tmp_path / "gone") / "metrics.jsonl")
    two_times = [At(90, act), At(170, act)]
    with pytest.warns(RuntimeWarning, match=r"metrics\.jsonl is ") as said:
        run = qmu.train(
            "Pendulum-v1",
            callbacks=two_times,
            **runs.options(tmp_path / "gone", {"train": {"seeds": 2, "total_steps": 180}}),
        )
    assert len(said) == 1
    assert ("another file" if kind == "replaced" else "is gone") in str(said[0].message)
    # Nothing is told twice or lacks, also when what came after the last save is taken back.
    run = qmu.resume(run.directory, total_steps=240)
    assert runs.metrics(run.directory) == runs.metrics(whole)


def test_lines_that_cannot_be_written_again_are_tried_later(tmp_path):
    def file():
        return runs.only_run(tmp_path) / "metrics.jsonl"

    def block():
        file().unlink()
        file().mkdir()

    with pytest.warns(RuntimeWarning) as said:
        run = qmu.train(
            "Pendulum-v1",
            callbacks=[At(50, block), At(130, lambda: file().rmdir())],
            **runs.options(tmp_path),
        )
    texts = [str(one.message) for one in said]
    assert texts[0].startswith("metrics.jsonl lacks lines, the run goes on: ")
    assert texts[-1].endswith(
        "metrics.jsonl is gone: it is written again, with all lines until now"
    )
    assert {line["step"] for line in run.metrics()} >= {40, 80, 120, 160, 200, 240}
