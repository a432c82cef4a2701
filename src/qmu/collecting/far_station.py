"""A station on a node of a Ray cluster: the run's end of it, and the actor."""

import contextlib
import importlib
import math
import os
import pickle
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from qmu.collecting.cluster import Cluster
from qmu.collecting.elsewhere import (
    QUIET,
    Elsewhere,
    LostError,
    Message,
    Quarters,
    hello_of,
)
from qmu.collecting.station import Post
from qmu.config import Env
from qmu.errors import ConfigError
from qmu.world.make import Maker

# Seconds in which a cluster has to find room for an actor, and an actor to close its worlds.
ROOM, PATIENCE = 60.0, 5.0
# Seconds in which an actor may end its chunk when the run is asked to end.
CHUNK = 30.0
# Seconds between two moments at which Ctrl-C is heard.
LOOK = 1.0
# A worker acts in NumPy, on one processor; what a world computes with JAX needs no GPU.
ALONE = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}


class FarStation(Elsewhere):
    """The run's end of a station on a node of a Ray cluster."""

    def __init__(
        self, cluster: Cluster, maker: Maker, env: Env, posts: Sequence[Post], worlds: range
    ) -> None:
        """Start the actor, on a `cluster` that this process is connected to.

        Raises:
            ConfigError: the environment cannot be sent to another process.
        """
        self.ray: Any = importlib.import_module("ray")
        self.cluster, self.worlds = cluster, len(worlds)
        # On this machine modules are found where they are found here.
        hello = hello_of(maker, env, posts, worlds, sys.path if cluster.own else None)
        super().__init__(f"the process of {maker.name} on Ray", env, hello)

    def start(self) -> None:
        """Start the actor, and send it the hello. Raises LostError where the cluster is gone."""
        # A cluster that was started for this run has nobody else to leave room for.
        cpus = 0 if self.cluster.own else 1
        host = self.ray.remote(FarQuarters).options(num_cpus=cpus, num_gpus=0, max_restarts=0)
        with self.missed():
            self.actor = host.remote()
            self.arrival = self.actor.__ray_ready__.remote()
            # What the actor answers, in the order of the messages.
            self.answers: deque[Any] = deque([self.actor.begin.remote(self.hello)])
        self.farewell: Any = None

    @contextlib.contextmanager
    def missed(self) -> Iterator[None]:
        """Raise LostError where an actor that is talked to is gone, or the cluster."""
        try:
            yield
        except (OSError, self.ray.exceptions.RayError) as error:
            first = str(error).strip().partition("\n")[0]
            raise LostError(f"{self.name} was lost: {first}") from error

    def wait_ready(self) -> None:
        """Wait until the worlds are made.

        Raises:
            ConfigError: they cannot be made there, or there is no room for them.
            LostError: the cluster is gone.
        """
        with self.missed():
            arrived, _ = self.ray.wait([self.arrival], timeout=ROOM)
        if not arrived:
            raise ConfigError(
                f"{self.asked}: the cluster found no room for {self.name} within {ROOM:.0f} s: "
                f"others use its {self.cluster.cpus} processors; ask for fewer workers, or wait"
            )
        super().wait_ready()

    def send(self, data: bytes) -> None:
        """Send a message; an actor that is gone is noticed when its answer is read."""
        with contextlib.suppress(OSError, self.ray.exceptions.RayError):
            self.answers.append(self.actor.do.remote(data))

    def receive(self) -> Message:
        """Return the next message.

        Raises:
            LostError: the actor is gone, or frozen, or the cluster is gone.
        """
        while self.answers:
            with self.missed():
                silent = 0.0
                while not self.ray.wait([self.answers[0]], timeout=LOOK)[0]:
                    silent += LOOK
                    self.check_silence(silent)
                data = self.ray.get(self.answers[0])
            self.answers.popleft()
            if data is not None:
                message: Message = pickle.loads(data)
                return message
        raise LostError(f"{self.name} was lost: the cluster no longer answers")

    def patience(self) -> float:
        """Return how many seconds an actor may say nothing, which it does while it is at work."""
        seconds = super().patience()
        if not math.isfinite(seconds):
            return seconds
        if self.stopped():
            return CHUNK
        # Each step may take the limit, and so may the reset behind it.
        return max(seconds, 2 * self.steps * self.worlds * (self.limit or 0.0) + QUIET)

    def dismiss(self) -> None:
        """Let the actor close its worlds, without waiting for it."""
        with contextlib.suppress(OSError, self.ray.exceptions.RayError):
            self.farewell = self.actor.end.remote()

    def close(self) -> None:
        """Let the actor close its worlds, and end it."""
        with contextlib.suppress(OSError, self.ray.exceptions.RayError):
            if self.farewell is None:
                self.dismiss()
            self.ray.wait([self.farewell], timeout=0 if self.frozen else PATIENCE)
            self.ray.kill(self.actor)


class FarQuarters(Quarters):
    """A Ray actor in which a station serves."""

    def begin(self, hello: bytes) -> Any:
        """Make the worlds; say whether that could be done."""
        os.environ |= ALONE
        return pickle.dumps(super().begin(hello))

    def do(self, data: bytes) -> Any:
        """Do what a message says; return the answer, if there is one to it."""
        answer = super().do(data)
        return None if answer is None else pickle.dumps(answer)


def check_room(cluster: Cluster, env: Env) -> None:
    """Raise ConfigError where a cluster has fewer processors than there are to be workers."""
    if not cluster.own and env.workers.number > cluster.cpus:
        raise ConfigError(
            f"--env.workers {env.workers}: {env.workers.number} workers take a processor each, and "
            f"the cluster has {cluster.cpus}: ask for fewer, or start it with more"
        )
