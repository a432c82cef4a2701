"""TensorBoard event files: numbers, the configuration, hyper-parameters, pictures."""

import numpy as np
import pytest
import runs

import qmu
from qmu.config.members import members_of
from qmu.watching import video
from qmu.watching.portrait import portrait
from qmu.watching.sinks import Video
from qmu.watching.tensorboard import TensorBoard, settings

BOARD = {"log": {"tensorboard": True}}


def events(directory, member):
    """Return the events of a member's files."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted((directory / "tensorboard" / member).glob("events*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            found.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += 16 + length
    return found


def values(directory, member):
    """Return (step, value) of a member."""
    return [
        (event.step, value) for event in events(directory, member) for value in event.summary.value
    ]


def test_every_member_has_scalars_its_configuration_and_hyper_parameters(tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    directory = runs.train(tmp_path, **BOARD, train={"seeds": 2, "seed": 4})
    for seed in (4, 5):
        found = values(directory, f"seed-{seed}")
        scalars = {(step, one.tag): one.simple_value for step, one in found}
        for line in runs.metrics(directory):
            if line["member"] == f"seed-{seed}" and "eval/mean_reward" in line:
                written = scalars[line["step"], "eval/mean_reward"]
                assert written == pytest.approx(line["eval/mean_reward"], rel=1e-6)
        ((step, text),) = [pair for pair in found if pair[1].tag == "config/text_summary"]
        assert step == 0
        assert text.metadata.plugin_data.plugin_name == "text"
        assert "hidden_sizes = [\n    8,\n]" in text.tensor.string_val[0].decode()
        told = {
            one.tag.removeprefix("_hparams_/"): HParamsPluginData.FromString(
                one.metadata.plugin_data.content
            )
            for _, one in found
            if one.metadata.plugin_data.plugin_name == "hparams"
        }
        given = told["session_start_info"].session_start_info.hparams
        assert given["train.seed"].number_value == seed
        assert given["actor.hidden_sizes"].string_value == "8"
        assert given["train.overlap"].bool_value is True
        assert not [name for name in given if name.startswith("log.")]
        metrics = [one.name.tag for one in told["experiment"].experiment.metric_infos]
        assert set(metrics) <= {tag for _, tag in scalars}
        assert told["session_end_info"].session_end_info.status == 1  # success
    assert {one.tag for _, one in values(directory, "mean")} >= {"eval/mean_reward"}


def test_a_run_that_was_interrupted_says_so(tmp_path, monkeypatch):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    def interrupted(self, *given):
        raise KeyboardInterrupt

    monkeypatch.setattr("qmu.runs.record.Record.warn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.train(tmp_path, **BOARD)
    directory = runs.only_run(tmp_path)
    _, last = values(directory, "seed-0")[-1]
    ended = HParamsPluginData.FromString(last.metadata.plugin_data.content)
    assert ended.session_end_info.status == 2  # failure


def test_the_curves_of_all_members_are_a_picture(tmp_path):
    from PIL import Image

    directory = runs.train(tmp_path, **BOARD, train={"seeds": 2})
    ((step, one),) = values(directory, "run")
    assert (step, one.tag) == (240, "curves")
    file = tmp_path / "curves.png"
    file.write_bytes(one.image.encoded_image_string)
    with Image.open(file) as picture:
        assert picture.size == (one.image.width, one.image.height)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (pixels == (0x00, 0x72, 0xB2)).all(axis=1).sum() > 500


def test_each_arm_has_a_colour_and_one_evaluation_is_no_curve(tiny_config):
    members = members_of(tiny_config(), {"slow": {}, "fast": {}})
    lines = [
        {"member": member.name, "step": step, "eval/mean_reward": float(step)}
        for step in (10, 20)
        for member in members
    ]
    assert portrait(members, lines[:2], "a world") is None
    assert portrait(members, [{"member": "mean", "step": 1}], "a world") is None
    assert portrait(members, lines, "a world").startswith(b"\x89PNG")


def test_a_missing_number_and_a_list_have_a_spelling(tiny_config):
    (member,) = members_of(tiny_config(actor={"hidden_sizes": [8, 4]}), {})
    told = settings(member)
    assert told["actor.hidden_sizes"] == "8 4"
    assert told["actor.momentum"] == "none"
    assert told["target.tau"] == 0.005


@pytest.mark.extra
def test_videos_move_in_tensorboard_and_come_again_when_a_run_is_resumed(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    changes = {"log": {"tensorboard": True, "video_interval": 120}}
    directory = runs.train(tmp_path, **changes)

    def shown():
        return [
            (step, one.image.width, one.image.encoded_image_string)
            for step, one in values(directory, "seed-0")
            if one.tag == "video"
        ]

    before = shown()
    assert [(step, width) for step, width, _ in before] == [(120, 240), (240, 240)]
    assert all(data.startswith(b"GIF89a") for *_, data in before)
    qmu.resume(directory, total_steps=300, schedule_steps=300)
    assert shown() == before
    # At the time when the run was at that step.
    times = {
        one.tag: event.wall_time
        for event in events(directory, "seed-0")
        for one in event.summary.value
        if event.step == 120
    }
    assert times.pop("video") == pytest.approx(max(times.values()), abs=1e-3)


def test_a_video_that_cannot_be_read_costs_no_curves(tmp_path, monkeypatch):
    def fails(path):
        raise OSError("torn")

    monkeypatch.setattr("qmu.watching.tensorboard.gif_of", fails)
    board = TensorBoard(tmp_path / "tensorboard", 0.0, ())
    board.show(1, 1.0, "seed-0", "video", Video(tmp_path / "x.mp4"))
    board.write(2, 2.0, "seed-0", {"a": 1.0})
    board.close()
    assert [(step, one.tag) for step, one in values(tmp_path, "seed-0")] == [(2, "a")]


@pytest.mark.extra
def test_a_torn_video_is_an_oserror(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "x.mp4").write_bytes(b"nonsense")
    with pytest.raises(
        OSError, match=r"ffmpeg \(.*\) could not read .*x\.mp4: .*Invalid data found when"
    ):
        video.gif_of(tmp_path / "x.mp4")
