"""Tables and answers from results whose numbers were worked out by hand."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import qmu
from qmu.runs.results import Run
from qmu.study import results
from qmu.study.plan import World, read_study
from qmu.study.results import Outcome, Place, Results

STUDY = read_study("noise", None, None, None, False)
WORLD = World("Pendulum-v1", 40, 15.0, None, None, {})


def outcome(arm, *curves, status="finished"):
    """Return an arm with these evaluations, one row per seed, every 10 steps."""
    values = np.array(curves, np.float64)
    steps = np.arange(1.0, values.shape[1] + 1) * 10
    names = tuple(f"seed-{index}" for index in range(len(values)))
    return Outcome(
        arm, tuple(range(len(values))), steps, values, status, 1.0, Run(Path("x")), names
    )


def found(*outcomes, world=WORLD):
    arms = tuple(one.arm for one in outcomes)
    return Results("trial", "Which?", arms, arms[0], (Place(world, outcomes),), None)


BASE = outcome("base", [0, 10], [10, 20], [20, 30])
BETTER = outcome("better", [30, 40], [40, 50], [10, 30])


def test_a_row_holds_what_the_curves_say():
    trial = found(BASE, BETTER)
    base, better = results.rows(trial, trial.places[0])
    # Of two evaluations, the last counts.
    np.testing.assert_array_equal(base.scores, [10, 20, 30])
    assert (base.mean.value, base.median, base.failed, base.area) == (20, 20, 1, 15)
    # First evaluations at 15 or more: never, 20, 10.
    assert base.steps_to == 20
    assert base.improvement is None
    # 40 and 50 beat all three, 30 beats two and ties with one: 8.5 of 9.
    assert better.improvement.value == pytest.approx(8.5 / 9)
    assert better.failed == 0
    texts = dict(zip(results.COLUMNS, results.cells(base), strict=True))
    assert texts["median"] == "20.0"
    assert texts["failed"] == "1 of 3"
    assert texts["steps to it"] == "20"


@pytest.mark.parametrize(
    ("reached", "said"), [(4, "10"), (3, "10"), (2, "half never"), (1, "most never")]
)
def test_how_many_seeds_never_reached_the_threshold_is_said(reached, said):
    trial = found(outcome("base", *[[20, 20]] * reached, *[[0, 0]] * (4 - reached)))
    (row,) = results.rows(trial, trial.places[0])
    assert results.cells(row)[results.COLUMNS.index("steps to it")] == said


def seeds(arm, *scores, **keywords):
    """Return an arm whose seeds have these scores."""
    return outcome(arm, *([score, score] for score in scores), **keywords)


def test_the_answer_names_the_best_arm_and_how_sure_that_is():
    base, better = seeds("base", 1, 2, 3, 4, 5), seeds("better", 11, 12, 13, 14, 15)
    said = results.answer(found(base, better))
    assert re.match(r"Best is better: it is 10\.0 \([6-9]\.\d+ to 1[1-3]\.\d\) above base; ", said)
    assert said.endswith("a seed of it beats one of base with probability 1.00 (0.64 to 1.00).")
    said = results.answer(found(better, base))
    assert said.startswith(
        "No arm is above better, which the others are held against: the next one"
    )
    assert "base, is 10.0 (" in said
    alike = seeds("alike", 0, 2, 3, 4, 7)
    said = results.answer(found(base, alike))
    assert said.startswith("No arm is shown to be better than base: alike is 0.20 (-")
    assert said.endswith("(which is not more than chance explains).")


def test_few_seeds_have_an_answer_without_an_interval():
    said = results.answer(found(BASE, BETTER))
    assert said == (
        "No arm is shown to be better than base: better is 20.0 above base; a seed of it beats one "
        "of base with probability 0.94 (0.45 to 1.00) (fewer than 5 seeds have no interval)."
    )


def test_the_interval_allows_for_the_choice_among_arms():
    base = seeds("base", *range(10))
    better = seeds("better", *range(4, 14))
    alone = results.answer(found(base, better))
    others = [seeds(f"other {index}", *range(-index, 10 - index)) for index in range(1, 9)]
    among = results.answer(found(base, better, *others))
    assert alone.startswith("Best is better")
    assert among.startswith("No arm is shown to be better than base: better is 4.00 (-")


def test_one_arm_in_several_worlds_has_an_answer_for_each():
    places = tuple(Place(WORLD._replace(id=name), (BASE,)) for name in ("A-v0", "B-v0"))
    trial = Results("trial", "Which?", ("base",), "base", places, None)
    said = results.answer(dataclasses.replace(trial, study=STUDY))
    assert said == "base reaches 20.0 in A-v0; base reaches 20.0 in B-v0."


def test_runs_of_different_worlds_are_not_compared():
    places = (
        Place(WORLD._replace(id="A-v0"), (BASE,)),
        Place(WORLD._replace(id="B-v0"), (outcome("stopped", [1.0], status="stopped"),)),
    )
    trial = Results("trial", "Which?", ("base", "stopped"), "base", places, None)
    assert results.answer(trial) == (
        "These runs are of different worlds and are not compared: base reaches 20.0 in A-v0; "
        "stopped stopped in B-v0."
    )
    assert [results.not_begun(trial, place) for place in places] == [[], []]
    asked = dataclasses.replace(trial, study=STUDY)
    assert [results.not_begun(asked, place) for place in places] == [["stopped"], ["base"]]


def test_an_arm_without_an_end_has_no_score_and_is_named():
    stopped = outcome("stopped", [90, 90], [90, 90], [90, 90], status="stopped")
    trial = found(BASE, BETTER, stopped)
    row = results.rows(trial, trial.places[0])[2]
    assert np.isnan(row.mean.value)
    assert results.cells(row)[0] == "stopped"
    assert results.answer(trial).endswith("Not finished: stopped.")
    assert results.answer(found(BASE, stopped)) == (
        "Nothing can be compared yet: only base has been trained to its end."
    )
    sick = found(BASE, outcome("sick", [1.0], [1.0], status="diverged"))
    texts = results.cells(results.rows(sick, sick.places[0])[1])
    assert texts[:5] == ["diverged", "", "", "", "at least 1 of 2"]
    none = found(outcome("base", [1.0], status="running"))
    assert results.answer(none) == "Nothing has been trained to its end yet."


def test_scales_are_those_of_the_study_or_of_the_scores():
    trial = found(BASE, BETTER)
    assert trial.places[0].scale() == (10, 50)
    np.testing.assert_array_equal(trial.strata("base")[0], [0, 0.25, 0.5])
    bounded = found(BASE, world=WORLD._replace(low=0.0, high=50.0))
    np.testing.assert_array_equal(bounded.strata("base")[0], [0.2, 0.4, 0.6])
    same = found(outcome("base", [3, 3], [3, 3], [3, 3]))
    np.testing.assert_array_equal(same.strata("base")[0], [0.5, 0.5, 0.5])


def test_over_all_worlds_an_arm_has_the_middle_of_its_scores():
    other = World("Other-v0", 40, None, 0.0, 100.0, {})
    trial = Results(
        "trial",
        "Which?",
        ("base", "better"),
        "base",
        (Place(WORLD._replace(low=0.0, high=50.0), (BASE, BETTER)), Place(other, (BASE, BETTER))),
        None,
    )
    middle, beats = results.together(trial)["base"]
    # 0.2 0.4 0.6 and 0.1 0.2 0.3, without the lowest and the highest: 1.1 / 4.
    assert middle.value == pytest.approx(0.275)
    assert beats is None
    assert results.together(trial)["better"][1].value == pytest.approx(8.5 / 9)


@pytest.mark.parametrize(
    ("value", "said"),
    [(12345.6, "12,346"), (99.96, "100.0"), (1.234, "1.23"), (-150.2, "-150"), (np.nan, "-")],
)
def test_numbers_are_short(value, said):
    assert results.number(value) == said


def test_nothing_to_report_is_said():
    empty = outcome("base", [], [])
    with pytest.raises(qmu.ConfigError, match="has no evaluation yet"):
        results.check_any(found(empty))
