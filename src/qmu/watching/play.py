"""Episodes to look at: one world, one actor, step after step; in a window, in real time."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.collecting.evaluate import Score
from qmu.deploy.past import after, initial_state
from qmu.deploy.policy import Actor
from qmu.layout import images_of
from qmu.world.hearing import stepping
from qmu.world.host import HostWorlds, Result
from qmu.world.repeat import repeat_in
from qmu.world.spaces import to_environment

Floats = NDArray[np.float32]

# Episodes are shown up to this step, unless another one is asked for.
SHOWN_STEPS = 1_000
# Pictures per second of an environment that does not say.
USUAL_RATE = 30.0


class Shown(NamedTuple):
    """What there is to know after a step of an episode, or before its first one."""

    step: int
    total_reward: float
    action: Floats | None  # [action] in [-1, 1]; none before the first step
    last: bool
    sights: tuple[NDArray[np.uint8], ...] = ()  # the images that an actor is given of this moment


# Told each moment, the number of its episode, and of how many; returns whether anybody looks on.
Seen = Callable[[Shown, int, int], bool]


def play(actor: Actor, worlds: HostWorlds, seed: int, steps: int) -> Iterator[Shown]:
    """Yield what there is to see of one episode, in the first world, with its seed.

    Args:
        actor: acts.
        worlds: the first of them is stepped.
        seed: the episode's.
        steps: after so many it is broken off.

    Raises:
        WorldError: the world raised, or returned something impossible.
    """
    obs, total, step, last = begin(worlds, seed), 0.0, 0, False
    state = initial_state(actor.past, 1)
    layout = worlds.spaces.layout
    yield Shown(step, total, None, last, images_of(layout, obs))
    while not last:
        seen, state = actor.see(obs[None], state)
        acted = actor(seen)
        action, outcome = take(acted, worlds)
        reward = np.array([outcome.reward], np.float32)
        state = after(actor.past, state, action=acted, reward=reward)
        obs, step, total = outcome.final, step + 1, total + outcome.reward
        last = outcome.terminated or outcome.truncated or step == steps
        yield Shown(step, total, action, last, images_of(layout, obs))


@stepping()
def begin(worlds: HostWorlds, seed: int) -> Floats:
    """Return the first observation [obs] of an episode with this seed, in the first world."""
    return worlds.start(0, seed)


@stepping()
def take(action: Floats, worlds: HostWorlds) -> tuple[Floats, Result]:
    """Return the first of some actions in [-1, 1], and what it led to in the first world."""
    spaces = worlds.spaces
    return action[0], worlds.execute(0, to_environment(action, spaces.low, spaces.high)[0])


def rate_of(environment: Any) -> float:
    """Return how many actions in an environment are one second, as it says of its steps."""
    said = (getattr(environment, "metadata", None) or {}).get("render_fps")
    rate = float(said) if isinstance(said, int | float) and said > 0 else USUAL_RATE
    repeat = repeat_in(environment)
    return rate if repeat is None else rate / repeat.times


def watch(
    actor: Actor,
    worlds: HostWorlds,
    seeds: Sequence[int],
    steps: int,
    see: Seen = lambda shown, number, count: True,
) -> Score:
    """Play an episode for each seed in the first world, in real time; return their score.

    Each moment is given to `see`. Where that returns that nobody is looking any more, the episode
    ends, and it is the last one.

    Raises:
        WorldError: the world raised, or returned something impossible.
    """
    seconds = 1 / rate_of(worlds.environments[0])
    ends: list[Shown] = []
    for number, seed in enumerate(seeds, 1):
        due = time.monotonic()
        for shown in play(actor, worlds, seed, steps):
            if not see(shown, number, len(seeds)):
                return score_of([*ends, shown])
            # An environment that keeps the time itself leaves nothing to wait for.
            due = max(due + seconds, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            if shown.last:
                ends.append(shown)
    return score_of(ends)


def score_of(ends: Sequence[Shown]) -> Score:
    """Return the score of episodes that ended so."""
    return Score(tuple(end.total_reward for end in ends), tuple(end.step for end in ends))
