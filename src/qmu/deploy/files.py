"""A policy's files: a folder with two of them, which runs write, or a single one to ship.

In a folder, `policy.safetensors` holds the arrays and `policy.json` says what they are. A single
file is written by the module of its ending, which has `pack` (a policy as bytes) and `read` (bytes
as something that is called as a policy is).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from qmu.deploy import seal
from qmu.deploy.description import Read, check_unsealed, read_policy, unreadable
from qmu.deploy.policy import ARRAYS, DESCRIPTION, SUM, Policy
from qmu.deploy.seal import read_json, sum_of, unsigned
from qmu.errors import ConfigError, lacking
from qmu.places import absolute

# The folder in a run's directory that holds its best policy.
BEST = "best"
# How often two files that do not belong together are read again: a run that goes on may have
# replaced one of them just now.
LOOKS = 50
HOMES = {".npz": "qmu.deploy.npz", ".onnx": "qmu.deploy.onnx", ".pt": "qmu.deploy.torch"}


def load_policy(directory: str | Path) -> Policy:
    """Read a policy from the directory that holds its two files.

    Raises:
        ConfigError: there is no policy, its network is the user's own, or the files are damaged or
            do not fit together.
    """
    return read_folder(absolute(directory))


def read_folder(folder: Path, read: Read | None = None) -> Policy:
    """Return the policy in a folder; `read` makes its network, if that is one of the user's own.

    Raises:
        ConfigError: there is no policy, or the files are damaged or do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    for name in (DESCRIPTION, ARRAYS):
        if not (folder / name).exists():
            raise ConfigError(f"{folder} holds no policy: {name} is not there{others_in(folder)}")
    try:
        description, data = read_pair(folder)
        arrays = load(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise unreadable(folder, error) from None
    return read_policy(arrays, description, folder, read)


def read_pair(folder: Path) -> tuple[Any, bytes]:
    """Return the description of a policy and the bytes of its arrays.

    Raises:
        ValueError: they are not of one policy, or the description is not what was written.
    """
    for _ in range(LOOKS):
        description = read_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        data = (folder / ARRAYS).read_bytes()
        said = description.get(SUM) if isinstance(description, dict) else None
        # Versions before wrote no sum.
        if said in (None, sum_of(data)):
            return described(description, folder), data
    raise ValueError(f"{ARRAYS} is damaged, or of another policy than {DESCRIPTION}")


def described(description: Any, folder: Path) -> Any:
    """Return a description without its sum. Raises ValueError if it is not what was written."""
    if isinstance(description, dict) and seal.SUM in description:
        return unsigned(description)
    check_unsealed(description, folder)
    return description


def others_in(folder: Path) -> str:
    """Return where there is a policy below a folder, as the end of a sentence."""
    there = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
    return f"; there is one in {there[0]}" if there else ""


def load(path: str | Path) -> Any:
    """Return the policy in a file or folder, which maps an observation, or a batch, to actions.

    Args:
        path: a file that `qmu export` has written, a policy's folder, or a run's directory, whose
            best policy it is then.

    Returns:
        A `Policy` of a .npz file or a folder, which takes NumPy only; an `OnnxPolicy` of a .onnx
        file; a `TorchPolicy`, which is a `torch.nn.Module`, of a .pt file.

    Raises:
        ConfigError: there is no such file, it is damaged or no policy, or the packages that read it
            are not installed.
    """
    place = absolute(path)
    try:
        if place.is_dir():
            inner = place / BEST
            return load_policy(inner if (inner / DESCRIPTION).is_file() else place)
        kind = ending(place)
        data = place.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"there is no file {place}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place} cannot be read: {error}") from None
    return unpacked(kind, data, place)


def ending(path: Path) -> str:
    """Return the ending of a policy's file.

    Raises:
        ConfigError: it is none of those that there are.
    """
    kind = path.suffix.lower()
    if kind not in HOMES:
        *others, last = HOMES
        raise ConfigError(
            f"{path}: a policy's file ends in {', '.join(others)} or {last}, for NumPy, "
            "onnxruntime and PyTorch"
        )
    return kind


def packed(kind: str, policy: Policy) -> bytes:
    """Return a policy as a file with this ending.

    Raises:
        ConfigError: the packages that it takes are not installed, or the network is the user's own.
    """
    with extra_of(kind):
        data: bytes = import_module(HOMES[kind]).pack(policy)
    return data


def unpacked(kind: str, data: bytes, source: Path) -> Any:
    """Return what is called as a policy is, from the bytes of a file with this ending.

    Raises:
        ConfigError: they are no policy's, or the packages that it takes are not installed.
    """
    with extra_of(kind):
        return import_module(HOMES[kind]).read(data, source)


@contextmanager
def extra_of(kind: str) -> Iterator[None]:
    """Make a sentence with the install command of a package that is not there."""
    try:
        yield
    except ImportError as error:
        extra = HOMES[kind].rpartition(".")[2]
        raise lacking(f"a {kind} file", extra, error) from None
