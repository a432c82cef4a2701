"""A station in another process: what its two ends say to each other, whatever carries it.

The run's end is an `Elsewhere`, the other one a `Quarters`. An order goes out per chunk, and a
harvest comes back.
"""

import abc
import contextlib
import math
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle
import gymnasium as gym

from qmu.agent.exploration import Floats
from qmu.collecting.display import be_ready
from qmu.collecting.limit import TimeLimit
from qmu.collecting.station import Harvest, HostStation, Order, Post
from qmu.config import Env
from qmu.errors import FAILURES, ConfigError, WorldError, told
from qmu.world import hearing
from qmu.world.make import Maker

# What a message is about.
READY, HARVEST, FAILED, REFUSED = "ready", "harvest", "failed", "refused"
# Said again and again by a process that is at work.
ALIVE = "alive"
# A process that has said nothing for so many limits of a step, and so many seconds, is frozen.
SILENT, QUIET = 10, 10.0
# Seconds that a run waits for one that says nothing, when it is asked to end.
PATIENCE = 5.0
HANGING = "the process ended: a world hung where nothing could interrupt it"
Message = tuple[str, Any]
# How entry points of ids begin that every process knows.
GYMNASIUM = "gymnasium."


class LostError(WorldError):
    """The process is gone, or frozen."""


def never() -> bool:
    """Tell that nobody wants the run to end."""
    return False


class Elsewhere(abc.ABC):
    """The run's end of a station in another process."""

    def __init__(self, name: str, env: Env, hello: bytes) -> None:
        """Start the process; `wait_ready` waits for its worlds.

        Args:
            name: what the process is called.
            env: the run's options of worlds, which have asked for it.
            hello: what its `Quarters` begin with.
        """
        self.name, self.asked, self.hello = name, f"--env.workers {env.workers}", hello
        self.limit = env.step_timeout
        # Whether the run is to end: it does not wait for a process that says nothing.
        self.stopped: Callable[[], bool] = never
        # Whether its worlds are made, which takes as long as it takes, and whether it is frozen.
        self.ready = self.frozen = False
        # Steps of each world that the newest order asks for, of all members together.
        self.steps = 0
        # Answers carry the number of their question: one that nobody waited for is left alone.
        self.number = 0
        self.noise: tuple[Sequence[Mapping[str, Any]], Sequence[Floats]] | None = None
        # Whether a message was broken off, by Ctrl-C say, so that the next one would not be read.
        self.torn = False
        self.start()

    @abc.abstractmethod
    def start(self) -> None:
        """Start the process, and send it the hello."""

    @abc.abstractmethod
    def send(self, data: bytes) -> None:
        """Send a message; a process that is gone is noticed when its answer is read."""

    @abc.abstractmethod
    def receive(self) -> Message:
        """Return the next message. Raises LostError where the process is gone."""

    @abc.abstractmethod
    def dismiss(self) -> None:
        """Let the process close its worlds, without waiting for it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let the process close its worlds, or end it and all that it has started."""

    def start_again(self) -> None:
        """Put another process in the place of one that is gone; its noise goes on.

        Raises:
            LostError: it cannot make its worlds.
        """
        self.close()
        self.ready = self.frozen = False
        self.start()
        try:
            self.wait_ready()
        except ConfigError as error:
            raise LostError(str(error)) from error
        if self.noise is not None:
            self.restore(*self.noise)

    def wait_ready(self) -> None:
        """Wait until the worlds are made.

        Raises:
            ConfigError: they cannot be made there.
        """
        try:
            kind, value = self.receive()
        except LostError as error:
            raise ConfigError(f"{self.asked}: {error} before its worlds were made") from None
        if kind == REFUSED:
            raise ConfigError(f"{self.asked}: {value}")
        self.ready = True

    def patience(self) -> float:
        """Return how many seconds a process may say nothing."""
        if not self.ready:
            return math.inf
        if self.stopped():
            return PATIENCE
        return math.inf if self.limit is None else max(SILENT * self.limit, QUIET)

    def check_silence(self, seconds: float) -> None:
        """Raise LostError where the process has said nothing for longer than it may."""
        if self.frozen or seconds >= self.patience():
            self.frozen = True
            raise LostError(f"{self.name} says nothing any more: it is frozen, or hangs")

    def ask(self, order: Order) -> None:
        """Send an order.

        Raises:
            LostError: the process had to be replaced, and another one cannot make its worlds.
        """
        if self.torn:
            self.start_again()
        self.number += 1
        self.steps = order.steps * len(order.networks)
        self.send(pickle.dumps(("collect", self.number, order)))

    def answer(self) -> Harvest:
        """Return what the newest order has brought.

        Raises:
            WorldError: a world failed.
            LostError: the process is gone.
        """
        while True:
            kind, (number, value, said) = self.receive()
            hearing.note(said)
            if number != self.number:
                continue
            if kind == FAILED:
                raise WorldError(value)
            harvest: Harvest = value
            self.noise = harvest.behaviours, harvest.seen
            return harvest

    def restore(self, behaviours: Sequence[Mapping[str, Any]], seen: Sequence[Floats]) -> None:
        """Go on with the noise of a harvest."""
        self.noise = behaviours, seen
        self.send(pickle.dumps(("restore", behaviours, seen)))


class Quarters:
    """A station as it serves in another process: what it is told, and what it says."""

    def __init__(self) -> None:
        """Begin without a station."""
        self.open = contextlib.ExitStack()

    def begin(self, hello: bytes) -> Message:
        """Make the worlds; return whether that could be done, and if not, why."""
        try:
            path, work = pickle.loads(hello)
            if path is not None:
                sys.path[:] = path
            specs, maker, env, posts, worlds = pickle.loads(work)
            be_ready(env)
            for registered in specs:
                register(registered)
            limit = TimeLimit(env.step_timeout)
            self.station = HostStation(maker, env, posts, worlds, limit)
        except ImportError as error:
            return REFUSED, f"{told(error)}: install there what the worlds need"
        except FAILURES as error:
            return REFUSED, str(error) if isinstance(error, ConfigError) else told(error)
        self.open.callback(self.station.close)
        self.open.enter_context(limit.watched(lambda: HANGING))
        return READY, None

    def do(self, data: bytes) -> Message | None:
        """Do what a message says; return the answer, if there is one to it."""
        kind, *values = pickle.loads(data)
        if kind == "restore":
            self.station.restore(*values)
            return None
        number, order = values
        self.station.ask(order)
        try:
            return HARVEST, (number, self.station.answer(), hearing.take())
        except WorldError as error:
            return FAILED, (number, str(error), hearing.take())

    def end(self) -> None:
        """Close the worlds."""
        self.open.close()


def hello_of(
    maker: Maker, env: Env, posts: Sequence[Post], worlds: range, path: Sequence[str] | None
) -> bytes:
    """Return what `Quarters` begin with: whose worlds to make, and where modules are found.

    Functions of the user's own script, and ids registered in it, travel by value.

    Raises:
        ConfigError: the environment cannot be sent to another process.
    """
    try:
        work = cloudpickle.dumps((registered_here(), maker, env, posts, worlds))
    except Exception as error:
        raise ConfigError(
            f"--env.workers {env.workers}: {maker.name} cannot be sent to another process "
            f"({told(error)}); give a function that makes it, or leave --env.workers out"
        ) from None
    return pickle.dumps((path, work))


def registered_here() -> list[bytes]:
    """Return the ids that another process may not have, as bytes: those that are not Gymnasium's.

    A world may need others than its own. One that cannot be sent is left out: who needs it there
    says that it is not known.
    """
    found = []
    for spec in gym.registry.values():
        if not str(spec.entry_point).startswith(GYMNASIUM):
            with contextlib.suppress(Exception):
                found.append(cloudpickle.dumps(spec))
    return found


def register(packed: bytes) -> None:
    """Register an id that was sent, unless there is one of its name, or its module is not here."""
    with contextlib.suppress(*FAILURES):
        spec = pickle.loads(packed)
        gym.registry.setdefault(spec.id, spec)
