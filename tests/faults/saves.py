"""Checkpoints of nothing in particular, for processes that are killed while they write them.

Run as a script, it is the process that forks and kills: JAX has not been started in it.

    python saves.py kill FOLDER COUNT     kill -9 at COUNT random moments
    python saves.py exit FOLDER [torn]    exit at every single file operation of a save, one by one
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from qmu.saving import arrays, storage, store
from qmu.saving.storage import DamagedError
from qmu.saving.store import ARRAYS, STATE, Part

KEEP = 2
# Operations of the file system that Python reports before it carries them out.
AUDITED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def save(folder, number, segments):
    """Write the checkpoint with this number, with a new segment; return its segments."""
    rng = np.random.default_rng(number)
    contents = {
        STATE: json.dumps({"number": number}).encode(),
        ARRAYS: arrays.pack({"weights": rng.normal(size=5000).astype(np.float32)}),
        "seed-0/policy.json": b"{}",
    }
    rows = arrays.pack({"numbers": rng.normal(size=(500, 4)).astype(np.float32)})
    new = [(rows, (Part(0, 0, 500 * number, 500),))]
    listed = store.write_checkpoint(folder, number, True, contents, segments[-2:], new)
    store.prune(folder, KEEP)
    return listed


def newest(folder):
    """Return the number of the newest checkpoint that is undamaged, and its segments."""
    for path in store.complete(folder):
        try:
            found = store.read_checkpoint(path)
        except DamagedError as error:
            print(f"damaged: {error}")
            continue
        return found.state["number"], found.segments
    return 0, []


def child(work):
    """Fork a process that does some work; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def kill_at_random(folder, count):
    """Kill a process that saves again and again, so many times; the newest save must be whole."""
    moments = random.Random(0)
    for _ in range(count):
        began, segments = newest(folder)
        inlet, outlet = os.pipe()

        def saves(began=began, segments=segments, outlet=outlet):
            for number in range(began + 1, began + 1000):
                segments = save(folder, number, segments)
                os.write(outlet, b"%d\n" % number)

        started = time.monotonic()
        pid = child(saves)
        os.close(outlet)
        with os.fdopen(inlet) as said:
            # From the first save's end on, at a moment of the next two.
            numbers = [int(said.readline())]
            time.sleep(moments.uniform(0.0, 2 * (time.monotonic() - started)))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            numbers += [int(line) for line in said.read().splitlines()]
        acknowledged = numbers[-1]
        found, _ = newest(folder)
        assert found in (acknowledged, acknowledged + 1), (found, acknowledged)
    print(f"{count} kills, {found} saves")


def exit_everywhere(folder, torn):
    """End a save before each of its file operations, one after another; the old one is whole."""
    segments = save(folder, 1, [])
    segments = save(folder, 2, segments)
    operation, status = 0, 1
    while status != 0:
        operation += 1
        pid = child(lambda at=operation: save_until(folder, segments, at, torn))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found, _ = newest(folder)
        assert found in (2, 3), f"after operation {operation}: {found}"
        if found == 3 and status != 0:
            # The rename was done: start again from the old one.
            for path in store.complete(folder):
                if path.name.startswith("000000003"):
                    storage.remove(path)
        store.clean(folder)
        if status != 0:
            leftovers = [path.name for path in folder.rglob(".*")]
            assert leftovers == [], leftovers
    assert found == 3
    print(f"{operation - 1} operations")


def save_until(folder, segments, at, torn):
    """Save number 3, and exit before operation `at`; if torn, what it would flush is cut first."""
    count = 0

    def step(path=None):
        nonlocal count
        count += 1
        if count == at:
            if torn and path is not None and os.path.isfile(path):
                os.truncate(path, os.path.getsize(path) // 2)
            os._exit(9)

    def audit(event, arguments):
        if event in AUDITED and str(folder) in str(arguments[0]):
            step()

    flush = os.fsync

    def counted_flush(descriptor):
        step(os.readlink(f"/proc/self/fd/{descriptor}"))
        flush(descriptor)

    os.fsync = counted_flush
    sys.addaudithook(audit)
    save(folder, 3, segments)
    sys.stdout.flush()


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "kill":
        kill_at_random(Path(where), int(more[0]))
    else:
        exit_everywhere(Path(where), bool(more))
