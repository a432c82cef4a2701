"""Networks of the user's own: Equinox modules that stand in for the built-in ones.

A module is divided into its arrays, which are learned, and the rest, which is part of the program.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from qmu import config as options
from qmu.agent.encoder import Encoder, Pictures, Shape, feature_count, init_encoder
from qmu.agent.heads import HEADS, Said
from qmu.agent.initial import init_actor, init_critic
from qmu.agent.kinds import ActorLike, CriticLike
from qmu.agent.layers import Norms
from qmu.agent.memory import state_size
from qmu.config import Config
from qmu.config.heads import bins
from qmu.errors import ConfigError, told
from qmu.layout import Layout

Make = Callable[[PRNGKeyArray, int, int], eqx.Module]
MakeEncoder = Callable[[PRNGKeyArray, Shape, int], eqx.Module]
# Rows of the batch that a new network is tried on.
ROWS = 5
# How far apart a row's outputs may be when it is alone and when it is in a batch.
ALIKE = 1e-3


@dataclass(frozen=True)
class Networks:
    """Functions that make an agent's networks; None leaves the built-in one.

    Each returns an Equinox module, whose arrays are float32 and all of which are learned. Actors
    and critics are made by `make(key, obs_size, action_size)`, an encoder for each image of an
    observation by `make(key, (height, width, channels), features)`, where `features` is the option
    `encoder.features` and channels are those of all frames. They are called on batches, whose rows
    are independent:

        actor(obs [batch, obs]) -> [batch, action]: what a final tanh, which qmu applies, is given;
        critic(obs [batch, obs], action [batch, action]) -> [batch], actions in [-1, 1]; with
            `critic.head` in bins, their logits [batch, bins];
        encoder(images uint8 [batch, height, width, channels]) -> [batch, features].

    Numbers are normalized before if `env.normalize_obs` says so. Where there are images, `obs` is
    the numbers and, behind them, the features of every image. With `critic.count`, every critic is
    made with a key of its own.
    """

    actor: Make | None = None
    critic: Make | None = None
    encoder: MakeEncoder | None = None

    @property
    def names(self) -> list[str]:
        """Which networks are the user's own."""
        return [name for name in ("actor", "critic", "encoder") if getattr(self, name) is not None]


# A policy acts with these: if one is the user's own, its file alone does not say what it does.
ACTING = ("actor", "encoder")


def acting_names(networks: Networks | None) -> list[str]:
    """Return which of the networks that a policy acts with are the user's own."""
    return [] if networks is None else [name for name in networks.names if name in ACTING]


class Makers(NamedTuple):
    """What makes an agent's networks: of a key, sizes, and the options of the network."""

    actor: Callable[[PRNGKeyArray, int, int, options.Actor], ActorLike]
    critic: Callable[[PRNGKeyArray, int, int, options.Critic], CriticLike]
    encoder: Callable[[PRNGKeyArray, Sequence[Shape], options.Encoder], Encoder]


BUILT_IN = Makers(init_actor, init_critic, init_encoder)


class CustomActor(eqx.Module):
    """μ(s) = tanh of what a module of the user's own says."""

    arrays: Any
    rest: Any = eqx.field(static=True)

    def __call__(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the actions for a batch of observations."""
        return jnp.tanh(self.preactivation(obs))

    def learning(
        self, obs: Float[Array, "batch obs"]
    ) -> tuple[Float[Array, "batch action"], Norms]:
        """Return the input of the final tanh, and no norms: none are known."""
        return self.preactivation(obs), None

    def preactivation(self, obs: Float[Array, "batch obs"]) -> Float[Array, "batch action"]:
        """Return the input of the final tanh."""
        return eqx.combine(self.arrays, self.rest)(obs)

    def hidden(self, obs: Float[Array, "batch obs"]) -> list[Float[Array, "batch units"]]:
        """Return nothing: no layers are known."""
        del obs
        return []

    def with_statistics(self, seen: Norms) -> "CustomActor":
        """Return itself: there are no statistics."""
        del seen
        return self


class CustomCritic(eqx.Module):
    """Q(s, a), as a module of the user's own says."""

    arrays: Any
    rest: Any = eqx.field(static=True)
    head: str = eqx.field(default="scalar", static=True)

    def __call__(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> Float[Array, " batch"]:
        """Return the values of a batch of observations and actions."""
        return HEADS[self.head].value(self.said(obs, action))

    def said(self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]) -> Said:
        """Return what the head reads values in."""
        said: Array = eqx.combine(self.arrays, self.rest)(obs, action)
        return said

    def learning(
        self,
        obs: Float[Array, "batch obs"],
        action: Float[Array, "batch action"],
        rows: slice | None = None,
    ) -> tuple[Said, Norms]:
        """Return what the head reads, of some rows or of all, and no norms: none are known."""
        said = self.said(obs, action)
        return said if rows is None else said[rows], None

    def hidden(
        self, obs: Float[Array, "batch obs"], action: Float[Array, "batch action"]
    ) -> list[Float[Array, "batch units"]]:
        """Return nothing: no layers are known."""
        del obs, action
        return []

    def with_statistics(self, seen: Norms) -> "CustomCritic":
        """Return itself: there are no statistics."""
        del seen
        return self


class CustomEncoder(eqx.Module):
    """The features of an image, as a module of the user's own says."""

    arrays: Any
    rest: Any = eqx.field(static=True)

    def __call__(self, images: Pictures) -> Float[Array, "batch features"]:
        """Return the features of a batch of images."""
        features: Array = eqx.combine(self.arrays, self.rest)(images)
        return features

    def maps(self, images: Pictures) -> list[Float[Array, "batch rows columns outputs"]]:
        """Return nothing: no convolutions are known."""
        del images
        return []


def makers_of(
    networks: Networks | None, layout: Layout, action_size: int, config: Config
) -> Makers:
    """Return what makes the networks, after a trial of the user's own.

    Raises:
        ConfigError: a function or what it makes is not what it has to be.
    """
    if networks is None:
        return BUILT_IN
    check_kind(networks)
    actor, critic, encoder = BUILT_IN
    images, features = layout.seen_images, config.encoder.features
    obs_size = feature_count(layout.seen_numbers, len(images), config.encoder)
    obs_size += state_size(config.memory)
    sizes, obs, action = (obs_size, action_size), tried(obs_size), tried(action_size)
    if networks.actor is not None:
        actor = Template("actor", networks.actor, sizes, [obs], (ROWS, action_size)).actor
    if networks.critic is not None:
        count = bins(config.critic)
        said = (ROWS,) if count is None else (ROWS, count)
        critic = Template("critic", networks.critic, sizes, [obs, action], said).critic
    if networks.encoder is not None:
        if not images:
            raise ConfigError(
                "networks.encoder makes features of images, and there are none in this "
                "environment's observations: leave it out"
            )
        each = [
            Template(
                "encoder",
                networks.encoder,
                (image, features),
                [tried_image(image)],
                (ROWS, features),
            )
            for image in images
        ]
        encoder = partial(encoder_of, each)
    return Makers(actor, critic, encoder)


def tried(size: int) -> Array:
    """Return a batch [rows, size] that a network is tried on."""
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (ROWS, size)), jnp.float32)


def tried_image(shape: Shape) -> Array:
    """Return a batch of images [rows, height, width, channels] that an encoder is tried on."""
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (ROWS, *shape)), jnp.uint8)


def encoder_of(
    each: Sequence["Template"],
    key: PRNGKeyArray,
    shapes: Sequence[Shape],
    settings: options.Encoder,
) -> Encoder:
    """Return a new encoder, by one template for each image."""
    del shapes, settings
    keys = jax.random.split(key, len(each))
    return Encoder(
        tuple(CustomEncoder(own.arrays(one), own.rest) for own, one in zip(each, keys, strict=True))
    )


def check_kind(networks: object) -> None:
    """Raise ConfigError unless these are `Networks`."""
    if not isinstance(networks, Networks):
        raise ConfigError(
            f"networks must be qmu.Networks(actor=..., critic=..., encoder=...), not {networks!r}"
        )


class Template:
    """A network of the user's own, made once to see what it is; all others are made like it."""

    def __init__(
        self,
        name: str,
        make: Callable[..., eqx.Module],
        sizes: tuple[Any, int],
        inputs: Sequence[Array],
        outputs: tuple[int, ...],
    ) -> None:
        """Make the first one, and try it.

        Args:
            name: actor, critic or encoder.
            make: the user's function.
            sizes: what it is called with behind the key.
            inputs: batches of `ROWS` rows that the network is tried on.
            outputs: the shape of what it has to return for them.

        Raises:
            ConfigError: it is not what it has to be.
        """
        self.name, self.make, self.sizes = name, make, sizes
        check_function(name, make)
        first = self.made(jax.random.key(0))
        arrays, self.rest = eqx.partition(first, eqx.is_array)
        check_arrays(name, arrays)
        self.structure, self.shapes = jax.tree.structure(arrays), shapes_of(arrays)
        try_out(name, first, inputs, outputs)

    def actor(
        self, key: PRNGKeyArray, obs_size: int, action_size: int, settings: options.Actor
    ) -> CustomActor:
        """Return a new actor."""
        del obs_size, action_size, settings
        return CustomActor(self.arrays(key), self.rest)

    def critic(
        self, key: PRNGKeyArray, obs_size: int, action_size: int, settings: options.Critic
    ) -> CustomCritic:
        """Return a new critic."""
        del obs_size, action_size
        return CustomCritic(self.arrays(key), self.rest, settings.head)

    def made(self, key: PRNGKeyArray) -> Any:
        """Return a new module; NumPy arrays in it have become JAX's."""
        try:
            module = self.make(key, *self.sizes)
        except Exception as error:
            raise ConfigError(f"networks.{self.name} raised {told(error)}") from error
        if not isinstance(module, eqx.Module):
            raise ConfigError(
                f"networks.{self.name} returned {type(module).__name__}, and an equinox.Module is "
                "wanted: derive its class from equinox.Module"
            )
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, module
        )

    def arrays(self, key: PRNGKeyArray) -> Any:
        """Return the arrays of a new module, which has to be like the first one."""
        arrays = eqx.filter(self.made(key), eqx.is_array)
        check_arrays(self.name, arrays)
        if shapes_of(arrays) != self.shapes:
            raise ConfigError(
                f"networks.{self.name} makes arrays of {shapes_of(arrays)} for another key, and of "
                f"{self.shapes} before; all members and critics have to be alike"
            )
        # What is part of the program is the first one's: functions made anew would differ.
        return jax.tree.unflatten(self.structure, jax.tree.leaves(arrays))


def shapes_of(arrays: Any) -> list[tuple[int, ...]]:
    """Return the shapes of all arrays."""
    return [leaf.shape for leaf in jax.tree.leaves(arrays)]


# What the user's functions are called with.
ARGUMENTS = {
    "actor": "(key, obs_size, action_size)",
    "critic": "(key, obs_size, action_size)",
    "encoder": "(key, shape, features)",
}


def check_function(name: str, make: object) -> None:
    """Raise ConfigError unless this is a function of three arguments."""
    if not callable(make):
        raise ConfigError(
            f"networks.{name} must be a function {ARGUMENTS[name]} that returns an "
            f"equinox.Module, not {make!r}"
        )
    try:
        inspect.signature(make).bind(None, 1, 1)
    except ValueError:
        return  # A function without a signature is tried as it is.
    except TypeError as error:
        raise ConfigError(
            f"networks.{name} is called with {ARGUMENTS[name]}, and "
            f"{getattr(make, '__name__', make)}{inspect.signature(make)} takes other arguments: "
            f"{error}"
        ) from None


def check_arrays(name: str, arrays: Any) -> None:
    """Raise ConfigError unless there are arrays, all of them finite float32 numbers."""
    leaves = jax.tree_util.tree_flatten_with_path(arrays)[0]
    if not leaves:
        raise ConfigError(f"networks.{name} returned a module without arrays: nothing can learn")
    for path, leaf in leaves:
        where = jax.tree_util.keystr(path)
        if leaf.dtype != jnp.float32:
            raise ConfigError(
                f"networks.{name} has {leaf.dtype} numbers in {where}, and all arrays are learned "
                "as float32: convert it, or make it a static field if it is a constant"
            )
        if not bool(jnp.isfinite(leaf).all()):
            raise ConfigError(f"networks.{name} begins with numbers in {where} that are not finite")


def try_out(name: str, module: Any, inputs: Sequence[Array], outputs: tuple[int, ...]) -> None:
    """Raise ConfigError unless a module does what it has to for a batch, row by row."""
    called = " and ".join(str(one.shape) for one in inputs)
    try:
        found = module(*inputs)
        alone = module(*(one[:1] for one in inputs))
    except Exception as error:
        raise ConfigError(
            f"the {name} of networks.{name}, called with a batch {called}, raised {told(error)}"
        ) from error
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if (shape, dtype) != (outputs, jnp.float32):
        returned = type(found).__name__ if shape is None else f"{dtype}{list(shape)}"
        raise ConfigError(
            f"the {name} of networks.{name}, called with a batch {called}, returned {returned}, "
            f"and float32{list(outputs)} is wanted (modules of equinox.nn take single rows: "
            "jax.vmap makes them take batches)"
        )
    if not bool(jnp.isfinite(found).all()):
        raise ConfigError(f"the {name} of networks.{name} says numbers that are not finite")
    if not np.allclose(found[:1], alone, rtol=ALIKE, atol=ALIKE):
        raise ConfigError(
            f"the {name} of networks.{name} says something else of a row that is alone than of the "
            "same row in a batch: rows have to be independent"
        )
