"""How long a program may take on this machine: from its arithmetic, and a moment of measuring."""

import itertools
import time

import numpy as np

from qmu import config as options
from qmu.config import Config
from qmu.study.plan import Program
from qmu.world.make import find_maker, maker_of

# The learner reaches about this share of the machine's matrix products; an update of networks
# without size takes so many seconds (docs/decisions/0001-jax.md).
SHARE, OVERHEAD = 0.6, 5e-5
# A program starts and compiles for about this long.
START = 6.0
MEASURED = 0.15


def seconds_of(program: Program, rate: float, step: float) -> float:
    """Return about how many seconds a program takes.

    Args:
        program: the program.
        rate: floating-point operations per second of matrix products here.
        step: seconds that a step of its world takes.
    """
    config, world = program.config, maker_of(program.world.id, program.config.env).spaces
    updates = config.train.updates_per_step * max(
        program.world.total_steps - options.learn_after(config), 0
    )
    work = operations(config, world.obs_size, world.action_size) / (SHARE * rate) + OVERHEAD
    evaluated = 1 + config.train.eval_episodes * 200 / max(config.train.eval_interval, 1)
    return START + program.members * max(
        updates * work, program.world.total_steps * step * evaluated
    )


def operations(config: Config, obs_size: int, action_size: int) -> float:
    """Return the floating-point operations of an update's matrix products.

    Forward, and twice that for a gradient: of the critics at the batch, of the first at the actor's
    actions, of the actor; and forward alone of all targets.
    """
    actor = weights((obs_size, *config.actor.hidden_sizes, action_size))
    critic = weights((obs_size + action_size, *config.critic.hidden_sizes, 1))
    count = config.critic.count
    climbed = 1 if config.actor.climbs == "first" else count
    each = 4 * count * critic + (3 * climbed * critic + 3 * actor) / config.actor.interval + actor
    return 2 * config.replay.batch_size * each


def weights(sizes: tuple[int, ...]) -> int:
    """Return the number of weights of a network with these layers."""
    return sum(below * above for below, above in itertools.pairwise(sizes))


def matrix_rate() -> float:
    """Return the floating-point operations per second of a matrix product, measured."""
    matrix = np.ones((256, 256), np.float32)
    started, done = time.monotonic(), 0
    while time.monotonic() < started + MEASURED:
        np.matmul(matrix, matrix)
        done += 1
    return done * 2 * 256**3 / (time.monotonic() - started)


def step_seconds(name: str) -> float:
    """Return the seconds that a step of an environment takes, measured with random actions."""
    world = find_maker(name).make_one(None)
    try:
        world.reset(seed=0)
        world.action_space.seed(0)
        started, done = time.monotonic(), 0
        while time.monotonic() < started + MEASURED:
            _, _, terminated, truncated, _ = world.step(world.action_space.sample())
            done += 1
            if terminated or truncated:
                world.reset()
        return (time.monotonic() - started) / done
    finally:
        world.close()
