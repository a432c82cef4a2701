"""How one member's function becomes all members' function; nobody else knows the layout.

State always has a leading member axis. Members are divided into one group per device, and each
group is one compiled call.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmu.errors import ConfigError


class Group(NamedTuple):
    """Consecutive members that share a device."""

    device: Any
    seeds: tuple[int, ...]


def claim_cpu_devices() -> None:
    """Give JAX one CPU device per core, which only works before JAX has started."""
    # Afterwards there are as many devices as whoever started JAX wanted: see `share_note`.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores())  # type: ignore[no-untyped-call]


def share_note(seeds: tuple[int, ...], devices: list[Any]) -> str | None:
    """Return what to tell the user if members share a CPU device that need not be shared."""
    if devices[0].platform != "cpu" or len(devices) >= min(cores(), len(seeds)):
        return None
    return (
        f"JAX was started before qmu, with {len(devices)} CPU device(s): {len(seeds)} members "
        "share them and learn slower than they could. Import and use qmu before other JAX code, "
        f"or call jax.config.update('jax_num_cpu_devices', {cores()}) first."
    )


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_devices(kind: str) -> list[Any]:
    """Return the devices of a kind: auto (JAX's default), cpu, gpu or tpu.

    Raises:
        ConfigError: there is no such device.
    """
    claim_cpu_devices()
    if kind == "auto":
        return jax.devices()
    try:
        return jax.devices(kind)
    except RuntimeError:
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise ConfigError(
            f"--train.device {kind}: JAX finds no such device here; there is {there} "
            "(for NVIDIA GPUs install qmu[gpu])"
        ) from None


def divide(seeds: tuple[int, ...], devices: list[Any]) -> list[Group]:
    """Return one group per device, as equal as can be, consecutive members together."""
    used = devices[: len(seeds)]
    base, extra = divmod(len(seeds), len(used))
    groups, start = [], 0
    for index, device in enumerate(used):
        size = base + (index < extra)
        groups.append(Group(device, seeds[start : start + size]))
        start += size
    return groups


def for_each(function: Callable[..., Any], platform: str, *members: Any) -> Any:
    """Apply function(position, *one member's values) to every member of a group.

    `members` have a leading member axis, and so has the result. A group of one is indexed: a
    batch axis of 1 costs 20-50%. On a CPU members follow one another; on other devices they are
    one batch.
    """
    size = jax.tree.leaves(members[0])[0].shape[0]
    positions = jnp.arange(size)
    if size == 1:
        alone = function(0, *jax.tree.map(lambda leaf: leaf[0], members))
        return jax.tree.map(lambda leaf: leaf[None], alone)
    if platform == "cpu":
        return jax.lax.map(lambda packed: function(*packed), (positions, *members))
    return jax.vmap(function)(positions, *members)
