"""Rows from this process and from others: the same, whoever collects them and whatever fails."""

import os
import signal
import subprocess
import threading
import time

import gymnasium as gym
import numpy as np
import psutil
import pytest
import runs
from budget import some
from hypothesis import given
from hypothesis import strategies as st
from probes import Counter

import qmu
from qmu import cli
from qmu.collecting.outpost import PATIENCE
from qmu.collecting.station import divide_worlds
from qmu.errors import ConfigError, WorldError
from qmu.learning.loop import Trainer
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


SPREAD = {"noise": "colored", "std": 0.0, "std_last": 0.6}
NOISES = [{}, {"noise": "ou"}, SPREAD, {"noise": "none", "parameter_distance": 0.2}]


@pytest.mark.parametrize("explore", some(NOISES, NOISES[3:]))
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


@pytest.mark.long
def test_the_worlds_of_one_member_are_divided(tiny_config):
    def one(workers):
        env = {"workers": workers, "count": 4}
        rows, _ = trained(tiny_config, 128, counter, env=env, explore={"start_steps": 0})
        return rows[0, :, :33, 1]

    # What is observed does not depend on the actions: worlds and steps are in their places.
    first = one(3)
    np.testing.assert_array_equal(first, one(0))
    np.testing.assert_array_equal(first, one(3))


def test_the_worlds_of_one_member_have_their_noises_wherever_they_are(tiny_config):
    explore = {"start_steps": 0, "noise": "colored", "color": 0.0, "std": 0.0, "std_last": 0.3}
    train = {"updates_per_step": 0, "chunk": 32}
    found = []
    for workers in (0, 2):
        env = {"workers": workers, "count": 4, "episode_length": 50}
        config = tiny_config(env=env, explore=explore, train=train, replay={"capacity": 4000})
        trainer = Trainer(config, find_maker("Pendulum-v1", 50))
        list(trainer.run(4 * 320, evaluating=False))
        (actor,) = trainer.actors(lag=False)
        stream = trainer.learner.members[0].stream
        # Rows that end an episode have no action.
        rows = np.asarray(stream.numbers[0, :, :50])
        noise = rows[..., 3] - actor(rows[..., :3])[..., 0]
        found.append(np.sqrt(np.mean(np.square(noise), axis=1)))
        trainer.close()
    for deviations in found:
        # 50 samples: a deviation is known to 10%.
        np.testing.assert_allclose(deviations, [0, 0.1, 0.2, 0.3], rtol=0.4, atol=1e-5)
    # The second station has a generator of its own.
    assert (found[0][2:] != found[1][2:]).all()


@pytest.mark.parametrize(
    ("env", "length"),
    [
        ({}, 200),
        ({"episode_length": 30, "repeat": 2}, 15),
        ({"episode_length": 0}, 1000),
        ({"episode_length": 10**6}, 10_000),
    ],
)
def test_colored_noise_is_drawn_for_the_longest_episode(tiny_config, env, length):
    env = {"episode_length": None} | env
    config = tiny_config(env=env, explore={"noise": "colored"})
    maker = find_maker("Pendulum-v1", config.env.episode_length, repeat=config.env.repeat)
    trainer = Trainer(config, maker)
    (station,) = trainer.crew.stations
    assert station.behaviours[0].noise.length == length
    trainer.close()


def counter():
    """Return a world of known episodes."""
    return Counter(lengths=[7, 4])


@pytest.mark.long
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
    some(
        [
            (raises, "at step 5 of the member with seed 0: Fragile raised in step.*motor burned"),
            (dies, "the process of Fragile was ended by SIGKILL"),
        ],
        [(dies, "the process of Fragile was ended by SIGKILL")],
    ),
)
def test_a_failure_elsewhere_ends_the_run_and_says_what_failed(tmp_path, fault, words):
    marker = tmp_path / "marker"
    with pytest.raises(WorldError, match=words):
        qmu.train(lambda: Fragile(fault, marker), **runs.options(tmp_path, {"env": {"workers": 1}}))
    assert started_by_this_process() == []


@pytest.mark.long
@pytest.mark.parametrize("fault", some([raises, dies, hangs], [dies]))
def test_a_failure_elsewhere_is_replaced(tmp_path, fault):
    marker = tmp_path / "marker"
    changes = {"env": {"workers": 1, "on_error": "restart", "step_timeout": 1.0}}
    with pytest.warns(RuntimeWarning, match="was replaced"):
        run = qmu.train(lambda: Fragile(fault, marker), **runs.options(tmp_path, changes))
    assert run.info["status"] == "finished"
    assert marker.exists()
    (line,) = [line for line in run.metrics() if line["step"] == 50 and "rollout/restarts" in line]
    assert line["rollout/restarts"] == 1


@pytest.mark.long
def test_a_run_with_workers_is_resumed_to_the_bit(tmp_path):
    changes = {"env": {"workers": 2}, "train": {"seeds": 2, "total_steps": 120}}
    whole = runs.train(tmp_path / "a", **changes)
    part = runs.train(
        tmp_path / "b", env=changes["env"], train=changes["train"] | {"total_steps": 60}
    )
    qmu.resume(part, total_steps=120)
    assert runs.final_state(part) == runs.final_state(whole)


@pytest.mark.long
def test_a_trainer_interrupted_while_it_waits_goes_on(tiny_config, monkeypatch):
    from qmu.collecting import outpost

    config = tiny_config(env={"workers": 1}, train={"chunk": 8})
    trainer = Trainer(config, find_maker(counter))
    for _ in trainer.run(16, evaluating=False):
        pass
    read, calls = outpost.read_message, []

    def interrupted(pipe, alive):
        calls.append(pipe)
        if len(calls) == 1:
            pipe.read(3)
            raise KeyboardInterrupt
        return read(pipe, alive)

    monkeypatch.setattr(outpost, "read_message", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.advance(8)
    for _ in trainer.run(16, evaluating=False):
        pass
    assert trainer.step == 32
    trainer.close()


@pytest.mark.long
def test_a_trainer_interrupted_while_it_gives_an_order_goes_on(tiny_config, monkeypatch):
    from qmu.collecting import outpost

    trainer = Trainer(tiny_config(env={"workers": 1}, train={"chunk": 8}), find_maker(counter))
    write, calls = outpost.write_message, []

    def interrupted(pipe, data, look):
        calls.append(pipe)
        if len(calls) == 1:
            pipe.write(data[:100])
            raise KeyboardInterrupt
        write(pipe, data, look)

    monkeypatch.setattr(outpost, "write_message", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.advance(8)
    for _ in trainer.run(16, evaluating=False):
        pass
    trainer.close()


@pytest.mark.long
def test_a_model_whose_process_died_learns_on_in_another(tmp_path):
    settings = {"actor": {"hidden_sizes": [8]}, "critic": {"hidden_sizes": [8]}}
    model = qmu.DDPG("Pendulum-v1", env={"workers": 1}, **settings)
    model.learn(100)
    (worker,) = started_by_this_process()
    worker.kill()
    with pytest.raises(WorldError, match="was ended by SIGKILL"):
        model.learn(100)
    model.learn(100)
    model.close()
    assert started_by_this_process() == []


class Scene(gym.Env):
    """Counts steps in its observation; a program of its own runs beside it."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.program = subprocess.Popen(["sleep", "61"])
        self.time = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.begun = self.np_random.integers(1000)
        return np.array([self.begun, self.time], np.float32), {}

    def step(self, action):
        self.time += 1
        return np.array([self.begun, self.time], np.float32), 1.0, False, False, {}

    def close(self):
        self.program.terminate()
        self.program.wait()


@pytest.mark.long
def test_a_program_that_a_world_has_started_ends_with_it(tiny_config):
    config = tiny_config(env={"workers": 2, "count": 2, "episode_length": None})
    trainer = Trainer(config, find_maker(Scene))
    beside = [
        child
        for worker in started_by_this_process()
        for child in worker.children()
        if child.name() == "sleep"
    ]
    assert len(beside) == 2
    assert os.environ.get("OMP_NUM_THREADS") != "1"
    assert all(child.environ()["OMP_NUM_THREADS"] == "1" for child in beside)
    before = time.monotonic()
    trainer.close()
    assert psutil.wait_procs(beside, timeout=1)[1] == []
    # Both together have less time than one that has to be killed.
    assert time.monotonic() - before < PATIENCE


@pytest.mark.long
def test_rows_after_a_lost_process_begin_where_the_rows_before_ended(tiny_config):
    env = {"workers": 2, "count": 2, "episode_length": None, "on_error": "restart"}
    config = tiny_config(env=env, train={"chunk": 8, "learn_after": 1000})
    trainer = Trainer(config, find_maker(Scene))
    trainer.advance(8)
    crew = trainer.crew
    before = crew.rows.obs[0, 1, crew.rows.count[0, 1]]
    lost = crew.stations[1]
    lost.process.kill()
    lost.process.wait()
    untouched = crew.rows.obs[0, 0, 8, 0]
    trainer.advance(8)
    rows = crew.rows
    assert crew.restarts == [(0, "the process of Scene was ended by SIGKILL")]
    # The head of the rows before is the final observation of the episode that was cut off.
    np.testing.assert_array_equal(rows.obs[0, 1, 0], before)
    assert rows.last[0, 1, :10].tolist() == [True] + [False] * 8 + [True]
    # Nothing happened to the world in the other process.
    assert rows.last[0, 0, :9].tolist() == [False] * 8 + [True]
    assert rows.obs[0, 0, 8].tolist() == [untouched, 16]
    # The new episode is none that there was before.
    assert rows.obs[0, 1, 1, 1] == 0
    assert rows.obs[0, 1, 1, 0] not in (before[0], rows.obs[0, 0, 8, 0])
    trainer.close()


@pytest.mark.long
def test_the_step_of_a_lost_process_counts_all_worlds(tiny_config):
    config = tiny_config(env={"workers": 1, "count": 4, "episode_length": None})
    trainer = Trainer(config, find_maker(Scene))
    trainer.advance(8)
    trainer.crew.stations[0].process.kill()
    with pytest.raises(WorldError, match="before step 64: the process of Scene was ended"):
        trainer.advance(8)
    trainer.close()


@pytest.mark.long
def test_a_process_that_cannot_be_replaced_at_once_is_tried_again(tmp_path):
    marker, refused = tmp_path / "marker", tmp_path / "refused"
    here = os.getpid()

    def licensed():
        if os.getpid() != here and marker.exists() and not refused.exists():
            refused.touch()
            raise RuntimeError("the licence server is busy")
        return Fragile(dies, marker)

    changes = {"env": {"workers": 1, "on_error": "restart"}}
    with pytest.warns(RuntimeWarning, match="was replaced") as told:
        run = qmu.train(licensed, **runs.options(tmp_path / "runs", changes))
    assert run.info["status"] == "finished"
    assert any("the licence server is busy" in str(one.message) for one in told)


@pytest.mark.long
def test_a_process_that_has_left_a_child_behind_is_missed(tmp_path):
    def forks_and_dies():
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        dies()

    before = time.monotonic()
    with pytest.raises(WorldError, match="was ended by SIGKILL"):
        qmu.train(
            lambda: Fragile(forks_and_dies, tmp_path / "marker"),
            **runs.options(tmp_path, {"env": {"workers": 1}}),
        )
    assert time.monotonic() - before < 25


@pytest.mark.long
def test_a_trainer_that_cannot_be_made_leaves_nothing_behind(tiny_config):
    here, calls = os.getpid(), []

    def no_second_one():
        if os.getpid() == here:
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("only one at a time")
        return counter()

    before = signal.getsignal(signal.SIGALRM)
    config = tiny_config(env={"workers": 1, "step_timeout": 5.0})
    with pytest.raises(ConfigError, match="only one at a time"):
        Trainer(config, find_maker(no_second_one))
    assert started_by_this_process() == []
    assert signal.getsignal(signal.SIGALRM) == before


@pytest.mark.long
def test_what_cannot_be_worked_on_elsewhere_is_refused(tiny_config, tmp_path, capsys):
    arguments = ["train", "Pendulum-v1", "--log.dir", str(tmp_path), "--env.workers", "3"]
    assert cli.main([*arguments, "--seeds", "2"]) == 2
    assert "there are only 2 world" in capsys.readouterr().err
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


@pytest.mark.long
def test_all_ids_that_were_registered_travel(tiny_config, monkeypatch):
    lock = threading.Lock()
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    gym.register("Inner-v0", lambda: counter())
    gym.register("Outer-v0", lambda: gym.make("Inner-v0"), max_episode_steps=20)
    gym.register("Unsent-v0", lambda: lock and counter())
    config = tiny_config(env={"workers": 1}, train={"chunk": 8})
    trainer = Trainer(config, find_maker("Outer-v0"))
    for _ in trainer.run(16, evaluating=False):
        pass
    trainer.close()
    gym.register("Needy-v0", lambda: gym.make("Unsent-v0"))
    with pytest.raises(ConfigError, match=r"env.workers 1: .*Unsent"):
        Trainer(config, find_maker("Needy-v0"))
