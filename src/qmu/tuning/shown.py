"""What a tuning has found, for people: lines while it goes on, tables, a page."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from qmu.config import reading
from qmu.errors import ConfigError
from qmu.report.page import rendered
from qmu.report.pictures import svg
from qmu.saving import storage
from qmu.study.results import PROTOCOL, Results, cells, number, rows
from qmu.tuning.final import (
    BASE,
    BEST_FILE,
    FINAL,
    FRESH,
    Found,
    best_of,
    conclusion,
    named,
    recipe,
    verdict,
)
from qmu.tuning.plan import Tuning, changes_of
from qmu.tuning.search import ENDED, RUNNING, WHOLE, Trial, importance, standing
from qmu.tuning.space import MAGNITUDES, Dimension
from qmu.tuning.trial import SCORE_WORDS
from qmu.watching.curves import COLOURS, axes_of
from qmu.wording import counted

# Lines of the table in a terminal.
SHOWN = 10
# Seconds without any training after which that is said.
LONG = 60.0
REPORT = "report.html"
PANEL = (3.6, 2.8)
COLUMNS = 3


def teller(tuning: Tuning, out: Console) -> Callable[[Sequence[Trial]], None]:
    """Return what prints a line for each trial that has ended since it was called last.

    Where no trial has been trained for a minute, it says that, too.
    """
    said: set[int] = set()
    trained = monotonic()
    silent = False

    def tell(trials: Sequence[Trial]) -> None:
        nonlocal trained, silent
        if any(one.status == RUNNING for one in trials):
            trained, silent = monotonic(), False
        elif monotonic() - trained > LONG and not silent:
            silent = True
            out.print(
                "no trial has been trained for a minute: the cluster has no room for one now. The "
                "search goes on when it has"
            )
        for one in trials:
            if one.status in ENDED and one.number not in said:
                said.add(one.number)
                scored = [t for t in trials if t.number in said and math.isfinite(t.score)]
                best = max(scored, key=standing, default=None)
                told = "" if best is None else f"; best: {number(best.score)} (trial {best.number})"
                out.print(f"{len(said)}/{tuning.trials}  {line_of(one)}{told}")

    return tell


def line_of(trial: Trial) -> str:
    """Return a trial in a line."""
    reached = f"{number(trial.score)}, " if math.isfinite(trial.score) else ""
    why = f": {trial.why}" if trial.why else f" at step {trial.step:,}"
    return f"trial {trial.number}: {reached}{trial.status}{why}"


def drawn_words(trial: Trial) -> str:
    """Return the values of a trial in a line."""
    return ", ".join(f"{path} {value}" for path, value in changes_of(trial).items())


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, the best first, those without a score last."""
    return sorted(trials, key=standing, reverse=True)


def shares_of(tuning: Tuning, trials: Sequence[Trial]) -> dict[str, float]:
    """Return how much each option matters, the most first."""
    found = importance(tuning.space, trials)
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def show_trials(tuning: Tuning, trials: Sequence[Trial], out: Console) -> None:
    """Print the best trials and what matters."""
    table = Table("trial", "score", "steps", "ended", "recipe")
    for one in ranked(trials)[:SHOWN]:
        reached = number(one.score), f"{one.step:,}", one.status
        table.add_row(str(one.number), *reached, drawn_words(one))
    out.print()
    out.print(table)
    shares = shares_of(tuning, trials)
    if shares:
        told = ", ".join(f"{path} {share:.0%}" for path, share in shares.items())
        out.print(f"what matters: {told}")


def best_words(trial: Trial) -> str:
    """Return which trial is the best, and by what."""
    if trial.status == WHOLE:
        return f"Trial {trial.number} has the highest one of those that were trained to the end"
    return (
        f"None was trained to the end. Trial {trial.number}, {trial.status} at step "
        f"{trial.step:,}, has the highest one"
    )


def best_lines(tuning: Tuning, best: Trial | None) -> list[str]:
    """Return in which options the best recipe differs from the base recipe."""
    return [
        line.replace("(default:", f"({BASE}:")
        for line in reading.differences(recipe(tuning, best), tuning.base)
    ]


def write_page(tuning: Tuning, found: Found, directory: Path) -> Path:
    """Write the tuning's page; return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    trials = found.trials
    shares = shares_of(tuning, trials)
    text = rendered(
        "tuning.html",
        {
            "world": tuning.world,
            "trials": f"{counted(len(trials), 'recipe')} {'was' if len(trials) == 1 else 'were'}",
            "steps": f"{tuning.steps:,}",
            "seeds": counted(tuning.base.train.seeds, "seed"),
            "score": SCORE_WORDS[tuning.score],
            "best": best_words(best_of(trials)),
            "best_file": BEST_FILE,
            "best_name": f"the {BASE}" if found.best is None else named(found.best),
            "verdict": "" if found.final is None else verdict(tuning, found),
            "conclusion": "" if found.fresh is None else conclusion(found),
            "differences": best_lines(tuning, found.best),
            "shares": [{"path": path, "share": f"{share:.0%}"} for path, share in shares.items()],
            "picture": svg(panels(tuning, trials), "panels"),
            "paths": [one.path for one in tuning.space],
            "rows": [page_row(one) for one in ranked(trials)],
            "final": again_contents(FINAL, found.final),
            "fresh": again_contents(FRESH, found.fresh),
            "protocol": PROTOCOL,
        },
    )
    path = directory / REPORT
    try:
        storage.replace_file(path, text.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    return path


def page_row(trial: Trial) -> dict[str, Any]:
    """Return a trial's line of the page's table."""
    return {
        "number": trial.number,
        "score": number(trial.score),
        "seeds": " ".join(number(score) for score in sorted(trial.scores, reverse=True)),
        "step": f"{trial.step:,}",
        "seconds": f"{trial.seconds:,.0f}",
        "status": trial.status + (f": {trial.why}" if trial.why else ""),
        "drawn": list(changes_of(trial).values()),
    }


def again_contents(name: str, results: Results | None) -> dict[str, Any] | None:
    """Return what the page shows of a study of recipes that are trained again."""
    if results is None:
        return None
    (place,) = results.places
    return {
        "seeds": max((len(one.seeds) for one in place.outcomes), default=0),
        "rows": [{"arm": row.arm, "cells": cells(row)} for row in rows(results, place)],
        "finalists": len(results.arms) - 1,
        "report": f"{name}/{REPORT}",
    }


def panels(tuning: Tuning, trials: Sequence[Trial]) -> Figure:
    """Return a picture of the score against each option, a panel each; they share their scores."""
    scored = [one for one in trials if math.isfinite(one.score)]
    count = len(tuning.space)
    wide = min(COLUMNS, count)
    tall = -(-count // wide)
    figure = Figure(figsize=(PANEL[0] * wide, PANEL[1] * tall), layout="constrained")
    grid = figure.add_gridspec(tall, wide)
    first: Any = None
    for place, dimension in enumerate(tuning.space):
        axes = axes_of(figure, grid[place // wide, place % wide], sharey=first)
        first = first or axes
        panel(axes, dimension, scored)
        axes.tick_params(labelleft=place % wide == 0)
        if place % wide == 0:
            axes.set_ylabel("score")
    return figure


def panel(axes: Any, dimension: Dimension, trials: Sequence[Trial]) -> None:
    """Draw the scores of trials against the values of one option."""
    values: Sequence[Any] = [one.drawn[dimension.path] for one in trials]
    if dimension.bounds is None:
        words = list(dimension.choices)
        # Side by side, in the order of the trials: equal scores do not hide each other.
        apart = np.linspace(-0.15, 0.15, max(len(trials), 1))
        values = [
            words.index(str(value)) + shift for value, shift in zip(values, apart, strict=False)
        ]
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
    elif dimension.kind == MAGNITUDES:
        low, high = dimension.bounds
        margin = (high / low) ** 0.05
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
        axes.set_xticks([low, math.sqrt(low * high), high])
        axes.xaxis.set_major_formatter("{x:.2g}")
        axes.minorticks_off()
    looks: Mapping[bool, Mapping[str, Any]] = {
        True: {"color": COLOURS[0]},
        False: {"facecolors": "none", "edgecolors": COLOURS[6]},
    }
    for whole, look in looks.items():
        own = [index for index, one in enumerate(trials) if (one.status == WHOLE) == whole]
        axes.scatter(
            [values[index] for index in own], [trials[index].score for index in own], s=22, **look
        )
    axes.set_xlabel(dimension.path)
