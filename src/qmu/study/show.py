"""What a person sees of a study: what would run, how far it is, and what it has found."""

from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from qmu.study import estimate
from qmu.study.plan import Program, Study
from qmu.study.results import (
    COLUMNS,
    PROTOCOL,
    Results,
    answer,
    cells,
    not_begun,
    number,
    rows,
    share,
    together,
)
from qmu.study.work import Progress

# Of `COLUMNS`, those that fit into a terminal; a report has all.
NARROW = ("mean", "failed", "steps to it", "beats base")


def terminal() -> Console:
    """Return where everything is printed; names are shown as they are."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_plan(study: Study, plan: list[Program], workers: int, out: Console) -> None:
    """Print what would run, and how long it may take."""
    out.print(f"{study.name}: {study.question}")
    out.print(
        f"{len(study.worlds)} world(s), {len(study.arms)} arms, {study.seeds} seeds: "
        f"{study.runs:,} agents in {len(plan)} programs"
    )
    rate = estimate.matrix_rate()
    steps = {world.id: estimate.step_seconds(world.id) for world in study.worlds}
    table = Table("world", "arms of the program", "agents", "steps each", "may take")
    total = 0.0
    for program in plan:
        seconds = estimate.seconds_of(program, rate, steps[program.world.id])
        total += seconds
        names = [study.arm(slug).name for slug in program.arms]
        table.add_row(
            program.world.id,
            "; ".join(names),
            str(program.members),
            f"{program.world.total_steps:,}",
            duration(seconds),
        )
    out.print(table)
    out.print(
        f"about {duration(total)} in all, on this machine as busy as it is now, whatever the "
        f"number of workers (here {workers})"
    )


def duration(seconds: float) -> str:
    """Return a time as a person reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def progress_bar(out: Console) -> tuple[Bar | None, Callable[[Progress], None]]:
    """Return a bar for the whole study, if this is a terminal, and what feeds it."""
    if out.is_terminal:
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=out,
            speed_estimate_period=120,
        )
        task = bar.add_task("study", total=None)

        def feed(progress: Progress) -> None:
            names = ", ".join(f"{one.world.id}: {one.name}" for one in progress.working)
            bar.update(
                task, completed=progress.done, total=progress.total, description=names or "study"
            )

        return bar, feed
    said: set[tuple[str, str]] = set()

    def tell(progress: Progress) -> None:
        for one in progress.working:
            key = (one.world.id, ", ".join(one.arms))
            if key not in said:
                said.add(key)
                share = 100 * progress.done // max(progress.total, 1)
                out.print(f"{share}% of all steps; now {one.world.id}: {', '.join(one.arms)}")

    return None, tell


def show_results(results: Results, out: Console) -> None:
    """Print the answer, and a table for each world."""
    out.print()
    out.print(results.question)
    out.print(answer(results))
    for place in results.places:
        threshold = place.world.threshold
        out.print()
        told = "" if threshold is None else f", failed below {number(threshold)}"
        out.print(f"{place.world.id}, {place.world.total_steps:,} steps{told}")
        lines = rows(results, place)
        table = Table("arm", *NARROW)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in lines:
            table.add_row(row.arm, *(cells(row)[COLUMNS.index(name)] for name in NARROW))
        for arm in not_begun(results, place):
            table.add_row(arm, "not begun")
        out.print(table)
        for row in lines:
            if row.status == "finished":
                seeds = " ".join(number(score) for score in np.sort(row.scores)[::-1])
                out.print(f"  every seed of {row.arm}: {seeds}")
    over_all = together(results)
    if len(results.places) > 1 and over_all:
        out.print()
        out.print("over all worlds, scores between 0 and 1")
        table = Table("arm", "interquartile mean", f"beats {results.base}")
        for arm, (middle, beats) in over_all.items():
            table.add_row(arm, share(middle), share(beats))
        out.print(table)
    out.print(PROTOCOL)
