"""The only storage: per member and world, a ring of rows in time order.

A row's numbers lie side by side in one block, so reading a transition touches neighbouring
memory: the next observation of row t is the observation of row t + 1, and is not stored twice.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from qmu.rows import Batch, Rows

TERMINATED = 1
LAST = 2
CANDIDATES = 4


class Stream(eqx.Module):
    """Rings of rows, one per member and world. Slot `head` holds the newest observation."""

    numbers: Float[Array, "members worlds rows obs+action+1"]
    flags: UInt8[Array, "members worlds rows"]
    head: Int[Array, "members worlds"]
    size: Int[Array, "members worlds"]
    obs_size: int = eqx.field(static=True)

    @property
    def rows_per_world(self) -> int:
        """The length of a ring; one slot of it holds the newest observation."""
        return self.flags.shape[2]


def stream_bytes(capacity: int, members: int, worlds: int, obs_size: int, action_size: int) -> int:
    """Return how many bytes a stream takes."""
    return members * worlds * ring_length(capacity, worlds) * row_bytes(obs_size, action_size)


def row_bytes(obs_size: int, action_size: int) -> int:
    """Return how many bytes a row takes."""
    return 4 * (obs_size + action_size + 1) + 1


def ring_length(capacity: int, worlds: int) -> int:
    """Return the slots of one world's ring: its share of the capacity, and the head slot."""
    return -(-capacity // worlds) + 1


def init_stream(
    capacity: int, members: int, worlds: int, obs_size: int, action_size: int
) -> Stream:
    """Return an empty stream with room for `capacity` rows per member."""
    shape = (members, worlds, ring_length(capacity, worlds))
    return Stream(
        numbers=jnp.zeros((*shape, obs_size + action_size + 1), jnp.float32),
        flags=jnp.full(shape, LAST, jnp.uint8),
        head=jnp.zeros(shape[:2], jnp.int32),
        size=jnp.zeros(shape[:2], jnp.int32),
        obs_size=obs_size,
    )


def append(stream: Stream, rows: Rows) -> Stream:
    """Return the stream with each world's rows, and its newest observation in the head slot.

    Of more rows than a ring holds, the newest stay.
    """
    members, worlds, _ = rows.last.shape
    length = stream.rows_per_world
    # A slot beyond the ring's end is dropped by the scatter.
    slot = written_slots(stream, rows)
    member = jnp.arange(members)[:, None, None]
    world = jnp.arange(worlds)[None, :, None]
    numbers = jnp.concatenate([rows.obs, rows.action, rows.reward[..., None]], axis=-1)
    flags = TERMINATED * rows.terminated.astype(jnp.uint8) + LAST * rows.last.astype(jnp.uint8)
    return dataclasses.replace(
        stream,
        numbers=stream.numbers.at[member, world, slot].set(numbers, mode="drop"),
        flags=stream.flags.at[member, world, slot].set(flags, mode="drop"),
        head=(stream.head + rows.count) % length,
        size=jnp.minimum(stream.size + rows.count, length - 1),
    )


def written_slots(stream: Stream, rows: Rows) -> Int[Array, "members worlds rows"]:
    """Return the slot that each row is written to, or one beyond the ring's end for none."""
    length = stream.rows_per_world
    time = jnp.arange(rows.last.shape[2])[None, None]
    count = rows.count[..., None]
    written = (time <= count) & (time > count - length)
    return jnp.where(written, (stream.head[..., None] + time) % length, length)


def take_rows(
    stream: Stream, member: Any, world: Any, slot: Int[Array, " rows"]
) -> tuple[Float[Array, "rows obs+action+1"], UInt8[Array, " rows"]]:
    """Return what some slots of a world's ring hold, as it is stored."""
    return stream.numbers[member, world, slot], stream.flags[member, world, slot]


def put_rows(
    stream: Stream,
    member: Any,
    world: Any,
    slot: Int[Array, " rows"],
    numbers: Float[Array, "rows obs+action+1"],
    flags: UInt8[Array, " rows"],
) -> Stream:
    """Return the stream with some slots of a world's ring as `take_rows` has returned them.

    Slots beyond the ring's end are ignored.
    """
    return dataclasses.replace(
        stream,
        numbers=stream.numbers.at[member, world, slot].set(numbers, mode="drop"),
        flags=stream.flags.at[member, world, slot].set(flags, mode="drop"),
    )


def sample(
    stream: Stream,
    key: PRNGKeyArray,
    member: int | Int[Array, ""],
    shape: tuple[int, ...],
    steps: int,
    gamma: float | Float[Array, ""],
) -> Batch:
    """Draw `shape` windows of up to `steps` steps of a member, uniformly and with replacement.

    Every row from which a transition starts is equally likely, whatever its world. A few candidate
    rows are drawn for each slot of the batch and the first one from which a transition starts is
    taken; a slot without one gets weight 0.
    """
    world, age = draw_rows(key, stream.size[member], (CANDIDATES, *shape))
    length = stream.rows_per_world
    slot = (stream.head[member][world] - 1 - age) % length
    starts = startable(stream.flags[member, world, slot])
    valid = starts & (jnp.sum(stream.size[member]) > 0)
    first = jnp.argmax(valid, axis=0)[None]
    world = jnp.take_along_axis(world, first, axis=0)[0]
    slot = jnp.take_along_axis(slot, first, axis=0)[0]
    return windows(stream, member, world, slot, jnp.any(valid, axis=0), steps, gamma)


def draw_rows(
    key: PRNGKeyArray, size: Int[Array, " worlds"], shape: tuple[int, ...]
) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Draw rows uniformly over worlds and time: each one's world, and its age (0: the newest)."""
    ends = jnp.cumsum(size)
    total = jnp.maximum(ends[-1], 1).astype(jnp.uint32)
    # The remainder of 32 random bits is biased by total / 2^32: 0.02% for a million rows.
    index = (jax.random.bits(key, shape, jnp.uint32) % total).astype(jnp.int32)
    if size.shape[0] == 1:
        return jnp.zeros_like(index), index
    world = jnp.searchsorted(ends, index, side="right", method="compare_all")
    world = jnp.minimum(world, size.shape[0] - 1)
    return world, index - (ends - size)[world]


def startable(flags: UInt8[Array, "..."]) -> Bool[Array, "..."]:
    """Tell from which rows a transition starts."""
    return (flags & LAST) == 0


def windows(
    stream: Stream,
    member: int | Int[Array, ""],
    world: Int[Array, "..."],
    slot: Int[Array, "..."],
    valid: Bool[Array, "..."],
    steps: int,
    gamma: float | Float[Array, ""],
) -> Batch:
    """Return the windows of up to `steps` steps that start at these slots; invalid ones weigh 0.

    A window ends after `steps` steps, at a termination, at a final observation or at the newest
    one; but for the termination, it bootstraps there. Its reward is Σ γ^i r_i, its discount γ^m
    after m steps, 0 after a termination (Sutton and Barto 2018, eq. 7.1). With one step it is a
    transition.
    """
    obs_size, ring = stream.obs_size, stream.rows_per_world
    row = stream.numbers[member, world, slot]
    goes_on = valid
    reward, discount = jnp.zeros(slot.shape), jnp.ones(slot.shape)
    end = slot
    for step in range(steps):
        step_reward = row[..., -1] if step == 0 else stream.numbers[member, world, end, -1]
        terminated = (stream.flags[member, world, end] & TERMINATED) != 0
        reward += jnp.where(goes_on, discount * step_reward, 0.0)
        discount *= jnp.where(goes_on, jnp.where(terminated, 0.0, gamma), 1.0)
        end = jnp.where(goes_on, (end + 1) % ring, end)
        goes_on &= ~terminated & startable(stream.flags[member, world, end])
    return Batch(
        obs=row[..., :obs_size],
        action=row[..., obs_size:-1],
        reward=reward,
        discount=discount,
        next_obs=stream.numbers[member, world, end, :obs_size],
        weight=valid.astype(jnp.float32),
    )
