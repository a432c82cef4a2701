"""A run that was resumed from a scheduled save is, bit for bit, the one never interrupted."""

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu.runs import segments
from qmu.saving import store

VARIANTS = {
    "plain": {},
    "three members": {"train": {"seeds": 3}},
    "two worlds": {"env": {"count": 2}},
    "prioritized": {"replay": {"priorities": "td-error"}},
    "lap": {"replay": {"priorities": "lap"}},
    "lap that fades, in a ring that wraps": {
        "replay": {"priorities": "lap", "fade": 0.97, "capacity": 70},
        "train": {"seeds": 2},
    },
    "fading, two worlds": {
        "env": {"count": 2},
        "replay": {"priorities": "td-error", "fade": 0.97},
    },
    # With as many random steps, the save finds observations that the next size is measured on.
    "parameter noise": {"explore": {"noise": "none", "parameter_distance": 0.3, "start_steps": 35}},
    "Ornstein-Uhlenbeck": {"explore": {"noise": "ou", "epsilon": 0.1, "noise_end": 0.5}},
    # A save falls into the middle of an episode, and so do the last random steps.
    "colored noise, other worlds another": {
        "explore": {"noise": "colored", "std_last": 0.5, "noise_end": 0.5, "start_steps": 15},
        "env": {"count": 2, "episode_length": 25},
    },
    "normalization": {"env": {"normalize_obs": True}, "critic": {"norm": "batch"}},
    "regions": {
        "critic": {"count": 2, "batches": "regions", "bootstrap": "mean"},
        "actor": {"climbs": "mean"},
    },
    "values in bins, of joined batches": {
        "critic": {"head": "categorical", "count": 2, "norm": "batch", "joined": True},
    },
    "normalized rewards, two worlds": {
        "env": {"count": 2, "normalize_rewards": True},
        "critic": {"loss": "huber"},
    },
    "residual bodies with unit weights": {
        name: {"body": "residual", "norm": "layer", "input_norm": True, "weight_norm": True}
        for name in ("actor", "critic")
    },
    "a ring that wraps": {"replay": {"capacity": 70}},
    "no overlap": {"train": {"overlap": False, "chunk": 1}},
    "lines of metrics across a save": {"log": {"interval": 25}},
}

SHORT = ["plain", "prioritized", "values in bins, of joined batches"]


@pytest.mark.slow
@pytest.mark.parametrize("name", some(VARIANTS, SHORT))
def test_train_2n_is_train_n_resume_train_n(name, tmp_path):
    changes = VARIANTS[name]
    whole = runs.train(tmp_path / "whole", **changes)
    half = dict(changes)
    half["train"] = {**changes.get("train", {}), "total_steps": 120}
    directory = runs.train(tmp_path / "halves", **half)
    assert runs.final_state(directory) != runs.final_state(whole)
    run = qmu.resume(directory, total_steps=240)
    assert run.directory == directory
    assert runs.final_state(directory) == runs.final_state(whole)
    assert runs.metrics(directory) == runs.metrics(whole)
    for seed in range(changes.get("train", {}).get("seeds", 1)):
        for one, other in zip(
            runs.weights(directory, seed), runs.weights(whole, seed), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    described, expected = qmu.open_run(directory).info, qmu.open_run(whole).info
    assert described["members"] == expected["members"]
    assert described["status"] == "finished"
    assert [entry["step"] for entry in described["resumed"]] == [120]


def vector():
    """Return two pendulums in a ready-made vector environment."""
    return gym.make_vec(
        "Pendulum-v1",
        2,
        vectorization_mode="sync",
        max_episode_steps=30,
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )


@pytest.mark.long
def test_a_vector_environment_goes_on_bit_for_bit_too(tmp_path):
    changes = {"env": {"episode_length": None}}
    whole = runs.train(tmp_path / "whole", vector(), **changes)
    changes["train"] = {"total_steps": 120}
    directory = runs.train(tmp_path / "halves", vector(), **changes)
    qmu.resume(directory, total_steps=240, env=vector())
    assert runs.final_state(directory) == runs.final_state(whole)
    assert runs.metrics(directory) == runs.metrics(whole)


@pytest.mark.long
def test_rows_that_need_many_segments_come_back(tmp_path, monkeypatch):
    changes = {"train": {"seeds": 3}, "env": {"count": 2}}
    whole = runs.train(tmp_path / "whole", **changes)
    # Five rows to a segment, three rows to a copy.
    monkeypatch.setattr(segments, "LARGEST_ROWS", 5 * 21)
    monkeypatch.setattr(segments, "BLOCK", 3)
    changes["train"]["total_steps"] = 120
    directory = runs.train(tmp_path / "halves", **changes)
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    assert len(saved.segments) > 3 * 120 // 5
    qmu.resume(directory, total_steps=240)
    assert runs.final_state(directory) == runs.final_state(whole)
    assert runs.metrics(directory) == runs.metrics(whole)
