"""A run's checkpoints on disk: folders, and the segments of rows that they share.

What is in them is bytes here. A checkpoint is read only if every file of it is what was written.
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from qmu.errors import ConfigError
from qmu.saving import arrays, storage
from qmu.saving.arrays import UnreadableError
from qmu.saving.storage import DamagedError, Entry

FORMAT = 2
ARRAYS, STATE = "state.safetensors", "state.json"
SEGMENTS = "segments"
ENDING = ".safetensors"
NAME = re.compile(r"(\d{9,})(?:-(\d+))?")
SEGMENT_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
# The rows of a segment have at most so many bytes, so that a save needs little memory beside the
# stream; its header comes on top.
LARGEST_ROWS = 32 * 2**20
LARGEST_SEGMENT = LARGEST_ROWS + 2**16
# What a save may need on the disk beyond the files themselves.
MARGIN = 2**20


class Part(NamedTuple):
    """Consecutive rows of a member's world: `rows` of them, from number `first` on."""

    member: int
    world: int
    first: int
    rows: int


class Segment(NamedTuple):
    """A file of rows, and which ones they are."""

    entry: Entry
    parts: tuple[Part, ...]


class Checkpoint(NamedTuple):
    """A checkpoint that has been read, and found to be what was written."""

    path: Path
    scheduled: bool
    state: dict[str, Any]
    arrays: dict[str, Any]
    segments: list[Segment]
    # How many rows are left out, whose segments are damaged.
    lost: int = 0


def write_checkpoint(
    folder: Path,
    step: int,
    scheduled: bool,
    contents: Mapping[str, bytes],
    needed: list[Segment],
    new: Iterable[tuple[bytes, tuple[Part, ...]]],
) -> list[Segment]:
    """Write a checkpoint into the folder of all; return its segments.

    Args:
        folder: the run's checkpoints.
        step: the step that it is of.
        scheduled: whether it belongs to the run's schedule, or was forced.
        contents: file name -> content.
        needed: segments that are there already and belong to it.
        new: segments that are not there yet, as bytes, and which rows they hold.

    Raises:
        OSError: it could not be written. What was there before is as it was.
    """
    # Not its parents: a run's directory that has been moved away is not made anew.
    folder.mkdir(exist_ok=True)
    listed = list(needed)
    for data, parts in new:
        listed.append(Segment(storage.write_shared(folder / SEGMENTS, ENDING, data), parts))
    described = {
        "format": FORMAT,
        "qmu": metadata.version("qmu"),
        "step": step,
        "scheduled": scheduled,
        "parts": [segment.parts for segment in listed],
    }
    shared = [segment.entry._replace(name=f"{SEGMENTS}/{segment.entry.name}") for segment in listed]
    storage.write_folder(free_name(folder, step), contents, shared, described)
    return listed


def check_space(folder: Path, size: int) -> None:
    """Raise OSError if the disk has no room for so many bytes."""
    free = storage.free_bytes(folder)
    if free < size + MARGIN:
        raise OSError(
            f"a checkpoint needs {size / 2**20:.1f} MiB, and the disk of {folder} has "
            f"{free / 2**20:.1f} MiB free"
        )


def prune(folder: Path, keep: int) -> None:
    """Keep the newest checkpoints, and the newest of the schedule; of others, the policies."""
    there = complete(folder)
    scheduled = [path for path in there if is_scheduled(path)]
    kept = {*there[:keep], *scheduled[:1]}
    for path in there:
        if path not in kept:
            strip(path)
    clean(folder)


def drop_later(path: Path) -> None:
    """Leave only the policies of checkpoints that are newer than this one: it is gone on from."""
    for other in complete(path.parent):
        if order(other) > order(path):
            strip(other)
    clean(path.parent)


def strip(path: Path) -> None:
    """Leave only the policies of a checkpoint."""
    storage.remove(path / storage.MANIFEST)
    for name in (ARRAYS, STATE, "best"):
        storage.remove(path / name)


def clean(folder: Path) -> None:
    """Remove what was being written when a process ended, and segments that nothing refers to."""
    for path in [*storage.unfinished_in(folder), *storage.unfinished_in(folder / SEGMENTS)]:
        storage.remove(path)
    used = set()
    for path in complete(folder):
        try:
            entries = storage.entries_of(storage.read_manifest(path), "shared")
        except DamagedError:
            continue
        used |= {Path(entry.name).name for entry in entries}
    if (folder / SEGMENTS).is_dir():
        for path in (folder / SEGMENTS).iterdir():
            if SEGMENT_NAME.fullmatch(path.name) and path.name not in used:
                storage.remove(path)


def free_name(folder: Path, step: int) -> Path:
    """Return a folder for a checkpoint at this step that is not there yet."""
    path, again = folder / f"{step:09d}", 1
    while path.exists():
        again += 1
        path = folder / f"{step:09d}-{again}"
    return path


def order(path: Path) -> tuple[int, int]:
    """Return a checkpoint's step, and which of several at that step it is."""
    match = NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 1)


def complete(folder: Path) -> list[Path]:
    """Return the folders of checkpoints that can be gone on from, the newest first."""
    if not folder.is_dir():
        return []
    found = [
        path
        for path in folder.iterdir()
        if NAME.fullmatch(path.name) and (path / storage.MANIFEST).exists()
    ]
    return sorted(found, key=order, reverse=True)


def is_scheduled(path: Path) -> bool:
    """Tell whether a checkpoint's manifest can be read and says that it is of the schedule."""
    try:
        return storage.read_manifest(path).get("scheduled") is True
    except DamagedError:
        return False


def read_checkpoint(path: Path, salvage: bool = False) -> Checkpoint:
    """Return a checkpoint, every file of which has been compared with its manifest.

    With `salvage`, damaged segments of rows are left out.

    Raises:
        ConfigError: it was written by a newer version.
        DamagedError: it is not what was written.
    """
    manifest = storage.read_manifest(path)
    if manifest.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has format {manifest.get('format')!r}, written by qmu "
            f"{manifest.get('qmu')}; this version of qmu reads format {FORMAT}: use that one"
        )
    memory = psutil.virtual_memory().available // 2
    files = {
        entry.name: storage.read_checked(path, entry, memory)
        for entry in storage.entries_of(manifest, "files")
    }
    shared = storage.entries_of(manifest, "shared")
    damaged = set()
    for entry in shared:
        try:
            storage.read_checked(path.parent, entry, LARGEST_SEGMENT)
        except DamagedError:
            if not salvage:
                raise
            damaged.add(entry)
    try:
        state = json.loads(files[STATE])
        held = arrays.unpack(files[ARRAYS])
        parts = [tuple(Part(*map(int, one)) for one in many) for many in manifest["parts"]]
        segments = [
            Segment(entry._replace(name=Path(entry.name).name), own)
            for entry, own in zip(shared, parts, strict=True)
            if entry not in damaged
        ]
        listed = zip(shared, parts, strict=True)
        lost = sum(part.rows for entry, own in listed if entry in damaged for part in own)
    except (KeyError, TypeError, ValueError, RecursionError, UnreadableError) as error:
        raise DamagedError(f"{path} does not hold a checkpoint: {error!r}") from None
    if not isinstance(state, dict):
        raise DamagedError(f"{path / STATE} is no object")
    return Checkpoint(path, manifest.get("scheduled") is True, state, held, segments, lost)
