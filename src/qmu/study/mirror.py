"""Brings a folder home from another machine, and what changes in it, in parcels.

A checkpoint's manifest comes after everything that it speaks of: at home there is at every moment
what a process that was killed there and then would have left.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from qmu.saving import storage

# A parcel is closed when it has so many bytes.
FULL = 32 * 2**20
# Whoever holds a lock holds it on one machine.
LOCK = ".lock"


class Parcel(NamedTuple):
    """Files, by their paths below the folder, and paths of files that are there no more."""

    files: dict[str, bytes]
    gone: list[str]


class Stamp(NamedTuple):
    """What tells whether a file is what it was."""

    size: int
    changed: int
    inode: int


class Watch:
    """Knows what a folder holds, and says what has changed since it was asked last."""

    def __init__(self, root: Path) -> None:
        """Watch a folder; what is in it now is known at the other end."""
        self.root = root
        self.known = {path: stamp for path in found(root) if (stamp := stamp_of(root / path))}

    def changes(self) -> Iterator[Parcel]:
        """Yield what has changed, at least one parcel: manifests and what is gone are in the last.

        A file that is gone before it was read is left for the next time.
        """
        # Before the rest: what they speak of is there now.
        manifests = {path for path in found(self.root) if is_manifest(path)}
        there = set(found(self.root))
        changed = {
            path: stamp
            for path in sorted(there)
            if (stamp := stamp_of(self.root / path)) and stamp != self.known.get(path)
        }
        others = [path for path in changed if not is_manifest(path)]
        parcel = Parcel({}, [])
        for path in [*others, *(path for path in changed if path in manifests)]:
            if sum(map(len, parcel.files.values())) >= FULL:
                yield parcel
                parcel = Parcel({}, [])
            data = content(self.root / path)
            if data is not None:
                parcel.files[path] = data
                self.known[path] = changed[path]
        gone = [path for path in self.known if path not in there]
        for path in gone:
            del self.known[path]
        yield parcel._replace(gone=gone)


def packed(root: Path, paths: Iterable[str]) -> Iterator[Parcel]:
    """Yield parcels of these files and of all files in these folders, below a folder."""
    parcel = Parcel({}, [])
    for start in paths:
        folder = root / start
        inside = [start] if folder.is_file() else [f"{start}/{path}" for path in found(folder)]
        for path in inside:
            data = content(root / path)
            if data is not None:
                parcel.files[path] = data
            if sum(map(len, parcel.files.values())) >= FULL:
                yield parcel
                parcel = Parcel({}, [])
    yield parcel


def unpack(parcel: Parcel, root: Path) -> None:
    """Do to a folder what a parcel says.

    Raises:
        ValueError: it names a file elsewhere.
        OSError: a file cannot be written.
    """
    for path in [*parcel.files, *parcel.gone]:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"a path that leaves the folder: {path!r}")
    for path, data in sorted(parcel.files.items(), key=lambda one: is_manifest(one[0])):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.replace_file(file, data)
    for path in sorted(parcel.gone, key=lambda one: not is_manifest(one)):
        storage.remove(root / path)


def found(root: Path) -> list[str]:
    """Return the paths of all files below a folder: no locks, nothing that is being written."""
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(storage.UNFINISHED)]
        paths += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in names
            if not name.startswith(storage.UNFINISHED) and not name.endswith(LOCK)
        ]
    return paths


def is_manifest(path: str) -> bool:
    """Tell whether a file says that what lies beside it is complete."""
    return PurePosixPath(path).name == storage.MANIFEST


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's stamp; None if it is gone."""
    try:
        described = path.stat()
    except OSError:
        return None
    return Stamp(described.st_size, described.st_mtime_ns, described.st_ino)


def content(path: Path) -> bytes | None:
    """Return what a file holds; None if it is gone."""
    try:
        return path.read_bytes()
    except OSError:
        return None
