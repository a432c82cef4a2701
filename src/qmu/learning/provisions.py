"""What a run needs of this machine's memory and disk, against what there is."""

import contextlib
from pathlib import Path

import jax
import psutil

from qmu.errors import ConfigError
from qmu.learning.devices import free_memory
from qmu.learning.loop import Trainer
from qmu.learning.needs import Disk, disk_bytes, ring_bytes
from qmu.saving import storage, store
from qmu.wording import sized

# What compiling, acting and writing add to a process that has made its worlds and its agents:
# 270 to 440 MiB (Pendulum-v1; HalfCheetah-v5 with one seed and three).
GROWTH = 400 * 2**20


def check_disk(trainer: Trainer, folder: Path, written: int = 0) -> None:
    """Raise ConfigError if a folder's disk has no room for the checkpoints that will be kept.

    Of what the run needs, so many bytes have been `written` already.
    """
    needed, free = disk_needed(trainer).surely + store.MARGIN, storage.free_bytes(folder)
    if free + written < needed:
        raise ConfigError(
            f"the run needs about {needed / 2**20:.2f} MiB for its checkpoints, and the disk of "
            f"{folder} has {free / 2**20:.2f} MiB free: choose another --log.dir, or lower "
            "--replay.capacity or --train.keep-checkpoints"
        )


def disk_needed(trainer: Trainer) -> Disk:
    """Return what a run writes to the disk, at most."""
    learner = trainer.learner
    agents = sum(tree_bytes((own.agents, own.priorities)) for own in learner.members)
    policies = tree_bytes(learner.newest)
    spaces = trainer.maker.spaces
    return disk_bytes(trainer.config, spaces, len(trainer.members), agents, policies)


def tree_bytes(tree: object) -> int:
    """Return how many bytes the arrays of a tree have."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def written_bytes(directory: Path) -> int:
    """Return how many bytes the files of a run have."""
    written = 0
    for path in directory.rglob("*"):
        # Others write there, too, and take away what they have written.
        with contextlib.suppress(OSError):
            written += path.stat().st_size if path.is_file() else 0
    return written


def processes_bytes() -> int:
    """Return the bytes of memory that this process has, and those that it has started."""
    taken = 0
    here = psutil.Process()
    for process in [here, *here.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            taken += process.memory_info().rss
    return taken


def provisions(trainer: Trainer, directory: Path) -> tuple[str, list[str]]:
    """Return what a run needs whose worlds and agents are made, in words, and what is short.

    Args:
        trainer: of the run; its memory has been taken.
        directory: of the run.
    """
    taken, memory = processes_bytes(), free_memory()
    device = trainer.learner.groups[0].device
    on_device = ""
    if device.platform != "cpu":
        agents = sum(tree_bytes(own) for own in trainer.learner.members)
        on_device = f", {sized(agents)} on {device.platform}"
    disk = disk_needed(trainer)
    room = storage.free_bytes(directory) + written_bytes(directory)
    about = "about" if trainer.config.train.total_episodes is None else "up to"
    videos = " and videos" if trainer.config.log.video_interval else ""
    said = (
        f"memory: about {sized(taken + GROWTH)} of {sized(taken + memory)} free{on_device}; "
        f"disk: {about} {sized(disk.total)}{videos} of {sized(room)} free"
    )
    short = []
    if memory < GROWTH:
        rings = ring_bytes(trainer.config, trainer.maker.spaces, len(trainer.members))
        short.append(
            f"memory is short: {sized(memory)} are left, and the run may need {sized(GROWTH)} "
            f"more (its stream has {sized(rings)}): lower --replay.capacity or --train.seeds"
        )
    if room < disk.total + store.MARGIN:
        short.append(
            "the disk may get full: lower --replay.capacity, --train.seeds or "
            "--train.keep-checkpoints, or raise --train.save-interval"
        )
    return said, short
