"""Where metrics go: one JSON object per line, and TensorBoard event files."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Metrics = Mapping[str, float]


class JsonLines:
    """`metrics.jsonl`: one object per line: step, seconds, member, and names -> numbers."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self.file = path.open("a", encoding="utf-8")

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Write one line; a number that is not finite becomes null."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "seconds": round(seconds, 3), "member": member} | numbers
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class TensorBoard:
    """Event files, one folder per member."""

    def __init__(self, directory: Path) -> None:
        """Take the folder that holds the members' folders."""
        self.directory = directory
        self.writers: dict[str, Any] = {}

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Write the numbers as scalars."""
        del seconds
        if member not in self.writers:
            from tensorboardX import SummaryWriter

            self.writers[member] = SummaryWriter(str(self.directory / member))
        for name, value in values.items():
            self.writers[member].add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is pending, and close the files."""
        for writer in self.writers.values():
            writer.close()


Sink = JsonLines | TensorBoard


def spread(members: Sequence[Metrics]) -> tuple[Metrics, Metrics]:
    """Return mean and standard deviation over the members of the metrics that all have."""
    names = [name for name in members[0] if all(name in values for values in members)]
    table = {name: [values[name] for values in members] for name in names}
    return (
        {name: float(np.mean(values)) for name, values in table.items()},
        {name: float(np.std(values)) for name, values in table.items()},
    )
