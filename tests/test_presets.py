"""Recipes: all there, all of them run, and what is said about a wrong one."""

import dataclasses

import numpy as np
import pytest
from budget import some

import qmu
from qmu import cli, presets
from qmu.config import Config, reading
from qmu.errors import ConfigError
from qmu.presets import read_preset

SOURCES = [
    "lillicrap2015",
    "emami2016",
    "tf2-post",
    "drl-forge",
    "claborne2023-ant",
    "plappert2018",
    "fujimoto2018-ddpg",
    "td3",
    "td3-2020",
    "yarats2021-drqv2",
    "palenicek2026-xqc",
]

# The default recipe of a year, and what was found here for pictures and for memories.
KEPT, FOUND = "qmu2026", ["pixels", "memory"]


def config_of(name):
    return reading.from_dict(read_preset(name))


def test_every_source_has_a_recipe():
    assert presets.names() == ["default", *sorted([*SOURCES, KEPT, *FOUND])]


@pytest.mark.parametrize("name", SOURCES)
def test_a_recipe_names_its_source_and_what_deviates(name):
    text = presets.text_of(name, None)
    assert 20 <= len(presets.title(name)) <= 100
    assert "\n# Source: " in text
    assert "\n# What deviates, and why:\n# - " in text


@pytest.mark.parametrize("name", [*SOURCES, *FOUND])
def test_a_recipe_holds_only_what_differs_from_the_defaults(name):
    config, defaults = config_of(name), Config()
    given = {(group, option) for group, values in read_preset(name).items() for option in values}
    different = {
        (group.name, option.name)
        for group in dataclasses.fields(Config)
        for option in dataclasses.fields(getattr(defaults, group.name))
        if getattr(getattr(config, group.name), option.name)
        != getattr(getattr(defaults, group.name), option.name)
    }
    assert given == different


def test_the_default_recipe_is_the_defaults():
    assert config_of("default") == Config()


def test_a_kept_default_says_all_so_that_later_defaults_do_not_change_it():
    held = read_preset(KEPT)
    for group in ("actor", "critic", "target", "explore", "replay"):
        options = {option.name for option in dataclasses.fields(getattr(Config(), group))}
        assert set(held[group]) == options
    # What the recipe was when it was kept: whoever changes the default changes nothing here.
    config = config_of(KEPT)
    assert (config.actor.lr, config.actor.lr_end, config.actor.preactivation_penalty) == (
        1e-3,
        0,
        0.01,
    )
    assert (config.critic.lr, config.critic.norm, config.critic.count) == (1e-3, "layer", 1)
    assert (config.replay.n_step, config.replay.batch_size) == (3, 256)
    assert (config.target.tau, config.target.smoothing_std, config.explore.std) == (0.005, 0.2, 0.2)


def test_the_default_is_still_that_of_2026():
    assert config_of(KEPT) == Config()


def test_td3_is_ddpg_with_its_three_tricks():
    changed = reading.differences(config_of("td3"), config_of("fujimoto2018-ddpg"))
    assert [line.split("  ")[0] for line in changed] == [
        "--actor.interval 2",
        "--critic.count 2",
        "--target.interval 2",
        "--target.smoothing-std 0.2",
        "--target.smoothing-clip 0.5",
    ]


def test_auto_is_the_environments_own_recipe_or_else_the_default():
    assert read_preset("auto", "Unheard-v0") == {}
    for environment in presets.environments():
        assert reading.from_dict(read_preset("auto", environment))


@pytest.mark.parametrize(("name", "words"), [("td4", "td3"), ("plapert", "plappert2018")])
def test_a_recipe_that_does_not_exist_is_answered_with_the_nearest(name, words):
    with pytest.raises(ConfigError, match=f"no preset '{name}'; did you mean {words}"):
        read_preset(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[critic]\ncuont = 2", "own.toml is not one: unknown option critic.cuont.*count"),
        ("[critic]\ncount = 'two'", "own.toml is not one: --critic.count: 'two' is not a whole"),
        ("[critic]\ncount = 0", "own.toml is not one: --critic.count must be greater than 0"),
        ("[[[", "own.toml is not a TOML file"),
        ("a = " + "[" * 3000, "own.toml nests lists and tables more than"),
        ("a = " + "1" * 5000, "own.toml is not a TOML file"),
    ],
)
def test_a_file_with_a_mistake_is_named(tmp_path, text, words):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_preset(str(path))


SHORT = {"log": {"tensorboard": False}, "replay": {"capacity": 1000, "batch_size": 16}}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(presets.names(), ["lillicrap2015"]))
def test_a_recipe_trains(name, tmp_path):
    groups = reading.merge(SHORT, {"log": {"dir": str(tmp_path)}})
    groups["explore"] = {"start_steps": 20}
    groups["train"] = {"eval_episodes": 1, "final_episodes": 1, "total_episodes": None}
    run = qmu.train("Pendulum-v1", preset=name, total_steps=120, **groups)
    assert run.info["status"] == "finished"
    size = run.config.env.pixels
    action = run.policy()(np.zeros((size, size, 3), np.uint8) if size else np.zeros(3))
    assert np.isfinite(action).all()


def test_options_on_top_of_a_recipe_win():
    model = qmu.DDPG("Pendulum-v1", preset="td3", critic={"count": 3}, replay={"capacity": 1000})
    assert model.trainer.config.critic.count == 3
    assert model.trainer.config.actor.interval == 2
    model.trainer.close()


def test_a_file_of_options_that_need_others_is_a_recipe(tmp_path, capsys):
    path = tmp_path / "own.toml"
    path.write_text("[explore]\nstart_steps = 150_000\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"150000 lies beyond --train\.total-steps 100000"):
        qmu.train("Pendulum-v1", preset=str(path))
    with pytest.raises(ConfigError, match=r"150000 lies beyond --train\.total-steps 50"):
        qmu.train("Pendulum-v1", preset=str(path), total_steps=50)
    model = qmu.DDPG("Pendulum-v1", preset=str(path), train={"total_steps": 200_000})
    assert model.trainer.config.explore.start_steps == 150_000
    model.close()
    assert cli.main(["presets", str(path)]) == 0
    assert "#   --explore.start-steps 150000  (default: none)" in capsys.readouterr().out
