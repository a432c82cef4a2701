"""Actors of the user's own, outside of the learner: they act, they are saved and read again.

A module may compute anything, so it acts in a compiled call, on a CPU device on which nobody
learns: a call on the learner's would wait for the chunk that is at work there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qmu.agent.custom import Networks, acting_names, check_kind, makers_of
from qmu.agent.encoder import feature_count
from qmu.agent.memory import RecurrentActor
from qmu.agent.normalize import init_normalizer
from qmu.agent.update import Acting, features, init_actor, normalized
from qmu.config import Config
from qmu.deploy.description import read_layout
from qmu.deploy.files import read_folder
from qmu.deploy.layers import Floats
from qmu.deploy.memory import remembers
from qmu.deploy.past import Past, State, recalled, stacked
from qmu.deploy.policy import Policy
from qmu.errors import ConfigError
from qmu.layout import Layout, seen
from qmu.learning.cells import to_cell
from qmu.learning.devices import in_single_precision
from qmu.learning.statistics import with_deviations
from qmu.saving import arrays
from qmu.saving.arrays import UnreadableError

# What only the built-in networks' layers are made by.
LAYERS = (
    "hidden_sizes",
    "activation",
    "norm",
    "body",
    "input_norm",
    "weight_norm",
    "weights_init",
    "bias_init",
    "final_range",
)
ONLY_BUILT_IN = {
    "actor": LAYERS,
    "critic": (*LAYERS, "action_layer", "joined"),
    "encoder": ("kind",),
}


class CustomNetwork:
    """One member's actor and encoder, of which one is the user's own, as something that acts."""

    def __init__(self, acting: Acting, layout: Layout, action_size: int) -> None:
        """Take the actor, and what stands before it, on the device where it is to act.

        `layout` is that of the observations that it acts on. A memory acts in NumPy.
        """
        self.acting, self.layout = acting, layout
        self.cell, self.past = None, Past(layout)
        if isinstance(acting.actor, RecurrentActor):
            self.cell = to_cell(jax.device_get(acting.actor.memory))
            own = remembers(self.cell.size, self.cell.fed, action_size)
            self.past = Past(layout, own)
        # Flat, because a call walks through the module in Python: 0.3 ms otherwise.
        self.leaves, structure = jax.tree.flatten(acting)
        self.seeing, self.doing = compiled_for(structure)

    def see(self, obs: Any, state: State) -> tuple[Floats, State]:
        """Return what is seen of observations [batch, size], and the state after them."""
        frames, state = stacked(self.past, obs, state)
        found = seen(self.layout, frames)
        if self.layout.images or self.cell is not None:
            found = self.run(self.seeing, found)
        if self.cell is None:
            return found, state
        return recalled(self.cell, self.past, found, state)

    def remember(self, obs: Any, state: State) -> State:
        """Return the state after observations on which nobody acts."""
        return stacked(self.past, obs, state)[1] if self.cell is None else self.see(obs, state)[1]

    def __call__(self, obs: Floats) -> Floats:
        """Return actions [..., action] in [-1, 1] for what is seen [..., obs]."""
        actions = self.run(self.doing, obs.reshape(-1, obs.shape[-1]))
        return actions.reshape(*obs.shape[:-1], -1)

    @in_single_precision
    def run(self, program: Callable[..., Any], batch: Any) -> Floats:
        """Return what a program says of a batch, rows of one array or of several."""
        rows = len(jax.tree.leaves(batch)[0])
        # So that evaluations, in which ever fewer worlds are left, are compiled a few times only.
        more = (1 << (rows - 1).bit_length()) - rows
        padded = jax.tree.map(
            lambda own: np.concatenate([own, np.zeros((more, *own.shape[1:]), own.dtype)]), batch
        )
        return np.asarray(program(self.leaves, padded))[:rows]

    def finite(self) -> bool:
        """Tell whether all its weights are finite numbers."""
        return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(self.acting))

    def arrays(self) -> dict[str, Floats]:
        """Return its numbers, by the names that they have in a file."""
        return {
            jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(self.acting)[0]
        }

    def description(self) -> dict[str, Any]:
        """Return what else a file has to say of it."""
        return {"custom": True, "normalized": self.acting.normalizer is not None}


# All actors of a run have one structure.
@lru_cache(maxsize=8)
def compiled_for(structure: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return two programs of actors of a structure: features of images, and actions of a batch."""

    def seeing(leaves: list[Any], found: Any) -> Any:
        acting = jax.tree.unflatten(structure, leaves)
        return features(acting.encoder, normalized(acting.normalizer, found))

    def doing(leaves: list[Any], obs: Any) -> Any:
        acting = jax.tree.unflatten(structure, leaves)
        if isinstance(acting.actor, RecurrentActor):
            return acting.actor.head(obs)
        if acting.encoder is None:
            obs = normalized(acting.normalizer, obs)
        return acting.actor(obs)

    return jax.jit(seeing), jax.jit(doing)


def acting_device(learning: Sequence[Any]) -> Any:
    """Return a CPU device on which nobody learns; if there is none, one on which somebody does."""
    try:
        there = jax.devices("cpu")
    except RuntimeError:
        return learning[-1]
    free = [device for device in there if device not in learning]
    return free[-1] if free else learning[-1]


def waiting_note(device: Any, learning: Sequence[Any]) -> str | None:
    """Return what to tell the user if acting has to wait for the learner."""
    if device not in learning:
        return None
    return (
        "JAX was started before this run, with a CPU device per core or fewer, so the custom actor "
        "acts where the learner works and waits for it: import and use qmu before other JAX code, "
        "or train fewer seeds"
    )


def load_custom(folder: Path, networks: Networks, config: Config) -> Policy:
    """Return the policy in a folder, whose actor the user's own function makes.

    Raises:
        ConfigError: there is no such policy, or its numbers are not those of such an actor.
    """
    return read_folder(folder, partial(read_custom, networks=networks, config=config))


def read_custom(
    folder: Path,
    description: Mapping[str, Any],
    held: Mapping[str, Floats],
    networks: Networks,
    config: Config,
) -> CustomNetwork:
    """Return the network in a policy's files, as the functions make it."""
    layout, action_size = read_layout(description), int(np.prod(description["action_shape"]))
    makers, images = makers_of(networks, layout, action_size, config), layout.seen_images
    obs_size = feature_count(layout.seen_numbers, len(images), config.encoder)
    key = jax.random.key(0)
    like = Acting(
        init_actor(key, obs_size, action_size, config, makers),
        init_normalizer(layout.seen_numbers, config),
        makers.encoder(key, images, config.encoder) if images else None,
    )
    held = with_deviations(held)
    try:
        leaves = [
            arrays.named(held, jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
            for path, leaf in jax.tree_util.tree_flatten_with_path(like)[0]
        ]
    except UnreadableError as error:
        raise ConfigError(
            f"the policy in {folder} was not made by this "
            f"{' and '.join(f'networks.{name}' for name in acting_names(networks))}: {error}"
        ) from None
    device = acting_device(jax.devices()[:1])
    acting: Acting = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return CustomNetwork(jax.device_put(acting, device), layout, action_size)


def misfit(place: object, networks: Networks | None, error: Exception) -> str:
    """Return why the numbers in a file or folder do not fit the networks made for them."""
    if networks is None:
        return f"{place} does not fit its own configuration: {error}"
    return (
        f"{place} was not made by this {' and this '.join(networks.names)} of networks ({error}): "
        "give those that it was trained with"
    )


def check_options(networks: Networks, groups: Any, config: Config) -> None:
    """Raise ConfigError for options that networks of the user's own cannot follow.

    Args:
        networks: the user's functions.
        groups: what the user has set, group -> option -> value. A recipe's sizes and layers are
            those of the built-in networks, and are not looked at.
        config: all options.
    """
    check_kind(networks)
    base = Config()
    for network in networks.names:
        given = groups.get(network, {})
        for option in ONLY_BUILT_IN[network]:
            own = getattr(getattr(config, network), option)
            if option in given and own != getattr(getattr(base, network), option):
                raise ConfigError(
                    f"{network}.{option} is about the layers of the built-in {network}, and "
                    f"networks.{network} makes one of its own: leave one of them out"
                )
    if networks.encoder is not None and config.explore.parameter_distance is not None:
        raise ConfigError(
            "explore.parameter_distance acts with many copies of an actor, and behind a "
            "networks.encoder it acts as one program: leave one of them out"
        )
    if networks.actor is None:
        return
    for name, set_, what in (
        ("target.smoothing", config.target.smoothing == "weights", "weights"),
        ("explore.parameter_distance", config.explore.parameter_distance is not None, "weights"),
    ):
        if set_:
            raise ConfigError(
                f"{name} puts noise on an actor's {what} and spares its normalizations, and which "
                "is which of networks.actor is not known: leave one of them out"
            )


def check_networks(
    owner: object, before: Sequence[str], networks: Networks | None, way_out: str
) -> None:
    """Raise ConfigError if a run or a model had other networks of the user's own than these."""
    if networks is not None:
        check_kind(networks)
    now = [] if networks is None else networks.names
    if list(before) != now:
        if not before:
            raise ConfigError(f"{owner} has the built-in networks: leave out networks=")
        raise ConfigError(
            f"{owner} has networks of its own ({' and '.join(before)}), and a function cannot be "
            f"saved: give the same again, {way_out}"
        )
