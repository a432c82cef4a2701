"""What a trainer tells while it goes on."""

from typing import NamedTuple

from qmu.deploy.policy import Acts
from qmu.training.evaluate import Score
from qmu.training.members import Member


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


Event = Progress | Logged | Evaluated | Due | Replaced
