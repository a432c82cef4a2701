"""Trains programs of a study on a Ray cluster; what they write comes home while they write it.

On each node, `qmu.study.worker` trains a program in a folder of its own, just as on this machine.
No file system has to be shared.
"""

import importlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qmu.collecting.cluster import CONNECTION, Cluster
from qmu.errors import ConfigError
from qmu.study.folder import APART_FILE, RUNS, STUDY_FILE, log_of, run_of
from qmu.study.mirror import Parcel, Watch, packed, unpack
from qmu.study.plan import Program
from qmu.study.processes import Lease, Process, processors, share_gpu, words_of

# What a job says whose node or process is gone.
LOST = -1
KINDS = ("CPU", "GPU")
# Seconds that a node waits before it says that nothing has changed.
QUIET = 1.0
# Seconds between two looks at a program that has been stopped.
PAUSE = 0.1


class Request:
    """What a program needs of a node: processors, and graphics processors or parts of one."""

    def __init__(self, cpus: int, gpus: float) -> None:
        """Take the numbers. Raises ConfigError where no program can have them."""
        if cpus < 1:
            raise ConfigError(f"--cpus must be 1 or more, not {cpus}")
        if gpus < 0 or not math.isfinite(gpus):
            raise ConfigError(f"--gpus must be 0 or more, not {gpus}")
        self.cpus, self.gpus = cpus, gpus

    def join(self, address: str) -> int:
        """Connect to a cluster; return how many programs it has room for.

        Raises:
            ConfigError: there is no such cluster, or it has no node that is large enough.
        """
        cluster = CONNECTION.open(address, "--on", len(processors()))
        nodes = importlib.import_module("ray").nodes()
        self.check([node["Resources"] for node in nodes if node["Alive"]], f"--on {address}")
        return self.places(cluster)

    def check(self, nodes: list[dict[str, float]], option: str) -> None:
        """Raise ConfigError if no node of a cluster has so much."""
        if any(n.get("CPU", 0) >= self.cpus and n.get("GPU", 0) >= self.gpus for n in nodes):
            return
        cpus, gpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in KINDS)
        raise ConfigError(
            f"{option}: --cpus {self.cpus} and --gpus {self.gpus:g} are asked for each training, "
            f"and no node has that: ask for less, the largest have {cpus:g} and {gpus:g}"
        )

    def places(self, cluster: Cluster) -> int:
        """Return how many programs a cluster has room for."""
        room = cluster.cpus // self.cpus
        return max(min(room, int(cluster.gpus / self.gpus)) if self.gpus else room, 1)


class Nodes:
    """Trains programs on the nodes of a cluster."""

    def __init__(
        self, directory: Path, address: str, workers: int | None, request: Request, typed: list[str]
    ) -> None:
        """Connect to the cluster.

        Args:
            directory: the study's, on this machine.
            address: of the cluster, as `qmu.collecting.cluster` has it.
            workers: programs side by side; None: as many as there is room for.
            request: what each of them needs.
            typed: environments that need a module.

        Raises:
            ConfigError: there is no such cluster, or it has no node that is large enough.
        """
        self.directory, self.request, self.typed = directory, request, typed
        places = request.join(address)
        self.ray: Any = importlib.import_module("ray")
        self.places = workers or places

    def start(self, place: int, program: Program) -> "Away":
        """Train a program, or go on with it, where there is room."""
        del place
        actor = self.ray.remote(Trainee).options(
            num_cpus=self.request.cpus, num_gpus=self.request.gpus, max_restarts=0
        )
        run = run_of(self.directory, program)
        needed = [STUDY_FILE, APART_FILE]
        needed += [] if run is None else [run.directory.relative_to(self.directory).as_posix()]
        log = log_of(self.directory, program).relative_to(self.directory)
        words = words_of(Path(), program, [], self.typed)[1:]
        away = Away(self.ray, actor.remote(self.request.cpus, self.request.gpus), self.directory)
        away.send(packed(self.directory, needed), words, str(log))
        return away


class Away:
    """A program that is trained by an actor somewhere; its folder is mirrored at home."""

    def __init__(self, ray: Any, actor: Any, home: Path) -> None:
        """Take the actor, and the folder at home."""
        self.ray, self.actor, self.home = ray, actor, home
        self.answer: Any = None
        self.code: int | None = None

    def send(self, parcels: Iterator[Parcel], words: list[str], log: str) -> None:
        """Send what the program goes on from, and let it begin."""
        for parcel in parcels:
            self.actor.take.remote(self.ray.put(parcel))
        self.actor.begin.remote(words, log)
        self.answer = self.actor.news.remote()

    def poll(self) -> int | None:
        """Bring home what is new; return the exit code, None while it works, negative if lost."""
        while self.code is None:
            ready, _ = self.ray.wait([self.answer], timeout=0)
            if not ready:
                return None
            try:
                parcel, self.code = self.ray.get(self.answer)
            except self.ray.exceptions.RayError:
                self.code = LOST
                break
            unpack(parcel, self.home)
            if self.code is None:
                self.answer = self.actor.news.remote()
        self.ray.kill(self.actor)
        return self.code

    def stop(self) -> None:
        """Ask it to save what it has learned, and to end."""
        if self.code is None:
            self.actor.stop.remote()

    def wait(self, seconds: float) -> None:
        """Wait for its end; after so many seconds, end it."""
        limit = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > limit:
                self.code = LOST
                self.ray.kill(self.actor)
            time.sleep(PAUSE)


class Trainee:
    """A Ray actor that trains one program, in a folder that ends with it."""

    def __init__(self, cpus: int, gpus: float) -> None:
        """Make the folder, and take processors of this node and a part of its GPU."""
        share_gpu(gpus)
        self.root = Path(tempfile.mkdtemp(prefix="qmu-study-"))
        self.lease = Lease(cpus)
        self.process: Process | None = None
        # What is left of the newest look at the folder, the next parcel of it apart.
        self.changes: Iterator[Parcel] = iter(())
        self.coming: Parcel | None = None

    def take(self, parcel: Parcel) -> None:
        """Put what comes from home into the folder."""
        unpack(parcel, self.root)

    def begin(self, words: list[str], log: str) -> None:
        """Start the program's process."""
        (self.root / RUNS).mkdir(exist_ok=True)
        self.watch = Watch(self.root)
        world, arms, _, *typed = words
        share = ",".join(map(str, self.lease.processors))
        self.process = Process([str(self.root), world, arms, share, *typed], self.root / log)

    def news(self) -> tuple[Parcel, int | None]:
        """Return a parcel of what has changed, and the exit code with the last one of all."""
        assert self.process is not None
        if self.coming is None:
            self.process.look(QUIET)
            # What is there is looked at after the end, so that nothing is missed.
            self.code = self.process.poll()
            self.changes = self.watch.changes()
            self.coming = next(self.changes)
        parcel, self.coming = self.coming, next(self.changes, None)
        if self.coming is not None or self.code is None:
            return parcel, None
        self.lease.end()
        shutil.rmtree(self.root, ignore_errors=True)
        return parcel, self.code

    def stop(self) -> None:
        """Ask the process to save what it has learned, and to end."""
        if self.process is not None:
            self.process.stop()
