"""What a run leaves behind while it goes on: its directory, best policies, metrics."""

import contextlib
import datetime
import json
import math
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from qmu import config as options
from qmu.config import Config
from qmu.deploy.policy import Network, Policy
from qmu.errors import ConfigError, DivergedError
from qmu.training.evaluate import Score
from qmu.training.loop import FINAL_SEEDS, Due, Evaluated, Event, Logged, Trainer
from qmu.training.sinks import JsonLines, Sink, TensorBoard, spread

RUN_FILE = "run.json"
CONFIG_FILE = "config.toml"


class Best(NamedTuple):
    """A member's best policy so far, by the mean of an evaluation."""

    mean: float = -math.inf
    step: int = 0
    actor: Network | None = None

    def or_better(self, event: Evaluated, index: int) -> "Best":
        """Return what is best after an evaluation of member `index`: this one, or the new one.

        Of equals it is the latest: where a world has a highest score, it has held out longest.
        """
        mean = event.scores[index].mean
        return Best(mean, event.step, event.actors[index]) if mean >= self.mean else self


@dataclass
class Record:
    """What a run leaves behind while it goes on: files, best policies, last scores."""

    directory: Path
    trainer: Trainer
    sinks: list[Sink]
    started: float = field(default_factory=time.monotonic)
    best: list[Best] = field(default_factory=list)
    last: list[Score] = field(default_factory=list)
    evaluated_at: int = 0

    def __post_init__(self) -> None:
        """Begin with no best policy of any member."""
        self.best = [Best() for _ in self.trainer.seeds]

    def hear(self, event: Event) -> None:
        """Write down what an event says."""
        if isinstance(event, Logged):
            self.write(event.step, event.members)
        elif isinstance(event, Evaluated):
            self.last, self.evaluated_at = event.scores, event.step
            for index, best in enumerate(self.best):
                self.best[index] = best.or_better(event, index)
                if self.best[index] is not best:
                    self.save_best(index)
            self.write(
                event.step,
                [
                    {
                        "eval/mean_reward": score.mean,
                        "eval/std_reward": score.std,
                        "eval/mean_ep_length": score.mean_length,
                        "eval/best_mean_reward": best.mean,
                    }
                    for score, best in zip(event.scores, self.best, strict=True)
                ],
            )
        elif isinstance(event, Due):
            self.save_checkpoint(event.step, event.actors)

    def write(self, step: int, members: Sequence[Mapping[str, float]]) -> None:
        """Write every member's metrics, and their mean and spread."""
        seconds = time.monotonic() - self.started
        named = {
            f"seed-{seed}": values for seed, values in zip(self.trainer.seeds, members, strict=True)
        }
        if len(members) > 1:
            named["mean"], named["std"] = spread(members)
        for sink in self.sinks:
            for member, values in named.items():
                sink.write(step, seconds, member, values)

    def policy(self, index: int, actor: Network, step: int, score: float | None) -> Policy:
        """Return a member's actor as a policy that knows where it comes from."""
        spaces = self.trainer.maker.spaces
        info = {
            "environment": spaces.name,
            "seed": self.trainer.seeds[index],
            "step": step,
            "evaluation_mean_reward": score,
            "qmu": metadata.version("qmu"),
        }
        return Policy(actor, spaces.obs_shape, spaces.action_shape, spaces.low, spaces.high, info)

    def save_best(self, index: int) -> None:
        """Save a member's best policy, and the best member's beside them."""
        best = self.best[index]
        assert best.actor is not None
        policy = self.policy(index, best.actor, best.step, best.mean)
        policy.save(self.directory / "best" / f"seed-{self.trainer.seeds[index]}")
        if index == self.winner():
            policy.save(self.directory / "best")

    def save_checkpoint(self, step: int, actors: Sequence[Network]) -> None:
        """Save every member's policy as it is at this step."""
        folder = self.directory / "checkpoints" / f"{step:09d}"
        for index, actor in enumerate(actors):
            policy = self.policy(index, actor, step, None)
            policy.save(folder / f"seed-{self.trainer.seeds[index]}")

    def winner(self) -> int:
        """Return the member with the best evaluation so far."""
        return max(range(len(self.best)), key=lambda index: self.best[index].mean)

    def finish(self, status: str, error: str | None = None) -> None:
        """Save what there is, measure the best policies on new episodes, and write it down."""
        trainer = self.trainer
        described = json.loads((self.directory / RUN_FILE).read_text(encoding="utf-8"))
        described |= {"status": status, "error": error, "steps": trainer.step}
        described["seconds"] = round(time.monotonic() - self.started, 3)
        # Weights that are not finite are of no use to anybody.
        with contextlib.suppress(DivergedError):
            self.save_checkpoint(trainer.step, trainer.actors(lag=False))
        if status == "finished":
            actors = [best.actor for best in self.best if best.actor is not None]
            finals = trainer.score(actors, FINAL_SEEDS, trainer.config.train.final_episodes)
            described["members"] = [
                {
                    "seed": seed,
                    "episodes": int(trainer.episodes[index]),
                    "last_mean_reward": self.last[index].mean,
                    "best_mean_reward": self.best[index].mean,
                    "best_step": self.best[index].step,
                    "final_mean_reward": finals[index].mean,
                    "final_std_reward": finals[index].std,
                }
                for index, seed in enumerate(trainer.seeds)
            ]
            described["best_seed"] = trainer.seeds[self.winner()]
        write_json(self.directory / RUN_FILE, described)
        for sink in self.sinks:
            sink.close()


def open_record(trainer: Trainer) -> Record:
    """Make the run's directory, and return the record that writes into it."""
    directory = make_directory(trainer.config, trainer.maker.spaces.name)
    sinks: list[Sink] = [JsonLines(directory / "metrics.jsonl")]
    if trainer.config.log.tensorboard:
        sinks.append(TensorBoard(directory / "tensorboard"))
    return Record(directory, trainer, sinks)


def make_directory(config: Config, name: str) -> Path:
    """Make the run's directory, with its configuration and description."""
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(config.log.dir) / name.replace("/", "_").replace(":", "_")
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    suffix = "".join(secrets.choice(alphabet) for _ in range(4))
    directory = folder / f"{config.log.name}-{moment}-{suffix}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the run's directory {directory}: {error.strerror}; choose another "
            "--log.dir"
        ) from None
    with (directory / CONFIG_FILE).open("wb") as file:
        tomli_w.dump(options.to_dict(config), file)
    write_json(directory / RUN_FILE, describe(name))
    return directory


def describe(environment: str) -> dict[str, Any]:
    """Return where and with what a run was started."""
    packages = ("qmu", "jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium", "mujoco")
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "environment": environment,
        "status": "running",
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """Return the commit of the folder that the user works in, if it is under git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file: beside its place first, then renamed, so that it is never half there."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
