"""All that metrics and media go to, in a row: one that fails ends no run."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qmu.errors import told
from qmu.learning.loop import Trainer
from qmu.records.directory import METRICS
from qmu.records.lines import read_lines
from qmu.saving import storage
from qmu.watching.camera import Filmed
from qmu.watching.sinks import (
    JsonLines,
    Media,
    MediaSink,
    Sink,
    Video,
    spread,
    write_again,
)
from qmu.watching.tensorboard import TensorBoard
from qmu.watching.wandb_sink import Wandb

Tell = Callable[[str], None]
# The folder of the event files in a run's directory.
BOARDS = "tensorboard"


class Logbook:
    """The sinks of a run. The first one is `metrics.jsonl`, from which the others are filled again.

    `tell` is given a sentence about one that fails.
    """

    def __init__(
        self, directory: Path, trainer: Trainer, tell: Tell, more: Sequence[Sink] = ()
    ) -> None:
        """Take the run's directory, and sinks of the user's."""
        self.directory, self.trainer, self.tell, self.more = directory, trainer, tell, more
        self.sinks: list[Sink] = []
        # What has been logged, for a picture of it.
        self.lines: list[Mapping[str, Any]] = []
        # Whether it has been told that lines find no room in the first of the sinks.
        self.lacking = False
        # Whether it has been told that the file of the first one was gone.
        self.told_gone = False

    def open(self, began: float, videos: Sequence[Filmed] = ()) -> None:
        """Open the sinks of a run that began at this time.

        What is logged already, and the videos that there are, are written again into what is made
        anew; the other sinks have them.
        """
        file = self.directory / METRICS
        self.lines = [*read_lines(file)]
        self.sinks = [JsonLines(file), *self.more]
        config = self.trainer.config
        if config.log.tensorboard:
            folder = self.directory / BOARDS
            storage.remove(folder)
            board = TensorBoard(folder, began, self.trainer.members)
            self.sinks.append(board)

            def again() -> None:
                write_again(board, self.lines)
                for one in videos:
                    seconds = self.seconds_at(one.step, time.time() - began)
                    board.show(one.step, seconds, one.member, "video", Video(one.path))

            self.use(board, again)
        if config.log.wandb != "disabled":
            name, members = self.trainer.maker.spaces.name, self.trainer.members
            try:
                self.sinks.append(Wandb(self.directory, name, config, members, self.tell))
            except OSError as error:
                self.tell(f"{Wandb.name} is not written, the run goes on: {error}")

    def move(self, directory: Path) -> None:
        """Go on in the run's directory where it is now; files that are open have moved with it."""
        self.directory = directory
        for sink in self.sinks:
            if isinstance(sink, TensorBoard):
                sink.directory = directory / BOARDS

    def look(self) -> None:
        """Begin the first of the sinks again where its file is gone, with all lines so far.

        It is told once. A file that was put in its place is gone on with as it is.
        """
        file = self.directory / METRICS
        for first in self.sinks[:1]:
            if isinstance(first, JsonLines) and not first.is_at(file):
                self.use(first, partial(self.begin_again, first, file))

    def begin_again(self, before: JsonLines, file: Path) -> None:
        """Write into the file that is at a path now, or a new one, instead of the one before.

        Raises:
            OSError: it cannot be written. The one before is kept, to try it again.
        """
        made = JsonLines(file)
        anew = not made.size
        if anew:
            try:
                write_again(made, self.lines)
            except OSError:
                made.close()
                storage.remove(file)
                raise
        before.close()
        self.sinks[0] = made
        if not self.told_gone:
            self.told_gone = True
            self.tell(
                f"{file} is gone: it is written again, with all lines until now"
                if anew
                else f"{file} is another file than that of the run, which goes on at its end"
            )

    def use(self, sink: Sink, work: Callable[[], None]) -> None:
        """Do some work of a sink. One that fails is told about, and but for the first given up."""
        try:
            work()
        except Exception as error:
            first = sink is self.sinks[0]
            if first and not isinstance(error, OSError):
                raise
            what = str(error) if isinstance(error, OSError) else told(error)
            if not first:
                self.sinks = [other for other in self.sinks if other is not sink]
                if work != sink.close:
                    with contextlib.suppress(Exception):
                        sink.close()
                self.tell(f"{sink.name} is not written any more, the run goes on: {what}")
            elif not self.lacking:
                self.lacking = True
                self.tell(f"{sink.name} lacks lines, the run goes on: {what}")

    def write(
        self, step: int, seconds: float, members: Sequence[Mapping[str, float]]
    ) -> list[Mapping[str, Any]]:
        """Write every member's metrics, mean and spread over each arm's seeds; return the lines."""
        self.look()
        named: dict[str, Mapping[str, float]] = {}
        arms: dict[str, list[Mapping[str, float]]] = {}
        for member, values in zip(self.trainer.members, members, strict=True):
            named[member.name] = values
            arms.setdefault(member.arm, []).append(values)
        for arm, own in arms.items():
            if len(own) > 1:
                prefix = f"{arm}." if arm else ""
                named[f"{prefix}mean"], named[f"{prefix}std"] = spread(own)
        lines: list[Mapping[str, Any]] = [
            {"step": step, "seconds": seconds, "member": name, **values}
            for name, values in named.items()
        ]
        self.lines += lines
        for sink in self.sinks:
            for name, values in named.items():
                # Given up meanwhile, it gets nothing more.
                if any(other is sink for other in self.sinks):
                    self.use(sink, partial(sink.write, step, seconds, name, values))
        return lines

    def seconds_at(self, step: int, now: float) -> float:
        """Return how long after its beginning a run was at a step that it has logged."""
        if not self.lines or self.lines[-1]["step"] < step:
            return now
        return max((line["seconds"] for line in self.lines if line["step"] <= step), default=0.0)

    def show(self, step: int, seconds: float, member: str, name: str, media: Media) -> None:
        """Show a text, a picture or a video to the sinks that take some."""
        for sink in self.sinks:
            if isinstance(sink, MediaSink):
                self.use(sink, partial(sink.show, step, seconds, member, name, media))

    @property
    def shows(self) -> bool:
        """Whether a sink takes more than numbers."""
        return any(isinstance(sink, MediaSink) for sink in self.sinks)

    def flush(self) -> None:
        """Have all sinks write through what is pending."""
        self.look()
        for sink in self.sinks:
            self.use(sink, sink.flush)

    def close(self) -> None:
        """Close all sinks."""
        for sink in self.sinks:
            self.use(sink, sink.close)
        self.sinks = []
