"""What a person sees while a run goes on: a live display, or plain lines where there is none.

In a terminal the display is renewed in place, and in a notebook, too.
"""

import datetime
import shlex
import time
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from qmu import config as options
from qmu.agent.custom import acting_names
from qmu.collecting.evaluate import Score
from qmu.config.ratio import ratio_words, unusual
from qmu.learning.events import Best, Evaluated, Event, Logged
from qmu.learning.events import Progress as Advanced
from qmu.learning.loop import Trainer
from qmu.learning.provisions import provisions
from qmu.places import shown
from qmu.records import again
from qmu.records.kept import Kept
from qmu.watching.forecast import Forecast
from qmu.watching.notebook import Notebook
from qmu.watching.terminal import Stubborn
from qmu.wording import counted

# More members than this are summed up in one line.
MOST_ROWS = 16
UNKNOWN = "-:--:--"


class Recorded(Protocol):
    """What a run has recorded by now: where, since when, and each member's scores."""

    directory: Path
    started: float
    best: list[Best]
    last: list[Score]


class Console:
    """Shows a run's events."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        """Write to this terminal; by default to standard output."""
        # Paths and names are shown as they are: no markup, no emoji, no colours by guessing.
        self.terminal = terminal or Stubborn(highlight=False, markup=False, emoji=False)
        self.live: Live | Notebook | None = None

    def start(self, trainer: Trainer, record: Recorded) -> None:
        """Say what is about to be trained, and begin to display."""
        config = trainer.config
        self.trainer, self.record = trainer, record
        self.episode_rewards: list[float | None] = [None] * len(trainer.members)
        self.first_step, self.first_moment = 0, time.monotonic()
        self.said_first_update = False
        device = trainer.learner.groups[0].device
        each = "" if len(trainer.members) == 1 else " each"
        self.say(
            f"{trainer.maker.spaces.name}: {members_in_words(trainer)}, "
            f"{self.total_words(config)}{each}, on {device.platform}"
        )
        self.say(f"writing to {shown(record.directory)}")
        if trainer.note is not None:
            self.tell(trainer.note)
        needed, short = provisions(trainer, record.directory)
        self.say(needed)
        self.say(f"replay: {ratio_words(config)}")
        ratio = unusual(config)
        if ratio is not None:
            self.tell(f"{ratio[0]}. Try {ratio[1]}")
        for note in short:
            self.tell(note)
        self.forecast = forecast_of(trainer)
        self.said_time = self.said_training = False
        if not (self.terminal.is_terminal or self.terminal.is_jupyter):
            return
        total = options.total_steps(config)
        self.progress = Progress(
            TextColumn("steps"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("left {task.fields[left]}"),
            console=self.terminal,
        )
        self.task = self.progress.add_task(
            "steps",
            total=None if total == options.UNLIMITED_STEPS else total,
            speed="",
            left=UNKNOWN,
        )
        if self.terminal.is_jupyter:
            self.live = Notebook()
            self.live.update(self.view())
            return
        self.live = Live(self.view(), console=self.terminal, refresh_per_second=4, transient=True)
        self.live.start()

    def total_words(self, config: options.Config) -> str:
        """Return how long the run will be, in words."""
        words = []
        if options.total_steps(config) != options.UNLIMITED_STEPS:
            words.append(f"{options.total_steps(config):,} steps")
        if config.train.total_episodes is not None:
            words.append(counted(config.train.total_episodes, "episode"))
        return " or ".join(words)

    def hear(self, event: Event) -> None:
        """Show what an event says."""
        self.forecast.hear(event, time.monotonic())
        self.tell_time()
        if isinstance(event, Advanced):
            self.show_progress(event.step)
        elif isinstance(event, Logged):
            for index, values in enumerate(event.members):
                self.episode_rewards[index] = values.get("rollout/ep_rew_mean")
        elif isinstance(event, Evaluated) and self.live is None:
            self.say(self.evaluation_line(event))
        if self.live is not None:
            self.live.update(self.view())

    def show_progress(self, step: int) -> None:
        """Show how far the run has got, and how fast it is."""
        if not self.said_first_update and self.trainer.learner.updates > 0:
            # Speed counts from here: the program has been compiled, the actors learn.
            self.said_first_update = True
            self.first_step, self.first_moment = step, time.monotonic()
        if self.live is not None:
            self.progress.update(
                self.task, completed=step, speed=self.speed(step), left=self.left()
            )

    def tell_time(self) -> None:
        """Say, once, how long the rest takes; first without evaluations, if they come late."""
        if self.said_time or (self.said_training and not self.forecast.has_evaluated):
            return
        lines = self.forecast.lines()
        if not lines:
            return
        self.said_training, self.said_time = True, self.forecast.has_evaluated
        self.say(lines[0])
        for note in lines[1:]:
            self.tell(note)

    def left(self) -> str:
        """Return how long the rest takes, as far as that is known, as a clock shows it."""
        left = self.forecast.left()
        return UNKNOWN if left is None else str(datetime.timedelta(seconds=int(left.total)))

    def speed(self, step: int) -> str:
        """Return the steps per second of all members since learning began."""
        seconds = time.monotonic() - self.first_moment
        if seconds < 0.5 or step <= self.first_step:
            return ""
        members = len(self.trainer.members)
        return f"{members * (step - self.first_step) / seconds:,.0f} steps/s"

    def evaluation_line(self, event: Evaluated) -> str:
        """Return an evaluation as one plain line."""
        total = options.total_steps(self.trainer.config)
        share = "" if total == options.UNLIMITED_STEPS else f" ({100 * event.step // total}%)"
        seconds = time.monotonic() - self.record.started
        scores = " ".join(
            f"{member.short}:{score.mean:.1f}"
            for member, score in list(zip(self.trainer.members, event.scores, strict=True))[
                :MOST_ROWS
            ]
        )
        return (
            f"step {event.step:,}{share}  {seconds:.0f} s  {self.speed(event.step) or '-'}  "
            f"evaluation by seed {scores}"
        )

    def view(self) -> Group:
        """Return the live display: a bar, and a table of the members."""
        table = Table("seed", "last evaluation", "best", "at step", "training episodes")
        for column in table.columns[1:]:
            column.justify = "right"
        for index, member in enumerate(self.trainer.members[:MOST_ROWS]):
            best, reward = self.record.best[index], self.episode_rewards[index]
            last = self.record.last[index] if self.record.last else None
            table.add_row(
                member.short,
                "-" if last is None else f"{last.mean:.1f} ± {last.std:.1f}",
                "-" if best.actor is None else f"{best.mean:.1f}",
                "-" if best.actor is None else f"{best.step:,}",
                "-" if reward is None else f"{reward:.1f}",
            )
        hidden = len(self.trainer.members) - MOST_ROWS
        if hidden > 0:
            table.add_row(f"and {hidden} more", "", "", "", "")
        return Group(self.progress, table)

    def say(self, text: str) -> None:
        """Print one line, never folded."""
        self.terminal.print(text, soft_wrap=True)

    def tell(self, text: str) -> None:
        """Print a sentence about something that does not end the run."""
        self.say(f"note: {text}")

    def stop(self) -> None:
        """End the live display."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def summary(self, run: Kept) -> None:
        """Print the scores of all members, where the run is, and what to type next."""
        info = run.info
        episodes = run.config.train.final_episodes
        table = Table(
            "seed", "last", "best", "at step", f"best policy on {counted(episodes, 'new episode')}"
        )
        for column in table.columns[1:]:
            column.justify = "right"
        for member in info["members"]:
            best = (member.get("arm"), member["seed"]) == (info.get("best_arm"), info["best_seed"])
            mark = " *" if best and len(info["members"]) > 1 else ""
            arm = f"{member['arm']} " if "arm" in member else ""
            table.add_row(
                f"{arm}{member['seed']}{mark}",
                mean_or_none(member["last_mean_reward"]),
                mean_or_none(member["best_mean_reward"]),
                f"{member['best_step']:,}",
                f"{member['final_mean_reward']:.1f} ± {member['final_std_reward']:.1f}",
            )
        self.terminal.print(table)
        if len(info["members"]) > 1:
            finals = [member["final_mean_reward"] for member in info["members"]]
            mean = sum(finals) / len(finals)
            self.say(
                f"over {len(finals)} seeds: mean {mean:.1f}, worst {min(finals):.1f}, best "
                f"{max(finals):.1f}; * is saved as the run's policy"
            )
        self.say(f"{info['steps']:,} steps in {info['seconds']:.0f} s")
        if "stopped" in info:
            self.say(f"ended by {info['stopped']}")
        self.say(f"run     {shown(run.directory)}")
        self.say(f"score   {again.how_to_score(run.directory, run.config, info)}")
        if (run.directory / "tensorboard").is_dir():
            self.say(f"curves  tensorboard --logdir {quoted(run.directory / 'tensorboard')}")
        log = run.config.log
        if log.wandb == "offline":
            self.say(f"w&b     wandb sync {quoted(run.directory)}/wandb/offline-run-*")
        elif log.wandb == "online":
            self.say(f"w&b     project {log.wandb_project}, group {run.directory.resolve().name}")
        if again.has_own_actor(info):
            loaded = f"{again.how_to_open(run.directory, info)}.policy()"
        else:
            loaded = f"qmu.load_policy({shown(run.directory / 'best')!r})"
        self.say(f"python  policy = {loaded}")


def mean_or_none(mean: float | None) -> str:
    """Return a mean return as a table shows it; there is none where nothing was evaluated."""
    return "-" if mean is None else f"{mean:.1f}"


def forecast_of(trainer: Trainer) -> Forecast:
    """Return what listens to a run's events, and foretells how long the rest takes."""
    networks = trainer.networks
    return Forecast(
        trainer.config,
        trainer.maker.longest,
        trainer.step,
        trainer.learning_began,
        compiled=not acting_names(networks),
    )


def members_in_words(trainer: Trainer) -> str:
    """Return which arms and seeds a run has."""
    first, last = trainer.seeds[0], trainer.seeds[-1]
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    arms = f"{len(trainer.arms)} arms with " if trainer.arms else ""
    return f"{arms}{seeds}{'' if len(trainer.members) == 1 else ' side by side'}"


def quoted(path: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(shown(path))


def score_lines(name: str, score: Any) -> list[str]:
    """Return a score in words."""
    rewards = score.rewards
    lines = [
        f"{name}: {counted(len(rewards), 'episode')}",
        f"return  mean {score.mean:.2f} ± {score.std:.2f}, worst {min(rewards):.2f}, "
        f"best {max(rewards):.2f}",
        f"length  mean {score.mean_length:.1f} steps",
    ]
    return [*lines, f"note: {score.told_cut()}"] if score.cut else lines


def episode_lines(score: Any) -> list[str]:
    """Return each episode of a score in words."""
    return [
        f"episode {number}  return {reward:.2f}, {length:,} steps"
        for number, (reward, length) in enumerate(zip(score.rewards, score.lengths, strict=True), 1)
    ]
