"""TensorBoard event files, one folder per member."""

import time
from pathlib import Path
from typing import Any

from qmu.training.sinks import Metrics

# TensorBoard reads a file while it is written; it is written through to the disk this often.
SECONDS_TO_FLUSH = 10.0


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
