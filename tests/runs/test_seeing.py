"""Runs whose observations have images: learned, gone on with, shipped, refused."""

import json
import types
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import runs
from budget import some
from gymnasium.spaces import Box, Dict

import qmu
from qmu import cli
from qmu.config import reading
from qmu.learning import devices

SIDE = 32


class Eye(gym.Env):
    """Shows a bar on a picture, and beside it a sign: the action is to be their product.

    What is shown is drawn anew at each step, so that a policy has to look.
    """

    observation_space = Dict(
        picture=Box(0, 255, (SIDE, SIDE, 3), np.uint8), sign=Box(-1, 1, (1,), np.float32)
    )
    action_space = Box(-1, 1, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.look(), {}

    def look(self):
        self.bar = int(self.np_random.integers(4, SIDE - 4))
        self.sign = float(self.np_random.choice([-1.0, 1.0]))
        return {"picture": self.render(), "sign": np.float32([self.sign])}

    def render(self):
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        picture[8:24, self.bar - 3 : self.bar + 3] = [255, 200, 100]
        return picture

    def step(self, action):
        wanted = self.sign * (self.bar - SIDE / 2) / (SIDE / 2 - 4)
        self.time += 1
        reward = -abs(float(action[0]) - wanted)
        return self.look(), reward, False, self.time == 20, {}


class Bare(gym.ObservationWrapper):
    """Shows the picture alone, channels first."""

    def __init__(self):
        super().__init__(Eye())
        self.observation_space = Box(0, 255, (3, SIDE, SIDE), np.uint8)

    def observation(self, observation):
        return observation["picture"].transpose(2, 0, 1)


OPTIONS = {
    "env": {"episode_length": None},
    "actor": {"hidden_sizes": [16]},
    "critic": {"hidden_sizes": [16]},
    "encoder": {"features": 8, "shift": 2},
    "replay": {"batch_size": 8},
    "explore": {"start_steps": 20},
    "train": {"total_steps": 80, "schedule_steps": 80, "save_interval": 40, "eval_interval": 40},
}
KINDS = [
    {
        "env": {"frames": 2, "normalize_obs": True},
        "replay": {"priorities": "td-error", "n_step": 3},
    },
    {
        "env": {"count": 2, "workers": 2},
        "explore": {"noise": "none", "parameter_distance": 0.2},
        "critic": {"count": 2},
        "train": {"seeds": 2},
        "encoder": {"shift": 0},
    },
]


def train(folder, world=Eye, **changes):
    options = reading.merge(runs.options(folder, OPTIONS), changes)
    return qmu.train(world, **options)


half_way = partial(runs.saved_half_way, world=Eye, base=OPTIONS)


@pytest.mark.parametrize("kind", some(KINDS, KINDS[:1]), ids=str)
def test_a_run_goes_on_with_its_images_to_the_bit(tmp_path, kind):
    arrays = runs.assert_goes_on(half_way, tmp_path, kind, Eye)
    assert any(name.startswith("encoder.0.conv") for name in arrays)


@pytest.mark.long
def test_other_processes_see_the_same_images(tmp_path):
    runs.assert_same_elsewhere(half_way, tmp_path, KINDS[1])


@pytest.mark.parametrize("world", some([Eye, Bare], [Bare]))
def test_what_is_shipped_sees(tmp_path, world):
    run = train(tmp_path, world, env={"frames": 2})
    runs.assert_acts_alone(run.in_world(world), world())
    assert qmu.export(run, tmp_path / "policy.npz").difference < 1e-5


@pytest.mark.long
def test_what_neither_the_picture_nor_the_number_tells_is_learned_from_both(tmp_path):
    """Chance is 0.5 to 0.6 a step off; the picture alone, or the number alone, is no better."""
    options = {
        "encoder": {"lr": 1e-3, "features": 32},
        "actor": {"hidden_sizes": [64]},
        "critic": {"hidden_sizes": [64], "norm": "none"},
        "replay": {"batch_size": 64, "n_step": 1, "capacity": 5000},
        "target": {"gamma": 0.1},
        "explore": {"start_steps": 500},
        "train": {"total_steps": 3000, "schedule_steps": 0, "eval_interval": 500},
    }
    score = train(tmp_path / "both", **options).in_world(Eye).evaluate(10).mean
    blind = train(tmp_path / "one", Bare, **options).in_world(Bare).evaluate(10).mean
    assert score > -4
    assert blind < -7


def test_a_stream_of_images_is_as_long_as_the_run(tmp_path):
    model = qmu.DDPG(Eye, **reading.merge(OPTIONS_OF_MODEL, {"train": {"total_steps": 400}}))
    stream = model.trainer.learner.members[0].stream
    assert stream.rows_per_world == 501
    assert stream.bytes.shape[-1] == 4 + 3 * SIDE * SIDE
    model.close()


def test_a_stream_of_images_that_nobody_has_given_a_length_takes_what_fits(tmp_path, monkeypatch):
    options = reading.merge(OPTIONS, {"train": {"total_steps": 160, "schedule_steps": None}})
    options = reading.merge(options, {"log": {"dir": str(tmp_path), "tensorboard": False}})
    # Room for 100 rows of 4 + 3072 numbers and bytes, an action, a reward and a flag.
    monkeypatch.setattr(devices, "free_memory", lambda: 100 * (4 + 3072 + 9) / devices.ROOM)
    with pytest.warns(RuntimeWarning, match=r"200 rows of images .* it has 99 rows, which fit"):
        run = qmu.train(Eye, **options)
    assert run.config.replay.capacity == 99
    monkeypatch.setattr(devices.psutil, "swap_memory", lambda: types.SimpleNamespace(free=0))
    with pytest.raises(qmu.ConfigError, match=r"a capacity of [0-9]+ fits"):
        qmu.train(Eye, **reading.merge(options, {"replay": {"capacity": 190}}))


def test_a_run_without_rows_in_its_checkpoints_fills_its_stream_again(tmp_path):
    run = train(
        tmp_path, train={"total_steps": 40, "save_rows": False}, replay={"priorities": "td-error"}
    )
    assert not list(run.directory.glob("checkpoints/segments/*"))
    with pytest.raises(qmu.ConfigError, match=r"--exact: the checkpoints of .* hold no rows"):
        qmu.resume(run.directory, env=Eye, total_steps=80, exact=True)
    with pytest.warns(RuntimeWarning, match="it is filled again before anything is learned"):
        again = qmu.resume(run.directory, env=Eye, total_steps=80)
    assert again.info["status"] == "finished"
    lines = [
        json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert max(line["step"] for line in lines) == 80


OPTIONS_OF_MODEL = {name: own for name, own in OPTIONS.items() if name != "train"}


@pytest.mark.parametrize(
    ("world", "changes", "said"),
    [
        (Eye, {"critic": {"count": 2, "batches": "regions", "bootstrap": "mean"}}, "regions"),
        (Bare, {"env": {"normalize_obs": True}}, "observes images alone"),
        (Eye, {"env": {"images": ["eye"]}}, r"--env.images eye: Eye has no such part"),
        ("Pendulum-v1", {}, r"--encoder.features is about images, and there are none"),
        (Eye, {"replay": {"capacity": 10**10}, "train": {"total_steps": 10**10}}, "a capacity of"),
    ],
    ids=["regions", "no numbers", "names", "no images", "room"],
)
def test_what_does_not_go_with_images_is_refused_in_a_sentence(tmp_path, world, changes, said):
    if "critic" in changes:
        changes = changes | {"actor": {"climbs": "mean"}}
    options = runs.options(tmp_path / "runs", OPTIONS)
    with pytest.raises(qmu.ConfigError, match=said):
        qmu.train(world, **reading.merge(options, changes))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env.images", "pixels"], "--env.images pixels: Pendulum-v1 has no such part"),
        (
            ["--encoder.shift", "32"],
            "--encoder.shift 32 moves images of 32 x 32 pixels out of sight",
        ),
    ],
)
def test_a_wrong_option_about_images_leaves_nothing_behind(tmp_path, capsys, words, said):
    command = ["train", "Pendulum-v1", "--env.pixels", "32", "--log.dir", str(tmp_path / "runs")]
    assert cli.main([*command, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_images_that_are_too_small_for_the_encoder_are_refused(tmp_path):
    class Narrow(Bare):
        def __init__(self):
            super().__init__()
            self.observation_space = Box(0, 255, (3, 20, 20), np.uint8)

        def observation(self, observation):
            return super().observation(observation)[:, :20, :20]

    options = runs.options(tmp_path / "runs", OPTIONS)
    with pytest.raises(qmu.ConfigError, match=r"too small for --encoder.kind strided.* need 31"):
        qmu.train(Narrow, **options)
    assert not (tmp_path / "runs").exists()
