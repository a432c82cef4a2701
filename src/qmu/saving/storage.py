"""Folders of files that are there as a whole or not at all, and that tell when they are damaged.

A folder is written beside its final place, every file and then the folder flushed to the disk, and
renamed. Its manifest has the size and the SHA-256 sum of every file, and its own. Nothing here
knows what the files hold.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qmu.deploy import seal

MANIFEST = "manifest.json"
# Names of folders that are being written, or were when a process ended, begin with this.
UNFINISHED = ".unfinished-"
# A file of a folder, or of the folder beside it that several share: no way out of either.
PLAIN_NAME = re.compile(r"(?:[\w-][\w.-]*/){0,3}[\w-][\w.-]*")
LARGEST_MANIFEST = 64 * 2**20


class DamagedError(Exception):
    """A folder is not what its manifest says, or has none that can be read."""


class Entry(NamedTuple):
    """What a manifest says about a file."""

    name: str
    size: int
    sha256: str


def write_file(path: Path, data: bytes) -> Entry:
    """Write a new file through to the disk; return what a manifest says about it."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        flush(file.fileno())
    return Entry(path.name, len(data), hashlib.sha256(data).hexdigest())


def flush(descriptor: int) -> None:
    """Have the disk take over what was written."""
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Have the disk take over a folder's names; where folders cannot be opened, do nothing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, to: Path) -> None:
    """Give a file or folder its final name, for good. A file that has the name is replaced."""
    source.replace(to)
    flush_folder(to.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file, or write it anew: whenever this ends, the old one or the new one is there.

    Raises:
        OSError: it could not be written. What was there before is as it was.
    """
    replace_files({path: data})


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Write files, or write them anew; none of them before all are on the disk.

    Raises:
        OSError: one could not be written. What was there before is as it was.
    """
    unfinished = {path: path.with_name(UNFINISHED + path.name) for path in files}
    try:
        for path, data in files.items():
            unfinished[path].unlink(missing_ok=True)
            write_file(unfinished[path], data)
        for path in files:
            rename(unfinished[path], path)
    except BaseException:
        for path in unfinished.values():
            remove(path)
        raise


@contextlib.contextmanager
def folders_around(path: Path) -> Iterator[None]:
    """Make the folders that a file is to lie in; if it is not written, none of them is left.

    Raises:
        OSError: they could not be made.
    """
    made = [folder for folder in path.absolute().parents if not is_folder(folder)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError, ValueError):
                folder.rmdir()
        raise


def write_shared(folder: Path, ending: str, data: bytes) -> Entry:
    """Write a file that several folders can refer to, under the name of its own sum."""
    made = not folder.is_dir()
    folder.mkdir(exist_ok=True)
    if made:
        flush_folder(folder.parent)
    unfinished = folder / f"{UNFINISHED}shared{ending}"
    unfinished.unlink(missing_ok=True)
    entry = write_file(unfinished, data)
    name = f"{entry.sha256[:32]}{ending}"
    rename(unfinished, folder / name)
    return entry._replace(name=name)


def write_folder(
    folder: Path, files: Mapping[str, bytes], shared: list[Entry], described: Mapping[str, Any]
) -> None:
    """Write a folder with these files and a manifest; it must not be there yet, its parent is.

    Args:
        folder: its final place.
        files: relative name -> content; a name may lead into folders.
        shared: the files beside the folder that belong to it, their names relative to its parent.
        described: what else the manifest says.

    Raises:
        OSError: it could not be written. Nothing of it is left.
    """
    unfinished = folder.with_name(UNFINISHED + folder.name)
    remove(unfinished)
    try:
        unfinished.mkdir()
        inside = {unfinished}
        entries = []
        for name, data in files.items():
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            inside |= {parent for parent in path.parents if unfinished in parent.parents}
            entries.append(write_file(path, data)._replace(name=name))
        manifest = dict(described) | {
            "files": [entry._asdict() for entry in entries],
            "shared": [entry._asdict() for entry in shared],
        }
        text = json.dumps(seal.signed(manifest), indent=1) + "\n"
        write_file(unfinished / MANIFEST, text.encode())
        for one in sorted(inside, key=lambda path: len(path.parts), reverse=True):
            flush_folder(one)
        rename(unfinished, folder)
    except OSError:
        remove(unfinished)
        raise


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest, without its sum.

    Raises:
        DamagedError: there is none, it is not JSON, or is not what was written.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise DamagedError(f"{path} is larger than any manifest")
        manifest = seal.read_json(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from None
    if not isinstance(manifest, dict):
        raise DamagedError(f"{path} is no manifest")
    try:
        return seal.unsigned(manifest)
    except ValueError:
        raise DamagedError(
            f"{path} is not what was written: its SHA-256 sum is another one"
        ) from None


def entries_of(manifest: Mapping[str, Any], kind: str) -> list[Entry]:
    """Return the `files` or the `shared` files that a manifest lists.

    Raises:
        DamagedError: that is no list of files, or a name leads elsewhere.
    """
    try:
        entries = [
            Entry(str(one["name"]), int(one["size"]), str(one["sha256"])) for one in manifest[kind]
        ]
    except (KeyError, TypeError, ValueError):
        raise DamagedError(f"the manifest has no list of {kind}") from None
    for entry in entries:
        if not PLAIN_NAME.fullmatch(entry.name):
            raise DamagedError(f"the manifest names a file elsewhere: {entry.name!r}")
    return entries


def read_checked(root: Path, entry: Entry, limit: int) -> bytes:
    """Return a file's content, if it is what was written.

    Raises:
        DamagedError: it is not there, is no ordinary file, has another size or sum, or is said to
            have more bytes than the limit.
    """
    path = root / entry.name
    if entry.size > limit:
        raise DamagedError(f"{path} is said to have {entry.size} bytes: at most {limit} make sense")
    try:
        if path.is_symlink() or not path.is_file():
            raise DamagedError(f"{path} is missing")
        size = path.stat().st_size
        if size != entry.size:
            raise DamagedError(f"{path} has {size} bytes instead of {entry.size}")
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedError(f"{path} is not what was written: its SHA-256 sum is another one")
    return data


def remove(path: Path) -> None:
    """Remove a folder or a file, if it is there; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder; no name is too long to ask."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Tell whether there is a file; no name is too long to ask."""
    try:
        return path.is_file()
    except OSError:
        return False


def links_in(folder: Path) -> Iterator[Path]:
    """Yield every link in a folder, at any depth; none is followed."""
    for place, folders, files in os.walk(folder):
        yield from (
            path for name in [*folders, *files] if (path := Path(place) / name).is_symlink()
        )


def unfinished_in(folder: Path) -> Iterator[Path]:
    """Yield what was being written into a folder when a process ended."""
    if folder.is_dir():
        yield from folder.glob(f"{UNFINISHED}*")


def free_bytes(folder: Path) -> int:
    """Return how many bytes can still be written on a folder's disk, the folder made or not."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
