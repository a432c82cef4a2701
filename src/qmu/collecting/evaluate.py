"""Deterministic evaluation: full episodes with fixed seeds, in parallel, on worlds of their own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.collecting.limit import TimeLimit
from qmu.config import Config
from qmu.deploy.past import after, chosen, initial_state, replaced
from qmu.deploy.policy import Actor
from qmu.errors import WorldError
from qmu.wording import counted
from qmu.world.hearing import stepping
from qmu.world.host import HostWorlds
from qmu.world.make import Maker
from qmu.world.spaces import to_environment

Floats = NDArray[np.float32]

# An episode of a world that declares no time limit is cut off here, if it has not ended.
LONGEST_EPISODE = 10_000


class Score(NamedTuple):
    """Returns and lengths of the episodes of one evaluation.

    So many of them were `cut` off, since they had not ended after 10,000 steps, or where the world
    says that they end: their returns are of a part.
    """

    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    cut: int = 0

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.rewards))

    @property
    def std(self) -> float:
        """Standard deviation of the returns."""
        return float(np.std(self.rewards))

    def told_cut(self) -> str:
        """Return in words that episodes were cut off."""
        return (
            f"of {counted(len(self.lengths), 'episode')} {self.cut} had not ended after "
            f"{max(self.lengths):,} steps, where it was cut off: returns are of a part. A longer "
            "end is declared by --env.episode-length, or by a time limit around the environment"
        )

    @property
    def mean_length(self) -> float:
        """Mean number of steps of an episode."""
        return float(np.mean(self.lengths))


class Trace:
    """What there was in the episodes of an evaluation, and how they ended.

    Observations, actions in [-1, 1], rewards.
    """

    def __init__(self) -> None:
        """Begin without an episode."""
        self.obs: list[list[Floats]] = []
        self.actions: list[list[Floats]] = []
        self.rewards: list[list[float]] = []
        self.terminated: list[bool] = []

    def begin(self, episodes: int) -> int:
        """Make room for so many episodes; return the number of the first."""
        first = len(self.obs)
        self.obs += [[] for _ in range(episodes)]
        self.actions += [[] for _ in range(episodes)]
        self.rewards += [[] for _ in range(episodes)]
        self.terminated += [False] * episodes
        return first


def worlds_of(maker: Maker, config: Config, guard: TimeLimit) -> HostWorlds:
    """Return fresh worlds for the evaluations of a run."""
    return maker.evaluation_worlds(
        config.train.eval_episodes,
        config.env.render,
        guard,
        restarting=config.env.on_error == "restart",
    )


@stepping()
def evaluate(
    actor: Actor,
    worlds: HostWorlds,
    seeds: Sequence[int],
    trace: Trace | None = None,
) -> Score:
    """Return the score of one episode per seed; write down in `trace` what was seen.

    `actor` maps what it sees of observations to actions [worlds, action] in [-1, 1]. As many
    episodes run side by side as there are worlds; a world's next episode starts when all have
    ended, so that every episode begins with its own seed. Where failing worlds are replaced, the
    episode begins again in the new one.

    Raises:
        WorldError: a world raised, or returned something impossible.
    """
    rewards: list[float] = []
    lengths: list[int] = []
    cut = 0
    for start in range(0, len(seeds), worlds.count):
        part = seeds[start : start + worlds.count]
        own = Trace() if trace is None else trace
        score = evaluate_side_by_side(actor, worlds, part, own)
        rewards += score.rewards
        lengths += score.lengths
        cut += score.cut
    return Score(tuple(rewards), tuple(lengths), cut)


def evaluate_side_by_side(
    actor: Actor,
    worlds: HostWorlds,
    seeds: Sequence[int],
    trace: Trace,
) -> Score:
    """Return the score of one episode per seed; at most as many seeds as worlds."""
    spaces = worlds.spaces
    obs = np.zeros((len(seeds), spaces.layout.size), spaces.layout.dtype)
    rewards, newest = np.zeros(len(seeds)), np.zeros(len(seeds), np.float32)
    lengths = np.zeros(len(seeds), np.int64)
    running, cut = list(range(len(seeds))), 0
    longest = worlds.longest or LONGEST_EPISODE
    first = trace.begin(len(seeds))
    past = actor.past
    state = initial_state(past, len(seeds))

    def begin(index: int) -> None:
        replaced(state, [index], initial_state(past, 1))
        obs[index] = start_surely(worlds, index, seeds[index])
        rewards[index] = newest[index] = lengths[index] = 0
        trace.obs[first + index] = [obs[index].copy()]
        trace.actions[first + index] = []
        trace.rewards[first + index] = []

    for index in running:
        begin(index)
    while running:
        before = after(past, chosen(state, running), reward=newest[running])
        seen, carried = actor.see(obs[running], before)
        acted = actor(seen)
        replaced(state, running, after(past, carried, action=acted))
        actions = to_environment(acted, spaces.low, spaces.high)
        still = []
        for index, action, own in zip(running, actions, acted, strict=True):
            try:
                outcome = worlds.execute(index, action)
            except WorldError as error:
                worlds.make_anew(index, error)
                begin(index)
                still.append(index)
                continue
            obs[index] = outcome.final
            rewards[index] += outcome.reward
            newest[index] = outcome.reward
            lengths[index] += 1
            trace.obs[first + index].append(outcome.final)
            trace.actions[first + index].append(own)
            trace.rewards[first + index].append(outcome.reward)
            trace.terminated[first + index] = outcome.terminated
            ended = outcome.terminated or outcome.truncated
            if not ended and lengths[index] < longest:
                still.append(index)
                continue
            cut += not ended
            worlds.failures[index] = 0
        running = still
    return Score(tuple(float(reward) for reward in rewards), tuple(int(n) for n in lengths), cut)


def start_surely(worlds: HostWorlds, index: int, seed: int) -> Floats:
    """Start an episode with a seed in a world, or in the one that replaces it."""
    while True:
        try:
            return worlds.start(index, seed)
        except WorldError as error:
            worlds.make_anew(index, error)
