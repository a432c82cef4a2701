"""From arrays and what describes them to a policy: one reader for all kinds of files.

The arrays have the same names in every file: `actor.0.weight` [inputs, outputs], `actor.0.bias`,
with layer normalization `actor.0.scale` and `actor.0.offset`, with normalized observations
`obs.mean`, `obs.std` and `obs.clip`; `low` and `high` are the bounds of the actions.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qmu.deploy.layers import ACTIVATIONS, Floats, Layer
from qmu.deploy.memory import FED, RecurrentCell, cell_fits, recurrent_cell, remembers
from qmu.deploy.parts import read_parts
from qmu.deploy.past import Past
from qmu.deploy.pixels import PixelEncoder, encoder_fits, pixel_encoder
from qmu.deploy.policy import (
    CENTRE,
    FORMAT,
    WITH_BLOCKS,
    WITH_PAST,
    Acts,
    Doubles,
    Network,
    Normalization,
    Policy,
)
from qmu.errors import ConfigError, warn
from qmu.layout import Layout
from qmu.parts import layout_of

# Descriptions of these formats have no sum. Format 1 knows no normalized observations.
UNSEALED = (1, 2)
SEALED = (FORMAT, WITH_PAST, WITH_BLOCKS)
READABLE = (*UNSEALED, *SEALED)
# Of an observation or an action. Libraries have an end at 32 or 64, and a batch takes one more.
MOST_AXES = 31
MOST_FRAMES = 1000
# Makes a network of a file's name, description and arrays.
Read = Callable[[Path, Mapping[str, Any], Mapping[str, Floats]], Acts]


def network_of(policy: Policy) -> Network:
    """Return a policy's network of layers.

    Raises:
        ConfigError: it has one of the user's own.
    """
    if not isinstance(policy.network, Network):
        raise ConfigError(
            "an export holds the built-in networks, and this policy's is the user's own: save it "
            "as a folder, with policy.save(FOLDER)"
        )
    return policy.network


def shapes_of(description: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of observations and actions.

    Raises:
        KeyError: something is not described.
        ValueError: the description has a format of its own, or describes something impossible.
    """
    if description["format"] not in READABLE:
        raise ValueError(
            f"format {description['format']}, this version of qmu reads up to {WITH_BLOCKS}"
        )
    if not isinstance(description["info"], dict):
        raise ValueError("its info is no object")
    shapes = description["observation_shape"], description["action_shape"]
    for shape in shapes:
        whole = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
        if not whole:
            raise ValueError(f"{shape!r:.80} is no shape")
        if len(shape) > MOST_AXES:
            raise ValueError(f"it has {len(shape)} axes: no more than {MOST_AXES} make sense")
    return tuple(shapes[0]), tuple(shapes[1])


def check_unsealed(description: Any, source: Path) -> None:
    """Tell that a description may not be what was written, if its format had no sum.

    Raises:
        ValueError: its format has one.
    """
    written = description.get("format") if isinstance(description, dict) else None
    if written in SEALED:
        raise ValueError("it is damaged: its description has no sum")
    if written in UNSEALED:
        warn(
            f"the policy in {source} was written by an older qmu, whose descriptions have no sum: "
            "that it is what was written cannot be told; save it again"
        )


def read_policy(
    arrays: Mapping[str, Floats], description: Any, source: Path, read: Read | None = None
) -> Policy:
    """Return the policy that these arrays of a file or folder are, by its description.

    Args:
        arrays: what the file holds, by name.
        description: what `Policy.description` said of them.
        source: the file or folder, which errors name.
        read: makes a network of the user's own; without it, one of layers is meant.

    Raises:
        ConfigError: something is missing, or does not fit together.
    """
    try:
        obs_shape, action_shape = shapes_of(description)
        network = (read or read_network)(source, description, arrays)
        policy = Policy(
            network=network,
            obs_shape=obs_shape,
            action_shape=action_shape,
            low=arrays["low"],
            high=arrays["high"],
            info=description["info"],
            parts=read_parts(description.get("parts", ())),
            centre=read_centre(arrays) if description.get("centred") else None,
        )
        fitting = fits(policy)
        if fitting:
            check_sense(policy)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(source, error) from None
    if not fitting:
        raise ConfigError(f"the policy in {source} has layers that do not fit together")
    return policy


def read_network(
    source: Path, description: Mapping[str, Any], arrays: Mapping[str, Floats]
) -> Network:
    """Return the network of layers that a policy's arrays are.

    Raises:
        ConfigError: it is a network of the user's own.
    """
    if description.get("custom"):
        raise ConfigError(
            f"the policy in {source} has a network of the user's own, and a file holds only its "
            "numbers: give what makes it, as qmu.open_run(RUN, networks=...).policy()"
        )
    layers, norms = range(description["layers"]), range(description["norms"])
    return Network(
        tuple(arrays[f"actor.{index}.weight"] for index in layers),
        tuple(arrays[f"actor.{index}.bias"] for index in layers),
        tuple(arrays[f"actor.{index}.scale"] for index in norms),
        tuple(arrays[f"actor.{index}.offset"] for index in norms),
        description["activation"],
        read_layout(description),
        read_normalization(arrays) if description.get("normalized") else None,
        read_encoders(description, arrays),
        read_memory(description, arrays),
        read_projections(description, arrays),
    )


def read_projections(
    description: Mapping[str, Any], arrays: Mapping[str, Floats]
) -> tuple[Layer | None, ...] | None:
    """Return the projections of residual blocks; None for plain layers.

    Raises:
        KeyError: a part of one is missing.
        ValueError: so many blocks make no sense.
    """
    blocks = description.get("blocks")
    if blocks is None:
        return None
    if type(blocks) is not int or not 0 <= blocks <= description["layers"]:
        raise ValueError(f"{blocks!r:.80} is no number of blocks")
    names = [f"actor.projection.{index}" for index in range(blocks)]
    return tuple(
        (arrays[f"{name}.weight"], arrays[f"{name}.bias"]) if f"{name}.weight" in arrays else None
        for name in names
    )


def read_encoders(
    description: Mapping[str, Any], arrays: Mapping[str, Floats]
) -> tuple[PixelEncoder, ...]:
    """Return the encoders of a policy's images; none where there are no images.

    Raises:
        KeyError: one is missing.
        ValueError: they are not described.
    """
    images = read_layout(description).images
    if not images:
        return ()
    strides = description["strides"]
    if not (isinstance(strides, list | tuple) and all(one in (1, 2) for one in strides)):
        raise ValueError(f"{strides!r:.80} are no strides of an encoder")
    return tuple(pixel_encoder(arrays, index, strides) for index in range(len(images)))


def read_memory(
    description: Mapping[str, Any], arrays: Mapping[str, Floats]
) -> RecurrentCell | None:
    """Return the memory of a policy; None where there is none.

    Raises:
        KeyError: a part of it is missing.
        ValueError: it is fed something that there is not.
    """
    fed = read_fed(description)
    return recurrent_cell(arrays, fed) if fed else None


def read_fed(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a policy's memory is fed; nothing, where it has none.

    Raises:
        ValueError: there is no such thing.
    """
    fed = description.get("fed")
    if fed is None:
        return ()
    if not (isinstance(fed, list | tuple) and fed and all(one in FED for one in fed)):
        raise ValueError(f"{fed!r:.80} is nothing that a memory is fed")
    return tuple(fed)


def read_past(description: Mapping[str, Any]) -> Past:
    """Return what a policy carries from one observation to the next.

    Raises:
        KeyError: a memory does not say its size.
        ValueError: it makes no sense.
    """
    layout, fed = read_layout(description), read_fed(description)
    if not fed:
        return Past(layout)
    size = description["memory_size"]
    if type(size) is not int or size < 1:
        raise ValueError(f"{size!r:.80} is no size of a memory")
    return Past(layout, remembers(size, fed, math.prod(description["action_shape"])))


def read_layout(description: Mapping[str, Any]) -> Layout:
    """Return how a policy's observations lie in a row, and are seen.

    Raises:
        ValueError: so many frames make no sense.
    """
    frames = description.get("frames", 1)
    if type(frames) is not int or not 0 < frames <= MOST_FRAMES:
        raise ValueError(f"{frames!r:.80} is no number of frames")
    parts = read_parts(description.get("parts", ()))
    return layout_of(parts, math.prod(description["observation_shape"]), frames)


def unreadable(source: Path, error: Exception) -> ConfigError:
    """Return what to raise for a policy that cannot be read."""
    lines = str(error).strip().splitlines() or [""]
    return ConfigError(
        f"the policy in {source} cannot be read ({type(error).__name__}: {lines[0]}); save it again"
    )


def read_normalization(arrays: Mapping[str, Floats]) -> Normalization:
    """Return the normalization among the arrays of a file."""
    return Normalization(arrays["obs.mean"], arrays["obs.std"], arrays["obs.clip"])


def check_sense(policy: Policy) -> None:
    """Raise ValueError where numbers fit together, and make no policy."""
    if not policy.network.finite():
        raise ValueError("its weights are not finite")
    check_bounds(policy.low, policy.high)
    normalization = getattr(policy.network, "normalization", None)
    if normalization is not None and not ((normalization.std > 0).all() and normalization.clip > 0):
        raise ValueError("its observations have spreads, or a largest value, of 0 or below")


def check_bounds(low: Floats, high: Floats) -> None:
    """Raise ValueError unless these are bounds of actions."""
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("the bounds of its actions are not finite")
    if (low > high).any():
        raise ValueError("a lower bound of its actions is above the upper one")


def read_centre(arrays: Mapping[str, Any]) -> Doubles:
    """Return the centre of observations among the arrays of a file.

    Raises:
        ValueError: it is not of finite numbers in double precision.
    """
    centre: Doubles = arrays[CENTRE]
    if centre.dtype != np.float64 or not np.isfinite(centre).all():
        raise ValueError(f"{CENTRE} is no centre of observations")
    return centre


def fits(policy: Policy) -> bool:
    """Tell whether a policy leads from an observation to an action, in float32 numbers."""
    obs_size, action_size = math.prod(policy.obs_shape), math.prod(policy.action_shape)
    if not policy.low.shape == policy.high.shape == (action_size,):
        return False
    if not all(array.dtype == np.float32 for array in (policy.low, policy.high)):
        return False
    if policy.parts and layout_of(policy.parts, 0).size != obs_size:
        return False
    if any(len(part.shape) > MOST_AXES for part in policy.parts):
        return False
    centre = policy.centre
    if centre is not None and centre.shape != (obs_size,):
        return False
    network = policy.network
    return not isinstance(network, Network) or (
        network.layout.size == obs_size and network_fits(network, action_size)
    )


def network_fits(network: Network, action_size: int) -> bool:
    """Tell whether layers lead from observations to so many numbers, in float32 numbers."""
    normalization, numbers = network.normalization, network.layout.seen_numbers
    images = network.layout.seen_images
    if len(network.encoders) != len(images) or not all(map(encoder_fits, network.encoders, images)):
        return False
    obs_size = numbers + sum(len(encoder.scale) for encoder in network.encoders)
    if network.memory is not None:
        if not cell_fits(network.memory, obs_size, action_size):
            return False
        obs_size += network.memory.size
    layers = list(zip(network.weights, network.biases, strict=True))
    blocks = network.projections
    return (
        network.activation in ACTIVATIONS
        and all(array.dtype == np.float32 for array in network.arrays().values())
        and all(map(is_layer, [*layers, *filter(None, blocks or ())]))
        and len(layers) > 0
        and (
            layers_fit(network, obs_size, action_size)
            if blocks is None
            else blocks_fit(network, blocks, obs_size, action_size)
        )
        and (
            normalization is None
            or (
                normalization.mean.shape == normalization.std.shape == (numbers,)
                and normalization.clip.shape == ()
            )
        )
    )


def is_layer(layer: Layer) -> bool:
    """Tell whether these are a weight [inputs, outputs] and its bias [outputs]."""
    weight, bias = layer
    return weight.ndim == 2 and bias.shape == weight.shape[1:]


def layers_fit(network: Network, obs_size: int, action_size: int) -> bool:
    """Tell whether layers lead one after another from what is seen to an action."""
    sizes = [weight.shape for weight in network.weights]
    return (
        (sizes[0][0], sizes[-1][1]) == (obs_size, action_size)
        and all(before[1] == after[0] for before, after in itertools.pairwise(sizes))
        and norms_fit(network, [size[1] for size in sizes[:-1]])
    )


def blocks_fit(
    network: Network, projections: Sequence[Layer | None], obs_size: int, action_size: int
) -> bool:
    """Tell whether residual blocks lead from what is seen to an action."""
    sizes = [weight.shape for weight in network.weights]
    if len(sizes) != 2 * len(projections) + 1:
        return False
    width, widths = obs_size, []
    for depth, projection in enumerate(projections):
        if projection is not None:
            if projection[0].shape[0] != width:
                return False
            width = projection[0].shape[1]
        wide, narrow = sizes[2 * depth], sizes[2 * depth + 1]
        if (wide[0], wide[1], narrow[1]) != (width, narrow[0], width):
            return False
        widths.append(width)
    return sizes[-1] == (width, action_size) and norms_fit(network, [*widths, width])


def norms_fit(network: Network, units: Sequence[int]) -> bool:
    """Tell whether a network has no layer normalizations, or one for each of these numbers."""
    shapes = [(size,) for size in units]
    return all(
        [one.shape for one in own] in ([], shapes) for own in (network.scales, network.offsets)
    ) and len(network.scales) == len(network.offsets)
