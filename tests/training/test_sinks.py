"""Sinks of the user's own: what they are given, and that their failures end nothing."""

import warnings

import pytest
import runs

import qmu


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
    from qmu.training import camera

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


@pytest.mark.parametrize("method", ["write", "flush", "close", "show"])
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
    # `close` is tried again when a sink is given up.
    assert len(failures) == (2 if method == "close" else 1)
    assert run.info["status"] == "finished"
    assert len(fine.lines) == len(runs.metrics(run.directory))


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

    monkeypatch.setattr("qmu.training.record.portrait", fails)
    with pytest.warns(RuntimeWarning, match="no picture of the curves: RuntimeError: no fonts"):
        trained(tmp_path, Album())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(tmp_path, Notes())
