"""A policy with a past: what it carries from one observation of an episode to the next.

A state is a tuple of arrays, each with an axis of the batch in front: one row per world. It is
empty where a policy has no past. With frames it holds those before the newest one, and whether
there has been one in the episode.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmu.deploy.parts import observed, observed_batch, observed_step
from qmu.layout import Layout

State = tuple[NDArray[Any], ...]


def initial_state(layout: Layout, batch: int) -> State:
    """Return the state of so many worlds before the first observation of an episode."""
    if layout.frames == 1:
        return ()
    before = np.zeros((batch, layout.frames - 1, layout.size), layout.dtype)
    return before, np.zeros(batch, bool)


def stacked(layout: Layout, obs: NDArray[Any], state: State) -> tuple[NDArray[Any], State]:
    """Return observations [batch, size] with those before them, and the state after them.

    They are [batch, frames, size], the oldest first; as they come where there is one frame.
    """
    if not state:
        return obs, state
    before, begun = state
    newest = obs[:, None]
    older = np.where(begun[:, None, None], before, newest)
    frames = np.concatenate([older, newest], axis=1)
    return frames, (frames[:, 1:], np.ones_like(begun))


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

    A class says its `layout`, `obs_shape`, `parts` and `dtype`, has an empty list `carried`, and
    acts on whole batches in `advance`.
    """

    obs_shape: tuple[int, ...]
    parts: tuple[Any, ...]
    carried: list[State]
    layout: Any
    dtype: Any

    def advance(self, obs: NDArray[Any], state: State) -> tuple[NDArray[np.float32], State]:
        """Return actions [batch, ...] for observations [batch, *obs_shape], and the next state."""
        raise NotImplementedError

    def initial_state(self, batch: int = 1) -> State:
        """Return what `step` is given with the first observations of `batch` episodes.

        It is a tuple of arrays with an axis of the batch in front, empty for a policy that acts on
        one observation alone.
        """
        return initial_state(self.layout, batch)

    def step(self, observation: Any, state: State) -> tuple[NDArray[np.float32], State]:
        """Return the action for one observation, or one per row of a batch, and the next state.

        Args:
            observation: one observation, or a batch of them, each of an episode of its own.
            state: what the step before has returned, or `initial_state`, for as many episodes. To
                begin another episode in some rows, take those rows of an `initial_state`.

        Returns:
            float32 actions in the environment's units, inside its bounds; the next state.

        Raises:
            ValueError: the observation has another shape, or the state is not one of this policy
                and batch.
        """
        obs, batch = observed_step(self.parts, self.obs_shape, observation, self.dtype)
        rows = obs if batch else obs[None]
        check_state(self.layout, state, len(rows))
        actions, state = self.advance(rows, state)
        return (actions if batch else actions[0]), state

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

    def act_on_own(self, obs: NDArray[Any], batch: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the action for an observation, after those of the calls since `reset`.

        Raises:
            ValueError: it is a batch, of which each row would need a past of its own.
        """
        if batch:
            self.refuse_batch()
        state = self.carried[-1] if self.carried else self.initial_state()
        actions, state = self.advance(obs[None], state)
        self.carried[:] = [state]
        return actions[0]

    def whole_batch(self, observations: Any) -> NDArray[Any]:
        """Return a batch of observations [batch, *obs_shape], for a policy without a past.

        Raises:
            ValueError: they are no batch, have another shape, or the policy has a past.
        """
        if self.initial_state():
            self.refuse_batch()
        return observed_batch(self.parts, self.obs_shape, observations, self.dtype)

    def refuse_batch(self) -> None:
        """Raise ValueError: only `step` takes a batch of a policy with a past."""
        raise ValueError(
            "a batch of observations, of which this policy needs to know what was before each: "
            "state = policy.initial_state(batch), then action, state = policy.step(obs, state)"
        )


def check_state(layout: Layout, state: Any, batch: int) -> None:
    """Raise ValueError unless this is a state of so many rows of a policy with this layout."""
    wanted = initial_state(layout, batch)
    if isinstance(state, tuple) and [shape_of(one) for one in state] == list(map(shape_of, wanted)):
        return
    held = told(state) if isinstance(state, tuple) else f"{type(state).__name__}"
    raise ValueError(
        f"a state of {held}, where this policy's for {batch} "
        f"{'observation' if batch == 1 else 'observations'} has {told(wanted)}: begin with "
        f"policy.initial_state({batch}), and give each step what the one before has returned"
    )


def shape_of(part: Any) -> tuple[Any, Any]:
    """Return the dtype and shape of a part of a state."""
    return getattr(part, "dtype", None), getattr(part, "shape", None)


def told(state: tuple[Any, ...]) -> str:
    """Return a state's arrays in words."""
    return " and ".join(f"{dtype}{list(shape or ())}" for dtype, shape in map(shape_of, state)) or (
        "nothing"
    )
