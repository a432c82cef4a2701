"""What a person sees of a study: what would run, how far it is, and what it has found."""

from collections.abc import Callable, Mapping

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
from qmu.watching.terminal import Stubborn
from qmu.wording import counted, duration
from qmu.world.make import Maker

# Of `COLUMNS`, those that fit into a terminal; a report has all.
NARROW = ("mean", "failed", "steps to it", "beats base")


def terminal() -> Console:
    """Return where everything is printed; names are shown as they are."""
    return Stubborn(highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_plan(
    study: Study, plan: list[Program], makers: Mapping[str, Maker], workers: int, out: Console
) -> None:
    """Print what would run, and how long it may take; `makers` make the worlds by their ids.

    Raises:
        WorldError: a world failed while its steps were timed.
    """
    rate = estimate.matrix_rate()
    steps = {name: estimate.step_seconds(maker) for name, maker in makers.items()}
    out.print(f"{study.name}: {study.question}")
    out.print(
        f"{counted(len(study.worlds), 'world')}, {counted(len(study.arms), 'arm')}, "
        f"{counted(study.seeds, 'seed')}: {counted(study.runs, 'agent')} in "
        f"{counted(len(plan), 'program')}"
    )
    table = Table("world", "arms of the program", "agents", "steps each", "may take")
    total = 0.0
    for program in plan:
        name = program.world.id
        seconds = estimate.program_seconds(program, makers[name], rate, steps[name])
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
        f"about {duration(total)} in all on this machine with nothing beside, whatever the number "
        f"of workers (here {workers}), if episodes of evaluations last as long as they may. What "
        "other programs do at this moment can make the figure up to twice as large"
    )


def progress_bar(study: Study, out: Console) -> tuple[Bar | None, Callable[[Progress], None]]:
    """Return a bar for the whole study, if this is a terminal, and what feeds it.

    Steps that have to be taken again do not count twice: the share stands still meanwhile, and a
    line says why.
    """
    highest, noted, said = 0.0, 0, set[str]()

    def news(progress: Progress) -> None:
        nonlocal highest, noted
        highest = max(highest, progress.done / max(progress.total, 1))
        for note in progress.notes[noted:]:
            out.print(note)
        noted = len(progress.notes)

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
        task = bar.add_task("study", total=1.0)

        def feed(progress: Progress) -> None:
            news(progress)
            names = ", ".join(short(study, one) for one in progress.working)
            bar.update(task, completed=highest, description=names or "study")

        return bar, feed

    def tell(progress: Progress) -> None:
        news(progress)
        for one in progress.working:
            name = one.called(study)
            if name not in said:
                said.add(name)
                out.print(f"{int(100 * highest)}% of all steps; now {name}")

    return None, tell


def short(study: Study, program: Program) -> str:
    """Return a program's world and first arm, and how many more it has."""
    more = f" and {len(program.arms) - 1} more" if len(program.arms) > 1 else ""
    return f"{program.world.id}: {study.arm(next(iter(program.arms))).name}{more}"


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
        out.print(PROTOCOL)
    over_all = together(results)
    if len(results.places) > 1 and over_all:
        out.print()
        out.print("over all worlds, scores between 0 and 1")
        table = Table("arm", "interquartile mean", f"beats {results.base}")
        for arm, (middle, beats) in over_all.items():
            table.add_row(arm, share(middle), share(beats))
        out.print(table)
        out.print(PROTOCOL)
