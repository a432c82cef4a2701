"""One run from start to end, and its directory."""

import datetime
import json
import math
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from qmu import config as options
from qmu.config import Config
from qmu.deploy.policy import Network, Policy, load_policy
from qmu.errors import ConfigError, QmuError
from qmu.training.evaluate import Score, evaluate
from qmu.training.loop import FINAL_SEEDS, Due, Evaluated, Event, Logged, Trainer
from qmu.training.sinks import JsonLines, Sink, TensorBoard, spread
from qmu.world.make import Source, find_maker

RUN_FILE = "run.json"
# Episodes of `qmu eval` begin with these seeds: neither those that chose the policy, nor those
# that its final score was measured on.
EVAL_SEEDS = 3_000_000

Listener = Callable[[Trainer, Event], None]


@dataclass
class Best:
    """A member's best policy so far, by the mean of an evaluation."""

    mean: float = -math.inf
    step: int = 0
    actor: Network | None = None


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
            for index, (score, actor) in enumerate(zip(event.scores, event.actors, strict=True)):
                if score.mean > self.best[index].mean:
                    self.best[index] = Best(score.mean, event.step, actor)
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
        if status != "diverged":
            self.save_checkpoint(trainer.step, trainer.learner.actors(lag=False))
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


@dataclass(frozen=True)
class Run:
    """A run's directory, read."""

    directory: Path

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says: versions, status, steps, each member's scores."""
        described: dict[str, Any] = json.loads(
            (self.directory / RUN_FILE).read_text(encoding="utf-8")
        )
        return described

    @property
    def config(self) -> Config:
        """The run's complete configuration."""
        return options.from_dict(options.read_toml(self.directory / "config.toml"))

    def policy(self, seed: int | None = None) -> Policy:
        """Return the best policy of the member with this seed; without one, the best of all.

        Raises:
            ConfigError: there is no such policy.
        """
        best = self.directory / "best"
        if seed is None:
            return load_policy(best)
        if not (best / f"seed-{seed}").is_dir():
            there = ", ".join(sorted(path.name[5:] for path in best.glob("seed-*")))
            raise ConfigError(f"{self.directory} has no member with seed {seed}; there is {there}")
        return load_policy(best / f"seed-{seed}")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`: step, seconds, member, names -> numbers."""
        lines = (self.directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def evaluate(
        self,
        episodes: int = 20,
        *,
        env: Source | None = None,
        seed: int | None = None,
        first_episode_seed: int = EVAL_SEEDS,
        render: bool = False,
    ) -> Score:
        """Return the score of the best policy (or that of one seed) on new episodes.

        Raises:
            ConfigError: no such policy, or the environment is needed and not given, or does not
                fit the policy.
            WorldError: the environment raised or returned something impossible.
        """
        policy = self.policy(seed)
        return evaluate_policy(
            policy,
            self.config.env.id if env is None else env,
            episodes,
            self.config.env.episode_length,
            first_episode_seed,
            render,
        )


def evaluate_policy(
    policy: Policy,
    source: Source | None,
    episodes: int,
    episode_length: int | None,
    first_episode_seed: int = EVAL_SEEDS,
    render: bool = False,
) -> Score:
    """Return a policy's score on `episodes` episodes of an environment."""
    if episodes < 1:
        raise ConfigError(f"--episodes must be greater than 0, not {episodes}")
    if source is None:
        raise ConfigError(
            f"this run was trained on {policy.info.get('environment')}, which has no id to make "
            "it again: give the environment (in Python: run.evaluate(env=...))"
        )
    maker = find_maker(source, episode_length)
    spaces = maker.spaces
    if (spaces.obs_shape, spaces.action_shape) != (policy.obs_shape, policy.action_shape):
        raise ConfigError(
            f"the policy maps observations {policy.obs_shape} to actions {policy.action_shape}; "
            f"{spaces.name} has observations {spaces.obs_shape} and actions {spaces.action_shape}"
        )
    side_by_side = 1 if render else min(episodes, 20)
    worlds = maker.evaluation_worlds(side_by_side, render)
    try:
        seeds = range(first_episode_seed, first_episode_seed + episodes)
        return evaluate(policy.network, worlds, seeds)
    finally:
        worlds.close()


def open_run(directory: str | Path) -> Run:
    """Return the run in a directory.

    Raises:
        ConfigError: it is not a run's directory.
    """
    path = Path(directory)
    if not path.is_dir():
        raise ConfigError(
            f"{path} is no directory; give a run's, such as runs/Pendulum-v1/ddpg-..."
        )
    missing = [name for name in (RUN_FILE, "config.toml") if not (path / name).is_file()]
    if missing:
        inside = sorted(found.parent for found in path.glob(f"*/{RUN_FILE}"))
        hint = f"; there is one in {inside[-1]}" if inside else ""
        raise ConfigError(f"{path} is not a run's directory: it has no {missing[0]}{hint}")
    return Run(path)


def train(
    env: Source | None = None,
    /,
    *,
    seed: int | None = None,
    seeds: int | None = None,
    total_steps: int | None = None,
    progress: bool = False,
    **groups: Mapping[str, Any],
) -> Run:
    """Train a deterministic policy and return the finished run.

    Args:
        env: an environment id, a function that returns a Gymnasium environment, an environment,
            or a vector environment in same-step autoreset mode.
        seed: the first member's seed (`train={"seed": ...}`).
        seeds: how many members are trained side by side (`train={"seeds": ...}`).
        total_steps: steps of each member (`train={"total_steps": ...}`).
        progress: show a live display, as the command line does.
        **groups: a dictionary per group of options: env, actor, critic, target, explore, replay,
            train, log; the names are those of `qmu train --help`.

    Raises:
        ConfigError: something about the request is wrong; nothing was started or written.
        WorldError: an environment failed; what had been learned is saved.
    """
    shortcuts = {"seed": seed, "seeds": seeds, "total_steps": total_steps}
    given = {name: value for name, value in shortcuts.items() if value is not None}
    config = options.from_dict(options.merge(groups, {"train": given} if given else {}))
    if progress:
        from qmu.training.console import Console

        return train_config(config, env, Console())
    return train_config(config, env)


def train_config(config: Config, source: Source | None = None, console: Any = None) -> Run:
    """Train as the configuration says, on its environment id or on the source given instead."""
    if source is None:
        source = config.env.id
    if source is None:
        raise ConfigError(
            "no environment was named: give an id such as Pendulum-v1 (`qmu envs` lists them)"
        )
    if isinstance(source, str):
        config = options.replace(config, "env", id=source)
    trainer = Trainer(*prepare(config, source))
    try:
        return train_with(trainer, console)
    finally:
        trainer.close()


def prepare(config: Config, source: Source) -> tuple[Config, Any]:
    """Return the resolved configuration and the maker of the worlds."""
    maker = find_maker(source, config.env.episode_length)
    if maker.vector is not None:
        if config.train.seeds > 1:
            raise ConfigError(
                "a ready-made vector environment serves one member: give the environment's id or "
                "a factory to train several seeds"
            )
        config = options.replace(config, "env", count=maker.vector.num_envs)
        options.check(config)
    return config, maker


def train_with(trainer: Trainer, console: Any) -> Run:
    """Run a trainer to its end, in a new directory."""
    config = trainer.config
    directory = make_directory(config, trainer.maker.spaces.name)
    sinks: list[Sink] = [JsonLines(directory / "metrics.jsonl")]
    if config.log.tensorboard:
        sinks.append(TensorBoard(directory / "tensorboard"))
    record = Record(directory, trainer, sinks)
    if console is not None:
        console.start(trainer, record)
    try:
        total = options.total_steps(config)
        for event in trainer.run(total, config.train.total_episodes):
            record.hear(event)
            if console is not None:
                console.hear(event)
        if record.evaluated_at != trainer.step:
            event = trainer.evaluate()
            record.hear(event)
            if console is not None:
                console.hear(event)
        record.finish("finished")
    except KeyboardInterrupt:
        record.finish("interrupted")
        raise
    except QmuError as error:
        record.finish(error.status, str(error))
        error.add_note(f"what was learned until then is saved in {directory}")
        raise
    finally:
        if console is not None:
            console.stop()
    run = Run(directory)
    if console is not None:
        console.summary(run)
    return run


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
    with (directory / "config.toml").open("wb") as file:
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
