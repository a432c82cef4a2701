"""Compiled programs are kept: test processes side by side share them, and so do later sessions.

JAX writes its folder in place, so that whoever reads beside a writer, or after one that was killed,
may find half a program. So each process has a folder of its own, whose entries are exchanged with
the kept ones as links, between two files of tests: whole, or not at all. Programs that a test
starts, and kills, read the kept ones and keep none.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import jax
import psutil

from qmu.learning.devices import compiled_folder

# Bytes that are kept, and seconds after which a process that was killed has left its folder.
LARGEST, OLD = 2**30, 86_400
# Bytes of memory above which a process forgets its programs: it finds them in its folder.
MEMORY = 2 * 2**30


class Compiled:
    """A plugin of pytest: the programs of this process, and those that are kept."""

    def __init__(self):
        self.kept = compiled_folder("tests")
        self.kept.mkdir(parents=True, exist_ok=True)
        # Beside it: links do not lead from one file system to another.
        self.folder = tempfile.TemporaryDirectory(prefix="own-", dir=self.kept.parent)
        self.own, self.children = (Path(self.folder.name, name) for name in ("own", "children"))
        settings = {
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            # They would make the folder's path a part of what a program is known by.
            "jax_persistent_cache_enable_xla_caches": "none",
        }
        for name, value in settings.items():
            jax.config.update(name, value)
            os.environ[name.upper()] = str(value)
        jax.config.update("jax_compilation_cache_dir", str(self.own))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(self.children)

    def pytest_configure(self, config):
        self.own.mkdir()
        self.children.mkdir()
        if not hasattr(config, "workerinput"):
            self.make_room()
        self.exchange()

    def pytest_runtest_teardown(self, item, nextitem):
        if nextitem is None or nextitem.path != item.path:
            self.exchange()
            if psutil.Process().memory_info().rss > MEMORY:
                jax.clear_caches()

    def pytest_unconfigure(self):
        self.folder.cleanup()

    def exchange(self):
        """Keep what is new here, and take what is new there."""
        link_missing(self.own, self.kept)
        link_missing(self.kept, self.own)
        link_missing(self.kept, self.children)

    def make_room(self):
        """Forget all that is kept if it is too much, and what killed processes have left."""
        for left in self.kept.parent.glob("own-*"):
            if left.stat().st_mtime < time.time() - OLD:
                shutil.rmtree(left, ignore_errors=True)
        if sum(entry.stat().st_size for entry in os.scandir(self.kept)) > LARGEST:
            for entry in os.scandir(self.kept):
                os.unlink(entry)


def link_missing(source, target):
    """Make links to the entries of a folder in another one that lacks them."""
    for name in set(os.listdir(source)) - set(os.listdir(target)):
        # Somebody else may have been there first, or have made room.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            os.link(source / name, target / name)
