"""Runs whose networks see several observations of an episode together."""

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from gymnasium.spaces import Box

import qmu
from qmu import cli
from qmu.config import reading

FRAMES = {"env": {"frames": 3, "episode_length": 30}}
# What frames are combined with; the second one twice in other processes.
KINDS = [
    {"env": {"normalize_obs": True}, "replay": {"priorities": "td-error"}},
    {
        "env": {"count": 2, "workers": 2},
        "explore": {"noise": "none", "parameter_distance": 0.2},
        "critic": {"count": 2},
        "train": {"seeds": 2},
    },
]


class Speed(gym.Env):
    """Rewards the action that is half the way from the place before to the observed one."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.place, self.moved = 0, self.np_random.uniform(-1, 1), 0.0
        return np.float32([self.place]), {}

    def step(self, action):
        reward = -abs(float(action[0]) - self.moved / 2)
        self.time += 1
        before, self.place = self.place, self.np_random.uniform(-1, 1)
        self.moved = self.place - before
        return np.float32([self.place]), reward, False, self.time == 30, {}


train = partial(runs.saved_half_way, base=FRAMES)


@pytest.mark.parametrize("kind", some(KINDS, KINDS[:1]), ids=str)
def test_a_run_goes_on_with_its_frames_to_the_bit(tmp_path, kind):
    assert runs.assert_goes_on(train, tmp_path, kind)["actor.0.weight"].shape[0] == 9


@pytest.mark.long
def test_other_processes_see_the_same_frames(tmp_path):
    runs.assert_same_elsewhere(train, tmp_path, KINDS[1])


def test_what_is_shipped_carries_the_frames(tmp_path):
    run = train(tmp_path, **KINDS[0])
    policy = run.policy()
    runs.assert_acts_alone(run, gym.make("Pendulum-v1", max_episode_steps=30))
    exported = qmu.export(run, tmp_path / "policy.npz")
    assert exported.difference < 1e-5
    state, other = policy.initial_state(), exported.policy.initial_state()
    for place in ([1, 0, 0], [0.9, 0.1, 1.0], [0.5, 0.4, 2.0]):
        action, state = policy.step(place, state)
        again, other = qmu.load(exported.path).step(place, other)
        np.testing.assert_array_equal(action, again)
    card = (tmp_path / "policy.md").read_text()
    assert "the last 3 observations of an episode" in card
    assert "policy.reset()" in card


def test_what_one_observation_does_not_tell_is_learned_from_two(tmp_path):
    """How far the place has moved is in no observation: without frames nothing can be learned."""
    options = {"actor": {"hidden_sizes": [32]}, "critic": {"hidden_sizes": [32], "norm": "none"}}
    options |= {"replay": {"batch_size": 64, "n_step": 1}, "target": {"gamma": 0.5}}
    options |= {"explore": {"start_steps": 300}, "env": {"episode_length": None}}
    options |= {
        "train": {"schedule_steps": 0, "save_interval": 0, "eval_interval": 500, "eval_episodes": 5}
    }

    def best(frames):
        kind = reading.merge(options, {"env": {"frames": frames}})
        run = train(tmp_path / str(frames), Speed, 2500, **kind)
        return run.in_world(Speed).evaluate(10).mean

    # The way from the place before is half a place off, on average: 30 times a quarter.
    assert best(2) > -3
    assert best(1) < -6


def test_a_model_is_told_its_past_or_begins_anew():
    options = runs.of_a_model({name: own for name, own in runs.SMALL.items() if name != "log"})
    model = qmu.DDPG("Pendulum-v1", **reading.merge(options, {"env": {"frames": 2}})).learn(60)
    first, second = np.float32([[1, 0, 0], [0, 1, 0]]), np.float32([[0, 1, 2], [1, 0, 1]])
    action, state = model.predict(first)
    assert action.shape == (2, 1)
    after, _ = model.predict(second, state)
    begun, _ = model.predict(second, state, episode_start=[False, True])
    fresh, _ = model.predict(second)
    np.testing.assert_array_equal(begun[0], after[0])
    np.testing.assert_array_equal(begun[1], fresh[1])
    assert (after != fresh).all()
    one, state = model.predict(first[0])
    np.testing.assert_array_equal(one, action[0])
    with pytest.raises(ValueError, match=r"this policy's for 2 observations"):
        model.predict(second, state)


@pytest.mark.parametrize("frames", ["0", "-1", "1001"])
def test_numbers_of_frames_that_make_no_sense_are_refused(tmp_path, capsys, frames):
    command = ["train", "Pendulum-v1", "--env.frames", frames, "--log.dir", str(tmp_path / "runs")]
    assert cli.main(command) == 2
    assert "--env.frames must lie in [1, 1000]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
