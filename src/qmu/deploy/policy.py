"""The policy outside of training: NumPy in, NumPy out, in the environment's own units.

A policy is two files: `policy.safetensors` holds the weights, `policy.json` says what they are.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmu.deploy.parts import join, read_parts
from qmu.errors import ConfigError
from qmu.records import Part

Floats = NDArray[np.float32]

# Format 1 knows no normalized observations.
FORMAT, READABLE = 2, (1, 2)
ONE = np.float32(1)


def relu(x: Floats) -> Floats:
    """Return max(x, 0)."""
    return np.maximum(x, np.float32(0))


def leaky_relu(x: Floats) -> Floats:
    """Return x, or x / 100 where it is negative."""
    return np.maximum(x, np.float32(0.01) * x)


def elu(x: Floats) -> Floats:
    """Return x, or exp(x) - 1 where it is negative."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, np.float32(0))))


def silu(x: Floats) -> Floats:
    """Return x σ(x), with σ as (1 + tanh(x/2)) / 2, which cannot overflow."""
    half = np.float32(0.5) * x
    return half * (ONE + np.tanh(half))


def layer_norm(x: Floats, scale: Floats, offset: Floats) -> Floats:
    """Return each sample's units with mean 0 and variance 1, scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(1e-5)) * scale + offset


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "silu": silu,
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class Normalization:
    """What the observations were normalized with: mean [obs], standard deviation [obs], clip []."""

    mean: Floats
    std: Floats
    clip: Floats

    def __call__(self, obs: Floats) -> Floats:
        """Return observations [..., obs] with mean 0 and deviation 1, cut to ±clip."""
        return np.minimum(np.maximum((obs - self.mean) / self.std, -self.clip), self.clip)


@dataclass(frozen=True)
class Network:
    """An actor's layers: weights [inputs, outputs] and biases [outputs].

    `scales` and `offsets` [units] belong to the layer normalization of the hidden layers; they are
    empty without one. Without a `normalization`, observations are taken as they come.
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    scales: tuple[Floats, ...]
    offsets: tuple[Floats, ...]
    activation: str
    normalization: Normalization | None = None

    def __call__(self, obs: Floats) -> Floats:
        """Return actions [..., action] in [-1, 1] for observations [..., obs]."""
        activate = ACTIVATIONS[self.activation]
        hidden = obs if self.normalization is None else self.normalization(obs)
        for depth in range(len(self.weights) - 1):
            hidden = hidden @ self.weights[depth] + self.biases[depth]
            if self.scales:
                hidden = layer_norm(hidden, self.scales[depth], self.offsets[depth])
            hidden = activate(hidden)
        return np.tanh(hidden @ self.weights[-1] + self.biases[-1])


@dataclass(frozen=True)
class Policy:
    """A deterministic policy: one observation, or a batch of them, to actions.

    `info` says where it comes from: environment, seed, step, score. Everything that the policy
    needs is in it; training is not. `parts` are those of the environment's own observations, where
    they are dictionaries or tuples.
    """

    network: Network
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    low: Floats
    high: Floats
    info: dict[str, Any]
    parts: tuple[Part, ...] = ()

    def __call__(self, observation: ArrayLike | Mapping[str, Any] | tuple[Any, ...]) -> Floats:
        """Return the action for one observation, or one per row for a batch of observations.

        Args:
            observation: an array of the environment's observation shape, or with one more
                leading axis, in the environment's units; or the dictionary or tuple that the
                environment itself gives, each part with that axis in a batch.

        Returns:
            float32 actions in the environment's units, inside its bounds.

        Raises:
            ValueError: the observation has another shape.
        """
        given: Any = observation
        if self.parts and isinstance(observation, Mapping | tuple):
            given = join(self.parts, observation)
        obs = np.asarray(given, dtype=np.float32)
        batch = obs.shape[: obs.ndim - len(self.obs_shape)]
        if len(batch) > 1 or obs.shape[len(batch) :] != self.obs_shape:
            raise ValueError(
                f"an observation of shape {obs.shape}; this policy takes {self.obs_shape}, "
                "or a batch of them along one leading axis"
            )
        action = self.network(obs.reshape(*batch, self.network.weights[0].shape[0]))
        scaled = 0.5 * (1 - action) * self.low + 0.5 * (1 + action) * self.high
        scaled = np.minimum(np.maximum(scaled, self.low), self.high)
        return scaled.reshape(*batch, *self.action_shape)

    def save(self, directory: str | Path) -> None:
        """Write `policy.safetensors` and `policy.json` into a directory, which is made."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)

    def files(self) -> dict[str, bytes]:
        """Return what `save` writes: file name -> content."""
        from safetensors.numpy import save

        arrays = {"low": self.low, "high": self.high}
        for index, (weight, bias) in enumerate(
            zip(self.network.weights, self.network.biases, strict=True)
        ):
            arrays[f"actor.{index}.weight"] = np.ascontiguousarray(weight)
            arrays[f"actor.{index}.bias"] = np.ascontiguousarray(bias)
        for index, (scale, offset) in enumerate(
            zip(self.network.scales, self.network.offsets, strict=True)
        ):
            arrays[f"actor.{index}.scale"] = np.ascontiguousarray(scale)
            arrays[f"actor.{index}.offset"] = np.ascontiguousarray(offset)
        normalization = self.network.normalization
        if normalization is not None:
            arrays |= {
                f"obs.{name}": np.asarray(value) for name, value in vars(normalization).items()
            }
        description = {
            "format": FORMAT,
            "activation": self.network.activation,
            "layers": len(self.network.weights),
            "norms": len(self.network.scales),
            "normalized": normalization is not None,
            "observation_shape": list(self.obs_shape),
            "action_shape": list(self.action_shape),
            "parts": [part._asdict() for part in self.parts],
            "info": self.info,
        }
        text = json.dumps(description, indent=2) + "\n"
        return {"policy.safetensors": save(arrays), "policy.json": text.encode()}


def load_policy(directory: str | Path) -> Policy:
    """Read a policy from the directory that holds its two files.

    Raises:
        ConfigError: there is no policy, or the files are damaged or do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(directory)
    for name in ("policy.json", "policy.safetensors"):
        if not (folder / name).exists():
            raise ConfigError(f"{folder} holds no policy: {name} is not there")
    try:
        description = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        if description["format"] not in READABLE:
            raise ValueError(
                f"format {description['format']}, this version of qmu reads up to {FORMAT}"
            )
        arrays = load_file(folder / "policy.safetensors")
        layers, norms = range(description["layers"]), range(description["norms"])
        policy = Policy(
            network=Network(
                tuple(arrays[f"actor.{index}.weight"] for index in layers),
                tuple(arrays[f"actor.{index}.bias"] for index in layers),
                tuple(arrays[f"actor.{index}.scale"] for index in norms),
                tuple(arrays[f"actor.{index}.offset"] for index in norms),
                description["activation"],
                read_normalization(arrays) if description.get("normalized") else None,
            ),
            obs_shape=tuple(description["observation_shape"]),
            action_shape=tuple(description["action_shape"]),
            low=arrays["low"],
            high=arrays["high"],
            info=description["info"],
            parts=read_parts(description.get("parts", ())),
        )
        fitting = fits(policy)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"the policy in {folder} cannot be read ({type(error).__name__}: {error}); "
            "save it again"
        ) from None
    if not fitting:
        raise ConfigError(f"the policy in {folder} has layers that do not fit together")
    return policy


def read_normalization(arrays: dict[str, Floats]) -> Normalization:
    """Return the normalization among the arrays of a file."""
    return Normalization(arrays["obs.mean"], arrays["obs.std"], arrays["obs.clip"])


def fits(policy: Policy) -> bool:
    """Tell whether the layers lead from an observation to an action."""
    sizes: Sequence[tuple[int, ...]] = [weight.shape for weight in policy.network.weights]
    ends = (int(np.prod(policy.obs_shape)), int(np.prod(policy.action_shape)))
    normalization = policy.network.normalization
    return (
        policy.network.activation in ACTIVATIONS
        and all(len(size) == 2 for size in sizes)
        and len(sizes) > 0
        and (sizes[0][0], sizes[-1][1]) == ends
        and all(before[1] == after[0] for before, after in itertools.pairwise(sizes))
        and all(
            bias.shape == (weight.shape[1],)
            for weight, bias in zip(policy.network.weights, policy.network.biases, strict=True)
        )
        and len(policy.network.scales) in (0, len(sizes) - 1)
        and all(
            scale.shape == offset.shape == weight.shape[1:]
            for scale, offset, weight in zip(
                policy.network.scales, policy.network.offsets, policy.network.weights, strict=False
            )
        )
        and (not policy.parts or sum(part.size for part in policy.parts) == ends[0])
        and policy.low.shape == policy.high.shape == (ends[1],)
        and (
            normalization is None
            or (
                normalization.mean.shape == normalization.std.shape == (ends[0],)
                and normalization.clip.shape == ()
            )
        )
    )
