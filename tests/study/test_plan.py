"""What a study file means: arms, worlds, programs; and what is refused."""

import copy
import re

import pytest
import tomli_w

import qmu
from qmu.study import plan, rules

HELD = {
    "question": "Does it?",
    "environments": ["Pendulum-v1", "MountainCarContinuous-v0"],
    "seeds": 3,
    "total_steps": 2000,
    "base": "one",
    "options": {"replay": {"batch_size": 32}},
    "environment": {"Pendulum-v1": {"total_steps": 1000, "threshold": -200}},
    "arms": {
        "one": {},
        "loud": {"explore": {"std": 0.5}},
        "two critics": {"critic": {"count": 2}},
        "td3": {"preset": "td3", "explore": {"start_steps": 100}},
    },
}


def study(**changes):
    return plan.study_of("trial", copy.deepcopy(HELD) | changes)


def test_arms_that_differ_in_numbers_share_a_program():
    programs = plan.programs(study())
    assert [(one.world.id, tuple(one.arms), one.members) for one in programs] == [
        (world, arms, 3 * len(arms))
        for world in HELD["environments"]
        for arms in (("one", "loud"), ("two-critics",), ("td3",))
    ]
    assert programs[0].arms == {"one": {}, "loud": {"explore": {"std": 0.5}}}
    assert programs[0].config.explore.std == 0.2
    assert programs[0].steps == 6000
    assert programs[1].config.critic.count == 2


def test_a_program_taken_apart_has_a_program_for_each_arm():
    programs = plan.programs(study(), {("Pendulum-v1", "one")})
    assert [tuple(one.arms) for one in programs[:3]] == [("one",), ("loud",), ("two-critics",)]
    assert [one.name for one in programs[:2]] == ["one", "loud"]


def test_the_most_particular_option_wins():
    asked = study()
    first, other = asked.worlds
    one, _, _, td3 = asked.arms
    config = plan.config_of(asked, first, one)
    assert (config.train.total_steps, config.train.eval_interval) == (1000, 10)
    assert (config.replay.batch_size, config.replay.capacity) == (32, 10_000)
    assert plan.config_of(asked, other, one).train.total_steps == 2000
    config = plan.config_of(asked, other, td3)
    assert (config.critic.count, config.actor.interval, config.explore.start_steps) == (2, 2, 100)
    # The study's options go on top of an arm's preset.
    assert config.replay.batch_size == 32


def test_a_grid_is_all_combinations():
    grid = {"explore.std": [0.1, 0.2], "critic.hidden-sizes": [[8], [8, 8]]}
    held = {key: value for key, value in HELD.items() if key not in ("arms", "base")}
    asked = plan.study_of("trial", held | {"grid": grid})
    assert [arm.name for arm in asked.arms] == [
        "explore.std 0.1, critic.hidden-sizes 8",
        "explore.std 0.1, critic.hidden-sizes 8 8",
        "explore.std 0.2, critic.hidden-sizes 8",
        "explore.std 0.2, critic.hidden-sizes 8 8",
    ]
    assert asked.base == asked.arms[0].name
    assert len(plan.programs(asked)) == 4


def test_every_arm_has_files_of_its_own():
    changes = [{"explore": {"std": std}} for std in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    names = ("one", "One!", "one 2", "噪声", "噪声 大", "!")
    asked = study(arms=dict(zip(names, changes, strict=True)), base="one")
    slugs = ["one", "one-2", "one-2-2", "arm", "arm-2", "arm-3"]
    assert [arm.slug for arm in asked.arms] == slugs
    assert [asked.arm(slug).name for slug in slugs] == list(names)
    assert list(plan.programs(asked)[0].arms) == slugs
    again = plan.study_of("trial", plan.described(asked))
    assert again == asked


def test_a_sign_is_part_of_the_name_of_a_file():
    held = {key: value for key, value in HELD.items() if key not in ("arms", "base")}
    asked = plan.study_of("trial", held | {"grid": {"explore.mean": [-0.1, 0.1, -1e-05]}})
    slugs = [arm.slug for arm in asked.arms]
    assert slugs == ["explore.mean-m0.1", "explore.mean-0.1", "explore.mean-m1e-05"]


def test_many_members_are_divided_among_programs():
    arms = {f"std {index}": {"explore": {"std": index / 100}} for index in range(10)}
    programs = plan.programs(study(arms=arms, base="std 0", seeds=10))
    assert [one.members for one in programs[:3]] == [40, 40, 20]


def test_a_huge_grid_is_refused_before_it_is_made():
    held = {key: value for key, value in HELD.items() if key not in ("arms", "base")}
    grid = {
        f"{group}.lr": [index / 1e4 for index in range(1, 101)] for group in ("actor", "critic")
    }
    with pytest.raises(
        qmu.ConfigError, match=r"it trains 60,000 agents, which is more than 10,000: give --yes if"
    ):
        plan.study_of("trial", held | {"grid": grid}, rules.MOST_RUNS)
    grid |= {name: list(range(1000)) for name in ("explore.std", "target.tau", "target.gamma")}
    with pytest.raises(qmu.ConfigError, match=r"more than 1,000,000: ask for less"):
        plan.study_of("trial", held | {"grid": grid})


def test_what_is_written_down_is_the_same_study():
    asked = study()
    again = plan.study_of("trial", plan.described(asked))
    assert again == asked
    assert tomli_w.dumps(plan.described(asked))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 3}, "unknown key seed; did you mean seeds"),
        ({"seeds": 0}, "seeds must be 1 or more, not 0"),
        ({"seeds": -1}, "seeds must be 1 or more"),
        ({"first_seed": -1}, "first_seed must be 0 or more"),
        ({"total_steps": 0}, "total_steps must be 1 or more, not 0"),
        ({"total_steps": -5}, "total_steps must be 1 or more, not -5"),
        (
            {"environment": {"Pendulum-v1": {"total_steps": 0}}},
            "environment.Pendulum-v1.total_steps must be 1 or more",
        ),
        ({"total_steps": 100}, "learning begins after step"),
        ({"seeds": True}, "seeds is not a whole number"),
        ({"environments": []}, "environments is empty"),
        ({"environments": [""]}, "environments holds no id: ''"),
        ({"environments": ["Pendulum-v1", "Pendulum-v1"]}, "environments names Pendulum-v1 twice"),
        (
            {"environment": {"Pendulm-v1": {}}},
            "environment.Pendulm-v1 is about a world that environments does not name; did you mean "
            "Pendulum-v1",
        ),
        ({"environment": {"Pendulum-v1": 3}}, "environment.Pendulum-v1 is not a table"),
        ({"question": ""}, "question is empty"),
        ({"environments": [3]}, "environments holds no id"),
        ({"question": 3}, "question is not a text"),
        ({"arms": {}}, "it compares nothing: list recipes in [arms]"),
        ({"grid": {"explore.std": [1]}}, "it has [arms] and a [grid]: leave one of the two out"),
        (
            {"arms": {}, "grid": {"explore": {"std": [1, 2]}}},
            'grid.explore.std needs quotes around the option: write "explore.std" = [...]',
        ),
        ({"arms": {}, "grid": {"explore.std": []}}, "grid.explore.std is not a list with values"),
        ({"base": "two critic"}, "base is no arm: 'two critic'; did you mean two critics"),
        ({"arms": {"one": 3}}, "arms.one is not a table of options"),
        ({"arms": {"one": {"preset": 3}}}, "arms.one.preset is not a text"),
        (
            {"arms": {}, "grid": {"explore.std": [0.1, 0.1]}},
            "two arms have one name, 'explore.std 0.1': leave one of them out",
        ),
        ({"arms": {" ": {}}}, "an arm has no name"),
        ({"arms": {"a" * 400: {}}}, "an arm's name has 400 letters, and files are named after it"),
        (
            {"arms": {"one": {"env": {"id": "MountainCarContinuous-v0"}}}},
            "arms.one sets env.id, which belongs to the study: leave it out, and give environments",
        ),
        ({"arms": {"one": {"train": {"seeds": 2}}}}, "arms.one sets train.seeds"),
        ({"arms": {"one": {"train": {"seed": 2}}}}, "arms.one sets train.seed"),
        ({"arms": {"one": {"train": {"total_steps": 90}}}}, "arms.one sets train.total_steps"),
        ({"arms": {"one": {"train": {"total_episodes": 9}}}}, "arms.one sets train.total_episodes"),
        (
            {"arms": {"one": {"log": {"interval": 5}}}},
            "arms.one sets log.interval, in which arms cannot differ: give it to all of them",
        ),
        ({"arms": {"one": {"env": {"episode_length": 5}}}}, "arms.one sets env.episode_length"),
        ({"arms": {}, "grid": {"train.seeds": [1, 2]}, "base": "x"}, "the grid sets train.seeds"),
        ({"options": {"env": {"id": "Pendulum-v1"}}}, "options sets env.id"),
        ({"options": {"log": {"dir": "elsewhere"}}}, "options sets log.dir"),
        (
            {"environment": {"Pendulum-v1": {"options": {"train": {"seed": 3}}}}},
            "environment.Pendulum-v1.options sets train.seed",
        ),
        ({"arms": {"one": {"actor": {"rate": 1}}}}, "arm 'one' in Pendulum-v1: unknown option"),
        ({"options": {"actor": {"lr": "fast"}}}, "'fast' is not a number"),
        ({"preset": "td4"}, "there is no preset 'td4'"),
        ({"environment": {"Pendulum-v1": {"steps": 3}}}, "unknown key environment.Pendulum-v1.ste"),
        ({"environment": {"Pendulum-v1": {"low": 3}}}, "needs low and high"),
        ({"environment": {"Pendulum-v1": {"threshold": float("nan")}}}, "is not a finite number"),
    ],
)
def test_what_is_no_study_is_refused_in_a_sentence(changes, said):
    with pytest.raises(qmu.ConfigError, match=re.escape(said)):
        study(**changes)


@pytest.mark.parametrize("required", ["question", "environments", "seeds"])
def test_what_a_study_needs_is_named(required):
    held = {key: value for key, value in HELD.items() if key != required}
    with pytest.raises(qmu.ConfigError, match=f"{required} is missing"):
        plan.study_of("trial", held)


def test_what_all_runs_have_in_common_may_be_said_for_all_of_them():
    options = {"log": {"interval": 100}, "env": {"episode_length": 50}}
    asked = study(options=options)
    for program in plan.programs(asked):
        assert (program.config.log.interval, program.config.env.episode_length) == (100, 50)


def test_a_recipe_with_a_length_of_its_own_is_trained_as_long_as_the_others():
    asked = study(
        arms={"post": {"preset": "tf2-post"}, "forge": {"preset": "drl-forge"}},
        base="post",
        total_steps=20_000,
        environment={},
    )
    for program in plan.programs(asked):
        train = program.config.train
        assert (train.total_steps, train.total_episodes, train.eval_interval) == (20_000, None, 200)
        # Returns of longer episodes could not be held against the others'.
        assert program.config.env.episode_length is None


# Nobody has measured what can be had in their worlds.
UNMEASURED = ("bullet",)


@pytest.mark.parametrize("name", plan.names())
def test_the_built_in_studies_are_studies(name):
    asked = plan.read_study(name)
    assert plan.title(name).endswith("?")
    assert asked.seeds >= 5
    for program in plan.programs(asked):
        assert program.config.env.id == program.world.id
    for world in asked.worlds:
        if name in UNMEASURED:
            assert (world.low, world.threshold, world.high) == (None, None, None)
        else:
            assert world.low < world.threshold <= world.high
        # No two arms are the same recipe.
        recipes = [plan.config_of(asked, world, arm) for arm in asked.arms]
        assert all(recipes.count(recipe) == 1 for recipe in recipes)


def test_what_is_typed_counts_more_than_the_file(tmp_path):
    asked = plan.read_study("noise", ["Pendulum-v1"], seeds=2, total_steps=500)
    assert [(world.id, world.total_steps) for world in asked.worlds] == [("Pendulum-v1", 500)]
    assert asked.worlds[0].threshold == -200
    assert asked.seeds == 2
    with pytest.raises(qmu.ConfigError, match=r"there is no study 'nois'; did you mean noise"):
        plan.read_study("nois")
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(HELD | {"environments": ["evil:World-v0"], "environment": {}}))
    with pytest.raises(qmu.ConfigError, match="whose module a file may not import"):
        plan.read_study(str(file))
    file.write_text(tomli_w.dumps(HELD | {"environment": {"Pendulm-v1": {"threshold": -200}}}))
    for typed in (None, ["Pendulum-v1"]):
        with pytest.raises(qmu.ConfigError, match="did you mean Pendulum-v1"):
            plan.read_study(str(file), typed)


def test_a_study_names_no_wrappers():
    held = {
        "question": "Which?",
        "environments": ["Pendulum-v1"],
        "seeds": 1,
        "arms": {"one": {"env": {"wrappers": ["nowhere.Wrapper"]}}},
    }
    with pytest.raises(qmu.ConfigError, match=r"it names the wrappers nowhere\.Wrapper"):
        plan.study_of("mine", held)


def test_what_a_file_says_of_a_world_that_is_not_asked_for_is_no_mistake(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(HELD))
    asked = plan.read_study(str(file), ["MountainCarContinuous-v0"])
    assert [world.id for world in asked.worlds] == ["MountainCarContinuous-v0"]
    with pytest.raises(qmu.ConfigError, match=r"seeds must be 1 or more, not 0"):
        plan.read_study("noise", seeds=0)
    with pytest.raises(qmu.ConfigError, match=r"total_steps must be 1 or more, not -5"):
        plan.read_study("noise", total_steps=-5)
