"""`metrics.jsonl`, read and trimmed: one JSON object per line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmu.saving import storage

# What a line says of its numbers.
ABOUT = ("step", "seconds", "member")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`; those that are torn or damaged are left out.

    A file that is not there has none.
    """
    found = []
    for line in (path.read_bytes() if path.exists() else b"").splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and is_whole_line(values):
            found.append(values)
    return found


def is_whole_line(values: Mapping[str, Any]) -> bool:
    """Tell whether this is a line of metrics: step, seconds, member, and names -> numbers."""
    numbers = {name: value for name, value in values.items() if name not in ABOUT}
    return (
        is_integer(values.get("step"))
        and is_number(values.get("seconds"))
        and isinstance(values.get("member"), str)
        and all(value is None or is_number(value) for value in numbers.values())
    )


def is_integer(value: Any) -> bool:
    """Tell whether a value of JSON is a whole number that a computer counts to."""
    return type(value) is int and abs(value) < 2**63


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a number."""
    return type(value) is float or is_integer(value)


def trim_lines(path: Path, size: int, step: int) -> None:
    """Take back what was written to a `metrics.jsonl` after it had this size, at this step.

    A file that was shorter, or has been changed since, loses the lines of later steps.
    """
    data = path.read_bytes() if path.exists() else b""
    kept = data[:size]
    if size and (len(kept) < size or not kept.endswith(b"\n")):
        whole = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        kept = b"".join(line for line in whole if not is_later(line, step))
    if kept != data:
        storage.replace_file(path, kept)


def is_later(line: bytes, step: int) -> bool:
    """Tell whether a line of metrics is of a later step, or none at all."""
    try:
        return bool(json.loads(line)["step"] > step)
    except (ValueError, KeyError, TypeError, RecursionError):
        return True
