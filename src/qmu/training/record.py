"""What a run leaves behind while it goes on: best policies, checkpoints, metrics."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from qmu.deploy.files import load_policy
from qmu.deploy.policy import Network, Policy
from qmu.errors import ConfigError, DivergedError
from qmu.saving import storage
from qmu.saving.storage import DamagedError
from qmu.saving.store import Checkpoint
from qmu.training import doctor
from qmu.training.checkpoint import Saver
from qmu.training.directory import (
    BEST,
    CHECKPOINTS,
    METRICS,
    RUN_FILE,
    check_disk,
    make_directory,
    read_json,
    write_json,
)
from qmu.training.evaluate import Score
from qmu.training.loop import FINAL_SEEDS, Due, Evaluated, Event, Logged, Replaced, Trainer
from qmu.training.sinks import (
    JsonLines,
    Sink,
    TensorBoard,
    read_lines,
    spread,
    trim_lines,
    write_again,
)

# Before so many evaluations nothing is said to be wrong.
EVALUATIONS_TO_WARN = 10


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


Tell = Callable[[str], None]


class Record:
    """What a run leaves behind while it goes on: files, best policies, last scores.

    A disk that takes nothing more does not end the run: `tell` is given a sentence about it.
    """

    def __init__(self, directory: Path, trainer: Trainer, tell: Tell) -> None:
        """Begin with no best policy of any member, and nothing saved."""
        self.directory, self.trainer, self.tell = directory, trainer, tell
        self.started = time.monotonic()
        self.best = [Best() for _ in trainer.members]
        self.last: list[Score] = []
        self.evaluated_at, self.saved_at = 0, 0
        self.ended_before_save, self.said_cut = 0, False
        # How long training stood still for a save that no line of metrics has told of.
        self.save_seconds: float | None = None
        self.saver = Saver(directory / CHECKPOINTS, trainer, trainer.config.train.keep_checkpoints)
        self.sinks: list[Sink] = []
        # What has been logged, for a diagnosis, and what was told of it.
        self.lines: list[Mapping[str, Any]] = []
        self.warned: set[str] = set()
        self.evaluations = 0
        # Whether it has been told that lines find no room in the first of them.
        self.lacking = False

    def open_sinks(self) -> None:
        """Open what metrics are written to; lines that are there already are written again."""
        file = self.directory / METRICS
        self.lines = [*read_lines(file)] if file.exists() else []
        self.sinks = [JsonLines(file)]
        if self.trainer.config.log.tensorboard:
            folder = self.directory / "tensorboard"
            board = TensorBoard(folder, time.time() - (time.monotonic() - self.started))
            self.sinks.append(board)
            self.sink(board, lambda: write_again(board, folder, self.lines))

    def sink(self, sink: Sink, work: Callable[[], None]) -> None:
        """Do some work of a sink. One that fails is told about, and but for the first given up."""
        try:
            work()
        except OSError as error:
            if sink is self.sinks[0]:
                if not self.lacking:
                    self.tell(f"{sink.name} lacks lines, the run goes on: {error}")
                self.lacking = True
            else:
                self.sinks.remove(sink)
                with contextlib.suppress(OSError):
                    sink.close()
                self.tell(f"{sink.name} is not written any more, the run goes on: {error}")

    def hear(self, event: Event) -> None:
        """Write down what an event says."""
        if isinstance(event, Logged):
            paused = {} if self.save_seconds is None else {"time/save_seconds": self.save_seconds}
            self.save_seconds = None
            self.write(event.step, [values | paused for values in event.members])
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
                    | health
                    for score, best, health in zip(
                        event.scores, self.best, event.health, strict=True
                    )
                ],
            )
            self.warn()
        elif isinstance(event, Due):
            self.save(True)
        elif isinstance(event, Replaced):
            self.tell(
                f"a world of {event.member.label} failed before step {event.step} and was "
                f"replaced: {event.why}"
            )

    def write(self, step: int, members: Sequence[Mapping[str, float]]) -> None:
        """Write every member's metrics, and their mean and spread over each arm's seeds."""
        seconds = time.monotonic() - self.started
        named: dict[str, Mapping[str, float]] = {}
        arms: dict[str, list[Mapping[str, float]]] = {}
        for member, values in zip(self.trainer.members, members, strict=True):
            named[member.name] = values
            arms.setdefault(member.arm, []).append(values)
        for arm, own in arms.items():
            if len(own) > 1:
                prefix = f"{arm}." if arm else ""
                named[f"{prefix}mean"], named[f"{prefix}std"] = spread(own)
        self.lines += [{"step": step, "member": name, **values} for name, values in named.items()]
        for sink in list(self.sinks):
            for name, values in named.items():
                self.sink(sink, partial(sink.write, step, seconds, name, values))

    def warn(self) -> None:
        """Tell, once, of what is seriously wrong; in the beginning much is, and mends."""
        members, trainer = self.trainer.members, self.trainer
        self.evaluations += 1
        if self.evaluations < EVALUATIONS_TO_WARN:
            return
        known = doctor.charts(members, self.lines, trainer.maker.longest)
        for diagnosis in doctor.together(members, known):
            finding = diagnosis.finding
            if finding.serious and finding.name not in self.warned:
                self.warned.add(finding.name)
                self.tell(
                    f"{finding.name} ({diagnosis.who}) at step {trainer.step}: {finding.seen}. "
                    f"Try {finding.advice} (`qmu doctor` says more)"
                )

    def policy(self, index: int, actor: Network, step: int, score: float | None) -> Policy:
        """Return a member's actor as a policy that knows where it comes from."""
        spaces = self.trainer.maker.spaces
        info = {
            "environment": spaces.name,
            "seed": self.trainer.members[index].seed,
            "step": step,
            "evaluation_mean_reward": score,
            "qmu": metadata.version("qmu"),
        }
        return Policy(actor, spaces.obs_shape, spaces.action_shape, spaces.low, spaces.high, info)

    def best_policy(self, index: int) -> Policy | None:
        """Return a member's best policy, if it has been evaluated."""
        best = self.best[index]
        return None if best.actor is None else self.policy(index, best.actor, best.step, best.mean)

    def save_best(self, index: int) -> None:
        """Save a member's best policy, and the best member's beside them."""
        policy = self.best_policy(index)
        if policy is None:
            return
        folders = [self.directory / BEST / self.trainer.members[index].name]
        if index == self.winner():
            folders.append(self.directory / BEST)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                for name, data in policy.files().items():
                    storage.replace_file(folder / name, data)
        except OSError as error:
            self.tell(f"the best policy could not be saved, the run goes on: {error}")

    def save(self, scheduled: bool) -> None:
        """Save all that it takes to go on, and every member's policy as it is."""
        ended = int(self.trainer.episodes.sum())
        whole = self.trainer.step - self.saved_at >= self.trainer.config.train.save_interval
        if scheduled and whole and ended == self.ended_before_save and not self.said_cut:
            self.said_cut = True
            self.tell(
                "no episode has ended since the save before, and each save cuts all episodes off: "
                "raise --train.save-interval"
            )
        self.ended_before_save = ended
        for sink in list(self.sinks):
            self.sink(sink, sink.flush)
        try:
            seconds = self.saver.save(scheduled, self.policies(), self.state())
        except OSError as error:
            self.tell(f"no checkpoint at step {self.trainer.step}: {error}")
            return
        self.saved_at, self.save_seconds = self.trainer.step, seconds
        # There is room again.
        self.lacking = False

    def policies(self) -> dict[str, bytes]:
        """Return the files of every member's newest and best policy."""
        newest = self.trainer.actors(lag=False)
        files: dict[str, bytes] = {}
        for index, member in enumerate(self.trainer.members):
            policies = {
                member.name: self.policy(index, newest[index], self.trainer.step, None),
                f"{BEST}/{member.name}": self.best_policy(index),
            }
            for folder, policy in policies.items():
                if policy is not None:
                    files |= {f"{folder}/{name}": data for name, data in policy.files().items()}
        return files

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs to know of this one, beside the trainer."""
        file = self.directory / METRICS
        return {
            "best": [[best.mean, best.step] if best.actor else None for best in self.best],
            "last": [[score.rewards, score.lengths] for score in self.last],
            "evaluated_at": self.evaluated_at,
            "seconds": time.monotonic() - self.started,
            "metrics_bytes": file.stat().st_size if file.exists() else 0,
        }

    def restore(self, saved: Checkpoint) -> None:
        """Become what was recorded at a checkpoint; what was written after it is taken back.

        Raises:
            DamagedError: the checkpoint does not hold that.
        """
        state = saved.state
        try:
            self.started = time.monotonic() - float(state["seconds"])
            self.evaluated_at = int(state["evaluated_at"])
            self.last = [
                Score(tuple(map(float, rewards)), tuple(map(int, lengths)))
                for rewards, lengths in state["last"]
            ]
            for index, entry in enumerate(state["best"]):
                if entry is not None:
                    folder = saved.path / BEST / self.trainer.members[index].name
                    actor = load_policy(folder).network
                    self.best[index] = Best(float(entry[0]), int(entry[1]), actor)
            size = int(state["metrics_bytes"])
        except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
            raise DamagedError(f"{saved.path} does not hold a run's record: {error!r}") from None
        self.saved_at = self.trainer.step
        self.ended_before_save = int(self.trainer.episodes.sum())
        self.saver.go_on(saved)
        if all(best.actor is None for best in self.best):
            storage.remove(self.directory / BEST)
        for index, member in enumerate(self.trainer.members):
            if self.best[index].actor is None:
                storage.remove(self.directory / BEST / member.name)
            self.save_best(index)
        trim_lines(self.directory / METRICS, size, self.trainer.step)

    def winner(self) -> int:
        """Return the member with the best evaluation so far."""
        return max(range(len(self.best)), key=lambda index: self.best[index].mean)

    def finish(self, status: str, error: str | None = None) -> None:
        """Save what there is, measure the best policies on new episodes, and write it down."""
        trainer = self.trainer
        if trainer.step > self.saved_at:
            trainer.cut()
            # Weights that are not finite are of no use to anybody; of a run that has come to its
            # end otherwise, that has to be said.
            finished = status == "finished"
            with contextlib.nullcontext() if finished else contextlib.suppress(DivergedError):
                self.save(False)
        described = read_json(self.directory / RUN_FILE)
        described |= {"status": status, "error": error, "steps": trainer.step}
        described["seconds"] = round(time.monotonic() - self.started, 3)
        if status == "finished":
            actors = [best.actor for best in self.best if best.actor is not None]
            finals = trainer.score(actors, FINAL_SEEDS, trainer.config.train.final_episodes)
            described["members"] = [
                {
                    "seed": member.seed,
                    **({"arm": member.arm} if member.arm else {}),
                    "episodes": int(trainer.episodes[index]),
                    "last_mean_reward": self.last[index].mean,
                    "best_mean_reward": self.best[index].mean,
                    "best_step": self.best[index].step,
                    "final_mean_reward": finals[index].mean,
                    "final_std_reward": finals[index].std,
                }
                for index, member in enumerate(trainer.members)
            ]
            winner = trainer.members[self.winner()]
            described["best_seed"] = winner.seed
            described |= {"best_arm": winner.arm} if winner.arm else {}
        try:
            write_json(self.directory / RUN_FILE, described)
        except OSError as error:
            self.tell(f"{RUN_FILE} could not be written: {error}")
        for sink in list(self.sinks):
            self.sink(sink, sink.close)


def open_record(trainer: Trainer, tell: Tell) -> Record:
    """Make the run's directory, and return the record that writes into it.

    Raises:
        ConfigError: the disk has no room for the run, or the directory cannot be made.
    """
    check_disk(trainer, Path(trainer.config.log.dir))
    directory = make_directory(trainer.config, trainer.maker.spaces.name, trainer.arms)
    record = Record(directory, trainer, tell)
    record.open_sinks()
    return record
