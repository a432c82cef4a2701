"""Old spellings of options are still read, wherever values are; and numbers that are not given."""

import pytest
import tomli_w

from qmu import config as options
from qmu.cli import read_recipe
from qmu.config import Config, reading
from qmu.config.former import respelled
from qmu.config.members import members_of
from qmu.config.reading import from_dict, merge, vary
from qmu.errors import ConfigError
from qmu.presets import read_preset
from qmu.study import plan
from qmu.tuning import space

BEFORE = {"prioritized": False, "alpha": 0.6, "beta": 0.4, "beta_end": 1.0}
STUDY = {"question": "Which?", "environments": ["Pendulum-v1"], "seeds": 2}


@pytest.mark.parametrize(("old", "new"), [(True, "td-error"), (False, "uniform")])
def test_the_old_spelling_means_what_it_did(old, new):
    config = from_dict({"replay": {"prioritized": old}})
    assert config == from_dict({"replay": {"priorities": new}})
    assert "prioritized" not in options.to_dict(config)["replay"]
    # Said twice, and alike.
    assert from_dict({"replay": {"prioritized": old, "priorities": new}}) == config


@pytest.mark.parametrize("old", [True, False])
def test_a_configuration_of_before_has_the_numbers_that_it_had(old):
    config = from_dict({"replay": BEFORE | {"prioritized": old}})
    numbers = options.resolved(config).replay
    assert numbers == options.resolved(from_dict({"replay": {"prioritized": old}})).replay
    assert (numbers.alpha, numbers.beta, numbers.beta_end) == (0.6, 0.4, 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"prioritized": True, "priorities": "lap"},
            "--replay.prioritized True is an old spelling of --replay.priorities td-error, and "
            "--replay.priorities lap is given, too: leave the old one out",
        ),
        (
            {"prioritized": False, "priorities": "td-error"},
            "old spelling of --replay.priorities uniform",
        ),
        ({"prioritized": "yes"}, "--replay.prioritized: 'yes' is not true or false"),
        ({"prioritized": None}, "--replay.prioritized: None is not true or false"),
        ({"prioritised": True}, "unknown option replay.prioritised; did you mean priorities"),
    ],
)
def test_what_it_cannot_mean_is_refused(given, said):
    with pytest.raises(ConfigError) as refused:
        from_dict({"replay": given})
    assert said in str(refused.value)


def test_what_is_given_on_top_counts_in_either_spelling():
    old, new = {"replay": {"prioritized": True}}, {"replay": {"priorities": "lap"}}
    assert from_dict(merge(old, new)).replay.priorities == "lap"
    assert from_dict(merge(new, old)).replay.priorities == "td-error"
    assert from_dict(merge(read_preset("qmu2026"), old)).replay.priorities == "td-error"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--replay.prioritized", "td-error"),
        ("--replay.no-prioritized", "uniform"),
        ("--replay.no_prioritized", "uniform"),
        ("--replay.prioritized --replay.no-prioritized", "uniform"),
        ("--replay.prioritized --replay.priorities td-error", "td-error"),
        ("--replay.no-prioritized --replay.priorities=uniform", "uniform"),
        ("--config old.toml", "td-error"),
        ("--config old.toml --replay.no-prioritized", "uniform"),
        ("--config old.toml --replay.priorities uniform", "uniform"),
        ("--preset old.toml", "td-error"),
        ("--preset old.toml --config new.toml", "lap"),
    ],
)
def test_it_is_typed_and_in_files(words, found, tmp_path, monkeypatch):
    from qmu import forms

    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").write_text("[replay]\nprioritized = true\n")
    (tmp_path / "new.toml").write_text('[replay]\npriorities = "lap"\n')
    _, config, _ = read_recipe(forms.Train, "train", ["Pendulum-v1", *words.split()])
    assert config.replay.priorities == found


@pytest.mark.parametrize(
    "words",
    [
        ["--replay.prioritized", "--replay.priorities", "lap"],
        ["--replay.priorities=lap", "--replay.prioritized"],
        ["--replay.no-prioritized", "--replay.priorities", "td-error"],
    ],
)
def test_both_spellings_with_other_meanings_are_refused_where_they_are_typed(words):
    with pytest.raises(ConfigError, match=r"is an old spelling of --replay\.priorities"):
        respelled(words)


def test_other_words_stay_as_they_are_typed():
    words = ["Pendulum-v1", "--replay.alpha", "0.5", "--log.name", "prioritized"]
    assert respelled(words) == words


def test_studies_name_it_in_arms_grids_and_options():
    grid = plan.study_of("trial", STUDY | {"grid": {"replay.prioritized": [False, True]}})
    names = ["replay.prioritized False", "replay.prioritized True"]
    assert [arm.name for arm in grid.arms] == names
    kinds = [plan.config_of(grid, grid.worlds[0], arm).replay.priorities for arm in grid.arms]
    assert kinds == ["uniform", "td-error"]

    def listed(name, value):
        changes = {"replay": {name: value}}
        world = {"Pendulum-v1": {"options": changes}}
        more = {"arms": {"one": {}, "other": changes}, "environment": world, "options": changes}
        return plan.study_of("trial", STUDY | more)

    # A directory that holds it in the old spelling holds the same study.
    assert listed("prioritized", True) == listed("priorities", "td-error")
    assert "prioritized" not in tomli_w.dumps(plan.described(listed("prioritized", True)))


def test_spaces_name_it():
    held = {"replay": {"prioritized": {"choice": [False, True]}}}
    (one,) = found = space.space_of(held, Config())
    assert space.described(found) == held
    for kind, drawn in (("uniform", "False"), ("td-error", "True")):
        base = from_dict({"replay": {"priorities": kind}})
        assert space.base_drawn(found, base) == {one.path: drawn}
        chosen = space.chosen(found, {one.path: drawn})
        assert space.with_values(Config(), chosen) == base
    assert space.base_drawn(found, from_dict({"replay": {"priorities": "lap"}})) is None
    with pytest.raises(ConfigError, match=r"replay\.prioritized cannot be 0\.0: --replay\.prio"):
        space.space_of({"replay": {"prioritized": {"range": [0.0, 1.0]}}}, Config())
    both = held["replay"] | {"priorities": {"choice": ["uniform", "lap"]}}
    with pytest.raises(ConfigError, match=r"replay\.prioritized is an old spelling of replay\.pri"):
        space.space_of({"replay": both}, Config())


def test_alpha_and_beta_are_those_of_the_papers_unless_they_are_given():
    def numbers(**replay):
        found = options.resolved(from_dict({"replay": replay})).replay
        return found.alpha, found.beta, found.beta_end

    assert numbers(priorities="td-error") == (0.6, 0.4, 1.0)
    assert numbers(priorities="lap") == (0.4, None, None)
    assert numbers(priorities="lap", alpha=0.9) == (0.9, None, None)
    assert numbers(priorities="td-error", beta=0.7) == (0.6, 0.7, 1.0)
    assert numbers(priorities="td-error", alpha=0, beta_end=0.5) == (0.0, 0.4, 0.5)
    space_of_alpha = space.space_of({"replay": {"alpha": {"range": [0.0, 1.0]}}}, Config())
    base = from_dict({"replay": {"priorities": "lap"}})
    assert space.base_drawn(space_of_alpha, base) == {"replay.alpha": 0.4}


def test_members_and_arms_may_differ_in_a_number_that_is_not_given():
    config = from_dict({"replay": {"priorities": "td-error"}})
    arms = {"usual": {}, "other": {"replay": {"alpha": 0.9, "beta": 0.5}}}
    first, second = members_of(config, arms)
    assert options.resolved(first.config).replay.alpha == 0.6
    assert second.config.replay.alpha == 0.9
    more = {"options": {"replay": {"priorities": "td-error"}}, "arms": arms}
    (program,) = plan.programs(plan.study_of("trial", STUDY | more))
    assert program.arms == arms
    # What is a part of the program for some is refused, as anywhere else.
    for changes in ({"fade": 0.99}, {"priorities": "lap"}):
        with pytest.raises(ConfigError, match="shapes the program"):
            vary(config, {"replay": changes})
    with pytest.raises(ConfigError, match="about weights"):
        vary(from_dict({"replay": {"priorities": "lap"}}), {"replay": {"beta": 0.4}})


def test_arms_that_give_a_number_first_leave_the_other_its_usual_one():
    more = {
        "options": {"replay": {"priorities": "lap"}},
        "arms": {"given": {"replay": {"alpha": 0.9}}, "usual": {}},
    }
    (program,) = plan.programs(plan.study_of("trial", STUDY | more))
    assert program.arms == {"given": {}, "usual": {"replay": {"alpha": 0.4}}}
    usual = members_of(program.config, program.arms)[-1]
    assert options.resolved(usual.config).replay.alpha == 0.4
    assert reading.from_dict(options.to_dict(usual.config)) == usual.config
