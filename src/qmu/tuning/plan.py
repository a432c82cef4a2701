"""`qmu tune`: what is asked, and what was tried.

A tuning's directory holds `tuning.toml` (what is asked, complete), `trials.json` (what was tried),
`runs/` (the trials' runs), `final/` and `fresh/` (studies of the best recipes on other seeds),
`best.toml` (the preset), `report.html`, and `ray/`, which is Ray's own.
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
from qmu import presets
from qmu.collecting.display import be_ready
from qmu.config import Config, reading
from qmu.config.files import read_toml
from qmu.errors import ConfigError
from qmu.records import stats
from qmu.records.directory import read_json
from qmu.saving import storage
from qmu.study.rules import check_apart, check_comparable
from qmu.tuning import space as spaces
from qmu.tuning.search import ENDED, Trial
from qmu.tuning.space import Dimension
from qmu.tuning.trial import LOW, SCORES
from qmu.world.families import family_of
from qmu.world.make import maker_of
from qmu.world.named import check_id_in_file, check_wrappers_in_file

TUNING_FILE, TRIALS_FILE = "tuning.toml", "trials.json"
# Seeds of the final begin so much later than those of the trials, those of the re-run after them.
LATER = 1_000_000
# What a trial's options are, unless they are given: shares of its steps, and a number of seeds.
EVALUATIONS, SAVES, SEEDS = 20, 4, 3


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
        finalists: how many of the best recipes are trained again, beside the base recipe.
        fresh_seeds: seeds of that final, and others of the re-run of its winner; 0: neither.
    """

    base: Config
    space: tuple[Dimension, ...]
    trials: int
    grace: int
    score: str
    seed: int
    finalists: int
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
    finalists: int,
    fresh_seeds: int,
    typed: Callable[[str], bool],
) -> Tuning:
    """Return the tuning that is asked for; see `Tuning` for what is not described here.

    `config` is what was given of the base recipe, and `typed` tells which options were. `space` is
    a built-in one's name or a file, None for that of a memory, of images or of the environment's
    family; without `grace` it is a third of the steps.

    Raises:
        ConfigError: it cannot be done.
    """
    if config.env.id is None:
        raise ConfigError(
            "no environment was named: give an id such as Pendulum-v1 (`qmu envs` lists them)"
        )
    base = base_of(config, typed)
    check_comparable(base)
    be_ready(config.env)
    images = maker_of(config.env.id, config.env).spaces.layout.images
    family, memory = family_name(config.env.id), base.memory.used
    name = space or spaces.fitting(family, images=bool(images), memory=memory)
    if name == spaces.MEMORY and not memory:
        raise ConfigError(
            f"the search space {name} is for recipes with a memory, and this one has none: give "
            "--memory.kind gru or mingru, or another --space"
        )
    try:
        held = spaces.read_held(name)
        if not name.endswith(presets.SUFFIX):
            held = spaces.without_misfits(held, base)
        dimensions = spaces.space_of(held, base)
    except ConfigError as error:
        raise ConfigError(f"the search space {name}: {error}") from None
    steps = grace or max(options.total_steps(base) // 3, base.train.eval_interval, 1)
    tuning = Tuning(base, dimensions, trials, steps, score, seed, finalists, fresh_seeds)
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
    if tuning.finalists < 0:
        raise ConfigError(f"--finalists must be 0 or more, not {tuning.finalists}")
    if tuning.base.env.wrappers and tuning.fresh_seeds:
        raise ConfigError(
            "--env.wrappers: the best recipes are trained again as a study, which takes none. "
            "Register an environment that has them in a module, and name it module:id; or give "
            "--fresh-seeds 0"
        )
    if tuning.base.train.seed + 2 * LATER + tuning.fresh_seeds > 2**31:
        raise ConfigError(
            f"--seed {tuning.base.train.seed}: the seeds of the final and the re-run begin "
            f"{LATER:,} and {2 * LATER:,} later, beyond 2^31: lower the seed"
        )
    if tuning.finalists and tuning.fresh_seeds == 1:
        raise ConfigError(
            "--fresh-seeds 1 does not say how much a final's scores scatter: give 2 or more, or "
            "--finalists 0, for no final"
        )
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
    if tuning.score == LOW and tuning.finalists and 0 < tuning.fresh_seeds < stats.FEWEST:
        raise ConfigError(
            f"--score low is the low end of an interval, in the final as well: give --fresh-seeds "
            f"{stats.FEWEST} (or 0, for no final), or --score mean"
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
        "finalists": tuning.finalists,
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
    held = read_toml(path)
    try:
        base = reading.from_dict(held["options"])
        tuning = Tuning(
            base=base,
            space=spaces.space_of(held["search"], base),
            trials=int(held["trials"]),
            grace=int(held["grace_steps"]),
            score=str(held["score"]),
            seed=int(held["seed"]),
            finalists=int(held["finalists"]),
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
    """Return what was tried, as far as it is at home.

    Raises:
        ConfigError: the file that says it is damaged.
    """
    held = read_json(directory / TRIALS_FILE).get("trials", [])
    try:
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
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{directory / TRIALS_FILE} is damaged: {error!r}") from None


def is_over(tuning: Tuning, trials: Sequence[Trial]) -> bool:
    """Tell whether all recipes were tried."""
    return len(trials) == tuning.trials and all(one.status in ENDED for one in trials)


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
