"""What goes into a policy's graph and comes out of it: observations, actions, what was before."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.deploy.past import State
from qmu.layout import Layout, numbers_of, row
from qmu.parts import Part, as_given

OBSERVATION, ACTION = "observation", "action"
# Of a policy with a past, further inputs, and outputs: what the next step is given for them.
FRAMES, BEGUN, NEXT = "frames", "begun", "_next"


class End(NamedTuple):
    """An input or output of a graph, its shape without the axis of the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


def image_name(part: Part) -> str:
    """Return the name of a graph's input that takes an image."""
    return f"{OBSERVATION}.{part.name}" if part.path else OBSERVATION


def inputs_of(
    layout: Layout, parts: Sequence[Part], obs_shape: tuple[int, ...], dtype: Any
) -> list[End]:
    """Return the inputs of a policy's graph: observations, then what was before them."""
    if not layout.images:
        return [End(OBSERVATION, obs_shape, dtype), *past_of(layout, parts)]
    images = [End(image_name(part), part.shape, np.uint8) for part in parts if part.image]
    numbers = [End(OBSERVATION, (layout.numbers,), np.float32)] if layout.numbers else []
    return [*numbers, *images, *past_of(layout, parts)]


def past_of(layout: Layout, parts: Sequence[Part]) -> list[End]:
    """Return the inputs of a policy's graph that are what was before; none without a past."""
    if layout.frames == 1:
        return []
    before, begun = layout.frames - 1, End(BEGUN, (), np.bool_)
    if not layout.images:
        return [End(FRAMES, (before, layout.numbers), np.float32), begun]
    images = [
        End(f"{FRAMES}.{image_name(part)}", (before, *part.pixels), np.uint8)
        for part in parts
        if part.image
    ]
    numbers = [End(f"{FRAMES}.numbers", (before, layout.numbers), np.float32)]
    return [*numbers[: layout.numbers], *images, begun]


def outputs_of(layout: Layout, parts: Sequence[Part], action_shape: tuple[int, ...]) -> list[End]:
    """Return the outputs of a policy's graph: actions, and what was before the next ones."""
    past = [end._replace(name=f"{end.name}{NEXT}") for end in past_of(layout, parts)]
    return [End(ACTION, action_shape, np.float32), *past]


def given_now(layout: Layout, parts: Sequence[Part], obs: NDArray[Any]) -> list[NDArray[Any]]:
    """Return what a graph is given of observations [batch, ...]: rows, where there are images."""
    if not layout.images:
        return [obs]
    rows = obs.reshape(len(obs), layout.size)
    images = [part for part in parts if part.image]
    pictures = [
        np.ascontiguousarray(as_given(part, rows[:, place]))
        for part, place in zip(images, layout.places, strict=True)
    ]
    return [*([numbers_of(layout, rows)] if layout.numbers else []), *pictures]


def given_before(layout: Layout, state: State) -> list[NDArray[Any]]:
    """Return what a graph is given of a state, whose frames are rows."""
    if not state or not layout.images:
        return list(state)
    before, begun = state
    pictures = [
        np.ascontiguousarray(before[..., place]).reshape(*before.shape[:2], *image)
        for place, image in zip(layout.places, layout.images, strict=True)
    ]
    return [*([numbers_of(layout, before)] if layout.numbers else []), *pictures, begun]


def state_of(layout: Layout, after: Sequence[NDArray[Any]]) -> State:
    """Return the state whose parts a graph has given."""
    if not after or not layout.images:
        return tuple(after)
    *frames, begun = after
    first = len(frames) - len(layout.images)
    empty = np.zeros((*frames[0].shape[:2], 0), np.float32)
    numbers = frames[0] if first else empty
    return row(layout, numbers, list(frames[first:])), begun
