"""The model that learns, predicts, is saved and goes on."""

import json

import gymnasium as gym
import jax
import numpy as np
import pytest
import safetensors.numpy
from probes import LISTED

import qmu
from qmu.config import reading
from qmu.saving import arrays

SMALL = {
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"capacity": 2_000, "batch_size": 16},
    "explore": {"start_steps": 50},
}


@pytest.fixture
def model():
    made = qmu.DDPG("Pendulum-v1", seed=3, **SMALL)
    yield made
    made.close()


def weights(model):
    return jax.tree.leaves(jax.device_get(model.trainer.learner.members[0].agents))


def test_learn_goes_on_where_it_was(model):
    model.learn(150)
    first = weights(model)
    model.learn(100)
    assert model.steps == 250
    assert model.trainer.learner.updates == 200
    assert any((a != b).any() for a, b in zip(first, weights(model), strict=True))


def test_a_model_made_for_a_number_of_steps_refuses_more():
    made = qmu.DDPG("Pendulum-v1", train={"total_steps": 120}, **SMALL)
    made.learn(100)
    with pytest.raises(qmu.ConfigError, match=r"100 steps and 30 more are beyond .* 120"):
        made.learn(30)
    made.learn(20)
    assert made.steps == 120
    made.close()


@pytest.mark.parametrize("steps", ["5", 0, 1.5, float("inf"), float("nan"), True, [5]])
def test_steps_are_a_whole_number(model, steps):
    with pytest.raises(qmu.ConfigError, match="total_steps must be a whole number above 0, not"):
        model.learn(steps)
    with pytest.raises(qmu.ConfigError, match="eval_interval must be a whole number above 0, not"):
        model.learn(5, eval_interval=steps)
    assert model.learn(np.int64(5)).steps == 5


def test_predict_is_in_the_environments_units(model):
    one, state = model.predict(np.zeros(3))
    many, _ = model.predict(np.zeros((5, 3)))
    assert state is None
    assert one.shape == (1,)
    assert many.shape == (5, 1)
    assert abs(one[0]) <= 2
    np.testing.assert_allclose(many[2], one, rtol=1e-6)


def test_predict_refuses_what_a_deterministic_policy_cannot_do(model):
    with pytest.raises(ValueError, match="deterministic"):
        model.predict(np.zeros(3), deterministic=False)


def test_a_saved_model_is_the_same_model(model, tmp_path):
    model.learn(120)
    model.save(tmp_path / "agent")
    loaded = qmu.DDPG.load(tmp_path / "agent")
    for before, after in zip(weights(model), weights(loaded), strict=True):
        np.testing.assert_array_equal(before, after)
    assert (loaded.steps, loaded.trainer.learner.updates) == (120, 70)
    assert loaded.predict(np.ones(3))[0] == model.predict(np.ones(3))[0]
    loaded.close()


def test_a_loaded_model_fills_its_stream_before_it_learns_on(model, tmp_path):
    model.learn(120)
    model.save(tmp_path / "agent.safetensors")
    loaded = qmu.DDPG.load(tmp_path / "agent.safetensors")
    loaded.learn(50)
    assert loaded.trainer.learner.updates == 70
    loaded.learn(10)
    assert loaded.trainer.learner.updates == 80
    loaded.close()


def test_load_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(qmu.ConfigError, match="there is no file"):
        qmu.DDPG.load(tmp_path / "nothing")
    (tmp_path / "bad.safetensors").write_bytes(b"0123456789")
    with pytest.raises(qmu.ConfigError, match="cannot be read as a safetensors file"):
        qmu.DDPG.load(tmp_path / "bad")


@pytest.mark.parametrize("folder", [".", "..", "/", ""])
def test_a_model_is_a_file_and_no_folder(folder, model):
    for call in (model.save, qmu.DDPG.load):
        with pytest.raises(qmu.ConfigError, match=r"is a folder, and a model is one file"):
            call(folder)


def test_load_refuses_an_environment_that_does_not_fit(model, tmp_path):
    model.save(tmp_path / "agent")
    with pytest.raises(qmu.ConfigError, match="has other observations, actions or bounds"):
        qmu.DDPG.load(tmp_path / "agent", env="MountainCarContinuous-v0")


class Counted(gym.wrappers.TransformObservation):
    """A world that knows how many of its kind are open."""

    open = 0

    def __init__(self):
        super().__init__(gym.make("MountainCarContinuous-v0"), lambda obs: obs, None)
        Counted.open += 1

    def close(self):
        super().close()
        Counted.open -= 1


def test_a_file_that_does_not_fit_leaves_no_world_open(model, tmp_path):
    model.save(tmp_path / "agent")
    with pytest.raises(qmu.ConfigError, match="has other observations, actions or bounds"):
        qmu.DDPG.load(tmp_path / "agent", env=Counted)
    assert Counted.open == 0


def described_again(file, **changes):
    """Say something else in the description of a saved model."""
    data = file.read_bytes()
    header = arrays.header_of(data)
    described = json.loads(header["described"]) | changes
    header["described"] = json.dumps(described)
    held = arrays.unpack(data)
    whole = arrays.sum_of_all(safetensors.numpy.save(held, header))
    file.write_bytes(safetensors.numpy.save(held, header | {"sha256": whole}))


def test_every_part_of_a_models_file_is_sealed(model, tmp_path):
    model.save(tmp_path / "agent")
    file = tmp_path / "agent.safetensors"
    whole = file.read_bytes()
    for before, after in ((b"relu", b"silu"), (b"gamma", b"gemma"), (b"0.99", b"0.98")):
        assert whole.count(before)
        file.write_bytes(whole.replace(before, after, 1))
        with pytest.raises(qmu.ConfigError, match="is damaged: its SHA-256 sum is another one"):
            qmu.DDPG.load(file)
    file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    with pytest.raises(qmu.ConfigError, match="is damaged: its SHA-256 sum is another one"):
        qmu.DDPG.load(file)
    held, header = arrays.unpack(whole), arrays.header_of(whole)
    older = {"format": "qmu agent 1", "described": header["described"]}
    file.write_bytes(safetensors.numpy.save(held, older))
    with pytest.warns(RuntimeWarning, match="whose models have no sum"):
        loaded = qmu.DDPG.load(file)
    obs = loaded.trainer.maker.spaces.obs_shape
    np.testing.assert_array_equal(loaded.predict(np.ones(obs))[0], model.predict(np.ones(obs))[0])
    loaded.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"episodes": [1, 2]},
        {"episodes": []},
        {"episodes": 3},
        {"step": None},
        {"step": float("inf")},
        {"updates": "many"},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(model, tmp_path, changes):
    model.save(tmp_path / "agent")
    described_again(tmp_path / "agent.safetensors", **changes)
    with pytest.raises(qmu.ConfigError, match=r"the description in .*agent.safetensors is damaged"):
        qmu.DDPG.load(tmp_path / "agent")


def test_a_file_cannot_name_a_module_to_import(tmp_path):
    from qmu.runs import file

    described = {
        "config": {"env": {"id": "antigravity:Pendulum-v1"}},
        "step": 0,
        "updates": 0,
        "episodes": [0],
    }
    header = {"format": file.FORMAT, "described": json.dumps(described)}
    data = arrays.pack({"": {"a": np.zeros((1, 1))}}, header)
    (tmp_path / "evil.safetensors").write_bytes(data)
    with pytest.raises(qmu.ConfigError, match="may not import"):
        qmu.DDPG.load(tmp_path / "evil")


@pytest.mark.parametrize(
    ("group", "option", "value", "instead"),
    [
        ("log", "name", "mine", r"give log=\{'dir': 'runs'\}, too, and the model writes a run"),
        ("log", "tensorboard", True, r"log=\{'dir': 'runs'\}"),
        ("log", "video_interval", 1000, r"log=\{'dir': 'runs'\}"),
        ("log", "wandb", "offline", r"log=\{'dir': 'runs'\}"),
        ("log", "wandb_project", "mine", r"log=\{'dir': 'runs'\}"),
        ("log", "wandb_runs", "one", r"log=\{'dir': 'runs'\}"),
        ("train", "total_episodes", 5, "a callback may end it"),
        ("train", "eval_interval", 100, r"learn\(\.\.\., eval_interval=\.\.\.\)"),
        ("train", "final_episodes", 3, r"evaluate\(episodes\) scores a model"),
        ("train", "save_interval", 100, r"save\(path\)"),
        ("train", "keep_checkpoints", 2, r"save\(path\)"),
    ],
)
def test_an_option_without_an_effect_is_refused(group, option, value, instead):
    said = rf"^{group}\.{option} has no effect on a qmu\.TD3: .*{instead}"
    with pytest.raises(qmu.ConfigError, match=said):
        qmu.TD3("Pendulum-v1", **SMALL, **{group: {option: value}})


def test_an_option_that_asks_for_nothing_or_is_a_recipes_is_none(tmp_path):
    off = {
        "log": {"tensorboard": False, "wandb": "disabled", "video_interval": 0, "interval": 50},
        "train": {"save_interval": 0, "eval_interval": 0, "total_episodes": None},
    }
    qmu.DDPG("Pendulum-v1", **SMALL, **off).close()
    recipe = tmp_path / "own.toml"
    recipe.write_text("[train]\nsave_interval = 500\n[log]\nname = 'own'\n", encoding="utf-8")
    qmu.DDPG("Pendulum-v1", preset=str(recipe), **SMALL).close()


def test_a_model_takes_an_environment_and_a_factory():
    for source in (gym.make("Pendulum-v1"), lambda: gym.make("Pendulum-v1")):
        model = qmu.DDPG(source, **SMALL).learn(60)
        assert model.steps == 60
        model.close()


def test_several_seeds_belong_to_train():
    with pytest.raises(qmu.ConfigError, match=r"qmu\.train"):
        qmu.DDPG("Pendulum-v1", train={"seeds": 2})


def test_td3_is_its_preset_with_what_is_given_on_top():
    model = qmu.TD3("Pendulum-v1", **SMALL)
    config = model.trainer.config
    assert (config.critic.count, config.actor.interval, config.target.smoothing_clip) == (2, 2, 0.5)
    assert config.actor.hidden_sizes == (8,)
    other = qmu.TD3("Pendulum-v1", preset="td3-2020", **SMALL)
    assert other.trainer.config.replay.batch_size == 16
    assert other.trainer.config.explore.std == 0.1
    for one in (model, other):
        one.close()


def test_load_gives_the_class_that_was_saved(tmp_path):
    td3 = qmu.TD3("Pendulum-v1", target={"smoothing_clip": None}, **SMALL).learn(60)
    td3.save(tmp_path / "td3")
    qmu.DDPG("Pendulum-v1", **SMALL).save(tmp_path / "ddpg")
    for kind in (qmu.DDPG, qmu.TD3):
        loaded = kind.load(tmp_path / "td3")
        assert type(loaded) is qmu.TD3
        assert loaded.trainer.config == td3.trainer.config
        loaded.close()
    assert type(qmu.DDPG.load(tmp_path / "ddpg")) is qmu.DDPG
    with pytest.raises(qmu.ConfigError, match=r"of the recipe 'default', and that of qmu.TD3 is"):
        qmu.TD3.load(tmp_path / "ddpg")


class Mine(qmu.TD3):
    """A kind of the user's own."""


class Other(qmu.DDPG):
    """Another."""


def test_load_gives_a_class_of_the_users_own(tmp_path):
    Mine("Pendulum-v1", **SMALL).save(tmp_path / "mine")
    Other("Pendulum-v1", **SMALL).save(tmp_path / "other")
    qmu.DDPG("Pendulum-v1", **SMALL).save(tmp_path / "ddpg")
    assert [type(kind.load(tmp_path / "mine")) for kind in (qmu.DDPG, qmu.TD3, Mine)] == [Mine] * 3
    assert type(qmu.DDPG.load(tmp_path / "other")) is Other
    assert type(qmu.DDPG.load(tmp_path / "ddpg")) is qmu.DDPG
    assert type(Other.load(tmp_path / "ddpg")) is Other
    described_again(tmp_path / "mine.safetensors", **{"class": "Unknown"})
    assert type(qmu.DDPG.load(tmp_path / "mine")) is qmu.TD3


def test_a_model_goes_on_in_another_environment_with_its_stream(model):
    model.learn(100)
    before = int(model.trainer.learner.members[0].stream.size[0, 0])
    model.set_env(lambda: gym.wrappers.TimeLimit(gym.make("Pendulum-v1").unwrapped, 20))
    model.learn(50)
    assert (model.steps, model.trainer.learner.updates) == (150, 100)
    # What was cut off has its final observation in the stream, and so have two episodes of 20.
    assert int(model.trainer.learner.members[0].stream.size[0, 0]) == before + 1 + 50 + 2
    assert model.evaluate(2).lengths == (20, 20)


class Shifted(gym.Env):
    """Has the spaces of a pendulum, and nothing else of it."""

    observation_space = gym.make("Pendulum-v1").observation_space
    action_space = gym.make("Pendulum-v1").action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 1.0, False, False, {}


def shifted():
    return gym.wrappers.TimeLimit(Shifted(), 20)


def test_a_model_is_saved_with_the_environment_that_it_has_gone_on_in(model, tmp_path):
    gym.register("Shifted-v0", Shifted, max_episode_steps=20)
    try:
        model.set_env("Shifted-v0")
        assert model.policy().info["environment"] == "Shifted-v0"
        model.save(tmp_path / "shifted")
        loaded = qmu.DDPG.load(tmp_path / "shifted")
        assert loaded.evaluate(1).rewards == (20.0,)
        loaded.close()
    finally:
        del gym.registry["Shifted-v0"]
    model.set_env(shifted)
    model.save(tmp_path / "nameless")
    with pytest.raises(qmu.ConfigError, match="without an id"):
        qmu.DDPG.load(tmp_path / "nameless")


def test_keyword_arguments_belong_to_the_environment_that_they_were_given_for(tmp_path):
    model = qmu.DDPG("Pendulum-v1", env={"kwargs": {"g": 5.0}}, **SMALL)
    model.save(tmp_path / "before")
    model.set_env("Pendulum-v1")
    assert model.trainer.config.env.kwargs.values() == {"g": 5.0}
    model.set_env(shifted)
    assert model.evaluate(1).rewards == (20.0,)
    again = qmu.DDPG.load(tmp_path / "before", env=shifted)
    again.save(tmp_path / "after")
    for name in ("before", "after"):
        loaded = qmu.DDPG.load(tmp_path / name, env=shifted)
        assert loaded.evaluate(1).rewards == (20.0,)
        loaded.close()
    with pytest.raises(qmu.ConfigError, match="without an id"):
        qmu.DDPG.load(tmp_path / "after")
    for one in (model, again):
        one.close()


@LISTED
def test_a_model_does_not_go_on_where_its_networks_do_not_fit(model):
    with pytest.raises(qmu.ConfigError, match="has other observations, actions or bounds than"):
        model.set_env("MountainCarContinuous-v0")
    worlds = gym.make_vec(
        "Pendulum-v1",
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
    )
    with pytest.raises(qmu.ConfigError, match="is 2 worlds, and this model's stream is made for 1"):
        model.set_env(worlds)
    worlds.close()
    assert model.learn(10).steps == 10


def test_a_policy_is_handed_over_once_and_again_after_learning(model):
    assert model.policy() is model.policy()
    first = model.policy()
    assert model.learn(60).policy() is not first


class Asking(qmu.Callback):
    """Asks the model for an action after every chunk."""

    def __init__(self, model):
        self.model, self.steps = model, []

    def on_chunk(self, moment):
        self.model.predict(np.zeros(3))
        self.steps.append(self.model.policy().info["step"])


def test_a_policy_that_a_callback_has_asked_for_is_not_the_one_after_learning(model):
    asking = Asking(model)
    model.learn(100, callbacks=[asking])
    assert asking.steps == [32, 64, 96, 100]
    model.learn(28)
    assert model.policy().info["step"] == 128


@pytest.mark.parametrize("steps", ["5", 0, 2.5, float("inf"), float("nan"), None, [5]])
def test_learn_takes_a_whole_number_of_steps(model, steps):
    with pytest.raises(qmu.ConfigError, match="total_steps must be a whole number above 0, not"):
        model.learn(steps)


def test_evaluate_takes_full_episodes(model):
    score = model.evaluate(2)
    assert score.lengths == (200, 200)


@pytest.mark.long
@pytest.mark.slow
def test_what_the_networks_saw_is_saved_with_them(tmp_path):
    switches = {"env": {"normalize_obs": True}, "actor": {"norm": "batch", "hidden_sizes": [8]}}
    groups = reading.merge(SMALL, switches)
    model = qmu.DDPG("Pendulum-v1", **groups).learn(200)
    model.save(tmp_path / "model")
    loaded = qmu.DDPG.load(tmp_path / "model")
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(observations)[0], model.predict(observations)[0])
    assert int(loaded.trainer.learner.statistics.seen[0]) > 190
    assert np.isfinite(loaded.learn(100).predict(observations)[0]).all()
