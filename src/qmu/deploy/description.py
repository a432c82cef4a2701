"""What a policy's arrays are: one description for all kinds of files, and one check of what fits.

The arrays have the same names in every file: `actor.0.weight` [inputs, outputs], `actor.0.bias`,
with layer normalization `actor.0.scale` and `actor.0.offset`, with normalized observations
`obs.mean`, `obs.std` and `obs.clip`; `low` and `high` are the bounds of the actions.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qmu.deploy.policy import ACTIVATIONS, Floats, Network, Normalization, Policy
from qmu.errors import ConfigError

# Format 1 knows no normalized observations.
FORMAT, READABLE = 2, (1, 2)


def arrays_of(policy: Policy) -> dict[str, Floats]:
    """Return a policy's arrays, by name."""
    network = policy.network
    kinds = {
        "weight": network.weights,
        "bias": network.biases,
        "scale": network.scales,
        "offset": network.offsets,
    }
    arrays = {"low": policy.low, "high": policy.high} | {
        f"actor.{index}.{kind}": array
        for kind, arrays in kinds.items()
        for index, array in enumerate(arrays)
    }
    if network.normalization is not None:
        arrays |= {f"obs.{name}": value for name, value in vars(network.normalization).items()}
    # Not `ascontiguousarray`, which gives the clip, a single number, an axis.
    return {name: np.asarray(array, order="C") for name, array in arrays.items()}


def describe(policy: Policy) -> dict[str, Any]:
    """Return what the arrays of a policy are, as JSON holds it."""
    return {
        "format": FORMAT,
        "activation": policy.network.activation,
        "layers": len(policy.network.weights),
        "norms": len(policy.network.scales),
        "normalized": policy.network.normalization is not None,
        "observation_shape": list(policy.obs_shape),
        "action_shape": list(policy.action_shape),
        "info": policy.info,
    }


def shapes_of(description: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of observations and actions.

    Raises:
        KeyError: something is not described.
        ValueError: the description has a format of its own, or describes something impossible.
    """
    if description["format"] not in READABLE:
        raise ValueError(
            f"format {description['format']}, this version of qmu reads up to {FORMAT}"
        )
    if not isinstance(description["info"], dict):
        raise ValueError("its info is no object")
    shapes = description["observation_shape"], description["action_shape"]
    for shape in shapes:
        whole = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
        if not whole:
            raise ValueError(f"{shape!r} is no shape")
    return tuple(shapes[0]), tuple(shapes[1])


def read_policy(arrays: Mapping[str, Floats], description: Any, source: Path) -> Policy:
    """Return the policy that these arrays of a file or folder are, by its description.

    Raises:
        ConfigError: something is missing, or does not fit together.
    """
    try:
        obs_shape, action_shape = shapes_of(description)
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
            obs_shape=obs_shape,
            action_shape=action_shape,
            low=arrays["low"],
            high=arrays["high"],
            info=description["info"],
        )
        fitting = fits(policy)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(source, error) from None
    if not fitting:
        raise ConfigError(f"the policy in {source} has layers that do not fit together")
    return policy


def unreadable(source: Path, error: Exception) -> ConfigError:
    """Return what to raise for a policy that cannot be read."""
    lines = str(error).strip().splitlines() or [""]
    return ConfigError(
        f"the policy in {source} cannot be read ({type(error).__name__}: {lines[0]}); save it again"
    )


def read_normalization(arrays: Mapping[str, Floats]) -> Normalization:
    """Return the normalization among the arrays of a file."""
    return Normalization(arrays["obs.mean"], arrays["obs.std"], arrays["obs.clip"])


def fits(policy: Policy) -> bool:
    """Tell whether the layers lead from an observation to an action, in float32 numbers."""
    network, normalization = policy.network, policy.network.normalization
    sizes: list[tuple[int, ...]] = [weight.shape for weight in network.weights]
    ends = (math.prod(policy.obs_shape), math.prod(policy.action_shape))
    return (
        network.activation in ACTIVATIONS
        and all(array.dtype == np.float32 for array in arrays_of(policy).values())
        and all(len(size) == 2 for size in sizes)
        and len(sizes) > 0
        and (sizes[0][0], sizes[-1][1]) == ends
        and all(before[1] == after[0] for before, after in itertools.pairwise(sizes))
        and all(bias.shape == size[1:] for size, bias in zip(sizes, network.biases, strict=True))
        and len(network.scales) in (0, len(sizes) - 1)
        and all(
            scale.shape == offset.shape == size[1:]
            for scale, offset, size in zip(network.scales, network.offsets, sizes, strict=False)
        )
        and policy.low.shape == policy.high.shape == (ends[1],)
        and (
            normalization is None
            or (
                normalization.mean.shape == normalization.std.shape == (ends[0],)
                and normalization.clip.shape == ()
            )
        )
    )
