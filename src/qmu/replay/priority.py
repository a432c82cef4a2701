"""Prioritized sampling: rows are drawn in proportion to their priority.

A tree of sums over all slots of a member's rings, 32 children to a node: a million rows are four
levels deep, and every level is one gather for a whole batch. Where priorities fade with age, the
tree holds the faded ones.
"""

import dataclasses
import math
from collections.abc import Callable

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
# What fading leaves of a priority at least, and how many rows come in before all fade again.
LEAST, STALE = 0.1, 32


class Fading(eqx.Module):
    """Priorities as they were given, before they fade, and the rows since the tree was built."""

    raw: Float[Array, "*members rows"]
    since: Int[Array, "*members"]


class Priorities(eqx.Module):
    """Sums of priorities, from the rows (level 0) to the few nodes at the top, per member.

    Rows from which no transition starts have priority 0: final observations, the newest
    observations, slots that nothing has been written to.
    """

    levels: tuple[Float[Array, "*members nodes"], ...]
    # The largest that any row was given, unfaded.
    largest: Float[Array, "*members"]
    fading: Fading | None = None


def level_sizes(rows: int) -> list[int]:
    """Return the nodes of each level over so many rows, each but the top a multiple of 32."""
    sizes = [rows]
    while sizes[-1] > CHILDREN:
        sizes[-1] = CHILDREN * math.ceil(sizes[-1] / CHILDREN)
        sizes.append(sizes[-1] // CHILDREN)
    return sizes


def init_priorities(members: int, rows: int, fading: bool = False) -> Priorities:
    """Return the priorities of empty rings with so many slots in total."""
    sizes = level_sizes(rows)
    levels = tuple(jnp.zeros((members, size)) for size in sizes)
    if not fading:
        return Priorities(levels, jnp.ones(members))
    raw, since = jnp.zeros((members, sizes[0])), jnp.zeros(members, jnp.int32)
    return Priorities(levels, jnp.ones(members), Fading(raw, since))


def priorities_bytes(members: int, rows: int, fading: bool = False) -> int:
    """Return how many bytes the priorities of so many slots per member take."""
    sizes = level_sizes(rows)
    beside = sizes[0] + 1 if fading else 0
    return 4 * members * (sum(sizes) + 1 + beside)


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
    noted = jax.vmap(begun)(priorities, place.reshape(flat), value.reshape(flat))
    if noted.fading is None:
        return noted
    since = noted.fading.since + jnp.sum(rows.count, axis=-1)
    return dataclasses.replace(noted, fading=Fading(noted.fading.raw, since))


def refreshed(
    priorities: Priorities,
    head: Int[Array, " worlds"],
    length: int,
    fade: float | Float[Array, ""],
) -> Priorities:
    """Return one member's priorities that fade, faded again where enough rows have come in.

    Args:
        priorities: of rings whose rows have been noted and appended.
        head: the slot of each world's newest observation.
        length: the slots of a ring.
        fade: as of `factors`.
    """
    assert priorities.fading is not None
    return jax.lax.cond(
        priorities.fading.since >= STALE,
        lambda: faded(priorities, head, length, fade),
        lambda: priorities,
    )


def faded(
    priorities: Priorities,
    head: Int[Array, " worlds"],
    length: int,
    fade: float | Float[Array, ""],
) -> Priorities:
    """Return one member's priorities with all rows faded by the ages that they have now."""
    fading = priorities.fading
    assert fading is not None
    factor = factors(head, length, fade)
    levels = [fading.raw * jnp.pad(factor, (0, len(fading.raw) - len(factor)))]
    for above in priorities.levels[1:]:
        sums = jnp.sum(levels[-1].reshape(-1, CHILDREN), axis=-1)
        levels.append(jnp.pad(sums, (0, len(above) - len(sums))))
    fresh = Fading(fading.raw, jnp.zeros_like(fading.since))
    return Priorities(tuple(levels), priorities.largest, fresh)


def factors(
    head: Int[Array, " worlds"], length: int, fade: float | Float[Array, ""]
) -> Float[Array, " slots"]:
    """Return what is left of a priority in every slot of a member's rings: max(fade^age, 0.1).

    The age of a row is how many rows the member has stored since: those of its world, times the
    number of worlds, which take their steps together.
    """
    behind = head[:, None] - 1 - jnp.arange(length)[None]
    # A remainder would take twice as long.
    age = head.shape[0] * jnp.where(behind < 0, behind + length, behind)
    return jnp.maximum(jnp.exp(age.astype(jnp.float32) * jnp.log(fade)), LEAST).reshape(-1)


def draw(
    priorities: Priorities,
    key: PRNGKeyArray,
    shape: tuple[int, ...],
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """Draw rows of one member with probability P(i) = p_i / Σ p, stratified over the last axis.

    Returns the rows' places and their priorities, which are 0 where there is no row to be drawn.
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
    return place, priorities.levels[0][place]


def weights(
    priority: Float[Array, "... rows"], beta: float | Float[Array, ""] | None
) -> Float[Array, "... rows"]:
    """Return the weights that correct for how rows of these priorities are drawn; without β, 1.

    They are (1 / P(i))^β, divided by the batch's largest (Schaul et al. 2016, section 3.4). A row
    without priority weighs 0.
    """
    valid = priority > 0
    if beta is None:
        return valid.astype(jnp.float32)
    smallest = jnp.min(jnp.where(valid, priority, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(valid, (smallest / jnp.where(valid, priority, 1.0)) ** beta, 0.0)


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


Measure = Callable[[Array, float | Array], Array]


def of_error(error: Float[Array, " rows"], alpha: float | Array) -> Float[Array, " rows"]:
    """Return the priorities (|δ| + ε)^α of these absolute TD errors (Schaul et al. 2016, 3.3)."""
    return (error + EPSILON) ** alpha


def of_large_error(error: Float[Array, " rows"], alpha: float | Array) -> Float[Array, " rows"]:
    """Return the priorities max(|δ|, 1)^α of these absolute TD errors (Fujimoto et al. 2020, LAP).

    Rows with errors below 1, where a Huber loss is a square, are drawn alike.
    """
    return jnp.maximum(error, 1.0) ** alpha


# What priorities are made of -> how.
MEASURES: dict[str, Measure] = {"td-error": of_error, "lap": of_large_error}


def renewed(
    priorities: Priorities,
    place: Int[Array, "..."],
    error: Float[Array, "..."],
    alpha: float | Float[Array, ""],
    measure: Measure,
) -> Priorities:
    """Return one member's priorities after these rows' TD errors, as one of `MEASURES` has them.

    A row that was drawn though it starts no transition keeps 0. Priorities that fade do so by the
    ages of the tree.
    """
    place, error = place.reshape(-1), error.reshape(-1)
    value = jnp.where(priorities.levels[0][place] > 0, measure(error, alpha), 0.0)
    largest = jnp.maximum(priorities.largest, jnp.max(value))
    fading = priorities.fading
    if fading is None:
        return replaced(Priorities(priorities.levels, largest), place, value)
    factor = priorities.levels[0][place] / jnp.where(value > 0, fading.raw[place], 1.0)
    raw = fading.raw.at[place].set(value)
    # Of a row that was drawn twice, one of two errors stays: the same one in both.
    tree = replaced(priorities, place, raw[place] * factor)
    return Priorities(tree.levels, largest, Fading(raw, fading.since))


def begun(
    priorities: Priorities, place: Int[Array, " rows"], value: Float[Array, " rows"]
) -> Priorities:
    """Return one member's priorities with others of fresh rows, which have not faded."""
    fresh = replaced(priorities, place, value)
    if fresh.fading is None:
        return fresh
    raw = fresh.fading.raw.at[place].set(value, mode="drop")
    return dataclasses.replace(fresh, fading=Fading(raw, fresh.fading.since))


def replaced(
    priorities: Priorities, place: Int[Array, " rows"], value: Float[Array, " rows"]
) -> Priorities:
    """Return one member's tree with other values at some rows; rows beyond are ignored."""
    levels = [priorities.levels[0].at[place].set(value, mode="drop")]
    inside = place < priorities.levels[0].shape[0]
    for above in priorities.levels[1:]:
        place = jnp.where(inside, place // CHILDREN, above.shape[0])
        children = levels[-1].reshape(-1, CHILDREN).at[place].get(mode="fill", fill_value=0.0)
        levels.append(above.at[place].set(jnp.sum(children, axis=-1), mode="drop"))
    return Priorities(tuple(levels), priorities.largest, priorities.fading)
