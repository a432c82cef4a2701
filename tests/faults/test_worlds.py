"""Worlds that raise, hang, die, or return something impossible: stopped at, or replaced."""

import os
import signal
import sys
import time

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu.agent import update as algorithm
from qmu.learning import learner
from qmu.saving import store

FINE = np.full(3, 0.5, np.float32)


class World(gym.Env):
    """Behaves, but for one step of all that training worlds of this class take."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    steps = 0
    made = 0

    def __init__(self, fault, at, often=1):
        self.fault, self.at, self.often = fault, at, often
        World.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return FINE, {}

    def step(self, action):
        World.steps += 1
        self.time += 1
        obs = FINE
        if self.at <= World.steps < self.at + self.often:
            obs = self.fault(self)
        return obs, 1.0, False, self.time == 20, {}


def raises(world):
    raise RuntimeError("the motor burned out")


def hangs(world):
    time.sleep(1000)


def hangs_in_code(world):
    while True:
        pass


def exits(world):
    sys.exit()


FAULTS = {
    "raises": raises,
    "NaN": lambda world: np.array([0, np.nan, 0], np.float32),
    "infinity": lambda world: np.array([0, 0, np.inf], np.float32),
    "a shape that broadcasts": lambda world: np.zeros((3, 1), np.float32),
    "another shape": lambda world: np.zeros(4, np.float32),
    "a single number": lambda world: np.float32(0),
}
# Evaluations are left out: they would take their share of the steps.
QUIET = {
    "env": {"episode_length": None},
    "train": {"total_steps": 200, "save_interval": 0, "eval_interval": 0},
}


def train(folder, world, **changes):
    """Train in worlds of this kind, with nothing counted yet."""
    World.steps = World.made = 0
    return runs.train(folder, world, **qmu_merge(QUIET, changes))


def qmu_merge(*many):
    merged = {}
    for one in many:
        for group, values in one.items():
            merged[group] = merged.get(group, {}) | values
    return merged


@pytest.mark.parametrize("name", some(FAULTS, ["raises", "NaN"]))
def test_a_fault_is_kept_out_of_the_stream_saved_and_reported(name, tmp_path):
    with pytest.raises(qmu.WorldError, match="at step 100 of the member with seed 0") as raised:
        train(tmp_path, lambda: World(FAULTS[name], 100))
    directory = runs.only_run(tmp_path)
    assert raised.value.exit_code == 1
    assert any("go on with: qmu.resume(" in note for note in raised.value.__notes__)
    assert qmu.open_run(directory).info["status"] == "failed"
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    assert saved.state["step"] == 98  # what had been handed over, and nothing of the chunk after
    assert not saved.scheduled
    World.steps = 10**6
    run = qmu.resume(directory, env=lambda: World(raises, 10**9))
    assert run.info["status"] == "finished"


@pytest.mark.parametrize(
    "name", some([*FAULTS, "hangs", "hangs in code"], ["raises", "NaN", "hangs"])
)
def test_a_world_is_replaced_and_its_episode_truncated(name, tmp_path):
    fault = FAULTS | {"hangs": hangs, "hangs in code": hangs_in_code}
    changes = {"env": {"on_error": "restart"}, "log": {"interval": 20}}
    if "hangs" in name:
        changes["env"]["step_timeout"] = 0.2
    with pytest.warns(RuntimeWarning, match="failed before step .* and was replaced"):
        directory = train(tmp_path, lambda: World(fault[name], 50), **changes)
    counted = [line.get("rollout/restarts") for line in runs.metrics(directory)]
    assert [count for count in counted if count is not None] == [0] * 2 + [1] * 8
    # Step 50 was the tenth of an episode, which ended there: 200 steps, one of them in vain, are
    # two episodes of 20, one cut off after 9, and those of the new world.
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    rows = runs.stream(saved, directory / "checkpoints" / store.SEGMENTS)[0, 0]
    flags = [row[-1] for row in rows.values()]
    lengths = np.diff(np.flatnonzero([flag & 2 for flag in flags]), prepend=-1) - 1
    assert list(lengths[:4]) == [20, 20, 9, 20]
    assert not any(flag & 1 for flag in flags)
    assert all(np.isfinite(np.frombuffer(row[:-1], np.float32)).all() for row in rows.values())


@pytest.mark.parametrize("on_error", ["stop", "restart"])
@pytest.mark.parametrize("workers", some([0, 1], [0]))
def test_a_world_that_exits_ends_the_run_with_a_sentence(on_error, workers, tmp_path):
    env = {"on_error": on_error, "workers": workers}
    with pytest.raises(qmu.WorldError, match=r"raised in step with action \[.*\]: SystemExit\b"):
        train(tmp_path, lambda: World(exits, 50), env=env)
    assert qmu.open_run(runs.only_run(tmp_path)).info["status"] == "failed"


def exit_when_made():
    raise SystemExit("there is no licence")


@pytest.mark.parametrize("method", ["reset", "close", None])
def test_a_world_that_exits_elsewhere_is_named(method, tmp_path):
    class Exiting(World):
        def reset(self, *, seed=None, options=None):
            if method == "reset":
                exit_when_made()
            return super().reset(seed=seed, options=options)

        def close(self):
            if method == "close":
                exit_when_made()

    if method == "close":
        assert qmu.open_run(train(tmp_path, lambda: Exiting(raises, 10**9)))
        return
    source = (lambda: Exiting(raises, 10**9)) if method else exit_when_made
    failure = qmu.WorldError if method else qmu.ConfigError
    with pytest.raises(failure, match=r"raised.*SystemExit: there is no licence"):
        train(tmp_path, source)


def test_ctrl_c_in_a_world_stays_one(tmp_path):
    def interrupts(world):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, lambda: World(interrupts, 50))


def test_a_world_that_fails_in_reset_is_replaced_and_counted(tmp_path):
    class Stuck(World):
        def reset(self, *, seed=None, options=None):
            if World.steps == 60:
                World.steps += 1
                raise RuntimeError("the gears are stuck")
            return super().reset(seed=seed, options=options)

    with pytest.warns(RuntimeWarning, match="was replaced: .*the gears are stuck"):
        directory = train(tmp_path, lambda: Stuck(raises, 10**9), env={"on_error": "restart"})
    counted = [line.get("rollout/restarts") for line in runs.metrics(directory)]
    assert max(count for count in counted if count is not None) == 1


def test_a_factory_that_fails_later_is_a_failure_of_the_world(tmp_path):
    def make():
        if World.made == 3:
            raise OSError("no more of them")
        return World(raises, 50)

    with pytest.raises(qmu.WorldError, match=r"no other could be made: .*no more of them"):
        train(tmp_path, make, env={"on_error": "restart"})


def test_a_world_that_hangs_when_it_is_closed_holds_nobody_up(tmp_path):
    class Clinging(World):
        def close(self):
            if World.steps >= 100:
                time.sleep(1000)

    started = time.monotonic()
    with pytest.raises(qmu.WorldError, match="the motor burned out"):
        train(tmp_path, lambda: Clinging(raises, 100), env={"step_timeout": 0.2})
    assert time.monotonic() - started < 60


WRONG_VECTORS = {
    "three observations": lambda result: (np.zeros((3, 3), np.float32), *result[1:]),
    "one observation": lambda result: (np.zeros((1, 3), np.float32), *result[1:]),
    "no observation": lambda result: (None, *result[1:]),
    "one reward": lambda result: (result[0], 1.0, *result[2:]),
    "one flag": lambda result: (*result[:2], np.array([True]), *result[3:]),
    "no final observations": lambda result: (*result[:2], np.array([True, False]), result[3], {}),
}


@pytest.mark.parametrize("name", WRONG_VECTORS)
def test_a_vector_environment_that_returns_the_wrong_number_is_named(name, tmp_path):
    class Wrong(gym.vector.SyncVectorEnv):
        def step(self, actions):
            result = super().step(actions)
            return WRONG_VECTORS[name](result) if World.steps > 100 else result

    vector = Wrong(
        [lambda: World(raises, 10**9)] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP
    )
    with pytest.raises(qmu.WorldError, match=r"SyncVectorEnv|Wrong"):
        train(tmp_path, vector)


@pytest.mark.filterwarnings("ignore:a world of seed 0 failed")
def test_worlds_that_fail_again_and_again_are_given_up(tmp_path):
    with pytest.raises(qmu.WorldError, match="5 new worlds in a row failed, too"):
        train(tmp_path, lambda: World(raises, 50, often=10**9), env={"on_error": "restart"})
    assert World.made < 20


def test_a_hanging_world_is_stopped_at(tmp_path):
    with pytest.raises(qmu.WorldError, match=r"took longer than 0\.2 s \(--env.step-timeout\)"):
        train(tmp_path, lambda: World(hangs, 100), env={"step_timeout": 0.2})
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_spaces_that_change_are_noticed(tmp_path):
    class Changing(World):
        def reset(self, *, seed=None, options=None):
            if World.steps >= 60:
                self.observation_space = gym.spaces.Box(-2, 2, (3,), np.float32)
            return super().reset(seed=seed, options=options)

    with pytest.raises(qmu.WorldError, match="changed its spaces in reset"):
        train(tmp_path, lambda: Changing(raises, 10**9))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
def test_other_numbers_are_cast(dtype, tmp_path):
    class Other(World):
        observation_space = gym.spaces.Box(0, 100, (3,), dtype)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.full(3, 7, dtype), {}

        def step(self, action):
            return np.full(3, 7, dtype), *super().step(action)[1:]

    directory = train(tmp_path, lambda: Other(raises, 10**9))
    saved = store.read_checkpoint(runs.checkpoints(directory)[0])
    (rows,) = runs.stream(saved, directory / "checkpoints" / store.SEGMENTS).values()
    assert {tuple(np.frombuffer(row[:12], np.float32)) for row in rows.values()} == {(7, 7, 7)}


class Dying(World):
    """Ends its process at a step."""

    def __init__(self, at):
        super().__init__(raises, 10**9)
        self.at_all = at

    def step(self, action):
        if World.steps >= self.at_all:
            os._exit(7)
        return super().step(action)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_world_that_dies_in_a_process_of_its_own_is_reported(tmp_path):
    World.steps = 0
    vector = gym.vector.AsyncVectorEnv(
        [lambda: Dying(60)] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP
    )
    with pytest.raises(qmu.WorldError, match="raised in step"):
        train(tmp_path, vector)
    directory = runs.only_run(tmp_path)
    assert store.read_checkpoint(runs.checkpoints(directory)[0]).state["step"] == 116
    assert all(not process.is_alive() for process in vector.processes)


def test_a_vector_environment_has_no_worlds_to_replace(tmp_path):
    vector = gym.vector.SyncVectorEnv(
        [lambda: World(raises, 10**9)] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP
    )
    with pytest.raises(qmu.ConfigError, match=r"--env\.on-error restart cannot replace"):
        train(tmp_path, vector, env={"on_error": "restart"})


@pytest.fixture
def learn_by(monkeypatch):
    """Return a function that gives critics another loss, in programs that the test compiles."""

    def patch(loss):
        monkeypatch.setattr(algorithm, "critic_loss", loss)
        learner.program.cache_clear()

    yield patch
    learner.program.cache_clear()


def test_a_run_that_diverges_at_its_very_end_has_not_finished(tmp_path, learn_by):
    def poisoned(value, target, weight, loss):
        del loss
        return jnp.sum(value * weight) * jnp.where((target > 1e3).any(), jnp.nan, 1.0)

    class Late(World):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 1e4 if World.steps > 60 else 1.0, *rest

    learn_by(poisoned)
    # The actor, which is looked at in every chunk, never learns.
    with pytest.raises(qmu.DivergedError, match="critics"):
        train(
            tmp_path,
            lambda: Late(raises, 10**9),
            actor={"interval": 10**6},
            log={"interval": 10**6},
        )
    directory = runs.only_run(tmp_path)
    assert qmu.open_run(directory).info["status"] == "diverged"
    assert runs.checkpoints(directory) == []


def test_a_poisoned_gradient_stops_the_run_before_a_checkpoint(tmp_path, learn_by):
    healthy = algorithm.critic_loss

    def poisoned(value, target, weight, loss):
        # Where the batch happens to hold what the world only shows late.
        return healthy(value, target, weight, loss) * jnp.where((target > 1e3).any(), jnp.inf, 1.0)

    class Late(World):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 1e4 if World.steps > 100 else 1.0, *rest

    learn_by(poisoned)
    with pytest.raises(qmu.DivergedError, match=r"diverged: at step .*no finite numbers\. Lower"):
        train(tmp_path, lambda: Late(raises, 10**9), train={"save_interval": 40})
    directory = runs.only_run(tmp_path)
    assert qmu.open_run(directory).info["status"] == "diverged"
    for path in runs.checkpoints(directory):
        saved = store.read_checkpoint(path)
        assert saved.state["step"] <= 120
        agents = [value for name, value in saved.arrays.items() if name.startswith("agents")]
        assert agents
        assert all(np.isfinite(value).all() for value in agents)
