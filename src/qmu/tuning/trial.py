"""One trial of a tuning, as Ray Tune runs it: a recipe, trained with several seeds.

It reports at evaluations, and hands its whole run over with each of its checkpoints, from which it
goes on bit for bit when its process or its node is lost.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qmu import config as options
from qmu.config import reading
from qmu.errors import ConfigError, DivergedError
from qmu.learning.callbacks import Callback, Moment
from qmu.records import stats
from qmu.records.directory import CHECKPOINTS
from qmu.runs.results import Run
from qmu.runs.resume import resume
from qmu.runs.train import train_config
from qmu.saving import store
from qmu.study.processes import Lease, share_gpu
from qmu.study.results import SCORE
from qmu.tuning.space import Drawn, chosen, space_of, with_values

MEAN, LOW = SCORES = ("mean", "low")
SCORE_WORDS = {MEAN: "mean", LOW: "low end of the interval"}
# What a trial is told to have reached that has no score; a sampler keeps away from there.
WORST = -1e30
RUN = "run"


@dataclass(frozen=True)
class Task:
    """What all trials of a tuning share, in words that travel: dictionaries and numbers.

    Attributes:
        base: the recipe that all begin with, as a dictionary of options.
        space: what is searched, as `space_of` reads it.
        score: what they are compared by: the mean over the seeds, or the low end of its interval.
        cpus: processors of a trial.
        gpus: GPUs of a trial, or a part of one.
    """

    base: dict[str, dict[str, Any]]
    space: dict[str, dict[str, Any]]
    score: str
    cpus: int
    gpus: float


def score_of(curves: Mapping[int, list[float]], rule: str) -> float:
    """Return what a trial has reached so far: evaluations [seeds] by their steps."""
    return worth(stats.last_scores(np.array([curves[step] for step in sorted(curves)]).T), rule)


def worth(scores: stats.Floats, rule: str) -> float:
    """Return what recipes are compared by: the mean of scores [seeds], or its low end."""
    found = stats.mean(scores)
    return found.low if rule == LOW else found.value


class Reporter(Callback):
    """Reports every evaluation; with a checkpoint, if one has been written at the same step.

    That of the last step is left for the run's end: with its report Ray ends the trial.
    """

    def __init__(self, report: Any, rule: str, steps: int, curves: dict[int, list[float]]) -> None:
        """Report by `report(metrics, run's directory or None)`; go on with these curves."""
        self.report, self.rule, self.steps, self.curves = report, rule, steps, curves
        self.waiting = False

    def on_evaluation(self, moment: Moment) -> None:
        """Wait until it is known whether a checkpoint belongs to the scores."""
        self.curves[moment.step] = [moment.scores[name].mean for name in moment.members]
        self.waiting = True

    def on_save(self, moment: Moment, folder: Path) -> None:
        """Report with the run as it is now."""
        del moment
        self.tell(folder.parent.parent)

    def on_chunk(self, moment: Moment) -> None:
        """Report what had no checkpoint."""
        del moment
        self.tell(None)

    def tell(self, directory: Path | None) -> None:
        """Report the evaluation that is waiting, or with a checkpoint the newest one again."""
        if self.curves and (self.waiting or directory is not None):
            metrics = self.newest()
            if metrics["step"] < self.steps:
                self.report(metrics, directory)
        self.waiting = False

    def newest(self) -> dict[str, Any]:
        """Return what has been reached by the newest evaluation."""
        step = max(self.curves)
        score = score_of(self.curves, self.rule)
        return {"score": score, "step": step, "scores": self.curves[step]}


def run_trial(drawn: dict[str, Drawn], task: Task) -> None:
    """Train the recipe that was drawn, or go on with it; report to Ray Tune."""
    lease = Lease(task.cpus)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, lease.processors)
    share_gpu(task.gpus)
    from ray import tune

    def report(metrics: dict[str, Any], directory: Path | None) -> None:
        held = None if directory is None else tune.Checkpoint.from_directory(directory)
        tune.report(metrics, checkpoint=held)

    with tempfile.TemporaryDirectory(prefix="qmu-trial-") as work:
        try:
            config = config_of(task, drawn)
            steps = options.total_steps(config)
            given = tune.get_checkpoint()
            if given is None:
                reporter = Reporter(report, task.score, steps, {})
                config = options.replace(
                    config, "log", dir=work, name=tune.get_context().get_trial_id()
                )
                run = train_config(config, callbacks=[reporter])
            else:
                with given.as_directory() as held:
                    directory = Path(work) / RUN
                    shutil.copytree(held, directory)
                reporter = Reporter(report, task.score, steps, curves_of(directory))
                env = config.env
                run = resume(directory, env=env.id, wrappers=env.wrappers, callbacks=[reporter])
            report(reporter.newest(), run.directory)
        except (ConfigError, DivergedError) as error:
            report({"score": WORST, "step": 0, "scores": [], "why": str(error)}, None)
        finally:
            lease.end()


def config_of(task: Task, drawn: Mapping[str, Drawn]) -> options.Config:
    """Return a trial's configuration. Raises ConfigError where values contradict each other."""
    base = reading.from_dict(task.base)
    return with_values(base, chosen(space_of(task.space, base), drawn))


def curves_of(directory: Path) -> dict[int, list[float]]:
    """Return the evaluations of a run up to its newest checkpoint, which it goes on from."""
    run = Run(directory)
    reached = store.order(store.complete(directory / CHECKPOINTS)[0])[0]
    names = [member.name for member in run.members]
    found: dict[int, dict[str, float]] = {}
    for line in run.metrics():
        if line.get(SCORE) is not None and line["step"] <= reached:
            found.setdefault(line["step"], {})[line["member"]] = line[SCORE]
    return {step: [own[name] for name in names] for step, own in found.items()}
