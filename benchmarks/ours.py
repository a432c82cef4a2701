"""Measure qmu in a process of its own, and print one line of JSON.

    python benchmarks/ours.py loop --env HalfCheetah-v5 --hidden 256 256 --batch 256
    python benchmarks/ours.py update --hidden 256 256 --batch 256
    python benchmarks/ours.py first-update

`loop` times a whole training loop after its warm-up, in which random steps, compilation and the
first updates take place, with the hyper-parameters of benchmarks/rivals.py. `update` times the
learner alone, against the time that its matrix products need at the speed of a 256x256x256
product in the same process. `first-update` runs the command until its first update is done.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from typing import Any
from unittest import mock

from process import package_versions, peak_rss_mib, process_age, rate

RANDOM_STEPS = 1000


def plain_ddpg(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The options that the rivals run with too: plain DDPG."""
    network = {"lr": 1e-3, "lr_end": 1, "hidden_sizes": arguments.hidden}
    return {
        "env": {"id": arguments.env},
        "actor": network | {"preactivation_penalty": 0},
        "critic": network | {"count": 1, "norm": "none"},
        "target": {"tau": 0.005, "gamma": 0.99, "smoothing_std": None},
        "explore": {"std": 0.1, "start_steps": RANDOM_STEPS},
        "replay": {"batch_size": arguments.batch, "capacity": 1_000_000, "n_step": 1},
        "train": {
            "updates_per_step": 1,
            "learn_after": RANDOM_STEPS,
            "eval_interval": 0,
            "save_interval": 0,
            "eval_episodes": 1,
            "device": "cpu",
            "seed": arguments.seed,
            "seeds": arguments.members,
        },
    }


def recipe(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a recipe of qmu's own instead, in the same lengths."""
    if arguments.preset is None:
        return plain_ddpg(arguments)
    from qmu.config import reading
    from qmu.presets import read_preset

    plain = plain_ddpg(arguments)
    lengths = {
        "env": plain["env"],
        "explore": {"start_steps": RANDOM_STEPS},
        "replay": {"capacity": 1_000_000},
        "train": plain["train"],
    }
    return reading.merge(read_preset(arguments.preset), lengths)


def measure_loop(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time a whole training loop; rates are summed over the members."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import find_maker

    config = reading.from_dict(recipe(arguments))
    trainer = Trainer(config, find_maker(arguments.env))
    total = arguments.warmup_steps + arguments.steps
    first_update = started = float("nan")
    updates = 0
    for _ in trainer.run(total, evaluating=False):
        if first_update != first_update and trainer.learner.updates:
            trainer.learner.actors(lag=False)
            first_update = process_age()
        if started != started and trainer.step >= arguments.warmup_steps:
            trainer.learner.actors(lag=False)
            started, before, updates = time.perf_counter(), trainer.step, trainer.learner.updates
    trainer.learner.actors(lag=False)
    seconds = time.perf_counter() - started
    steps = trainer.step - before
    if trainer.learner.updates - updates != steps:
        raise SystemExit(f"{trainer.learner.updates - updates} updates in {steps} steps")
    return {
        "env": arguments.env,
        "steps": steps * arguments.members,
        "seconds": seconds,
        "steps_per_second": steps * arguments.members / seconds,
        "seconds_to_first_update": first_update,
        "stream_over_raw": stream_over_raw(trainer),
    }


def stream_over_raw(trainer: Any) -> float:
    """Bytes of the allocated stream, over those of obs, action, reward and two flags a row."""
    spaces, replay = trainer.maker.spaces, trainer.config.replay
    stream = [members.stream for members in trainer.learner.members]
    arrays = [array for one in stream for array in (one.numbers, one.flags, one.head, one.size)]
    raw = 4 * (spaces.obs_size + spaces.action_size + 1) + 2
    held = sum(array.nbytes for array in arrays)
    return held / (raw * replay.capacity * len(trainer.seeds))


def measure_update(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the learner alone, in blocks that alternate with matrix products."""
    import jax
    import jax.numpy as jnp

    from qmu.layout import Layout

    obs_size, action_size, steps = 17, 6, 32
    learner = learner_of(recipe(arguments), Layout(obs_size), action_size)
    rows = random_rows(arguments.members, obs_size, action_size, steps)
    matrix = jnp.eye(256)
    products = 200

    @jax.jit
    def multiply(start: Any) -> Any:
        return jax.lax.fori_loop(0, products, lambda _, left: left @ matrix, start)

    def learn(chunks: int) -> float:
        before = time.perf_counter()
        for _ in range(chunks):
            learner.learn(rows, steps)
        learner.actors(lag=False)
        return chunks * steps * arguments.members / (time.perf_counter() - before)

    def product_rate() -> float:
        before = time.perf_counter()
        multiply(matrix).block_until_ready()
        return products * 2 * 256**3 / (time.perf_counter() - before)

    learn(1)
    product_rate()
    pairs = [(product_rate(), learn(10), product_rate()) for _ in range(arguments.blocks)]
    operations = multiply_adds(arguments.hidden, arguments.batch, obs_size, action_size)
    rates = [rate for _, rate, _ in pairs]
    floors = [(before + after) / 2 / operations for before, _, after in pairs]
    return {
        "updates_per_second": statistics.median(rates),
        "floor_updates_per_second": statistics.median(floors),
        "share_of_floor": statistics.median(
            [rate / floor for rate, floor in zip(rates, floors, strict=True)]
        ),
        "megaflop_per_update": operations / 1e6,
    }


def learner_of(options: dict[str, Any], layout: Any, action_size: int) -> Any:
    """Return what learns with these options, on the CPU, from rows of this layout."""
    from qmu.config import reading
    from qmu.config.members import members_of
    from qmu.learning.devices import find_devices
    from qmu.learning.groups import divide
    from qmu.learning.learner import Learner

    groups = divide(members_of(reading.from_dict(options), {}), find_devices("cpu"))
    return Learner(groups, layout, action_size)


def update_rate(learner: Any, rows: Any, chunk: int, seconds: float) -> float:
    """Return a learner's updates per second, the first ones aside, a chunk of them at a time."""

    def learn() -> int:
        learner.learn(rows, chunk)
        learner.actors(lag=False)
        return chunk

    learn()
    return rate(learn, seconds)


def random_rows(members: int, obs_size: int, action_size: int, steps: int) -> Any:
    """Return the rows of a chunk of one world for each member, all numbers random."""
    import numpy as np

    from qmu.rows import Rows

    random, shape = np.random.default_rng(0), (members, 1, 2 * steps + 1)
    return Rows(
        obs=random.normal(size=(*shape, obs_size)).astype(np.float32),
        action=random.uniform(-1, 1, (*shape, action_size)).astype(np.float32),
        reward=random.normal(size=shape).astype(np.float32),
        terminated=np.zeros(shape, bool),
        last=np.broadcast_to(np.arange(shape[2]) == steps, shape),
        count=np.full(shape[:2], steps, np.int32),
    )


def multiply_adds(hidden: list[int], batch: int, obs_size: int, action_size: int) -> float:
    """Floating-point operations of the matrix products in an update of plain DDPG.

    A forward pass is one product per layer, a backward pass one for the weights and, behind the
    first layer, one for the inputs. Six passes go forward; the critic is differentiated once by
    its weights and once by the action, the actor once by its weights.
    """

    def products(sizes: list[int]) -> list[float]:
        return [2.0 * batch * a * b for a, b in itertools.pairwise(sizes)]

    actor = products([obs_size, *hidden, action_size])
    critic = products([obs_size + action_size, *hidden, 1])
    forward = 2 * sum(actor) + 3 * sum(critic)
    by_weights = sum(actor) + sum(critic)
    by_inputs = sum(actor[1:]) + sum(critic[1:]) + sum(critic)
    return forward + by_weights + by_inputs


def measure_first_update(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the command `qmu train Pendulum-v1` until its first update is done."""
    from qmu import cli
    from qmu.watching import console

    seen: list[float] = []

    class Watch(console.Console):
        def hear(self, event: Any) -> None:
            super().hear(event)
            if self.trainer.learner.updates:
                self.trainer.learner.actors(lag=False)
                seen.append(process_age())
                raise KeyboardInterrupt

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(console, "Console", Watch),
        contextlib.redirect_stdout(sys.stderr),
    ):
        cli.main(["train", "Pendulum-v1", "--log.dir", folder])
    return {"seconds_to_first_update": seen[0]}


MEASURE = {
    "loop": measure_loop,
    "update": measure_update,
    "first-update": measure_first_update,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=MEASURE)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--preset", help="a recipe, instead of plain DDPG with these sizes")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--warmup-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = MEASURE[arguments.what](arguments)
    shared = {"library": "qmu", "peak_rss_mib": peak_rss_mib(), "versions": package_versions()}
    print(json.dumps(shared | result))


if __name__ == "__main__":
    main()
