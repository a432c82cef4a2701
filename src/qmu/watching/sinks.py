"""Where metrics go: what a sink is, and the first one, a file with one JSON object per line."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from qmu.errors import ConfigError
from qmu.records.lines import ABOUT

Metrics = Mapping[str, float]


class Sink(Protocol):
    """Something that metrics are written to; `name` is what a person is told of it.

    What it raises ends no run: it is told once, and the sink is not used any more.
    """

    name: str

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Take the metrics of a member.

        Args:
            step: steps of each member so far.
            seconds: how long ago the run began.
            member: `seed-0`, ...; with several members also `mean` and `std` over them.
            values: names to numbers, some of which may not be finite.
        """

    def flush(self) -> None:
        """Write what is pending through to where it belongs: a checkpoint follows."""

    def close(self) -> None:
        """Write what is pending, and give back what is held: the run has ended."""


class Text(NamedTuple):
    """A text, in Markdown."""

    markdown: str


class Picture(NamedTuple):
    """A picture, as the bytes of a PNG file."""

    png: bytes


class Video(NamedTuple):
    """A video: an mp4 file."""

    path: Path


Media = Text | Picture | Video


@runtime_checkable
class MediaSink(Sink, Protocol):
    """A sink that takes more than numbers."""

    def show(self, step: int, seconds: float, member: str, name: str, media: Media) -> None:
        """Take a text, a picture or a video of a member.

        Its name is `config` (a text, when the run begins or goes on), `video` (at an evaluation),
        or `curves` (a picture of all members, when the run has ended).
        """


def check_sinks(sinks: object) -> None:
    """Raise ConfigError unless these are sinks."""
    if not isinstance(sinks, Sequence) or isinstance(sinks, str):
        raise ConfigError(f"sinks must be a list of them, not {sinks!r:.80}")
    for index, sink in enumerate(sinks):
        if isinstance(sink, type):
            raise ConfigError(f"sinks[{index}] is the class {sink.__name__}: give an instance")
        lacking = [name for name in ("write", "flush", "close") if not hasattr(sink, name)]
        lacking += [] if isinstance(getattr(sink, "name", None), str) else ["name"]
        if lacking:
            raise ConfigError(
                f"sinks[{index}] is {sink!r:.80}, and a sink has a name and the methods write, "
                f"flush and close: there is no {lacking[0]}"
            )


class JsonLines:
    """`metrics.jsonl`: one object per line: step, seconds, member, and names -> numbers.

    A line is there as a whole or not at all: one that could not be written is taken back.
    """

    name = "metrics.jsonl"

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self.file = path.open("ab", buffering=0)
        self.size = self.file.tell()

    def is_at(self, path: Path) -> bool:
        """Tell whether a path leads to the file; one that cannot be looked at may."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False
        except OSError:
            return True

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


def write_again(sink: Sink, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write all lines of metrics to a sink that has none of them."""
    for line in lines:
        values = {
            name: math.nan if value is None else float(value)
            for name, value in line.items()
            if name not in ABOUT
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
