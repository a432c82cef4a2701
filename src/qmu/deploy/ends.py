"""What goes into a policy's graph and comes out of it: observations, actions, what was before."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmu.deploy.past import Past, State, held
from qmu.layout import Layout, numbers_of, row
from qmu.parts import Part, as_given

OBSERVATION, ACTION = "observation", "action"
# Of a policy with a past, further inputs, and outputs: what the next step is given for them.
FRAMES, BEGUN, NEXT = "frames", "begun", "_next"
# Of a memory: its state, and what it is fed of the last step: the action in [-1, 1], the reward,
# which is the caller's to give, so that there is no output of it.
HIDDEN, LAST_ACTION, LAST_REWARD = "memory", "last_action", "last_reward"


class End(NamedTuple):
    """An input or output of a graph, its shape without the axis of the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


def image_name(part: Part) -> str:
    """Return the name of a graph's input that takes an image."""
    return f"{OBSERVATION}.{part.name}" if part.path else OBSERVATION


def inputs_of(
    past: Past, parts: Sequence[Part], obs_shape: tuple[int, ...], dtype: Any
) -> list[End]:
    """Return the inputs of a policy's graph: observations, then what was before them."""
    layout, before = past.layout, [*frames_of(past.layout, parts), *memory_of(past)]
    if not layout.images:
        return [End(OBSERVATION, obs_shape, dtype), *before]
    images = [End(image_name(part), part.shape, np.uint8) for part in parts if part.image]
    numbers = [End(OBSERVATION, (layout.numbers,), np.float32)] if layout.numbers else []
    return [*numbers, *images, *before]


def memory_of(past: Past) -> list[End]:
    """Return the inputs of a policy's graph that a memory is given; none without one."""
    if past.memory is None:
        return []
    size, action, reward = past.memory
    ends = [
        End(HIDDEN, (size,), np.float32),
        End(LAST_ACTION, (action,), np.float32),
        End(LAST_REWARD, (), np.float32),
    ]
    return [end for end, there in zip(ends, (True, action > 0, reward), strict=True) if there]


def frames_of(layout: Layout, parts: Sequence[Part]) -> list[End]:
    """Return the inputs of a policy's graph that are frames before; none where one is seen."""
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


def outputs_of(past: Past, parts: Sequence[Part], action_shape: tuple[int, ...]) -> list[End]:
    """Return the outputs of a policy's graph: actions, and what was before the next ones."""
    before = [*frames_of(past.layout, parts), *memory_of(past)]
    given = [end._replace(name=f"{end.name}{NEXT}") for end in before if end.name != LAST_REWARD]
    return [End(ACTION, action_shape, np.float32), *given]


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


def given_before(past: Past, state: State) -> list[NDArray[Any]]:
    """Return what a graph is given of a state, whose frames are rows."""
    layout = past.layout
    if not past.frames or not layout.images:
        return list(state)
    before, begun, *memory = state
    pictures = [
        np.ascontiguousarray(before[..., place]).reshape(*before.shape[:2], *image)
        for place, image in zip(layout.places, layout.images, strict=True)
    ]
    return [*([numbers_of(layout, before)] if layout.numbers else []), *pictures, begun, *memory]


def state_of(past: Past, state: State, given: Sequence[NDArray[Any]]) -> State:
    """Return the state after another one, whose parts a graph has given; the reward stays."""
    layout, own = past.layout, held(past, state)
    count = len(given) - len(own) + ("reward" in own)
    memory = [*given[count:], *([own["reward"]] if "reward" in own else [])]
    if not past.frames or not layout.images:
        return (*given[:count], *memory)
    *frames, begun = given[:count]
    first = len(frames) - len(layout.images)
    empty = np.zeros((*frames[0].shape[:2], 0), np.float32)
    numbers = frames[0] if first else empty
    return (row(layout, numbers, list(frames[first:])), begun, *memory)
