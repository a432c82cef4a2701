"""SIGTERM, Ctrl-C, kill -9: what is saved, what is said, and how the run goes on."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
import runs

import qmu
from qmu.learning.loop import Trainer
from qmu.saving import store

ENDLESS = [
    *("--actor.hidden-sizes", "8", "--critic.hidden-sizes", "8", "--replay.batch-size", "8"),
    *("--replay.capacity", "2000", "--explore.start-steps", "50", "--log.no-tensorboard"),
    *("--train.chunk", "8", "--train.eval-interval", "500", "--train.eval-episodes", "1"),
    *("--train.save-interval", "250", "--train.total-steps", "10000000"),
]
PATIENCE = 120


def start(folder, *words, world="Pendulum-v1", **keywords):
    """Start `qmu train` as a process of its own group."""
    return subprocess.Popen(
        [sys.executable, "-m", "qmu", "train", world, "--log.dir", str(folder), *ENDLESS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **keywords,
    )


def wait_for_checkpoint(process, folder, count=1):
    """Return the run's directory when so many checkpoints have been written."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and process.poll() is None:
        found = list(folder.glob("*/*/checkpoints/0*/manifest.json"))
        if len(found) >= count:
            return found[0].parents[2]
        time.sleep(0.02)
    process.kill()
    raise AssertionError(process.communicate())


def ended_by(process, number, code):
    """Send a signal, and return what the process says before it ends with this code."""
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return said


def go_on(directory, **changes):
    """Resume a run for some 300 steps more, and return where it began."""
    step = store.read_checkpoint(store.complete(directory / "checkpoints")[0]).state["step"]
    run = qmu.resume(directory, total_steps=step + 300, **changes)
    assert run.info["status"] == "finished"
    return run.info["resumed"][-1]["step"]


@pytest.mark.fault
def test_sigterm_saves_says_how_to_go_on_and_exits_with_143(tmp_path):
    process = start(tmp_path)
    directory = wait_for_checkpoint(process, tmp_path)
    said = ended_by(process, signal.SIGTERM, 143)
    assert f"qmu resume {directory}" in said
    info = qmu.open_run(directory).info
    assert info["status"] == "stopped"
    saved = store.read_checkpoint(store.complete(directory / "checkpoints")[0])
    assert saved.state["step"] == info["steps"]
    assert saved.scheduled == (info["steps"] % 250 == 0)
    # The newest of the schedule is kept, whatever came after it.
    exact = info["steps"] // 250 * 250
    assert go_on(directory, exact=True) == exact


@pytest.mark.fault
def test_sigterm_at_random_moments_and_then_kill(tmp_path):
    moments = random.Random(0)
    for attempt in range(runs.count(3, 20)):
        folder = tmp_path / str(attempt)
        process = start(folder)
        directory = wait_for_checkpoint(process, folder)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(signal.SIGTERM)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.communicate(timeout=PATIENCE)
        assert go_on(directory) >= 250


@pytest.mark.fault
def test_ctrl_c_saves_and_exits_with_130(tmp_path):
    process = start(tmp_path)
    directory = wait_for_checkpoint(process, tmp_path)
    said = ended_by(process, signal.SIGINT, 130)
    assert f"go on with: qmu resume {directory}" in said
    info = qmu.open_run(directory).info
    assert info["status"] == "interrupted"
    assert go_on(directory) == info["steps"]


def test_sigterm_while_the_end_is_evaluated_is_gone_on_from(tmp_path, monkeypatch):
    whole = runs.train(tmp_path / "whole", train={"eval_interval": 80})
    evaluate = Trainer.evaluate

    def interrupted(trainer):
        if trainer.step == 240:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(trainer)

    with monkeypatch.context() as patches:
        patches.setattr(Trainer, "evaluate", interrupted)
        with (
            pytest.warns(RuntimeWarning, match="stopping when this chunk is done"),
            pytest.raises(qmu.StoppedError, match="stopped by SIGTERM at step 240"),
        ):
            runs.train(tmp_path / "stopped", train={"eval_interval": 80})
    directory = runs.only_run(tmp_path / "stopped")
    assert qmu.open_run(directory).info["status"] == "stopped"
    run = qmu.resume(directory)
    assert run.info["status"] == "finished"
    assert run.info["members"] == qmu.open_run(whole).info["members"]
    assert runs.metrics(directory) == runs.metrics(whole)


HANGING = '''
import subprocess
import time

import gymnasium as gym
from gymnasium.envs.classic_control import PendulumEnv


class Hanging(PendulumEnv):
    """Starts a process of its own, and hangs at its 400th step."""

    steps = 0

    def __init__(self):
        super().__init__()
        self.child = subprocess.Popen(["sleep", "1000"])

    def step(self, action):
        Hanging.steps += 1
        while Hanging.steps >= 400:
            time.sleep(0.01)
        return super().step(action)


gym.register("Hanging-v0", entry_point=Hanging, max_episode_steps=200)
'''


@pytest.mark.fault
def test_a_second_ctrl_c_ends_everything_at_once(tmp_path):
    (tmp_path / "hanging.py").write_text(HANGING)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = start(tmp_path / "runs", world="hanging:Hanging-v0", env=environment)
    directory = wait_for_checkpoint(process, tmp_path / "runs")
    time.sleep(1.5)  # it hangs by now
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert process.returncode == 130
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert store.read_checkpoint(store.complete(directory / "checkpoints")[0]).state["step"] == 250


PLAIN = {"plain": []}
KINDS = {
    "three members": ["--seeds", "3"],
    "prioritized": ["--replay.priorities", "td-error"],
    "parameter noise": ["--explore.noise", "none", "--explore.parameter-distance", "0.3"],
    "normalization": ["--env.normalize-obs", "--critic.norm", "batch"],
}
TOGETHER = {"together": [word for words in KINDS.values() for word in words]}
KILLED = runs.count(PLAIN | TOGETHER, PLAIN | KINDS | TOGETHER)


@pytest.mark.fault
@pytest.mark.parametrize("kind", KILLED)
def test_kill_between_is_bit_for_bit_the_whole_run(kind, tmp_path):
    words = ["--train.total-steps", "1000", "--train.schedule-steps", "1000"]
    words += ["--log.interval", "70", *KILLED[kind]]
    process = start(tmp_path / "killed", *words)
    directory = wait_for_checkpoint(process, tmp_path / "killed", 2)
    process.kill()
    process.communicate()
    assert qmu.open_run(directory).info["status"] == "running"
    whole = start(tmp_path / "whole", *words)
    done = subprocess.run(
        [sys.executable, "-m", "qmu", "resume", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, said = whole.communicate(timeout=PATIENCE)
    assert whole.returncode == 0, said
    other = runs.only_run(tmp_path / "whole")
    assert runs.final_state(directory) == runs.final_state(other)
    assert runs.metrics(directory) == runs.metrics(other)


@pytest.mark.fault
def test_two_processes_with_one_seed_are_equal_bit_for_bit(tmp_path):
    words = ["--train.total-steps", "500", "--seeds", "2"]
    processes = [start(tmp_path / name, *words) for name in ("one", "other")]
    for process in processes:
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    one, other = (runs.only_run(tmp_path / name) for name in ("one", "other"))
    assert runs.final_state(one) == runs.final_state(other)
    assert runs.metrics(one) == runs.metrics(other)


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_with_workers_is_saved_though_they_hear_the_signal_as_well(tmp_path, number, code):
    process = start(tmp_path, "--env.workers", "2", "--seeds", "2")
    directory = wait_for_checkpoint(process, tmp_path)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    # As a terminal and a service manager do: to all of the group.
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert go_on(directory) > 0


@pytest.mark.long
def test_a_killed_run_leaves_no_workers(tmp_path):
    process = start(tmp_path, "--env.workers", "2", "--seeds", "2")
    directory = wait_for_checkpoint(process, tmp_path)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert go_on(directory) > 0


TAKER = """
import signal
import gymnasium as gym
from gymnasium.envs.classic_control import PendulumEnv

class Taker(PendulumEnv):
    def reset(self, **given):
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().reset(**given)

gym.register("Taker-v0", Taker, max_episode_steps=50)
"""


@pytest.mark.fault
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 143),
        (signal.SIGUSR1, 143),
        (signal.SIGXCPU, 143),
    ],
)
def test_what_asks_to_stop_saves_also_where_a_world_takes_signals_for_itself(
    tmp_path, number, code
):
    (tmp_path / "taker.py").write_text(TAKER)
    process = start(tmp_path, world="taker:Taker-v0", cwd=tmp_path)
    directory = wait_for_checkpoint(process, tmp_path)
    said = ended_by(process, number, code)
    assert f"stopped by {signal.Signals(number).name}" in said or number == signal.SIGINT
    assert "what was learned until then is saved" in said
    assert qmu.open_run(directory).info["status"] in ("stopped", "interrupted")


@pytest.mark.fault
def test_what_is_ignored_when_a_run_begins_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(tmp_path, "--env.workers", "1")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGHUP)
    wait_for_checkpoint(process, tmp_path, 3)
    ended_by(process, signal.SIGTERM, 143)


@pytest.mark.parametrize(
    ("number", "raised", "status"),
    [
        (signal.SIGINT, KeyboardInterrupt, "interrupted"),
        (signal.SIGTERM, qmu.StoppedError, "stopped"),
    ],
)
def test_a_signal_in_the_final_scoring_ends_it_and_a_resume_does_it(
    tmp_path, monkeypatch, number, raised, status
):
    score = Trainer.score

    def interrupted(trainer, *words):
        os.kill(os.getpid(), number)
        return score(trainer, *words)

    with monkeypatch.context() as patches:
        patches.setattr(Trainer, "score", interrupted)
        with (
            pytest.warns(RuntimeWarning, match="stopping when this chunk is done"),
            pytest.raises(raised),
        ):
            runs.train(tmp_path)
    directory = runs.only_run(tmp_path)
    info = qmu.open_run(directory).info
    assert info["status"] == status
    assert "members" not in info
    run = qmu.resume(directory)
    assert run.info["status"] == "finished"
    assert run.info["steps"] == info["steps"] == 240


def test_ctrl_c_while_the_program_is_loaded_leaves_no_traceback(tmp_path):
    """It comes while the command line's modules are imported, of which one waits."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Wait:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'qmu.cli':\n"
        "            import time\n"
        "            print('here', flush=True)\n"
        "            time.sleep(30)\n"
        "sys.meta_path.insert(0, Wait())\n"
    )
    around = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        [sys.executable, "-m", "qmu", "presets"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=around,
    ) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert said == ""
