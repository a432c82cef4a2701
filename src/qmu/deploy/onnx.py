"""A policy as a graph for ONNX runtimes: observations in, actions out, in the environment's units.

The graph takes `observation` [batch, ...] and gives `action` [batch, ...], both float32; where
observations have a centre, they are float64. An image is taken as its environment gives it, in
uint8: as the `observation` itself, or as `observation.NAME` beside the numbers.

Where several frames are seen together the graph takes those before, too: `frames` [batch, frames -
1, numbers], zeros at first (of images `frames.observation.NAME`, height, width, channels, and of
the numbers beside them `frames.numbers`), and `begun` [batch], false at an episode's first step.
What the next step is given has the same names and `_next`.

A memory takes its state, `memory` [batch, size], zeros at first, and gives `memory_next`; where it
is fed them, also `last_action` [batch, actions] in [-1, 1] and gives `last_action_next`, and takes
`last_reward` [batch], both zeros at an episode's first step.

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
    read_past,
    shapes_of,
    unreadable,
)
from qmu.deploy.ends import (
    ACTION,
    End,
    given_before,
    given_now,
    inputs_of,
    outputs_of,
    state_of,
)
from qmu.deploy.graph import Graph, build
from qmu.deploy.layers import Floats
from qmu.deploy.parts import observed, read_parts
from qmu.deploy.past import Carries, Past, State
from qmu.deploy.policy import Observation, Policy
from qmu.deploy.seal import DIGITS, check_seal, read_json, sealed
from qmu.deploy.told import told
from qmu.layout import Layout
from qmu.parts import Part

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


@dataclass(frozen=True)
class OnnxPolicy(Carries):
    """A policy that onnxruntime computes; it is called as a `Policy` is."""

    session: Any
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    low: Floats
    high: Floats
    info: dict[str, Any]
    past: Past
    parts: tuple[Part, ...] = ()
    dtype: Any = np.float32
    carried: list[State] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def layout(self) -> Layout:
        """How observations lie in a row, and how many of them are seen together."""
        return self.past.layout

    def __call__(self, observation: Observation, reward: ArrayLike | None = None) -> Floats:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: what a `Policy` takes.
            reward: what the step before has brought, for a policy whose memory is fed it.

        Returns:
            float32 actions in the environment's units, inside its bounds.

        Raises:
            ValueError: the observation has another shape, or it is a batch, and the policy has a
                past: `step` takes those.
        """
        obs, batch = observed(self.parts, self.obs_shape, observation, self.dtype)
        if self.has_past:
            return self.act_on_own(obs, batch, reward)
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
        names = [end.name for end in self.session.get_inputs()]
        given = [*given_now(self.layout, self.parts, obs), *given_before(self.past, state)]
        action, *after = self.session.run(None, dict(zip(names, given, strict=True)))
        return action, state_of(self.past, state, after)

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
        past = read_past(description)
        dtype = np.float64 if description.get("centred") else past.layout.dtype
        low, high = (np.array(description[name], np.float32) for name in BOUNDS)
        parts = read_parts(description["parts"])
        inputs = inputs_of(past, parts, obs_shape, dtype)
        check_ends(session.get_inputs(), inputs)
        check_ends(session.get_outputs(), outputs_of(past, parts, action_shape))
        check_bounds(low, high)
        zeros = {name: np.zeros((1, *shape), kind) for name, shape, kind in inputs}
        check_answer(session, zeros, low, high)
    except Exception as error:
        raise unreadable(source, error) from None
    info = description["info"]
    return OnnxPolicy(session, obs_shape, action_shape, low, high, info, past, parts, dtype)


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


def check_ends(ends: Sequence[Any], described: Sequence[End]) -> None:
    """Raise ValueError unless a graph's inputs, or outputs, are what is described."""
    there = [f"{end.name} {end.type} {tuple(end.shape[1:])}" for end in ends]
    wanted = [f"{end.name} {KINDS[end.dtype]} {end.shape}" for end in described]
    if there != wanted:
        raise ValueError(f"{', '.join(there)} is described as {', '.join(wanted)}")


def pack(policy: Policy) -> bytes:
    """Return a policy as the bytes of an ONNX file, which the checker of `onnx` has passed."""
    import onnx
    from onnx import helper, numpy_helper

    graph = Graph(policy.arrays())
    build(graph, policy)
    past, parts = policy.past, policy.parts
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                end.name,
                helper.np_dtype_to_tensor_dtype(np.dtype(end.dtype)),
                ["batch", *end.shape],
            )
            for end in ends
        ]
        for ends in (
            inputs_of(past, parts, policy.obs_shape, policy.dtype),
            outputs_of(past, parts, policy.action_shape),
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
