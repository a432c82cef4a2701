"""A run in a world of the user's own: its module, keyword arguments, wrappers, parts."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import gymnasium as gym
import jax
import numpy as np
import pytest
import runs
from gymnasium.spaces import MultiBinary

import qmu
from qmu.cli import main
from qmu.records.again import how_to_go_on, how_to_score

SMALL = {
    "env": {"episode_length": 30},
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"capacity": 300, "batch_size": 8},
    "explore": {"start_steps": 20},
    "train": {
        "total_steps": 60,
        "eval_interval": 60,
        "save_interval": 60,
        "eval_episodes": 1,
        "final_episodes": 1,
    },
    "log": {"tensorboard": False, "interval": 30},
}
WORDS = [
    word
    for group, values in SMALL.items()
    for option, value in values.items()
    if value is not False
    for word in (
        f"--{group}.{option.replace('_', '-')}",
        *map(str, value if isinstance(value, list) else [value]),
    )
]
MODULE = """
import gymnasium as gym
import jax
import numpy as np
from gymnasium.envs.classic_control import PendulumEnv

gym.register("Swing-v0", PendulumEnv, max_episode_steps=200)

class Weak(gym.ActionWrapper):
    def action(self, action):
        with open("imported", "a"):
            return action / 2

class Loud(gym.wrappers.RescaleAction):
    def __init__(self, env):
        super().__init__(env, np.float32(-0.5), np.float32(0.5))
"""
# A world with the spaces of the other, and other keyword arguments.
ELSEWHERE = """
import gymnasium as gym
import jax
from gymnasium.envs.classic_control import PendulumEnv

class Paid(PendulumEnv):
    def __init__(self, reward=1.0, render_mode=None):
        super().__init__(render_mode)
        self.reward = reward

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, self.reward, *rest

gym.register("Swing-v0", Paid, max_episode_steps=200)
"""
FACTOR = "gymnasium.wrappers.TimeAwareObservation"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield
    sys.modules.pop("swing", None)
    gym.registry.pop("Swing-v0", None)


def train(*words):
    assert main(["train", *words, *WORDS]) == 0
    (run,) = Path("runs").glob("*/*")
    return run


def refused(capsys, *words):
    """Return what is said against a command, which writes nothing."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert main(list(words)) == 2
    assert sorted(Path().rglob("*")) == before
    return capsys.readouterr().err


@pytest.mark.long
def test_keyword_arguments_are_part_of_the_run(capsys):
    run = train("Pendulum-v1", "--env.kwargs", "{g = 0.0}")
    assert tomllib.loads((run / "config.toml").read_text())["env"]["kwargs"] == {"g": 0.0}
    held = qmu.open_run(run)
    assert held.world()[1].kwargs.values() == {"g": 0.0}
    own, other = held.evaluate(2), held.in_world(kwargs={"g": 20.0}).evaluate(2)
    assert own.rewards != other.rewards
    assert held.in_world(kwargs="g = 0.0").evaluate(2) == own
    Path("swing.py").write_text(ELSEWHERE)
    elsewhere = held.in_world("swing:Swing-v0")
    assert elsewhere.evaluate(2).rewards == (30.0, 30.0)
    assert elsewhere.in_world(kwargs={"reward": 2.0}).evaluate(1).rewards == (60.0,)
    assert main(["eval", str(run), "--env", "swing:Swing-v0", "--episodes", "1"]) == 0
    assert main(["resume", str(run), "--train.total-steps", "90"]) == 2
    again = ["--train.total-steps", "90", "--train.schedule-steps", "90"]
    assert main(["resume", str(run), *again]) == 0
    file = (run / "config.toml").read_text()
    (run / "config.toml").write_text(file.replace("g = 0.0", "g = 1.0"))
    more = ["--train.total-steps", "120", "--train.schedule-steps", "120"]
    assert "--env.kwargs was {g = 0.0}" in refused(capsys, "resume", str(run), *more)


def test_a_file_gives_keyword_arguments_as_a_table():
    Path("own.toml").write_text("[env.kwargs]\ng = 2.0\n")
    run = train("Pendulum-v1", "--config", "own.toml")
    assert qmu.open_run(run).config.env.kwargs == "{g = 2.0}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env.kwargs", "{gravity = 2}"], "Pendulum-v1 does not take --env.kwargs {gravity = 2}"),
        (["--env.kwargs", "{g = "], "--env.kwargs: '{g = ' is not a table of TOML"),
        (["--env.kwargs", "render_mode = 'human'"], "--env.kwargs must leave to qmu what qmu sets"),
        (["--env.wrappers", "nowhere.Wrapper"], "the module nowhere of the wrapper"),
        (["--env.wrappers", "Wrapper"], "must hold names such as package.module.Wrapper"),
    ],
)
def test_wrong_words_are_a_sentence_and_leave_nothing(capsys, words, said):
    message = refused(capsys, "train", "Pendulum-v1", *words)
    assert said in message
    assert len(message.splitlines()) == 1


def test_wrappers_are_named_again_for_what_goes_on(capsys):
    Path("swing.py").write_text(MODULE)
    run = train("Pendulum-v1", "--env.wrappers", "swing.Weak")
    assert tomllib.loads((run / "config.toml").read_text())["env"]["wrappers"] == ["swing.Weak"]
    assert Path("imported").exists()
    sys.modules.pop("swing")
    gym.registry.pop("Swing-v0")
    Path("imported").unlink()
    more = ["--train.total-steps", "90", "--train.schedule-steps", "90"]
    said = refused(capsys, "resume", str(run), *more)
    assert "names the wrappers swing.Weak, which a file may not import: name them again" in said
    assert "name them yourself, with --wrappers" in refused(capsys, "eval", str(run))
    said = refused(capsys, "resume", str(run), *more, "--wrappers", FACTOR)
    assert f"the wrappers {FACTOR} are not those that" in said
    Path("again.toml").write_text((run / "config.toml").read_text())
    assert "give them on the command line" in refused(capsys, "train", "--config", "again.toml")
    assert "swing" not in sys.modules
    assert main(["eval", str(run), "--episodes", "1", "--wrappers", "swing.Weak"]) == 0
    assert main(["resume", str(run), *more, "--wrappers", "swing.Weak"]) == 0
    assert qmu.open_run(run).info["steps"] == 90


def test_a_run_that_is_stopped_says_what_to_type():
    config = qmu.config.Config(qmu.config.Env(id="a:B-v0", wrappers=("c.D", "e.F")))
    words = "qmu resume runs/here --env a:B-v0 --wrappers c.D e.F"
    assert how_to_go_on(Path("runs/here"), config, {}) == words
    words = "qmu.resume('runs/here', env='a:B-v0', wrappers=['c.D', 'e.F'], schedules=...)"
    assert how_to_go_on(Path("runs/here"), config, {"schedules": ["actor.lr"]}) == words


def test_what_a_finished_run_tells_to_type_measures_it(capsys):
    Path("swing.py").write_text(MODULE)
    capsys.readouterr()
    run = train("swing:Swing-v0", "--env.wrappers", "swing.Weak", "swing.Loud")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("score ")]
    typed = f"qmu eval {run} --env swing:Swing-v0 --wrappers swing.Weak swing.Loud --episodes 20"
    assert line == f"score   {typed}"
    assert main(shlex.split(typed)[1:]) == 0


def test_what_to_give_again_in_python_is_told():
    named = qmu.config.Config(qmu.config.Env(id="a:B-v0", wrappers=("c.D",)))
    own, unnamed = {"networks": ["actor"]}, qmu.config.Config(qmu.config.Env(wrappers=("c.D",)))
    assert how_to_score(Path("r"), named, own) == (
        "qmu.open_run('r', networks=...).in_world(env='a:B-v0', wrappers=['c.D']).evaluate()"
    )
    assert how_to_score(Path("r"), unnamed, {"networks": ["critic"]}) == (
        "qmu.open_run('r').in_world(env=..., wrappers=['c.D']).evaluate()"
    )
    plain = qmu.config.Config(qmu.config.Env(id="B-v0"))
    assert how_to_score(Path("r"), plain, {"networks": ["critic"]}) == "qmu eval r --episodes 20"


def test_wrappers_in_python_are_at_hand_for_the_run_itself():
    groups = SMALL | {"env": {"wrappers": [FACTOR], "episode_length": 30}}
    run = qmu.train("Pendulum-v1", **groups)
    assert run.policy().obs_shape == (4,)
    assert len(run.evaluate(1).rewards) == 1
    with pytest.raises(qmu.ConfigError, match="name them yourself"):
        qmu.open_run(run.directory).evaluate(1)
    assert len(qmu.open_run(run.directory).in_world(wrappers=[FACTOR]).evaluate(1).rewards) == 1


def test_a_policy_is_not_measured_where_its_actions_mean_something_else(capsys):
    Path("swing.py").write_text(MODULE)
    run = train("Pendulum-v1", "--env.wrappers", "swing.Loud")
    capsys.readouterr()
    for words in (["eval"], ["play", "--video", "out.mp4"]):
        command, *more = words
        said = refused(capsys, command, str(run), *more, "--env", "Pendulum-v1", "--wrappers")
        assert "actions lie in [-0.5, 0.5], those of Pendulum-v1 in [-2, 2]" in said
    assert main(["eval", str(run), "--episodes", "1", "--wrappers", "swing.Loud"]) == 0


def test_a_preset_cannot_name_wrappers():
    Path("mine.toml").write_text(f"[env]\nwrappers = ['{FACTOR}']\n")
    with pytest.raises(qmu.ConfigError, match="which a file may not import: give them yourself"):
        qmu.DDPG("Pendulum-v1", preset="mine.toml")


def test_a_saved_model_has_its_wrappers_named_again():
    model = qmu.DDPG("Pendulum-v1", env={"wrappers": [FACTOR]}, replay={"capacity": 1000})
    model.save("model")
    with pytest.raises(qmu.ConfigError, match=r"name them again as wrappers=\[...\]"):
        qmu.DDPG.load("model")
    again = qmu.DDPG.load("model", wrappers=[FACTOR])
    assert again.predict(np.zeros(4))[0].shape == (1,)
    again.close()
    model.close()


@pytest.mark.long
def test_the_console_script_finds_a_module_in_the_working_folder(tmp_path):
    (tmp_path / "swing.py").write_text(MODULE)
    command = shutil.which("qmu", path=os.path.dirname(sys.executable))
    words = [command, "train", "swing:Swing-v0", *WORDS]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").glob("*/*")
    assert json.loads((run / "run.json").read_text())["environment"] == "swing:Swing-v0"


class Reach(gym.Env):
    """A point is to reach a goal: a dictionary of both."""

    action_space = gym.spaces.Box(-1, 1, (2,))
    observation_space = gym.spaces.Dict(
        {
            "observation": gym.spaces.Box(-np.inf, np.inf, (2,)),
            "goal": gym.spaces.Box(-1, 1, (2,)),
            "mode": gym.spaces.Discrete(2),
        }
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = np.zeros(2), self.np_random.uniform(-1, 1, 2)
        return self.seen(), {}

    def step(self, action):
        self.place = self.place + 0.1 * action
        return self.seen(), -float(np.abs(self.place - self.goal).sum()), False, False, {}

    def seen(self):
        return {"observation": np.float32(self.place), "goal": np.float32(self.goal), "mode": 1}


def test_a_policy_takes_the_dictionary_that_the_world_gives(tmp_path):
    run = qmu.train(Reach, **SMALL)
    policy = qmu.load_policy(run.directory / "best")
    world = Reach()
    seen, _ = world.reset(seed=3)
    flat = np.concatenate([seen["goal"], [0, 1], seen["observation"]])
    np.testing.assert_array_equal(policy(seen), policy(flat))
    batch = {name: np.stack([value, value]) for name, value in seen.items()}
    assert policy(batch).shape == (2, 2)
    with pytest.raises(ValueError, match="without goal; there have to be goal"):
        policy({"observation": seen["observation"], "gaol": seen["goal"], "mode": 1})


def test_parts_that_have_changed_are_another_environment(tmp_path):
    run = qmu.train(Reach, **SMALL)

    class Renamed(Reach):
        """The same, under another name of one part."""

        observation_space = gym.spaces.Dict(
            {
                "goals" if key == "goal" else key: space
                for key, space in Reach.observation_space.items()
            }
        )

        def seen(self):
            seen = super().seen()
            return {"goals": seen.pop("goal"), **seen}

    Renamed.__name__ = "Reach"
    with pytest.raises(qmu.ConfigError, match="has changed since the checkpoint"):
        qmu.resume(run.directory, env=Renamed, total_steps=90, schedule_steps=90)


class Single(gym.Env):
    """Takes one number without an axis, and returns its reward and end in arrays."""

    observation_space = gym.spaces.Dict({"x": gym.spaces.Box(-9, 9, ()), "on": MultiBinary(1)})
    action_space = gym.spaces.Box(-1, 1, ())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"x": np.float32([0.5]), "on": 1}, {}

    def step(self, action):
        assert action.shape == ()
        return {"x": 1.5, "on": [0]}, np.array([[-0.5]]), np.array([False]), False, {}


def test_actions_without_an_axis_are_trained_asked_for_and_exported(tmp_path):
    run = qmu.train(Single, **SMALL)
    observation = {"x": 1.5, "on": np.array([0])}
    action = run.policy()(observation)
    assert action.shape == ()
    assert run.policy().batch({"x": [1.5, 0.5], "on": [[0], [1]]}).shape == (2,)
    exported = qmu.export(run, tmp_path / "single.npz").path
    np.testing.assert_array_equal(qmu.load(exported)(observation), action)
    model = qmu.DDPG(Single, **runs.of_a_model(SMALL))
    assert model.learn(60).predict(observation)[0].shape == ()


def test_it_is_said_that_evaluations_were_cut_off(monkeypatch, capsys):
    monkeypatch.setattr("qmu.collecting.evaluate.LONGEST_EPISODE", 25)
    endless = SMALL | {"env": {}, "train": SMALL["train"] | {"save_interval": 0}}
    with pytest.warns(
        RuntimeWarning, match="in an evaluation, of 1 episode 1 had not ended after 25"
    ):
        run = qmu.train(Single, **endless)
    assert run.info["members"][0]["final_cut"] == 1
    assert qmu.open_run(run.directory).in_world(Single).evaluate(2).cut == 2


class Sized(Single):
    """Has bounds of actions, and a time limit, that are given."""

    def __init__(self, high=0.1, dtype=np.float64, limit=15):
        self.action_space = gym.spaces.Box(-high, high, (1,), dtype)
        self.max_episode_steps, self.time = limit, 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.time += 1
        return {"x": 1.5, "on": [0]}, 1.0, False, self.time >= self.max_episode_steps, {}


def test_in_a_world_with_another_limit_a_run_goes_on_and_its_best_policy_starts_anew():
    small = SMALL | {"env": {}, "train": SMALL["train"] | {"total_steps": 120}}
    run = qmu.train(Sized, **small)
    assert run.info["members"][0]["best_mean_reward"] == 15.0
    later = {"total_steps": 180, "schedule_steps": 180}
    with pytest.warns(RuntimeWarning, match="Sized has changed .*limit was 15, and is 12") as told:
        again = qmu.resume(run.directory, env=lambda: Sized(limit=12), **later)
    (said,) = [str(one.message) for one in told if "has changed" in str(one.message)]
    kept = Path(said.rpartition("is in ")[2])
    assert qmu.load_policy(kept / "best" / "seed-0").info["evaluation_mean_reward"] == 15.0
    member = again.info["members"][0]
    assert (member["best_mean_reward"], member["best_step"]) == (12.0, 180)
    assert again.policy().info["evaluation_mean_reward"] == 12.0
    assert again.info["resumed"][0]["world_changed"] == ["the time limit was 15, and is 12"]


def test_bounds_in_single_and_in_double_precision_are_the_same_everywhere():
    run = qmu.train(Sized, **SMALL)
    single = run.in_world(lambda: Sized(dtype=np.float32))
    assert single.evaluate(1).lengths == (15,)
    later = {"total_steps": 120, "schedule_steps": 120}
    qmu.resume(run.directory, env=lambda: Sized(dtype=np.float32), **later)
    model = qmu.DDPG(Sized, **runs.of_a_model(SMALL))
    model.set_env(lambda: Sized(dtype=np.float32))
    model.save("model")
    qmu.DDPG.load("model", env=lambda: Sized(dtype=np.float32)).close()
    with pytest.raises(qmu.ConfigError, match=r"actions were in \[-0.1, 0.1\], and are in \[-0.2"):
        qmu.DDPG.load("model", env=lambda: Sized(high=0.2))
    with pytest.raises(qmu.ConfigError, match=r"Sized has changed .*actions were in \[-0.1, 0.1\]"):
        qmu.resume(run.directory, env=lambda: Sized(high=0.2), total_steps=180, schedule_steps=180)


def test_a_world_that_switches_jax_to_64_bits_keeps_them_for_itself(monkeypatch):
    seen = []

    class Precise(Single):
        def reset(self, *, seed=None, options=None):
            jax.config.update("jax_enable_x64", True)
            return super().reset(seed=seed)

        def step(self, action):
            seen.append(jax.numpy.zeros(1).dtype)
            return super().step(action)

    try:
        run = qmu.train(Precise, **(SMALL | {"env": SMALL["env"] | {"normalize_obs": True}}))
    finally:
        jax.config.update("jax_enable_x64", False)
    assert run.info["status"] == "finished"
    assert set(seen) == {np.dtype(np.float64)}
