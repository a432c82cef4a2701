"""Segments of rows that are lost: a run goes on with the rows that are left, if it is asked to."""

import jax
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu.cli import main
from qmu.runs import segments
from qmu.saving import store
from qmu.saving.storage import Entry
from qmu.saving.store import Part, Segment

KINDS = {
    "plain": {},
    "prioritized": {"replay": {"priorities": "td-error"}, "train": {"seeds": 2}},
    "lap that fades": {"replay": {"priorities": "lap", "fade": 0.99}},
    "two worlds": {"env": {"count": 2}},
    "full ring": {"replay": {"capacity": 100}},
}


def lose(directory, which):
    """Damage a segment of the newest checkpoint; return its parts."""
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    segment = saved.segments[which]
    path = directory / "checkpoints" / "segments" / segment.entry.name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return segment.parts


@pytest.mark.filterwarnings("ignore:the checkpoint .* is damaged")
@pytest.mark.parametrize("kind", some(KINDS, ["plain", "prioritized"]))
def test_a_run_goes_on_with_the_rows_that_are_left(tmp_path, kind, capsys):
    directory = runs.train(tmp_path, **KINDS[kind])
    newest, *older = runs.checkpoints(directory)
    for path in older:
        store.strip(path)
    before = store.read_checkpoint(newest)
    parts = lose(directory, 0)
    words = ["resume", str(directory), "--train.total-steps", "320"]
    assert main([*words, "--train.schedule-steps", "320"]) == 2
    said = capsys.readouterr().err
    assert "its agents and optimizers are whole: --salvage" in said
    with pytest.raises(qmu.ConfigError, match="--salvage"):
        qmu.resume(directory, total_steps=320, schedule_steps=320, salvage=True, exact=True)
    with pytest.warns(RuntimeWarning, match="rows of the stream are damaged: the run goes on with"):
        run = qmu.resume(directory, total_steps=320, schedule_steps=320, salvage=True)
    assert run.info["status"] == "finished"
    (resumed,) = run.info["resumed"]
    assert resumed["lost_rows"] == sum(part.rows for part in parts)
    # What it saves is whole, and gone on with as any other run.
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    assert saved.state["step"] == 320
    assert saved.state["updates"] > before.state["updates"]
    again = qmu.resume(directory, total_steps=360, schedule_steps=360)
    assert again.info["steps"] == 360


@pytest.mark.filterwarnings("ignore:the checkpoint .* is damaged")
@pytest.mark.filterwarnings("ignore:.* rows of the stream are damaged")
@pytest.mark.parametrize("fade", some([None, 0.99], [0.99]))
def test_only_rows_that_are_there_are_drawn(fade, tmp_path, monkeypatch):
    """Priorities of those that are lost are none, and the learner waits where few are left."""
    directory = runs.train(tmp_path, replay={"priorities": "td-error", "fade": fade})
    lose(directory, -1)
    found = []
    read_back = segments.read_back

    def noted(folder, learner, *rest):
        read_back(folder, learner, *rest)
        (members,) = learner.members
        priorities = members.priorities
        arrays = [*priorities.levels, *([] if fade is None else [priorities.fading.raw])]
        levels = [float(jax.numpy.abs(level).max()) for level in arrays]
        found.append((int(members.stream.size.sum()), levels))

    monkeypatch.setattr("qmu.runs.checkpoint.segments.read_back", noted)
    for path in runs.checkpoints(directory)[1:]:
        store.strip(path)
    run = qmu.resume(directory, total_steps=320, schedule_steps=320, salvage=True)
    # The newest segment is lost, so no row is without a gap after it.
    ((rows, levels),) = found
    assert rows == 0
    assert set(levels) == {0.0}
    assert run.info["status"] == "finished"
    assert np.isfinite(run.policy()(np.ones(3))).all()


def test_rows_behind_a_gap_are_those_to_the_newest():
    def segment(*parts):
        return Segment(Entry("a", 1, "b"), parts)

    there = [
        segment(Part(0, 0, 0, 10), Part(0, 1, 0, 10)),
        segment(Part(0, 0, 10, 5)),
        segment(Part(0, 0, 20, 5), Part(0, 1, 10, 15)),
        segment(Part(0, 0, 25, 5)),
    ]
    first = segments.without_gaps(there, np.array([[30, 25]]))
    assert first.tolist() == [[20, 0]]
    assert segments.without_gaps([], np.array([[30, 25]])).tolist() == [[30, 25]]
