"""How long training stands still for a checkpoint, and what comes onto the disk.

    python benchmarks/saving.py                      # a million transitions of HalfCheetah-v5
    python benchmarks/saving.py --pixels 84 --rows 100000     # and of pictures: 2.1 GB

First a checkpoint of the whole stream, as after a signal in a run without a schedule of saves; then
those of a schedule, each of 50,000 new rows. `resume` is reading the last one back. The figures go
to benchmarks/results/saving-DATE.json.
"""

import argparse
import dataclasses
import datetime
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from process import machine, package_versions

HERE = Path(__file__).resolve().parent
WORLD, DRAWN = "HalfCheetah-v5", "Pendulum-v1"
NEW_ROWS = 50_000


def make_trainer(rows: int, folder: Path, priorities: str, pixels: int | None) -> Any:
    """Return a trainer, and its configuration, with an empty stream for so many rows."""
    from qmu.config import reading
    from qmu.learning.loop import Trainer
    from qmu.world.make import maker_of

    world = DRAWN if pixels else WORLD
    config = reading.from_dict(
        {
            "env": {"id": world} | ({"pixels": pixels, "frames": 3} if pixels else {}),
            "train": {"total_steps": 10 * rows},
            "replay": {"capacity": rows, "priorities": priorities},
            "log": {"dir": str(folder), "tensorboard": False},
        }
    )
    trainer = Trainer(config, maker_of(world, config.env))
    for _ in trainer.run(64, evaluating=False):
        pass
    trainer.cut()
    return trainer


def fill(trainer: Any, rows: int) -> None:
    """Pretend that so many rows have been collected: numbers that do not repeat."""
    (members,) = trainer.learner.members
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(members.stream.numbers.shape, dtype=np.float32)
    pictures = members.stream.bytes
    if pictures is not None:
        drawn = rng.integers(0, 256, pictures.shape, np.uint8)
        pictures = pictures.at[:].set(drawn)
    length = members.stream.rows_per_world
    trainer.written[:] += rows
    stream = dataclasses.replace(
        members.stream,
        numbers=members.stream.numbers.at[:].set(numbers),
        bytes=pictures,
        flags=members.stream.flags.at[:].set(0),
        head=members.stream.head.at[:].set(int(trainer.written[0, 0]) % length),
        size=members.stream.size.at[:].set(int(trainer.alive[0, 0])),
    )
    trainer.learner.members = [dataclasses.replace(members, stream=stream)]
    trainer.learner.settle()
    trainer.step += rows


def measure(rows: int, saves: int, priorities: str, pixels: int | None) -> dict[str, Any]:
    """Return the seconds of the first save, of those that follow, and of reading back."""
    from qmu.runs import checkpoint
    from qmu.runs.record import open_record
    from qmu.saving import store

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(rows, Path(folder), priorities, pixels)
        record = open_record(trainer, None, print)
        fill(trainer, rows)
        record.save(False)
        first = record.save_seconds
        scheduled = []
        for _ in range(saves):
            fill(trainer, NEW_ROWS)
            record.save(True)
            scheduled.append(record.save_seconds)
        newest = store.complete(record.saver.folder)[0]
        size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
        segments = sum(path.stat().st_size for path in (newest.parent / "segments").iterdir())
        trainer.close()
        fresh = make_trainer(rows, Path(folder), priorities, pixels)
        started = time.monotonic()
        checkpoint.restore(fresh, store.read_checkpoint(newest))
        seconds = time.monotonic() - started
        fresh.close()
        record.logbook.close()
    return {
        "priorities": priorities,
        "pixels": pixels,
        "rows": rows,
        "whole_stream_seconds": first,
        "new_rows": NEW_ROWS,
        "scheduled_seconds": scheduled,
        "resume_seconds": seconds,
        "checkpoint_bytes": size,
        "segments_bytes": segments,
    }


def main() -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description="Measure how long a checkpoint takes.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--pixels", type=int, help="pictures of so many pixels along a side")
    arguments = parser.parse_args()
    kinds = ["uniform"] if arguments.pixels else ["uniform", "td-error"]
    cases = [
        measure(arguments.rows, arguments.saves, priorities, arguments.pixels)
        for priorities in kinds
    ]
    for case in cases:
        kind = case["priorities"]
        kind += f", {arguments.pixels} x {arguments.pixels} pixels" if arguments.pixels else ""
        pauses = case["scheduled_seconds"]
        print(
            f"{kind}: whole stream {case['whole_stream_seconds']:.2f} s; {NEW_ROWS:,} new rows "
            f"{statistics.median(pauses):.3f} s ({min(pauses):.3f} to {max(pauses):.3f}); "
            f"resume {case['resume_seconds']:.2f} s; on disk {case['segments_bytes'] / 1e6:.0f} MB "
            f"of rows and {case['checkpoint_bytes'] / 1e6:.1f} MB"
        )
    today = datetime.datetime.now().strftime("%Y-%m-%d")
    report = {"date": today, "machine": machine(), "versions": package_versions(), "cases": cases}
    ending = "-pixels" if arguments.pixels else ""
    path = HERE / "results" / f"saving-{today}{ending}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
