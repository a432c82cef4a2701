"""A station in a process of its own: the run's end of it, and the process.

python -m qmu.collecting.outpost

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
from collections.abc import Callable, Sequence
from typing import IO, Any

import psutil

from qmu.collecting.elsewhere import (
    ALIVE,
    PATIENCE,
    REFUSED,
    Elsewhere,
    LostError,
    Message,
    Quarters,
    hello_of,
)
from qmu.collecting.station import Post
from qmu.config import Env
from qmu.places import home
from qmu.signals import ending, handlers
from qmu.world.make import Maker

LENGTH = struct.Struct("<Q")
# Seconds between two looks at whether a process is still there, and says so.
LOOK = 1.0


class Outpost(Elsewhere):
    """The run's end of a station in a process of its own."""

    def __init__(self, maker: Maker, env: Env, posts: Sequence[Post], worlds: range) -> None:
        """Start the process; `wait_ready` waits for its worlds.

        Raises:
            ConfigError: the environment cannot be sent to another process.
        """
        hello = hello_of(maker, env, posts, worlds, sys.path)
        super().__init__(f"the process of {maker.name}", env, hello)

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qmu.collecting.outpost"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # Ctrl-C in a terminal is for the run, which lets its worlds close in their own time.
            process_group=0,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=home(),
        )
        assert self.process.stdin is not None
        # A process that is frozen reads nothing.
        os.set_blocking(self.process.stdin.fileno(), False)
        self.send(self.hello)

    def send(self, data: bytes) -> None:
        """Send a message; a process that is gone is noticed when its answer is read."""
        assert self.process.stdin is not None
        self.torn = True
        with contextlib.suppress(OSError, LostError):
            write_message(self.process.stdin, data, self.check_silence)
            self.torn = False

    def receive(self) -> Message:
        """Return the next message.

        Raises:
            LostError: the process is gone, or frozen.
        """
        assert self.process.stdout is not None
        while True:
            self.torn = True
            data = read_message(self.process.stdout, self.is_there)
            if data is None:
                raise LostError(f"{self.name} {ending(self.process.wait())}")
            self.torn = False
            message: Message = pickle.loads(data)
            if message[0] != ALIVE:
                return message

    def is_there(self, silent: float) -> bool:
        """Tell whether the process is there. Raises LostError if it is frozen."""
        there = self.process.poll() is None
        if there:
            self.check_silence(silent)
        return there

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
            self.process.wait(0 if self.frozen else PATIENCE)
        except subprocess.TimeoutExpired:
            started = psutil.Process(self.process.pid).children(recursive=True)
            for one in [self.process, *started]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self.process.wait()


def write_message(pipe: IO[bytes], data: bytes, look: Callable[[float], None]) -> None:
    """Write a message into a pipe; `look` hears for how many seconds nobody has read from it."""
    left = memoryview(LENGTH.pack(len(data)) + data)
    waited = 0.0
    while left:
        look(waited)
        if select.select([], [pipe], [], LOOK)[1]:
            # Nothing is written where somebody else's bytes have just taken the room.
            left, waited = left[pipe.write(left) or 0 :], 0.0
        else:
            waited += LOOK


def read_message(pipe: IO[bytes], alive: Callable[[float], bool]) -> bytes | None:
    """Return the next message of a pipe; None at its end, also in the middle of a message.

    A pipe ends when nobody is left who could write into it, or when whoever should is no longer
    `alive`: a process that it has forked may hold the other end. `alive` is told for how many
    seconds nothing has come, as the looks that found nothing: while this process itself is
    stopped, it does not look.
    """
    head = read_exactly(pipe, LENGTH.size, alive)
    return None if head is None else read_exactly(pipe, LENGTH.unpack(head)[0], alive)


def read_exactly(pipe: IO[bytes], size: int, alive: Callable[[float], bool]) -> bytes | None:
    """Return so many bytes of a pipe, None if it ends before."""
    parts: list[bytes] = []
    silent = 0.0
    while size:
        there = alive(silent)
        if not select.select([pipe], [], [], LOOK if there else 0)[0]:
            if there:
                silent += LOOK
                continue
            return None
        part = pipe.read(size)
        if not part:
            return None
        silent = 0.0
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
    # The run decides when it ends: such signals go to all processes of a terminal or service.
    # To ignore them would be inherited by programs that worlds start, and end with SIGTERM.
    for number, handler in handlers().items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)

    saying, working = threading.Lock(), threading.Event()

    def say(kind: str, value: Any) -> None:
        with contextlib.suppress(OSError), saying:
            write_message(answers, pickle.dumps((kind, value)), lambda _: None)

    def beat() -> None:
        while True:
            time.sleep(LOOK)
            if working.is_set():
                say(ALIVE, None)

    messages: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=listen, args=(questions, messages.put), daemon=True).start()
    hello = messages.get()
    if hello is None:
        return
    quarters = Quarters()
    kind, value = quarters.begin(hello)
    say(kind, value)
    if kind == REFUSED:
        return
    threading.Thread(target=beat, daemon=True).start()
    while (data := messages.get()) is not None:
        working.set()
        answer = quarters.do(data)
        working.clear()
        if answer is not None:
            say(*answer)
    quarters.end()


def listen(pipe: IO[bytes], put: Callable[[bytes | None], None]) -> None:
    """Put all messages of a pipe somewhere, and None at its end; then end a process that hangs."""
    run = os.getppid()
    while (data := read_message(pipe, lambda _: os.getppid() == run)) is not None:
        put(data)
    put(None)
    time.sleep(PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    main()
