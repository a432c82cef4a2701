"""Runs whose networks remember: what they see, what they learn, what is saved and shipped."""

from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu import cli
from qmu.config import reading

MEMORY = {
    "env": {"hide": ["velocity"], "episode_length": 30},
    "memory": {"kind": "gru", "size": 6, "sequence": 5, "burn_in": 1},
    "replay": {"batch_size": 8},
}
# What a memory is combined with.
KINDS = [
    {"memory": {"start": "stored"}, "env": {"normalize_obs": True}},
    {
        "memory": {"kind": "mingru", "fed": ["observation", "action", "reward"]},
        "replay": {"priorities": "td-error", "n_step": 2, "capacity": 70},
        "critic": {"count": 2, "batches": "own"},
        "target": {"smoothing": "weights"},
    },
    {
        "memory": {"start": "stored", "fed": ["reward", "observation"]},
        "env": {"count": 2, "workers": 2, "frames": 2, "repeat": 2},
        "explore": {"noise": "none", "parameter_distance": 0.2},
        "train": {"seeds": 2},
    },
    {
        "env": {"hide": [], "pixels": 32},
        "encoder": {"features": 5, "shift": 1},
        "memory": {"start": "stored"},
        "replay": {"batch_size": 2},
    },
]


train = partial(runs.saved_half_way, base=MEMORY)


@pytest.mark.parametrize("kind", some(KINDS, KINDS[:1]), ids=str)
def test_a_run_goes_on_with_its_memory_to_the_bit(tmp_path, kind):
    assert "memory.input.weight" in runs.assert_goes_on(train, tmp_path, kind)


@pytest.mark.long
def test_other_processes_remember_the_same(tmp_path):
    runs.assert_same_elsewhere(train, tmp_path, KINDS[2])


@pytest.mark.parametrize(
    "fed", some(["observation action", "observation reward"], ["observation reward"])
)
def test_what_is_shipped_remembers(tmp_path, fed):
    run = train(tmp_path, memory={"fed": fed.split()})
    assert run.policy().info["hidden"] == ["velocity"]
    runs.assert_acts_alone(run, qmu.Hide(gym.make("Pendulum-v1", max_episode_steps=30), "velocity"))
    assert qmu.export(run, tmp_path / "policy.npz").difference < 1e-5


def test_a_run_tells_how_many_transitions_an_update_learned_from(tmp_path):
    run = train(tmp_path)
    lines = run.metrics()
    found = [line["train/transitions"] for line in lines if "train/transitions" in line]
    # Eight sequences of four steps behind the burn-in, but for the ends of episodes.
    assert found
    assert all(20 < one <= 32 for one in found)
    assert any(line.get("health/memory_used", 0) > 0 for line in lines)


def test_a_model_remembers_along_its_episodes():
    options = runs.of_a_model({name: own for name, own in runs.SMALL.items() if name != "log"})
    options = reading.merge(options, {"memory": {"kind": "gru", "size": 4, "sequence": 5}})
    model = qmu.DDPG("Pendulum-v1", **options).learn(60)
    first, second = np.float32([[1, 0, 0], [0, 1, 0]]), np.float32([[0, 1, 2], [1, 0, 1]])
    action, state = model.predict(first)
    assert action.shape == (2, 1)
    after, _ = model.predict(second, state)
    begun, _ = model.predict(second, state, episode_start=[False, True])
    fresh, _ = model.predict(second)
    np.testing.assert_array_equal(begun[0], after[0])
    np.testing.assert_array_equal(begun[1], fresh[1])
    assert (after != fresh).all()
    with pytest.raises(ValueError, match="1 flags, for 2 observations"):
        model.predict(second, state, episode_start=[True])
    with pytest.raises(ValueError, match=r"begin with policy\.initial_state"):
        model.predict(second, 5, episode_start=[True, False])


def test_a_model_of_a_world_that_hides_something_makes_it_again_and_says_so():
    options = runs.of_a_model({name: own for name, own in runs.SMALL.items() if name != "log"})
    world = qmu.Hide(gym.make("Pendulum-v1"), "velocity")
    assert gym.make(world.spec).observation_space.shape == (2,)
    model = qmu.DDPG(world, **options).learn(30)
    assert model.policy().info["hidden"] == ["velocity"]
    assert model.predict(np.float32([1, 0]))[0].shape == (1,)


REFUSED = {
    "--memory.size 8": "--memory.kind gru or mingru",
    "--memory.kind lstm": "--memory.kind must be one of none, gru, mingru",
    "--memory.kind gru --memory.sequence 4 --memory.burn-in 4": "leaves nothing to learn from",
    "--memory.kind gru --memory.sequence 2 --replay.n-step 3": "is longer than a --memory.sequence",
    "--memory.kind gru --memory.sequence 400 --replay.capacity 300": "longer than what",
    "--memory.kind gru --memory.sequence 400 --env.count 2 --train.total-steps 600": "whole run",
    "--memory.kind gru --memory.start stored --replay.capacity 60 --replay.batch-size 9 "
    "--train.chunk 61": "--train.chunk",
    "--memory.kind gru --memory.fed sight": "must name some of observation, action, reward",
    "--memory.kind gru --critic.count 2 --critic.batches regions --critic.bootstrap mean "
    "--actor.climbs mean": "seen in sequences",
    "--env.hide speed": "Pendulum-v1 has no such part: give position, velocity, or",
    "--env.hide 0 1 2": "nothing is left",
    "--env.hide velocity velocity": "each once",
    "--env.hide velocity --env.pixels 64": "pictures are observed alone",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path, capsys, words):
    command = ["train", "Pendulum-v1", *words.split(), "--log.dir", str(tmp_path / "runs")]
    assert cli.main(command) == 2
    assert REFUSED[words] in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
@pytest.mark.parametrize(("kind", "lr"), [("gru", 1e-3), ("mingru", 3e-3)])
def test_what_was_shown_at_the_beginning_is_remembered_to_the_end(tmp_path, monkeypatch, kind, lr):
    """The best return without a memory is -0.5."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from cues import Cue

    world = partial(Cue, steps=8)
    options = {
        "actor": {"hidden_sizes": [32]},
        "critic": {"hidden_sizes": [32]},
        "memory": {"kind": kind, "size": 16, "sequence": 20, "burn_in": 0, "lr": lr},
        "env": {"hide": [], "episode_length": None},
        "replay": {"batch_size": 32},
        "explore": {"start_steps": 500},
        "train": {"schedule_steps": 6000, "save_interval": 0, "eval_interval": 1000},
    }
    run = train(tmp_path, world, 6000, **options)
    assert run.in_world(world).evaluate(20).mean > -0.2
