"""What a program of the user's own is told while a training goes on, and how it ends one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qmu import config as options
from qmu.collecting.evaluate import Score
from qmu.deploy.policy import Policy
from qmu.errors import ConfigError
from qmu.learning.events import Evaluated, Event, Logged, Progress
from qmu.learning.handover import policy_of
from qmu.learning.loop import Trainer


@dataclass(frozen=True)
class Stop:
    """What a callback returns to end a training, and why."""

    reason: str


@dataclass(frozen=True)
class Moment:
    """Where a training is. It stays what it is while the training goes on.

    Attributes:
        step: steps that each member has taken.
        total_steps: steps after which the training ends at the latest; None without such a number.
        members: the members' names, such as `seed-0`; the keys of everything below.
        metrics: each member's newest line of metrics, as docs/metrics.md explains them; empty
            before the first.
        scores: each member's newest evaluation; empty before the first.
    """

    step: int
    total_steps: int | None
    members: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, Score]
    newest: Callable[[], list[Policy]] = field(repr=False, compare=False)

    def policies(self) -> dict[str, Policy]:
        """Return each member's policy of this moment; waits until the learner has got there."""
        return dict(zip(self.members, self.newest(), strict=True))


class Callback:
    """Something that is told what happens in a training: derive from it what you need.

    Each method returns None to go on, or `qmu.Stop("why")` to end the training as if it had come to
    its last step: it is evaluated, saved and scored. What is raised in it ends the run as any other
    error does, with what was learned until then saved. A callback that only looks changes nothing
    about what is learned.
    """

    def on_chunk(self, moment: Moment) -> Stop | None:
        """Hear that `train.chunk` more steps of every world have been handed to the learner."""

    def on_evaluation(self, moment: Moment) -> Stop | None:
        """Hear that all members have been evaluated: `moment.scores` are those scores."""

    def on_save(self, moment: Moment, folder: Path) -> Stop | None:
        """Hear that a checkpoint has been written into this folder."""


# What a callback may hear.
HEARD = ("on_chunk", "on_evaluation", "on_save")


class Listeners:
    """The callbacks of one training, and whether one of them has ended it."""

    def __init__(
        self,
        callbacks: Sequence[Callback],
        trainer: Trainer,
        end: int,
        scores: Sequence[Score] = (),
    ) -> None:
        """Take the callbacks, the step of the end, and the scores before the first evaluation."""
        self.callbacks, self.trainer = callbacks, trainer
        self.end = None if end >= options.UNLIMITED_STEPS else end
        self.names = tuple(member.name for member in trainer.members)
        self.metrics: Mapping[str, Mapping[str, float]] = MappingProxyType({})
        self.scores: Mapping[str, Score] = self.named(scores) if scores else MappingProxyType({})
        self.stop: Stop | None = None
        self.stopped_by: str | None = None

    def stopped(self) -> bool:
        """Tell whether a callback has ended the training."""
        return self.stop is not None

    def why(self) -> str | None:
        """Return which callback has ended the training, and why; None if none has."""
        return None if self.stop is None else f"{self.stopped_by}: {self.stop.reason}"

    def hear(self, event: Event) -> None:
        """Tell the callbacks of an event that has been written down."""
        if isinstance(event, Logged):
            self.metrics = self.named([MappingProxyType(dict(own)) for own in event.members])
        elif isinstance(event, Progress):
            self.ask("on_chunk")
        elif isinstance(event, Evaluated):
            self.scores = self.named(event.scores)
            self.ask("on_evaluation")

    def saved(self, folder: Path) -> None:
        """Tell the callbacks of a checkpoint."""
        self.ask("on_save", folder)

    def named(self, values: Sequence[Any]) -> Mapping[str, Any]:
        """Return the members' values by their names, not to be changed."""
        return MappingProxyType(dict(zip(self.names, values, strict=True)))

    def ask(self, method: str, *arguments: Any) -> None:
        """Call a method of every callback, and hear whether the training is to end.

        Raises:
            TypeError: it returned something else than None or a `Stop`.
        """
        if not self.callbacks:
            return
        moment = self.moment()
        for callback in self.callbacks:
            name = f"{type(callback).__name__}.{method}"
            try:
                answer: object = getattr(callback, method)(moment, *arguments)
                if answer is not None and not isinstance(answer, Stop):
                    raise TypeError(
                        f"{name} returned {answer!r}: return None to go on, or qmu.Stop('why')"
                    )
            except BaseException as error:
                error.add_note(f"raised in the callback {name} at step {moment.step}")
                raise
            if isinstance(answer, Stop) and self.stop is None:
                self.stop, self.stopped_by = answer, name

    def moment(self) -> Moment:
        """Return where the training is."""
        trainer = self.trainer
        step, actors = trainer.step, list(trainer.learner.newest)

        def newest() -> list[Policy]:
            networks = trainer.checked(trainer.learner.networks(actors))
            maker = trainer.maker
            return [
                policy_of(network, maker.spaces, **maker.made, seed=member.seed, step=step)
                for member, network in zip(trainer.members, networks, strict=True)
            ]

        return Moment(step, self.end, self.names, self.metrics, self.scores, newest)


def check_callbacks(callbacks: object) -> None:
    """Raise ConfigError unless these are callbacks."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise ConfigError(f"callbacks must be a list of qmu.Callback objects, not {callbacks!r}")
    for one in callbacks:
        if isinstance(one, type) and issubclass(one, Callback):
            raise ConfigError(
                f"callbacks holds the class {one.__name__} itself: make one of it, {one.__name__}()"
            )
        if not isinstance(one, Callback):
            raise ConfigError(
                f"callbacks holds {one!r}, which is none: derive its class from qmu.Callback"
            )
        for name in dir(type(one)):
            if name.startswith("on_") and name not in HEARD:
                raise ConfigError(
                    f"{type(one).__name__}.{name} would never be called: the methods of a "
                    f"qmu.Callback are {', '.join(HEARD)}; name it as one of them, or without on_"
                )
