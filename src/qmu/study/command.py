"""What the commands `study`, `compare`, `report` and `export` do."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from qmu.errors import ConfigError, QmuError
from qmu.study import results as found
from qmu.study import ship
from qmu.study.plan import Study, programs
from qmu.study.report import write_report
from qmu.study.show import progress_bar, show_plan, show_results, terminal
from qmu.study.work import Conduct, begin, settle
from qmu.training.lock import locked
from qmu.world.make import Maker, maker_of


def dry_run(study: Study, workers: int) -> None:
    """Print what a study would train.

    Raises:
        ConfigError: a world cannot be made, or there are no workers.
    """
    makers = worlds_of(study, workers)
    show_plan(study, programs(study), makers, workers, terminal())


def worlds_of(study: Study, workers: int) -> dict[str, Maker]:
    """Return what makes a study's worlds, by their ids.

    Raises:
        ConfigError: one cannot be made here, or nobody is there to train.
    """
    if workers < 1:
        raise ConfigError(f"--workers must be 1 or more, not {workers}")
    settings = {(one.world.id, one.config.env): None for one in programs(study)}
    makers: dict[str, Maker] = {}
    for world, env in settings:
        makers.setdefault(world, maker_of(world, env))
    return makers


def run_study(study: Study, directory: Path, workers: int, typed: list[str]) -> None:
    """Train what is left of a study, and print what it has found.

    Raises:
        ConfigError: the directory holds another study, another process is at it, or a world cannot
            be made; nothing was started.
        QmuError: some programs have failed; the others have been trained.
    """
    worlds_of(study, workers)
    out = terminal()
    begin(study, directory)
    with locked(directory):
        study = settle(study, directory)
        out.print(f"{study.name}: {study.question}")
        out.print(f"writing to {directory}; the same command goes on where it was stopped")
        conduct = Conduct(study, directory, workers, typed)
        bar, show = progress_bar(study, out)
        try:
            with bar or contextlib.nullcontext():
                conduct.run(show)
        except (QmuError, KeyboardInterrupt) as error:
            error.add_note(f"what was learned is saved in {directory}: the same command goes on")
            raise
    show_results(found.study_results(directory), out)
    out.print(f"report: qmu report {directory}")
    if conduct.failed:
        lines = [f"{program.called(study)}: {why}" for program, why in conduct.failed]
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
        terminal().print(str(write_report(results, out or paths[0], paths, kind)))


def export(source: Path, path: Path, seed: int | None) -> None:
    """Write a policy as one file, with its model card; say what was measured of it."""
    made = ship.export(source, path, seed=seed)
    info, out = made.policy.info, terminal()
    who = f"seed {info.get('seed')} of {info.get('environment')}, step {info.get('step')}"
    lines = [
        f"{made.path}: {who}",
        f"difference  {made.difference:.1e} of the action range at most, from the trained actor on "
        f"{len(made.observed.obs):,} observations {made.observed.origin}",
        f"size        {len(made.data):,} bytes",
        f"latency     {made.microseconds:.0f} µs for one observation (median, measured here)",
        f"card        {ship.card_of(made.path)}",
        f"python      policy = qmu.load({str(made.path)!r})",
    ]
    for line in lines:
        out.print(line, soft_wrap=True)


def results_of(paths: Sequence[Path]) -> found.Results:
    """Return what there is in the directories of a study, or of runs.

    Raises:
        ConfigError: no directory, a study beside something else, or no run.
    """
    if not paths:
        raise ConfigError(
            "which run? give the directory of a run or of a study, or several of runs"
        )
    paths = list({path.absolute(): path for path in paths}.values())
    studies = [path for path in paths if found.is_study(path)]
    if studies and len(paths) > 1:
        raise ConfigError(f"{studies[0]} is a study: give it alone, or give runs")
    return found.study_results(paths[0]) if studies else found.run_results(paths)
