"""The policy outside of training: NumPy in, NumPy out, in the environment's own units."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu.deploy.layers import ACTIVATIONS, Floats, Layer, all_finite, layer_norm
from qmu.deploy.memory import RecurrentCell, remembers
from qmu.deploy.parts import observed
from qmu.deploy.past import Carries, Past, State, after, recalled, stacked
from qmu.deploy.pixels import PixelEncoder
from qmu.deploy.seal import signed, sum_of
from qmu.deploy.told import told
from qmu.layout import Layout, seen
from qmu.parts import Part
from qmu.places import absolute

Doubles = NDArray[np.float64]

# One observation or a batch: an array, or what an environment of several parts gives.
Observation = ArrayLike | Mapping[str, Any] | tuple[Any, ...]
# The files of a policy's folder, and what their description says of how it is written.
ARRAYS, DESCRIPTION = "policy.safetensors", "policy.json"
# The description's word for the sum of the other file: two files are replaced one after the other.
SUM = "arrays_sha256"
FORMAT = 3
# Descriptions of policies with a past or with images have this format: versions before would give
# them rows of numbers.
WITH_PAST = 4
# And those with residual blocks this one: versions before would take them for plain layers.
WITH_BLOCKS = 5
# The name of what is taken from observations before they are rounded.
CENTRE = "obs.centre"


@dataclass(frozen=True)
class Normalization:
    """What the observations were normalized with: mean [obs], standard deviation [obs], clip []."""

    mean: Floats
    std: Floats
    clip: Floats

    def __call__(self, obs: Floats) -> Floats:
        """Return observations [..., obs] with mean 0 and deviation 1, cut to ±clip."""
        return np.minimum(np.maximum((obs - self.mean) / self.std, -self.clip), self.clip)


class Actor(Protocol):
    """Something that acts: `see` makes of observations and their past what layers are given.

    Of that the call makes actions.
    """

    @property
    def layout(self) -> Layout:
        """How observations lie in a row, and how many of them are seen together."""

    @property
    def past(self) -> Past:
        """What it carries from one observation of an episode to the next."""

    def __call__(self, seen: Floats, /) -> Floats:
        """Return actions [..., action] in [-1, 1] for what is seen [..., obs]."""

    def see(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return what is seen of observations [batch, size], and the state after them."""

    def remember(self, obs: NDArray[Any], state: State) -> State:
        """Return the state after observations on which nobody acts."""


class Acts(Actor, Protocol):
    """What a policy consists of but for scaling: it acts, and can be written down."""

    def finite(self) -> bool:
        """Tell whether all its numbers are finite."""

    def arrays(self) -> dict[str, Floats]:
        """Return its numbers, by the names that they have in a file."""

    def description(self) -> dict[str, Any]:
        """Return what else a file has to say of it."""


@dataclass(frozen=True)
class Network:
    """An actor's layers: weights [inputs, outputs] and biases [outputs].

    `scales` and `offsets` [units] belong to the layer normalization of the hidden layers; they are
    empty without one. Without a `normalization`, observations are taken as they come. `layout` says
    what these are, and how many of them are seen together. Each image has an encoder, whose
    features layers are given beside the numbers; a `memory` adds its state to both. With
    `projections`, layers are two to a residual block, x + W₂ f(W₁ norm(x)), before which its
    projection changes the width of x, if it has one; what the last layer is given is normalized.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    scales: tuple[Floats, ...]
    offsets: tuple[Floats, ...]
    activation: str
    layout: Layout
    normalization: Normalization | None = None
    encoders: tuple[PixelEncoder, ...] = ()
    memory: RecurrentCell | None = None
    projections: tuple[Layer | None, ...] | None = None

    @cached_property
    def past(self) -> Past:
        """What it carries from one observation of an episode to the next."""
        if self.memory is None:
            return Past(self.layout)
        own = remembers(self.memory.size, self.memory.fed, len(self.biases[-1]))
        return Past(self.layout, own)

    @property
    def sees_rows(self) -> bool:
        """Tell whether layers, or a normalization, are given observations as they lie in a row."""
        return not self.encoders and self.memory is None

    def see(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return what is seen of observations [batch, size], and the state after them."""
        if not state and not self.encoders:
            return obs, state
        past = self.past
        frames, state = stacked(past, obs, state)
        found = seen(self.layout, frames)
        if self.encoders:
            found = self.encoded(found)
        if self.memory is None:
            return found, state
        if self.normalization is not None and not self.encoders:
            found = self.normalization(found)
        return recalled(self.memory, past, found, state)

    def encoded(self, found: Any) -> Floats:
        """Return the numbers of observations and the features of their images [batch, features]."""
        numbers = found.numbers
        if self.normalization is not None:
            numbers = self.normalization(numbers)
        features = [
            encode(images) for encode, images in zip(self.encoders, found.images, strict=True)
        ]
        return np.concatenate([numbers, *features], axis=-1)

    def remember(self, obs: NDArray[Any], state: State) -> State:
        """Return the state after observations on which nobody acts."""
        if self.memory is not None:
            return self.see(obs, state)[1]
        return stacked(self.past, obs, state)[1] if state else state

    def __call__(self, seen: Floats) -> Floats:
        """Return actions [..., action] in [-1, 1] for what is seen [..., obs]."""
        activate = ACTIVATIONS[self.activation]
        hidden = seen
        if self.normalization is not None and self.sees_rows:
            hidden = self.normalization(seen)
        if self.projections is not None:
            hidden = self.through_blocks(hidden, self.projections)
            return np.tanh(hidden @ self.weights[-1] + self.biases[-1])
        for depth in range(len(self.weights) - 1):
            hidden = hidden @ self.weights[depth] + self.biases[depth]
            if self.scales:
                hidden = layer_norm(hidden, self.scales[depth], self.offsets[depth])
            hidden = activate(hidden)
        return np.tanh(hidden @ self.weights[-1] + self.biases[-1])

    def through_blocks(self, stream: Floats, projections: Sequence[Layer | None]) -> Floats:
        """Return what residual blocks make of what is seen [..., obs], for the last layer."""
        activate = ACTIVATIONS[self.activation]
        for depth, projection in enumerate(projections):
            if projection is not None:
                stream = stream @ projection[0] + projection[1]
            wide, narrow = 2 * depth, 2 * depth + 1
            hidden = self.normal(stream, depth) @ self.weights[wide] + self.biases[wide]
            stream = stream + activate(hidden) @ self.weights[narrow] + self.biases[narrow]
        return self.normal(stream, len(projections))

    def normal(self, units: Floats, index: int) -> Floats:
        """Return units as the layer normalization of this index leaves them, if there is one."""
        if not self.scales:
            return units
        return layer_norm(units, self.scales[index], self.offsets[index])

    def finite(self) -> bool:
        """Tell whether all its numbers are finite."""
        return all(map(all_finite, self.arrays().values()))

    def arrays(self) -> dict[str, Floats]:
        """Return its numbers, by the names that they have in a file."""
        kinds = {
            "weight": self.weights,
            "bias": self.biases,
            "scale": self.scales,
            "offset": self.offsets,
        }
        arrays = {
            f"actor.{index}.{kind}": array
            for kind, arrays in kinds.items()
            for index, array in enumerate(arrays)
        }
        for index, projection in enumerate(self.projections or ()):
            if projection is not None:
                names = (f"actor.projection.{index}.{kind}" for kind in ("weight", "bias"))
                arrays |= dict(zip(names, projection, strict=True))
        for index, encoder in enumerate(self.encoders):
            arrays |= encoder.arrays(index)
        arrays |= {} if self.memory is None else self.memory.arrays()
        if self.normalization is not None:
            arrays |= {f"obs.{name}": value for name, value in vars(self.normalization).items()}
        return arrays

    def description(self) -> dict[str, Any]:
        """Return what else a file has to say of it."""
        return {
            "activation": self.activation,
            "layers": len(self.weights),
            "norms": len(self.scales),
            "normalized": self.normalization is not None,
            **({} if self.projections is None else {"blocks": len(self.projections)}),
            **({"strides": self.encoders[0].strides} if self.encoders else {}),
            **({} if self.memory is None else self.memory.description()),
        }


@dataclass(frozen=True)
class Policy(Carries):
    """A deterministic policy: one observation, or a batch of them, to actions.

    `info` says where it comes from: environment, seed, step, score. Everything that the policy
    needs is in it; training is not. `parts` are those of the environment's own observations, where
    they are dictionaries or tuples. A `centre` [obs] is taken from observations in double
    precision, before they are rounded to single.

    A policy that sees several frames, or has a memory, has a past: `step` takes it and returns it;
    called with single observations, the policy carries it itself, until `reset`.
    """

    network: Acts
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    low: Floats
    high: Floats
    info: dict[str, Any]
    parts: tuple[Part, ...] = ()
    centre: Doubles | None = None
    carried: list[State] = field(default_factory=list, init=False, repr=False, compare=False)

    def __call__(self, observation: Observation, reward: ArrayLike | None = None) -> Floats:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: an array of the environment's observation shape, or with one more
                leading axis, in the environment's units; or the dictionary or tuple that the
                environment itself gives, each part with that axis in a batch. Where it can be
                read as one observation, with axes of length one more or less, it is one.
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
        if self.layout.images and not batch:
            # Encoders take batches.
            return self.act(obs[None], (1,))[0]
        return self.act(obs, batch)

    def batch(self, observations: Observation) -> Floats:
        """Return the actions [batch, ...] for a batch of observations, also for one of one.

        Raises:
            ValueError: they are no batch, have another shape, or the policy has a past.
        """
        obs = self.whole_batch(observations)
        return self.act(obs, obs.shape[:1])

    @property
    def layout(self) -> Layout:
        """How observations lie in a row, and how many of them are seen together."""
        return self.network.layout

    @property
    def past(self) -> Past:
        """What it carries from one observation of an episode to the next."""
        return self.network.past

    @property
    def dtype(self) -> Any:
        """What observations are read as."""
        return self.layout.dtype if self.centre is None else np.float64

    def act(self, obs: NDArray[Any], batch: tuple[int, ...]) -> Floats:
        """Return the actions for observations [*batch, *obs_shape] of a policy without a past."""
        seen, _ = self.network.see(self.flat(obs, batch), ())
        return self.scaled(self.network(seen), batch)

    def advance(self, obs: NDArray[Any], state: State) -> tuple[Floats, State]:
        """Return actions [batch, ...] for observations [batch, *obs_shape], and the next state."""
        batch = obs.shape[:1]
        seen, state = self.network.see(self.flat(obs, batch), state)
        action = self.network(seen)
        return self.scaled(action, batch), after(self.past, state, action=action)

    def flat(self, obs: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
        """Return observations [*batch, *obs_shape] as rows [*batch, size]."""
        flat = obs.reshape(*batch, math.prod(self.obs_shape))
        if self.centre is None:
            return flat
        centred: Floats = (flat - self.centre).astype(np.float32)
        return centred

    def scaled(self, action: Floats, batch: tuple[int, ...]) -> Floats:
        """Return actions [*batch, action] in [-1, 1] in the environment's units and shape."""
        scaled = 0.5 * (1 - action) * self.low + 0.5 * (1 + action) * self.high
        scaled = np.minimum(np.maximum(scaled, self.low), self.high)
        return scaled.reshape((*batch, *self.action_shape))

    def __repr__(self) -> str:
        return told(self)

    def save(self, directory: str | Path) -> None:
        """Write `policy.safetensors` and `policy.json` into a directory, which is made.

        A policy that is there is replaced when both are written, and stays if they cannot be.
        """
        folder = absolute(directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = {folder / name: folder / f".unfinished-{name}" for name in (ARRAYS, DESCRIPTION)}
        try:
            for unfinished, data in zip(written.values(), self.files().values(), strict=True):
                unfinished.write_bytes(data)
            for path, unfinished in written.items():
                unfinished.replace(path)
        finally:
            for unfinished in written.values():
                unfinished.unlink(missing_ok=True)

    def files(self) -> dict[str, bytes]:
        """Return what `save` writes: file name -> content."""
        from safetensors.numpy import save

        arrays = save(self.arrays())
        description = signed(self.description() | {SUM: sum_of(arrays)})
        text = json.dumps(description, indent=2) + "\n"
        return {ARRAYS: arrays, DESCRIPTION: text.encode()}

    @property
    def format(self) -> int:
        """The format of its description: the oldest that says all of it."""
        if getattr(self.network, "projections", None) is not None:
            return WITH_BLOCKS
        return WITH_PAST if self.has_past or self.layout.images else FORMAT

    def arrays(self) -> dict[str, Floats]:
        """Return all its numbers, by the names that they have in a file."""
        arrays: dict[str, Any] = {"low": self.low, "high": self.high} | self.network.arrays()
        arrays |= {} if self.centre is None else {CENTRE: self.centre}
        # Not `ascontiguousarray`, which gives the clip, a single number, an axis.
        return {name: np.asarray(array, order="C") for name, array in arrays.items()}

    def description(self) -> dict[str, Any]:
        """Return what the arrays are, as JSON holds it."""
        return {
            "format": self.format,
            **self.network.description(),
            "observation_shape": list(self.obs_shape),
            "action_shape": list(self.action_shape),
            "parts": [described(part) for part in self.parts],
            **({} if self.centre is None else {"centred": True}),
            **({} if self.layout.frames == 1 else {"frames": self.layout.frames}),
            "info": self.info,
        }


def described(part: Part) -> dict[str, Any]:
    """Return a part as JSON holds it; what is no image says nothing of images."""
    held = part._asdict()
    return held if part.image else {name: held[name] for name in held if name != "image"}
