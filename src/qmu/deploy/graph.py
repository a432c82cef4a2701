"""A policy as the nodes of an ONNX graph."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qmu.deploy.description import network_of
from qmu.deploy.ends import (
    ACTION,
    BEGUN,
    FRAMES,
    HIDDEN,
    LAST_ACTION,
    LAST_REWARD,
    NEXT,
    OBSERVATION,
    image_name,
)
from qmu.deploy.layers import NORM_EPSILON, SLOPE
from qmu.deploy.memory import RecurrentCell
from qmu.deploy.pixels import PIXEL_OFFSET, PIXEL_SCALE, PixelEncoder
from qmu.deploy.policy import CENTRE, Network, Policy
from qmu.parts import CHANNELS_FIRST, GREY, Part

# The number of single precision among ONNX's types.
FLOAT = 1


class Graph:
    """Constants and nodes that are collected; every node has one output."""

    def __init__(self, constants: dict[str, Any]) -> None:
        """Begin with constants, by name, and without a node."""
        self.constants = constants
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = output or f"{kind.lower()}.{len(self.nodes)}"
        self.nodes.append((kind, list(inputs), [name], attributes))
        return name

    def constant(self, name: str, value: ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        self.constants[name] = np.asarray(value, dtype)
        return name


def build(graph: Graph, policy: Policy) -> None:
    """Add the nodes that lead from an observation to an action, as `Policy` computes it."""
    network = network_of(policy)
    see = observed_images if policy.layout.images else observed_numbers
    hidden = see(graph, policy)
    if network.memory is not None:
        hidden = remembered(graph, hidden, network.memory)
    through = plain if network.projections is None else residual
    hidden = layer(graph, through(graph, hidden, network), str(len(network.weights) - 1))
    fed = () if network.memory is None else network.memory.fed
    output = f"{LAST_ACTION}{NEXT}" if "action" in fed else ""
    scaled(graph, graph.node("Tanh", hidden, output=output), policy)


def plain(graph: Graph, hidden: str, network: Network) -> str:
    """Add hidden layers one after another; return the name of what the last layer is given."""
    for depth in range(len(network.weights) - 1):
        hidden = normal(graph, layer(graph, hidden, str(depth)), network, depth)
        hidden = activated(graph, network.activation, hidden)
    return hidden


def residual(graph: Graph, stream: str, network: Network) -> str:
    """Add residual blocks; return the name of what the last layer is given."""
    projections = network.projections or ()
    for depth, projection in enumerate(projections):
        if projection is not None:
            stream = layer(graph, stream, f"projection.{depth}")
        hidden = layer(graph, normal(graph, stream, network, depth), str(2 * depth))
        hidden = layer(graph, activated(graph, network.activation, hidden), str(2 * depth + 1))
        stream = graph.node("Add", stream, hidden)
    return normal(graph, stream, network, len(projections))


def layer(graph: Graph, hidden: str, name: str) -> str:
    """Add one of the actor's layers; return the name of its output."""
    return graph.node("Gemm", hidden, f"actor.{name}.weight", f"actor.{name}.bias")


def normal(graph: Graph, hidden: str, network: Network, index: int) -> str:
    """Add the layer normalization of this index, if there is one; return its output's name."""
    if not network.scales:
        return hidden
    names = (f"actor.{index}.scale", f"actor.{index}.offset")
    return graph.node("LayerNormalization", hidden, *names, epsilon=NORM_EPSILON)


def remembered(graph: Graph, seen: str, memory: RecurrentCell) -> str:
    """Add a step of a memory; return the name of what is seen, with the state behind it."""
    reward = (
        graph.node("Unsqueeze", LAST_REWARD, graph.constant("axis.1", [1], np.int64))
        if ("reward" in memory.fed)
        else ""
    )
    names = {"observation": seen, "action": LAST_ACTION, "reward": reward}
    fed = graph.node("Concat", *(names[name] for name in memory.fed), axis=1)
    gates = graph.node("Gemm", fed, "memory.input.weight", "memory.input.bias")
    one, size = graph.constant("one", 1.0), memory.size
    if memory.recurrent_weight is None:
        taken = graph.node("Sigmoid", part(graph, gates, 0, size))
        new = graph.node("Tanh", part(graph, gates, size, 2 * size))
        kept = graph.node("Mul", graph.node("Sub", one, taken), HIDDEN)
        after = graph.node("Add", kept, graph.node("Mul", taken, new), output=f"{HIDDEN}{NEXT}")
    else:
        own = graph.node("Gemm", HIDDEN, "memory.recurrent.weight", "memory.recurrent.bias")
        both = [part(graph, either, 0, 2 * size) for either in (gates, own)]
        gate = graph.node("Sigmoid", graph.node("Add", *both))
        reset, keep = part(graph, gate, 0, size), part(graph, gate, size, 2 * size)
        last = [part(graph, either, 2 * size, 3 * size) for either in (gates, own)]
        new = graph.node("Add", last[0], graph.node("Mul", reset, last[1]))
        new = graph.node("Tanh", new)
        moved = graph.node("Mul", keep, graph.node("Sub", HIDDEN, new))
        after = graph.node("Add", new, moved, output=f"{HIDDEN}{NEXT}")
    return graph.node("Concat", seen, after, axis=1)


def part(graph: Graph, whole: str, start: int, end: int) -> str:
    """Add a slice of columns [batch, start:end]; return its name."""
    places = [graph.constant(f"place.{place}", [place], np.int64) for place in (start, end)]
    return graph.node("Slice", whole, *places, graph.constant("axis.1", [1], np.int64))


def observed_numbers(graph: Graph, policy: Policy) -> str:
    """Add what makes layers' input of an observation of numbers; return its name."""
    # The number 0 stands for the batch axis as it is.
    size = [0, policy.layout.numbers]
    hidden = graph.node("Reshape", OBSERVATION, graph.constant("obs.size", size, np.int64))
    if policy.centre is not None:
        hidden = graph.node("Sub", hidden, CENTRE)
        hidden = graph.node("Cast", hidden, to=FLOAT)
    if policy.layout.frames > 1:
        frames = with_frames(graph, hidden, FRAMES, 1)
        note_begun(graph)
        whole = graph.constant("seen.size", [0, policy.layout.seen_numbers], np.int64)
        hidden = graph.node("Reshape", frames, whole)
    return normalized(graph, hidden, policy)


def normalized(graph: Graph, hidden: str, policy: Policy) -> str:
    """Add the normalization of numbers, if there is one; return the name of its output."""
    known = network_of(policy).normalization
    if known is None:
        return hidden
    lowest = graph.constant("obs.lowest", -known.clip)
    hidden = graph.node("Sub", hidden, "obs.mean")
    hidden = graph.node("Div", hidden, "obs.std")
    return graph.node("Clip", hidden, lowest, "obs.clip")


def observed_images(graph: Graph, policy: Policy) -> str:
    """Add what makes layers' input of an observation with images; return its name."""
    layout = policy.layout
    found = []
    if layout.numbers:
        numbers = OBSERVATION
        if layout.frames > 1:
            frames = with_frames(graph, numbers, f"{FRAMES}.numbers", 1)
            whole = graph.constant("seen.size", [0, layout.seen_numbers], np.int64)
            numbers = graph.node("Reshape", frames, whole)
        found.append(normalized(graph, numbers, policy))
    encoders = network_of(policy).encoders
    images = [part for part in policy.parts if part.image]
    for index, (part, encoder) in enumerate(zip(images, encoders, strict=True)):
        picture = channels_last(graph, image_name(part), part)
        height, width, channels = layout.seen_images[index]
        if layout.frames > 1:
            frames = with_frames(graph, picture, f"{FRAMES}.{image_name(part)}", 3)
            frames = graph.node("Transpose", frames, perm=[0, 2, 3, 1, 4])
            whole = graph.constant(f"seen.{index}", [0, height, width, channels], np.int64)
            picture = graph.node("Reshape", frames, whole)
        found.append(encoded(graph, picture, index, encoder))
    if layout.frames > 1:
        note_begun(graph)
    return found[0] if len(found) == 1 else graph.node("Concat", *found, axis=1)


def channels_last(graph: Graph, picture: str, part: Part) -> str:
    """Add what makes height, width, channels of an image's axes; return the name of its output."""
    if part.image == GREY:
        return graph.node("Unsqueeze", picture, graph.constant("axis.3", [3], np.int64))
    if part.image == CHANNELS_FIRST:
        return graph.node("Transpose", picture, perm=[0, 2, 3, 1])
    return picture


def encoded(graph: Graph, picture: str, index: int, encoder: PixelEncoder) -> str:
    """Add an encoder of images [batch, height, width, channels]; return the name of its features.

    ONNX convolves with the channels first.
    """
    hidden = graph.node("Cast", picture, to=FLOAT)
    hidden = graph.node("Mul", hidden, graph.constant("pixel.scale", PIXEL_SCALE))
    hidden = graph.node("Add", hidden, graph.constant("pixel.offset", PIXEL_OFFSET))
    hidden = graph.node("Transpose", hidden, perm=[0, 3, 1, 2])
    for depth, (weight, stride) in enumerate(zip(encoder.weights, encoder.strides, strict=True)):
        name = f"encoder.{index}.conv.{depth}"
        graph.constant(f"{name}.weight", weight.transpose(3, 2, 0, 1))
        hidden = graph.node("Conv", hidden, f"{name}.weight", f"{name}.bias", strides=[stride] * 2)
        hidden = graph.node("Relu", hidden)
    hidden = graph.node("Flatten", graph.node("Transpose", hidden, perm=[0, 2, 3, 1]))
    own = [f"encoder.{index}.trunk.{name}" for name in ("weight", "bias", "scale", "offset")]
    hidden = graph.node("Gemm", hidden, *own[:2])
    hidden = graph.node("LayerNormalization", hidden, *own[2:], epsilon=NORM_EPSILON)
    return graph.node("Tanh", hidden)


def with_frames(graph: Graph, newest: str, before: str, axes: int) -> str:
    """Add what sees the newest [batch, ...] with those before it, and what they are next time.

    Returns the name of [batch, frames, ...]; of the newest `axes` follow the batch's.
    """
    row = graph.node("Unsqueeze", newest, graph.constant("axis.1", [1], np.int64))
    behind = graph.constant(f"axes.{axes}", list(range(1, axes + 2)), np.int64)
    older = graph.node("Where", graph.node("Unsqueeze", BEGUN, behind), before, row)
    frames = graph.node("Concat", older, row, axis=1)
    ends = [graph.constant(name, [end], np.int64) for name, end in (("one.1", 1), ("end", 2**31))]
    graph.node("Slice", frames, *ends, "axis.1", output=f"{before}{NEXT}")
    return frames


def note_begun(graph: Graph) -> None:
    """Add that there has been an observation."""
    graph.node("Or", BEGUN, graph.node("Not", BEGUN), output=f"{BEGUN}{NEXT}")


def activated(graph: Graph, activation: str, hidden: str) -> str:
    """Add an activation; return the name of its output."""
    if activation == "silu":
        return graph.node("Mul", hidden, graph.node("Sigmoid", hidden))
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "relu": ("Relu", {}),
        "leaky_relu": ("LeakyRelu", {"alpha": SLOPE}),
        "elu": ("Elu", {"alpha": 1.0}),
        "tanh": ("Tanh", {}),
    }
    kind, attributes = kinds[activation]
    return graph.node(kind, hidden, **attributes)


def scaled(graph: Graph, action: str, policy: Policy) -> None:
    """Add the way from [-1, 1] to the environment's units, halves of the bounds being added."""
    one = graph.constant("one", 1.0)
    halves = [
        graph.constant(f"{name}.half", 0.5 * bound)
        for name, bound in (("low", policy.low), ("high", policy.high))
    ]
    below = graph.node("Mul", graph.node("Sub", one, action), halves[0])
    above = graph.node("Mul", graph.node("Add", one, action), halves[1])
    inside = graph.node("Max", graph.node("Add", below, above), "low")
    inside = graph.node("Min", inside, "high")
    shape = graph.constant("action.size", [0, *policy.action_shape], np.int64)
    graph.node("Reshape", inside, shape, output=ACTION)
