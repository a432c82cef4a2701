"""The final of a search and the re-run of its winner, without Ray: both are studies."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from searches import asked, tried

from qmu import command
from qmu import config as options
from qmu.config import reading
from qmu.errors import QmuError
from qmu.presets import read_preset
from qmu.runs.results import Run
from qmu.study.plan import World
from qmu.study.results import Outcome, Place, Results
from qmu.tuning import final, plan, shown
from qmu.tuning.search import WHOLE

WORLD = World("Pendulum-v1", 600, None, None, None, {})


def finished(*scores):
    """Return trials that were trained to the end, each with other options, and these scores."""
    one = tried()[1]
    return [
        one._replace(number=index, score=score, drawn=one.drawn | {"actor.lr": 0.001 * (index + 2)})
        for index, score in enumerate(scores)
    ]


def held(**scores):
    """Return the results of a final by arms: a score per seed, None for one that diverged."""
    outcomes = []
    for name, own in scores.items():
        arm = name.replace("_", " ")
        curves = np.array([[0.0, score] for score in own or [0]])
        status = "finished" if own else "diverged"
        seeds = tuple(range(len(curves)))
        names = tuple(map(str, seeds))
        run = Run(Path("x"))
        outcomes.append(
            Outcome(arm, seeds, np.array([300, 600.0]), curves, status, 1.0, run, names)
        )
    arms = tuple(one.arm for one in outcomes)
    return Results("final", "Which?", arms, final.BASE, (Place(WORLD, tuple(outcomes)),), None)


def with_best_for_base():
    """Return a tuning whose base recipe is that of the best trial of `tried`."""
    values = options.to_dict(asked().base)
    better = {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    return asked(base=reading.from_dict(reading.merge(values, better)))


def test_a_trial_that_was_stopped_early_is_the_best_only_where_none_was_trained_to_the_end():
    early, whole, impossible = tried()
    early = early._replace(score=-100.0)
    assert final.best_of([early, whole, impossible]) == whole
    assert shown.ranked([impossible, early, whole]) == [whole, early, impossible]
    assert final.best_of([early, impossible]) == early
    assert shown.best_words(early) == (
        "None was trained to the end. Trial 0, stopped early at step 200, has the highest one"
    )
    with pytest.raises(QmuError, match="no trial has a score: no"):
        final.best_of([impossible])


def test_finalists_are_the_best_that_were_trained_to_the_end_but_for_the_base_recipe():
    trials = [*finished(-300.0, -150.0, -170.0, -160.0, -200.0), tried()[0]._replace(score=-1.0)]

    def numbers(one, trials):
        return [trial.number for trial in final.finalists(one, trials)]

    assert numbers(asked(), trials) == [1, 3, 2]
    assert numbers(asked(finalists=9), trials) == [1, 3, 2, 4, 0]
    assert numbers(asked(finalists=0), trials) == numbers(asked(fresh_seeds=0), trials) == []
    # The base recipe has its place anyway.
    base = final.recipe(asked(), trials[1])
    assert numbers(asked(base=base), trials) == [3, 2, 4]
    assert numbers(with_best_for_base(), tried()) == []
    # The same recipe twice takes one place; one without a score none.
    twice = [trials[1]._replace(number=7, score=-151.0), tried()[2]._replace(status=WHOLE)]
    assert numbers(asked(finalists=9), [*trials, *twice]) == [1, 3, 2, 4, 0]
    # To the end is to the end, where steps are taken by several worlds at once.
    assert numbers(asked(), [trials[1]._replace(step=602), *trials[2:]]) == [1, 3, 2]
    # Scores of different steps do not compare.
    early = [trial._replace(status="stopped early", step=200) for trial in finished(-5.0, -3.0)]
    assert numbers(asked(), [*early, early[0]._replace(number=2, step=400)]) == [1, 0]


def test_the_final_is_won_by_what_trials_are_compared_by_against_the_base_recipe():
    trials = finished(-150.0, -160.0)
    mean, low = asked(), asked(score="low")
    steady, daring = [10, 11, 12, 11, 10], [30, 31, 30, 29, -20]
    one = held(base_recipe=[1, 2, 3, 2, 1], trial_0=daring, trial_1=steady)
    assert final.winner_of(mean, trials, one) == trials[0]
    assert final.winner_of(low, trials, one) == trials[1]
    # A low end needs no margin.
    narrow = held(base_recipe=[1.8, 1.8, 1.8, 1.8, 4], trial_0=[2.3, 2.3, 2.3, 2.3, 2.4])
    assert final.winner_of(low, trials, narrow) == trials[0]
    assert final.winner_of(mean, trials, narrow) is None
    # Means of 2, and variances of 2 over two seeds: the standard error is the square root of 2.
    base = [1, 3]
    assert final.winner_of(mean, trials, held(base_recipe=base, trial_0=[2.41, 4.41])) is None
    assert final.winner_of(mean, trials, held(base_recipe=base, trial_0=[2.42, 4.42])) == trials[0]
    # Of those that are above by more than that, the highest: not one that may have had luck.
    both = held(base_recipe=base, trial_0=[0, 14], trial_1=[4, 4.1])
    assert final.winner_of(mean, trials, both) == trials[1]
    assert final.winner_of(mean, trials, held(base_recipe=[5, 5], trial_0=[5, 5])) is None
    assert final.winner_of(mean, trials, held(trial_0=[5, 5], base_recipe=[5, 5])) is None
    assert final.winner_of(mean, trials, held(base_recipe=[5, 6], trial_1=[5, 5])) is None
    # A recipe that diverges has lost, also the base recipe.
    assert final.winner_of(mean, trials, held(base_recipe=[5, 5], trial_0=None)) is None
    assert final.winner_of(mean, trials, held(base_recipe=None, trial_1=[4, 4])) == trials[1]
    with pytest.raises(QmuError, match="no recipe of the final has a score"):
        final.winner_of(mean, trials, held(base_recipe=None, trial_0=None))


def test_recipes_are_trained_again_on_seeds_that_nothing_before_had():
    one, trials = asked(), finished(-150.0, -160.0)
    last, fresh = final.final_study(one, trials), final.fresh_study(one, trials[1])
    for study, names in [
        (last, ["base recipe", "trial 0", "trial 1"]),
        (fresh, ["base recipe", "trial 1"]),
    ]:
        assert [arm.name for arm in study.arms] == names
        assert (study.base, study.seeds) == ("base recipe", 5)
        assert study.arms[-1].changes == {"actor": {"lr": 0.003}, "critic": {"count": 2}}
        assert study.worlds[0].total_steps == 600
    (alone,) = final.fresh_study(one, None).arms
    assert (alone.name, alone.changes) == ("base recipe", {})
    begin = one.base.train.seed
    seeds = [range(begin, begin + one.base.train.seeds)] + [
        range(study.first_seed, study.first_seed + study.seeds) for study in (last, fresh)
    ]
    assert len(set().union(*seeds)) == sum(map(len, seeds))


def test_the_preset_holds_the_winner_and_what_is_known_of_it(tmp_path):
    trials = tried()
    path = final.write_best(asked(), final.Found(trials, trials[1]), tmp_path)
    recipe = {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    assert read_preset(str(path)) == recipe
    assert path.read_text().startswith(
        "# Pendulum-v1: trial 1, the best of 3 recipes that `qmu tune` has tried\n"
        "# Search: -200, the mean of 2 seeds, finished at step 600. That flatters it"
    )
    (_, search) = final.preset_lines(asked(score="low"), final.Found(trials, trials[1]))
    assert search.startswith("Search: -200, the low end of the interval of 2 seeds, finished")
    again = final.Found(trials, trials[1], held(**BETTER), held(**BETTER))
    lines = final.write_best(asked(), again, tmp_path).read_text().splitlines()
    assert max(map(len, lines)) <= final.WIDTH
    told = " ".join(line.removeprefix("# ") for line in lines)
    assert "Final, 5 seeds: Trial 1 has won, 10.0 (" in told
    assert ") above the base recipe. Other fresh seeds, 5 seeds: Best is trial 1: it is" in told
    assert read_preset(str(path)) == recipe


def test_a_base_recipe_that_nothing_beats_is_the_preset(tmp_path):
    one = with_best_for_base()
    assert final.best_of_search(one, tried()) is None
    path = final.write_best(one, final.Found(tried(), None), tmp_path)
    assert read_preset(str(path)) == {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    assert path.read_text().startswith("# Pendulum-v1: the base recipe; of 3 recipes that")
    # Nothing but comments is a preset as well: the default recipe.
    assert read_preset(str(final.write_best(asked(), final.Found(tried(), None), tmp_path))) == {}
    fresh = held(base_recipe=[1, 2, 3, 4, 5])
    text = shown.write_page(one, final.Found(tried(), None, None, fresh), tmp_path).read_text()
    assert "Nothing better than the base recipe was found: base recipe reaches 3.00" in text
    assert "The best recipe is now the base recipe" in text
    assert "The final" not in text
    assert "none: it is the base recipe" in text


BETTER = {"base_recipe": [1, 2, 3, 4, 5], "trial_1": [11, 12, 13, 14, 15]}
WORSE = {"base_recipe": [11, 12, 13, 14, 15], "trial_1": [1, 2, 3, 4, 5]}


@pytest.mark.parametrize(
    ("fresh", "said", "stays"),
    [
        (BETTER, "Best is trial 1: it is 10.0", True),
        (BETTER | {"trial_1": [1, 2, 3, 4, 4]}, "No arm is above base recipe", True),
        (BETTER | {"base_recipe": None}, "Nothing can be compared yet: only trial 1", True),
        (WORSE, "Keep the base recipe: trial 1 has not done as well again. No arm is above", False),
        (WORSE | {"trial_1": None}, "Keep the base recipe: trial 1 has no score on fresh", False),
    ],
)
def test_a_winner_that_the_re_run_refutes_is_not_the_preset(
    fresh, said, stays, tmp_path, monkeypatch, capsys
):
    """All of `qmu tune` but its trainings: a trial wins the final, then comes the re-run."""
    one = asked()
    plan.begin_tuning(one, tmp_path)
    plan.keep_trials(tmp_path, tried())
    asked_for = {}

    def train(study, directory, *rest):
        asked_for[directory.name] = [arm.name for arm in study.arms]
        # While it is trained again, the preset is what won before.
        if directory.name == final.FRESH:
            assert "Trial 1 has won" in (tmp_path / "best.toml").read_text()
        return []

    outcomes = {final.FINAL: held(**BETTER), final.FRESH: held(**fresh)}
    monkeypatch.setattr(command, "train", train)
    monkeypatch.setattr(command, "write_report", lambda *words: None)
    monkeypatch.setattr(command.found, "study_results", lambda path: outcomes[path.name])
    command.tune(one, SimpleNamespace(directory=tmp_path, places=1), command.Where(1), [""])
    both = ["base recipe", "trial 1"]
    assert asked_for == {final.FINAL: both, final.FRESH: both}
    told = capsys.readouterr().out
    assert "final: Trial 1 has won, 10.0 (" in told
    assert f"\n{said}" in told
    recipe = {"actor": {"lr": 0.002}, "critic": {"count": 2}}
    assert read_preset(str(tmp_path / "best.toml")) == (recipe if stays else {})
    page = (tmp_path / "report.html").read_text()
    assert said in page
    assert f"The best recipe is now {'trial 1' if stays else 'the base recipe'}" in page
    assert ("<li><code>--critic.count 2" in page) is stays


def test_a_tuning_that_goes_on_keeps_its_preset_until_there_is_a_better_one(tmp_path, monkeypatch):
    plan.begin_tuning(asked(), tmp_path)
    plan.keep_trials(tmp_path, tried())
    (tmp_path / "best.toml").write_text("# of the final\n")

    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train", interrupted)
    site = SimpleNamespace(directory=tmp_path, places=1)
    with pytest.raises(KeyboardInterrupt):
        command.tune(asked(), site, command.Where(1), [""])
    assert (tmp_path / "best.toml").read_text() == "# of the final\n"


SMALL = {
    "env": {"id": "InvertedPendulum-v5"},
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"batch_size": 8},
    "explore": {"start_steps": 50},
    "train": {
        **{"total_steps": 300, "seeds": 2, "eval_interval": 100, "eval_episodes": 1},
        **{"final_episodes": 1, "save_interval": 100},
    },
}


@pytest.mark.long
def test_a_finalist_that_diverges_loses_and_nothing_is_trained_twice(tmp_path, capsys):
    one = asked(base=reading.from_dict(SMALL), fresh_seeds=2)
    (mad,) = finished(-140.0)
    mad = mad._replace(drawn={"actor.lr": 1e30, "critic.count": "2"})
    folder = tmp_path / "t"
    plan.begin_tuning(one, folder)
    plan.keep_trials(folder, [mad, tried()[0], tried()[2]])
    site = SimpleNamespace(directory=folder, places=1)

    def tune():
        command.tune(one, site, command.Where(1), [""])
        return capsys.readouterr().out

    said = tune()
    assert f"writing to {folder / 'final'}; qmu tune --resume {folder} goes on" in said
    (place,) = command.found.study_results(folder / "final").places
    assert [(row.arm, row.status) for row in place.outcomes] == [
        ("base recipe", "finished"),
        ("trial 0", "diverged"),
    ]
    assert "final: The base recipe keeps its place: no trial is above it by more than" in said
    fresh = command.found.study_results(folder / "fresh")
    assert fresh.arms == ("base recipe",)
    assert fresh.complete("base recipe")
    text = (folder / "best.toml").read_text()
    assert "# Final, 2 seeds: " in text
    assert "# Other fresh seeds, 2 seeds: " in text
    assert read_preset(str(folder / "best.toml")) == final.recipe_options(one.base)
    page = (folder / "report.html").read_text()
    assert page.index("On 2 fresh seeds") < page.index("The final: 2 other seeds")
    assert "So 1\nof the best met the base recipe in a final" in page
    for name in ("final", "fresh"):
        assert f'href="{name}/report.html"' in page
        assert (folder / name / "report.html").exists()
    runs = sorted(folder.rglob("metrics.jsonl"))
    before = [path.stat().st_mtime_ns for path in runs]
    assert "final: The base recipe keeps its place" in tune()
    assert sorted(folder.rglob("metrics.jsonl")) == runs
    assert [path.stat().st_mtime_ns for path in runs] == before


def test_a_final_whose_programs_are_lost_is_no_result(tmp_path, monkeypatch):
    one = asked(base=reading.from_dict(SMALL), fresh_seeds=2)
    plan.begin_tuning(one, tmp_path)
    plan.keep_trials(tmp_path, finished(-150.0, -160.0, -170.0))
    monkeypatch.setattr(command, "train", lambda study, *rest: [(command.programs(study)[0], "x")])
    with pytest.raises(
        QmuError, match="some programs have failed:\nInvertedPendulum-v5: base recipe: x"
    ):
        command.tune(one, SimpleNamespace(directory=tmp_path, places=1), command.Where(1), [""])
    assert not (tmp_path / "report.html").exists()
