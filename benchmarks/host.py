"""What a step costs on the host, part by part, beside the learner: for small networks and worlds.

    python benchmarks/host.py                                  # Pendulum-v1, 64-64, batch 64
    python benchmarks/host.py --env HalfCheetah-v5 --hidden 256 256 --batch 256

One process runs the training loop as it is, the learner alone, the host alone (no update is due),
and the parts of the host's step, in blocks that take turns; microseconds per step are medians over
the blocks, with the smallest and the largest. `hand-over` is what is left of a chunk when nobody
acts and no update is due: rows copied to the device, a call, the actor fetched. What the host's
parts do not add up to is bookkeeping: checks, counters, episodes. Nothing else may run beside it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ours import RANDOM_STEPS, plain_ddpg
from process import machine, package_versions, wake_microseconds

# Steps that a part is repeated for in one block.
STEPS = 2000


def trainer_of(options: dict[str, dict[str, Any]]) -> Any:
    """Return a trainer past its random steps, whose learner is compiled and whose actor is old."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import find_maker

    config = reading.from_dict(options)
    trainer = Trainer(config, find_maker(options["env"]["id"]))
    run(trainer, RANDOM_STEPS + 2 * STEPS)
    return trainer


def run(trainer: Any, steps: int) -> None:
    """Train for so many steps, and wait for the learner."""
    for _ in trainer.run(steps, evaluating=False):
        pass
    trainer.learner.settle()


def parts_of(trainer: Any, learning: dict[str, dict[str, Any]]) -> dict[str, Callable[[], int]]:
    """Return what is timed: name -> a function that does something, and says for how many steps."""
    from qmu.world.collector import no_rows

    never = {"learn_after": 100_000_000, "total_steps": 200_000_000}
    idle = trainer_of(learning | {"train": learning["train"] | never})
    config, spaces, learner = trainer.config, trainer.maker.spaces, trainer.learner
    chunk = config.train.chunk
    station = idle.crew.stations[0]
    collector, behaviour = station.collector, station.behaviours[0]
    worlds = collector.members[0]
    environment = worlds.environments[0]
    network = idle.actors(lag=False)[0]
    obs = collector.current[0][0][None]
    started = np.array([False])
    action = np.zeros((1, spaces.action_size), np.float32)
    given = np.zeros(spaces.action_shape, np.float32)
    rows = no_rows((1, 1, 2 * chunk + 2), spaces)
    outcome = worlds.step(action)[0]
    while outcome.terminated or outcome.truncated:
        outcome = worlds.step(action)[0]

    def whole() -> int:
        run(trainer, STEPS)
        return STEPS

    def host() -> int:
        run(idle, STEPS)
        return STEPS

    def updates() -> int:
        for _ in range(STEPS // chunk):
            learner.learn(rows_of_a_chunk(), chunk)
        learner.settle()
        return STEPS // chunk * chunk

    def hand_over() -> int:
        for _ in range(STEPS // chunk):
            idle.learner.learn(rows_of_a_chunk(), 0)
            idle.learner.actors(lag=True)
        idle.learner.settle()
        return STEPS // chunk * chunk

    def rows_of_a_chunk() -> Any:
        empty = no_rows((1, 1, 2 * chunk + 2), spaces)
        empty.last[:, :, 0] = True
        return empty

    def world() -> int:
        environment.reset(seed=0)
        for _ in range(STEPS):
            _, _, terminated, truncated, _ = environment.step(given)
            if terminated or truncated:
                environment.reset()
        return STEPS

    def checked_world() -> int:
        for _ in range(STEPS):
            worlds.step(action)
        return STEPS

    def actor() -> int:
        for _ in range(STEPS):
            network(obs)
        return STEPS

    def acting() -> int:
        behaviour.begin(network, config.explore, 0, (STEPS, 1, spaces.action_size))
        nothing = np.zeros(len(obs), np.float32)
        for time_ in range(STEPS):
            behaviour.act(time_, obs, nothing, started)
        return STEPS

    def written() -> int:
        for _ in range(STEPS // chunk):
            rows.count[:] = 0
            for _ in range(chunk):
                collector.write(rows, 0, 0, obs[0], action[0], outcome, [])
        return STEPS // chunk * chunk

    return {
        "whole loop": whole,
        "learner alone": updates,
        "host alone": host,
        "world": world,
        "world, checked": checked_world,
        "actor": actor,
        "actor and noise": acting,
        "rows written": written,
        "hand-over": hand_over,
    }


def measured(parts: dict[str, Callable[[], int]], blocks: int) -> dict[str, list[float]]:
    """Return the microseconds per step of every part, one per block."""
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(blocks):
        for name, part in parts.items():
            before = time.perf_counter()
            steps = part()
            found[name].append(1e6 * (time.perf_counter() - before) / steps)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    arguments = parser.parse_args()
    arguments.seed, arguments.members = 0, 1
    options = plain_ddpg(arguments)
    wake = wake_microseconds()
    found = measured(parts_of(trainer_of(options), options), arguments.blocks)
    for name, each in found.items():
        print(f"{name:16} {statistics.median(each):8.1f} us  {min(each):8.1f} to {max(each):8.1f}")
    print(json.dumps({"machine": machine(), "wake_microseconds": wake} | package_versions()))


if __name__ == "__main__":
    main()
