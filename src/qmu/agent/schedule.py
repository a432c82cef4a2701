"""What changes in the course of a training."""

from jaxtyping import Array, Float

from qmu import config as options
from qmu.config import Config

Number = float | Float[Array, ""]


def scheduled(config: Config, share: Number) -> Config:
    """Return the configuration with its schedules where they are after a share of the training.

    Args:
        config: numeric options as numbers or arrays.
        share: the part of all planned updates that has been done, from 0 to 1.
    """
    actor, critic, replay, noise = config.actor, config.critic, config.replay, config.explore
    config = options.replace(config, "actor", lr=actor.lr * linear(1.0, actor.lr_end, share))
    config = options.replace(config, "critic", lr=critic.lr * linear(1.0, critic.lr_end, share))
    left = linear(1.0, noise.noise_end, share)
    config = options.replace(config, "explore", std=noise.std * left)
    if noise.parameter_distance is not None:
        config = options.replace(
            config, "explore", parameter_distance=noise.parameter_distance * left
        )
    return options.replace(config, "replay", beta=linear(replay.beta, replay.beta_end, share))


def linear(start: Number, end: Number, share: Number) -> Number:
    """Return the point that lies this share of the way from start to end."""
    return start + (end - start) * share
