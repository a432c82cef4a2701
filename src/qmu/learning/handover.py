"""From the learner's actors to networks on the host, which act and are shipped; and back."""

import itertools
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmu.agent.convolution import Convolution
from qmu.agent.custom import CustomActor, CustomEncoder
from qmu.agent.encoder import CentredNorm, Encoder, ImageEncoder
from qmu.agent.kinds import ActorLike
from qmu.agent.layers import EPSILON as NORM_EPSILON
from qmu.agent.layers import BatchNorm, LayerNorm, Linear
from qmu.agent.memory import RecurrentActor
from qmu.agent.networks import Actor
from qmu.agent.normalize import Normalizer
from qmu.agent.update import Acting
from qmu.deploy.layers import Floats, Layer
from qmu.deploy.pixels import PixelEncoder
from qmu.deploy.policy import Acts, Network, Normalization, Policy
from qmu.layout import Layout
from qmu.learning.cells import to_cell, to_memory
from qmu.learning.custom import CustomNetwork
from qmu.world.spaces import Spaces


def to_networks(acting: Acting, layout: Layout, action_size: int, device: Any = None) -> list[Acts]:
    """Return a group's actors as NumPy networks; those of the user's own act on the device.

    `layout` is that of the observations that they act on.
    """
    host: Any = jax.device_get(acting)
    members = range(len(jax.tree.leaves(host)[0]))
    each = [jax.tree.map(lambda leaf, own=own: leaf[own], host) for own in members]
    if is_custom(acting):
        return [CustomNetwork(jax.device_put(one, device), layout, action_size) for one in each]
    return [to_network(one, layout) for one in each]


def is_custom(acting: Acting) -> bool:
    """Tell whether something that acts is the user's own."""
    images = () if acting.encoder is None else acting.encoder.images
    actor = acting.actor.head if isinstance(acting.actor, RecurrentActor) else acting.actor
    return isinstance(actor, CustomActor) or any(isinstance(own, CustomEncoder) for own in images)


def to_network(acting: Any, layout: Layout) -> Network:
    """Return one member's `Acting`, in NumPy, as a network; batch norms go into its weights."""
    actor, normalizer = acting.actor, acting.normalizer
    memory = to_cell(actor.memory) if isinstance(actor, RecurrentActor) else None
    actor = actor if memory is None else actor.head
    layers, projections = folded(actor)
    scaled: list[Any] = [norm for norm in actor.norms or () if isinstance(norm, LayerNorm)]
    return Network(
        weights=tuple(weight for weight, _ in layers),
        biases=tuple(bias for _, bias in layers),
        scales=tuple(norm.scale for norm in scaled),
        offsets=tuple(norm.offset for norm in scaled),
        activation=actor.activation,
        projections=projections,
        layout=layout,
        normalization=None
        if normalizer is None
        else Normalization(
            normalizer.mean,
            normalizer.std,
            normalizer.clip,
        ),
        encoders=() if acting.encoder is None else tuple(map(to_pixels, acting.encoder.images)),
        memory=memory,
    )


def to_pixels(encoder: Any) -> PixelEncoder:
    """Return the encoder of one image, in NumPy."""
    return PixelEncoder(
        weights=tuple(one.weight for one in encoder.convolutions),
        biases=tuple(one.bias for one in encoder.convolutions),
        strides=tuple(one.stride for one in encoder.convolutions),
        trunk_weight=encoder.trunk.weight,
        trunk_bias=encoder.trunk.bias,
        scale=encoder.norm.scale,
        offset=encoder.norm.offset,
    )


def policy_of(actor: Acts, spaces: Spaces, **info: Any) -> Policy:
    """Return an actor as a policy for these spaces, which knows where it comes from."""
    described = {"environment": spaces.name, **info, "qmu": metadata.version("qmu")}
    return Policy(
        actor,
        spaces.obs_shape,
        spaces.action_shape,
        spaces.low,
        spaces.high,
        described,
        spaces.parts,
        spaces.centre,
    )


def folded(actor: Any) -> tuple[list[Layer], tuple[Layer | None, ...] | None]:
    """Return an actor's layers and projections, with batch normalizations in their weights.

    In plain layers, they follow a hidden layer; in residual ones they come before it.
    """
    layers = [(one.weight, one.bias) for one in actor.layers]
    norms = [norm if isinstance(norm, BatchNorm) else None for norm in actor.norms or ()]
    if actor.projections is None:
        pairs = itertools.zip_longest(layers, norms)
        layers = [one if norm is None else behind(one, norm) for one, norm in pairs]
        if actor.entry is not None:
            layers[0] = before(layers[0], actor.entry)
        return layers, None
    for depth, norm in enumerate(norms):
        if norm is not None:
            layers[2 * depth] = before(layers[2 * depth], norm)
    projections = [None if one is None else (one.weight, one.bias) for one in actor.projections]
    if actor.entry is not None and projections:
        assert projections[0] is not None
        projections[0] = before(projections[0], actor.entry)
    elif actor.entry is not None:
        layers[0] = before(layers[0], actor.entry)
    return layers, tuple(projections)


def behind(layer: Layer, norm: Any) -> Layer:
    """Return a layer that does what this layer and a batch normalization after it do."""
    weight, bias = layer
    factor = factor_of(norm)
    return weight * factor, (bias - norm.mean) * factor + norm.offset


def before(layer: Layer, norm: Any) -> Layer:
    """Return a layer that does what a batch normalization and this layer after it do."""
    weight, bias = layer
    factor = factor_of(norm)
    return weight * factor[:, None], bias + (norm.offset - norm.mean * factor) @ weight


def factor_of(norm: Any) -> Floats:
    """Return what a batch normalization multiplies each unit with."""
    factor: Floats = norm.scale / np.sqrt(norm.variance + np.float32(NORM_EPSILON))
    return factor


def to_acting(network: Network) -> Acting:
    """Return what `to_network` made a network of; batch norms stay in its weights."""
    layers = zip(network.weights, network.biases, strict=True)
    norms = zip(network.scales, network.offsets, strict=True)
    projections = None
    if network.projections is not None:
        projections = tuple(None if one is None else linear(one) for one in network.projections)
    actor: ActorLike = Actor(
        layers=tuple(map(linear, layers)),
        norms=tuple(LayerNorm(jnp.asarray(scale), jnp.asarray(offset)) for scale, offset in norms)
        or None,
        activation=network.activation,
        projections=projections,
    )
    if network.memory is not None:
        actor = RecurrentActor(to_memory(network.memory), actor)
    known = network.normalization
    normalizer = None
    if known is not None:
        normalizer = Normalizer(*map(jnp.asarray, (known.mean, known.std, known.clip)))
    encoder = Encoder(tuple(map(to_encoder, network.encoders))) if network.encoders else None
    return Acting(actor, normalizer, encoder)


def linear(layer: Layer) -> Linear:
    """Return a layer as it is learned."""
    weight, bias = layer
    return Linear(jnp.asarray(weight), jnp.asarray(bias))


def to_encoder(pixels: PixelEncoder) -> ImageEncoder:
    """Return what `to_pixels` made an encoder of."""
    convolutions = zip(pixels.weights, pixels.biases, pixels.strides, strict=True)
    return ImageEncoder(
        tuple(
            Convolution(jnp.asarray(weight), jnp.asarray(bias), stride)
            for weight, bias, stride in convolutions
        ),
        Linear(jnp.asarray(pixels.trunk_weight), jnp.asarray(pixels.trunk_bias)),
        CentredNorm(jnp.asarray(pixels.scale), jnp.asarray(pixels.offset)),
    )
