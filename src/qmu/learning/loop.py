"""Collect while learning; when to log, evaluate and save.

While the learner works on chunk c, the worlds take the steps of chunk c + 1 with the actor that
chunk c - 1 returned. The lag is fixed, so a run is deterministic.
"""

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from qmu import config as options
from qmu.agent.custom import Networks, acting_names, makers_of
from qmu.agent.encoder import check_size
from qmu.agent.schedule import scheduled
from qmu.collecting.crew import Crew
from qmu.collecting.display import check_display
from qmu.collecting.evaluate import (
    LONGEST_EPISODE,
    Score,
    Trace,
    evaluate,
    worlds_of,
)
from qmu.collecting.limit import TimeLimit
from qmu.collecting.turns import OnlyWorld
from qmu.config import Config
from qmu.config.encoder import check_images
from qmu.config.members import Arms, diverged, members_of
from qmu.deploy.past import initial_state
from qmu.deploy.policy import Actor, Acts
from qmu.errors import ConfigError, DivergedError, WorldError
from qmu.learning.custom import waiting_note
from qmu.learning.devices import check_memory, find_devices, share_note
from qmu.learning.events import Broken, Due, Evaluated, Event, Logged, Progress, Replaced
from qmu.learning.foresight import overestimation, sizes
from qmu.learning.groups import divide
from qmu.learning.learner import Learner
from qmu.learning.schedules import Schedule, Schedules, with_values
from qmu.replay.stream import ring_length
from qmu.world.breakdowns import Breakdown
from qmu.world.collector import Episode, no_rows
from qmu.world.make import Maker

# Episodes of evaluations have these seeds, whatever the run's seed: scores are comparable.
SELECTION_SEEDS = 1_000_000
FINAL_SEEDS = 2_000_000
# Rollout metrics are means over this many finished episodes.
ROLLOUT_WINDOW = 100


class Trainer:
    """The moving parts of one run: worlds, learner, and where they have got to."""

    def __init__(
        self,
        config: Config,
        maker: Maker,
        arms: Arms | None = None,
        schedules: Mapping[str, Schedule] | None = None,
        networks: Networks | None = None,
    ) -> None:
        """Allocate everything that the run will need.

        Args:
            config: the run's options.
            maker: makes its worlds.
            arms: name -> numeric options; every arm has members with all of the run's seeds.
            schedules: name of a numeric option -> its number as a function of the step.
            networks: what makes actors or critics, instead of what the options say.

        Raises:
            ConfigError: arms differ in more than numbers, a schedule or networks cannot be used,
                the device is not there, the stream does not fit, or there is no display.
        """
        self.config = config
        self.maker = maker
        self.arms = arms or {}
        self.schedules = Schedules(schedules, config)
        self.members = members_of(config, self.arms)
        # Each member's options as they were in the newest chunk.
        self.now = [member.config for member in self.members]
        self.seeds = tuple(member.seed for member in self.members)
        self.networks = networks
        own = acting_names(networks)
        if own and config.env.workers.number:
            raise ConfigError(
                f"--env.workers: networks.{own[0]} of your own acts in this process only; leave "
                "one of them out"
            )
        devices = find_devices(config.train.device, spare=int(bool(own)))
        if config.env.single and len(self.members) > 1:
            raise ConfigError(
                f"--env.single is one world in all, and {len(self.members)} agents need one each: "
                "train them one after the other"
            )
        groups = divide(self.members, devices)
        check_seen(config, maker, networks)
        check_memory(config, maker, devices[0], len(self.members))
        if config.env.render:
            check_display("--env.render", "leave it out")
        spaces = maker.spaces
        makers = makers_of(networks, spaces.layout, spaces.action_size, config)
        self.learner = Learner(
            groups, spaces.layout, spaces.action_size, self.schedules.names, makers
        )
        learning = [group.device for group in groups]
        waiting = waiting_note(self.learner.acting_device, learning) if own else None
        self.note = waiting or share_note(self.seeds, devices)
        self.closed = False
        self.guard = TimeLimit(config.env.step_timeout)
        with contextlib.ExitStack() as made:
            made.callback(self.guard.close)
            restarting = config.env.on_error == "restart"
            # Training and evaluations take turns in it.
            self.only = OnlyWorld(maker, self.guard, restarting) if config.env.single else None
            if self.only is not None:
                made.callback(self.only.close)
            self.crew = Crew(config, self.members, maker._replace(shared=self.only), self.guard)
            made.callback(self.crew.close)
            self.evaluation_worlds = self.only or worlds_of(maker, config, self.guard)
            made.pop_all()
        self.step = 0
        # Updates are due for every step beyond `learning_began`, on top of those done before.
        self.learning_began = options.learn_after(config)
        self.updates_before = 0
        self.episodes = np.zeros(len(self.seeds), np.int64)
        self.evaluation_restarts: list[tuple[int, str]] = []
        # As in a station: on a busy machine evaluations took ten times as long, and more, with all.
        self.threads = ThreadpoolController()
        self.restarts = np.zeros(len(self.seeds), np.int64)
        # Steps of the worlds themselves, where an action is repeated.
        self.world_steps = np.zeros(len(self.seeds), np.int64)
        # Steps in which a simulation began anew by itself.
        self.breakdowns = np.zeros(len(self.seeds), np.int64)
        self.evaluation_breakdowns: list[Breakdown] = []
        # Rows of every world since the run began; the newest of them are in the stream.
        self.written = np.zeros((len(self.seeds), config.env.count), np.int64)
        # Of these, the first ones that are not there any more, for another reason than their age.
        self.gone = np.zeros_like(self.written)
        # Since which step something waits for the end of the only world's episode.
        self.waiting_since: int | None = None
        self.compiled = False
        self.finished: list[deque[Episode]] = [deque(maxlen=ROLLOUT_WINDOW) for _ in self.seeds]
        self.logged_at = (0, time.monotonic())

    def run(
        self,
        steps: int,
        episodes: int | None = None,
        evaluating: bool = True,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """Take `steps` more steps of each member, or stop after so many episodes; yield events.

        With several worlds a member takes steps in multiples of their number. Without
        `evaluating`, no evaluation and no save is due. `stopped` is asked before each chunk. In the
        only world, what is due waits for the end of the episode.

        Raises:
            WorldError: a world raised or returned something impossible. The trainer's actors are
                those that had been learned until then.
            DivergedError: weights or losses are not finite.
        """
        end = self.step + steps
        log, train = self.config.log, self.config.train
        intervals = (log.interval, train.eval_interval, train.save_interval)
        log_every, evaluate_every, save_every = intervals if evaluating else (log.interval, 0, 0)
        if self.only is not None and not self.compiled:
            self.compile()
        self.logged_at = (self.step, time.monotonic())
        self.crew.heed(stopped)
        self.waiting_since = None
        line = evaluation = save = False
        while self.step < end and not self.enough(episodes) and not stopped():
            before = self.step
            self.advance(self.chunk_steps((end, log_every, evaluate_every, save_every)))
            yield Progress(self.step)
            yield from self.troubles()
            line |= crossed(before, self.step, log_every)
            evaluation |= crossed(before, self.step, evaluate_every)
            save |= crossed(before, self.step, save_every)
            if not self.interrupts(line or evaluation or save):
                continue
            if line:
                yield self.log()
            if evaluation:
                yield self.evaluate()
                yield from self.troubles()
            if save:
                self.cut()
                yield Due(self.step, self.actors(lag=False))
            line = evaluation = save = False
        if line:
            yield self.log()

    def interrupts(self, due: bool) -> bool:
        """Tell whether training is interrupted now for what is due, which waits for the learner.

        In the only world that is when its episode has ended, or has had as many steps since then as
        an episode of an evaluation has at most.
        """
        if self.only is None or not due:
            return due
        since = self.step if self.waiting_since is None else self.waiting_since
        longest = self.only.longest or LONGEST_EPISODE
        self.waiting_since = since if self.only.inside and self.step - since < longest else None
        return self.waiting_since is None

    def compile(self) -> None:
        """Have compiled what acts and learns, as long as no episode waits for it."""
        train, spaces = self.config.train, self.maker.spaces
        shape = (len(self.members), self.config.env.count, 2 * train.chunk + 2)
        self.learner.compile(no_rows(shape, spaces), self.follow())
        layout = spaces.layout
        for actor in self.actors(lag=True):
            state = initial_state(actor.past, 1)
            actor(actor.see(np.zeros((1, layout.size), layout.dtype), state)[0])
        self.compiled = True

    def troubles(self) -> Iterator[Replaced | Broken]:
        """Yield which worlds have been replaced, or begun anew, in the last chunk or evaluation."""
        for member, why in [*self.crew.restarts, *self.evaluation_restarts]:
            self.restarts[member] += 1
            yield Replaced(self.step, self.members[member], why)
        self.crew.restarts, self.evaluation_restarts = [], []
        for one in self.crew.breakdowns:
            self.breakdowns[one.member] += one.steps
            yield Broken(self.step, self.members[one.member], one, evaluating=False)
        for one in self.evaluation_breakdowns:
            yield Broken(self.step, self.members[one.member], one, evaluating=True)
        self.crew.breakdowns, self.evaluation_breakdowns = [], []

    def cut(self) -> None:
        """Cut all episodes off, and wait for the learner: what is left can be saved.

        The next chunk begins new episodes, whose seeds follow from the step, and acts with the
        newest actors, in this run as in one that is resumed from here.
        """
        self.learner.settle()
        self.crew.cut_off()

    def described(self) -> dict[str, Any]:
        """Return what was given in Python and has to be given again, by name."""
        schedules = sorted(self.schedules.names)
        networks = [] if self.networks is None else self.networks.names
        given = {"schedules": schedules, "networks": networks}
        return {name: names for name, names in given.items() if names}

    @property
    def alive(self) -> NDArray[np.int64]:
        """The rows of every world that are in the stream [members, worlds]."""
        rows = options.stream_rows(self.config, bool(self.maker.spaces.layout.images))
        length = ring_length(rows, self.config.env.count)
        return np.minimum(self.written - self.gone, length - 1)

    def restore(self, step: int, updates: int, episodes: list[int], world_steps: list[int]) -> None:
        """Take over another trainer's counters. The stream is empty: it fills before learning."""
        self.step = step
        self.learner.updates = updates
        self.updates_before = updates
        self.learning_began = step + options.learn_after(self.config)
        self.episodes[:], self.world_steps[:] = episodes, world_steps

    def advance(self, steps: int) -> None:
        """Collect one chunk of `steps` steps of every world, and hand it to the learner.

        They are fewer if the end of an episode is waited for, and comes before.
        """
        train, worlds = self.config.train, self.config.env.count
        values = self.follow()
        share, given = self.learner.share(), self.schedules.names
        left = max(options.start_steps(self.config) - self.step, 0)
        if self.only is not None:
            self.only.awaited = self.waiting_since is not None
        rows, episodes = self.crew.collect(
            steps,
            self.step,
            self.actors(lag=train.overlap),
            [scheduled(config, share, given).explore for config in self.now],
            random_steps=-(-left // worlds),
        )
        if self.only is not None and self.only.at_rest:
            self.crew.cut_off()
        self.step += self.crew.taken * worlds
        self.world_steps += self.crew.world_steps
        self.written += rows.count
        for episode in episodes:
            self.finished[episode.member].append(episode)
            self.episodes[episode.member] += 1
        learning_steps = max(0, self.step - self.learning_began)
        due = int(train.updates_per_step * learning_steps) + self.updates_before
        self.learner.learn(rows, due - self.learner.updates, values)

    def follow(self) -> dict[str, float]:
        """Return what options with a schedule are at this step, for every member from now on."""
        values = self.schedules.at(self.step)
        self.now = [with_values(member.config, values) for member in self.members]
        return values

    def actors(self, lag: bool) -> list[Acts]:
        """Return each member's actor, of the newest chunk or the one before; waits for it.

        Raises:
            DivergedError: an actor has weights that are not finite.
        """
        return self.checked(self.learner.actors(lag))

    def checked(self, networks: list[Acts]) -> list[Acts]:
        """Return each member's actor, after a look at its weights.

        Raises:
            DivergedError: an actor has weights that are not finite.
        """
        for member, network in zip(self.members, networks, strict=True):
            if not network.finite():
                raise DivergedError(diverged(member, self.step, "its actor's weights"))
        return networks

    def chunk_steps(self, intervals: tuple[int, ...]) -> int:
        """Return the steps of every world until the chunk is full or a multiple is reached."""
        left = [interval - self.step % interval for interval in intervals if interval]
        return min(self.config.train.chunk, -(-min(left) // self.config.env.count))

    def enough(self, episodes: int | None) -> bool:
        """Tell whether every member has finished this many episodes."""
        return episodes is not None and int(self.episodes.min()) >= episodes

    def stood_still(self, seconds: float) -> None:
        """Take time out of that which the next line's steps per second are measured in."""
        step, moment = self.logged_at
        self.logged_at = (step, moment + seconds)

    def log(self) -> Logged:
        """Return each member's metrics since the last log."""
        step, moment = self.logged_at
        now = time.monotonic()
        self.logged_at = (self.step, now)
        metrics = self.learner.metrics()
        for one, learned in zip(self.members, metrics, strict=True):
            for name, value in learned.items():
                if not math.isfinite(value):
                    raise DivergedError(diverged(one, self.step, f"the values of {name}"))
        share = self.learner.share()
        sizes = self.crew.noise_sizes()
        for member, values in enumerate(metrics):
            if values:
                current = scheduled(self.now[member], share, self.schedules.names)
                values["train/actor_lr"] = float(current.actor.lr)
                values["train/critic_lr"] = float(current.critic.lr)
            values |= sizes[member]
            values["time/fps"] = (self.step - step) / max(now - moment, 1e-9)
            if self.config.env.repeat > 1:
                values["time/frames"] = float(self.world_steps[member])
            values["rollout/episodes"] = float(self.episodes[member])
            if self.only is not None:
                values |= self.only.gaps()
            if self.config.env.on_error == "restart":
                values["rollout/restarts"] = float(self.restarts[member])
            if self.breakdowns[member]:
                values["rollout/breakdowns"] = float(self.breakdowns[member])
            if self.finished[member]:
                window = self.finished[member]
                values["rollout/ep_rew_mean"] = float(np.mean([e.total_reward for e in window]))
                values["rollout/ep_len_mean"] = float(np.mean([e.length for e in window]))
        return Logged(self.step, metrics)

    def evaluate(self) -> Evaluated:
        """Return every member's score, with the newest actors."""
        actors = self.actors(lag=False)
        episodes = range(SELECTION_SEEDS, SELECTION_SEEDS + self.config.train.eval_episodes)
        began = time.monotonic()
        found = [self.score_one(member, actor, episodes) for member, actor in enumerate(actors)]
        seconds = time.monotonic() - began
        health = [self.foreseen(member, trace) for member, (_, trace) in enumerate(found)]
        for one in self.evaluation_breakdowns:
            so_far = health[one.member].get("eval/breakdowns", 0.0)
            health[one.member]["eval/breakdowns"] = so_far + one.steps
        return Evaluated(self.step, [score for score, _ in found], actors, health, seconds)

    def foreseen(self, member: int, trace: Trace) -> dict[str, float]:
        """Return what an evaluation says of a member's numbers, and how well it was foreseen."""
        if not self.learner.updates:
            return sizes(trace, self.maker.spaces.layout)
        config = self.now[member]
        values = partial(self.learner.values, member)
        return sizes(trace, self.maker.spaces.layout) | overestimation(
            trace,
            values,
            self.maker.spaces.layout,
            config.target.gamma,
            config.env.reward_scale,
            config.memory.sequence if config.memory.used else None,
        )

    def score(self, actors: Sequence[Actor], first_seed: int, episodes: int) -> list[Score]:
        """Return the score of each member's actor on the episodes that begin with this seed.

        Raises:
            WorldError: a world raised, or returned something impossible.
        """
        seeds = range(first_seed, first_seed + episodes)
        return [self.score_one(member, actor, seeds)[0] for member, actor in enumerate(actors)]

    def score_one(self, member: int, actor: Actor, episodes: range) -> tuple[Score, Trace]:
        """Return the score of one member, and what was seen.

        With `env.on_error restart` an episode that fails begins again in a new world.
        """
        trace, worlds = Trace(), self.evaluation_worlds
        try:
            with self.threads.limit(limits=1, user_api="blas"):
                score = evaluate(actor, worlds, episodes, trace)
        except WorldError as error:
            raise WorldError(
                f"in the evaluation of the member with {self.members[member].label} at step "
                f"{self.step}: {error}"
            ) from error
        finally:
            self.evaluation_restarts += [(member, why) for why in worlds.replaced]
            worlds.replaced = []
            if self.only is not None:
                # Nothing of an evaluation gets into the stream.
                self.crew.cut_off()
        self.note_breakdowns(member)
        return score, trace

    def note_breakdowns(self, member: int) -> None:
        """Note which simulations have begun anew by themselves in a member's evaluation."""
        worlds = self.evaluation_worlds
        counts, worlds.broken = Counter(worlds.broken), []
        self.evaluation_breakdowns += [
            Breakdown(member, world, self.step, cause, count)
            for (world, cause), count in counts.items()
        ]

    def move(self, config: Config, maker: Maker) -> None:
        """Go on in other worlds of the same spaces; the episodes in those before are cut off."""
        self.cut()
        before = self.crew
        before.close()
        self.evaluation_worlds.close()
        self.config, self.maker = config, maker
        self.crew = Crew(config, self.members, maker, self.guard)
        if before.behaviours:
            self.crew.restore(before.behaviours, before.seen, before.cut)
        self.evaluation_worlds = worlds_of(maker, config, self.guard)

    def close(self) -> None:
        """Close all worlds, once."""
        if not self.closed:
            self.closed = True
            self.crew.close()
            self.evaluation_worlds.close()
            self.guard.close()


def check_seen(config: Config, maker: Maker, networks: Networks | None) -> None:
    """Raise ConfigError where options do not go with what is observed, images or numbers."""
    layout = maker.spaces.layout
    check_images(config.encoder, layout.images)
    if "encoder" not in acting_names(networks):
        for image in layout.images:
            check_size(image, config.encoder.kind)
    if layout.images and config.critic.batches == "regions":
        raise ConfigError(
            "--critic.batches regions divides observations by their numbers, and "
            f"{maker.name} observes images: leave it out"
        )
    if layout.images and not layout.numbers and config.env.normalize_obs:
        raise ConfigError(
            f"--env.normalize-obs normalizes numbers, and {maker.name} observes images alone, "
            "whose pixels are scaled in any case: leave it out"
        )


def crossed(before: int, after: int, interval: int) -> bool:
    """Tell whether a multiple of the interval lies in (before, after]."""
    return interval > 0 and after // interval > before // interval
