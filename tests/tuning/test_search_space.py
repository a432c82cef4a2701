"""Search spaces: what can be searched, what is drawn, and what is refused in a sentence."""

import numpy as np
import pytest

from qmu import presets
from qmu.config import Config, reading, replace
from qmu.errors import ConfigError
from qmu.tuning import space
from qmu.tuning.space import (
    base_drawn,
    chosen,
    described,
    fitting,
    space_of,
    with_values,
    without_misfits,
)
from qmu.world.families import FAMILIES

HELD = {
    "actor": {"lr": {"log": [1e-5, 1e-2]}, "hidden_sizes": {"choice": [[64, 64], [256, 256]]}},
    "explore": {"std": {"range": [0.05, 0.5]}, "parameter_distance": {"choice": ["none", 0.2]}},
    "replay": {"batch_size": {"range": [32, 256]}},
}
# A space of memories is for recipes that have one.
BASES = {"memory": {"memory": {"kind": "gru"}, "replay": {"batch_size": 32}}}


@pytest.mark.parametrize("name", space.names())
def test_the_built_in_spaces_hold_the_default_recipe(name):
    base = reading.read_dict(BASES.get(name, {}))
    held = space_of(space.read_held(name), base)
    drawn = base_drawn(held, base)
    assert drawn is not None
    assert with_values(base, chosen(held, drawn)) == base
    assert space_of(described(held), base) == held


@pytest.mark.parametrize("family", [one.name for one in FAMILIES])
def test_families_have_a_space_of_their_own(family):
    assert fitting(family, images=False) == family.replace(" ", "-").replace("_", "-")
    assert fitting(family, images=True) == "images"
    assert fitting(family, images=False, memory=True) == "memory"


def test_a_world_of_no_family_has_that_of_any_world():
    assert fitting(None, images=False) == fitting("weather", images=False) == "any"


def test_what_is_drawn_becomes_options():
    held = space_of(HELD, Config())
    assert [(one.path, one.whole) for one in held] == [
        ("actor.lr", False),
        ("actor.hidden_sizes", False),
        ("explore.std", False),
        ("explore.parameter_distance", False),
        ("replay.batch_size", True),
    ]
    drawn = {
        "actor.lr": 1e-4,
        "actor.hidden_sizes": "64 64",
        "explore.std": 0.3,
        "explore.parameter_distance": "none",
        "replay.batch_size": 48,
    }
    config = with_values(Config(), chosen(held, drawn))
    assert config.actor.hidden_sizes == (64, 64)
    assert config.explore.parameter_distance is None
    assert (config.replay.batch_size, config.explore.std) == (48, 0.3)
    assert base_drawn(held, config) == drawn
    assert base_drawn(held, replace(config, "explore", std=0.7)) is None
    assert base_drawn(held, replace(config, "actor", hidden_sizes=(8,))) is None


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({}, "it is empty"),
        ({"actr": {"lr": {"log": [1e-5, 1]}}}, "unknown group of options 'actr'; did you mean"),
        ({"actor": 3}, r"write \[actor\]"),
        ({"actor": {"rate": {"log": [1e-5, 1]}}}, "unknown option actor.rate"),
        ({"actor": {"lr": [1e-5, 1]}}, "actor.lr needs one of"),
        ({"actor": {"lr": {"log": [1e-5, 1], "range": [0, 1]}}}, "actor.lr needs one of"),
        ({"actor": {"lr": {"log": []}}}, "log needs a list with values"),
        ({"actor": {"lr": {"log": [0, 1]}}}, "log needs bounds above 0"),
        ({"actor": {"lr": {"range": [1, 1]}}}, "a low end below the high one"),
        ({"actor": {"lr": {"range": [1, 2, 3]}}}, "two numbers"),
        ({"actor": {"lr": {"range": ["a", 2]}}}, "two numbers"),
        ({"critic": {"count": {"range": [1, 2.5]}}}, "critic.count takes whole numbers"),
        ({"critic": {"count": {"choice": [1, 1]}}}, "choice has 1 twice"),
        ({"critic": {"norm": {"choice": ["layer", "odd"]}}}, "critic.norm cannot be odd: .*one of"),
        ({"target": {"gamma": {"range": [0.9, 1.5]}}}, "target.gamma cannot be 1.5"),
        ({"train": {"seeds": {"choice": [1, 2]}}}, "train.seeds is not a part of a recipe"),
        ({"train": {"eval_episodes": {"choice": [1]}}}, "not a part of a recipe"),
        ({"log": {"interval": {"choice": [1]}}}, "not a part of a recipe"),
    ],
)
def test_what_cannot_be_searched_is_refused(held, words):
    with pytest.raises(ConfigError, match=words):
        space_of(held, Config())


def test_choices_that_the_base_recipe_contradicts_are_left_out_of_a_built_in_space():
    base = reading.from_dict(
        {"critic": {"loss": "huber", "norm": "batch", "joined": True}, "actor": {"norm": "batch"}}
    )
    whole = space.read_held("dm-control")
    with pytest.raises(ConfigError, match=r"critic\.norm cannot be none: --critic\.joined"):
        space_of(whole, base)
    held = space_of(without_misfits(whole, base), base)
    left = {one.path for one in space_of(whole, Config())} - {one.path for one in held}
    assert left == {"critic.head", "critic.norm", "explore.parameter_distance"}
    # Some choices are left of others, and all of them where nothing contradicts.
    assert without_misfits(whole, Config()) == whole
    fewer = without_misfits({"critic": {"count": {"choice": [1, 2, 3]}}}, two_critics())
    assert fewer == {"critic": {"count": {"choice": [2, 3]}}}
    one = {"critic": {"count": {"choice": [2]}}}
    assert without_misfits(one, two_critics()) == one


def two_critics():
    return reading.from_dict({"critic": {"count": 2, "batches": "own"}})


@pytest.mark.parametrize("name", sorted(set(space.names()) - {"memory", "images"}))
def test_tunings_around_presets_never_contradict_themselves(name):
    generator = np.random.default_rng(0)
    for preset in presets.names():
        base = reading.from_dict(presets.read_preset(preset))
        held = space_of(without_misfits(space.read_held(name), base), base)
        for _ in range(10):
            drawn = {
                one.path: str(generator.choice(list(one.choices)))
                if one.bounds is None
                else one.bounds[0]
                for one in held
            }
            with_values(base, chosen(held, drawn))


def test_a_space_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no search space 'mujco'; did you mean mujoco"):
        space.read_held("mujco")
    with pytest.raises(ConfigError, match="cannot read"):
        space.read_held(str(tmp_path / "none.toml"))


def test_every_bound_of_a_whole_range_is_a_whole_number():
    held = space_of({"replay": {"batch_size": {"log": [32, 256]}}}, Config())
    assert held[0].bounds == (32, 256)
    assert all(isinstance(one, int) for one in held[0].bounds)
    drawn = {"replay.batch_size": int(np.int64(64))}
    assert reading.from_dict(chosen(held, drawn)).replay.batch_size == 64
