"""The few records that cross rooms."""

from typing import Any, NamedTuple


class Rows(NamedTuple):
    """What the worlds of all members did in one chunk, in time order per world.

    Row t is (obs_t, action_t, reward_t, terminated_t, last_t): reward and termination follow the
    action. A `last` row holds a final observation, from which no transition starts. The first
    `count[m, w]` rows of a world count. Row `count[m, w]` holds its newest observation, from which
    the next action starts, and is marked `last` until that action is known. The rest is padding.
    """

    obs: Any  # [members, worlds, rows, obs] float32
    action: Any  # [members, worlds, rows, action] float32, in [-1, 1]
    reward: Any  # [members, worlds, rows] float32
    terminated: Any  # [members, worlds, rows] bool; the row's discount is 1 - terminated
    last: Any  # [members, worlds, rows] bool
    count: Any  # [members, worlds] int32


class Batch(NamedTuple):
    """What an update consumes. A slot of weight 0 holds no transition."""

    obs: Any  # [..., batch, obs]
    action: Any  # [..., batch, action], in [-1, 1]
    reward: Any  # [..., batch]: discounted sum over the steps of the window
    discount: Any  # [..., batch]: γ^m after m steps, 0.0 after a termination
    next_obs: Any  # [..., batch, obs]
    weight: Any  # [..., batch]


class Timed(NamedTuple):
    """Observations in time order, and what came before each of them."""

    obs: Any  # [..., time, batch, obs]
    action: Any  # [..., time, batch, action]: the last one before it; zeros at an episode's start
    reward: Any  # [..., time, batch]: what followed that; zero at an episode's start
    begins: Any  # [..., time, batch] bool: the first observation of an episode


class Sequences(NamedTuple):
    """What networks that remember are given of a batch: sequences, and where in them it lies.

    The states before their first observations are zeros where they are None. Where `asked` is None
    all observations behind the burn-in are the batch.
    """

    timed: Timed
    actor_state: Any = None  # [..., batch, state]
    critics_state: Any = None  # [..., batch, state]
    asked: Any = None  # [..., steps, batch] int32: times
