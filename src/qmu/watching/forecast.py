"""How long the rest of a run takes, by the time that its steps and its evaluations have taken."""

from collections import Counter
from typing import NamedTuple

from qmu.collecting.evaluate import LONGEST_EPISODE
from qmu.config import Config
from qmu.learning.events import Evaluated, Event, Progress
from qmu.learning.needs import Rates, Seconds, seconds_of, work_left
from qmu.wording import duration

# Seconds and chunks that have to be timed before anything is said.
TIMED, CHUNKS = 5.0, 8
# Chunks that are not timed: they wait for compilation, or for nothing yet.
FIRST = 2
# After so many seconds what was timed counts half: others may take or leave the processors.
HALF_LIFE = 60.0
# A rest of fewer seconds is not worth a line; of evaluations that were not timed in so many seconds
# nothing is said.
SHORT, PATIENCE = 10.0, 20.0
# How much longer the rest may take, in shares of itself, before that is said, too.
LONGER = 0.2


class Pace(NamedTuple):
    """Seconds, and the steps that they were taken by; what lies back counts less and less."""

    seconds: float = 0.0
    steps: float = 0.0

    def after(self, seconds: float, steps: float) -> "Pace":
        """Return the pace after so many more steps, which have taken so many seconds."""
        kept = 0.5 ** (seconds / HALF_LIFE)
        return Pace(kept * self.seconds + seconds, kept * self.steps + steps)

    @property
    def step(self) -> float:
        """The seconds of a step; 0 if there was none."""
        return self.seconds / self.steps if self.steps else 0.0


class Forecast:
    """Listens to a run's events, and to the clock.

    What is done for the first time since learning began is compiled first, and is not timed.
    """

    def __init__(
        self, config: Config, longest: int | None, step: int, learning_began: int, compiled: bool
    ) -> None:
        """Begin without knowing anything.

        Args:
            config: the run's options.
            longest: steps of an episode at most, if that is known.
            step: that the members have reached.
            learning_began: the step after which updates are due.
            compiled: whether actors act without having been compiled; if not, the first evaluation
                is not timed.
        """
        self.config, self.step, self.learning_began = config, step, learning_began
        self.longest = longest or LONGEST_EPISODE
        self.evaluations_to_skip = 0 if compiled else 1
        self.moment: float | None = None
        # The steps of evaluations, and how many of them the newest one's episodes had.
        self.evaluating, self.length = Pace(), 0.0
        self.evaluated_at = -1
        self.learning = False
        self.begin()

    def begin(self) -> None:
        """Time steps anew."""
        self.seen: Counter[type] = Counter()
        self.training, self.timed = Pace(), 0.0

    def hear(self, event: Event, moment: float) -> None:
        """Take note of an event, and of the moment in seconds when it is heard."""
        since = 0.0 if self.moment is None else moment - self.moment
        self.moment = moment
        steps = event.step - self.step
        self.step = event.step
        if not self.learning and self.updates_due():
            self.learning = True
            self.begin()
        if isinstance(event, Evaluated):
            since -= event.seconds
            self.evaluated_at = event.step
            self.note(event)
        self.seen[type(event)] += 1
        if self.seen[type(event)] > (FIRST if isinstance(event, Progress) else 1):
            self.training = self.training.after(since, steps)
            self.timed += since

    def updates_due(self) -> bool:
        """Tell whether the steps that are being taken have updates."""
        return bool(self.config.train.updates_per_step) and self.step > self.learning_began

    def note(self, event: Evaluated) -> None:
        """Take note of how long an evaluation has taken."""
        if self.evaluations_to_skip:
            self.evaluations_to_skip -= 1
            return
        # Of all members: a step of evaluations is one of each.
        self.length = sum(score.mean_length for score in event.scores) / len(event.scores)
        steps = self.config.train.eval_episodes * self.length
        self.evaluating = self.evaluating.after(event.seconds, steps)

    @property
    def has_evaluated(self) -> bool:
        """Whether an evaluation was timed."""
        return self.evaluating.steps > 0

    def left(self) -> Seconds | None:
        """Return how long the rest takes if episodes of evaluations last as long as the last ones.

        What evaluations take is 0 as long as none was timed. None before enough was timed, and
        where the run ends after some number of episodes.
        """
        config = self.config
        if config.train.total_episodes is not None or not self.training.steps:
            return None
        if self.timed < TIMED or self.seen[Progress] < FIRST + CHUNKS:
            return None
        work = work_left(config, self.step, self.learning_began)
        if work.learning and not self.learning:
            return None
        if self.evaluated_at == self.step and not work.collecting + work.learning:
            work = work._replace(episodes=config.train.final_episodes)
        step = self.training.step
        return seconds_of(work, Rates(step, step, self.length * self.evaluating.step))

    def at_most(self, left: Seconds) -> Seconds:
        """Return how long the rest takes if episodes of evaluations last as long as they may."""
        if not self.has_evaluated:
            return left
        return left._replace(evaluations=left.evaluations * self.longest / self.length)

    def lines(self) -> list[str]:
        """Return in words what can be said about the rest by now; nothing if that is little."""
        left = self.left()
        if left is None or left.total < SHORT:
            return []
        if not self.has_evaluated:
            said = f"about {duration(left.training)} of training left, without evaluations"
            return [said] if self.timed > PATIENCE else []
        said = (
            f"about {duration(left.total)} left: {duration(left.training)} of training, "
            f"{duration(left.evaluations)} of evaluations"
        )
        most = self.at_most(left)
        if most.total > (1 + LONGER) * left.total:
            said += f", up to {duration(most.evaluations)} if their episodes get longer"
        if not 0 < left.training < left.evaluations:
            return [said]
        return [
            said,
            f"evaluations have {100 * left.evaluations / left.total:.0f}% of it: raise "
            "--train.eval-interval, or lower --train.eval-episodes, --train.final-episodes or "
            "--env.episode-length",
        ]
