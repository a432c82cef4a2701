"""Rows from this process and from others: the same, whoever collects them and whatever fails."""

import os
import signal
import threading
import time

import gymnasium as gym
import numpy as np
import psutil
import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st
from probes import Counter

import qmu
from qmu import cli
from qmu.errors import ConfigError, WorldError
from qmu.training.loop import Trainer
from qmu.training.station import divide_worlds
from qmu.world.make import find_maker

FINE = np.full(3, 0.5, np.float32)


class Fragile(gym.Env):
    """Prints, and does what `fault` says at one step of each process."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, fault, marker):
        print("a world that prints")
        self.fault, self.marker = fault, marker
        self.parent = os.getppid()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return FINE, {}

    def step(self, action):
        self.time += 1
        if self.time == 5 and not self.marker.exists():
            self.marker.touch()
            self.fault()
        return FINE, 1.0, False, self.time == 20, {}


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def raises():
    raise RuntimeError("the motor burned out")


def hangs():
    time.sleep(1000)


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 70))
def test_every_world_has_one_station(members, worlds, stations):
    stations = min(stations, members * worlds)
    shares = divide_worlds(members, worlds, stations)
    served = [(member, world) for own, part in shares for member in own for world in part]
    assert sorted(served) == [
        (member, world) for member in range(members) for world in range(worlds)
    ]
    assert len(shares) <= stations
    sizes = [len(own) * len(part) for own, part in shares]
    if stations <= members:
        assert len(shares) == stations
        assert max(sizes) - min(sizes) <= worlds
    else:
        assert len(shares) > stations - members
        assert max(sizes) - min(sizes) <= 1


def trained(tiny_config, steps=96, source="Pendulum-v1", **changes):
    """Return all rows and weights of a small training."""
    config = tiny_config(**changes)
    trainer = Trainer(config, find_maker(source, config.env.episode_length))
    for _ in trainer.run(steps, evaluating=False):
        pass
    weights = [network.weights for network in trainer.actors(lag=False)]
    stream = trainer.learner.members[0].stream
    trainer.close()
    return np.asarray(stream.numbers), weights


@pytest.mark.parametrize(
    "explore", [{}, {"noise": "ou"}, {"noise": "none", "parameter_distance": 0.2}]
)
def test_members_in_other_processes_do_the_same_to_the_bit(tiny_config, explore):
    def one(workers):
        env = {"workers": workers, "count": 2, "episode_length": 30}
        train = {"seeds": 3, "chunk": 8, "learn_after": 16}
        return trained(tiny_config, env=env, train=train, explore=explore)

    (rows, weights), (others, other_weights) = one(0), one(2)
    np.testing.assert_array_equal(rows, others)
    for own, other in zip(weights, other_weights, strict=True):
        for array, again in zip(own, other, strict=True):
            np.testing.assert_array_equal(array, again)


def test_the_worlds_of_one_member_are_divided(tiny_config):
    def one(workers):
        env = {"workers": workers, "count": 4}
        rows, _ = trained(tiny_config, 128, counter, env=env, explore={"start_steps": 0})
        return rows[0, :, :33, 1]

    # What is observed does not depend on the actions: worlds and steps are in their places.
    np.testing.assert_array_equal(one(3), one(0))
    first = one(3)
    np.testing.assert_array_equal(first, one(3))


def counter():
    """Return a world of known episodes."""
    return Counter(lengths=[7, 4])


def test_worlds_made_by_a_function_of_the_user_are_made_elsewhere(tmp_path):
    known = tmp_path / "marker"
    known.touch()
    run = qmu.train(
        lambda: Fragile(raises, known), **runs.options(tmp_path, {"env": {"workers": 1}})
    )
    assert run.info["status"] == "finished"


def started_by_this_process():
    """Return the processes that this one has started."""
    return [one for one in psutil.Process().children() if "outpost" in " ".join(one.cmdline())]


def test_the_processes_end_with_the_run(tiny_config):
    config = tiny_config(env={"workers": 2, "count": 2})
    trainer = Trainer(config, find_maker("Pendulum-v1"))
    assert len(started_by_this_process()) == 2
    trainer.close()
    assert started_by_this_process() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (raises, "at step 5 of the member with seed 0: Fragile raised in step.*motor burned out"),
        (dies, "the process of Fragile was ended by SIGKILL"),
    ],
)
def test_a_failure_elsewhere_ends_the_run_and_says_what_failed(tmp_path, fault, words):
    marker = tmp_path / "marker"
    with pytest.raises(WorldError, match=words):
        qmu.train(lambda: Fragile(fault, marker), **runs.options(tmp_path, {"env": {"workers": 1}}))
    assert started_by_this_process() == []


@pytest.mark.parametrize("fault", [raises, dies, hangs])
def test_a_failure_elsewhere_is_replaced(tmp_path, fault):
    marker = tmp_path / "marker"
    changes = {"env": {"workers": 1, "on_error": "restart", "step_timeout": 1.0}}
    with pytest.warns(RuntimeWarning, match="was replaced"):
        run = qmu.train(lambda: Fragile(fault, marker), **runs.options(tmp_path, changes))
    assert run.info["status"] == "finished"
    assert marker.exists()
    (line,) = [line for line in run.metrics() if line["step"] == 50 and "rollout/restarts" in line]
    assert line["rollout/restarts"] == 1


def test_a_run_with_workers_is_resumed_to_the_bit(tmp_path):
    changes = {"env": {"workers": 2}, "train": {"seeds": 2, "total_steps": 120}}
    whole = runs.train(tmp_path / "a", **changes)
    part = runs.train(
        tmp_path / "b", env=changes["env"], train=changes["train"] | {"total_steps": 60}
    )
    qmu.resume(part, total_steps=120)
    assert runs.final_state(part) == runs.final_state(whole)


def test_a_trainer_interrupted_while_it_waits_goes_on(tiny_config, monkeypatch):
    from qmu.training import outpost

    config = tiny_config(env={"workers": 1}, train={"chunk": 8})
    trainer = Trainer(config, find_maker(counter))
    for _ in trainer.run(16, evaluating=False):
        pass
    read, calls = outpost.read_message, []

    def interrupted(pipe):
        calls.append(pipe)
        if len(calls) == 1:
            pipe.read(3)
            raise KeyboardInterrupt
        return read(pipe)

    monkeypatch.setattr(outpost, "read_message", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.advance(8)
    for _ in trainer.run(16, evaluating=False):
        pass
    assert trainer.step == 32
    trainer.close()


def test_what_cannot_be_worked_on_elsewhere_is_refused(tiny_config, tmp_path, capsys):
    arguments = ["train", "Pendulum-v1", "--log.dir", str(tmp_path), "--env.workers", "3"]
    assert cli.main([*arguments, "--seeds", "2"]) == 2
    assert "there are only 2 world(s)" in capsys.readouterr().err
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(ConfigError, match="there are only 1 world"):
        Trainer(tiny_config(env={"workers": 2, "step_timeout": 5.0}), find_maker("Pendulum-v1"))
    assert signal.getsignal(signal.SIGALRM) == before
    networks = qmu.Networks(actor=lambda key, obs_size, action_size: None)
    with pytest.raises(ConfigError, match="acts in this process only"):
        Trainer(tiny_config(env={"workers": 1}), find_maker("Pendulum-v1"), networks=networks)
    lock = threading.Lock()
    with pytest.raises(ConfigError, match="cannot be sent to another process"):
        Trainer(tiny_config(env={"workers": 1}), find_maker(lambda: lock and counter()))
    here = os.getpid()

    def only_here():
        if os.getpid() != here:
            raise RuntimeError("no licence")
        return counter()

    with pytest.raises(ConfigError, match=r"env\.workers.*no licence"):
        Trainer(tiny_config(env={"workers": 1}), find_maker(only_here))
    vector = gym.make_vec(
        "Pendulum-v1",
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    with pytest.raises(ConfigError, match=r"steps its worlds itself: leave --env\.workers out"):
        qmu.train(vector, **runs.options(tmp_path, {"env": {"workers": 1, "episode_length": None}}))
    assert not list(tmp_path.iterdir())
