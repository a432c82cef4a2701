"""Acts in the worlds of some members, a chunk at a time, and brings the rows home.

Nothing here needs JAX: a station works in the run's own process, or in one of its own
(`collecting/outpost.py`).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController

from qmu.agent.exploration import Bools, Floats
from qmu.collecting.behaviour import Behaviour
from qmu.config import Env, Explore
from qmu.deploy.policy import Acts
from qmu.rows import Rows
from qmu.world.breakdowns import Breakdown
from qmu.world.collector import Collector, Episode
from qmu.world.host import Guard
from qmu.world.make import Maker

# What a member's host-side random numbers are for.
WORLD, EXPLORE = 0, 1


class Share(NamedTuple):
    """Which of the run's members a station serves, and which of each one's worlds."""

    members: range
    worlds: range


class Post(NamedTuple):
    """What a station needs to know of a member, beside its actor: its seed, how it explores."""

    seed: int
    explore: Explore


class Order(NamedTuple):
    """What a station is asked for: a chunk of `steps` steps of each of its worlds."""

    steps: int
    slots: int  # length of the rows' arrays
    step: int  # that the members have reached
    networks: Sequence[Acts]  # one per member
    settings: Sequence[Explore]  # as they are now, one per member
    random_steps: int  # first steps of the chunk whose actions are random
    seeds: Sequence[Sequence[int]] | None  # begin episodes with these, one per world
    cut: Floats | None  # [members, worlds, obs]: where episodes were cut off before


class Harvest(NamedTuple):
    """What a station brings home."""

    rows: Rows
    taken: int  # steps of each world: fewer than asked for where the only world came to rest
    episodes: list[Episode]
    restarts: list[tuple[int, str]]
    breakdowns: list[Breakdown]
    world_steps: list[
        int
    ]  # each member's steps of the worlds themselves, where actions are repeated
    behaviours: list[dict[str, Any]]  # what each member's noise goes on from
    seen: list[Floats]  # observations that the size of its parameter noise is measured on


class Station(Protocol):
    """Somebody who collects."""

    def ask(self, order: Order) -> None:
        """Give an order."""

    def answer(self) -> Harvest:
        """Return what the newest order has brought. Raises WorldError where a world failed."""

    def restore(self, behaviours: Sequence[Mapping[str, Any]], seen: Sequence[Floats]) -> None:
        """Go on with the noise of a harvest."""

    def dismiss(self) -> None:
        """Begin to close the worlds, without waiting for it."""

    def close(self) -> None:
        """Close the worlds."""


class HostStation:
    """A station in this process: it collects when it is asked for the answer."""

    def __init__(
        self, maker: Maker, env: Env, posts: Sequence[Post], worlds: range, guard: Guard
    ) -> None:
        """Make the worlds.

        Args:
            maker: makes them.
            env: the run's options of worlds.
            posts: the members.
            worlds: which of the `env.count` worlds of each member are here.
            guard: entered while an environment runs.
        """
        restarting = env.on_error == "restart"
        members = [maker.worlds(len(worlds), guard, restarting) for _ in posts]
        self.collector = Collector(members, [post.seed for post in posts], env.count)
        self.behaviours = [
            Behaviour(
                # A zero at the end changes nothing: with all worlds, the seed is the member's.
                np.random.SeedSequence([post.seed, EXPLORE, worlds.start]),
                post.explore,
                worlds,
                env.count,
                maker.longest,
            )
            for post in posts
        ]
        # Idle threads of NumPy's BLAS spin on the cores that the learner works on: a member with
        # parameter noise took 1.4 times as long (docs/decisions/0004-two-cores.md).
        self.threads = ThreadpoolController()
        self.order: Order | None = None

    def ask(self, order: Order) -> None:
        """Note an order."""
        self.order = order

    def answer(self) -> Harvest:
        """Collect what was asked for."""
        order = self.order
        assert order is not None
        if order.seeds is not None:
            self.collector.reset(order.seeds)
        shape = (order.steps, self.collector.worlds, self.collector.spaces.action_size)
        acting = zip(self.behaviours, order.networks, order.settings, strict=True)
        for behaviour, network, settings in acting:
            behaviour.begin(network, settings, order.random_steps, shape)
        self.collector.steps = order.step
        with self.threads.limit(limits=1, user_api="blas"):
            rows, episodes = self.collector.collect(order.steps, self.act, order.slots, order.cut)
        return Harvest(
            rows,
            (self.collector.steps - order.step) // self.collector.stride,
            episodes,
            self.collector.restarts(),
            self.collector.breakdowns(),
            self.collector.world_steps(),
            [behaviour.state() for behaviour in self.behaviours],
            [np.asarray(behaviour.seen(), np.float32) for behaviour in self.behaviours],
        )

    def act(
        self, member: int, time: int, obs: Floats, rewards: Sequence[float], started: Bools
    ) -> Floats:
        """Return a member's actions at a step of the chunk."""
        return self.behaviours[member].act(time, obs, rewards, started)

    def restore(self, behaviours: Sequence[Mapping[str, Any]], seen: Sequence[Floats]) -> None:
        """Go on with the noise of a harvest."""
        for behaviour, state, own in zip(self.behaviours, behaviours, seen, strict=True):
            behaviour.restore(state, own)

    def dismiss(self) -> None:
        """Leave everything to `close`."""

    def close(self) -> None:
        """Close the worlds."""
        self.collector.close()


def divide_worlds(members: int, worlds: int, stations: int) -> list[Share]:
    """Return what each station serves: whole members, or parts of one member's worlds.

    Shares differ by one member, or one world, at most. There may be fewer than asked for, where
    members have to be divided alike.
    """
    if stations <= members:
        return [Share(own, range(worlds)) for own in divided(members, stations)]
    parts = divided(worlds, min(stations // members, worlds))
    return [Share(range(member, member + 1), part) for member in range(members) for part in parts]


def divided(count: int, parts: int) -> list[range]:
    """Return consecutive ranges that make up `range(count)`, the longest first."""
    size, longer = divmod(count, parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + size + (part < longer))
    return [range(start, end) for start, end in itertools.pairwise(ends)]
