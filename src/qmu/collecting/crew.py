"""Everybody who collects for a run: the stations, and where the episodes of their worlds stand."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from qmu.agent.exploration import Floats
from qmu.collecting.cluster import CONNECTION, check_address
from qmu.collecting.elsewhere import Elsewhere, LostError, never
from qmu.collecting.far_station import FarStation, check_room
from qmu.collecting.outpost import Outpost
from qmu.collecting.station import (
    WORLD,
    Harvest,
    HostStation,
    Order,
    Post,
    Share,
    Station,
    divide_worlds,
)
from qmu.config import Config, Env, Explore
from qmu.config.members import Member
from qmu.config.workers import HERE
from qmu.deploy.policy import Acts
from qmu.errors import ConfigError, WorldError
from qmu.rows import Rows
from qmu.wording import counted
from qmu.world.breakdowns import Breakdown
from qmu.world.collector import Episode
from qmu.world.host import MOST_FAILURES, Guard
from qmu.world.make import Maker


class Crew:
    """The stations of a run: one in this process, or `env.workers` in others, here or on Ray.

    Their rows are put together by member and world, whoever comes home first.
    """

    def __init__(
        self, config: Config, members: Sequence[Member], maker: Maker, guard: Guard
    ) -> None:
        """Make the worlds of all members.

        Raises:
            ConfigError: there are fewer worlds than workers, they cannot be made in another
                process, or the cluster is not there, or too small.
        """
        self.config, self.members, self.maker = config, members, maker
        self.restarting = config.env.on_error == "restart"
        posts = [Post(member.seed, member.config.explore) for member in members]
        workers, worlds = config.env.workers, config.env.count
        if workers.number > len(members) * worlds:
            there = counted(len(members) * worlds, "world")
            raise ConfigError(
                f"--env.workers {workers}: there are only {there}, one for each seed and "
                "each of --env.count"
            )
        self.shares = divide_worlds(len(members), worlds, max(workers.number, 1))
        self.stations: list[Station] = []
        self.leaving = contextlib.ExitStack()
        try:
            station_of = find_place(config.env, guard, self.leaving)
            for share in self.shares:
                own = [posts[member] for member in share.members]
                self.stations.append(station_of(maker, config.env, own, share.worlds))
            for station in self.stations:
                if isinstance(station, Elsewhere):
                    station.wait_ready()
        except BaseException:
            self.close()
            raise
        # Steps that each world took in the newest collection, and each member's steps of the
        # worlds themselves, where actions are repeated.
        self.taken, self.world_steps = 0, np.zeros(len(members), np.int64)
        # Whether the worlds are in the middle of episodes; if not, they begin new ones.
        self.running = False
        # The newest rows, and where episodes were cut off that the next rows have to say.
        self.rows: Rows | None = None
        self.cut: Floats | None = None
        # What the noise of each station's members goes on from, once there was a harvest.
        self.behaviours: list[dict[str, Any]] = []
        self.seen: list[Floats] = []
        self.restarts: list[tuple[int, str]] = []
        self.breakdowns: list[Breakdown] = []
        self.stopped: Callable[[], bool] = never

    def heed(self, stopped: Callable[[], bool]) -> None:
        """Wait for no process that says nothing when the run is to end, as `stopped` tells."""
        self.stopped = stopped
        for station in self.stations:
            if isinstance(station, Elsewhere):
                station.stopped = stopped

    def collect(
        self,
        steps: int,
        step: int,
        networks: Sequence[Acts],
        settings: Sequence[Explore],
        random_steps: int,
    ) -> tuple[Rows, list[Episode]]:
        """Take `steps` steps in every world; return the rows and the episodes that have ended.

        Broken off in the middle, by a world or by Ctrl-C, the worlds begin new episodes at the next
        call, whose rows begin with a `last` one, which cuts the episodes off where the rows before
        have ended.

        Args:
            steps: of every world.
            step: that the members have reached.
            networks: each member's actor.
            settings: how each member explores now.
            random_steps: first ones of these steps whose actions are random.

        Raises:
            WorldError: a world raised, or returned something impossible.
        """
        seeds = None if self.running else world_seeds(self.members, self.config.env.count, step)
        try:
            orders = []
            for share, station in zip(self.shares, self.stations, strict=True):
                own = range(share.members.start, share.members.stop)
                order = Order(
                    steps=steps,
                    slots=2 * self.config.train.chunk + 2,
                    step=step,
                    networks=[networks[member] for member in own],
                    settings=[settings[member] for member in own],
                    random_steps=random_steps,
                    seeds=None if seeds is None else part_of(seeds, share),
                    cut=None if self.cut is None else self.cut[slices(share)],
                )
                station.ask(order)
                orders.append(order)
            harvests = [self.harvest(index, order) for index, order in enumerate(orders)]
        except BaseException:
            self.cut_off()
            raise
        self.running, self.cut, self.taken = True, None, harvests[0].taken
        self.behaviours = [state for harvest in harvests for state in harvest.behaviours]
        self.seen = [seen for harvest in harvests for seen in harvest.seen]
        self.world_steps[:] = 0
        for share, harvest in zip(self.shares, harvests, strict=True):
            self.world_steps[share.members.start : share.members.stop] += harvest.world_steps
            self.restarts += [(share.members[member], why) for member, why in harvest.restarts]
            self.breakdowns += [
                one._replace(member=share.members[one.member], world=share.worlds[one.world])
                for one in harvest.breakdowns
            ]
        self.rows = self.together([harvest.rows for harvest in harvests])
        episodes = [
            episode._replace(member=share.members[episode.member])
            for share, harvest in zip(self.shares, harvests, strict=True)
            for episode in harvest.episodes
        ]
        return self.rows, episodes

    def harvest(self, index: int, order: Order) -> Harvest:
        """Return what a station brings home; one whose process is lost is replaced, if asked.

        Raises:
            LostError: it is lost, and the run is to end.
            WorldError: it is lost.
        """
        station, lost = self.stations[index], list[tuple[int, str]]()
        while True:
            try:
                if lost:
                    self.ask_again(index, order, attempt=len(lost))
                harvest = station.answer()
                return harvest._replace(restarts=lost + harvest.restarts)
            except LostError as error:
                if self.stopped():
                    raise
                if not self.restarting or len(lost) == MOST_FAILURES:
                    step = order.step + order.steps * self.config.env.count
                    raise WorldError(f"before step {step}: {error}") from error
                lost.append((0, str(error)))

    def ask_again(self, index: int, order: Order, attempt: int) -> None:
        """Have another process collect what one that is lost was asked for, in new episodes.

        Raises:
            LostError: it cannot make its worlds.
        """
        station, share = self.stations[index], self.shares[index]
        assert isinstance(station, Elsewhere)
        station.start_again()
        seeds = world_seeds(self.members, self.config.env.count, order.step, attempt)
        heads = self.heads()
        cut = order.cut if heads is None else heads[slices(share)]
        station.ask(order._replace(seeds=part_of(seeds, share), cut=cut))

    def together(self, rows: Sequence[Rows]) -> Rows:
        """Return the rows of all stations, by member and world."""
        if len(rows) == 1:
            return rows[0]
        shape = (len(self.members), self.config.env.count)
        whole = Rows(*(np.empty((*shape, *part.shape[2:]), part.dtype) for part in rows[0]))
        for share, own in zip(self.shares, rows, strict=True):
            for target, part in zip(whole, own, strict=True):
                target[slices(share)] = part
        return whole

    def heads(self) -> Floats | None:
        """Return each world's newest observation [members, worlds, obs] in the rows so far."""
        if self.cut is not None or self.rows is None:
            return self.cut
        where = self.rows.count[:, :, None, None]
        found: Floats = np.take_along_axis(self.rows.obs, where, axis=2)[:, :, 0]
        return found

    def cut_off(self) -> None:
        """Break all episodes off between two collections: the next one begins new ones."""
        self.cut, self.running = self.heads(), False

    def restore(
        self, behaviours: Sequence[Mapping[str, Any]], seen: Sequence[Floats], cut: Floats | None
    ) -> None:
        """Go on where another crew was cut off, at these observations, with its noise."""
        self.behaviours, self.seen = [dict(state) for state in behaviours], list(seen)
        self.cut, self.running = cut, False
        first = 0
        for share, station in zip(self.shares, self.stations, strict=True):
            own = slice(first, first + len(share.members))
            station.restore(self.behaviours[own], self.seen[own])
            first += len(share.members)

    def noise_sizes(self) -> list[dict[str, float]]:
        """Return each member's size of the noise on weights, as metrics; nothing without such."""
        sizes: list[list[float]] = [[] for _ in self.members]
        served = [member for share in self.shares for member in share.members]
        for member, state in zip(served, self.behaviours, strict=False):
            if state["size"] is not None:
                sizes[member].append(state["size"])
        return [{"explore/parameter_std": float(np.mean(own))} if own else {} for own in sizes]

    def close(self) -> None:
        """Close all worlds, and leave the cluster."""
        for station in self.stations:
            station.dismiss()
        for station in self.stations:
            station.close()
        self.leaving.close()


def find_place(
    env: Env, guard: Guard, leaving: contextlib.ExitStack
) -> Callable[[Maker, Env, Sequence[Post], range], Station]:
    """Return what makes a run's stations; `leaving` is closed when they are needed no longer.

    Raises:
        ConfigError: they are to be on a cluster that is not there, or is too small.
    """
    if not env.workers.number:
        return partial(HostStation, guard=guard)
    if not env.workers.on_ray:
        return Outpost
    check_address(env.cluster, "--env.cluster")
    option = "--env.workers" if env.cluster == HERE else "--env.cluster"
    cluster = CONNECTION.open(env.cluster, option, env.workers.number)
    leaving.callback(CONNECTION.close)
    check_room(cluster, env)
    return partial(FarStation, cluster)


def slices(share: Share) -> tuple[slice, slice]:
    """Return where a share's part lies in arrays [members, worlds, ...]."""
    members, worlds = share
    return slice(members.start, members.stop), slice(worlds.start, worlds.stop)


def part_of(seeds: Sequence[Sequence[int]], share: Share) -> list[list[int]]:
    """Return the seeds of a share's worlds."""
    return [[seeds[member][world] for world in share.worlds] for member in share.members]


def world_seeds(
    members: Sequence[Member], worlds: int, step: int, attempt: int = 0
) -> list[list[int]]:
    """Return the seeds of each member's worlds, which derive from the member's seed and the step.

    They are those of the episodes that begin at this step in all worlds; at a later attempt, after
    a failure, they are others.
    """
    found = []
    for member in members:
        words = np.random.SeedSequence([member.seed, WORLD, step, attempt]).generate_state(worlds)
        found.append([int(word >> 1) for word in words])
    return found
