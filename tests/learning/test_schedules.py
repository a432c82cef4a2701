"""Schedules: options that follow a function of the step."""

import re

import numpy as np
import pytest
import runs
from budget import some

import qmu
from qmu import cli
from qmu.learning.loop import Logged, Trainer
from qmu.world.make import find_maker


def falling(step):
    return 1e-3 * (1 - step / 1000)


def quiet(step):
    return 0.0 if step >= 96 else 0.3


def train(folder, schedules, **changes):
    return qmu.train("Pendulum-v1", schedules=schedules, **runs.options(folder, changes))


def make_trainer(tiny_config, schedules, **changes):
    config = tiny_config(**changes)
    return Trainer(config, find_maker("Pendulum-v1", config.env.episode_length), None, schedules)


def test_an_option_is_what_its_function_says_at_the_first_step_of_a_chunk(tmp_path):
    asked = []

    def noted(step):
        asked.append(step)
        return falling(step)

    run = train(tmp_path, {"actor.lr": noted}, log={"interval": 40})
    # The first step and the last are looked at before anything begins.
    assert asked[:9] == [0, 239, 0, 8, 16, 24, 32, 40, 48]
    rates = {
        line["step"]: line["train/actor_lr"] for line in run.metrics() if "train/actor_lr" in line
    }
    # The default's own end, a rate of 0 at the run's last step, is not applied on top.
    assert rates[240] == pytest.approx(falling(232))
    assert rates[80] == pytest.approx(falling(76))
    assert run.info["schedules"] == ["actor.lr"]


# Inputs of a compiled program and constants in it are rounded alike as users compile it.
@pytest.mark.fault
def test_a_constant_schedule_is_the_option_itself(tmp_path):
    ends = {"actor": {"lr": 5e-4, "lr_end": 1.0}, "target": {"gamma": 0.9}}
    option = train(tmp_path / "option", None, **ends).directory
    function = train(
        tmp_path / "function",
        {"actor.lr": lambda step: 5e-4, "target.gamma": lambda step: 0.9},
        actor={"lr_end": 1.0},
    ).directory
    (one, state, rows), (other, same, others) = (
        runs.final_state(directory) for directory in (option, function)
    )
    assert one == other
    assert rows == others
    assert same.pop("schedules") == ["actor.lr", "target.gamma"]
    assert state == same


def test_nothing_is_compiled_again(tiny_config):
    trainer = make_trainer(
        tiny_config,
        {"actor.lr": falling, "target.tau": lambda step: 0.1 / (1 + step), "explore.std": quiet},
        train={"seeds": 3, "chunk": 8},
    )
    list(trainer.run(101, evaluating=False))
    assert trainer.learner.compiled._cache_size() == len(trainer.learner.groups)


def test_numbers_of_priorities_follow_schedules_without_being_given(tiny_config):
    schedules = {"replay.beta": lambda step: 0.5, "replay.alpha": lambda step: 0.25 + step / 1000}
    weights = []
    for given in ({}, {"alpha": 0.9, "beta": 0.1, "beta_end": 0.1}):
        replay = {"priorities": "td-error"} | given
        trainer = make_trainer(tiny_config, schedules, replay=replay, train={"chunk": 8})
        list(trainer.run(64, evaluating=False))
        assert trainer.learner.updates > 0
        weights.append(trainer.actors(lag=False)[0].weights[0])
    np.testing.assert_array_equal(*weights)
    # They are not what they are without a schedule.
    trainer = make_trainer(tiny_config, {}, replay={"priorities": "td-error"}, train={"chunk": 8})
    list(trainer.run(64, evaluating=False))
    assert not np.array_equal(trainer.actors(lag=False)[0].weights[0], weights[0])


def test_a_schedule_of_what_lap_has_not_is_refused(tmp_path):
    said = r"replay\.beta is used where replay\.priorities is td-error, and it is lap"
    with pytest.raises(qmu.ConfigError, match=said):
        train(tmp_path, {"replay.beta": falling}, replay={"priorities": "lap"})


@pytest.mark.parametrize("noise", some(["normal", "ou", "colored"], ["normal"]))
def test_noise_follows_its_schedule_and_not_its_own_end(tiny_config, noise):
    trainer = make_trainer(
        tiny_config,
        {"explore.std": quiet, "explore.mean": lambda step: 0.0},
        explore={"start_steps": 0, "noise": noise, "noise_end": 0.0, "ou_theta": 100.0},
        replay={"capacity": 400},
        train={"updates_per_step": 0, "chunk": 32, "schedule_steps": 200, "total_steps": 200},
    )
    list(trainer.run(160, evaluating=False))
    stream = trainer.learner.members[0].stream
    rows = np.asarray(stream.numbers[0, 0, : int(stream.size[0, 0])])
    (actor,) = trainer.actors(lag=False)
    noise = np.abs(rows[:, 3] - actor(rows[:, :3])[:, 0])
    assert noise[:96].mean() > 0.01
    assert noise[96:].max() < 1e-5


def test_a_learning_rate_of_nothing_changes_nothing(tiny_config):
    trainer = make_trainer(
        tiny_config,
        {"actor.lr": lambda step: 0.0 if step >= 64 else 1e-2},
        train={"chunk": 32, "overlap": False},
    )
    list(trainer.run(96, evaluating=False))
    before = trainer.actors(lag=False)[0].weights[0]
    (logged,) = [one for one in trainer.run(32, evaluating=False) if isinstance(one, Logged)] or [
        trainer.log()
    ]
    assert logged.members[0]["train/actor_lr"] == 0
    np.testing.assert_array_equal(before, trainer.actors(lag=False)[0].weights[0])


def test_a_schedule_has_to_be_given_again_and_then_goes_on(tmp_path, capsys):
    schedules = {"actor.lr": falling, "explore.std": quiet}
    whole = train(tmp_path / "whole", schedules).directory

    class Half(qmu.Callback):
        def on_save(self, moment, folder):
            return qmu.Stop("half") if moment.step == 120 else None

    options = runs.options(tmp_path / "half")
    half = qmu.train("Pendulum-v1", schedules=schedules, callbacks=[Half()], **options).directory
    assert cli.main(["resume", str(half)]) == 2
    said = capsys.readouterr().err
    assert "followed a schedule of actor.lr and explore.std" in said
    with pytest.raises(qmu.ConfigError, match="followed a schedule of explore"):
        qmu.resume(half, schedules={"actor.lr": falling})
    qmu.resume(half, schedules=schedules)
    assert runs.final_state(half) == runs.final_state(whole)
    assert runs.metrics(half) == runs.metrics(whole)


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"actor.lt": falling}, r"there is no option 'actor\.lt'; did you mean actor\.lr"),
        ({"actor.norm": falling}, r"actor\.norm shapes the program"),
        ({"actor.lr_end": falling}, r"give a schedule of actor\.lr instead"),
        ({"env.obs_clip": falling}, "belongs to the normalizer"),
        ({"actor.clip_norm": falling}, "is none, which leaves that part out of the program"),
        (
            {"replay.beta": falling},
            "used where replay.priorities is td-error, and it is uniform",
        ),
        ({"replay.fade": falling}, "is none, which leaves that part out of the program"),
        ({"explore.ou_dt": falling}, "is used where explore.noise is ou, and it is normal"),
        ({"explore.color": falling}, "is used where explore.noise is colored, and it is normal"),
        ({"explore.std_last": falling}, "is none, which leaves that part out of the program"),
        ({"actor.lr": 3e-4}, "must be a function of the step, not 0.0003"),
        ({"actor.lr": lambda step: "fast"}, "at step 0: --actor.lr: 'fast' is not a number"),
        ({"actor.lr": lambda step: 1 - step}, r"gave -238 at step 239: --actor\.lr must be 0 or"),
        ({"actor.lr": lambda step: float("nan")}, r"gave nan at step 0"),
        ({"actor.lr": lambda step: 1 / step}, "raised ZeroDivisionError at step 0: division by"),
        ({"actor.lr": lambda: 1}, "raised TypeError at step 0"),
        ([("actor.lr", falling)], "schedules must be a dictionary"),
    ],
)
def test_what_is_no_schedule_is_refused_before_anything_is_written(tmp_path, schedules, said):
    with pytest.raises(qmu.ConfigError, match=said):
        train(tmp_path, schedules)
    assert list(tmp_path.iterdir()) == []


def test_a_schedule_that_fails_on_the_way_ends_the_run_with_the_step(tmp_path):
    def wrong(step):
        return -1.0 if 100 < step < 120 else 1e-3

    with pytest.raises(qmu.QmuError, match=re.escape("gave -1.0 at step 108")) as caught:
        train(tmp_path, {"critic.lr": wrong})
    assert not isinstance(caught.value, qmu.ConfigError)
    directory = runs.only_run(tmp_path)
    assert qmu.open_run(directory).info["status"] == "failed"
    assert runs.checkpoints(directory)[0].name == f"{108:09}"


def test_a_model_follows_schedules_and_needs_them_again(tmp_path):
    small = {name: runs.SMALL[name] for name in ("actor", "critic", "replay", "explore")}
    schedules = {"critic.lr": falling}
    model = qmu.TD3("Pendulum-v1", schedules=schedules, **small).learn(96)
    assert model.log["train/critic_lr"] == pytest.approx(falling(64))
    model.save(tmp_path / "model")
    model.close()
    with pytest.raises(qmu.ConfigError, match=r"as load\(\.\.\., schedules="):
        qmu.TD3.load(tmp_path / "model")
    loaded = qmu.TD3.load(tmp_path / "model", schedules=schedules).learn(64)
    assert loaded.log["train/critic_lr"] == pytest.approx(falling(128))
    loaded.close()
