"""`qmu tune`: a search, the best recipe as a preset, and what it is worth on fresh seeds.

A tuning's directory holds `tuning.toml` (what is asked, complete), `trials.json` (what was tried),
`runs/` (the trials' runs), `best.toml` (the preset), `report.html`, `fresh/` (the study of the best
and the base recipe on other seeds), and `ray/`, which is Ray's own.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import tomli_w

from qmu import config as options
from qmu import configure
from qmu.config import Config
from qmu.errors import ConfigError, QmuError
from qmu.saving import storage
from qmu.study import space as spaces
from qmu.study.plan import Study, study_of
from qmu.study.rules import LOG, OWNED, check_apart
from qmu.study.search import ENDED, Trial, standing
from qmu.study.space import MEASURES, Dimension
from qmu.study.trial import LOW, SCORES
from qmu.training import stats
from qmu.training.directory import read_json
from qmu.wording import counted
from qmu.world.families import family_of
from qmu.world.make import maker_of
from qmu.world.named import check_id_in_file, check_wrappers_in_file

TUNING_FILE, TRIALS_FILE, BEST_FILE = "tuning.toml", "trials.json", "best.toml"
FRESH = "fresh"
# Seeds of the re-run begin so much later than those of the trials.
LATER = 1_000_000
# What a trial's options are, unless they are given: shares of its steps, and a number of seeds.
EVALUATIONS, SAVES, SEEDS = 20, 4, 3
BASE, BEST = "base recipe", "best of the search"


@dataclass(frozen=True)
class Tuning:
    """What is asked: a search of a space, around a base recipe.

    Attributes:
        base: what all trials begin with; its environment, seeds and steps are theirs.
        space: what is searched.
        trials: how many recipes are tried.
        grace: steps before which no trial is stopped.
        score: what they are compared by, one of `SCORES`.
        seed: of the search.
        fresh_seeds: seeds of the re-run; 0: there is none.
    """

    base: Config
    space: tuple[Dimension, ...]
    trials: int
    grace: int
    score: str
    seed: int
    fresh_seeds: int

    @property
    def world(self) -> str:
        """The environment's id."""
        assert self.base.env.id is not None
        return self.base.env.id

    @property
    def steps(self) -> int:
        """Steps of a trial that is not stopped early, for each seed."""
        return options.total_steps(self.base)


def asked(
    config: Config,
    space: str | None,
    trials: int,
    grace: int | None,
    score: str,
    seed: int,
    fresh_seeds: int,
    typed: Callable[[str], bool],
) -> Tuning:
    """Return the tuning that is asked for; see `Tuning` for what is not described here.

    `config` is what was given of the base recipe, and `typed` tells which options were. `space` is
    a built-in one's name or a file, None for that of the environment's family; without `grace` it
    is a third of the steps.

    Raises:
        ConfigError: it cannot be done.
    """
    if config.env.id is None:
        raise ConfigError(
            "no environment was named: give an id such as Pendulum-v1 (`qmu envs` lists them)"
        )
    base = base_of(config, typed)
    maker_of(config.env.id, config.env)
    name = space or spaces.fitting(family_name(config.env.id))
    try:
        dimensions = spaces.space_of(spaces.read_held(name), base)
    except ConfigError as error:
        raise ConfigError(f"the search space {name}: {error}") from None
    steps = grace or max(options.total_steps(base) // 3, base.train.eval_interval, 1)
    tuning = Tuning(base, dimensions, trials, steps, score, seed, fresh_seeds)
    check(tuning)
    return tuning


def family_name(world: str) -> str | None:
    """Return the family of an environment that has been made before; None if it has none."""
    spec = gym.registry.get(world)
    family = None if spec is None else family_of(spec)
    return None if family is None else family.name


def check_typed(tuning: Tuning, config: Config, file: Path) -> None:
    """Raise ConfigError where a tuning's file, and nothing typed, says what is to be imported.

    Or where another environment was typed.
    """
    if config.env.id not in (None, tuning.world):
        raise ConfigError(
            f"{file} asks for {tuning.world}, not {config.env.id}: leave it out, or begin a "
            "tuning in another --dir"
        )
    if config.env.id is None:
        check_id_in_file(tuning.world, file, "give it on the command line, beside --resume")
    if config.env.wrappers != tuning.base.env.wrappers:
        way_out = "give them on the command line, with --env.wrappers"
        check_wrappers_in_file(tuning.base.env.wrappers, file, way_out)


def check_new(directory: Path) -> None:
    """Raise ConfigError if a directory holds a tuning already."""
    if storage.is_file(directory / TUNING_FILE):
        raise ConfigError(
            f"{directory} holds a tuning: go on with --resume {directory}, or give another --dir"
        )


def check(tuning: Tuning) -> None:
    """Raise ConfigError for a search that cannot be done."""
    if tuning.base.train.total_episodes is not None:
        raise ConfigError("trials end after steps: give --train.total-steps, no episodes")
    check_apart(tuning.base.env)
    if tuning.trials < 1:
        raise ConfigError(f"--trials must be 1 or more, not {tuning.trials}")
    if tuning.fresh_seeds < 0:
        raise ConfigError(f"--fresh-seeds must be 0 or more, not {tuning.fresh_seeds}")
    if not 1 <= tuning.grace <= tuning.steps:
        raise ConfigError(
            f"--grace-steps must lie between 1 and the {tuning.steps} steps of a trial, not "
            f"{tuning.grace}"
        )
    if tuning.score not in SCORES:
        raise ConfigError(f"--score must be {' or '.join(SCORES)}, not {tuning.score}")
    if tuning.score == LOW and tuning.base.train.seeds < stats.FEWEST:
        raise ConfigError(
            f"--score low is the low end of an interval, which takes {stats.FEWEST} seeds: give "
            f"--seeds {stats.FEWEST}, or --score mean"
        )
    if tuning.base.train.eval_interval > tuning.grace or not tuning.base.train.eval_interval:
        raise ConfigError(
            f"trials are compared by evaluations: --train.eval-interval "
            f"{tuning.base.train.eval_interval} has to be above 0, and no longer than "
            f"--grace-steps {tuning.grace}"
        )


def base_of(config: Config, typed: Callable[[str], bool]) -> Config:
    """Return the base recipe: what `typed` does not know is chosen for short trials."""
    steps = options.total_steps(config)
    usual = {
        "seeds": SEEDS,
        "eval_interval": max(steps // EVALUATIONS, 1),
        "save_interval": max(steps // SAVES, 1),
    }
    changes: dict[str, Any] = {
        name: value for name, value in usual.items() if not typed(f"train.{name}")
    }
    if config.train.total_episodes is None:
        changes["total_steps"] = steps
    return options.replace(config, "train", **changes)


def described(tuning: Tuning) -> dict[str, Any]:
    """Return the dictionary that `tuning_of` makes this tuning of, as a TOML file holds it."""
    return {
        "trials": tuning.trials,
        "grace_steps": tuning.grace,
        "score": tuning.score,
        "seed": tuning.seed,
        "fresh_seeds": tuning.fresh_seeds,
        "options": options.to_dict(tuning.base),
        "search": spaces.described(tuning.space),
    }


def open_tuning(directory: Path) -> Tuning:
    """Return the tuning in a directory.

    Raises:
        ConfigError: there is none, or its file is damaged.
    """
    path = directory / TUNING_FILE
    if not storage.is_file(path):
        raise ConfigError(f"{directory} is not a tuning's directory: it has no {TUNING_FILE}")
    held = configure.read_toml(path)
    try:
        base = configure.from_dict(held["options"])
        tuning = Tuning(
            base=base,
            space=spaces.space_of(held["search"], base),
            trials=int(held["trials"]),
            grace=int(held["grace_steps"]),
            score=str(held["score"]),
            seed=int(held["seed"]),
            fresh_seeds=int(held["fresh_seeds"]),
        )
    except KeyError as error:
        raise ConfigError(
            f"{path} describes no tuning: {error.args[0]} is missing. Begin a new one, with "
            "another --dir"
        ) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} describes no tuning ({error}). Begin a new one, with another --dir"
        ) from None
    check(tuning)
    return tuning


def begin_tuning(tuning: Tuning, directory: Path) -> None:
    """Make a tuning's directory, unless it is there. Raises ConfigError where it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not storage.is_file(directory / TUNING_FILE):
            data = tomli_w.dumps(described(tuning)).encode()
            storage.replace_file(directory / TUNING_FILE, data)
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}") from None


def keep_trials(directory: Path, trials: Sequence[Trial]) -> None:
    """Write down what was tried."""
    held = [
        trial._asdict() | {"score": trial.score if math.isfinite(trial.score) else None}
        for trial in trials
    ]
    data = json.dumps({"trials": held}, indent=1).encode() + b"\n"
    storage.replace_file(directory / TRIALS_FILE, data)


def kept_trials(directory: Path) -> list[Trial]:
    """Return what was tried, as far as it is at home."""
    held = read_json(directory / TRIALS_FILE).get("trials", [])
    return [
        Trial(
            **one
            | {
                "score": -math.inf if one["score"] is None else one["score"],
                "scores": tuple(one["scores"]),
            }
        )
        for one in held
    ]


def is_over(tuning: Tuning, trials: Sequence[Trial]) -> bool:
    """Tell whether all recipes were tried."""
    return len(trials) == tuning.trials and all(one.status in ENDED for one in trials)


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the best trial (`standing`). Raises QmuError if none has a score."""
    scored = [one for one in trials if math.isfinite(one.score)]
    if not scored:
        why = next((one.why for one in trials if one.why), "see the trials' runs")
        raise QmuError(f"no trial has a score: {why}")
    return max(scored, key=standing)


def recipe(tuning: Tuning, trial: Trial) -> Config:
    """Return the configuration of a trial."""
    return spaces.with_values(tuning.base, spaces.chosen(tuning.space, trial.drawn))


def is_base(tuning: Tuning, trial: Trial) -> bool:
    """Tell whether a trial's recipe is the base recipe."""
    return recipe(tuning, trial) == tuning.base


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


# Where worlds are made is no part of a recipe.
RUNS_OWN = {
    ("env", name)
    for name in ("workers", "cluster", "render", "on_error", "step_timeout", "wrappers")
}


def write_best(tuning: Tuning, trials: Sequence[Trial], directory: Path) -> Path:
    """Write the best recipe as a preset; return its path."""
    best = best_of(trials)
    head = (
        f"# {tuning.world}, found by `qmu tune`: trial {best.number} of {len(trials)}\n"
        f"# Score {best.score:.6g} (the {tuning.score} of "
        f"{counted(tuning.base.train.seeds, 'seed')}, {best.status} at step {best.step:,}), "
        "which flatters it: "
        "of many, luck helps to choose the best.\n\n"
    )
    path = directory / BEST_FILE
    text = head + tomli_w.dumps(recipe_options(recipe(tuning, best)))
    storage.replace_file(path, text.encode())
    return path


def fresh_study(tuning: Tuning, trials: Sequence[Trial]) -> Study:
    """Return the study that trains the best and the base recipe on seeds that no trial had.

    One arm, where they are the same.
    """
    base = options.to_dict(tuning.base)
    shared = {
        group: {
            option: value
            for option, value in own.items()
            if (group, option) not in OWNED and (group, option) != ("env", "wrappers")
        }
        for group, own in base.items()
    }
    best = best_of(trials)
    question = f"Is the best recipe of the search better in {tuning.world}?"
    arms: dict[str, Any] = {BASE: {}, BEST: spaces.chosen(tuning.space, best.drawn)}
    if is_base(tuning, best):
        question = f"What is the base recipe worth in {tuning.world}, the best of the search?"
        del arms[BEST]
    return study_of(
        f"tuning of {tuning.world}",
        {
            "question": question,
            "environments": [tuning.world],
            "seeds": tuning.fresh_seeds,
            "first_seed": tuning.base.train.seed + LATER,
            "total_steps": tuning.steps,
            "base": BASE,
            "options": shared,
            "arms": arms,
        },
    )


def changes_of(trial: Trial) -> Mapping[str, str]:
    """Return what was drawn, by path, as a person reads it."""
    return {
        path: f"{value:.3g}" if isinstance(value, float) else str(value)
        for path, value in trial.drawn.items()
    }


def default_directory(world: str) -> Path:
    """Return where a tuning goes that has been given no directory."""
    moment = time.strftime("%Y%m%d-%H%M%S")
    return Path("tunings") / f"{world.replace('/', '_').replace(':', '_')}-{moment}"
