"""Sinks of the user's own: what they are given, and that their failures end nothing."""

import json
import warnings
from dataclasses import dataclass, field

import pytest
import runs
from budget import some

import qmu
from qmu import cli
from qmu.records.lines import read_lines


class Notes:
    """Keeps what it is given."""

    name = "notes"

    def __init__(self):
        self.lines, self.calls = [], []

    def write(self, step, seconds, member, values):
        self.lines.append({"step": step, "member": member, **values})

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


class Album(Notes):
    """Keeps pictures, too."""

    def show(self, step, seconds, member, name, media):
        self.calls.append((step, member, name, type(media)))
        self.media = media


def trained(folder, *sinks, **changes):
    return qmu.train("Pendulum-v1", sinks=sinks, **runs.options(folder, changes))


def test_a_sink_is_given_every_line(tmp_path):
    notes = Notes()
    run = trained(tmp_path, notes, train={"seeds": 2})
    timeless = [
        {name: value for name, value in line.items() if not name.startswith("time/")}
        for line in notes.lines
    ]
    assert timeless == runs.metrics(run.directory)
    # A checkpoint every 60 of 240 steps.
    assert notes.calls == ["flush"] * 4 + ["close"]


def test_a_sink_that_shows_is_given_configuration_and_curves(tmp_path):
    album = Album()
    trained(tmp_path, album)
    shown = [call for call in album.calls if isinstance(call, tuple)]
    assert shown == [(0, "seed-0", "config", qmu.Text), (240, "run", "curves", qmu.Picture)]
    assert album.media.png.startswith(b"\x89PNG")
    assert album.calls[-1] == "close"


def test_a_sink_that_shows_is_given_videos(tmp_path, monkeypatch):
    from qmu.watching import camera

    class Stage:
        def close(self):
            pass

    def film(actor, worlds, seeds, path, steps, stopped):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr(camera, "stage", lambda maker, guard: Stage())
    monkeypatch.setattr(camera, "film", film)
    album = Album()
    run = trained(tmp_path, album, log={"video_interval": 120})
    shown = [call for call in album.calls if isinstance(call, tuple) and call[2] == "video"]
    assert [step for step, *_ in shown] == [120, 240]
    assert (run.directory / "videos" / "seed-0-000000240.mp4").is_file()


@pytest.mark.parametrize("method", some(["write", "flush", "close", "show"], ["write", "close"]))
@pytest.mark.parametrize("error", [ValueError("no"), OSError("no")], ids=["ValueError", "OSError"])
def test_a_sink_that_fails_is_told_once_and_given_up(method, error, tmp_path):
    class Broken(Album):
        name = "broken"

    def fail(self, *given):
        failures.append(method)
        raise error

    setattr(Broken, method, fail)
    failures = []
    broken, fine = Broken(), Notes()
    said = "broken is not written any more, the run goes on: (ValueError: )?no"
    with pytest.warns(RuntimeWarning, match=said) as told:
        run = trained(tmp_path, broken, fine)
    assert len(told) == 1
    assert failures == [method]
    assert run.info["status"] == "finished"
    assert len(fine.lines) == len(runs.metrics(run.directory))


@dataclass
class Log:
    """A sink that is equal to each other one that was made alike."""

    name: str
    lines: list[int] = field(default_factory=list, compare=False)
    calls: list[str] = field(default_factory=list, compare=False)
    fails: bool = field(default=False, compare=False)

    def write(self, step, seconds, member, values):
        if self.fails:
            raise OSError("no")
        self.lines.append(step)

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_of_two_equal_sinks_the_one_that_fails_is_given_up(tmp_path):
    fine, broken = Log("log"), Log("log", fails=True)
    assert fine == broken
    with pytest.warns(RuntimeWarning, match="log is not written any more") as told:
        run = trained(tmp_path, fine, broken, train={"seeds": 2})
    assert len(told) == 1
    assert fine.lines == [line["step"] for line in runs.metrics(run.directory)]
    assert fine.calls == ["flush"] * 4 + ["close"]
    assert broken.calls == ["close"]


def test_a_sink_that_ends_the_process_ends_it(tmp_path):
    class Leaving(Notes):
        def write(self, *given):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Leaving())


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        (print, "there is no write"),
        (Notes, "sinks.1. is the class Notes: give an instance"),
        (type("Nameless", (), {"write": 1, "flush": 1, "close": 1})(), "there is no name"),
    ],
)
def test_what_is_no_sink_is_refused_before_anything_is_written(sink, said, tmp_path):
    with pytest.raises(qmu.ConfigError, match=said):
        trained(tmp_path, Notes(), sink)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sinks", [Notes(), (Notes() for _ in range(2)), Notes, "notes", None])
def test_sinks_are_a_list(sinks, tmp_path):
    with pytest.raises(qmu.ConfigError, match="sinks must be a list of them, not "):
        qmu.train("Pendulum-v1", sinks=sinks, **runs.options(tmp_path))
    assert list(tmp_path.iterdir()) == []


DAMAGED = [
    {"step": "ten"},
    {"step": None},
    {"step": 10.5},
    {"step": 10**400},
    {"seconds": None},
    {"seconds": [1]},
    {"member": ["seed-0"]},
    {"member": 0},
    {"eval/mean_reward": "high"},
    {"eval/mean_reward": [1]},
    {"eval/mean_reward": 10**400},
]


def test_damaged_lines_are_left_out(tmp_path):
    whole = {"step": 10, "seconds": 0.5, "member": "seed-0", "eval/mean_reward": 1.0, "x": None}
    others = [
        "{",
        "3",
        "[]",
        "{}",
        "[" * 100_000,
        *(json.dumps(whole | damage) for damage in DAMAGED),
    ]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join([*others, json.dumps(whole), ""]))
    assert read_lines(file) == [whole]


@pytest.mark.long
def test_a_run_with_damaged_lines_is_examined_and_resumed(tmp_path, capsys):
    directory = runs.train(tmp_path)
    whole = json.loads((directory / "metrics.jsonl").read_text().splitlines()[0])
    with (directory / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(whole | damage) + "\n" for damage in DAMAGED)
    assert cli.main(["doctor", str(directory)]) == 0
    assert cli.main(["report", str(directory)]) == 0
    capsys.readouterr()
    run = qmu.resume(directory, total_steps=800, schedule_steps=800)
    assert run.info["status"] == "finished"


def test_a_diagnosis_that_fails_is_told_once(tmp_path, monkeypatch):
    def fails(*given):
        raise RuntimeError("no numbers")

    monkeypatch.setattr("qmu.runs.record.doctor.together", fails)
    with pytest.warns(RuntimeWarning, match="no diagnosis: RuntimeError: no numbers") as told:
        run = trained(tmp_path, train={"eval_interval": 20})
    assert len(told) == 1
    assert run.info["status"] == "finished"


def test_a_resumed_run_gives_a_sink_the_rest(tmp_path):
    directory = runs.train(tmp_path)
    notes = Notes()
    qmu.resume(directory, total_steps=300, schedule_steps=300, sinks=[notes])
    assert {line["step"] for line in notes.lines} == {250, 280, 300}
    with pytest.raises(qmu.ConfigError, match="a sink has a name"):
        qmu.resume(directory, total_steps=400, schedule_steps=400, sinks=[3])


def test_a_failing_picture_of_the_curves_is_told(tmp_path, monkeypatch):
    def fails(*given):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("qmu.runs.record.portrait", fails)
    with pytest.warns(RuntimeWarning, match="no picture of the curves: RuntimeError: no fonts"):
        trained(tmp_path, Album())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(tmp_path, Notes())
