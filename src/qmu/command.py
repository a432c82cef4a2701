"""What the commands `study`, `compare`, `report`, `export` and `tune` do."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qmu.collecting.cluster import check_address
from qmu.collecting.display import be_ready
from qmu.errors import ConfigError, QmuError
from qmu.places import WorkingFolder, absolute, shown
from qmu.report.page import write_report
from qmu.report.show import progress_bar, show_plan, show_results, terminal
from qmu.runs.lock import locked
from qmu.saving import storage
from qmu.shipping import write
from qmu.study import results as found
from qmu.study.folder import begin, run_of, settle, status_of
from qmu.study.plan import Program, Study, programs
from qmu.study.processes import Processes
from qmu.study.rules import check_apart
from qmu.study.work import Conduct, Engine
from qmu.tuning.final import (
    BEST_FILE,
    FINAL,
    FRESH,
    Found,
    best_of_search,
    conclusion,
    final_study,
    finalists,
    fresh_study,
    verdict,
    winner_of,
    write_best,
)
from qmu.tuning.plan import Tuning, begin_tuning, is_over, kept_trials
from qmu.tuning.shown import show_trials, teller, write_page
from qmu.tuning.site import Site, search
from qmu.wording import counted
from qmu.world.make import Maker, maker_of


class Where(NamedTuple):
    """Where a study's programs are trained, and how many of them side by side.

    `on` is a Ray cluster's address, None for processes of this machine; a program there needs so
    many processors and GPUs.
    """

    workers: int | None = None
    on: str | None = None
    cpus: int = 1
    gpus: float = 0

    def engine(self, directory: Path, typed: list[str], study: Study) -> Engine:
        """Return what trains a study's programs there.

        Args:
            directory: the study's, on this machine.
            typed: environments that need a module.
            study: whose programs they are.

        Raises:
            ConfigError: there is no such cluster, it has no room for one of them, or one of them
                would take more room there for its worlds.
        """
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be 1 or more, not {self.workers}")
        if self.on is None:
            return Processes(directory, self.workers or 1, typed)
        from qmu.study.away import Nodes, Request

        check_address(self.on, "--on")
        for program in programs(study):
            check_apart(program.config.env)
        return Nodes(directory, self.on, self.workers, Request(self.cpus, self.gpus), typed)


def dry_run(study: Study, where: Where) -> None:
    """Print what a study would train.

    Raises:
        ConfigError: a world cannot be made, or nobody is there to train.
        WorldError: a world failed while its steps were timed.
    """
    makers = worlds_of(study)
    places = where.engine(Path(), [], study).places
    show_plan(study, programs(study), makers, places, terminal())


def worlds_of(study: Study) -> dict[str, Maker]:
    """Return what makes a study's worlds, by their ids.

    Raises:
        ConfigError: one cannot be made here.
    """
    settings = {(one.world.id, one.config.env): None for one in programs(study)}
    makers: dict[str, Maker] = {}
    with WorkingFolder():
        for world, env in settings:
            be_ready(env)
            makers.setdefault(world, maker_of(world, env))
    return makers


def run_study(study: Study, directory: Path, where: Where, typed: list[str]) -> None:
    """Train what is left of a study, and print what it has found.

    Raises:
        ConfigError: the directory holds another study, another process is at it, a world cannot
            be made, or nobody is there to train; nothing was started.
        QmuError: some programs have failed; the others have been trained.
    """
    failed = train(study, directory, where, typed, "the same command")
    terminal().print(f"report: qmu report {shown(directory)}")
    check_failed(study, failed)


def train(
    study: Study, directory: Path, where: Where, typed: list[str], again: str
) -> list[tuple[Program, str]]:
    """Train what is left of a study, print what it has found, return what has failed, and why.

    `again` is what goes on where it is stopped. Raises ConfigError as `run_study`.
    """
    worlds_of(study)
    engine = where.engine(directory, typed, study)
    out = terminal()
    begin(study, directory)
    with locked(directory):
        study = settle(study, directory)
        out.print(f"{study.name}: {study.question}")
        out.print(f"writing to {shown(directory)}; {again} goes on where it was stopped")
        conduct = Conduct(study, directory, engine)
        bar, show = progress_bar(study, out)
        try:
            with bar or contextlib.nullcontext():
                conduct.run(show)
        except (QmuError, KeyboardInterrupt) as error:
            error.add_note(f"what was learned is saved in {shown(directory)}: {again} goes on")
            raise
    show_results(found.study_results(directory), out)
    return conduct.failed


def check_failed(study: Study, failed: Sequence[tuple[Program, str]]) -> None:
    """Raise QmuError if programs of a study have failed."""
    if failed:
        lines = [f"{program.called(study)}: {why}" for program, why in failed]
        raise QmuError("\n".join(["some programs have failed:", *lines]))


def compare(paths: Sequence[Path]) -> None:
    """Print runs beside each other, or what a study has found."""
    results = results_of(paths)
    found.check_any(results)
    show_results(results, terminal())


def report(paths: Sequence[Path], out: Path | None, kinds: Sequence[str]) -> None:
    """Write reports beside what they are about, or into the folder `out`; say where they are."""
    results = results_of(paths)
    found.check_any(results)
    for kind in kinds:
        terminal().print(shown(write_report(results, absolute(out or paths[0]), paths, kind)))


def export(source: Path, path: Path, seed: int | None) -> None:
    """Write a policy as one file, with its model card; say what was measured of it."""
    made = write.export(source, path, seed=seed)
    info, out = made.policy.info, terminal()
    arm = f"{info['arm']}, " if "arm" in info else ""
    who = f"{arm}seed {info.get('seed')} of {info.get('environment')}, step {info.get('step')}"
    lines = [
        f"{shown(made.path)}: {who}",
        f"difference  {made.difference:.1e} of the action range at most, from the trained actor on "
        f"{len(made.observed.obs):,} observations {made.observed.origin}",
        f"size        {len(made.data):,} bytes",
        f"latency     {made.microseconds:.0f} µs for one observation (median, measured here)",
        f"card        {shown(write.card_of(made.path))}{not_about(made.undescribed)}",
        f"python      policy = qmu.load({shown(made.path)!r})",
        *(f"note        {note}" for note in made.notes),
    ]
    for line in lines:
        out.print(line, soft_wrap=True)


def not_about(names: Sequence[str]) -> str:
    """Return which files a model card leaves out that share its name, as the end of a line."""
    if not names:
        return ""
    return f", which is not about {', '.join(names)}: of another policy, or measured otherwise"


def results_of(paths: Sequence[Path]) -> found.Results:
    """Return what there is in the directories of a study, or of runs.

    Raises:
        ConfigError: no directory, a study beside something else, or no run.
    """
    if not paths:
        raise ConfigError(
            "which run? give the directory of a run or of a study, or several of runs"
        )
    # A link leads to the same run.
    paths = list({path.resolve(): path for path in paths}.values())
    studies = [path for path in paths if found.is_study(path)]
    if studies and len(paths) > 1:
        raise ConfigError(f"{studies[0]} is a study: give it alone, or give runs")
    return found.study_results(paths[0]) if studies else found.run_results(paths)


def tune(asked: Tuning, site: Site, where: Where, typed: list[str]) -> None:
    """Search, or go on with a search; then train the best recipes on fresh seeds.

    `typed` are environments that need a module.

    Raises:
        ConfigError: another process is at it, a world cannot be made, or nobody is there to train;
            what was tried before is kept.
        QmuError: no trial has a score, or what was to be trained again could not be.
    """
    with WorkingFolder():
        be_ready(asked.base.env)
        maker_of(asked.world, asked.base.env)
    out, directory = terminal(), site.directory
    again = f"qmu tune --resume {shown(directory)}"
    begin_tuning(asked, directory)
    with locked(directory):
        out.print(
            f"{asked.world}: {counted(asked.trials, 'recipe')}, "
            f"{counted(asked.base.train.seeds, 'seed')}, {asked.steps:,} steps, "
            f"{site.places} side by side"
        )
        out.print(f"writing to {shown(directory)}; {again} goes on where it was stopped")
        trials = kept_trials(directory)
        try:
            if not is_over(asked, trials):
                trials = search(asked, site, teller(asked, out))
        except ConfigError:
            raise
        except (QmuError, KeyboardInterrupt) as error:
            error.add_note(f"what was tried is saved: go on with {again}")
            raise
    show_trials(asked, trials, out)
    result = Found(trials, best_of_search(asked, trials))
    if not storage.is_file(directory / BEST_FILE):
        write_best(asked, result, directory)

    def reached(study: Study, name: str) -> found.Results:
        out.print()
        return train_again(study, directory / name, where, typed, again)

    contestants = finalists(asked, trials)
    if contestants:
        final = reached(final_study(asked, contestants), FINAL)
        result = result._replace(final=final, winner=winner_of(asked, trials, final))
        out.print(f"final: {verdict(asked, result)}")
        write_best(asked, result, directory)
    if asked.fresh_seeds:
        result = result._replace(fresh=reached(fresh_study(asked, result.winner), FRESH))
        out.print(conclusion(result))
    out.print(f"preset: {shown(write_best(asked, result, directory))}")
    out.print(f"report: {shown(write_page(asked, result, directory))}")


def train_again(
    study: Study, directory: Path, where: Where, typed: list[str], again: str
) -> found.Results:
    """Train recipes of a search on other seeds; write a report, and return what they have reached.

    A recipe that diverges has no score, and is told as one that has diverged.

    Raises:
        ConfigError: as `run_study`.
        QmuError: a program has failed otherwise: trained again, it may do better.
    """
    failed = train(study, directory, where, typed, again)
    lost = [one for one in failed if status_of(run_of(directory, one[0])) != "diverged"]
    check_failed(study, lost)
    results = found.study_results(directory)
    if any(one.curves.size for place in results.places for one in place.outcomes):
        write_report(results, directory, [directory], "html")
    return results
