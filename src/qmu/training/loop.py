"""Collect while learning; when to log, evaluate and save.

While the learner works on chunk c, the worlds take the steps of chunk c + 1 with the actor that
chunk c - 1 returned. The lag is fixed, so a run is deterministic.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import psutil
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from qmu import config as options
from qmu.agent.exploration import Bools, Floats
from qmu.agent.schedule import scheduled
from qmu.config import Config
from qmu.deploy.policy import Network
from qmu.errors import ConfigError, DivergedError, WorldError
from qmu.replay.priority import priorities_bytes
from qmu.replay.stream import ring_length, stream_bytes
from qmu.training.behaviour import Behaviour
from qmu.training.devices import find_devices, share_note
from qmu.training.evaluate import Score, Trace, check_display, evaluate
from qmu.training.foresight import overestimation
from qmu.training.learner import Learner
from qmu.training.limit import TimeLimit
from qmu.training.members import Arms, Member, divide, members_of
from qmu.world.host import MOST_FAILURES, Act, Collector, Episode, HostWorlds
from qmu.world.make import Maker

# What a member's host-side random numbers are for.
WORLD, EXPLORE = 0, 1
# Episodes of evaluations have these seeds, whatever the run's seed: scores are comparable.
SELECTION_SEEDS = 1_000_000
FINAL_SEEDS = 2_000_000
# Rollout metrics are means over this many finished episodes.
ROLLOUT_WINDOW = 100


class Progress(NamedTuple):
    """A chunk has been collected and handed to the learner."""

    step: int


class Logged(NamedTuple):
    """Metrics of each member since the last such event."""

    step: int
    members: list[dict[str, float]]


class Evaluated(NamedTuple):
    """Scores and actors of each member, and what the critic had made of those episodes."""

    step: int
    scores: list[Score]
    actors: list[Network]
    health: list[dict[str, float]]


class Due(NamedTuple):
    """A scheduled save is due of these actors."""

    step: int
    actors: list[Network]


class Replaced(NamedTuple):
    """A member's world has failed, and there is another one in its place."""

    step: int
    member: Member
    why: str


Event = Progress | Logged | Evaluated | Due | Replaced


class Trainer:
    """The moving parts of one run: worlds, learner, and where they have got to."""

    def __init__(self, config: Config, maker: Maker, arms: Arms | None = None) -> None:
        """Allocate everything that the run will need.

        Args:
            config: the run's options.
            maker: makes its worlds.
            arms: name -> numeric options; every arm has members with all of the run's seeds.

        Raises:
            ConfigError: arms differ in more than numbers, the device is not there, the stream does
                not fit in memory, or there is no display to render on.
        """
        self.config = config
        self.maker = maker
        self.arms = arms or {}
        self.members = members_of(config, self.arms)
        self.seeds = tuple(member.seed for member in self.members)
        devices = find_devices(config.train.device)
        self.note = share_note(self.seeds, devices)
        groups = divide(self.members, devices)
        check_memory(config, maker, devices[0], len(self.members))
        if config.env.render:
            check_display("--env.render", "leave it out")
        spaces = maker.spaces
        self.learner = Learner(groups, spaces.obs_size, spaces.action_size)
        self.closed = False
        self.guard = TimeLimit(config.env.step_timeout)
        restarting = config.env.on_error == "restart"
        worlds = [maker.worlds(config.env.count, self.guard, restarting) for _ in self.seeds]
        self.collector = Collector(worlds, self.seeds)
        self.evaluation_worlds = self.make_evaluation_worlds()
        self.behaviours = [
            Behaviour(
                np.random.SeedSequence([member.seed, EXPLORE]),
                member.config.explore,
                config.env.count,
            )
            for member in self.members
        ]
        # Idle threads of NumPy's BLAS spin on the cores that the learner works on: a member with
        # parameter noise took 1.4 times as long (docs/decisions/0004-two-cores.md).
        self.threads = ThreadpoolController()
        self.step = 0
        # Updates are due for every step beyond `learning_began`, on top of those done before.
        self.learning_began = options.learn_after(config)
        self.updates_before = 0
        self.episodes = np.zeros(len(self.seeds), np.int64)
        self.evaluation_restarts: list[tuple[int, str]] = []
        self.restarts = np.zeros(len(self.seeds), np.int64)
        # Rows of every world since the run began; the newest of them are in the stream.
        self.written = np.zeros((len(self.seeds), config.env.count), np.int64)
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
        `evaluating`, no evaluation and no save is due. `stopped` is asked before each chunk.

        Raises:
            WorldError: a world raised or returned something impossible. The trainer's actors are
                those that had been learned until then.
            DivergedError: weights or losses are not finite.
        """
        end = self.step + steps
        log, train = self.config.log, self.config.train
        intervals = (log.interval, train.eval_interval, train.save_interval)
        log_every, evaluate_every, save_every = intervals if evaluating else (log.interval, 0, 0)
        self.logged_at = (self.step, time.monotonic())
        while self.step < end and not self.enough(episodes) and not stopped():
            before = self.step
            self.advance(self.chunk_steps((end, log_every, evaluate_every, save_every)))
            yield Progress(self.step)
            yield from self.replaced()
            if crossed(before, self.step, log_every):
                yield self.log()
            if crossed(before, self.step, evaluate_every):
                yield self.evaluate()
                yield from self.replaced()
            if crossed(before, self.step, save_every):
                self.cut()
                yield Due(self.step, self.actors(lag=False))

    def replaced(self) -> Iterator[Replaced]:
        """Yield which worlds have been replaced in the last chunk."""
        for member, why in [*self.collector.restarts(), *self.evaluation_restarts]:
            self.restarts[member] += 1
            yield Replaced(self.step, self.members[member], why)
        self.evaluation_restarts = []

    def cut(self) -> None:
        """Cut all episodes off, and wait for the learner: what is left can be saved.

        The next chunk begins new episodes, whose seeds follow from the step, and acts with the
        newest actors, in this run as in one that is resumed from here.
        """
        self.learner.settle()
        self.collector.cut_off()

    @property
    def alive(self) -> NDArray[np.int64]:
        """The rows of every world that are in the stream [members, worlds]."""
        length = ring_length(self.config.replay.capacity, self.config.env.count)
        return np.minimum(self.written, length - 1)

    def restore(self, step: int, updates: int, episodes: list[int]) -> None:
        """Take over another trainer's counters. The stream is empty: it fills before learning."""
        self.step = step
        self.learner.updates = updates
        self.updates_before = updates
        self.learning_began = step + options.learn_after(self.config)
        self.episodes[:] = episodes

    def advance(self, steps: int) -> None:
        """Collect one chunk of `steps` steps of every world, and hand it to the learner."""
        train = self.config.train
        if not self.collector.current:
            self.collector.reset(world_seeds(self.seeds, self.config.env.count, self.step))
        networks = self.actors(lag=train.overlap)
        with self.threads.limit(limits=1, user_api="blas"):
            rows, episodes = self.collector.collect(
                steps, self.begin_chunk(networks, steps), slots=2 * train.chunk + 2
            )
        self.step += steps * self.config.env.count
        self.written += rows.count
        for episode in episodes:
            self.finished[episode.member].append(episode)
            self.episodes[episode.member] += 1
        learning_steps = max(0, self.step - self.learning_began)
        due = int(train.updates_per_step * learning_steps) + self.updates_before
        self.learner.learn(rows, due - self.learner.updates)

    def actors(self, lag: bool) -> list[Network]:
        """Return each member's actor, of the newest chunk or the one before; waits for it.

        Raises:
            DivergedError: an actor has weights that are not finite.
        """
        networks = self.learner.actors(lag)
        for member, network in zip(self.members, networks, strict=True):
            if not all(math.isfinite(float(weight.sum())) for weight in network.weights):
                raise DivergedError(diverged(member, self.step, "its actor's weights"))
        return networks

    def begin_chunk(self, networks: list[Network], steps: int) -> Act:
        """Return how to act during a chunk: at random in the beginning, then with noise."""
        worlds = self.config.env.count
        left = max(options.start_steps(self.config) - self.step, 0)
        share = self.learner.share()
        shape = (steps, worlds, self.maker.spaces.action_size)
        acting = zip(self.members, self.behaviours, networks, strict=True)
        for member, behaviour, network in acting:
            settings = scheduled(member.config, share).explore
            behaviour.begin(network, settings, -(-left // worlds), shape)

        def act(member: int, time: int, obs: Floats, started: Bools) -> Floats:
            return self.behaviours[member].act(time, obs, started)

        return act

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
        for member, values in enumerate(metrics):
            if values:
                current = scheduled(self.members[member].config, share)
                values["train/actor_lr"] = float(current.actor.lr)
                values["train/critic_lr"] = float(current.critic.lr)
            values |= self.behaviours[member].metrics()
            values["time/fps"] = (self.step - step) / max(now - moment, 1e-9)
            values["rollout/episodes"] = float(self.episodes[member])
            if self.config.env.on_error == "restart":
                values["rollout/restarts"] = float(self.restarts[member])
            if self.finished[member]:
                window = self.finished[member]
                values["rollout/ep_rew_mean"] = float(np.mean([e.total_reward for e in window]))
                values["rollout/ep_len_mean"] = float(np.mean([e.length for e in window]))
        return Logged(self.step, metrics)

    def evaluate(self) -> Evaluated:
        """Return every member's score, with the newest actors."""
        actors = self.actors(lag=False)
        episodes = range(SELECTION_SEEDS, SELECTION_SEEDS + self.config.train.eval_episodes)
        found = [self.score_one(member, actor, episodes) for member, actor in enumerate(actors)]
        health = [self.foreseen(member, trace) for member, (_, trace) in enumerate(found)]
        return Evaluated(self.step, [score for score, _ in found], actors, health)

    def foreseen(self, member: int, trace: Trace) -> dict[str, float]:
        """Return how well a member's critic has foreseen the returns of an evaluation."""
        if not self.learner.updates:
            return {}
        config = self.members[member].config
        values = partial(self.learner.values, member)
        return overestimation(trace, values, config.target.gamma, config.env.reward_scale)

    def score(self, actors: list[Network], first_seed: int, episodes: int) -> list[Score]:
        """Return the score of each member's actor on the episodes that begin with this seed.

        Raises:
            WorldError: a world raised, or returned something impossible.
        """
        seeds = range(first_seed, first_seed + episodes)
        return [self.score_one(member, actor, seeds)[0] for member, actor in enumerate(actors)]

    def score_one(self, member: int, actor: Network, episodes: range) -> tuple[Score, Trace]:
        """Return the score of one member, and what was seen.

        With `env.on_error restart` it is done again in new worlds, if need be.
        """
        left = 0 if self.config.env.on_error == "stop" else MOST_FAILURES - 1
        while True:
            trace = Trace()
            try:
                return evaluate(actor, self.evaluation_worlds, episodes, trace), trace
            except WorldError as error:
                if left == 0:
                    raise WorldError(
                        f"in the evaluation of the member with {self.members[member].label} at "
                        f"step {self.step}: {error}"
                    ) from error
                self.evaluation_restarts.append((member, str(error)))
                self.evaluation_worlds.close()
                self.evaluation_worlds = self.make_evaluation_worlds()
                left -= 1

    def make_evaluation_worlds(self) -> HostWorlds:
        """Return fresh worlds for evaluations."""
        config = self.config
        return self.maker.evaluation_worlds(
            config.train.eval_episodes, config.env.render, self.guard
        )

    def close(self) -> None:
        """Close all worlds, once."""
        if not self.closed:
            self.closed = True
            self.collector.close()
            self.evaluation_worlds.close()
            self.guard.close()


def diverged(member: Member, step: int, what: str) -> str:
    """Return what is to be said of numbers that are not finite."""
    return (
        f"the member with {member.label} diverged: at step {step} {what} are no finite numbers. "
        "Lower --actor.lr and --critic.lr, or look for huge rewards or observations in the "
        "environment"
    )


def world_seeds(seeds: tuple[int, ...], worlds: int, step: int) -> list[list[int]]:
    """Return the seeds of each member's worlds, which derive from the member's seed and the step.

    They are those of the episodes that begin at this step in all worlds.
    """
    return [
        [
            int(word >> 1)
            for word in np.random.SeedSequence([seed, WORLD, step]).generate_state(worlds)
        ]
        for seed in seeds
    ]


def crossed(before: int, after: int, interval: int) -> bool:
    """Tell whether a multiple of the interval lies in (before, after]."""
    return interval > 0 and after // interval > before // interval


def check_memory(config: Config, maker: Maker, device: jax.Device, members: int) -> None:
    """Raise ConfigError if the streams of all members need more memory than there is."""
    spaces = maker.spaces
    capacity, worlds = config.replay.capacity, config.env.count
    asked = stream_bytes(capacity, members, worlds, spaces.obs_size, spaces.action_size)
    if config.replay.prioritized:
        asked += priorities_bytes(members, worlds * ring_length(capacity, worlds))
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics:
        there = statistics["bytes_limit"] - statistics["bytes_in_use"]
    else:
        there = psutil.virtual_memory().available
    if asked > there:
        raise ConfigError(
            f"the stream of {members} member(s) with --replay.capacity {capacity} "
            f"takes {asked / 2**30:.1f} GiB ({asked // members // capacity} bytes a "
            f"row), and {device.platform} has {there / 2**30:.1f} GiB free: lower "
            "--replay.capacity or --seeds"
        )
