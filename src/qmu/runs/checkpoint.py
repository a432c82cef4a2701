"""What a run is at a moment, on disk: everything that it takes to go on as if nothing had happened.

A checkpoint is taken when the worlds' episodes have been cut off and the learner is not at work
(`Trainer.cut`), so nothing of a simulator has to be saved. Arrays are in safetensors files, the
rest is JSON; rows are in segments that the checkpoints of a run share.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from qmu import config as options
from qmu.config.members import diverged
from qmu.errors import DivergedError
from qmu.learning.custom import misfit
from qmu.learning.learner import Totals
from qmu.learning.loop import Trainer
from qmu.replay.priority import begun
from qmu.replay.stream import row_bytes
from qmu.runs import segments
from qmu.saving import arrays, store
from qmu.saving.arrays import UnreadableError
from qmu.saving.storage import DamagedError
from qmu.saving.store import ARRAYS, SEGMENTS, STATE, Checkpoint, Segment
from qmu.world.centre import written_centre
from qmu.world.collector import Episode
from qmu.world.declared import declared

# How the arrays of a chunk's metrics are called: the name follows, and "']".
TOTALS = "totals['"


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
            DivergedError: the agents have numbers that are not finite.
        """
        started = time.monotonic()
        trainer = self.trainer
        trees, own = capture(trainer)
        contents = dict(files) | {
            ARRAYS: arrays.pack(trees),
            STATE: json.dumps(dict(state) | own).encode(),
        }
        store.check_space(self.folder, self.new_bytes() + sum(map(len, contents.values())))
        kept = kept_rows(trainer)
        try:
            self.segments = store.write_checkpoint(
                self.folder,
                trainer.step,
                scheduled,
                contents,
                segments.still_needed(self.segments, trainer.written, kept),
                segments.new_rows(trainer.learner, self.stored, trainer.written, kept),
            )
        except OSError:
            store.clean(self.folder)
            raise
        self.stored = trainer.written.copy()
        store.prune(self.folder, self.keep)
        return time.monotonic() - started

    def new_bytes(self) -> int:
        """Return how many bytes the rows take that are in no segment yet."""
        spaces = self.trainer.maker.spaces
        new = np.minimum(self.trainer.written - self.stored, kept_rows(self.trainer))
        states = options.stored_numbers(self.trainer.config)
        return int(new.sum()) * row_bytes(spaces.layout, spaces.action_size, states)

    def go_on(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint that the trainer has been restored from: its rows are stored."""
        self.segments, self.stored = saved.segments, self.trainer.written.copy()
        store.drop_later(saved.path)


def kept_rows(trainer: Trainer) -> NDArray[np.int64]:
    """Return how many rows of every world a checkpoint holds [members, worlds]."""
    return trainer.alive if trainer.config.train.save_rows else np.zeros_like(trainer.written)


def capture(trainer: Trainer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a trainer is, as trees of arrays and as JSON. Its worlds have been cut off."""
    learner = trainer.learner
    totals = [arrays.stacked(per_group) for per_group, _ in learner.totals]
    agents = arrays.stacked([members.agents for members in learner.members])
    check_finite(agents, trainer)
    trees: dict[str, Any] = {
        "agents": agents,
        "statistics": learner.statistics,
        "returns": learner.returns,
        "priorities": arrays.stacked([members.priorities for members in learner.members]),
        "totals": jax.tree.map(lambda *leaves: np.stack(leaves), *totals) if totals else None,
        "cut": trainer.crew.cut,
    }
    for index, seen in enumerate(trainer.crew.seen):
        trees[f"seen-{index}"] = seen
    state = {
        "config": options.to_dict(trainer.config),
        "arms": trainer.arms,
        **trainer.described(),
        "spaces": declared(trainer.maker.spaces, trainer.maker.longest),
        **written_centre(trainer.maker.spaces),
        "step": trainer.step,
        "learning_began": trainer.learning_began,
        "updates_before": trainer.updates_before,
        "updates": learner.updates,
        "due": [due for _, due in learner.totals],
        "episodes": trainer.episodes.tolist(),
        "restarts": trainer.restarts.tolist(),
        "breakdowns": trainer.breakdowns.tolist(),
        "world_steps": trainer.world_steps.tolist(),
        "finished": [[list(episode) for episode in window] for window in trainer.finished],
        "written": trainer.written.tolist(),
        "alive": kept_rows(trainer).tolist(),
        **({"gone": trainer.gone.tolist()} if trainer.gone.any() else {}),
        "behaviours": trainer.crew.behaviours,
    }
    return trees, state


def check_finite(agents: Any, trainer: Trainer) -> None:
    """Raise DivergedError if any number of any agent is not finite: it is not worth saving."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(agents)[0]:
        for member, own in zip(trainer.members, leaf, strict=True):
            if not np.isfinite(own).all():
                raise DivergedError(diverged(member, trainer.step, jax.tree_util.keystr(path)))


def restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Make a fresh trainer what the saved one was.

    Raises:
        DamagedError: the checkpoint does not fit the trainer.
    """
    try:
        restore_checked(trainer, saved)
    except UnreadableError as error:
        raise DamagedError(misfit(saved.path, trainer.networks, error)) from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(misfit(saved.path, None, error)) from None


def restore_checked(trainer: Trainer, saved: Checkpoint) -> None:
    """Do what `restore` does; errors are those of reading."""
    learner, state, spaces = trainer.learner, saved.state, trainer.maker.spaces
    trainer.step, learner.updates = int(state["step"]), int(state["updates"])
    trainer.follow()
    trainer.learning_began = int(state["learning_began"])
    trainer.updates_before = int(state["updates_before"])
    trainer.episodes[:] = state["episodes"]
    trainer.restarts[:] = state["restarts"]
    # Checkpoints of before they were counted have none.
    trainer.breakdowns[:] = state.get("breakdowns", 0)
    trainer.world_steps[:] = state.get("world_steps", 0)
    for window, episodes in zip(trainer.finished, state["finished"], strict=True):
        window.clear()
        window.extend(
            Episode(int(member), float(reward), int(length)) for member, reward, length in episodes
        )
    trainer.written[:] = state["written"]
    trainer.gone[:] = state.get("gone", 0)
    held = trainer.alive
    if "alive" in state:
        # The ring may be longer now: what it had lost is lost. So is what was not to be saved.
        kept = np.array(state["alive"])
        trainer.gone[:] = np.where(held > kept, trainer.written - kept, trainer.gone)
    if saved.lost:
        first = segments.without_gaps(saved.segments, trainer.written)
        trainer.gone[:] = np.maximum(trainer.gone, first)
    lacking = bool(saved.lost) or not trainer.config.train.save_rows
    if lacking:
        wait_for_rows(trainer)
    members, worlds = trainer.written.shape
    layout = spaces.layout
    cut = arrays.named(saved.arrays, "cut", (members, worlds, layout.size), layout.dtype)
    behaviours = state["behaviours"]
    seen = [saved.arrays[f"seen-{index}"] for index in range(len(behaviours))]
    trainer.crew.restore(behaviours, seen, cut)
    learner.totals = totals_of(saved.arrays, state["due"], learner.slices)
    learner.load(saved.arrays, "agents")
    if trainer.config.replay.by_priority:
        priorities = arrays.like_groups(
            "priorities", saved.arrays, [own.priorities for own in learner.members]
        )
        learner.members = [
            dataclasses.replace(own, priorities=tree)
            for own, tree in zip(learner.members, priorities, strict=True)
        ]
        if lacking:
            forget(trainer, held)
    segments.read_back(
        saved.path.parent / SEGMENTS, learner, saved.segments, trainer.written, trainer.alive
    )


def wait_for_rows(trainer: Trainer) -> None:
    """Have the learner wait until there are as many rows as it began with."""
    lacking = options.learn_after(trainer.config) - int(trainer.alive.sum(axis=1).min())
    if lacking > 0 and trainer.learner.updates:
        trainer.learning_began = trainer.step + lacking
        trainer.updates_before = trainer.learner.updates


def forget(trainer: Trainer, held: NDArray[np.int64]) -> None:
    """Give rows that are not there any more, of those that were `held`, no priority."""
    learner = trainer.learner
    length = learner.members[0].stream.rows_per_world
    renewed = []
    for own, part in zip(learner.members, learner.slices, strict=True):
        priorities = own.priorities
        assert priorities is not None
        places = [
            np.concatenate(
                [
                    world * length + np.arange(written - before, written - now) % length
                    for world, (written, before, now) in enumerate(zip(*counts, strict=True))
                ]
            )
            for counts in zip(trainer.written[part], held[part], trainer.alive[part], strict=True)
        ]
        # Places beyond the last slot are ignored.
        beyond, most = priorities.levels[0].shape[-1], max(map(len, places))
        padded = [np.pad(one, (0, most - len(one)), constant_values=beyond) for one in places]
        place = jnp.asarray(np.array(padded), jnp.int32)
        none = jnp.zeros(place.shape)
        tree = jax.vmap(begun)(priorities, place, none)
        renewed.append(dataclasses.replace(own, priorities=tree))
    learner.members = renewed


def totals_of(
    held: Mapping[str, Any], due: list[int], slices: list[slice]
) -> list[tuple[list[Totals], int]]:
    """Return the metrics of the chunks since the last log, as the learner keeps them."""
    names = [name[len(TOTALS) : -2] for name in held if name.startswith(TOTALS)]
    totals = []
    for index, count in enumerate(due):
        rows = {name: held[f"{TOTALS}{name}']"][index] for name in names}
        per_group = [{name: row[own] for name, row in rows.items()} for own in slices]
        totals.append((per_group, int(count)))
    return totals
