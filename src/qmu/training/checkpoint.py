"""Agents in files: arrays in safetensors, the rest as JSON in its header."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from qmu.errors import ConfigError

FORMAT = "qmu agent 1"


def save_agents(path: Path, groups: list[Any], described: dict[str, Any]) -> None:
    """Write the agents of all groups, stacked along the member axis, and a description.

    The file is written beside its place and then renamed.

    Raises:
        ConfigError: it cannot be written.
    """
    host = [jax.device_get(group) for group in groups]
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)
    temporary = path.with_name(path.name + ".tmp")
    header = {"format": FORMAT, "described": json.dumps(described)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save(named_leaves(stacked), metadata=header))
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def load_description(path: Path) -> dict[str, Any]:
    """Return the description in a file of agents.

    Raises:
        ConfigError: there is no such file, or it holds no agents.
    """
    with opened(path) as file:
        header = file.metadata() or {}
    if header.get("format") != FORMAT:
        raise ConfigError(f"{path} holds no agents saved by qmu")
    try:
        described = json.loads(header["described"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the description in {path} is damaged: {error}") from None
    if not isinstance(described, dict):
        raise ConfigError(f"the description in {path} is damaged: it is no object")
    return described


def load_agents(path: Path, groups: list[Any]) -> list[Any]:
    """Return agents like those of `groups`, with the numbers in the file, on their devices.

    Raises:
        ConfigError: an array is missing, or has another shape or dtype.
    """
    with opened(path) as file:
        names = set(file.keys())
        arrays = {name: file.get_tensor(name) for name in names}
    loaded, start = [], 0
    for group in groups:
        size = len(jax.tree.leaves(group)[0])
        paths, structure = jax.tree_util.tree_flatten_with_path(group)
        leaves = []
        for where, like in paths:
            name = jax.tree_util.keystr(where)
            array = arrays.get(name)
            if array is None or array.shape[1:] != like.shape[1:] or array.dtype != like.dtype:
                raise ConfigError(
                    f"{path} does not fit its own configuration: {name} is "
                    f"{'missing' if array is None else f'{array.dtype}{array.shape}'}"
                )
            leaves.append(jax.device_put(array[start : start + size], like.sharding))
        loaded.append(jax.tree_util.tree_unflatten(structure, leaves))
        start += size
    return loaded


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return a tree's arrays by the path that leads to them."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.ascontiguousarray(leaf) for path, leaf in paths}


def opened(path: Path) -> Any:
    """Return the open safetensors file."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a safetensors file: {error}") from None
