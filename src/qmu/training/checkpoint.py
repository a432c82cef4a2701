"""What a run is at a moment, on disk: everything that it takes to go on as if nothing had happened.

A checkpoint is taken when the worlds' episodes have been cut off and the learner is not at work
(`Trainer.cut`), so nothing of a simulator has to be saved. Arrays are in safetensors files, the
rest is JSON; rows are in segments that the checkpoints of a run share.
"""

import dataclasses
import itertools
import json
import re
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from qmu import config as options
from qmu.agent.agent import Metrics
from qmu.errors import ConfigError, DivergedError
from qmu.replay.stream import row_bytes
from qmu.training import arrays, segments, storage
from qmu.training.arrays import UnreadableError
from qmu.training.loop import Trainer, diverged
from qmu.training.segments import Part, Segment
from qmu.training.storage import DamagedError
from qmu.world.host import Episode
from qmu.world.spaces import Spaces

FORMAT = 1
ARRAYS, STATE = "state.safetensors", "state.json"
SEGMENTS = "segments"
NAME = re.compile(r"(\d{9,})(?:-(\d+))?")
# What a save may need on the disk beyond the files themselves.
MARGIN = 2**20


class NoSpaceError(OSError):
    """The disk has no room for a checkpoint."""


class Checkpoint(NamedTuple):
    """A checkpoint that has been read, and found to be what was written."""

    path: Path
    scheduled: bool
    state: dict[str, Any]
    arrays: dict[str, Any]
    segments: list[Segment]


class Saver:
    """Writes a run's checkpoints, one after another, and removes those that are not kept."""

    def __init__(self, folder: Path, trainer: Trainer, keep: int) -> None:
        """Take the folder of the run's checkpoints, and how many of them are kept."""
        self.folder, self.trainer, self.keep = folder, trainer, keep
        self.segments: list[Segment] = []
        self.stored = np.zeros_like(trainer.written)

    def save(self, scheduled: bool, files: Mapping[str, bytes], state: Mapping[str, Any]) -> float:
        """Write a checkpoint of the trainer; return the seconds that it took.

        Args:
            scheduled: whether it belongs to the run's schedule, or was forced.
            files: what else to put into the folder.
            state: what else to put into its state.

        Raises:
            OSError: it could not be written. What was there before is as it was.
        """
        started = time.monotonic()
        trainer = self.trainer
        trees, own = capture(trainer)
        contents = dict(files) | {
            ARRAYS: arrays.pack(trees),
            STATE: json.dumps(dict(state) | own).encode(),
        }
        self.check_space(sum(map(len, contents.values())))
        needed = segments.still_needed(self.segments, trainer.written, trainer.alive)
        needed += segments.write_new(
            self.folder / SEGMENTS, trainer.learner, self.stored, trainer.written, trainer.alive
        )
        path = free_name(self.folder, trainer.step)
        described = {
            "format": FORMAT,
            "qmu": metadata.version("qmu"),
            "step": trainer.step,
            "scheduled": scheduled,
            "parts": [segment.parts for segment in needed],
        }
        shared = [
            segment.entry._replace(name=f"{SEGMENTS}/{segment.entry.name}") for segment in needed
        ]
        storage.write_folder(path, contents, shared, described)
        self.segments, self.stored = needed, trainer.written.copy()
        self.prune()
        return time.monotonic() - started

    def go_on(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint that the trainer has been restored from: its rows are stored."""
        self.segments, self.stored = saved.segments, self.trainer.written.copy()
        clean(self.folder)

    def check_space(self, size: int) -> None:
        """Raise NoSpaceError if the disk has no room for so many bytes and the new rows."""
        new = np.minimum(self.trainer.written - self.stored, self.trainer.alive)
        spaces = self.trainer.maker.spaces
        size += int(new.sum()) * row_bytes(spaces.obs_size, spaces.action_size) + MARGIN
        free = storage.free_bytes(self.folder)
        if free < size:
            raise NoSpaceError(
                f"a checkpoint needs {size / 2**20:.0f} MiB, and the disk of {self.folder} has "
                f"{free / 2**20:.0f} MiB free"
            )

    def prune(self) -> None:
        """Remove what is not kept: old checkpoints but for their policies, and leftovers."""
        there = [path for path in checkpoints_in(self.folder) if (path / storage.MANIFEST).exists()]
        kept = {path for path in there if is_scheduled(path)}
        kept = set(there[: self.keep]) | set(sorted(kept, key=order)[-1:])
        for path in there:
            if path not in kept:
                storage.remove(path / storage.MANIFEST)
                for name in (ARRAYS, STATE, "best"):
                    storage.remove(path / name)
        clean(self.folder)


def clean(folder: Path) -> None:
    """Remove what was being written when a process ended, and segments that nothing refers to."""
    for path in [*storage.unfinished_in(folder), *storage.unfinished_in(folder / SEGMENTS)]:
        storage.remove(path)
    used = set()
    for path in checkpoints_in(folder):
        try:
            entries = storage.entries_of(storage.read_manifest(path), "shared")
        except DamagedError:
            continue
        used |= {Path(entry.name).name for entry in entries}
    if (folder / SEGMENTS).is_dir():
        for path in (folder / SEGMENTS).iterdir():
            if path.name not in used:
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


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the folders of checkpoints, the newest first; some may hold policies only."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=order, reverse=True)


def is_scheduled(path: Path) -> bool:
    """Tell whether a checkpoint can be read and belongs to the run's schedule."""
    try:
        return storage.read_manifest(path).get("scheduled") is True
    except DamagedError:
        return False


def capture(trainer: Trainer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a trainer is, as trees of arrays and as JSON. Its worlds have been cut off."""
    learner, spaces = trainer.learner, trainer.maker.spaces
    totals = [arrays_of_totals(per_group) for per_group, _ in learner.totals]
    agents = arrays.stacked([members.agents for members in learner.members])
    check_finite(agents, trainer)
    trees: dict[str, Any] = {
        "agents": agents,
        "priorities": arrays.stacked([members.priorities for members in learner.members]),
        "totals": jax.tree.map(lambda *leaves: np.stack(leaves), *totals) if totals else None,
        "cut": np.asarray(trainer.collector.cut, np.float32),
    }
    for index, behaviour in enumerate(trainer.behaviours):
        trees[f"seen-{index}"] = np.asarray(behaviour.seen(), np.float32)
    state = {
        "config": options.to_dict(trainer.config),
        "spaces": describe_spaces(spaces),
        "step": trainer.step,
        "learning_began": trainer.learning_began,
        "updates_before": trainer.updates_before,
        "updates": learner.updates,
        "due": [due for _, due in learner.totals],
        "episodes": trainer.episodes.tolist(),
        "restarts": trainer.restarts.tolist(),
        "finished": [[list(episode) for episode in window] for window in trainer.finished],
        "written": trainer.written.tolist(),
        "behaviours": [behaviour.state() for behaviour in trainer.behaviours],
    }
    return trees, state


def describe_spaces(spaces: Spaces) -> dict[str, Any]:
    """Return what a world's observations and actions are, as JSON holds it."""
    return {
        "name": spaces.name,
        "obs_shape": list(spaces.obs_shape),
        "action_shape": list(spaces.action_shape),
        "low": spaces.low.tolist(),
        "high": spaces.high.tolist(),
    }


def check_finite(agents: Any, trainer: Trainer) -> None:
    """Raise DivergedError if any number of any agent is not finite: it is not worth saving."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(agents)[0]:
        for seed, own in zip(trainer.seeds, leaf, strict=True):
            if not np.isfinite(own).all():
                raise DivergedError(diverged(seed, trainer.step, jax.tree_util.keystr(path)))


def arrays_of_totals(per_group: list[Metrics]) -> Any:
    """Return the sums of a chunk's metrics, of all groups, on the host."""
    host = [jax.device_get(group) for group in per_group]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint, every file of which has been compared with its manifest.

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
    files = {
        entry.name: storage.read_checked(path, entry)
        for entry in storage.entries_of(manifest, "files")
    }
    shared = storage.entries_of(manifest, "shared")
    for entry in shared:
        storage.read_checked(path.parent, entry)
    try:
        state = json.loads(files[STATE])
        held = arrays.unpack(files[ARRAYS])
        parts = [tuple(Part(*map(int, one)) for one in many) for many in manifest["parts"]]
        listed = [Segment(*pair) for pair in zip(shared, parts, strict=True)]
    except (KeyError, TypeError, ValueError, RecursionError, UnreadableError) as error:
        raise DamagedError(f"{path} does not hold a checkpoint: {error!r}") from None
    local = [
        segment._replace(entry=segment.entry._replace(name=Path(segment.entry.name).name))
        for segment in listed
    ]
    return Checkpoint(path, manifest.get("scheduled") is True, state, held, local)


def restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Make a fresh trainer what the saved one was.

    Raises:
        DamagedError: the checkpoint does not fit the trainer.
    """
    try:
        restore_checked(trainer, saved)
    except (KeyError, TypeError, ValueError, IndexError, UnreadableError) as error:
        raise DamagedError(f"{saved.path} does not fit its own configuration: {error!r}") from None


def restore_checked(trainer: Trainer, saved: Checkpoint) -> None:
    """Do what `restore` does; errors are those of reading."""
    learner, state, spaces = trainer.learner, saved.state, trainer.maker.spaces
    trainer.step = int(state["step"])
    trainer.learning_began = int(state["learning_began"])
    trainer.updates_before = int(state["updates_before"])
    trainer.episodes[:] = state["episodes"]
    trainer.restarts[:] = state["restarts"]
    for window, episodes in zip(trainer.finished, state["finished"], strict=True):
        window.clear()
        window.extend(
            Episode(int(member), float(reward), int(length)) for member, reward, length in episodes
        )
    trainer.written[:] = state["written"]
    members, worlds = trainer.written.shape
    cut = arrays.named(saved.arrays, "cut", (members, worlds, spaces.obs_size), np.float32)
    trainer.collector.cut = [list(own) for own in cut]
    trainer.collector.steps = trainer.step
    for index, behaviour in enumerate(trainer.behaviours):
        behaviour.restore(state["behaviours"][index], saved.arrays[f"seen-{index}"])
    learner.updates = int(state["updates"])
    learner.totals = totals_of(
        saved.arrays, state["due"], [len(own.seeds) for own in learner.groups]
    )
    learner.load(
        arrays.like_groups("agents", saved.arrays, [own.agents for own in learner.members])
    )
    if trainer.config.replay.prioritized:
        priorities = arrays.like_groups(
            "priorities", saved.arrays, [own.priorities for own in learner.members]
        )
        learner.members = [
            dataclasses.replace(own, priorities=tree)
            for own, tree in zip(learner.members, priorities, strict=True)
        ]
    segments.read_back(
        saved.path.parent / SEGMENTS, learner, saved.segments, trainer.written, trainer.alive
    )


def totals_of(
    held: Mapping[str, Any], due: list[int], sizes: list[int]
) -> list[tuple[list[Metrics], int]]:
    """Return the metrics of the chunks since the last log, as the learner keeps them."""
    names = [field.name for field in dataclasses.fields(Metrics)]
    ends = np.cumsum([0, *sizes])
    totals = []
    for index, count in enumerate(due):
        rows = {name: held[f"totals.{name}"][index] for name in names}
        per_group = [
            Metrics(**{name: row[start:end] for name, row in rows.items()})
            for start, end in itertools.pairwise(ends)
        ]
        totals.append((per_group, int(count)))
    return totals
