"""Prioritized sampling: rows are drawn in proportion to their priority.

A tree of sums over all slots of a member's rings, 32 children to a node: a million rows are four
levels deep, and every level is one gather for a whole batch.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from qmu.replay.stream import Stream, written_slots
from qmu.rows import Rows

CHILDREN = 32
# Added to a TD error, so that no transition is lost for ever (Schaul et al. 2016, section 3.3).
EPSILON = 1e-6
# How much of a sequence's priority is its largest error, and not their mean.
LARGEST = 0.9


class Priorities(eqx.Module):
    """Sums of priorities, from the rows (level 0) to the few nodes at the top, per member.

    Rows from which no transition starts have priority 0: final observations, the newest
    observations, slots that nothing has been written to.
    """

    levels: tuple[Float[Array, "*members nodes"], ...]
    largest: Float[Array, "*members"]


def level_sizes(rows: int) -> list[int]:
    """Return the nodes of each level over so many rows, each but the top a multiple of 32."""
    sizes = [rows]
    while sizes[-1] > CHILDREN:
        sizes[-1] = CHILDREN * math.ceil(sizes[-1] / CHILDREN)
        sizes.append(sizes[-1] // CHILDREN)
    return sizes


def init_priorities(members: int, rows: int) -> Priorities:
    """Return the priorities of empty rings with so many slots in total."""
    levels = tuple(jnp.zeros((members, size)) for size in level_sizes(rows))
    return Priorities(levels, jnp.ones(members))


def priorities_bytes(members: int, rows: int) -> int:
    """Return how many bytes the priorities of so many slots per member take."""
    return 4 * members * (sum(level_sizes(rows)) + 1)


def note_rows(priorities: Priorities, stream: Stream, rows: Rows) -> Priorities:
    """Return the priorities after these rows are appended to `stream`, which is before that.

    A new transition gets the largest priority so far (Schaul et al. 2016, Algorithm 1, line 6).
    """
    length = stream.rows_per_world
    slot = written_slots(stream, rows)
    world = jnp.arange(slot.shape[1])[None, :, None]
    beyond = priorities.levels[0].shape[-1]
    place = jnp.where(slot < length, world * length + slot, beyond)
    largest = priorities.largest[:, None, None]
    value = jnp.where(rows.last, 0.0, largest)
    flat = (place.shape[0], -1)
    return jax.vmap(replaced)(priorities, place.reshape(flat), value.reshape(flat))


def draw(
    priorities: Priorities,
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    beta: float | Float[Array, ""],
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """Draw rows of one member with probability P(i) = p_i / Σ p, stratified over the last axis.

    Returns the rows' places and the weights that correct for it: (1 / P(i))^β, divided by the
    batch's largest (Schaul et al. 2016, section 3.4). A row without priority weighs 0.
    """
    top = priorities.levels[-1]
    total = jnp.sum(top)
    strata = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.float32), shape)
    ends = (strata + jax.random.uniform(key, shape)) / shape[-1] * total
    place, left = descend(jnp.broadcast_to(top, (*shape, len(top))), ends)
    for level in reversed(priorities.levels[:-1]):
        children = level.reshape(-1, CHILDREN)[place]
        child, left = descend(children, left)
        place = CHILDREN * place + child
    priority = priorities.levels[0][place]
    valid = priority > 0
    smallest = jnp.min(jnp.where(valid, priority, jnp.inf), axis=-1, keepdims=True)
    weight = jnp.where(valid, (smallest / jnp.where(valid, priority, 1.0)) ** beta, 0.0)
    return place, weight


def descend(
    children: Float[Array, "... children"], left: Float[Array, "..."]
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """Return the child in which the running sum passes `left`, and what is left inside it."""
    ends = jnp.cumsum(children, axis=-1)
    child = jnp.sum(ends <= left[..., None], axis=-1)
    # Rounding may lead beyond the last child that has any priority.
    last = children.shape[-1] - 1 - jnp.argmax(children[..., ::-1] > 0, axis=-1)
    child = jnp.minimum(child, last)
    before = jnp.take_along_axis(ends - children, child[..., None], axis=-1)[..., 0]
    return child, left - before


def of_sequences(
    error: Float[Array, " rows"], weight: Float[Array, " rows"], count: int
) -> Float[Array, " sequences"]:
    """Return the errors of so many sequences, whose rows lie step by step behind each other.

    Of the absolute errors of a sequence's rows, nine tenths of the largest and a tenth of the mean
    (Kapturowski et al. 2019, section 2.3); rows of weight 0 do not count.
    """
    errors, counts = (one.reshape(-1, count) for one in (error, (weight > 0).astype(jnp.float32)))
    mean = jnp.sum(errors * counts, axis=0) / jnp.maximum(jnp.sum(counts, axis=0), 1.0)
    return LARGEST * jnp.max(errors * counts, axis=0) + (1 - LARGEST) * mean


def renewed(
    priorities: Priorities,
    place: Int[Array, "..."],
    error: Float[Array, "..."],
    alpha: float | Float[Array, ""],
) -> Priorities:
    """Return one member's priorities after these rows' TD errors: p = (|δ| + ε)^α.

    Schaul et al. 2016, section 3.3. A row that was drawn though it starts no transition keeps 0.
    """
    place, error = place.reshape(-1), error.reshape(-1)
    value = jnp.where(priorities.levels[0][place] > 0, (error + EPSILON) ** alpha, 0.0)
    largest = jnp.maximum(priorities.largest, jnp.max(value))
    return replaced(Priorities(priorities.levels, largest), place, value)


def replaced(
    priorities: Priorities, place: Int[Array, " rows"], value: Float[Array, " rows"]
) -> Priorities:
    """Return one member's priorities with other values at some rows; rows beyond are ignored."""
    levels = [priorities.levels[0].at[place].set(value, mode="drop")]
    inside = place < priorities.levels[0].shape[0]
    for above in priorities.levels[1:]:
        place = jnp.where(inside, place // CHILDREN, above.shape[0])
        children = levels[-1].reshape(-1, CHILDREN).at[place].get(mode="fill", fill_value=0.0)
        levels.append(above.at[place].set(jnp.sum(children, axis=-1), mode="drop"))
    return Priorities(tuple(levels), priorities.largest)
