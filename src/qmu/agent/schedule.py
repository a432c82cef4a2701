"""What changes in the course of a training."""

from collections.abc import Set
from typing import Any

from jaxtyping import Array, Float

from qmu import config as options
from qmu.config import Config

Number = float | Float[Array, ""]


def scheduled(config: Config, share: Number, given: Set[str] = frozenset()) -> Config:
    """Return the configuration with its schedules where they are after a share of the training.

    Args:
        config: numeric options as numbers or arrays.
        share: the part of all planned updates that has been done, from 0 to 1.
        given: names (group.name) of options that follow a function of the user's own: they are
            what it says, and nothing changes them here.
    """
    actor, critic, replay, noise = config.actor, config.critic, config.replay, config.explore
    moved: dict[str, Any] = {
        "actor.lr": actor.lr * linear(1.0, actor.lr_end, share),
        "critic.lr": critic.lr * linear(1.0, critic.lr_end, share),
    }
    left = linear(1.0, noise.noise_end, share)
    moved["explore.std"] = noise.std * left
    if noise.std_last is not None:
        moved["explore.std_last"] = noise.std_last * left
    if noise.parameter_distance is not None:
        moved["explore.parameter_distance"] = noise.parameter_distance * left
    if replay.beta is not None and replay.beta_end is not None:
        moved["replay.beta"] = linear(replay.beta, replay.beta_end, share)
    for path, value in moved.items():
        if path not in given:
            group, _, name = path.partition(".")
            config = options.replace(config, group, **{name: value})
    return config


def linear(start: Number, end: Number, share: Number) -> Number:
    """Return the point that lies this share of the way from start to end."""
    return start + (end - start) * share
