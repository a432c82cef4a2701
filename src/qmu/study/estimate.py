"""How long a program may take on this machine: from its arithmetic, and a moment of measuring.

What is measured is this process's processor time, which leaves out what others take, in the fastest
of several samples: others slow down what they leave, too. On two cores with other work on both, a
matrix product still took 1.8 times as long as on quiet ones.
"""

import itertools
import math
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from qmu import config as options
from qmu.agent.convolution import SIDE, output_side
from qmu.agent.encoder import CHANNELS, STRIDES, feature_count
from qmu.agent.memory import state_size
from qmu.collecting.evaluate import LONGEST_EPISODE
from qmu.config import Config
from qmu.layout import Layout
from qmu.learning.needs import Rates, learning_step, seconds_of, work_left
from qmu.study.plan import Program
from qmu.world.hearing import stepping
from qmu.world.make import Maker

# The learner reaches about this share of one core's matrix products: ten members with 256-256 in
# benchmarks/results/learning-*.json. An update of networks without size takes so many seconds
# (docs/decisions/0001-jax.md).
SHARE, OVERHEAD = 0.85, 5e-5
# And convolutions on two cores: 38 to 60 GFLOP/s where a core has 230 in products.
SHARE_OF_CONVOLUTIONS = 0.22
# Seconds of a step beside the world's own: acting, and keeping what was seen.
ACTING = 1e-5
# A program starts and compiles for about this long.
START = 10.0
# Seconds of processor time of a sample, and samples.
SAMPLE, SAMPLES = 0.05, 10


def program_seconds(program: Program, maker: Maker, rate: float, step: float) -> float:
    """Return about how many seconds a program takes, if every episode lasts as long as it may.

    Args:
        program: the program.
        maker: makes its worlds.
        rate: floating-point operations per second of matrix products on one core here.
        step: seconds that a step of its world takes.
    """
    config, spaces = program.config, maker.spaces
    layout = spaces.layout
    seen = feature_count(layout.seen_numbers, len(layout.images), config.encoder)
    update = operations(config, seen, spaces.action_size) / (SHARE * rate) + OVERHEAD
    update += encoding(config, layout) / (SHARE_OF_CONVOLUTIONS * rate)
    longest = config.env.actions(config.env.episode_length) or maker.longest or LONGEST_EPISODE
    acting = step + ACTING
    train = config.train
    learning = learning_step(acting, update, train.updates_per_step, train.overlap)
    work = work_left(config, 0, options.learn_after(config))
    each = seconds_of(work, Rates(acting, learning, longest * acting))
    return START + program.members * each.total


def operations(config: Config, obs_size: int, action_size: int) -> float:
    """Return the floating-point operations of an update's matrix products.

    Forward, and twice that for a gradient: of the critics at the batch, of the first at the actor's
    actions, of the actor; and forward alone of all targets. So it is with their memories.
    """
    memory = config.memory
    recalled = 0.0
    if memory.used:
        sizes = {"observation": obs_size, "action": action_size, "reward": 1}
        gates = 3 * memory.size if memory.kind == "gru" else 2 * memory.size
        own = memory.size if memory.kind == "gru" else 0
        fed = sum(sizes[name] for name in memory.fed)
        # Of the critics, of the actor where it is its turn; forward alone of both targets.
        recalled = (fed + own) * gates * (4 + 3 / config.actor.interval + 1)
    obs_size += state_size(memory)
    actor = weights((obs_size, *config.actor.hidden_sizes, action_size))
    critic = weights((obs_size + action_size, *config.critic.hidden_sizes, 1))
    count = config.critic.count
    climbed = 1 if config.actor.climbs == "first" else count
    each = 4 * count * critic + (3 * climbed * critic + 3 * actor) / config.actor.interval + actor
    return 2 * config.replay.batch_size * steps(config) * (each + recalled)


def steps(config: Config) -> int:
    """Return the steps of a sequence; one, where batches are of single transitions."""
    return config.memory.sequence if config.memory.used else 1


def encoding(config: Config, layout: Layout) -> float:
    """Return the floating-point operations of an update's convolutions; none without images.

    Forward and twice that for their gradient, and forward alone of the target's.
    """
    strides, total = STRIDES[config.encoder.kind], 0
    for *sides, channels in layout.seen_images:
        for stride in strides:
            sides = [output_side(side, stride) for side in sides]
            total += math.prod(sides) * SIDE**2 * channels * CHANNELS
            channels = CHANNELS
        total += math.prod(sides) * channels * config.encoder.features
    return 2 * config.replay.batch_size * steps(config) * 4 * total


def weights(sizes: tuple[int, ...]) -> int:
    """Return the number of weights of a network with these layers."""
    return sum(below * above for below, above in itertools.pairwise(sizes))


def matrix_rate() -> float:
    """Return the floating-point operations per second of a matrix product on one core, measured."""
    matrix = np.ones((256, 256), np.float32)
    with threadpool_limits(limits=1, user_api="blas"):
        return 2 * 256**3 / fastest(lambda: np.matmul(matrix, matrix))


@stepping()
def step_seconds(maker: Maker) -> float:
    """Return the seconds that a step of a world takes, measured with random actions.

    Raises:
        WorldError: the world raised, or returned something impossible.
    """
    worlds = maker.evaluation_worlds(1, False)
    try:
        worlds.start(0, 0)
        space = worlds.environments[0].action_space
        space.seed(0)
        actions = itertools.cycle([np.ravel(space.sample()) for _ in range(100)])

        def step() -> None:
            result = worlds.execute(0, next(actions))
            if result.terminated or result.truncated:
                worlds.start(0, None)

        return fastest(step)
    finally:
        worlds.close()


def fastest(do: Callable[[], object]) -> float:
    """Return the seconds of processor time that doing something takes, in the fastest sample."""
    samples = []
    for _ in range(SAMPLES):
        started, done = time.thread_time(), 0
        while time.thread_time() < started + SAMPLE:
            do()
            done += 1
        samples.append((time.thread_time() - started) / done)
    return min(samples)
