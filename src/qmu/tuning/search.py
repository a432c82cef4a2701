"""A search by Ray Tune: Optuna says what is tried, ASHA which trials are worth their time.

Trials that are lost go on from their newest checkpoint, a search that is lost from its newest
state. Both are Ray's own files.
"""

import importlib
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qmu.config import reading
from qmu.errors import ConfigError
from qmu.study.mirror import Parcel, packed
from qmu.tuning.space import MAGNITUDES, Dimension, Drawn, space_of
from qmu.tuning.trial import WORST, Task, run_trial

NAME = "trials"
# Of the trials that have come to a step, ASHA lets one in so many go on.
REDUCTION = 3
# A trial that has failed or been lost so often is given up.
MOST_FAILURES = 3
# Checkpoints of a trial that are kept, and seconds between two writings of the search's state,
# which names a trial's newest one. With one checkpoint kept, or the usual ten seconds, a search
# that is stopped may have named one that a newer one has replaced: then the trial is lost.
KEPT, STATE_PERIOD = 2, 0.2
# A trial's checkpoint holds its whole run; what of it is brought home.
BROUGHT = ("config.toml", "run.json", "metrics.jsonl", "best", "videos", "tensorboard", "wandb")
# Fewer trials say nothing about what matters.
LEAST = 4
# How a trial has ended.
WHOLE, EARLY, IMPOSSIBLE, FAILED = "finished", "stopped early", "impossible", "failed"
RUNNING = "running"
ENDED = (WHOLE, EARLY, IMPOSSIBLE, FAILED)


class Trial(NamedTuple):
    """A recipe that was tried: what was drawn, what it reached, and how it ended.

    `score` is -inf where there is none; `scores` are the seeds' newest evaluations.
    """

    number: int
    drawn: dict[str, Drawn]
    score: float
    scores: tuple[float, ...]
    step: int
    seconds: float
    status: str
    why: str


class Plan(NamedTuple):
    """How a search is done.

    Attributes:
        trials: how many recipes are tried.
        steps: of a trial that is not stopped early.
        grace: steps before which none is stopped.
        seed: of the sampler.
        first: what is tried first, if it lies in the space: the base recipe.
        places: trials side by side.
    """

    trials: int
    steps: int
    grace: int
    seed: int
    first: dict[str, Drawn] | None
    places: int


class Conductor:
    """A Ray actor that conducts a search where the cluster's storage is."""

    def __init__(self, task: Task, plan: Plan, storage: str) -> None:
        """Take what all trials share, how they are searched, and where Ray keeps its files."""
        self.task, self.plan, self.storage = task, plan, storage

    def fit(self) -> list[Trial]:
        """Try all recipes, or go on where a search was stopped; return what was found.

        Raises:
            ConfigError: what Ray has kept of the search cannot be read.
        """
        tune = importlib.import_module("ray.tune")
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(STATE_PERIOD)
        path = f"{self.storage.rstrip('/')}/{NAME}"
        trainable = tune.with_resources(
            tune.with_parameters(run_trial, task=self.task),
            {"cpu": self.task.cpus, "gpu": self.task.gpus},
        )
        if tune.Tuner.can_restore(path):
            try:
                tuner = tune.Tuner.restore(
                    path, trainable, resume_unfinished=True, restart_errored=True
                )
            except Exception as error:
                raise ConfigError(
                    f"what Ray has kept of the search in {path} cannot be read "
                    f"({type(error).__name__}): begin a new one, with another --dir or --storage"
                ) from None
        else:
            tuner = self.tuner(tune, trainable)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.fit()
        return self.trials()

    def tuner(self, tune: Any, trainable: Any) -> Any:
        """Return a search that has not begun."""
        optuna_search = importlib.import_module("ray.tune.search.optuna")
        schedulers = importlib.import_module("ray.tune.schedulers")
        optuna = importlib.import_module("optuna")
        space = space_of(self.task.space, reading.from_dict(self.task.base))
        first = self.plan.first
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=self.plan.trials,
                max_concurrent_trials=self.plan.places,
                search_alg=optuna_search.OptunaSearch(
                    space=distributions(space),
                    metric="score",
                    mode="max",
                    points_to_evaluate=[first] if first else None,
                    sampler=optuna.samplers.TPESampler(seed=self.plan.seed),
                ),
                scheduler=schedulers.ASHAScheduler(
                    time_attr="step",
                    max_t=self.plan.steps,
                    grace_period=self.plan.grace,
                    reduction_factor=REDUCTION,
                ),
            ),
            run_config=tune.RunConfig(
                name=NAME,
                storage_path=self.storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT),
                callbacks=[importlib.import_module("qmu.tuning.callback").Watching()],
            ),
        )

    def trials(self) -> list[Trial]:
        """Return the trials so far, in the order in which they were begun."""
        there = self.there()
        return [told(number, there[number], self.plan.steps) for number in sorted(there)]

    def there(self) -> dict[int, Any]:
        """Return Ray Tune's trials by their numbers."""
        held: list[Any] = importlib.import_module("qmu.tuning.callback").Watching.trials
        return {number_of(trial): trial for trial in held}

    def bring(self, number: int) -> list[Parcel]:
        """Return what is brought home of a trial's run; nothing where no checkpoint was written."""
        held = self.there()[number].checkpoint
        if held is None:
            return []
        with held.as_directory() as directory:
            there = [name for name in BROUGHT if (Path(directory) / name).exists()]
            return list(packed(Path(directory), there))


def distributions(space: Sequence[Dimension]) -> dict[str, Any]:
    """Return what a space is in Optuna's words."""
    kinds = importlib.import_module("optuna.distributions")
    found: dict[str, Any] = {}
    for one in space:
        if one.bounds is None:
            found[one.path] = kinds.CategoricalDistribution(list(one.choices))
        else:
            kind = kinds.IntDistribution if one.whole else kinds.FloatDistribution
            found[one.path] = kind(*one.bounds, log=one.kind == MAGNITUDES)
    return found


def number_of(trial: Any) -> int:
    """Return a trial's number: Ray lists those of a search that goes on in another order.

    Its tag begins with how many trials there were with it: `1_actor.lr=0.001`.
    """
    return int(trial.experiment_tag.partition("_")[0]) - 1


def told(number: int, trial: Any, steps: int) -> Trial:
    """Return what is known of a trial of Ray Tune's."""
    held = trial.last_result or {}
    score, step, why = held.get("score", -math.inf), int(held.get("step", 0)), held.get("why", "")
    if why:
        status = IMPOSSIBLE
    elif trial.status == "ERROR":
        status, why = FAILED, str(trial.error_file or "")
    elif trial.status == "TERMINATED":
        status = WHOLE if step >= steps else EARLY
    else:
        status = trial.status.lower()
    return Trial(
        number=number,
        drawn=dict(trial.config),
        score=score if score > WORST and status != FAILED else -math.inf,
        scores=tuple(held.get("scores", ())),
        step=step,
        seconds=float(held.get("time_total_s", 0.0)),
        status=status,
        why=str(why),
    )


def standing(trial: Trial) -> tuple[bool, bool, float]:
    """Return what trials are ranked by: one that was stopped early is below all finished ones.

    Scores of different steps do not compare.
    """
    return math.isfinite(trial.score), trial.status == WHOLE, trial.score


def importance(space: Sequence[Dimension], trials: Sequence[Trial]) -> dict[str, float]:
    """Return how much each option matters among the trials, shares that sum to 1.

    It is how much the distribution of the better trials' values differs from that of all (Watanabe
    et al. 2023, "PED-ANOVA"). Fewer than four trials with a score say nothing.
    """
    scored = [one for one in trials if math.isfinite(one.score)]
    if len(scored) < LEAST:
        return {}
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    kinds = distributions(space)
    for one in scored:
        study.add_trial(
            optuna.trial.create_trial(params=dict(one.drawn), distributions=kinds, value=one.score)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {path: float(share) for path, share in found.items()}
