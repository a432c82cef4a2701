"""A short training through every part of a run, in any world."""

import numpy as np

import qmu
from qmu.config import reading
from qmu.presets import read_preset
from qmu.world.make import find_maker

SHORT = {
    "actor": {"hidden_sizes": [16, 16]},
    "critic": {"hidden_sizes": [16, 16]},
    "replay": {"capacity": 1000, "batch_size": 16},
    "explore": {"start_steps": 100},
    "train": {
        "total_steps": 300,
        "eval_interval": 150,
        "save_interval": 200,
        "eval_episodes": 1,
        "final_episodes": 1,
        "total_episodes": None,
    },
    "log": {"tensorboard": False, "interval": 100},
}


def train(name, folder, episode_length=60):
    """Train in a world with its own recipe, for a moment; return the run."""
    own = {"log": {"dir": str(folder)}, "env": {"episode_length": episode_length}}
    groups = reading.merge(reading.merge(read_preset("auto", name), SHORT), own)
    run = qmu.train(name, **groups)
    assert run.info["status"] == "finished"
    assert run.info["steps"] == 300
    assert any("train/critic_loss" in line for line in run.metrics())
    # From the files alone, as `qmu eval` and `qmu resume` do.
    again = qmu.open_run(run.directory)
    assert np.isfinite(again.evaluate(1).mean)
    longer = qmu.resume(run.directory, total_steps=400, schedule_steps=400)
    assert longer.info["steps"] == 400
    return run


def first_observation(name):
    """Return what a world observes first, as it says it."""
    (world,) = find_maker(name).worlds(1).environments
    try:
        return world.env.reset(seed=0)[0]
    finally:
        world.close()
