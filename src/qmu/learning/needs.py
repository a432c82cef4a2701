"""What a run needs, as arithmetic: bytes of memory and of disk, and seconds.

Nothing is measured here. What a study guesses and what a run has timed are both `Rates`.
"""

from typing import NamedTuple

from qmu import config as options
from qmu.config import Config
from qmu.replay.priority import priorities_bytes
from qmu.replay.stream import ring_length, row_bytes, stream_bytes
from qmu.world.spaces import Spaces

# What a member's line of metrics takes, in `metrics.jsonl` and in the event files, and what one of
# an evaluation does.
LINE, SCORES = 3 * 2**10, 2**10


class Work(NamedTuple):
    """What a member still has to do: steps without updates, steps with them, whole episodes."""

    collecting: int
    learning: int
    episodes: int


class Rates(NamedTuple):
    """Seconds that each takes: a step without updates, one with them, an evaluation's episode."""

    collecting: float
    learning: float
    episode: float


class Seconds(NamedTuple):
    """How long training takes, and how long evaluations do, the last ones included."""

    training: float
    evaluations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.training + self.evaluations


class Disk(NamedTuple):
    """Bytes on the disk: what checkpoints take for sure, and all else but videos, at most."""

    surely: int
    perhaps: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.surely + self.perhaps


def ring_bytes(config: Config, spaces: Spaces, members: int) -> int:
    """Return the bytes of all members' rings, priorities included; they are taken at the start."""
    capacity, worlds = options.stream_rows(config, bool(spaces.layout.images)), config.env.count
    states = options.stored_numbers(config)
    taken = stream_bytes(capacity, members, worlds, spaces.layout, spaces.action_size, states)
    if config.replay.by_priority:
        slots = worlds * ring_length(capacity, worlds)
        taken += priorities_bytes(members, slots, config.replay.fade is not None)
    return taken


def disk_bytes(config: Config, spaces: Spaces, members: int, agents: int, policies: int) -> Disk:
    """Return what a run writes to the disk, at most.

    A save is written before an older one is removed. Rows that the rings have lost stay as long as
    a checkpoint that is kept has them. Of a checkpoint that is not kept the policies stay.

    Args:
        config: the run's options.
        spaces: of its worlds.
        members: how many there are.
        agents: bytes of all members' agents, with their optimizers and priorities.
        policies: bytes of all members' policies.
    """
    train = config.train
    steps = options.total_steps(config)
    at_once = train.keep_checkpoints + 1
    rows = min(steps, options.stream_rows(config, bool(spaces.layout.images)))
    lost = min(steps - rows, at_once * train.save_interval)
    if not train.save_rows:
        rows = lost = 0
    states = options.stored_numbers(config)
    row = members * row_bytes(spaces.layout, spaces.action_size, states)
    if steps == options.UNLIMITED_STEPS:
        # How many saves and lines there will be is not known: there is one save at least.
        saves, lines = 1, 0
    else:
        saves = -(-steps // train.save_interval) if train.save_interval else 1
        lines = steps // config.log.interval * LINE + evaluations(config, 0, steps) * SCORES
    known = train.total_episodes is None
    agents_kept = min(saves, at_once) * agents
    # The best policies of the members and of the run; each checkpoint's newest and, kept, best.
    policies_kept = (2 + saves + min(saves, at_once)) * policies
    written = (rows + lost) * row + agents_kept + policies_kept + members * lines
    surely = rows * row + agents_kept if known else agents
    return Disk(surely, written - surely)


def work_left(config: Config, step: int, learning_began: int) -> Work:
    """Return what is left to do from a step on until the run's last step.

    Args:
        config: the run's options.
        step: that its members have reached.
        learning_began: the step after which updates are due.
    """
    train, worlds = config.train, config.env.count
    # Every world takes a step at a time.
    end = step + -(-max(options.total_steps(config) - step, 0) // worlds) * worlds
    learning = max(end - max(step, learning_began), 0) if train.updates_per_step else 0
    episodes = evaluations(config, step, end) * train.eval_episodes + train.final_episodes
    return Work(end - step - learning, learning, episodes)


def evaluations(config: Config, step: int, end: int) -> int:
    """Return how many evaluations there are after a step until the end, the one there included."""
    if not config.train.eval_interval:
        return 0
    worlds = config.env.count
    every = max(config.train.eval_interval, worlds)
    # Chunks end where a multiple is reached, or less than a step of all worlds beyond.
    return end // every - step // every + int(end % every >= worlds)


def seconds_of(work: Work, rates: Rates) -> Seconds:
    """Return how long the work takes."""
    training = work.collecting * rates.collecting + work.learning * rates.learning
    return Seconds(training, work.episodes * rates.episode)


def learning_step(step: float, update: float, updates_per_step: float, overlap: bool) -> float:
    """Return the seconds of a step with its updates: one beside the other, or one after it."""
    due = updates_per_step * update
    return max(step, due) if overlap else step + due
