"""Which recipe of a search is the best: by a final on fresh seeds, and a re-run on others.

The best trial owes a part of its score to luck: of many, the luckiest of the good ones is the best.
So the best few are trained again, beside the base recipe; and the best of these, which owes
something to luck again, once more.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from qmu import config as options
from qmu.config import Config
from qmu.errors import QmuError
from qmu.records import stats
from qmu.records.stats import Floats
from qmu.saving import storage
from qmu.study.plan import Study, study_of
from qmu.study.results import Results, answer, distance, number
from qmu.study.rules import LOG, OWNED
from qmu.tuning import space as spaces
from qmu.tuning.plan import LATER, Tuning
from qmu.tuning.search import WHOLE, Trial, standing
from qmu.tuning.space import MEASURES
from qmu.tuning.trial import LOW, SCORE_WORDS, worth
from qmu.wording import counted

BEST_FILE, FINAL, FRESH = "best.toml", "final", "fresh"
BASE = "base recipe"
# Letters of a line of the preset.
WIDTH = 100
# Where worlds are made is no part of a recipe.
RUNS_OWN = {
    ("env", name)
    for name in ("workers", "cluster", "render", "on_error", "step_timeout", "wrappers")
}


class Found(NamedTuple):
    """What a tuning has found: its trials, its final, and the re-run; None: there is none so far.

    `winner` is the trial that has won the final, without one the search; None: the base recipe.
    """

    trials: Sequence[Trial]
    winner: Trial | None
    final: Results | None = None
    fresh: Results | None = None

    @property
    def best(self) -> Trial | None:
        """The trial whose recipe is the best: the winner, unless the re-run has refuted it.

        There it has no score, or is below the base recipe by more than chance explains.
        """
        if self.winner is None or self.fresh is None:
            return self.winner
        scores = scores_of(self.fresh)
        ours, base = (scores.get(named(one)) for one in (self.winner, None))
        if ours is None:
            return None
        worse = base is not None and stats.difference([ours], [base]).high < 0
        return None if worse else self.winner


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the best trial (`standing`). Raises QmuError if none has a score."""
    scored = [one for one in trials if math.isfinite(one.score)]
    if not scored:
        why = next((one.why for one in trials if one.why), "see the trials' runs")
        raise QmuError(f"no trial has a score: {why}")
    return max(scored, key=standing)


def best_of_search(tuning: Tuning, trials: Sequence[Trial]) -> Trial | None:
    """Return the best trial, None where that is the base recipe's. Raises QmuError."""
    best = best_of(trials)
    return None if recipe(tuning, best) == tuning.base else best


def recipe(tuning: Tuning, trial: Trial | None) -> Config:
    """Return the configuration of a trial, that of the base recipe for None."""
    return tuning.base if trial is None else spaces.with_values(tuning.base, values(tuning, trial))


def values(tuning: Tuning, trial: Trial) -> dict[str, dict[str, Any]]:
    """Return the options that a trial was given."""
    return spaces.chosen(tuning.space, trial.drawn)


def finalists(tuning: Tuning, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that meet the base recipe in the final, the best first.

    They were trained to the end, or if none was, as long as the best one. No recipe is there twice.
    """
    if not tuning.fresh_seeds:
        return []
    best = best_of(trials)
    found: list[Trial] = []
    taken = [tuning.base]
    for one in sorted(trials, key=standing, reverse=True):
        alike = one.status == best.status and (one.step == best.step or one.status == WHOLE)
        own = recipe(tuning, one)
        if alike and math.isfinite(one.score) and own not in taken:
            found.append(one)
            taken.append(own)
    return found[: tuning.finalists]


def final_study(tuning: Tuning, trials: Sequence[Trial]) -> Study:
    """Return the study that trains the finalists and the base recipe on seeds that no trial had."""
    question = f"Which of the search's best recipes is the best in {tuning.world}?"
    return study(tuning, question, trials, tuning.base.train.seed + LATER)


def winner_of(tuning: Tuning, trials: Sequence[Trial], final: Results) -> Trial | None:
    """Return the trial that has won the final, None for the base recipe.

    A trial has to be above the base recipe by more than the standard error of the difference: where
    recipes are about as good as each other, the highest score says little, and the base recipe is
    known (after the rule of one standard error: Breiman et al. 1984, section 3.4.3). The low end of
    an interval knows of the scatter, and needs no margin.

    Raises:
        QmuError: no recipe has a score there.
    """
    scores = scores_of(final)
    if not scores:
        raise QmuError(f"no recipe of the final has a score: see the tuning's {FINAL}/report.html")
    reached = {arm: worth(own, tuning.score) for arm, own in scores.items()}

    def above(arm: str) -> bool:
        error = stats.error_of_difference(scores[arm], scores[BASE])
        return reached[arm] > reached[BASE] + (0 if tuning.score == LOW else error)

    better = [arm for arm in scores if arm != BASE and (BASE not in scores or above(arm))]
    best = max(better, key=lambda arm: reached[arm], default=BASE)
    return next((one for one in trials if named(one) == best), None)


def scores_of(results: Results) -> dict[str, Floats]:
    """Return the scores [seeds] of the recipes that were trained to the end."""
    (place,) = results.places
    return {one.arm: one.scores for one in place.outcomes if np.isfinite(one.scores).all()}


def verdict(tuning: Tuning, found: Found) -> str:
    """Return who has won the final, in a sentence; there is one."""
    assert found.final is not None
    if found.winner is None:
        low = "has a higher low end"
        mean = "is above it by more than the standard error of the difference"
        return f"The {BASE} keeps its place: no trial {low if tuning.score == LOW else mean}."
    scores = scores_of(found.final)
    if BASE not in scores:
        return f"Trial {found.winner.number} has won: the {BASE} has no score."
    ours, base = scores[named(found.winner)], scores[BASE]
    gap = stats.difference([ours], [base], len(found.final.arms) - 1)
    return f"Trial {found.winner.number} has won, {distance(found.final, gap)} above the {BASE}."


def conclusion(found: Found) -> str:
    """Return what the re-run says, in words; there is one."""
    assert found.fresh is not None
    if found.winner is None:
        return f"Nothing better than the {BASE} was found: {answer(found.fresh)}"
    if found.best is not None:
        return answer(found.fresh)
    lost = f"Keep the {BASE}: trial {found.winner.number} has"
    if named(found.winner) in scores_of(found.fresh):
        return f"{lost} not done as well again. {answer(found.fresh)}"
    return f"{lost} no score on fresh seeds."


def fresh_study(tuning: Tuning, winner: Trial | None) -> Study:
    """Return the study that trains the winner and the base recipe on seeds that nothing had.

    One arm, where they are the same.
    """
    first_seed = tuning.base.train.seed + 2 * LATER
    if winner is None:
        return study(tuning, f"What is the {BASE} worth in {tuning.world}?", [], first_seed)
    question = f"Is {named(winner)} better than the {BASE} in {tuning.world}?"
    return study(tuning, question, [winner], first_seed)


def study(tuning: Tuning, question: str, trials: Sequence[Trial], first_seed: int) -> Study:
    """Return the study that trains the base recipe and those of trials."""
    shared = {
        group: {option: value for option, value in own.items() if (group, option) not in OWNED}
        for group, own in options.to_dict(tuning.base).items()
    }
    return study_of(
        f"tuning of {tuning.world}",
        {
            "question": question,
            "environments": [tuning.world],
            "seeds": tuning.fresh_seeds,
            "first_seed": first_seed,
            "total_steps": tuning.steps,
            "base": BASE,
            "options": shared,
            "arms": {BASE: {}} | {named(one): values(tuning, one) for one in trials},
        },
    )


def named(trial: Trial | None) -> str:
    """Return what a recipe is called: after its trial, if it is not the base recipe."""
    return BASE if trial is None else f"trial {trial.number}"


def recipe_options(config: Config) -> dict[str, dict[str, Any]]:
    """Return what a recipe is, as a preset holds it: options that differ from the defaults.

    Options that say where, how long and with which seeds it is trained are none of it.
    """
    usual = options.to_dict(Config())
    found: dict[str, dict[str, Any]] = {}
    for group, own in options.to_dict(config).items():
        for option, value in own.items():
            path = (group, option)
            if group == LOG or path in OWNED or path in MEASURES or path in RUNS_OWN:
                continue
            if usual[group].get(option) != value:
                found.setdefault(group, {})[option] = value
    return found


def write_best(tuning: Tuning, found: Found, directory: Path) -> Path:
    """Write the best recipe as a preset, and above it what is known of it; return its path."""
    told = "\n".join(map(comment, preset_lines(tuning, found)))
    path = directory / BEST_FILE
    text = f"{told}\n\n{tomli_w.dumps(recipe_options(recipe(tuning, found.best)))}"
    storage.replace_file(path, text.encode())
    return path


def preset_lines(tuning: Tuning, found: Found) -> list[str]:
    """Return what is known of the best recipe, some sentences for each stage."""
    tried = f"{counted(len(found.trials), 'recipe')} that `qmu tune` has tried"
    if found.best is None:
        lines = [f"{tuning.world}: the {BASE}; of {tried}, none is shown to be better"]
    else:
        reached = f"{number(found.best.score)}, the {SCORE_WORDS[tuning.score]}"
        seeds = counted(tuning.base.train.seeds, "seed")
        lines = [
            f"{tuning.world}: {named(found.best)}, the best of {tried}",
            f"Search: {reached} of {seeds}, {found.best.status} at step {found.best.step:,}. That "
            "flatters it: of many, luck helps to choose the best.",
        ]
    seeds = counted(tuning.fresh_seeds, "seed")
    if found.final is not None:
        lines.append(f"Final, {seeds}: {verdict(tuning, found)}")
    if found.fresh is not None:
        lines.append(f"Other fresh seeds, {seeds}: {conclusion(found)}")
    return lines


def comment(text: str) -> str:
    """Return a text as lines of a comment."""
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
