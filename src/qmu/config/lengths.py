"""How long a run is, when it begins to learn, and which seeds it has: what follows from options."""

import math

from qmu.config.whole import Config
from qmu.errors import ConfigError

UNLIMITED_STEPS = 2**62


def total_steps(config: Config) -> int:
    """Return the number of steps after which a run ends at the latest."""
    if config.train.total_steps is not None:
        return config.train.total_steps
    return 100_000 if config.train.total_episodes is None else UNLIMITED_STEPS


def schedule_steps(config: Config) -> int | None:
    """Return the number of steps after which what changes with time has reached its end.

    None: nothing changes with time.
    """
    if config.train.schedule_steps is not None:
        return config.train.schedule_steps or None
    return config.train.total_steps


def planned_updates(config: Config) -> float:
    """Return the number of a member's updates in the schedule; infinite without one."""
    steps = schedule_steps(config)
    if steps is None:
        return math.inf
    return config.train.updates_per_step * (steps - learn_after(config))


def start_steps(config: Config) -> int:
    """Return the number of a member's first steps whose actions are random.

    Without a planned end, as in a `qmu.DDPG` or with a number of episodes, they are 1,000.
    """
    if config.explore.start_steps is not None:
        return config.explore.start_steps
    steps = config.train.schedule_steps or config.train.total_steps
    return 1_000 if steps is None else min(steps // 20, 10_000)


def learn_after(config: Config) -> int:
    """Return the number of steps of a member before its first update."""
    if config.train.learn_after is not None:
        return config.train.learn_after
    return max(start_steps(config), config.replay.batch_size)


def stream_rows(config: Config, images: bool) -> int:
    """Return the rows that a member's stream has room for.

    With images it is no longer than the run can fill, the rows of episodes' ends included where
    these have four steps or more. Where batches are drawn by priorities, whose tree would have to
    grow with it, it has the whole capacity.
    """
    capacity = config.replay.capacity
    if not images or config.replay.by_priority:
        return capacity
    steps = total_steps(config)
    return min(capacity, max(steps + steps // 4, 2 * config.env.count, config.replay.n_step))


def batch_rows(config: Config) -> int:
    """Return the rows that an update draws: transitions, or the beginnings of sequences."""
    own = config.critic.batches == "own"
    return config.replay.batch_size * (config.critic.count if own else 1)


def stored_numbers(config: Config) -> int:
    """Return the numbers of states that are stored with a row: those of both memories, or none."""
    memory = config.memory
    return 2 * memory.size if memory.used and memory.start == "stored" else 0


def seeds(config: Config) -> tuple[int, ...]:
    """Return the members' seeds: the first one and those that follow it."""
    return tuple(range(config.train.seed, config.train.seed + config.train.seeds))


def check_lengths(config: Config) -> None:
    """Raise ConfigError where the run, or its schedule, is over before something has begun."""
    train, steps = config.train, total_steps(config)
    if start_steps(config) > steps:
        raise ConfigError(
            f"--explore.start-steps {start_steps(config)} lies beyond --train.total-steps "
            f"{steps}: the policy would never act; lower the one or raise the other"
        )
    if train.updates_per_step > 0 and learn_after(config) >= steps:
        raise ConfigError(
            f"learning begins after step {learn_after(config)} (--train.learn-after, or the larger "
            f"of --explore.start-steps and --replay.batch-size), and --train.total-steps is "
            f"{steps}: nothing would be learned; lower the one or raise the other"
        )
    if 0 < train.updates_per_step * (steps - learn_after(config)) < 1:
        raise ConfigError(
            f"--train.updates-per-step {train.updates_per_step} makes no update in "
            f"--train.total-steps {steps}: raise one of them"
        )
    horizon = schedule_steps(config)
    if train.updates_per_step > 0 and horizon is not None and learn_after(config) >= horizon:
        raise ConfigError(
            f"learning begins after step {learn_after(config)}, and --train.schedule-steps is "
            f"{horizon}: learning rates would have fallen before; raise --train.schedule-steps"
        )


def check_saves(config: Config, world: str, longest: int | None) -> None:
    """Raise ConfigError if saves cut every episode off, and the run is to end after some.

    In the only world they wait for the end of one. `longest` is the world's own time limit.
    """
    steps = config.train.save_interval
    if config.train.total_episodes is None or not steps or longest is None or config.env.single:
        return
    if steps < longest * config.env.count:
        raise ConfigError(
            f"--train.save-interval {steps} cuts episodes of {world} off, which may take "
            f"{longest} steps in each of its worlds ({config.env.count}), and "
            "--train.total-episodes waits for their ends: raise the interval"
        )
