"""Going on with a run: what is refused, what may change, and what is said."""

import json
import shutil

import gymnasium as gym
import numpy as np
import pytest
import runs

import qmu
from qmu import cli
from qmu.config import reading, to_dict
from qmu.saving import store

# Rates that do not fall: a run that has finished can go on.
SMALL = reading.merge(
    runs.SMALL,
    {
        "actor": {"lr_end": 1},
        "critic": {"lr_end": 1},
        "train": {"total_steps": 80, "schedule_steps": None, "save_interval": 40},
        "log": {"interval": 40},
    },
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the directory of a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    options = reading.merge(SMALL, {"log": {"dir": str(folder)}})
    return qmu.train("Pendulum-v1", **options).directory


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def refused(capsys, *words):
    """Return what the command says that refuses these words."""
    assert cli.main(["resume", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.err


def edit(directory, old, new):
    file = directory / "config.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def files_of(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "run.lock"
    }


def test_what_cannot_be_gone_on_with_is_refused_in_a_sentence(run, tmp_path, capsys):
    assert "is no directory" in refused(capsys, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "is not a run's directory" in refused(capsys, tmp_path / "empty")
    before = files_of(run)
    said = refused(capsys, run)
    assert "is at step 80, after 2 episodes: its end has been reached" in said
    assert "such as --train.total-steps 160\n" in said
    assert "its end has been reached" in refused(capsys, run, "--train.total-steps", "60")
    assert "greater than 0" in refused(capsys, run, "--train.total-steps", "-5")
    with pytest.raises(qmu.ConfigError, match=r"--train.total-steps: '600' is not a whole number"):
        qmu.resume(run, total_steps="600")
    assert files_of(run) == before
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet: there is nothing to go on from" in refused(capsys, run)


def test_a_run_that_cannot_be_written_into_is_refused(run, capsys):
    (run / "run.lock").unlink()
    (run / "run.lock").mkdir()
    said = refused(capsys, run, "--train.total-steps", "200")
    assert "cannot be written into (" in said
    assert "copy the run" in said


def test_a_run_without_a_scheduled_checkpoint_has_nothing_exact(run, capsys):
    for path in (run / "checkpoints").glob("0*"):
        shutil.rmtree(path)
    assert "there is nothing to go on from" in refused(capsys, run, "--exact")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("count = 1\n", "count = 2\n", "--env.count was 1"),
        ("batch_size = 8", "batch_size = 16", "--replay.batch-size was 8"),
        ("save_interval = 40", "save_interval = 20", "--train.save-interval was 40"),
        ("seed = 0", "seed = 1", "--train.seed was 0"),
        ("\ninterval = 40\n", "\ninterval = 20\n", "--log.interval was 40"),
        ('activation = "relu"', 'activation = "tanh"', "--actor.activation was relu"),
    ],
)
def test_options_that_shape_a_run_must_not_change(old, new, said, run, capsys):
    edit(run, old, new)
    before = files_of(run)
    told = refused(capsys, run, "--train.total-steps", "120")
    assert said in told
    assert "put them back, or begin a new one" in told
    assert files_of(run) == before


def test_numbers_may_change(run):
    edit(run, "gamma = 0.99", "gamma = 0.9")
    edit(run, 'name = "ddpg"', 'name = "other"')
    again = qmu.resume(run, total_steps=120)
    assert again.info["status"] == "finished"
    assert again.info["steps"] == 120
    assert again.config.target.gamma == 0.9
    assert again.config.train.total_steps == 120
    assert again.config.train.schedule_steps == 80


def as_before(config):
    """Return a configuration as versions wrote it that knew priorities by the TD error alone."""
    written = to_dict(config)
    replay = written["replay"]
    replay["prioritized"] = replay.pop("priorities") == "td-error"
    replay |= {"alpha": 0.6, "beta": 0.4, "beta_end": 1.0}
    return written


@pytest.mark.parametrize("prioritized", [True, False])
def test_a_run_that_was_written_in_an_old_spelling_goes_on(prioritized, tmp_path, monkeypatch):
    changes = {"log": {"dir": str(tmp_path)}, "replay": {"prioritized": prioritized}}
    with monkeypatch.context() as before:
        before.setattr("qmu.config.to_dict", as_before)
        run = qmu.train("Pendulum-v1", **reading.merge(SMALL, changes)).directory
    text = (run / "config.toml").read_text()
    assert f"prioritized = {str(prioritized).lower()}\nalpha = 0.6\n" in text
    saved = store.read_checkpoint(runs.checkpoints(run)[0])
    assert saved.state["config"]["replay"]["prioritized"] is prioritized
    again = qmu.resume(run, total_steps=120)
    assert again.config.replay.priorities == ("td-error" if prioritized else "uniform")
    assert again.info["status"] == "finished"
    now = store.read_checkpoint(runs.checkpoints(run)[0])
    assert ("priorities.largest" in now.arrays) is prioritized


def test_numbers_of_priorities_may_be_given_later(tmp_path, capsys):
    changes = {"log": {"dir": str(tmp_path)}, "replay": {"priorities": "lap"}}
    run = qmu.train("Pendulum-v1", **reading.merge(SMALL, changes)).directory
    edit(run, 'priorities = "lap"', 'priorities = "lap"\nfade = 0.99')
    assert "--replay.fade was none" in refused(capsys, run, "--train.total-steps", "120")
    edit(run, "fade = 0.99", "alpha = 0.9")
    again = qmu.resume(run, total_steps=120)
    assert (again.info["status"], again.config.replay.alpha) == ("finished", 0.9)


def test_a_whole_number_is_one_however_it_is_written(run):
    again = qmu.resume(run, total_steps=120.0)
    assert again.info["status"] == "finished"
    assert "total_steps = 120\n" in (run / "config.toml").read_text()


class Failing(qmu.Callback):
    def on_chunk(self, moment):
        raise ValueError("a mistake of the user's")


def test_a_run_that_broke_off_has_no_scores_of_its_earlier_end(run):
    assert qmu.open_run(run).info["best_seed"] == 0
    with pytest.raises(ValueError, match="a mistake"):
        qmu.resume(run, total_steps=120, callbacks=[Failing()])
    info = qmu.open_run(run).info
    assert (info["status"], info["steps"]) == ("failed", 88)
    assert not {"members", "best_seed", "best_arm"} & set(info)
    assert qmu.resume(run).info["best_seed"] == 0


def test_another_environment_is_refused(run, capsys):
    edit(run, 'id = "Pendulum-v1"', 'id = "MountainCarContinuous-v0"')
    said = refused(capsys, run, "--train.total-steps", "120")
    assert "has changed since the checkpoint" in said


def test_learning_rates_that_have_fallen_to_nothing_need_a_horizon(tmp_path):
    options = reading.merge(
        SMALL,
        {"actor": {"lr_end": 0}, "critic": {"lr_end": 0}, "log": {"dir": str(tmp_path)}},
    )
    directory = qmu.train("Pendulum-v1", **options).directory
    with pytest.raises(qmu.ConfigError, match=r"have fallen to 0 at step 80: give --train.sch"):
        qmu.resume(directory, total_steps=120)
    run = qmu.resume(directory, total_steps=120, schedule_steps=160)
    rates = [line["train/actor_lr"] for line in run.metrics() if "train/actor_lr" in line]
    assert rates[1] == 0
    # 100 of the 140 updates that 160 steps pay for have been done.
    assert rates[2] == pytest.approx(1e-3 * 40 / 140, rel=1e-5)


@pytest.mark.long
def test_a_rate_with_a_schedule_does_not_fall_by_itself(tmp_path):
    options = reading.merge(
        SMALL,
        {"actor": {"lr_end": 0}, "critic": {"lr_end": 0}, "log": {"dir": str(tmp_path)}},
    )
    schedules = {"actor.lr": lambda step: 1e-3}
    directory = qmu.train("Pendulum-v1", schedules=schedules, **options).directory
    with pytest.raises(qmu.ConfigError, match=r"rates of .* have fallen to 0"):
        qmu.resume(directory, total_steps=120, schedules=schedules)
    schedules["critic.lr"] = schedules["actor.lr"]
    with pytest.raises(qmu.ConfigError, match=r"such as --train.total-steps 160$"):
        qmu.resume(directory, schedules=schedules)
    run = qmu.resume(directory, total_steps=120, schedules=schedules)
    assert run.info["steps"] == 120


class Nameless(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.full(2, 0.5, np.float32), 1.0, False, self.time == 20, {}


def test_an_environment_without_an_id_has_to_be_given_again(tmp_path):
    options = reading.merge(SMALL, {"log": {"dir": str(tmp_path)}})
    directory = qmu.train(Nameless, **options).directory
    with pytest.raises(qmu.ConfigError, match=r"qmu\.resume\(\.\.\., env=\.\.\.\)"):
        qmu.resume(directory, total_steps=120)
    assert qmu.resume(directory, total_steps=120, env=Nameless).info["steps"] == 120


def test_the_command_says_where_it_goes_on_and_how_it_ended(run, capsys):
    assert cli.main(["resume", str(run), "--train.total-steps", "120"]) == 0
    said = capsys.readouterr().out
    assert f"going on from step 80 ({run / 'checkpoints' / '000000080'})" in said
    assert "120 steps in" in said
    (entry,) = json.loads((run / "run.json").read_text())["resumed"]
    assert (entry["step"], entry["from"]) == (80, "000000080")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "eval/mean_reward" in line]
    assert steps == [40, 80, 120]


def test_checkpoints_of_a_way_that_was_left_are_not_gone_on_from(run):
    from qmu.saving import store

    scheduled, earlier = store.complete(run / "checkpoints")
    manifest = scheduled / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"step": 80', '"step": 81'))
    with pytest.warns(RuntimeWarning, match="is damaged|going on from step 40"):
        qmu.resume(run, total_steps=60)
    assert [path.name for path in store.complete(run / "checkpoints")] == ["000000060", "000000040"]
    assert (scheduled / "seed-0" / "policy.json").is_file()
    assert earlier.name == "000000040"


def test_a_run_that_has_had_its_episodes_needs_more_of_them(tmp_path, capsys):
    options = reading.merge(SMALL, {"train": {"total_episodes": 2}, "log": {"dir": str(tmp_path)}})
    directory = qmu.train("Pendulum-v1", **options).directory
    said = refused(capsys, directory, "--train.total-steps", "400")
    assert "after 2 episodes: its end has been reached" in said
    assert "--train.total-episodes 4" in said
    again = qmu.resume(directory, total_steps=400, total_episodes=4)
    assert 4 <= again.info["members"][0]["episodes"] < 6


def test_rates_that_did_not_fall_do_not_fall_to_an_end_that_is_given_later(tmp_path):
    episodes = {"total_episodes": 2, "total_steps": None}
    options = reading.merge(SMALL, {"train": episodes, "log": {"dir": str(tmp_path)}})
    directory = qmu.train("Pendulum-v1", **options).directory
    run = qmu.resume(directory, total_steps=120, total_episodes=9)
    assert run.config.train.schedule_steps == 0
    rates = {line["train/actor_lr"] for line in run.metrics() if "train/actor_lr" in line}
    assert rates == {run.config.actor.lr}


def test_what_followed_from_the_length_of_the_run_stays(tmp_path):
    options = reading.merge(SMALL, {"log": {"dir": str(tmp_path)}})
    options["explore"] = {}
    options["train"] |= {"total_steps": 400}
    directory = qmu.train("Pendulum-v1", **options).directory
    again = qmu.resume(directory, total_steps=440)
    assert again.config.explore.start_steps == 20
    assert again.config.train.schedule_steps == 400


def test_a_number_that_appears_shapes_the_program(run, capsys):
    edit(run, "lr = 0.001", "lr = 0.001\nclip_norm = 1.0")
    said = refused(capsys, run, "--train.total-steps", "120")
    assert "--actor.clip-norm was none" in said


def test_damaged_lines_of_metrics_are_left_out(run):
    file = run / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"{\xff\n" + b"[]\n" + b"".join(lines[1:]))
    assert len(qmu.open_run(run).metrics()) == len(lines)
    assert qmu.resume(run, total_steps=120).info["status"] == "finished"


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints/segments", "run.lock", "best"])
def test_links_are_refused_and_what_they_lead_to_is_left_alone(name, run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("mine")
    target = other if (run / name).is_dir() else other / "precious"
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    else:
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(target)
    assert "is a link" in refused(capsys, run, "--train.total-steps", "120")
    assert (other / "precious").read_text() == "mine"


def test_a_module_for_the_environment_is_named_on_the_command_line(run, capsys):
    edit(run, 'id = "Pendulum-v1"', 'id = "gymnasium:Pendulum-v1"')
    assert "give it with --env" in refused(capsys, run, "--train.total-steps", "120")
    words = ["resume", str(run), "--train.total-steps", "120", "--env", "Pendulum-v1"]
    assert cli.main(words) == 0


def test_saves_that_cut_every_episode_off_are_noticed(tmp_path):
    options = reading.merge(SMALL, {"log": {"dir": str(tmp_path)}})
    options["train"] |= {"save_interval": 20}
    with pytest.warns(RuntimeWarning, match=r"no episode has ended .* raise --train.save-interval"):
        qmu.train("Pendulum-v1", **options)
    options["train"] |= {"total_episodes": 3}
    with pytest.raises(
        qmu.ConfigError, match=r"--train.save-interval 20 cuts episodes .* 30 steps"
    ):
        qmu.train("Pendulum-v1", **options)


def test_a_run_that_was_killed_at_its_end_is_only_finished(run):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {"status": "running"}))
    again = qmu.resume(run)
    assert again.info["status"] == "finished"
    assert again.info["members"] == info["members"]
