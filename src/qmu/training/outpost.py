"""A station in a process of its own: the run's end of it, and the process.

python -m qmu.training.outpost

Messages go through the process's standard input and output: a length, and that many bytes. The
process ends when its input does, which is when the run's process is gone, however it ended.
"""

import contextlib
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import cloudpickle
import gymnasium as gym
import psutil

from qmu.agent.exploration import Floats
from qmu.config import Env
from qmu.errors import FAILURES, ConfigError, WorldError, told
from qmu.training.limit import TimeLimit
from qmu.training.signals import ending
from qmu.training.station import Harvest, HostStation, Order, Post
from qmu.world.make import Maker

LENGTH = struct.Struct("<Q")
# Seconds that a process has to close its worlds.
PATIENCE = 5.0
# Seconds between two looks at whether a process is still there.
LOOK = 1.0
# What a message is about.
READY, HARVEST, FAILED, REFUSED = "ready", "harvest", "failed", "refused"
HANGING = "the process ended: a world hung where nothing could interrupt it"


class LostError(WorldError):
    """The process is gone."""


class Outpost:
    """The run's end of a station in a process of its own."""

    def __init__(self, maker: Maker, env: Env, posts: Sequence[Post], worlds: range) -> None:
        """Start the process; `wait_ready` waits for its worlds.

        Raises:
            ConfigError: the environment cannot be sent to another process.
        """
        self.name = f"the process of {maker.name}"
        try:
            # Functions of the user's own script, and ids registered in it, travel by value.
            spec = gym.registry.get(maker.name)
            work = cloudpickle.dumps((spec, maker, env, posts, worlds))
        except Exception as error:
            raise ConfigError(
                f"--env.workers: {maker.name} cannot be sent to another process "
                f"({type(error).__name__}: {error}); give a function that makes it, or leave "
                "--env.workers out"
            ) from None
        self.hello = pickle.dumps((sys.path, work))
        # Answers carry the number of their question: one that nobody waited for is left alone.
        self.number = 0
        self.noise: tuple[Sequence[Mapping[str, Any]], Sequence[Floats]] | None = None
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qmu.training.outpost"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C in a terminal is for the run, which lets its worlds close in their own time.
            process_group=0,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.send(self.hello)

    def start_again(self) -> None:
        """Put another process in the place of one that is gone; its noise goes on.

        Raises:
            LostError: it cannot make its worlds.
        """
        self.close()
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
            raise ConfigError(f"--env.workers: {error} before its worlds were made") from None
        if kind == REFUSED:
            raise ConfigError(f"--env.workers: {value}")

    def ask(self, order: Order) -> None:
        """Send an order.

        Raises:
            LostError: the process had to be replaced, and another one cannot make its worlds.
        """
        if self.torn:
            self.start_again()
        self.number += 1
        self.send(pickle.dumps(("collect", self.number, order)))

    def answer(self) -> Harvest:
        """Return what the newest order has brought.

        Raises:
            WorldError: a world failed.
            LostError: the process is gone.
        """
        while True:
            kind, (number, value) = self.receive()
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

    def send(self, data: bytes) -> None:
        """Send a message; a process that is gone is noticed when its answer is read."""
        assert self.process.stdin is not None
        # If it is broken off, by Ctrl-C say, the rest would be taken from the next message.
        self.torn = True
        with contextlib.suppress(OSError):
            write_message(self.process.stdin, data)
            self.torn = False

    def receive(self) -> tuple[str, Any]:
        """Return the next message.

        Raises:
            LostError: the process is gone.
        """
        assert self.process.stdout is not None
        self.torn = True
        data = read_message(self.process.stdout, lambda: self.process.poll() is None)
        if data is None:
            raise LostError(f"{self.name} {ending(self.process.wait())}")
        self.torn = False
        message: tuple[str, Any] = pickle.loads(data)
        return message

    def dismiss(self) -> None:
        """Let the process close its worlds, without waiting for it."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        """Let the process close its worlds, or end it and all that it has started."""
        self.dismiss()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            started = psutil.Process(self.process.pid).children(recursive=True)
            for one in [self.process, *started]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()


def write_message(pipe: IO[bytes], data: bytes) -> None:
    """Write a message into a pipe."""
    left = memoryview(LENGTH.pack(len(data)) + data)
    while left:
        left = left[pipe.write(left) :]


def read_message(pipe: IO[bytes], alive: Callable[[], bool]) -> bytes | None:
    """Return the next message of a pipe; None at its end, also in the middle of a message.

    A pipe ends when nobody is left who could write into it, or when whoever should is no longer
    `alive`: a process that it has forked may hold the other end.
    """
    head = read_exactly(pipe, LENGTH.size, alive)
    return None if head is None else read_exactly(pipe, LENGTH.unpack(head)[0], alive)


def read_exactly(pipe: IO[bytes], size: int, alive: Callable[[], bool]) -> bytes | None:
    """Return so many bytes of a pipe, None if it ends before."""
    parts: list[bytes] = []
    while size:
        there = alive()
        if not select.select([pipe], [], [], LOOK if there else 0)[0]:
            if there:
                continue
            return None
        part = pipe.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    """Serve the run at the other end of standard input and output."""
    questions, answers = (
        os.fdopen(os.dup(number), mode, buffering=0) for number, mode in ((0, "rb"), (1, "wb"))
    )
    # What an environment prints is not an answer, and what it reads no question.
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    # The run decides when it ends: Ctrl-C and SIGTERM go to all processes of a terminal or service.
    # To ignore them would be inherited by programs that worlds start, and end with SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    def say(kind: str, value: Any) -> None:
        with contextlib.suppress(OSError):
            write_message(answers, pickle.dumps((kind, value)))

    messages: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=listen, args=(questions, messages.put), daemon=True).start()
    hello = messages.get()
    if hello is None:
        return
    try:
        sys.path[:], work = pickle.loads(hello)
        spec, maker, env, posts, worlds = pickle.loads(work)
        if spec is not None:
            gym.registry.setdefault(spec.id, spec)
        limit = TimeLimit(env.step_timeout)
        station = HostStation(maker, env, posts, worlds, limit)
    except FAILURES as error:
        say(REFUSED, str(error) if isinstance(error, ConfigError) else told(error))
        return
    say(READY, None)
    with limit.watched(HANGING):
        serve(station, messages, say)
    station.close()


def serve(
    station: HostStation, messages: "queue.Queue[bytes | None]", say: Callable[[str, Any], None]
) -> None:
    """Do what the messages say, until there are no more."""
    while (data := messages.get()) is not None:
        kind, *values = pickle.loads(data)
        if kind == "restore":
            station.restore(*values)
            continue
        number, order = values
        station.ask(order)
        try:
            say(HARVEST, (number, station.answer()))
        except WorldError as error:
            say(FAILED, (number, str(error)))


def listen(pipe: IO[bytes], put: Callable[[bytes | None], None]) -> None:
    """Put all messages of a pipe somewhere, and None at its end; then end a process that hangs."""
    run = os.getppid()
    while (data := read_message(pipe, lambda: os.getppid() == run)) is not None:
        put(data)
    put(None)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main()
