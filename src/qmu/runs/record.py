"""What a run leaves behind while it goes on: best policies, checkpoints, metrics."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from numpy.typing import NDArray

from qmu import config as options
from qmu.agent.custom import acting_names
from qmu.collecting.evaluate import Score
from qmu.deploy.files import load_policy
from qmu.deploy.layers import Floats
from qmu.deploy.past import State
from qmu.deploy.policy import Actor, Acts, Policy
from qmu.errors import ConfigError, DivergedError, LostRunError, UnsavedError, told
from qmu.health import doctor
from qmu.health.chart import Chart
from qmu.health.conditions import BEGINS_ANEW, left_alone
from qmu.learning.custom import load_custom
from qmu.learning.events import Best, Broken, Due, Evaluated, Event, Logged, Replaced
from qmu.learning.handover import policy_of
from qmu.learning.loop import FINAL_SEEDS, Trainer
from qmu.learning.provisions import check_disk
from qmu.records.described import said_of
from qmu.records.directory import (
    BEST,
    CHECKPOINTS,
    MESSAGES,
    METRICS,
    RUN_FILE,
    describe,
    make_directory,
    runs_of,
    write_json,
)
from qmu.records.lines import trim_lines
from qmu.runs.checkpoint import Saver
from qmu.runs.messages import Messages
from qmu.saving import storage
from qmu.saving.place import GoneError, Place
from qmu.saving.storage import DamagedError
from qmu.saving.store import Checkpoint
from qmu.watching.camera import Camera
from qmu.watching.logbook import Logbook, Tell
from qmu.watching.portrait import portrait
from qmu.watching.sinks import Picture, Sink, Text, Video
from qmu.watching.wandb_sink import check_wandb
from qmu.world.normalizing import listed, notes_on

# Before so many evaluations nothing is said to be wrong.
EVALUATIONS_TO_WARN = 10
# What a run that ended well has, too.
NEWEST = "the checkpoint of its last step"
# What is shown of all members together is shown under this name.
WHOLE = "run"


class Record:
    """What a run leaves behind while it goes on: files, best policies, last scores.

    A disk that takes nothing more does not end the run: `tell` is given a sentence about it.
    """

    def __init__(
        self,
        directory: Path,
        trainer: Trainer,
        tell: Tell,
        camera: Camera,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """Begin with no best policy of any member, and nothing saved."""
        self.place = Place(directory)
        self.trainer, self.tell, self.camera = trainer, tell, camera
        self.started = time.monotonic()
        self.best = [Best() for _ in trainer.members]
        self.last: list[Score] = []
        self.evaluated_at, self.saved_at = 0, 0
        self.ended_before_save, self.said_cut = 0, False
        # Raises where a signal has come, whose sender does not wait for the end of the scoring.
        self.break_off: Callable[[], None] = lambda: None
        # What could not be written when it was tried last, by what it is; why.
        self.unwritten: dict[str, str] = {}
        self.said_shortened = False
        # How long training stood still for a save that no line of metrics has told of.
        self.save_seconds: float | None = None
        directory = self.directory
        self.saver = Saver(directory / CHECKPOINTS, trainer, trainer.config.train.keep_checkpoints)
        self.logbook = Logbook(directory, trainer, tell, sinks)
        self.messages = Messages(directory / MESSAGES, tell)
        # What each member has logged, by its name, for a diagnosis.
        self.charts: dict[str, Chart] = {}
        # What was told of a diagnosis.
        self.warned: set[str] = set()
        self.evaluations = 0

    @property
    def directory(self) -> Path:
        """Where the run's directory is, as far as that was looked at."""
        return self.place.path

    def look(self) -> bool:
        """Go on in the run's directory where it is now; say, and tell, if it has been moved.

        Raises:
            LostRunError: it is gone. Nothing is written any more, least of all where it was.
        """
        before = self.directory
        try:
            moved = self.place.moved()
        except GoneError as error:
            raise LostRunError(self.lost(error)) from None
        if moved:
            self.saver.folder = self.directory / CHECKPOINTS
            self.messages.file = self.directory / MESSAGES
            self.logbook.move(self.directory)
            self.tell(f"{before} was moved: the run goes on in {self.directory}")
        return moved

    def lost(self, error: GoneError) -> str:
        """Return what is lost of a run whose directory is gone."""
        step, saved = self.trainer.step, self.saved_at
        if error.deleted:
            return (
                f"{error.path}, which the run writes into, was deleted before step {step}: what it "
                "had learned is lost, and so are its checkpoints and metrics"
            )
        kept = f" since its checkpoint of step {saved}" if saved else ""
        return (
            f"{error.path}, which the run writes into, is not there any more at step {step}, and "
            f"where it is cannot be found out: what it has learned{kept} is lost"
        )

    def open(self) -> None:
        """Begin to write, and show what each member's configuration is."""
        self.logbook.open(time.time() - self.seconds(), self.camera.taken(self.directory))
        self.messages.write(self.trainer.step)
        for note in notes_on(self.trainer.maker.normalizers):
            self.tell(note)
        members, longest = self.trainer.members, self.trainer.maker.longest
        found = doctor.charts(members, self.logbook.lines, longest)
        self.charts = {member.name: own for member, own in zip(members, found, strict=True)}
        for member in members:
            config = tomli_w.dumps(options.to_dict(member.config))
            self.logbook.show(0, 0.0, member.name, "config", Text(f"```toml\n{config}```\n"))

    def seconds(self) -> float:
        """Return how long ago the run began."""
        return time.monotonic() - self.started

    def film(self, event: Evaluated) -> None:
        """Make videos of an evaluation, and show them; training stands still meanwhile."""
        began = time.monotonic()
        for one in self.camera.shoot(self.directory, event, self.tell):
            self.logbook.show(one.step, self.seconds(), one.member, "video", Video(one.path))
        self.trainer.stood_still(time.monotonic() - began)

    def show_curves(self) -> None:
        """Show the evaluations of all members in a picture."""
        if not self.logbook.shows:
            return
        try:
            title = self.trainer.maker.spaces.name
            png = portrait(self.trainer.members, self.logbook.lines, title)
        except Exception as error:
            self.tell(f"no picture of the curves: {told(error)}")
            return
        if png is not None:
            self.logbook.show(self.trainer.step, self.seconds(), WHOLE, "curves", Picture(png))

    def hear(self, event: Event) -> None:
        """Write down what an event says, and what MuJoCo has said until then.

        Raises:
            LostRunError: the run's directory is gone.
        """
        self.look()
        self.messages.write(self.trainer.step)
        if isinstance(event, Logged):
            paused = {} if self.save_seconds is None else {"time/save_seconds": self.save_seconds}
            self.save_seconds = None
            self.write(event.step, [values | paused for values in event.members])
        elif isinstance(event, Evaluated):
            self.tell_cut(event.scores)
            due = self.camera.due(self.evaluated_at, event.step)
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
            if due:
                self.film(event)
        elif isinstance(event, Due):
            self.save(True)
        elif isinstance(event, Replaced):
            self.tell(
                f"a world of {event.member.label} failed before step {event.step} and was "
                f"replaced: {event.why}"
            )
        elif isinstance(event, Broken):
            # Each cause once; the others are counted in the metrics.
            once = f"{event.evaluating} {event.breakdown.cause}"
            if once not in self.warned:
                # It is a finding, too, that would be told later.
                self.warned |= {once, BEGINS_ANEW}
                self.tell(event.told)

    def tell_cut(self, scores: Sequence[Score]) -> None:
        """Tell, once, that episodes of an evaluation were cut off."""
        cut = next((score for score in scores if score.cut), None)
        if cut is not None and not self.said_shortened:
            self.said_shortened = True
            self.tell(f"in an evaluation, {cut.told_cut()}")

    def write(self, step: int, members: Sequence[Mapping[str, float]]) -> None:
        """Write every member's metrics, also into its chart."""
        for line in self.logbook.write(step, self.seconds(), members):
            if line["member"] in self.charts:
                self.charts[line["member"]].add(line)

    def warn(self) -> None:
        """Tell, once, of what is seriously wrong; in the beginning much is, and mends."""
        self.evaluations += 1
        if self.evaluations < EVALUATIONS_TO_WARN:
            return
        for diagnosis in self.diagnoses():
            finding = diagnosis.finding
            if finding.serious and finding.name not in self.warned:
                self.warned.add(finding.name)
                self.tell(
                    f"{finding.name} ({diagnosis.who}) at step {self.trainer.step}: "
                    f"{finding.seen}. Try {finding.advice} (`qmu doctor` says more)"
                )

    def diagnoses(self) -> list[doctor.Diagnosis]:
        """Return what is wrong by what has been logged; that it cannot be said is told once."""
        try:
            return doctor.together(self.trainer.members, list(self.charts.values()))
        except Exception as error:
            said = f"no diagnosis: {type(error).__name__}: {error}"
            if said not in self.warned:
                self.warned.add(said)
                self.tell(said)
            return []

    def policy(self, index: int, actor: Acts, step: int, score: float | None) -> Policy:
        """Return a member's actor as a policy that knows where it comes from."""
        member, maker = self.trainer.members[index], self.trainer.maker
        arm = {"arm": member.arm} if member.arm else {}
        return policy_of(
            actor,
            maker.spaces,
            **maker.made,
            **arm,
            seed=member.seed,
            step=step,
            evaluation_mean_reward=score,
        )

    def best_policy(self, index: int) -> Policy | None:
        """Return a member's best policy, if it has one."""
        best = self.best[index]
        if best.actor is None:
            return None
        score = best.mean if self.trainer.config.train.eval_interval else None
        return self.policy(index, best.actor, best.step, score)

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
                folder.parent.mkdir(exist_ok=True)
                folder.mkdir(exist_ok=True)
                files = policy.files()
                storage.replace_files({folder / name: files[name] for name in files})
        except OSError as error:
            self.unwritten[f"the best policy of {folders[0].name}"] = str(error)
            self.tell(f"the best policy could not be saved, the run goes on: {error}")
            return
        self.unwritten.pop(f"the best policy of {folders[0].name}", None)

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
        self.look()
        self.logbook.flush()
        try:
            seconds = self.write_checkpoint(scheduled)
        except OSError as error:
            self.unwritten[NEWEST] = str(error)
            self.tell(f"no checkpoint at step {self.trainer.step}: {error}")
            return
        self.unwritten.pop(NEWEST, None)
        self.saved_at, self.save_seconds = self.trainer.step, seconds
        # There is room again.
        self.logbook.lacking = False

    def write_checkpoint(self, scheduled: bool) -> float:
        """Write a checkpoint, once more if the directory is moved meanwhile; return the seconds.

        Raises:
            OSError: it could not be written.
        """
        while True:
            try:
                return self.saver.save(scheduled, self.policies(), self.state())
            except OSError:
                if not self.look():
                    raise

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
            "seconds": self.seconds(),
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
                    actor = self.read_policy(index, folder).network
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
        self.camera.take_back(self.directory, self.trainer.step)

    def forget_best(self) -> None:
        """Take no policy for the best one so far; what a checkpoint has of it stays there."""
        self.best, self.evaluated_at = [Best() for _ in self.best], 0
        storage.remove(self.directory / BEST)

    def read_policy(self, index: int, folder: Path) -> Policy:
        """Return a member's policy from a folder."""
        networks = self.trainer.networks
        if networks is None or not acting_names(networks):
            return load_policy(folder)
        return load_custom(folder, networks, self.trainer.members[index].config)

    def take_newest(self, actors: Sequence[Acts], finals: Sequence[Score]) -> None:
        """Take the newest policies for the best ones where nothing was evaluated but these."""
        step = self.trainer.step
        self.best = [
            Best(score.mean, step, actor) for score, actor in zip(finals, actors, strict=True)
        ]
        for index in range(len(self.best)):
            self.save_best(index)

    def tell_alone(self) -> None:
        """Tell for how long the only world was left alone, if that is long."""
        for chart in self.charts.values():
            finding = left_alone(chart)
            if finding is not None:
                self.tell(f"{finding.seen}: {finding.meaning} (`qmu doctor` says more)")

    def winner(self) -> int:
        """Return the member with the best evaluation so far."""
        return max(range(len(self.best)), key=lambda index: self.best[index].mean)

    def save_rest(self) -> None:
        """Save, outside of the schedule, what has been learned since the newest checkpoint.

        Raises:
            DivergedError: there are weights that are not finite.
        """
        if self.trainer.step > self.saved_at:
            self.trainer.cut()
            self.save(False)

    def finish(
        self, status: str, error: str | None = None, stopped: str | None = None
    ) -> str | None:
        """Write down how the run has ended; score the best policies of one that is finished.

        What could not be saved before is tried once more.

        Args:
            status: what `run.json` says from now on.
            error: what has ended a run that is not finished; what it has learned is saved.
            stopped: which callback has ended a run that is finished, and why.

        Returns:
            What is lost of a run that came to its end, because it could not be written; None if
            nothing is.

        Raises:
            LostRunError: the run's directory is gone.
        """
        trainer = self.trainer
        if status != "finished":
            # Weights that are not finite are of no use to anybody.
            with contextlib.suppress(DivergedError):
                self.save_rest()
        described = said_of(self.directory) or describe(trainer.maker.spaces.name)
        described |= {"status": status, "error": error, "steps": trainer.step}
        described |= {"stopped": stopped} if stopped else {}
        described["seconds"] = round(self.seconds(), 3)
        if status == "finished":
            evaluated = trainer.config.train.eval_interval > 0
            newest = [] if evaluated else trainer.actors(lag=False)
            best = [best.actor for best in self.best if best.actor is not None]
            finals = trainer.score(
                [Heeding(actor, self.break_off) for actor in best or newest],
                FINAL_SEEDS,
                trainer.config.train.final_episodes,
            )
            self.tell_cut(finals)
            for event in trainer.troubles():
                self.hear(event)
            if not evaluated:
                self.take_newest(newest, finals)
            described["members"] = [
                {
                    "seed": member.seed,
                    **({"arm": member.arm} if member.arm else {}),
                    "episodes": int(trainer.episodes[index]),
                    "last_mean_reward": self.last[index].mean if evaluated else None,
                    "best_mean_reward": self.best[index].mean if evaluated else None,
                    "best_step": self.best[index].step,
                    "final_mean_reward": finals[index].mean,
                    "final_std_reward": finals[index].std,
                    **({"final_cut": finals[index].cut} if finals[index].cut else {}),
                }
                for index, member in enumerate(trainer.members)
            ]
            winner = trainer.members[self.winner()]
            described["best_seed"] = winner.seed
            described |= {"best_arm": winner.arm} if winner.arm else {}
            self.save_again()
        self.look()
        self.messages.write(trainer.step)
        lost = "; ".join(
            f"{what} could not be written: {why}" for what, why in self.unwritten.items()
        )
        if lost and status == "finished":
            described |= {"status": UnsavedError.status, "error": lost}
        elif lost and not error:
            described["error"] = lost
        try:
            write_json(self.directory / RUN_FILE, described)
        except OSError as error:
            self.tell(f"{RUN_FILE} could not be written: {error}")
            lost = "; ".join([lost, f"{RUN_FILE} could not be written: {error}"]).lstrip("; ")
        if status == "finished":
            self.show_curves()
            self.tell_alone()
        return lost if lost and status == "finished" else None

    def save_again(self) -> None:
        """Save once more what could not be saved."""
        if NEWEST in self.unwritten:
            self.save_rest()
        if self.unwritten.keys() - {NEWEST}:
            for index in range(len(self.best)):
                self.save_best(index)

    def close(self) -> None:
        """Give back what is held."""
        self.camera.close()
        self.logbook.close()
        self.place.close()


class Heeding:
    """Acts as an actor does, until a signal comes."""

    def __init__(self, actor: Actor, break_off: Callable[[], None]) -> None:
        """Take the actor, and what raises where the run is to end."""
        self.actor, self.break_off = actor, break_off
        self.layout, self.past = actor.layout, actor.past

    def see(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return what the actor sees."""
        self.break_off()
        return self.actor.see(obs, state)

    def remember(self, obs: NDArray[Any], state: State) -> State:
        """Return the state after observations on which nobody acts."""
        return self.actor.remember(obs, state)

    def __call__(self, seen: Floats) -> Floats:
        """Return the actor's actions."""
        return self.actor(seen)


def equip(trainer: Trainer) -> Camera:
    """Return what a run is filmed with, after a look at what else it asks for.

    Raises:
        ConfigError: no video can be made, or Weights & Biases cannot be used.
    """
    check_wandb(trainer.config)
    return Camera(trainer)


def open_record(
    trainer: Trainer, home: str | None, tell: Tell, sinks: Sequence[Sink] = ()
) -> Record:
    """Make the run's directory, and return the record that writes into it, and to `sinks`.

    `home` is the user's working folder, which worlds may have changed.

    Raises:
        ConfigError: the disk has no room for the run, its directory cannot be made, or it asks for
            something that is not there.
    """
    check_disk(trainer, runs_of(trainer.config, home))
    camera = equip(trainer)
    described = ({"arms": trainer.arms} if trainer.arms else {}) | trainer.described()
    if normalizers := trainer.maker.normalizers:
        described["normalizers"] = listed(normalizers)
    try:
        directory = make_directory(trainer.config, home, trainer.maker.spaces.name, described)
    except ConfigError:
        camera.close()
        raise
    record = Record(directory, trainer, tell, camera, sinks)
    record.open()
    return record
