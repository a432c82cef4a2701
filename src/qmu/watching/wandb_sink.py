"""Weights & Biases, as a sink: a process of its own talks to the service; nothing waits for it.

What is written goes into a queue, from which a thread feeds the process. When the queue is full,
because the service takes nothing, what comes is dropped. Only at the end of a run is the process
waited for, and no longer than `SECONDS_TO_FINISH`; one that has failed is ended at once.
"""

import base64
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from qmu import config as options
from qmu.config import Config
from qmu.config.members import Member
from qmu.errors import ConfigError
from qmu.watching.sinks import Media, Metrics, Picture, Video

WORKER = (sys.executable, "-m", "qmu.watching.wandb_worker")
# So many lines wait for the service at most: those of an hour, or of a day.
MOST_WAITING = 10_000
# How long the service may take to answer at the beginning, and to take what is left at the end.
SECONDS_TO_BEGIN, SECONDS_TO_FINISH = 20, 40
# The library is imported in this time, even by a busy machine.
SECONDS_TO_CHECK = 120
OFFLINE_COMMAND = "wandb sync"


class Wandb:
    """The metrics, videos and best policies of a run, at Weights & Biases."""

    name = "wandb"

    def __init__(
        self,
        directory: Path,
        environment: str,
        config: Config,
        members: tuple[Member, ...],
        tell: Callable[[str], None],
    ) -> None:
        """Start the process. It opens the service's runs, or goes on with them, in its own time."""
        self.tell = tell
        self.folder = directory / "wandb"
        self.folder.mkdir(exist_ok=True)
        self.dropped = False
        self.failed = self.closed = False
        self.answers: deque[dict[str, Any]] = deque()
        self.waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the run, which says when it is time to end.
            start_new_session=True,
            env=surroundings(self.folder),
        )
        self.threads = [
            threading.Thread(target=work, daemon=True) for work in (self.feed, self.listen)
        ]
        for thread in self.threads:
            thread.start()
        self.put(
            {
                "do": "open",
                "mode": config.log.wandb,
                "directory": str(directory.resolve()),
                "project": config.log.wandb_project,
                "group": directory.resolve().name,
                "tags": [environment[:64], config.log.name[:64]],
                "one": config.log.wandb_runs == "one",
                "named": len(members) > 1,
                "members": [member.name for member in members],
                "runs": runs_of(directory, environment, config, members),
                "seconds": SECONDS_TO_BEGIN,
            }
        )

    def write(self, step: int, seconds: float, member: str, values: Metrics) -> None:
        """Hand over the metrics of a member; OSError if the process has failed."""
        values = {name: float(value) for name, value in values.items()}
        self.hand_over({"do": "write", "step": step, "member": member, "values": values})

    def show(self, step: int, seconds: float, member: str, name: str, media: Media) -> None:
        """Hand over a picture or a video; the service has the configuration otherwise."""
        about = {"do": "show", "step": step, "member": member, "name": name}
        if isinstance(media, Video):
            self.hand_over(about | {"path": str(media.path.resolve())})
        elif isinstance(media, Picture):
            self.hand_over(about | {"png": base64.b64encode(media.png).decode()})

    def flush(self) -> None:
        """Tell what has been answered; OSError if the process has failed."""
        self.hear()

    def close(self) -> None:
        """Have the process end, and wait for it a while; not for one that has failed."""
        if self.closed:
            return
        self.closed = True
        # The process knows by the end of its input.
        self.waiting.put(None)
        if self.failed:
            end(self.process)
            return
        try:
            self.process.wait(SECONDS_TO_FINISH)
        except subprocess.TimeoutExpired:
            self.tell(
                f"Weights & Biases has not taken everything in {SECONDS_TO_FINISH} s, which stays "
                f"in {self.folder}: {OFFLINE_COMMAND} sends the rest"
            )
            end(self.process)
        for thread in self.threads:
            thread.join(1)
        self.hear()

    def hand_over(self, told: dict[str, Any]) -> None:
        """Put something into the queue, after a look at what has been answered."""
        self.hear()
        self.put(told)

    def put(self, told: dict[str, Any]) -> None:
        """Put something into the queue, or drop it."""
        if self.waiting.qsize() < MOST_WAITING:
            self.waiting.put(told)
        elif not self.dropped:
            self.dropped = True
            self.tell(
                "Weights & Biases takes nothing at the moment: metrics are dropped, and are in "
                "metrics.jsonl; the run goes on"
            )

    def hear(self) -> None:
        """Tell of what the process has answered.

        Raises:
            OSError: it has failed.
        """
        while self.answers:
            answer = self.answers.popleft()
            if "unreachable" in answer:
                self.tell(
                    f"Weights & Biases cannot be reached ({answer['unreachable']}); what would "
                    f"have been sent is kept in {self.folder}, and {OFFLINE_COMMAND} sends it"
                )
            elif "failed" in answer:
                self.failed = True
                raise OSError(answer["failed"])

    def feed(self) -> None:
        """Write what is in the queue to the process, until the end."""
        assert self.process.stdin is not None
        # A process that has ended takes nothing more.
        with contextlib.suppress(OSError), self.process.stdin as pipe:
            while (told := self.waiting.get()) is not None:
                pipe.write(json.dumps(told).encode() + b"\n")
                if self.waiting.empty():
                    pipe.flush()

    def listen(self) -> None:
        """Take down what the process answers, until it ends."""
        assert self.process.stdout is not None
        done = False
        with contextlib.suppress(OSError, ValueError), self.process.stdout as pipe:
            for line in pipe:
                answer = json.loads(line)
                done = done or "done" in answer or "failed" in answer
                self.answers.append(answer)
        if not done and not self.closed:
            self.answers.append({"failed": "its process has ended"})


def surroundings(folder: Path) -> dict[str, str]:
    """Return the process's environment variables: what it keeps, it keeps in the run's folder."""
    kept = {"WANDB_DATA_DIR": str(folder.resolve() / "data"), "WANDB_SILENT": "true"}
    return {**kept, **os.environ}


def runs_of(
    directory: Path, environment: str, config: Config, members: tuple[Member, ...]
) -> list[dict[str, Any]]:
    """Return what the service's runs are called, and their configurations.

    Their ids follow from the directory, so that a run that is gone on with goes on there, too.
    """
    run = directory.resolve().name
    about = {"environment": environment}
    if config.log.wandb_runs == "one":
        seeds: dict[str, Any] = {"members": [member.name for member in members]}
        whole = {**options.to_dict(config), **about, **seeds}
        return [{"member": run, "id": as_id(run), "name": run, "config": whole}]
    return [
        {
            "member": member.name,
            "id": as_id(f"{run}-{member.name}"),
            "name": f"{run} {member.short if member.arm else member.label}",
            "config": {
                **options.to_dict(member.config),
                **about,
                "seed": member.seed,
                **({"arm": member.arm} if member.arm else {}),
            },
        }
        for member in members
    ]


def as_id(name: str) -> str:
    """Return a name as the service takes it for an id."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[-120:]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it has started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()


def check_wandb(config: Config) -> None:
    """Raise ConfigError if Weights & Biases is asked for, and it cannot work here."""
    mode = config.log.wandb
    if mode == "disabled":
        return
    found = find_spec("wandb")
    if found is None or found.origin is None:
        raise ConfigError(
            f"--log.wandb {mode} needs the extra `wandb`: install it with pip install 'qmu[wandb]'"
        )
    if mode == "offline":
        return
    answer = ask()
    if "broken" in answer:
        raise ConfigError(
            f"--log.wandb {mode}: wandb cannot be imported ({answer['broken']}); install it again "
            "with pip install 'qmu[wandb]'"
        )
    if not answer.get("key", True):
        why = str(answer.get("why", ""))
        said = f" ({why.rstrip('.')})" if "invalid" in why else ""
        raise ConfigError(
            f"--log.wandb {mode} needs a key of Weights & Biases{said}: log in with `wandb login`, "
            "set WANDB_API_KEY, or choose --log.wandb offline"
        )


def ask() -> Mapping[str, Any]:
    """Return what a process of its own says of the library; nothing if it takes too long."""
    try:
        said = subprocess.run(
            [*WORKER, "--check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS_TO_CHECK,
            check=False,
        )
        answer = json.loads(said.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}
