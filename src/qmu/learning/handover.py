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
from qmu.agent.memory import RecurrentActor
from qmu.agent.networks import EPSILON as NORM_EPSILON
from qmu.agent.networks import Actor, BatchNorm, LayerNorm, Linear
from qmu.agent.normalize import Normalizer
from qmu.agent.update import Acting
from qmu.deploy.layers import Floats
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
    layers = [(layer.weight, layer.bias) for layer in actor.layers]
    norms = actor.norms or ()
    folded = [
        fold(weight, bias, norm) if isinstance(norm, BatchNorm) else (weight, bias)
        for (weight, bias), norm in itertools.zip_longest(layers, norms)
    ]
    scaled: list[Any] = [norm for norm in norms if isinstance(norm, LayerNorm)]
    return Network(
        weights=tuple(weight for weight, _ in folded),
        biases=tuple(bias for _, bias in folded),
        scales=tuple(norm.scale for norm in scaled),
        offsets=tuple(norm.offset for norm in scaled),
        activation=actor.activation,
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


def fold(weight: Floats, bias: Floats, norm: Any) -> tuple[Floats, Floats]:
    """Return a layer that does what this layer and its batch normalization do."""
    factor = norm.scale / np.sqrt(norm.variance + np.float32(NORM_EPSILON))
    return weight * factor, (bias - norm.mean) * factor + norm.offset


def to_acting(network: Network) -> Acting:
    """Return what `to_network` made a network of; batch norms stay in its weights."""
    layers = zip(network.weights, network.biases, strict=True)
    norms = zip(network.scales, network.offsets, strict=True)
    actor: ActorLike = Actor(
        layers=tuple(Linear(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in layers),
        norms=tuple(LayerNorm(jnp.asarray(scale), jnp.asarray(offset)) for scale, offset in norms)
        or None,
        activation=network.activation,
    )
    if network.memory is not None:
        actor = RecurrentActor(to_memory(network.memory), actor)
    known = network.normalization
    normalizer = None
    if known is not None:
        normalizer = Normalizer(*map(jnp.asarray, (known.mean, known.std, known.clip)))
    encoder = Encoder(tuple(map(to_encoder, network.encoders))) if network.encoders else None
    return Acting(actor, normalizer, encoder)


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
