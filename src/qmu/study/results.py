"""What a study, or runs beside each other, have found: curves and scores by world and arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qmu.errors import ConfigError
from qmu.records import stats
from qmu.records.directory import METRICS
from qmu.records.stats import Floats, Interval
from qmu.runs.results import Run, open_run
from qmu.saving import storage
from qmu.study.folder import STUDY_FILE, apart, open_directory, run_of, status_of
from qmu.study.plan import Study, World, programs

PROTOCOL = (
    f"A seed's score is the mean of its last {stats.LAST} evaluations (of fewer than thirty: of "
    "the last third), deterministic, on episodes with fixed seeds. Intervals are 95% bootstrap "
    f"intervals over the seeds (none below {stats.FEWEST} seeds), of probabilities Newcombe's."
)
SCORE = "eval/mean_reward"


@dataclass(frozen=True)
class Outcome:
    """What an arm has reached in a world: evaluations [seeds, evaluations] at these steps.

    An arm that has ended early has fewer evaluations than the others; `status` says why.
    """

    arm: str
    seeds: tuple[int, ...]
    steps: Floats
    curves: Floats
    status: str
    seconds: float
    run: Run
    member_names: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end."""
        return self.status == "finished"

    @property
    def scores(self) -> Floats:
        """One score per seed; NaN for an arm that has not finished."""
        if not self.finished or self.curves.shape[1] == 0:
            return np.full(len(self.seeds), np.nan)
        return stats.last_scores(self.curves)


@dataclass(frozen=True)
class Place:
    """A world, and what the arms have reached in it."""

    world: World
    outcomes: tuple[Outcome, ...]

    def scale(self) -> tuple[float, float]:
        """Return the scores that are 0 and 1 when worlds are put together.

        Without bounds in the study they are the lowest and highest score of any seed here.
        """
        if self.world.low is not None and self.world.high is not None:
            return self.world.low, self.world.high
        scores = np.concatenate([one.scores for one in self.outcomes])
        scores = scores[np.isfinite(scores)]
        low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
        return (low, high) if high > low else (low - 0.5, low + 0.5)


@dataclass(frozen=True)
class Results:
    """Everything that has been found: a question, its arms, and a place for each world."""

    name: str
    question: str
    arms: tuple[str, ...]
    base: str
    places: tuple[Place, ...]
    study: Study | None

    def complete(self, arm: str) -> bool:
        """Tell whether an arm has finished in every world."""
        return all(
            any(one.arm == arm and one.finished for one in place.outcomes) for place in self.places
        )

    def comparable(self, arm: str) -> list[Floats]:
        """Return an arm's scores per world: as they are in a single world, else normalized."""
        if len(self.places) > 1:
            return self.strata(arm)
        return [one.scores for one in self.places[0].outcomes if one.arm == arm]

    def strata(self, arm: str) -> list[Floats]:
        """Return an arm's normalized scores, per world."""
        return [
            stats.normalized(one.scores, *place.scale())
            for place in self.places
            for one in place.outcomes
            if one.arm == arm
        ]


@dataclass(frozen=True)
class Row:
    """An arm's line of a world's table."""

    arm: str
    status: str
    mean: Interval
    median: float
    scores: Floats
    failed: int | None
    steps_to: float | None
    reached: int
    area: float
    improvement: Interval | None


def study_results(directory: Path) -> Results:
    """Return what a study has found so far.

    Raises:
        ConfigError: there is no study in the directory.
    """
    study = open_directory(directory)
    plan = programs(study, apart(directory))
    places = []
    for world in study.worlds:
        outcomes = []
        for program in [one for one in plan if one.world == world]:
            run = run_of(directory, program)
            if run is not None:
                outcomes += outcomes_of(run, {slug: study.arm(slug).name for slug in program.arms})
        order = [arm.name for arm in study.arms]
        outcomes.sort(key=lambda one: order.index(one.arm))
        places.append(Place(world, tuple(outcomes)))
    names = tuple(arm.name for arm in study.arms)
    return Results(study.name, study.question, names, study.base, tuple(places), study)


def run_results(directories: Sequence[Path]) -> Results:
    """Return runs beside each other, each an arm of its own; the first is what others are held to.

    Raises:
        ConfigError: a directory holds no run.
    """
    found: dict[str, list[Outcome]] = {}
    for path in directories:
        run = open_run(path)
        arms = run.info.get("arms") or {"": {}}
        label = short_name(run.directory, directories)
        names = {slug: f"{label} {slug}" if len(arms) > 1 else label for slug in arms}
        found.setdefault(run.info["environment"], []).extend(outcomes_of(run, names))
    places = []
    for name, outcomes in found.items():
        steps = max(int(one.steps[-1]) if len(one.steps) else 0 for one in outcomes)
        places.append(Place(World(name, steps, None, None, None, {}), tuple(outcomes)))
    arms = tuple(dict.fromkeys(one.arm for place in places for one in place.outcomes))
    one = "What has the run learned?" if len(directories) == 1 else "Which of the runs learns best?"
    return Results(directories[0].name, one, arms, arms[0], tuple(places), None)


def short_name(directory: Path, all_of_them: Sequence[Path]) -> str:
    """Return the shortest name of a run's directory that no other one has."""
    own, others = directory.resolve().parts, [path.resolve().parts for path in all_of_them]
    for size in range(1, len(own)):
        if [one[-size:] for one in others].count(own[-size:]) == 1:
            return str(Path(*own[-size:]))
    return str(Path(*own))


def is_study(directory: Path) -> bool:
    """Tell whether a directory holds a study."""
    return storage.is_file(directory / STUDY_FILE)


def outcomes_of(run: Run, names: dict[str, str]) -> list[Outcome]:
    """Return what the arms of a run have reached; `names` are what they are called."""
    lines = [line for line in run.metrics() if line.get(SCORE) is not None]
    described = run.info
    outcomes = []
    for slug, name in names.items():
        own_members = [member for member in run.members if member.arm == slug]
        members = tuple(member.name for member in own_members)
        by_step: dict[int, dict[str, float]] = {}
        for line in lines:
            if line["member"] in members:
                by_step.setdefault(line["step"], {})[line["member"]] = line[SCORE]
        whole = sorted(step for step, own in by_step.items() if len(own) == len(members))
        curves = np.array([[by_step[step][member] for step in whole] for member in members])
        outcomes.append(
            Outcome(
                arm=name,
                seeds=tuple(member.seed for member in own_members),
                steps=np.array(whole, np.float64),
                curves=curves.reshape(len(members), len(whole)),
                status=status_of(run),
                seconds=float(described.get("seconds", 0.0)),
                run=run,
                member_names=members,
            )
        )
    return outcomes


def not_begun(results: Results, place: Place) -> list[str]:
    """Return the arms of a study that have not been trained at all in a world."""
    there = {one.arm for one in place.outcomes}
    return [] if results.study is None else [arm for arm in results.arms if arm not in there]


def rows(results: Results, place: Place) -> list[Row]:
    """Return the table of a world, in the order of the arms."""
    base = next((one for one in place.outcomes if one.arm == results.base), None)
    return [row(one, base, place.world.threshold) for one in place.outcomes]


def row(outcome: Outcome, base: Outcome | None, threshold: float | None) -> Row:
    """Return an arm's line; what needs an end is NaN for one that has none."""
    scores = outcome.scores
    there = bool(np.isfinite(scores).all())
    until: list[float] = []
    if threshold is not None and outcome.curves.shape[1]:
        found = stats.steps_to(outcome.steps, outcome.curves, threshold)
        until = [np.inf if one is None else float(one) for one in found]
    compared = base is not None and base is not outcome and base.finished and there
    return Row(
        arm=outcome.arm,
        status=outcome.status,
        mean=stats.mean(scores) if there else Interval(np.nan, np.nan, np.nan),
        median=float(np.median(scores)),
        scores=scores,
        failed=None if threshold is None else stats.failed(scores, threshold),
        steps_to=float(np.median(until)) if until else None,
        reached=int(np.isfinite(until).sum()),
        area=float(np.mean(stats.area_under(outcome.steps, outcome.curves)))
        if outcome.curves.shape[1]
        else float("nan"),
        improvement=stats.probability_of_improvement([scores], [base.scores])
        if compared and base is not None
        else None,
    )


def together(results: Results) -> dict[str, tuple[Interval, Interval | None]]:
    """Return, of every arm that has finished in all worlds, what it is over all of them.

    That is the interquartile mean of its normalized scores, and how likely it beats the base.
    """
    done = [arm for arm in results.arms if results.complete(arm)]
    strata = {arm: results.strata(arm) for arm in done}
    return {
        arm: (
            stats.interquartile_mean(strata[arm]),
            stats.probability_of_improvement(strata[arm], strata[results.base])
            if arm != results.base and results.base in done
            else None,
        )
        for arm in done
    }


def answer(results: Results) -> str:
    """Return the answer in one sentence, with its interval; or what is missing for one."""
    found = together(results)
    if results.study is None and len(results.places) > 1:
        return f"These runs are of different worlds and are not compared: {each_reached(results)}."
    if not found:
        return "Nothing has been trained to its end yet."
    if len(results.arms) == 1:
        return f"{each_reached(results)}."
    if len(found) == 1:
        return f"Nothing can be compared yet: only {next(iter(found))} has been trained to its end."
    missing = [arm for arm in results.arms if arm not in found]
    tail = f" Not finished: {', '.join(missing)}." if missing else ""
    scores = {arm: results.comparable(arm) for arm in found}
    ranked = sorted(found, key=lambda arm: -float(stats.middle(scores[arm])))
    best, base = ranked[0], results.base
    if base not in found:
        return f"Highest is {best}, and {base}, which it would be held against, is missing.{tail}"
    if best == base:
        second = ranked[1]
        gap = stats.difference(scores[base], scores[second], len(found) - 1)
        return (
            f"No arm is above {base}, which the others are held against: the next one, {second}, "
            f"is {distance(results, gap)} below it{doubt(gap)}.{tail}"
        )
    gap = stats.difference(scores[best], scores[base], len(found) - 1)
    improvement = found[best][1]
    said = f"{distance(results, gap)} above {base}"
    if improvement is not None:
        said += f"; a seed of it beats one of {base} with probability {share(improvement)}"
    if gap.low > 0:
        return f"Best is {best}: it is {said}.{tail}"
    return f"No arm is shown to be better than {base}: {best} is {said}{doubt(gap)}.{tail}"


def each_reached(results: Results) -> str:
    """Return what each arm has reached in each world, in words."""
    parts = []
    for place in results.places:
        for one in place.outcomes:
            value, low, high = stats.mean(one.scores)
            reached = f"reaches {number(value)}{between(low, high)}" if one.finished else one.status
            parts.append(f"{one.arm} {reached} in {place.world.id}")
    return "; ".join(parts)


def distance(results: Results, gap: Interval) -> str:
    """Return how far two arms are apart, in words: in rewards of a world, or on a common scale."""
    if len(results.places) == 1:
        return f"{number(gap.value)}{between(gap.low, gap.high)}"
    return f"{gap.value:.2f}{between(gap.low, gap.high, 2)} of the scale from 0 to 1"


def doubt(gap: Interval) -> str:
    """Return why a difference does not count, if it does not."""
    if np.isnan(gap.low):
        return f" (fewer than {stats.FEWEST} seeds have no interval)"
    return "" if gap.low > 0 else " (which is not more than chance explains)"


def between(low: float, high: float, digits: int | None = None) -> str:
    """Return an interval in brackets; nothing where there is none."""
    if np.isnan(low):
        return ""
    spelled = [number(one) if digits is None else f"{one:.{digits}f}" for one in (low, high)]
    return f" ({spelled[0]} to {spelled[1]})"


def number(value: float) -> str:
    """Return a score as a person reads it: four digits at most behind a large one."""
    if not np.isfinite(value):
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"


def share(found: Interval | None) -> str:
    """Return a number between 0 and 1 with its interval; nothing where there is none."""
    return "" if found is None else f"{found.value:.2f}{between(found.low, found.high, 2)}"


COLUMNS = ("mean", "median", "worst", "best", "failed", "steps to it", "area", "beats base")


def cells(row: Row) -> list[str]:
    """Return a row of a table as texts, in the order of `COLUMNS`."""
    if row.status != "finished":
        failed = f"at least 1 of {len(row.scores)}" if row.status == "diverged" else ""
        known = {COLUMNS[0]: row.status, "failed": failed}
        return [known.get(column, "") for column in COLUMNS]
    return [
        f"{number(row.mean.value)}{between(row.mean.low, row.mean.high)}",
        number(row.median),
        number(float(row.scores.min())),
        number(float(row.scores.max())),
        "" if row.failed is None else f"{row.failed} of {len(row.scores)}",
        steps_told(row),
        number(row.area),
        share(row.improvement),
    ]


def steps_told(row: Row) -> str:
    """Return the steps to the threshold in words: the median, if most seeds have reached it."""
    if row.steps_to is None:
        return ""
    if np.isfinite(row.steps_to):
        return f"{row.steps_to:,.0f}"
    return "half never" if 2 * row.reached == len(row.scores) else "most never"


def check_any(results: Results) -> None:
    """Raise ConfigError if there is nothing to report."""
    outcomes = [one for place in results.places for one in place.outcomes]
    if any(one.curves.size for one in outcomes):
        return
    if outcomes and all(map(is_never_evaluated, outcomes)):
        raise ConfigError(
            f"{results.name} has no evaluation, as --train.eval-interval is 0: there is nothing to "
            "report but the final scores in its run.json"
        )
    if outcomes and all(map(is_without_metrics, outcomes)):
        raise ConfigError(
            f"{results.name} has no {METRICS}, where evaluations are written: there is nothing to "
            "report. Put it back if there is a copy; final scores are in its run.json"
        )
    raise ConfigError(
        f"{results.name} has no evaluation yet: there is nothing to report. Train longer than one "
        "--train.eval-interval"
    )


def is_without_metrics(outcome: Outcome) -> bool:
    """Tell whether a run that is there has lost its metrics."""
    folder = outcome.run.directory
    return folder.is_dir() and not (folder / METRICS).exists()


def is_never_evaluated(outcome: Outcome) -> bool:
    """Tell whether a run was to have no evaluation, as far as its configuration can be read."""
    try:
        return outcome.run.config.train.eval_interval == 0
    except ConfigError:
        return False
