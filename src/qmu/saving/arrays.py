"""Trees of arrays as bytes in the safetensors format, each array under the path that leads to it.

The members of a run are stacked along a leading axis, whatever groups they are learned in.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from qmu.deploy import seal

# Length of the header's length, which begins a file.
PREFIX = 8
# What the format calls a header of words.
WORDS = "__metadata__"


class UnreadableError(Exception):
    """Bytes that do not hold the arrays that are asked for."""


def pack(trees: Mapping[str, Any], header: dict[str, str] | None = None) -> bytes:
    """Return trees of arrays, and a header of words, as bytes. Trees that are None are left out.

    A header has the sum of all bytes, but for itself, among its words.
    """
    arrays = {
        name + jax.tree_util.keystr(path): np.ascontiguousarray(leaf)
        for name, tree in trees.items()
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    if header is None:
        return save(arrays)
    whole = sum_of_all(save(arrays, metadata=header))
    return save(arrays, metadata=header | {seal.SUM: whole})


def unpack(data: bytes) -> dict[str, Any]:
    """Return the arrays in bytes, by name.

    Raises:
        UnreadableError: these are no arrays.
    """
    try:
        return dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"they are no safetensors: {error}") from None


def header_of(data: bytes) -> dict[str, Any]:
    """Return the header of words that arrays were packed with; `unpack` has read the bytes."""
    return dict(parted(data)[0].get(WORDS, {}))


def sum_of_all(data: bytes) -> str:
    """Return the sum of packed arrays and their header, but for the sum in it."""
    said, numbers = parted(data)
    words = {name: word for name, word in said.get(WORDS, {}).items() if name != seal.SUM}
    return seal.sum_of(seal.canonical(said | {WORDS: words}) + numbers)


def parted(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return what packed arrays begin with, their names and the header, and their numbers."""
    end = PREFIX + int.from_bytes(data[:PREFIX], "little")
    return seal.read_json(data[PREFIX:end]), data[end:]


def stacked(groups: list[Any]) -> Any:
    """Return the trees of all groups as one, on the host, along the member axis."""
    host = [jax.device_get(group) for group in groups]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)


def like_groups(name: str, arrays: Mapping[str, Any], groups: list[Any]) -> list[Any]:
    """Return trees like those of `groups`, with the numbers of arrays, on the groups' devices.

    Raises:
        UnreadableError: an array is missing, or has another shape or dtype.
    """
    sizes = [len(jax.tree.leaves(group)[0]) for group in groups]
    loaded, start = [], 0
    for group, size in zip(groups, sizes, strict=True):
        paths, structure = jax.tree_util.tree_flatten_with_path(group)
        leaves = []
        for where, leaf in paths:
            own = name + jax.tree_util.keystr(where)
            wanted = (sum(sizes), *leaf.shape[1:])
            array = named(arrays, own, wanted, leaf.dtype)
            leaves.append(jax.device_put(array[start : start + size], leaf.sharding))
        loaded.append(jax.tree_util.tree_unflatten(structure, leaves))
        start += size
    return loaded


def named(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: Any) -> Any:
    """Return one of the arrays.

    Raises:
        UnreadableError: it is missing, or has another shape or dtype.
    """
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype != dtype:
        there = "missing" if array is None else f"{array.dtype}{array.shape}"
        raise UnreadableError(f"{name} is {there} instead of {np.dtype(dtype)}{shape}")
    return array
