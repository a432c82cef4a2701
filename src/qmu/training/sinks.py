"""Where metrics go: one JSON object per line, and TensorBoard event files."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qmu.saving import storage

Metrics = Mapping[str, float]
# TensorBoard reads a file while it is written; it is written through to the disk this often.
SECONDS_TO_FLUSH = 10.0


class Sink(Protocol):
    """Something that metrics are written to."""

    name: str

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Take the metrics of a member, `seconds` after the run began.

        Raises:
            OSError: they could not be written.
        """

    def flush(self) -> None:
        """Write what is pending through to the disk. Raises OSError as `write` does."""

    def close(self) -> None:
        """Write what is pending, and give back what is held. Raises OSError as `write` does."""


class JsonLines:
    """`metrics.jsonl`: one object per line: step, seconds, member, and names -> numbers.

    A line is there as a whole or not at all: one that could not be written is taken back.
    """

    name = "metrics.jsonl"

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self.file = path.open("ab", buffering=0)
        self.size = self.file.tell()

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Write one line; a number that is not finite becomes null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "seconds": round(seconds, 3), "member": member} | numbers
        data = json.dumps(line).encode() + b"\n"
        try:
            if self.file.write(data) != len(data):
                raise OSError("the line was cut short: is the disk full?")
        except OSError:
            os.ftruncate(self.file.fileno(), self.size)
            raise
        self.size += len(data)

    def flush(self) -> None:
        """Write what is pending through to the disk."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class TensorBoard:
    """Event files, one folder per member. They are written in this thread, without a queue."""

    name = "tensorboard"

    def __init__(self, directory: Path, began: float) -> None:
        """Take the folder that holds the members' folders, and the time when the run began."""
        self.directory, self.began = directory, began
        self.writers: dict[str, Any] = {}
        self.flushed = time.monotonic()

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Write the numbers as scalars."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if member not in self.writers:
            folder = self.directory / member
            folder.mkdir(parents=True, exist_ok=True)
            self.writers[member] = EventsWriter(str(folder / "events"))
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = Event(wall_time=self.began + seconds, step=step, summary=Summary(value=scalars))
        self.writers[member].write_event(event)
        if time.monotonic() - self.flushed > SECONDS_TO_FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is pending through to the disk."""
        self.flushed = time.monotonic()
        for writer in self.writers.values():
            writer.flush()

    def close(self) -> None:
        """Write what is pending, and close the files."""
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`; those that are torn or damaged are left out."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and {"step", "seconds", "member"} <= values.keys():
            found.append(values)
    return found


def trim_lines(path: Path, size: int, step: int) -> None:
    """Take back what was written to a `metrics.jsonl` after it had this size, at this step.

    A file that was shorter, or has been changed since, loses the lines of later steps.
    """
    data = path.read_bytes() if path.exists() else b""
    kept = data[:size]
    if size and (len(kept) < size or not kept.endswith(b"\n")):
        whole = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        kept = b"".join(line for line in whole if not is_later(line, step))
    if kept != data:
        storage.replace_file(path, kept)


def is_later(line: bytes, step: int) -> bool:
    """Tell whether a line of metrics is of a later step, or none at all."""
    try:
        return bool(json.loads(line)["step"] > step)
    except (ValueError, KeyError, TypeError):
        return True


def write_again(sink: Sink, directory: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write all lines of metrics to a sink whose own files, in `directory`, are removed first."""
    storage.remove(directory)
    about = ("step", "seconds", "member")
    for line in lines:
        values = {
            name: math.nan if value is None else float(value)
            for name, value in line.items()
            if name not in about
        }
        sink.write(int(line["step"]), float(line["seconds"]), str(line["member"]), values)


def spread(members: Sequence[Metrics]) -> tuple[Metrics, Metrics]:
    """Return mean and standard deviation over the members of the metrics that all have."""
    names = [name for name in members[0] if all(name in values for values in members)]
    table = {name: [values[name] for values in members] for name in names}
    return (
        {name: float(np.mean(values)) for name, values in table.items()},
        {name: float(np.std(values)) for name, values in table.items()},
    )
