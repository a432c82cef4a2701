"""TensorBoard event files, one folder per member: curves, options, hyper-parameters, media."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qmu import config as options
from qmu.config.members import Member
from qmu.config.spelling import spelled
from qmu.errors import ConfigError
from qmu.records.described import said_of
from qmu.watching.sinks import Media, Metrics, Picture, Text
from qmu.watching.video import gif_of

# TensorBoard reads a file while it is written; it is written through to the disk this often.
SECONDS_TO_FLUSH = 10.0
# What its table of hyper-parameters shows beside them: the last value of each.
RESULTS = ("eval/best_mean_reward", "eval/mean_reward", "rollout/ep_rew_mean", "time/fps")
# It reads these bytes of a picture for its size: width and height of a PNG, of a GIF.
PNG_SIZE, GIF_SIZE = (slice(16, 20), slice(20, 24)), (slice(6, 8), slice(8, 10))


class TensorBoard:
    """Event files. They are written in this thread, without the queue of tensorboardX's writer."""

    name = "tensorboard"

    def __init__(self, directory: Path, began: float, members: Iterable[Member]) -> None:
        """Take the folder of the members' folders, when the run began, and who has settings."""
        self.directory, self.began = directory, began
        self.members = {member.name: member for member in members}
        self.writers: dict[str, Any] = {}
        self.flushed = time.monotonic()

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Write the numbers as scalars."""
        from tensorboardX.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.add(step, seconds, member, Summary(value=scalars))

    def show(self, step: int, seconds: float, member: str, name: str, media: Media) -> None:
        """Write a text, or a picture; a video as one that moves, without its later parts."""
        from tensorboardX import summary
        from tensorboardX.proto.summary_pb2 import Summary

        if isinstance(media, Text):
            self.add(step, seconds, member, summary.text(name, media.markdown))
            return
        data = b""
        if isinstance(media, Picture):
            data = media.png
            width, height = (int.from_bytes(data[place], "big") for place in PNG_SIZE)
        else:
            # A video that cannot be read is in its folder all the same.
            with contextlib.suppress(ConfigError, OSError):
                data = gif_of(media.path)
            width, height = (int.from_bytes(data[place], "little") for place in GIF_SIZE)
        if data:
            image = Summary.Image(
                width=width, height=height, colorspace=3, encoded_image_string=data
            )
            self.add(step, seconds, member, Summary(value=[Summary.Value(tag=name, image=image)]))

    def add(self, step: int, seconds: float, member: str, summary: Any) -> None:
        """Write an event into a member's file, which begins with its hyper-parameters."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if member not in self.writers:
            folder = self.directory / member
            self.directory.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)
            self.writers[member] = EventsWriter(str(folder / "events"))
            if member in self.members:
                for part in opening(self.members[member]):
                    self.writers[member].write_event(Event(wall_time=self.began, summary=part))
        event = Event(wall_time=self.began + seconds, step=step, summary=summary)
        self.writers[member].write_event(event)
        if time.monotonic() - self.flushed > SECONDS_TO_FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is pending through to the disk."""
        self.flushed = time.monotonic()
        for writer in self.writers.values():
            writer.flush()

    def close(self) -> None:
        """Write what is pending, and how the run has ended, and close the files."""
        from tensorboardX.proto.event_pb2 import Event

        status = said_of(self.directory.parent).get("status")
        for member, writer in self.writers.items():
            if member in self.members:
                ended = closing(status == "finished", time.time())
                writer.write_event(Event(wall_time=time.time(), summary=ended))
            writer.close()
        self.writers = {}


def opening(member: Member) -> list[Any]:
    """Return the events with which a member's row in the table of hyper-parameters begins."""
    from tensorboardX import summary

    experiment, start, _ = summary.hparams(settings(member), dict.fromkeys(RESULTS, 0.0))
    return [experiment, start]


def closing(finished: bool, moment: float) -> Any:
    """Return the event with which a member's row in that table ends."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    status = Status.Value("STATUS_SUCCESS" if finished else "STATUS_FAILURE")
    ended = SessionEndInfo(status=status, end_time_secs=moment)
    content = HParamsPluginData(session_end_info=ended, version=0).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    value = Summary.Value(
        tag="_hparams_/session_end_info", metadata=SummaryMetadata(plugin_data=plugin)
    )
    return Summary(value=[value])


def settings(member: Member) -> dict[str, float | str | bool]:
    """Return the options that say how a member learns, by their names, and its seed."""
    found: dict[str, float | str | bool] = {}
    for group, option in options.options():
        value = getattr(getattr(member.config, group), option.name)
        if group != "log":
            plain = isinstance(value, bool | int | float | str)
            found[f"{group}.{option.name}"] = value if plain else spelled(value)
    return found | {"train.seed": member.seed}
