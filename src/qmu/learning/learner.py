"""The one compiled function: append a chunk's rows, then the updates that they pay for."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Mapping, Set
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from qmu import config as options
from qmu.agent import update as algorithm
from qmu.agent.custom import BUILT_IN, Makers
from qmu.agent.schedule import scheduled
from qmu.agent.update import Acting, Agent, Metrics
from qmu.agent.vitals import Vitals, vitals
from qmu.config import Config
from qmu.config.heads import normalizes_rewards
from qmu.deploy.policy import Acts
from qmu.layout import Layout, numbers_of
from qmu.learning.custom import acting_device
from qmu.learning.devices import in_single_precision
from qmu.learning.groups import Group, for_each
from qmu.learning.handover import to_networks
from qmu.learning.members import (
    SAMPLE,
    UPDATE,
    VITALS,
    Members,
    copied,
    init_members,
    stack_numbers,
)
from qmu.learning.recall import with_states
from qmu.learning.returns import no_returns, returns_in, rewarded
from qmu.learning.schedules import Values, stacked_values, with_values
from qmu.learning.statistics import no_statistics, observed, statistics_in, with_deviations
from qmu.replay.priority import (
    MEASURES,
    Priorities,
    draw,
    note_rows,
    of_sequences,
    refreshed,
    renewed,
    weights,
)
from qmu.replay.sequences import Reading, sequences
from qmu.replay.stream import Stream, append, sample, windows
from qmu.rows import Batch, Rows
from qmu.saving.arrays import like_groups

# Batches drawn at once: 12,300 updates/s against 9,300 (docs/decisions/0001-jax.md).
BLOCK = 32

Carry = tuple[Agent, Metrics, Priorities | None]
# Vitals are measured once per so many updates, beginning with the first: small networks, of which a
# chunk's updates take 3 ms, would otherwise pay 6% for them (benchmarks/health.py).
MEASURED_EVERY = 256
MEASURED = "measured"
# Name of a metric -> its sum over the updates of a chunk, one per member.
Totals = dict[str, Array]


def learn(
    members: Members,
    rows: Rows,
    done: Int[Array, ""],
    due: Int[Array, ""],
    planned: Float[Array, ""],
    config: Config,
    scales: tuple[Array, Array] | None,
    units: Float[Array, " members"] | None = None,
    *,
    platform: str,
    given: Set[str],
) -> tuple[Members, Totals, Acting]:
    """Append the rows, then do `due` updates of each member, `done` of `planned` being done.

    `scales` are means and deviations of the members' observations, where these are normalized, and
    `units` how large their rewards are, where these are.
    Returns the members, the sums of the metrics over the updates, and what to act with. Vitals are
    measured after the last update, of every `MEASURED_EVERY`; how often is in `MEASURED`. Options
    in `given` follow functions of the user's own.
    """
    priorities = members.priorities
    if priorities is not None:
        priorities = note_rows(priorities, members.stream, rows)
    stream = append(members.stream, rows)
    if stream.states is not None:
        stream = with_states(stream, rows, members.agents, members.stream, platform)
    # A row's priority follows its last TD error, so batches cannot be drawn ahead by it. Images of
    # many batches take room, as sequences do, and drawing them is little beside what is done with
    # them.
    ahead = priorities is None and stream.bytes is None and not config.memory.used
    block = BLOCK if ahead else 1

    def learn_one(
        position: Any,
        agent: Agent,
        priorities: Priorities | None,
        key_data: Array,
        numbers: Config,
        scales: tuple[Array, Array] | None,
        unit: Float[Array, ""] | None,
    ) -> tuple[Agent, Priorities | None, Totals]:
        key = jax.random.wrap_key_data(key_data)
        sample_key, update_key, vitals_key = (
            jax.random.fold_in(key, use) for use in (SAMPLE, UPDATE, VITALS)
        )

        def at(number: Array) -> Config:
            share = jnp.minimum(number.astype(jnp.float32) / planned, 1.0)
            return scheduled(numbers, share, given)

        def one_block(number: Array, carry: Carry) -> Carry:
            start = done + number * block
            batches, places = draw_batches(
                stream,
                carry[2],
                jax.random.fold_in(sample_key, start),
                position,
                (block, options.batch_rows(config)),
                at(start),
            )

            def one_update(index: Array, carry: Carry) -> Carry:
                agent, totals, priorities = carry
                batch = jax.tree.map(lambda leaf: leaf[index], batches)
                now = at(start + index)
                count = start + index + 1
                agent, metrics, errors = algorithm.update(
                    agent, batch, count, jax.random.fold_in(update_key, count), now
                )
                if priorities is not None and places is not None:
                    if config.memory.used:
                        errors = of_sequences(errors, batch.weight, places.shape[-1])
                    assert numbers.replay.alpha is not None
                    measure = MEASURES[config.replay.priorities]
                    priorities = renewed(priorities, places, errors, numbers.replay.alpha, measure)
                return agent, jax.tree.map(jnp.add, totals, metrics), priorities

            return jax.lax.fori_loop(0, jnp.minimum(due - number * block, block), one_update, carry)

        if priorities is not None and numbers.replay.fade is not None:
            head, length = stream.head[position], stream.rows_per_world
            priorities = refreshed(priorities, head, length, numbers.replay.fade)
        agent = algorithm.observe(agent, scales, unit)
        agent, totals, priorities = jax.lax.fori_loop(
            0,
            (due + block - 1) // block,
            one_block,
            (agent, algorithm.no_metrics(config), priorities),
        )

        def measured() -> Vitals:
            rows = (1, config.replay.batch_size)
            key = jax.random.fold_in(vitals_key, done)
            one, _ = draw_batches(stream, None, key, position, rows, numbers)
            return vitals(agent, jax.tree.map(lambda leaf: leaf[0], one), numbers)

        begun, ended = (-(-number // MEASURED_EVERY) for number in (done, done + due))
        now = begun < ended
        found = jax.lax.cond(
            now,
            measured,
            lambda: jax.tree.map(lambda one: jnp.zeros(one.shape), jax.eval_shape(measured)),
        )
        counted = {MEASURED: now.astype(jnp.float32)}
        return agent, priorities, named("train", totals) | named("health", found) | counted

    agents, priorities, totals = for_each(
        learn_one,
        platform,
        members.agents,
        priorities,
        members.keys,
        config,
        scales,
        units,
    )
    members = Members(agents, stream, priorities, members.keys)
    return members, totals, algorithm.acting(agents)


def named(group: str, record: Any) -> Totals:
    """Return a record's fields under the names that they are logged with; not those without."""
    return {
        f"{group}/{field.name}": value
        for field in dataclasses.fields(record)
        for value in [getattr(record, field.name)]
        if value is not None
    }


def draw_batches(
    stream: Stream,
    priorities: Priorities | None,
    key: PRNGKeyArray,
    member: Any,
    shape: tuple[int, int],
    numbers: Config,
) -> tuple[Batch, Array | None]:
    """Draw batches [updates, rows] of a member; with priorities, also where their rows are."""
    gamma = numbers.target.gamma
    if numbers.memory.used:
        read = partial(sequences, reading=reading(numbers), gamma=gamma)
    else:
        read = partial(windows, steps=numbers.replay.n_step, gamma=gamma)
    if priorities is None:
        return read(stream, member, *sample(stream, key, member, shape)), None
    places, priority = draw(priorities, key, shape)
    weight = weights(priority, numbers.replay.beta)
    world, slot = jnp.divmod(places, stream.rows_per_world)
    batches = read(stream, member, world, slot, weight > 0)
    if not numbers.memory.used:
        return batches._replace(weight=weight), places
    # All rows of a sequence weigh what it does.
    steps = batches.weight.shape[-1] // shape[-1]
    return batches._replace(weight=batches.weight * jnp.tile(weight, steps)), places


def reading(config: Config) -> Reading:
    """Return how sequences are read."""
    return Reading(config.memory.sequence, config.memory.burn_in, config.replay.n_step)


@lru_cache(maxsize=16)
def program(platform: str, given: frozenset[str], shape: Hashable) -> Callable[..., Any]:
    """Return the compiled function for learners of a shape, which all of them share.

    It is compiled with their first chunk; programs of shapes that were not asked for lately go.
    """
    del shape
    return jax.jit(partial(learn, platform=platform, given=given), donate_argnums=0)


class Learner:
    """All members of a run, in groups: one compiled call per group and chunk.

    Calls return at once; the devices work on them in order. `actors` waits.
    """

    @in_single_precision
    def __init__(
        self,
        groups: list[Group],
        layout: Layout,
        action_size: int,
        given: Set[str] = frozenset(),
        makers: Makers = BUILT_IN,
    ) -> None:
        """Make the members, and allocate their streams.

        Args:
            groups: the members, by their devices.
            layout: of an observation.
            action_size: numbers in an action.
            given: the options that every call of `learn` gets anew.
            makers: what makes the members' networks.
        """
        self.groups = groups
        self.layout, self.action_size = layout, action_size
        ends = np.cumsum([0, *(len(group.members) for group in groups)]).tolist()
        # Which of all members belong to each group.
        self.slices = [slice(*pair) for pair in itertools.pairwise(ends)]
        # Where actors of the user's own act.
        self.acting_device = acting_device([group.device for group in groups])
        self.updates = 0
        members, normalizing = ends[-1], groups[0].members[0].config.env.normalize_obs
        self.statistics = no_statistics(members, layout.numbers) if normalizing else None
        first = groups[0].members[0].config
        scaling = normalizes_rewards(first.env, first.critic)
        self.returns = no_returns(members, first.env.count) if scaling else None
        self.planned = options.planned_updates(groups[0].members[0].config)
        self.members = [init_members(group, layout, action_size, makers) for group in groups]
        self.numbers = [jax.device_put(stack_numbers(group), group.device) for group in groups]
        self.compiled = program(groups[0].device.platform, frozenset(given), self.shape())
        # A copy: the members' own arrays are given away with the next chunk.
        self.newest = [
            copied(algorithm.acting(members.agents), group.device)
            for members, group in zip(self.members, groups, strict=True)
        ]
        self.previous = self.newest
        self.totals: list[tuple[list[Totals], int]] = []

    def shape(self) -> Hashable:
        """Return what a program is compiled for: devices, chunk, and each array's type and size."""
        chunk = self.groups[0].members[0].config.train.chunk
        groups = zip(self.groups, self.members, self.numbers, strict=True)
        return chunk, tuple(
            (
                group.device,
                jax.tree.structure(arrays),
                tuple(map(jax.typeof, jax.tree.leaves(arrays))),
            )
            for group, *arrays in groups
        )

    @in_single_precision
    def learn(self, rows: Rows, due: int, values: Values | None = None) -> None:
        """Hand over a chunk's rows, the updates that it pays for, and options that have changed."""
        self.previous = self.newest
        if self.statistics is not None:
            seen = numbers_of(self.layout, rows.obs)
            self.statistics = observed(self.statistics, seen, rows.count)
        if self.returns is not None:
            self.returns = rewarded(self.returns, rows, self.discounts(values or {}))
        counts = np.int32(self.updates), np.int32(due), np.float32(self.planned)
        results = []
        for index, part in enumerate(self.slices):
            own = jax.tree.map(lambda leaf, part=part: leaf[part], rows)
            changed = stacked_values(values or {}, self.groups[index])
            numbers = with_values(self.numbers[index], changed)
            scales = None if self.statistics is None else self.scales(part)
            units = None if self.returns is None else self.returns.units(part)
            results.append(self.compiled(self.members[index], own, *counts, numbers, scales, units))
        self.members = [members for members, _, _ in results]
        self.newest = [actors for _, _, actors in results]
        self.totals.append(([totals for _, totals, _ in results], due))
        self.updates += due

    def scales(self, part: slice) -> tuple[Any, Any]:
        """Return some members' means and deviations [members, obs] of what networks see."""
        assert self.statistics is not None
        mean, std = (np.tile(one, self.layout.frames) for one in self.statistics.scales(part))
        return mean, std

    def discounts(self, values: Values) -> list[float]:
        """Return the members' discounts."""
        own = [member.config.target.gamma for group in self.groups for member in group.members]
        return [values.get("target.gamma", gamma) for gamma in own]

    def compile(self, rows: Rows, values: Values | None = None) -> None:
        """Compile the program, by a chunk of which no row counts and no update is due; waits."""
        rows.last[:, :, 0] = True
        self.learn(rows, 0, values)
        self.totals.pop()
        self.settle()

    @in_single_precision
    def load(self, held: Mapping[str, Any], name: str) -> None:
        """Go on with other agents, whose arrays have names that begin like this.

        Raises:
            UnreadableError: they do not fit.
        """
        held = with_deviations(held)
        agents = like_groups(name, held, [members.agents for members in self.members])
        if self.statistics is not None:
            self.statistics = statistics_in(held, name, *self.statistics.mean.shape)
        if self.returns is not None:
            self.returns = returns_in(held, *self.returns.running.shape)
        self.members = [
            dataclasses.replace(members, agents=loaded)
            for loaded, members in zip(agents, self.members, strict=True)
        ]
        self.newest = [
            copied(algorithm.acting(loaded), group.device)
            for loaded, group in zip(agents, self.groups, strict=True)
        ]
        self.previous = self.newest

    def settle(self) -> None:
        """Wait until all that was handed over is done; its actors are the previous ones, too."""
        jax.block_until_ready(self.members)  # type: ignore[no-untyped-call]
        self.previous = self.newest

    def place_of(self, member: int) -> tuple[int, int]:
        """Return a member's group, and its position there."""
        group = sum(member >= part.stop for part in self.slices)
        return group, member - self.slices[group].start

    @in_single_precision
    def values(self, member: int, obs: Any) -> Any:
        """Return a member's Q(s, μ(s)) of observations [rows, obs], by its first critic; waits."""
        group, position = self.place_of(member)
        return np.asarray(best_values(self.members[group].agents, position, obs))

    def actors(self, lag: bool) -> list[Acts]:
        """Return each member's actor, of the newest chunk or the one before; waits for it."""
        return self.networks(self.previous if lag else self.newest)

    def networks(self, actors: list[Acting]) -> list[Acts]:
        """Return the groups' actors as each member's network; waits for them."""
        return [
            network
            for group in actors
            for network in to_networks(group, self.layout, self.action_size, self.acting_device)
        ]

    def share(self) -> float:
        """Return the part of all planned updates that has been done, from 0 to 1."""
        return min(self.updates / self.planned, 1.0) if self.updates else 0.0

    def metrics(self) -> list[dict[str, float]]:
        """Return each member's mean metrics since the last call; empty before any update."""
        updates = sum(due for _, due in self.totals)
        chunks = [jax.device_get(totals) for totals, due in self.totals if due]
        self.totals = []
        if not updates:
            return [{} for group in self.groups for _ in group.members]
        summed = [
            sum_trees([chunk[index] for chunk in chunks]) for index in range(len(self.groups))
        ]
        return [
            means(group, member, updates)
            for group, own in zip(summed, self.groups, strict=True)
            for member in range(len(own.members))
        ]


def means(totals: Any, member: int, updates: int) -> dict[str, float]:
    """Return a member's mean metrics, from their sums; those of health, if any were measured."""
    counts = {"train": updates, "health": float(totals[MEASURED][member])}
    return {
        name: float(values[member]) / count
        for name, values in totals.items()
        if name != MEASURED
        for count in [counts[name.partition("/")[0]]]
        if count
    }


@jax.jit
def best_values(agents: Agent, position: Any, obs: algorithm.Observations) -> Float[Array, " rows"]:
    """Return Q(s, μ(s)) by the first critic of the agent at a position of its group."""
    agent = jax.tree.map(lambda leaf: leaf[position], agents)
    seen = algorithm.features(agent.encoder, algorithm.normalized(agent.normalizer, obs))
    values = agent.critics.each[0](agent.critics.recalled(seen), agent.actor(seen))
    return algorithm.in_rewards(agent, values)


def sum_trees(trees: list[Any]) -> Any:
    """Return the sum of trees of arrays, leaf by leaf, in double precision."""
    return jax.tree.map(lambda *leaves: np.sum(leaves, axis=0, dtype=np.float64), *trees)
