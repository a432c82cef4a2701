"""One world in all, in which training and evaluations take turns; runs without evaluations."""

import json
import time

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from probes import LISTED, Counter

import qmu
from qmu import cli
from qmu.learning.loop import FINAL_SEEDS, SELECTION_SEEDS, Trainer
from qmu.world.make import find_maker

SINGLE = {"env": {"single": True}}


class Port(gym.Wrapper):
    """A pendulum that can exist once at a time, and writes down what is done with it."""

    open, made, done = 0, 0, []

    def __init__(self, length=30):
        if Port.open:
            raise OSError("the port is in use")
        super().__init__(gym.make("Pendulum-v1", max_episode_steps=length))
        Port.open += 1
        Port.made += 1

    def reset(self, **given):
        Port.done.append(given.get("seed"))
        return super().reset(**given)

    def step(self, action):
        result = super().step(action)
        Port.done.append("end" if result[2] or result[3] else "step")
        return result

    def close(self):
        Port.open -= 1
        super().close()


@pytest.fixture(autouse=True)
def nobody_at_the_port():
    Port.open, Port.made, Port.done = 0, 0, []


def train(folder, world=Port, **changes):
    """Train a small run in the only world."""
    merged = {group: {**values, **changes.get(group, {})} for group, values in SINGLE.items()}
    merged["env"] = {"episode_length": None} | merged["env"]
    return runs.train(folder, world, **(changes | merged))


@pytest.mark.parametrize("normalize", some([False, True], [True]))
def test_one_world_is_made_and_kept_from_the_first_look_to_the_final_score(normalize, tmp_path):
    directory = train(tmp_path, env={"normalize_obs": normalize})
    assert (Port.made, Port.open) == (1, 0)
    run = qmu.open_run(directory)
    assert run.info["status"] == "finished"
    # Another is made when the first one is closed.
    assert len(run.in_world(Port).evaluate(3).rewards) == 3
    assert (Port.made, Port.open) == (2, 0)


def test_a_second_world_that_cannot_be_made_is_told_with_the_option(tmp_path, capsys):
    with pytest.raises(qmu.ConfigError, match=r"the port is in use.*--env\.single"):
        runs.train(tmp_path, Port)
    gym.register("Port-v0", Port)
    try:
        assert cli.main(["check", "Port-v0", "--steps", "50"]) == 2
        assert "`qmu check`: --single" in capsys.readouterr().err
    finally:
        del gym.registry["Port-v0"]


# An episode of 40 steps ends just when an evaluation is due.
@pytest.mark.parametrize(
    ("length", "at"), [(25, [50, 100, 125, 175, 200, 240]), (40, [40, 80, 120, 160, 200, 240])]
)
def test_evaluations_wait_for_the_end_of_an_episode_and_leave_nothing_in_the_stream(
    length, at, tmp_path
):
    class Marked(Port):
        """Says in its first observation number whether an evaluation has begun the episode."""

        observation_space = gym.spaces.Box(-10, 10, (4,), np.float32)

        def reset(self, *, seed=None, options=None):
            obs, info = super().reset(seed=seed)
            # An episode without a seed goes on from the one before, in training.
            evaluating = seed in {*range(SELECTION_SEEDS, SELECTION_SEEDS + 2), FINAL_SEEDS}
            self.mark = 5.0 if evaluating else 0.0
            return np.append(obs, np.float32(self.mark)), info

        def step(self, action):
            obs, *rest = super().step(action)
            return np.append(obs, np.float32(self.mark)), *rest

    directory = train(tmp_path, lambda: Marked(length), train={"eval_episodes": 2})
    rows = runs.final_state(directory)[2][0, 0]
    marks = [np.frombuffer(row[:16], np.float32)[3] for row in rows.values()]
    assert len(marks) > 240
    assert set(marks) == {0.0}
    resets = [index for index, one in enumerate(Port.done) if one not in ("step", "end")]
    before = [Port.done[index - 1] for index in resets[1:]]
    # The last of training, at step 240, was cut off by the closing evaluation.
    cut = [one for one, last in zip(resets[1:], before, strict=True) if last == "step"]
    assert [Port.done[one] for one in cut] == ([SELECTION_SEEDS] if length == 25 else [])
    steps = [line["step"] for line in runs.metrics(directory) if "eval/mean_reward" in line]
    assert steps == at
    if length == 25:
        # No episode is begun that is not acted in.
        assert all(Port.done[index + 1] == "step" for index in resets)


VARIANTS = {
    "plain": {},
    "prioritized": {"replay": {"priorities": "td-error"}},
    "parameter noise": {"explore": {"noise": "none", "parameter_distance": 0.3}},
    "normalization": {"env": {"normalize_obs": True}, "critic": {"norm": "batch"}},
    "a ring that wraps": {"replay": {"capacity": 70}},
    "no overlap": {"train": {"overlap": False, "chunk": 1}},
}


@pytest.mark.parametrize("name", some(VARIANTS, ["prioritized"]))
@pytest.mark.parametrize("length", some([30, 25], [25]))
def test_a_resumed_run_is_the_one_that_was_never_interrupted(length, name, tmp_path):
    def world():
        return Port(length)

    changes = VARIANTS[name]
    whole = train(tmp_path / "whole", world, **changes)
    half = changes | {"train": changes.get("train", {}) | {"total_steps": 130}}
    halves = train(tmp_path / "halves", world, **half)
    qmu.resume(halves, total_steps=240, env=world, exact=True)
    assert runs.final_state(halves) == runs.final_state(whole)
    assert runs.metrics(halves) == runs.metrics(whole)
    assert [saved.name for saved in runs.checkpoints(whole)][1:] == [
        saved.name for saved in runs.checkpoints(halves)
    ][1:]
    steps = [int(saved.name) for saved in runs.checkpoints(whole)]
    # Saves wait for ends of episodes, too.
    assert all(step % length == 0 for step in steps if step != 240)


def test_an_episode_that_never_ends_is_cut_off_where_evaluations_are(monkeypatch, tmp_path):
    monkeypatch.setattr("qmu.learning.loop.LONGEST_EPISODE", 50)
    monkeypatch.setattr("qmu.collecting.evaluate.LONGEST_EPISODE", 50)
    with pytest.warns(RuntimeWarning, match="had not ended after 50 steps"):
        directory = train(
            tmp_path, lambda: Counter((10**9,)), train={"save_interval": 0}, log={"interval": 1000}
        )
    steps = [line["step"] for line in runs.metrics(directory) if "eval/mean_reward" in line]
    assert steps == [96, 176, 240]  # in whole chunks of 8: due at 40, 120


def test_a_world_that_fails_is_closed_before_another_is_made(tmp_path):
    class Frail(Port):
        def step(self, action):
            if len(Port.done) in (100, 300):
                Port.done.append("failed")
                raise OSError("no answer")
            return super().step(action)

    with pytest.warns(RuntimeWarning, match="failed before step .* and was replaced"):
        directory = train(tmp_path, Frail, env={"on_error": "restart"})
    assert (Port.made, Port.open) == (3, 0)
    assert qmu.open_run(directory).info["status"] == "finished"


def test_a_world_that_fails_is_closed_and_what_was_learned_is_saved(tmp_path):
    class Frail(Port):
        def step(self, action):
            if len(Port.done) > 200:
                raise OSError("no answer")
            return super().step(action)

    with pytest.raises(qmu.WorldError, match="no answer"):
        train(tmp_path, Frail)
    assert (Port.made, Port.open) == (1, 0)
    Port.done.clear()
    run = qmu.resume(runs.only_run(tmp_path), env=Port)
    assert run.info["status"] == "finished"
    assert (Port.made, Port.open) == (2, 0)


def test_an_environment_that_was_given_is_used_as_it_is_and_left_open(tmp_path):
    port = Port()
    port.unwrapped.g = 5.0
    directory = train(tmp_path, port)
    assert (Port.made, Port.open) == (1, 1)
    assert port.unwrapped.g == 5.0
    assert len(qmu.open_run(directory).in_world(port).evaluate(2).rewards) == 2
    with pytest.raises(qmu.ConfigError, match="restart makes another world"):
        train(tmp_path, port, env={"on_error": "restart"})
    with pytest.raises(qmu.ConfigError, match="episode-length would change in it"):
        train(tmp_path, port, env={"episode_length": 10})


NEED_ANOTHER = {
    "--env.count 2": {"env": {"count": 2}},
    "--env.workers 1": {"env": {"workers": 1}},
    "--seeds 2": {"train": {"seeds": 2}},
    "--env.render": {"env": {"render": True}},
    "--log.video-interval 10": {"log": {"video_interval": 10}},
}


@pytest.mark.parametrize("option", NEED_ANOTHER)
def test_what_needs_another_world_is_refused(option, tmp_path):
    with pytest.raises(qmu.ConfigError, match=rf"--env\.single is one world in all, and {option} "):
        train(tmp_path, **NEED_ANOTHER[option])
    assert Port.made == 0
    assert not list(tmp_path.iterdir())


@LISTED
def test_a_ready_made_vector_environment_is_refused(tmp_path):
    with pytest.raises(qmu.ConfigError, match=r"--env\.single is one world in all, and Pendulum"):
        train(tmp_path, gym.make_vec("Pendulum-v1", 2))


def test_arms_are_refused(tiny_config):
    config = tiny_config(env={"single": True})
    arms = {"one": {}, "two": {"actor": {"lr": 0.1}}}
    with pytest.raises(qmu.ConfigError, match="2 agents need one each"):
        Trainer(config, find_maker(Port, single=True), arms)


def test_nothing_is_left_open_where_the_run_cannot_begin(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(qmu.ConfigError):
        train(tmp_path / "file")
    with pytest.raises(qmu.ConfigError):
        train(tmp_path, train={"device": "tpu"})
    assert Port.open == 0


def test_programs_are_compiled_before_the_first_reset(tiny_config):
    compiled = []

    class Watching(Port):
        def reset(self, **given):
            compiled.append(trainer.learner.compiled._cache_size())
            return super().reset(**given)

    # Shapes that no other test has compiled.
    config = tiny_config(env={"single": True}, actor={"hidden_sizes": [11]}, train={"chunk": 7})
    trainer = Trainer(config, find_maker(Watching, single=True))
    assert trainer.learner.compiled._cache_size() == 0
    list(trainer.run(60))
    trainer.close()
    assert set(compiled) == {1}
    assert trainer.learner.updates > 0
    assert trainer.learner.compiled._cache_size() == 1


@pytest.mark.long
def test_gaps_inside_of_episodes_are_measured_and_told(tmp_path, capsys):
    class Slow(Port):
        def step(self, action):
            time.sleep(0.002)
            return super().step(action)

    class Pausing(qmu.Callback):
        def on_chunk(self, moment):
            if moment.step == 48:  # in mid-episode
                time.sleep(0.1)

    with pytest.warns(RuntimeWarning, match="Inside of an episode it waited for its next step"):
        run = qmu.train(
            Slow,
            callbacks=[Pausing()],
            **runs.options(tmp_path, {"env": {"single": True, "episode_length": None}}),
        )
    found = [line for line in run.metrics() if "time/longest_gap" in line]
    gaps = [line["time/longest_gap"] for line in found]
    # Lines wait for ends of episodes, too: due at 50, 100, ...
    assert [line["step"] for line in found] == [60, 120, 150, 210]
    assert gaps[0] > 0.1
    assert max(gaps[1:]) < 0.1
    assert all(0.002 < line["time/median_step"] < 0.1 for line in found)
    capsys.readouterr()
    assert cli.main(["doctor", str(run.directory)]) == 0
    assert "The world was left alone (seed 0; possible)" in capsys.readouterr().out


def test_a_model_evaluates_in_the_world_that_it_learns_in(tmp_path):
    class Noting(qmu.Callback):
        at = ()

        def on_evaluation(self, moment):
            self.at = (*self.at, moment.step)

    model = qmu.DDPG(
        Port,
        actor={"hidden_sizes": [8]},
        critic={"hidden_sizes": [8]},
        replay={"capacity": 300, "batch_size": 8},
        explore={"start_steps": 20},
        train={"chunk": 8, "eval_episodes": 1},
        env={"single": True},
    )
    noting = Noting()
    model.learn(100, eval_interval=40, callbacks=[noting])
    assert noting.at == (60, 90)
    assert len(model.evaluate(2).rewards) == 2
    model.learn(30)
    with pytest.raises(qmu.ConfigError, match="set_env makes a world before"):
        model.set_env(Port)
    model.save(tmp_path / "model")
    model.close()
    assert (Port.made, Port.open) == (1, 0)
    again = qmu.DDPG.load(tmp_path / "model", env=Port)
    again.close()
    assert (Port.made, Port.open) == (2, 0)


def test_the_check_leaves_out_what_takes_two_and_says_so(capsys):
    checkup = qmu.check_env(Port, steps=100, single=True)
    assert (Port.made, Port.open) == (1, 0)
    assert "left out      what takes a second world (--single)" in repr(checkup)
    assert "the same rows, in this world again\n" in repr(checkup)
    assert cli.main(["check", "Pendulum-v1", "--steps", "50", "--single"]) == 0
    assert "left out" in capsys.readouterr().out
    assert cli.main(["check", "Pendulum-v1", "--steps", "50"]) == 0
    assert "left out" not in capsys.readouterr().out


@pytest.mark.long
def test_without_an_interval_nothing_is_evaluated_and_the_newest_policy_is_the_best(
    tmp_path, capsys
):
    directory = runs.train(tmp_path, train={"eval_interval": 0, "seeds": 2})
    run = qmu.open_run(directory)
    assert not any(name.startswith("eval/") for line in run.metrics() for name in line)
    members = run.info["members"]
    for member in members:
        assert (member["last_mean_reward"], member["best_mean_reward"]) == (None, None)
        assert member["best_step"] == 240
        assert np.isfinite(member["final_mean_reward"])
    # What the final scoring has found best.
    best = max(members, key=lambda member: member["final_mean_reward"])
    assert run.info["best_seed"] == best["seed"]
    assert run.policy().info["step"] == 240
    newest = qmu.load_policy(runs.checkpoints(directory)[0] / f"seed-{best['seed']}")
    obs = np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32)
    np.testing.assert_array_equal(run.policy()(obs), newest(obs))
    # It can go on, and everything that reads runs takes it.
    assert cli.main(["resume", str(directory), *MORE]) == 0
    out = capsys.readouterr().out
    assert out.count("│    - │    - │") == 2
    assert qmu.open_run(directory).policy().info["step"] == 300
    assert cli.main(["doctor", str(directory)]) == 0
    assert "an --train.eval-interval above 0" in capsys.readouterr().out
    for command in (["compare"], ["report", "--out", str(tmp_path)]):
        assert cli.main([command[0], str(directory), *command[1:]]) == 2
        assert "no evaluation, as --train.eval-interval is 0" in capsys.readouterr().err
    other = runs.train(tmp_path)
    for command in (["compare"], ["report", "--out", str(tmp_path)]):
        assert cli.main([command[0], str(other), str(directory), *command[1:]]) == 0
    assert cli.main(["export", str(directory), str(tmp_path / "policy.npz")]) == 0
    assert cli.main(["eval", str(directory), "--episodes", "1"]) == 0
    assert json.loads((directory / "run.json").read_text())["status"] == "finished"


def test_videos_without_an_evaluation_are_refused(tmp_path):
    with pytest.raises(qmu.ConfigError, match="videos are of evaluations"):
        runs.train(tmp_path, train={"eval_interval": 0}, log={"video_interval": 100})


MORE = ("--train.total-steps", "300", "--train.schedule-steps", "300")
STUDY = """question = "?"
environments = ["Pendulum-v1"]
seeds = 1
total_steps = 400
[options]
{}
[arms.a]
[arms.b]
actor.lr = 0.1
"""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("env.single = true", "--env.single is one world"),
        ("train.eval_interval = 0", "are compared by"),
    ],
)
def test_studies_and_searches_are_refused(option, said, tmp_path, capsys):
    file = tmp_path / "one.toml"
    file.write_text(STUDY.format(option))
    assert cli.main(["study", str(file), "--dry-run"]) == 2
    assert said in capsys.readouterr().err
    words = ["--env.single"] if "single" in option else ["--train.eval-interval", "0"]
    assert cli.main(["tune", "Pendulum-v1", "--dir", str(tmp_path / "t"), *words]) == 2
    assert said in capsys.readouterr().err
