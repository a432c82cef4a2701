"""A policy with a past: what it carries from one observation of an episode to the next.

A state is a tuple of arrays, each with an axis of the batch in front: one row per world. It is
empty where a policy has no past. With frames it holds those before the newest one, and whether
there has been one in the episode; behind them, with a memory, what it remembers, and what it is fed
of the last step: the action in [-1, 1], the reward.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu.deploy.memory import RecurrentCell, Remembers
from qmu.deploy.parts import observed, observed_batch, observed_step
from qmu.layout import Layout

State = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Past:
    """What makes up a policy's state: frames of observations, a memory, both, or neither."""

    layout: Layout
    memory: Remembers | None = None

    @property
    def frames(self) -> int:
        """How many of a state's arrays are about frames."""
        return 0 if self.layout.frames == 1 else 2

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What a memory's arrays of a state are, behind those about frames."""
        if self.memory is None:
            return ()
        action = ("action",) if self.memory.action else ()
        return ("hidden", *action, *(("reward",) if self.memory.reward else ()))


def initial_state(past: Past, batch: int) -> State:
    """Return the state of so many worlds before the first observation of an episode."""
    layout, memory = past.layout, past.memory
    state: list[NDArray[Any]] = []
    if past.frames:
        before = np.zeros((batch, layout.frames - 1, layout.size), layout.dtype)
        state += [before, np.zeros(batch, bool)]
    if memory is not None:
        state.append(np.zeros((batch, memory.size), np.float32))
        if memory.action:
            state.append(np.zeros((batch, memory.action), np.float32))
        if memory.reward:
            state.append(np.zeros(batch, np.float32))
    return tuple(state)


def stacked(past: Past, obs: NDArray[Any], state: State) -> tuple[NDArray[Any], State]:
    """Return observations [batch, size] with those before them, and the state after them.

    They are [batch, frames, size], the oldest first; as they come where there is one frame.
    """
    if not past.frames:
        return obs, state
    before, begun, *rest = state
    newest = obs[:, None]
    older = np.where(begun[:, None, None], before, newest)
    frames = np.concatenate([older, newest], axis=1)
    return frames, (frames[:, 1:], np.ones_like(begun), *rest)


def held(past: Past, state: State) -> dict[str, NDArray[Any]]:
    """Return what of a state is a memory's: `hidden`, the last `action`, the last `reward`."""
    return dict(zip(past.names, state[past.frames :], strict=True))


def after(past: Past, state: State, **parts: Any) -> State:
    """Return a state in which some parts of a memory's are others; those that it has."""
    if not past.names:
        return state
    frames = past.frames
    own = zip(past.names, state[frames:], strict=True)
    return (*state[:frames], *[parts.get(name, array) for name, array in own])


def recalled(
    cell: RecurrentCell, past: Past, found: NDArray[Any], state: State
) -> tuple[NDArray[Any], State]:
    """Return what was found [batch, numbers] with what a memory makes of it behind, and the state.

    It is fed the last step of the state.
    """
    given = held(past, state) | {"observation": found}
    if "reward" in given:
        given["reward"] = given["reward"][:, None]
    hidden = cell([given[name] for name in cell.fed], given["hidden"])
    frames = past.frames
    known = np.concatenate([found, hidden], axis=-1)
    return known, (*state[:frames], hidden, *state[frames + 1 :])


def begun_anew(state: State, rows: Any) -> State:
    """Return a state in which the episodes of some rows have only begun: theirs is all zeros."""
    if not state:
        return state
    renewed = tuple(np.array(part) for part in state)
    for part in renewed:
        part[rows] = 0
    return renewed


def chosen(state: State, rows: Any) -> State:
    """Return the state of some rows."""
    return tuple(part[rows] for part in state)


def replaced(state: State, rows: Any, new: State) -> None:
    """Put the state of some rows into the arrays of a state."""
    for part, own in zip(state, new, strict=True):
        part[rows] = own


class Carries:
    """A policy's way through episodes, whatever computes its actions: by hand, or on its own.

    A class says its `past`, `obs_shape`, `parts` and `dtype`, has an empty list `carried`, and
    acts on whole batches in `advance`.
    """

    obs_shape: tuple[int, ...]
    parts: tuple[Any, ...]
    carried: list[State]
    past: Any
    dtype: Any
    low: Any
    high: Any

    def advance(self, obs: NDArray[Any], state: State) -> tuple[NDArray[np.float32], State]:
        """Return actions [batch, ...] for observations [batch, *obs_shape], and the next state."""
        raise NotImplementedError

    @property
    def has_past(self) -> bool:
        """Tell whether it carries anything from one observation to the next."""
        return bool(self.past.frames) or self.past.memory is not None

    def initial_state(self, batch: int = 1) -> State:
        """Return what `step` is given with the first observations of `batch` episodes.

        It is a tuple of arrays with an axis of the batch in front, empty for a policy that acts on
        one observation alone.
        """
        return initial_state(self.past, batch)

    def step(
        self, observation: Any, state: State, reward: ArrayLike | None = None
    ) -> tuple[NDArray[np.float32], State]:
        """Return the action for one observation, or one per row of a batch, and the next state.

        Args:
            observation: one observation, or a batch of them, each of an episode of its own.
            state: what the step before has returned, or `initial_state`, for as many episodes. To
                begin another episode in some rows, take those rows of an `initial_state`.
            reward: what the step before has brought, [batch] of a batch; for a policy whose memory
                is fed it, but with the first observations.

        Returns:
            float32 actions in the environment's units, inside its bounds; the next state.

        Raises:
            ValueError: the observation has another shape, the state is not one of this policy and
                batch, or the reward is lacking.
        """
        obs, batch = observed_step(self.parts, self.obs_shape, observation, self.dtype)
        rows = obs if batch else obs[None]
        check_state(self.past, state, len(rows))
        actions, state = self.advance(rows, with_reward(self.past, state, reward))
        return (actions if batch else actions[0]), state

    def executed(self, action: ArrayLike, state: State | None = None) -> State:
        """Return the state after another action than the policy's was executed.

        A memory that is fed the last action is to know of a limit, or of a person, that came in
        between. Without a state it is the policy's own that is changed.

        Args:
            action: what was executed, in the environment's units: one, or one per row of a batch.
            state: what `step` has returned.

        Raises:
            ValueError: there was no step, the action has another shape or is not finite, or the
                state is another policy's.
        """
        if state is None and not self.carried:
            raise ValueError("no action was executed yet: call the policy before")
        before = self.carried[-1] if state is None else state
        batch = rows_of(before)
        check_state(self.past, before, batch)
        given = np.asarray(action, np.float32).reshape(-1)
        low, high = self.bounds()
        if given.size != batch * len(low):
            raise ValueError(
                f"{given.size} numbers of actions; {batch} of {len(low)} each are wanted"
            )
        scale = np.where(high > low, high - low, np.float32(1))
        if not np.isfinite(given).all():
            raise ValueError(f"the action {given.tolist()} has numbers that are not finite")
        inside = 2 * (given.reshape(batch, -1) - low) / scale - 1
        found = after(self.past, before, action=np.clip(inside, -1, 1).astype(np.float32))
        if state is None:
            self.carried[:] = [found]
        return found

    def bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return between which numbers each one of an action lies."""
        return self.low, self.high

    def batch_size(self, observation: Any) -> int:
        """Return how many observations these are, one or the rows of a batch.

        Raises:
            ValueError: they have another shape.
        """
        _, batch = observed(self.parts, self.obs_shape, observation, self.dtype)
        return batch[0] if batch else 1

    def reset(self) -> None:
        """Forget the past: the next call has an episode's first observation."""
        self.carried.clear()

    def act_on_own(
        self, obs: NDArray[Any], batch: tuple[int, ...], reward: ArrayLike | None
    ) -> NDArray[np.float32]:
        """Return the action for an observation, after those of the calls since `reset`.

        Raises:
            ValueError: it is a batch, of which each row would need a past of its own, or the reward
                is lacking.
        """
        if batch:
            self.refuse_batch()
        state = self.carried[-1] if self.carried else self.initial_state()
        actions, state = self.advance(obs[None], with_reward(self.past, state, reward))
        self.carried[:] = [state]
        return actions[0]

    def whole_batch(self, observations: Any) -> NDArray[Any]:
        """Return a batch of observations [batch, *obs_shape], for a policy without a past.

        Raises:
            ValueError: they are no batch, have another shape, or the policy has a past.
        """
        if self.has_past:
            self.refuse_batch()
        return observed_batch(self.parts, self.obs_shape, observations, self.dtype)

    def refuse_batch(self) -> None:
        """Raise ValueError: only `step` takes a batch of a policy with a past."""
        raise ValueError(
            "a batch of observations, of which this policy needs to know what was before each: "
            "state = policy.initial_state(batch), then action, state = policy.step(obs, state)"
        )


def with_reward(past: Past, state: State, reward: ArrayLike | None) -> State:
    """Return a state with the reward of the step before, where a memory is fed it.

    At the beginning of an episode, where nothing is remembered, it is zero, whatever is given.

    Raises:
        ValueError: it is fed it, there was a step, and no reward is given, or another number of
            them.
    """
    if past.memory is None or not past.memory.reward:
        return state
    hidden = held(past, state)["hidden"]
    begun = np.asarray([bool(row.any()) for row in hidden])
    if reward is None:
        if begun.any():
            raise ValueError(
                "this policy's memory is fed the reward of the step before: give it, as in "
                "policy.step(obs, state, reward) or policy(obs, reward)"
            )
        return state
    given = np.asarray(reward, np.float32).reshape(-1)
    if given.shape != begun.shape:
        raise ValueError(f"{given.size} rewards for {len(begun)} observations: give one for each")
    return after(past, state, reward=np.where(begun, given, np.float32(0)))


def check_state(past: Past, state: Any, batch: int) -> None:
    """Raise ValueError unless this is a state of so many rows of a policy with this past."""
    wanted = initial_state(past, batch)
    if isinstance(state, tuple) and [shape_of(one) for one in state] == list(map(shape_of, wanted)):
        return
    held = told(state) if isinstance(state, tuple) else f"{type(state).__name__}"
    raise ValueError(
        f"a state of {held}, where this policy's for {batch} "
        f"{'observation' if batch == 1 else 'observations'} has {told(wanted)}: begin with "
        f"policy.initial_state({batch}), and give each step what the one before has returned"
    )


def rows_of(state: Any) -> int:
    """Return how many rows the first part of a state has; 1 where it has none."""
    shape = shape_of(state[0])[1] if isinstance(state, tuple) and state else None
    return shape[0] if shape else 1


def shape_of(part: Any) -> tuple[Any, Any]:
    """Return the dtype and shape of a part of a state."""
    return getattr(part, "dtype", None), getattr(part, "shape", None)


def told(state: tuple[Any, ...]) -> str:
    """Return a state's arrays in words."""
    return " and ".join(f"{dtype}{list(shape or ())}" for dtype, shape in map(shape_of, state)) or (
        "nothing"
    )
