"""The videos of a run: episodes of the actors at evaluations."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from qmu.learning.events import Evaluated
from qmu.learning.loop import SELECTION_SEEDS, Trainer, crossed
from qmu.records.directory import VIDEOS
from qmu.saving import storage
from qmu.watching.play import SHOWN_STEPS
from qmu.watching.video import ENDING, BrokenOffError, film, stage
from qmu.world.host import HostWorlds


class Filmed(NamedTuple):
    """A video of a member, at a step of the run."""

    step: int
    member: str
    path: Path


class Camera:
    """Films the first seed of each arm, in a world of its own that training knows nothing of."""

    def __init__(self, trainer: Trainer) -> None:
        """Make the world, if videos are asked for.

        Raises:
            ConfigError: no video can be made here.
        """
        self.trainer = trainer
        self.interval = trainer.config.log.video_interval
        self.worlds: HostWorlds | None = self.stage() if self.interval else None
        self.told = False
        # Whether somebody wants the run to end now: filming takes a while.
        self.stopped: Callable[[], bool] = lambda: False
        arms: dict[str, int] = {}
        for index, member in enumerate(trainer.members):
            arms.setdefault(member.arm, index)
        self.filmed = tuple(arms.values())

    def stage(self) -> HostWorlds:
        """Return a new world to film in."""
        return stage(self.trainer.maker, self.trainer.guard)

    def due(self, before: int, step: int) -> bool:
        """Tell whether an evaluation is filmed; `before` is the step of the one before it."""
        return crossed(before, step, self.interval)

    def shoot(
        self, directory: Path, event: Evaluated, tell: Callable[[str], None]
    ) -> Iterator[Filmed]:
        """Yield the videos of an evaluation: each shows the first of its episodes.

        One that cannot be made is told about, once; the next one is tried again.
        """
        for index in self.filmed:
            member = self.trainer.members[index].name
            path = directory / VIDEOS / f"{member}-{event.step:09d}{ENDING}"
            try:
                self.worlds = self.worlds or self.stage()
                film(
                    event.actors[index],
                    self.worlds,
                    [SELECTION_SEEDS],
                    path,
                    SHOWN_STEPS,
                    self.stopped,
                )
            except BrokenOffError:
                return
            except Exception as error:
                self.close()
                if not self.told:
                    self.told = True
                    tell(f"no video of step {event.step}, the run goes on: {error}")
                continue
            yield Filmed(event.step, member, path)

    def taken(self, directory: Path) -> list[Filmed]:
        """Return the videos of the members that there are, the oldest first."""
        names = {member.name for member in self.trainer.members}
        found = []
        for path in (directory / VIDEOS).glob(f"*{ENDING}"):
            member, _, step = path.stem.rpartition("-")
            if member in names and step.isdecimal():
                found.append(Filmed(int(step), member, path))
        return sorted(found)

    def take_back(self, directory: Path, step: int) -> None:
        """Remove the videos of later steps."""
        for one in self.taken(directory):
            if one.step > step:
                storage.remove(one.path)
        for path in storage.unfinished_in(directory / VIDEOS):
            storage.remove(path)

    def close(self) -> None:
        """Close the world."""
        if self.worlds is not None:
            self.worlds.close()
            self.worlds = None
