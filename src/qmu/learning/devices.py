"""What JAX runs on, how it is started, and whether a run fits into its memory."""

import contextlib
import functools
import hashlib
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax
import psutil

from qmu import config as options
from qmu.config import Config
from qmu.errors import ConfigError
from qmu.learning.needs import ring_bytes
from qmu.wording import counted
from qmu.world.make import Maker

P = ParamSpec("P")
R = TypeVar("R")
# What a stream that nobody has given a length takes of the memory that is free, at most.
ROOM = 0.6


def start_jax(spare: int = 0) -> None:
    """Give JAX one CPU device per core, some to spare, and a folder for compiled programs.

    The number of devices can only be set before JAX has started; afterwards there are as many as
    whoever started it wanted: see `share_note`. Settings that the user made are left alone.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores() + spare)  # type: ignore[no-untyped-call]
    folder = compiled_folder("jax")
    if folder and jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined, unused-ignore]
        jax.config.update("jax_compilation_cache_dir", str(folder))  # type: ignore[no-untyped-call]
        # The learner takes over a second to compile, everything else far less.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)  # type: ignore[no-untyped-call]


def compiled_folder(name: str) -> Path | None:
    """Return the folder of this name for programs that were compiled for this kind of processor.

    A home may be shared by unlike machines, and JAX loads a program with instructions that the
    processor has not. A user without a home, as in some containers, has no folder.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return caches / "qmu" / name / processor()


def processor() -> str:
    """Return the kind of processor that this is: the same name for the same instructions."""
    told = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        told += [line for line in first.splitlines() if re.match("flags|Features|model", line)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_devices(kind: str, spare: int = 0) -> list[Any]:
    """Return the devices of a kind to learn on: auto (JAX's default), cpu, gpu or tpu.

    With `spare`, so many CPU devices are left over for something else, if JAX starts only now.

    Raises:
        ConfigError: there is no such device.
    """
    start_jax(spare)
    try:
        found = jax.devices() if kind == "auto" else jax.devices(kind)
        return found[: cores()] if spare and found[0].platform == "cpu" else found
    except RuntimeError:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise ConfigError(
            f"--train.device {kind}: JAX finds no such device here; there is {there} "
            "(for NVIDIA GPUs install qmu[gpu])"
        ) from None


def share_note(seeds: tuple[int, ...], devices: list[Any]) -> str | None:
    """Return what to tell the user if members share a CPU device that need not be shared."""
    if devices[0].platform != "cpu" or len(devices) >= min(cores(), len(seeds)):
        return None
    return (
        f"JAX was started before qmu, with {counted(len(devices), 'CPU device')}: "
        f"{len(seeds)} members share them and learn slower than they could. Import and use "
        "qmu before other JAX code, or call "
        f"jax.config.update('jax_num_cpu_devices', {cores()}) first."
    )


def with_room(config: Config, maker: Maker, members: int) -> tuple[Config, str | None]:
    """Return a run's options with a stream of images that fits, and what to tell of it.

    Only the capacity that nobody has asked for is lowered.
    """
    usual = Config().replay.capacity
    if not maker.spaces.layout.images or config.replay.capacity != usual:
        return config, None
    rows = options.stream_rows(config, images=True)
    asked, there = ring_bytes(config, maker.spaces, members), ROOM * free_memory()
    if asked <= there:
        return config, None
    fits = int(rows * there / asked)
    said = (
        f"a stream of {rows:,} rows of images takes {asked / 2**30:.1f} GiB: it has "
        f"{fits:,} rows, which fit, and the oldest give way (--replay.capacity)"
    )
    return options.replace(config, "replay", capacity=fits), said


def check_memory(config: Config, maker: Maker, device: jax.Device, members: int) -> None:
    """Raise ConfigError if the streams of all members need more memory than there is."""
    capacity = options.stream_rows(config, bool(maker.spaces.layout.images))
    asked = ring_bytes(config, maker.spaces, members)
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics:
        there = statistics["bytes_limit"] - statistics["bytes_in_use"]
    else:
        there = free_memory() + psutil.swap_memory().free
    if asked > there:
        raise ConfigError(
            f"the stream of {counted(members, 'member')} with --replay.capacity {capacity} "
            f"takes {asked / 2**30:.1f} GiB ({asked // members // capacity} bytes a "
            f"row), and {device.platform} has {there / 2**30:.1f} GiB free: lower "
            f"--replay.capacity or --train.seeds (a capacity of {int(capacity * there / asked)} "
            "fits)"
        )


def free_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes of memory can still be had, within the limits of containers and jobs.

    Args:
        groups: where Linux says what groups of processes may have.
    """
    free: int = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        folders = [groups / own, *(groups / own).parents]
        for folder in folders[: folders.index(groups) + 1]:
            with contextlib.suppress(OSError, ValueError):
                free = min(free, left_to_group(folder))
    return free


def left_to_group(folder: Path) -> int:
    """Return how many bytes a group of processes may still have; files that are kept can go.

    Raises:
        OSError: nothing is said about it.
        ValueError: it has no limit.
    """
    limit = int((folder / "memory.max").read_text())
    words = (folder / "memory.stat").read_text().split()
    files = int(words[words.index("inactive_file") + 1])
    return max(limit - int((folder / "memory.current").read_text()) + files, 0)


def in_single_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function, for which JAX's numbers are of 32 bits, whatever a world has set."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return wrapped
