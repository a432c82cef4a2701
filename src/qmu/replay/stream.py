"""The only storage: per member and world, a ring of rows in time order.

A row's numbers lie side by side in one block, so reading a transition touches neighbouring
memory: the next observation of row t is the observation of row t + 1, and is not stored twice. Nor
are the frames of a stack: a stack is how a row is read.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from qmu.layout import NUMBER, Layout, Seen
from qmu.rows import Batch, Rows

TERMINATED = 1
LAST = 2
CANDIDATES = 4


class Stream(eqx.Module):
    """Rings of rows, one per member and world. Slot `head` holds the newest observation.

    Observations lie among the `numbers`, or, where there are images, as rows of `bytes`. `states`
    are those that the memories of actor and critics had before a row, where they are stored.
    """

    numbers: Float[Array, "members worlds rows obs+action+1"]
    bytes: UInt8[Array, "members worlds rows bytes"] | None
    flags: UInt8[Array, "members worlds rows"]
    head: Int[Array, "members worlds"]
    size: Int[Array, "members worlds"]
    layout: Layout = eqx.field(static=True)
    states: Float[Array, "members worlds rows states"] | None = None

    @property
    def rows_per_world(self) -> int:
        """The length of a ring; one slot of it holds the newest observation."""
        return self.flags.shape[2]

    @property
    def first_action(self) -> int:
        """The place of the first number of an action among a row's."""
        return 0 if self.bytes is not None else self.layout.numbers


def stream_bytes(
    capacity: int, members: int, worlds: int, layout: Layout, action_size: int, states: int = 0
) -> int:
    """Return how many bytes a stream takes, with so many numbers of stored states in a row."""
    rows = members * worlds * ring_length(capacity, worlds)
    return rows * row_bytes(layout, action_size, states)


def row_bytes(layout: Layout, action_size: int, states: int = 0) -> int:
    """Return how many bytes a row takes, with so many numbers of stored states."""
    return layout.bytes + 4 * (action_size + 1 + states) + 1


def ring_length(capacity: int, worlds: int) -> int:
    """Return the slots of one world's ring: its share of the capacity, and the head slot."""
    return -(-capacity // worlds) + 1


def init_stream(
    capacity: int, members: int, worlds: int, layout: Layout, action_size: int, states: int = 0
) -> Stream:
    """Return an empty stream with room for `capacity` rows per member.

    A row has room for so many numbers of stored states.
    """
    shape = (members, worlds, ring_length(capacity, worlds))
    obs_size = 0 if layout.images else layout.numbers
    return Stream(
        numbers=jnp.zeros((*shape, obs_size + action_size + 1), jnp.float32),
        bytes=jnp.zeros((*shape, layout.size), jnp.uint8) if layout.images else None,
        flags=jnp.full(shape, LAST, jnp.uint8),
        head=jnp.zeros(shape[:2], jnp.int32),
        size=jnp.zeros(shape[:2], jnp.int32),
        layout=layout,
        states=jnp.zeros((*shape, states), jnp.float32) if states else None,
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
    obs = [] if stream.bytes is not None else [rows.obs]
    numbers = jnp.concatenate([*obs, rows.action, rows.reward[..., None]], axis=-1)
    flags = TERMINATED * rows.terminated.astype(jnp.uint8) + LAST * rows.last.astype(jnp.uint8)
    return dataclasses.replace(
        stream,
        numbers=stream.numbers.at[member, world, slot].set(numbers, mode="drop"),
        bytes=None
        if stream.bytes is None
        else stream.bytes.at[member, world, slot].set(rows.obs, mode="drop"),
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


class Stored(NamedTuple):
    """Some rows of a world as a stream holds them."""

    numbers: Any  # [rows, obs+action+1] float32
    bytes: Any  # [rows, bytes] uint8, or None
    flags: Any  # [rows] uint8
    states: Any  # [rows, states] float32, or None


def take_rows(stream: Stream, member: Any, world: Any, slot: Int[Array, " rows"]) -> Stored:
    """Return what some slots of a world's ring hold."""
    return Stored(
        stream.numbers[member, world, slot],
        None if stream.bytes is None else stream.bytes[member, world, slot],
        stream.flags[member, world, slot],
        None if stream.states is None else stream.states[member, world, slot],
    )


def rings(stream: Stream) -> Stored:
    """Return what a stream stores of all rows, each [members, worlds, rows, ...]."""
    return Stored(stream.numbers, stream.bytes, stream.flags, stream.states)


def put_rows(
    stream: Stream, member: Any, world: Any, slot: Int[Array, " rows"], rows: Stored
) -> Stream:
    """Return the stream with some slots of a world's ring as `take_rows` has returned them.

    Slots beyond the ring's end are ignored.
    """
    put = jax.tree.map(
        lambda ring, own: ring.at[member, world, slot].set(own, mode="drop"), rings(stream), rows
    )
    return dataclasses.replace(stream, **put._asdict())


def sample(
    stream: Stream,
    key: PRNGKeyArray,
    member: int | Int[Array, ""],
    shape: tuple[int, ...],
) -> tuple[Int[Array, "..."], Int[Array, "..."], Bool[Array, "..."]]:
    """Draw `shape` rows of a member, with replacement: their worlds, slots, and which are valid.

    Every row from which a transition starts is equally likely, whatever its world. A few candidates
    are drawn for each, and the first one from which a transition starts is taken; where there is
    none, the last result is false.
    """
    world, age = draw_rows(key, stream.size[member], (CANDIDATES, *shape))
    length = stream.rows_per_world
    slot = (stream.head[member][world] - 1 - age) % length
    starts = startable(stream.flags[member, world, slot])
    valid = starts & (jnp.sum(stream.size[member]) > 0)
    first = jnp.argmax(valid, axis=0)[None]
    world = jnp.take_along_axis(world, first, axis=0)[0]
    slot = jnp.take_along_axis(slot, first, axis=0)[0]
    return world, slot, jnp.any(valid, axis=0)


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


def terminates(flags: UInt8[Array, "..."]) -> Bool[Array, "..."]:
    """Tell which rows' actions terminate an episode."""
    return (flags & TERMINATED) != 0


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
    ring, plain = stream.rows_per_world, stream.bytes is None and stream.layout.frames == 1
    obs_size = stream.first_action
    row = stream.numbers[member, world, slot]
    goes_on = valid
    reward, discount = jnp.zeros(slot.shape), jnp.ones(slot.shape)
    end = slot
    for step in range(steps):
        step_reward = row[..., -1] if step == 0 else stream.numbers[member, world, end, -1]
        terminated = terminates(stream.flags[member, world, end])
        reward += jnp.where(goes_on, discount * step_reward, 0.0)
        discount *= jnp.where(goes_on, jnp.where(terminated, 0.0, gamma), 1.0)
        end = jnp.where(goes_on, (end + 1) % ring, end)
        goes_on &= ~terminated & startable(stream.flags[member, world, end])
    return Batch(
        # The row is there already, and holds a plain observation.
        obs=row[..., :obs_size] if plain else observed(stream, member, world, slot),
        action=row[..., obs_size:-1],
        reward=reward,
        discount=discount,
        next_obs=observed(stream, member, world, end),
        weight=valid.astype(jnp.float32),
    )


def observed(
    stream: Stream,
    member: int | Int[Array, ""],
    world: Int[Array, "..."],
    slot: Int[Array, "..."],
) -> Any:
    """Return the observations in these slots as networks see them: numbers [..., obs], or `Seen`.

    With frames, each one is seen with those before it in its episode.
    """
    layout = stream.layout
    if layout.frames > 1:
        world, slot = world[..., None], frames_of(stream, member, world, slot)
    if stream.bytes is None:
        numbers = stream.numbers[member, world, slot, : layout.numbers]
        return numbers if layout.frames == 1 else jax.lax.collapse(numbers, numbers.ndim - 2)
    return split(layout, stream.bytes[member, world, slot])


def frames_of(
    stream: Stream,
    member: int | Int[Array, ""],
    world: Int[Array, "..."],
    slot: Int[Array, "..."],
) -> Int[Array, "... frames"]:
    """Return the slots of the frames that the observations in these slots are seen with.

    The oldest comes first, the slot itself last. What lies before the first row of the episode, or
    before the oldest row of the ring, is that row again.
    """
    ring = stream.rows_per_world
    head, size = stream.head[member, world], stream.size[member, world]
    slots = [slot]
    for _ in range(stream.layout.frames - 1):
        newer = slots[-1]
        older = (newer - 1) % ring
        kept = (head - newer) % ring < size
        inside = kept & startable(stream.flags[member, world, older])
        slots.append(jnp.where(inside, older, newer))
    return jnp.stack(slots[::-1], axis=-1)


def split(layout: Layout, rows: UInt8[Array, "..."]) -> Seen:
    """Return rows of bytes [..., (frames,) size] as networks see them."""
    batch = rows.shape[: rows.ndim - 1 - (layout.frames > 1)]
    frames = rows.reshape(*batch, layout.frames, layout.size)
    held = frames[..., : NUMBER * layout.numbers]
    words = held.reshape(*batch, layout.frames, layout.numbers, NUMBER)
    numbers = jax.lax.bitcast_convert_type(words, jnp.float32)
    images = tuple(
        jnp.moveaxis(frames[..., place].reshape(*batch, layout.frames, *image), -4, -2).reshape(
            *batch, *whole
        )
        for place, image, whole in zip(
            layout.places, layout.images, layout.seen_images, strict=True
        )
    )
    return Seen(numbers.reshape(*batch, layout.seen_numbers), images)
