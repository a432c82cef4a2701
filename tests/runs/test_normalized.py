"""Runs whose observations are very small, or small changes of large numbers, and normalized."""

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from runs import SMALL

import qmu

BEGAN = 1_750_000_000.25


class Clock(gym.Env):
    """Observes the time in seconds since 1970, and a current in tens of microamperes."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.current = 0, self.np_random.uniform(-1, 1)
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        self.current = np.clip(self.current + 0.1 * float(action[0]), -1, 1)
        return self.seen(), -abs(self.current), False, self.time >= 30, {}

    def seen(self):
        return np.float64([BEGAN + 0.5 * self.time, 1e-5 * self.current])


class Parts(Clock):
    """Observes the same in two parts."""

    observation_space = gym.spaces.Dict(
        {
            "ampere": gym.spaces.Box(-1, 1, (), np.float64),
            "seconds": gym.spaces.Box(0, np.inf, (1,), np.float64),
        }
    )

    def seen(self):
        seconds, ampere = super().seen()
        return {"seconds": [seconds], "ampere": ampere}


OPTIONS = SMALL | {"env": {"normalize_obs": True, "episode_length": 30}}


@pytest.mark.parametrize("world", some([Clock, Parts], [Parts]))
def test_what_is_small_and_what_changes_little_is_seen(world, tmp_path):
    run = qmu.train(world, **(OPTIONS | {"log": SMALL["log"] | {"dir": str(tmp_path)}}))
    policy = run.policy()
    environment = world()
    first, _ = environment.reset(seed=1)
    assert policy.centre.max() == BEGAN
    normal = policy.network.normalization
    # Half a second for 30 steps, and a part of ±1e-5.
    assert 2 < normal.std[np.argmax(policy.centre)] < 6
    assert 1e-6 < normal.std[np.argmin(policy.centre)] < 1e-5
    before = policy(first)
    environment.time += 20
    assert abs(float((policy(environment.seen()) - before)[0])) > 1e-4
    environment.current = -environment.current
    assert abs(float((policy(environment.seen()) - before)[0])) > 1e-4
    again = run.in_world(world).evaluate(1, first_episode_seed=1_000_000)
    assert again.mean == policy.info["evaluation_mean_reward"]
    exported = qmu.export(run, tmp_path / "policy.npz")
    assert exported.difference < 1e-5
    np.testing.assert_array_equal(qmu.load(exported.path)(first), before)


def test_a_run_goes_on_with_its_centre_to_the_bit(tmp_path):
    def trained(name, steps):
        log = SMALL["log"] | {"dir": str(tmp_path / name)}
        length = SMALL["train"] | {"total_steps": steps}
        return qmu.train(Clock, **(OPTIONS | {"log": log, "train": length}))

    whole, part = trained("whole", 240), trained("part", 120)
    part = qmu.resume(part.directory, env=Clock, total_steps=240)
    one, other = (run.read_policy(run.directory / "best") for run in (whole, part))
    assert one.arrays().keys() == other.arrays().keys()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])


def test_a_model_keeps_its_centre(tmp_path):
    options = {name: own for name, own in OPTIONS.items() if name != "log"}
    model = qmu.DDPG(Clock, **runs.of_a_model(options)).learn(100)
    obs, _ = Clock().reset(seed=3)
    model.save(tmp_path / "model")
    loaded = qmu.DDPG.load(tmp_path / "model", env=Clock)
    np.testing.assert_array_equal(loaded.predict(obs)[0], model.predict(obs)[0])
    loaded.set_env(Clock)
    loaded.learn(60)
    assert loaded.policy().centre.tolist() == [BEGAN, 0.0]
    with pytest.raises(qmu.ConfigError, match="other observations"):
        loaded.set_env(Parts)


@pytest.mark.long
def test_worlds_of_usual_numbers_have_no_centre(tmp_path):
    log = SMALL["log"] | {"dir": str(tmp_path)}
    run = qmu.train("Pendulum-v1", **(OPTIONS | {"log": log}))
    assert run.policy().centre is None
