"""What a trainer tells while it goes on."""

import math
from typing import NamedTuple

from qmu.collecting.evaluate import Score
from qmu.config.members import Member
from qmu.deploy.policy import Acts
from qmu.wording import counted
from qmu.world.breakdowns import Breakdown


class Progress(NamedTuple):
    """A chunk has been collected and handed to the learner."""

    step: int


class Logged(NamedTuple):
    """Metrics of each member since the last such event."""

    step: int
    members: list[dict[str, float]]


class Evaluated(NamedTuple):
    """Scores and actors of each member, and what the critic had made of those episodes.

    The episodes took so many `seconds`.
    """

    step: int
    scores: list[Score]
    actors: list[Acts]
    health: list[dict[str, float]]
    seconds: float


class Due(NamedTuple):
    """A scheduled save is due of these actors."""

    step: int
    actors: list[Acts]


class Replaced(NamedTuple):
    """A member's world has failed, and there is another one in its place."""

    step: int
    member: Member
    why: str


class Broken(NamedTuple):
    """The simulation of a member's world has begun anew by itself, in training or evaluation."""

    step: int
    member: Member
    breakdown: Breakdown
    evaluating: bool

    @property
    def told(self) -> str:
        """What a person is told."""
        _, world, first, cause, steps = self.breakdown
        where = f"in the evaluation at step {first}" if self.evaluating else f"at step {first}"
        more = f" (inside of {counted(steps, 'step')} until now)" if steps > 1 else ""
        what = (
            "Nothing is learned from that, but the score has it"
            if self.evaluating
            else "That is learned as what the action led to"
        )
        return (
            f"the simulation of world {world} of {self.member.label} began anew by itself inside "
            f"of a step, {where}{more}: {cause}. {what}. "
            "Try weaker actuators (gear), a shorter timestep or more damping in the model, or end "
            "the episode before"
        )


Event = Progress | Logged | Evaluated | Due | Replaced | Broken


class Best(NamedTuple):
    """A member's best policy so far, by the mean of an evaluation."""

    mean: float = -math.inf
    step: int = 0
    actor: Acts | None = None

    def or_better(self, event: Evaluated, index: int) -> "Best":
        """Return what is best after an evaluation of member `index`: this one, or the new one.

        Of equals it is the latest: where a world has a highest score, it has held out longest.
        """
        mean = event.scores[index].mean
        return Best(mean, event.step, event.actors[index]) if mean >= self.mean else self
