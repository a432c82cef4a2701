"""A policy as a graph for ONNX runtimes: observations in, actions out, in the environment's units.

The graph takes `observation` [batch, ...] and gives `action` [batch, ...], both float32; where
observations have a centre, they are float64. Where several frames are seen together it takes those
before, too: `frames` [batch, frames - 1, size], zeros at first, and `begun` [batch], false at an
episode's first step. What the next step is given are `frames_next` and `begun_next`.

Its metadata hold the policy's description. It uses operators of opset 17 (2022), so that runtimes
that are not the newest run it, too. The file ends in one more entry of the metadata: the sum of all
bytes before.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from qmu.deploy.description import (
    check_bounds,
    network_of,
    read_layout,
    shapes_of,
    unreadable,
)
from qmu.deploy.parts import observed, read_parts
from qmu.deploy.past import Carries, State, initial_state
from qmu.deploy.policy import CENTRE, NORM_EPSILON, SLOPE, Floats, Observation, Policy
from qmu.deploy.seal import DIGITS, check_seal, read_json, sealed
from qmu.deploy.told import told
from qmu.layout import Layout
from qmu.parts import Part

OBSERVATION, ACTION = "observation", "action"
# Of a policy with a past, further inputs and outputs: what each step is given of the one before.
STATES = ("frames", "begun")
AFTER = ("frames_next", "begun_next")
# The keys of the description and of the sum among the metadata.
DESCRIPTION, SUM = "qmu", b"qmu.sha256"
# How the entry of the sum begins, to which only the sum is lacking: metadata_props is field 14 of a
# model, key and value of an entry are fields 1 and 2, each with its length, and 2 marks texts.
OPENING = b"".join(
    (
        bytes([14 << 3 | 2, 2 + len(SUM) + 2 + DIGITS]),
        bytes([1 << 3 | 2, len(SUM)]) + SUM,
        bytes([2 << 3 | 2, DIGITS]),
    )
)
# What comes before the length of the description, and the most bytes of a length.
MARK, LENGTH_BYTES = bytes([1 << 3 | 2, len(DESCRIPTION)]) + DESCRIPTION.encode() + b"\x12", 10
BOUNDS = ("low", "high")
KINDS: dict[Any, str] = {
    np.float32: "tensor(float)",
    np.float64: "tensor(double)",
    np.uint8: "tensor(uint8)",
    np.bool_: "tensor(bool)",
}
OPSET, IR = 17, 8
SERIOUS = 3
# The number of single precision among ONNX's types.
FLOAT = 1


@dataclass(frozen=True)
class OnnxPolicy(Carries):
    """A policy that onnxruntime computes; it is called as a `Policy` is."""

    session: Any
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    low: Floats
    high: Floats
    info: dict[str, Any]
    layout: Layout
    parts: tuple[Part, ...] = ()
    dtype: Any = np.float32
    carried: list[State] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, observation: Observation) -> Floats:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: what a `Policy` takes.

        Returns:
            float32 actions in the environment's units, inside its bounds.

        Raises:
            ValueError: the observation has another shape, or it is a batch, and the policy has a
                past: `step` takes those.
        """
        obs, batch = observed(self.parts, self.obs_shape, observation, self.dtype)
        if self.layout.frames > 1:
            return self.act_on_own(obs, batch)
        action, _ = self.advance(obs if batch else obs[None], ())
        return action if batch else action[0]

    def batch(self, observations: Observation) -> Floats:
        """Return the actions [batch, ...] for a batch of observations, also for one of one.

        Raises:
            ValueError: they are no batch, have another shape, or the policy has a past.
        """
        return self.advance(self.whole_batch(observations), ())[0]

    def advance(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return actions [batch, ...] for observations [batch, *obs_shape], and the next state."""
        given = dict(zip(STATES, state, strict=False))
        action, *after = self.session.run(None, {OBSERVATION: obs} | given)
        return action, tuple(after)

    def __repr__(self) -> str:
        return told(self)


def read(data: bytes, source: Path) -> OnnxPolicy:
    """Return the policy in the bytes of an ONNX file; `source` is named where there is none.

    Raises:
        ConfigError: they are damaged, or of something else.
    """
    options = onnxruntime.SessionOptions()
    # A policy is small: more threads would cost more time than they save.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SERIOUS
    # onnxruntime has an exception of its own for everything that may be wrong.
    try:
        check_seal(data)
        check_alone(data)
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        held = session.get_modelmeta().custom_metadata_map
        if DESCRIPTION not in held:
            raise ValueError("it is not from qmu")
        description = read_json(held[DESCRIPTION])
        obs_shape, action_shape = shapes_of(description)
        dtype = np.float64 if description.get("centred") else np.float32
        layout = read_layout(description)
        past = [(part.shape[1:], KINDS[part.dtype.type]) for part in initial_state(layout, 1)]
        check_ends(session.get_inputs(), (OBSERVATION, *STATES), [(obs_shape, KINDS[dtype]), *past])
        ends = [(action_shape, KINDS[np.float32]), *past]
        check_ends(session.get_outputs(), (ACTION, *AFTER), ends)
        low, high = (np.array(description[name], np.float32) for name in BOUNDS)
        parts = read_parts(description["parts"])
        check_bounds(low, high)
        zeros = dict(zip(STATES, initial_state(layout, 1), strict=False))
        check_answer(session, {OBSERVATION: np.zeros((1, *obs_shape), dtype)} | zeros, low, high)
    except Exception as error:
        raise unreadable(source, error) from None
    info = description["info"]
    return OnnxPolicy(session, obs_shape, action_shape, low, high, info, layout, parts, dtype)


def check_alone(data: bytes) -> None:
    """Raise ValueError where a file would have the runtime read numbers from other files.

    Such a number says its `location`. Only the description, which is text, may have that word.
    """
    _, mark, rest = data.rpartition(MARK)
    rest = rest if mark else b""
    size = shift = length = 0
    for byte in rest[:LENGTH_BYTES]:
        length |= (byte & 127) << shift
        size, shift = size + 1, shift + 7
        if byte < 128:
            break
    text = rest[size : size + length]
    if mark:
        # So it is JSON, in which the length that is before a word has no place.
        read_json(text.decode())
    if data.count(b"location") > text.count(b"location"):
        raise ValueError("it is not from qmu: it takes numbers from other files")


def check_answer(session: Any, given: dict[str, Any], low: Floats, high: Floats) -> None:
    """Raise ValueError unless a graph's actions are what is described, by one of them."""
    action = session.run([ACTION], given)[0].reshape(-1)
    if not (low.shape == high.shape == action.shape and np.isfinite(action).all()):
        raise ValueError("its actions are not finite, or not as many as its bounds")
    if not ((low <= action) & (action <= high)).all():
        raise ValueError("its actions lie outside of its bounds")


def check_ends(
    ends: Sequence[Any], names: Sequence[str], described: Sequence[tuple[Any, str]]
) -> None:
    """Raise ValueError unless a graph's inputs, or outputs, are what is described.

    Each is described by its shape behind the batch's axis, and its kind.
    """
    there = [f"{end.name} {end.type} {tuple(end.shape[1:])}" for end in ends]
    wanted = [
        f"{name} {kind} {shape}" for name, (shape, kind) in zip(names, described, strict=False)
    ]
    if there != wanted:
        raise ValueError(f"{', '.join(there)} is described as {', '.join(wanted)}")


def pack(policy: Policy) -> bytes:
    """Return a policy as the bytes of an ONNX file, which the checker of `onnx` has passed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = Graph(policy.arrays())
    build(graph, policy)
    seen = TensorProto.FLOAT if policy.centre is None else TensorProto.DOUBLE
    past = [
        (helper.np_dtype_to_tensor_dtype(part.dtype), part.shape[1:])
        for part in policy.initial_state()
    ]
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, kind, ["batch", *shape])
            for name, (kind, shape) in zip(names, [end, *past], strict=False)
        ]
        for names, end in (
            ((OBSERVATION, *STATES), (seen, policy.obs_shape)),
            ((ACTION, *AFTER), (TensorProto.FLOAT, policy.action_shape)),
        )
    )
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(kind, inputs, outputs, **attributes)
                for kind, inputs, outputs, attributes in graph.nodes
            ],
            "policy",
            inputs,
            outputs,
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="qmu",
    )
    # A runtime tells the metadata, and not the constants of the graph.
    bounds = {name: getattr(policy, name).tolist() for name in BOUNDS}
    helper.set_model_props(model, {DESCRIPTION: json.dumps(policy.description() | bounds)})
    onnx.checker.check_model(model, full_check=True)
    return sealed(model.SerializeToString() + OPENING)


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
    # The number 0 stands for the batch axis as it is.
    size = [0, policy.layout.size]
    hidden = graph.node("Reshape", OBSERVATION, graph.constant("obs.size", size, np.int64))
    if policy.centre is not None:
        hidden = graph.node("Sub", hidden, CENTRE)
        hidden = graph.node("Cast", hidden, to=FLOAT)
    if policy.layout.frames > 1:
        hidden = with_frames(graph, hidden, policy.layout)
    if network.normalization is not None:
        lowest = graph.constant("obs.lowest", -network.normalization.clip)
        hidden = graph.node("Sub", hidden, "obs.mean")
        hidden = graph.node("Div", hidden, "obs.std")
        hidden = graph.node("Clip", hidden, lowest, "obs.clip")
    last = len(network.weights) - 1
    for depth in range(last + 1):
        hidden = graph.node("Gemm", hidden, f"actor.{depth}.weight", f"actor.{depth}.bias")
        if depth < last:
            if network.scales:
                names = (f"actor.{depth}.scale", f"actor.{depth}.offset")
                hidden = graph.node("LayerNormalization", hidden, *names, epsilon=NORM_EPSILON)
            hidden = activated(graph, network.activation, hidden)
    scaled(graph, graph.node("Tanh", hidden), policy)


def with_frames(graph: Graph, newest: str, layout: Layout) -> str:
    """Add what sees a row [batch, size] with those before it, and what they are next time.

    Returns the name of [batch, frames * size].
    """
    before, begun = STATES
    row = graph.node("Unsqueeze", newest, graph.constant("axis.1", [1], np.int64))
    known = graph.node("Unsqueeze", begun, graph.constant("axes.1.2", [1, 2], np.int64))
    older = graph.node("Where", known, before, row)
    frames = graph.node("Concat", older, row, axis=1)
    ends = [graph.constant(name, [end], np.int64) for name, end in (("one.1", 1), ("end", 2**31))]
    graph.node("Slice", frames, *ends, "axis.1", output=AFTER[0])
    graph.node("Or", begun, graph.node("Not", begun), output=AFTER[1])
    whole = graph.constant("seen.size", [0, layout.frames * layout.size], np.int64)
    return graph.node("Reshape", frames, whole)


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
