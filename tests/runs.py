"""Small runs for the fault tests, and what is compared of two of them."""

import json
import os
from pathlib import Path

import numpy as np

import qmu
from qmu.config import reading
from qmu.runs.idle import INSTEAD, UNLOGGED
from qmu.saving import store

SMALL = {
    "env": {"episode_length": 30},
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"capacity": 300, "batch_size": 8},
    "explore": {"start_steps": 20},
    "train": {
        "total_steps": 240,
        "schedule_steps": 240,
        "save_interval": 60,
        "eval_interval": 40,
        "eval_episodes": 1,
        "final_episodes": 1,
        "chunk": 8,
    },
    "log": {"tensorboard": False, "interval": 50},
}


def count(bounded, full):
    """Return how often something is tried: bounded, or in full with QMU_FAULTS=full."""
    return full if os.environ.get("QMU_FAULTS") == "full" else bounded


def options(folder, changes=()):
    """Return the options of a small run in this folder, with some changed."""
    return reading.merge(reading.merge(SMALL, {"log": {"dir": str(folder)}}), dict(changes))


def train(folder, world="Pendulum-v1", **changes):
    """Train a small run, and return its directory."""
    return qmu.train(world, **options(folder, changes)).directory


def only_run(folder):
    """Return the directory of the only run below a folder."""
    (file,) = Path(folder).glob("*/*/run.json")
    return file.parent


def checkpoints(directory):
    """Return the folders of a run's checkpoints that can be gone on from, the newest first."""
    return store.complete(Path(directory) / "checkpoints")


def final_state(directory):
    """Return everything that a run's newest checkpoint holds, as bytes and JSON."""
    saved = store.read_checkpoint(checkpoints(directory)[0])
    arrays = {name: value.tobytes() for name, value in saved.arrays.items()}
    state = {name: value for name, value in saved.state.items() if name not in NOT_COMPARED}
    return arrays, state, stream(saved, Path(directory) / "checkpoints" / store.SEGMENTS)


# What a run knows of its own way, of the clock, and of files.
NOT_COMPARED = ("config", "seconds", "metrics_bytes")


def stream(saved, folder):
    """Return member, world -> number of a row -> its bytes, as the segments hold them."""
    rows = {}
    for segment in saved.segments:
        from safetensors.numpy import load_file

        held = load_file(folder / segment.entry.name)
        start = 0
        for part in segment.parts:
            own = rows.setdefault((part.member, part.world), {})
            for index in range(part.rows):
                numbers, flags = held["numbers"][start + index], held["flags"][start + index]
                own[part.first + index] = numbers.tobytes() + bytes([flags])
            start += part.rows
    length = saved.state["config"]["replay"]["capacity"]
    return {
        place: {number: own[number] for number in sorted(own)[-length:]}
        for place, own in rows.items()
    }


def metrics(directory):
    """Return a run's lines of metrics without what the clock says."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if not name.startswith(("time/", "seconds"))}
        for line in lines
    ]


def weights(directory, seed=0):
    """Return the best policy's weights of a member."""
    return [np.asarray(one) for one in qmu.open_run(directory).policy(seed).network.weights]


def of_a_model(options):
    """Return a run's options without those that a model which writes no run refuses."""
    refused = {("log", "dir"), *INSTEAD, *UNLOGGED}
    return {
        group: {name: value for name, value in values.items() if (group, name) not in refused}
        for group, values in options.items()
    }


def saved_half_way(folder, world="Pendulum-v1", steps=120, *, base, **changes):
    """Train for so many of 120 planned steps, saved after 60, with options on top of a base."""
    given = reading.merge(options(folder, base), {"train": {"save_interval": 60}})
    given = reading.merge(given, {"train": {"schedule_steps": 120, "total_steps": steps}})
    return qmu.train(world, **reading.merge(given, changes))


def arrays_of(run):
    """Return the arrays of the last member's best policy."""
    return run.read_policy(run.directory / "best" / run.members[-1].name).arrays()


def assert_same(ours, theirs):
    """Assert that two policies' arrays are the same to the bit."""
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def assert_goes_on(train, folder, kind, env=None):
    """Assert that a run stopped half way ends as a whole one does; return its policy's arrays."""
    whole = arrays_of(train(folder / "whole", **kind))
    part = train(folder / "part", steps=60, **kind)
    assert_same(whole, arrays_of(qmu.resume(part.directory, env=env, total_steps=120)))
    return whole


def assert_same_elsewhere(train, folder, kind):
    """Assert that worlds in two processes lead to the policy of worlds in the run's own."""

    def one(workers):
        own = reading.merge(kind, {"env": {"workers": workers}})
        return arrays_of(train(folder / str(workers), **own))

    assert_same(one(0), one(2))


def assert_acts_alone(run, environment):
    """Assert that a run's policy alone, one observation a call, returns what `evaluate` says."""
    policy = run.policy()
    score = run.evaluate(2, first_episode_seed=7)
    returns = []
    for episode in range(2):
        policy.reset()
        obs, _ = environment.reset(seed=7 + episode)
        total, reward, ended = 0.0, None, False
        while not ended:
            obs, reward, _, ended, _ = environment.step(policy(obs, reward))
            total += float(reward)
        returns.append(total)
    np.testing.assert_allclose(score.rewards, returns, rtol=1e-5)
