"""Sequences: windows of consecutive rows of a world, for networks that remember.

Nothing is stored for them but, where that is asked for, the states that memories had. A sequence
may run across the end of an episode: the state begins anew there, and no value comes from beyond.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from qmu.replay.stream import Stream, observed, startable, terminates
from qmu.rows import Batch, Sequences, Timed


class Reading(NamedTuple):
    """How long sequences are, and what is made of them."""

    steps: int  # of a sequence
    burn_in: int  # of these, from which nothing is learned
    ahead: int  # steps of reward before a target bootstraps


def sequences(
    stream: Stream,
    member: int | Int[Array, ""],
    world: Int[Array, "*lead batch"],
    slot: Int[Array, "*lead batch"],
    valid: Bool[Array, "*lead batch"],
    reading: Reading,
    gamma: float | Float[Array, ""],
) -> Batch:
    """Return the sequences that start at these slots as one batch of transitions.

    Transitions are those of the first step of all sequences behind the burn-in, then of the second,
    and so on: rows [steps * batch]. Each is a window of up to `ahead` steps of reward, as that of
    `stream.windows`. Of weight 0 are those of a sequence that is not valid, those behind the newest
    row, and final observations, from which none starts.
    """
    ring, long, lead = stream.rows_per_world, reading.steps + reading.ahead, slot.ndim - 1
    time = jnp.arange(-1, long).reshape(*[1] * lead, -1, 1)
    # Rows [*lead, time, batch]: the one before the sequence, and those behind it.
    slots = (slot[..., None, :] + time) % ring
    worlds = jnp.broadcast_to(world[..., None, :], slots.shape)
    head, size = (held[member, world][..., None, :] for held in (stream.head, stream.size))
    numbers = stream.numbers[member, worlds, slots, stream.first_action :]
    action, reward = numbers[..., :-1], numbers[..., -1]
    flags = stream.flags[member, worlds, slots]
    # How many rows lie between each and the newest one, which starts no transition.
    age = (head - slot[..., None, :]) % ring - time
    starts = startable(flags) & (age > 0) & (age <= size)
    before, here = slice(0, -1), slice(1, None)
    goes_on = starts[..., before, :]
    timed = Timed(
        obs=observed(stream, member, worlds[..., here, :], slots[..., here, :]),
        action=jnp.where(goes_on[..., None], action[..., before, :, :], 0.0),
        reward=jnp.where(goes_on, reward[..., before, :], 0.0),
        begins=~goes_on,
    )
    states: list[Any] = [None, None]
    if stream.states is not None:
        states = list(jnp.split(stream.states[member, world, slot], 2, axis=-1))
    starts, reward = starts[..., here, :], reward[..., here, :]
    ended = terminates(flags[..., here, :])
    learned = slice(reading.burn_in, reading.steps)
    valid = starts[..., learned, :] & valid[..., None, :]
    going, total, discount = valid, jnp.zeros(valid.shape), jnp.ones(valid.shape)
    asked = jnp.broadcast_to(jnp.arange(reading.burn_in, reading.steps)[:, None], valid.shape)
    for step in range(reading.ahead):
        own = slice(reading.burn_in + step, reading.steps + step)
        following = slice(own.start + 1, own.stop + 1)
        total += jnp.where(going, discount * reward[..., own, :], 0.0)
        discount *= jnp.where(going, jnp.where(ended[..., own, :], 0.0, gamma), 1.0)
        asked = jnp.where(going, asked + 1, asked)
        if step < reading.ahead - 1:
            going &= ~ended[..., own, :] & starts[..., following, :]
    return Batch(
        obs=Sequences(first(timed, reading.steps, lead), *states),
        action=as_rows(action[..., here, :, :][..., learned, :, :], lead),
        reward=as_rows(total, lead),
        discount=as_rows(discount, lead),
        next_obs=Sequences(timed, states[0], states[1], asked),
        weight=as_rows(valid.astype(jnp.float32), lead),
    )


def first(timed: Timed, steps: int, lead: int) -> Timed:
    """Return the first steps of sequences, whose time is the axis behind `lead` others."""
    part = (slice(None),) * lead + (slice(steps),)
    return jax.tree.map(lambda leaf: leaf[part], timed)


def as_rows(array: Float[Array, "*lead time batch"], lead: int) -> Float[Array, "*lead rows"]:
    """Return an array with time and batch as one axis."""
    return array.reshape(*array.shape[:lead], -1, *array.shape[lead + 2 :])
