"""What a configuration is held against: each option's own rule, and options together."""

import dataclasses
import math
from typing import Any

from qmu.config.env import check_cluster, check_pixels, check_single
from qmu.config.explore import check_noise
from qmu.config.heads import check_head
from qmu.config.lengths import check_lengths, total_steps
from qmu.config.memory import check_memory
from qmu.config.networks import check_critics, check_network
from qmu.config.replay import check_capacity, check_priorities
from qmu.config.spelling import flag
from qmu.config.target import check_smoothing
from qmu.config.train import check_seeds, check_videos
from qmu.config.whole import Config, options
from qmu.errors import ConfigError


def check(config: Config) -> None:
    """Raise ConfigError for a value out of its range or options that contradict each other."""
    check_each(config)
    check_together(config)


def check_each(config: Config) -> None:
    """Raise ConfigError for a value that breaks its option's own rule."""
    for group, option in options():
        check_value(group, option, getattr(getattr(config, group), option.name))


def check_value(group: str, option: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError for a value that breaks its option's own rule."""
    rule = option.metadata["rule"]
    if value is None or rule is None:
        return
    holds, sentence = rule
    if (isinstance(value, float) and not math.isfinite(value)) or not holds(value):
        raise ConfigError(f"{flag(group, option.name)} {sentence}, not {value}")


def check_together(config: Config) -> None:
    """Raise ConfigError where options contradict each other; each group knows its own cases."""
    actor, critic, train = config.actor, config.critic, config.train
    check_cluster(config.env)
    check_pixels(config.env)
    check_single(config.env, train.seeds, config.log.video_interval)
    check_videos(train, config.log.video_interval)
    check_capacity(config.replay, config.env.count)
    check_priorities(config.replay)
    replay = config.replay
    check_memory(
        config.memory,
        replay.capacity,
        total_steps(config),
        config.env.count,
        replay.n_step,
        critic.batches,
        train.chunk,
    )
    check_lengths(config)
    check_seeds(train)
    check_critics(critic, actor.climbs)
    check_head(config.env, critic)
    check_smoothing(config.target)
    check_network("actor", actor, config.replay.batch_size)
    check_network("critic", critic, config.replay.batch_size)
    check_noise(config.explore, actor, train.updates_per_step, config.env.count)
