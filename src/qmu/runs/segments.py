"""The stream on disk: immutable segments of rows, so that a save writes only what is new.

The rows of a world are numbered since the run began; row n lies in slot n modulo the ring's length.
A segment holds parts, each of consecutive rows of one world; the manifests that list a segment say
which.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from qmu.learning.learner import Learner
from qmu.replay.stream import Stored, Stream, put_rows, rings, take_rows
from qmu.saving import arrays, storage
from qmu.saving.storage import DamagedError
from qmu.saving.store import LARGEST_ROWS, LARGEST_SEGMENT, Part, Segment

# Rows that are copied from or to a stream in one call at most; it is compiled for that many.
BLOCK = 4096
Counts = NDArray[np.int64]  # [members, worlds]


def new_rows(
    learner: Learner, stored: Counts, written: Counts, alive: Counts
) -> Iterator[tuple[bytes, tuple[Part, ...]]]:
    """Yield the rows from number `stored` to `written` of every world, as segments.

    Args:
        learner: it has the streams, and is not at work.
        stored: how many rows of each world are in segments already.
        written: how many rows each world has had since the run began.
        alive: how many of them its ring still holds.
    """
    longest = most_rows(learner.members[0].stream)
    for parts in divided(np.maximum(stored, written - alive), written, longest):
        blocks = [block for part in parts for block in read_part(learner, part)]
        whole = jax.tree.map(lambda *own: np.concatenate(own), *blocks)
        held = {name: own for name, own in whole._asdict().items() if own is not None}
        yield arrays.pack(held), tuple(parts)


def most_rows(stream: Stream) -> int:
    """Return how many rows a segment has at most."""
    bytes_each = sum(
        math.prod(ring.shape[3:]) * ring.dtype.itemsize
        for ring in rings(stream)
        if ring is not None
    )
    return max(LARGEST_ROWS // bytes_each, 1)


def divided(first: Counts, end: Counts, longest: int) -> Iterator[list[Part]]:
    """Yield the parts of each segment for rows `first` to `end` of every world."""
    parts: list[Part] = []
    room = longest
    for member, world in np.ndindex(first.shape):
        start, stop = int(first[member, world]), int(end[member, world])
        while start < stop:
            rows = min(stop - start, room)
            parts.append(Part(member, world, start, rows))
            start, room = start + rows, room - rows
            if room == 0:
                yield parts
                parts, room = [], longest
    if parts:
        yield parts


def read_part(learner: Learner, part: Part) -> Iterator[Stored]:
    """Yield a part's rows, block by block."""
    group, position = learner.place_of(part.member)
    stream = learner.members[group].stream
    block = block_of(stream)
    for start in range(0, part.rows, block):
        slot = (part.first + start + np.arange(block)) % stream.rows_per_world
        taken = take(stream, np.int32(position), np.int32(part.world), slot.astype(np.int32))
        rows = min(block, part.rows - start)
        yield jax.tree.map(lambda one, rows=rows: np.asarray(one)[:rows], taken)


def block_of(stream: Stream) -> int:
    """Return how many rows are copied from or to a stream in one call."""
    return min(BLOCK, most_rows(stream))


take = jax.jit(take_rows)
put = jax.jit(put_rows, donate_argnums=0)


def read_back(
    folder: Path, learner: Learner, segments: list[Segment], written: Counts, alive: Counts
) -> None:
    """Fill the learner's streams with the rows that the rings held.

    The segments are read a second time: before anything was changed, all of them were found whole.

    Raises:
        DamagedError: a segment is not what was written, or rows are missing.
    """
    streams = [members.stream for members in learner.members]
    covered = np.zeros_like(written)
    for segment in segments:
        rows = rows_of(folder, segment, streams[0])
        start = 0
        for part in segment.parts:
            end = start + part.rows
            group, position = learner.place_of(part.member)
            own = jax.tree.map(lambda one, place=slice(start, end): one[place], rows)
            streams[group] = put_part(streams[group], position, part, own)
            oldest = max(
                part.first, written[part.member, part.world] - alive[part.member, part.world]
            )
            covered[part.member, part.world] += max(part.first + part.rows - oldest, 0)
            start = end
    if not np.array_equal(covered, alive):
        raise DamagedError("rows of the stream are missing")
    for index, (members, own) in enumerate(zip(learner.members, learner.slices, strict=True)):
        length = streams[index].rows_per_world
        counters = {"head": written[own] % length, "size": alive[own]}
        stream = dataclasses.replace(
            streams[index],
            **{
                name: jax.device_put(values.astype(np.int32), members.stream.head.sharding)
                for name, values in counters.items()
            },
        )
        learner.members[index] = dataclasses.replace(members, stream=stream)


def without_gaps(segments: list[Segment], written: Counts) -> Counts:
    """Return the number of each world's first row from which all are there, to the newest."""
    first = written.copy()
    parts = [part for segment in segments for part in segment.parts]
    for part in sorted(parts, key=lambda part: part.first, reverse=True):
        place = part.member, part.world
        if part.first + part.rows == first[place]:
            first[place] = part.first
    return first


def rows_of(folder: Path, segment: Segment, like: Stream) -> Stored:
    """Return a segment's rows.

    Raises:
        DamagedError: they are not what was written.
    """
    rows = sum(part.rows for part in segment.parts)
    if rows > most_rows(like):
        raise DamagedError(f"{segment.entry.name} claims {rows} rows, more than any segment has")
    held = arrays.unpack(storage.read_checked(folder, segment.entry, LARGEST_SEGMENT))
    return Stored(
        *(
            ring
            if ring is None
            else arrays.named(held, name, (rows, *ring.shape[3:]), np.dtype(ring.dtype))
            for name, ring in rings(like)._asdict().items()
        )
    )


def put_part(stream: Stream, position: int, part: Part, rows: Stored) -> Stream:
    """Return the stream with a part's rows in their slots."""
    length, block = stream.rows_per_world, block_of(stream)
    for start in range(0, part.rows, block):
        count = min(block, part.rows - start)
        slot = np.full(block, length, np.int32)
        slot[:count] = (part.first + start + np.arange(count)) % length
        own = jax.tree.map(
            lambda one, place=slice(start, start + count): padded(one[place], block), rows
        )
        stream = put(stream, np.int32(position), np.int32(part.world), slot, own)
    return stream


def padded(rows: NDArray[Any], length: int) -> NDArray[Any]:
    """Return rows [length, ...], of which the first ones are these."""
    whole = np.zeros((length, *rows.shape[1:]), rows.dtype)
    whole[: len(rows)] = rows
    return whole


def still_needed(segments: list[Segment], written: Counts, alive: Counts) -> list[Segment]:
    """Return the segments that hold any row that the rings still hold."""
    oldest = written - alive
    return [
        segment
        for segment in segments
        if any(part.first + part.rows > oldest[part.member, part.world] for part in segment.parts)
    ]
