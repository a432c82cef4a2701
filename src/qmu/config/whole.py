"""All options of a run in one record, and what can be asked of every option."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qmu.config.encoder import Encoder
from qmu.config.env import Env
from qmu.config.explore import Explore
from qmu.config.log import Log
from qmu.config.memory import Memory
from qmu.config.networks import Actor, Critic
from qmu.config.replay import Replay, usual_numbers
from qmu.config.spelling import NONE
from qmu.config.tables import Table
from qmu.config.target import Target
from qmu.config.train import Train
from qmu.config.workers import Workers


@dataclass(frozen=True)
class Config:
    """All options of a run, in the groups of the house."""

    env: Env = field(default_factory=Env)
    actor: Actor = field(default_factory=Actor)
    critic: Critic = field(default_factory=Critic)
    encoder: Encoder = field(default_factory=Encoder)
    memory: Memory = field(default_factory=Memory)
    target: Target = field(default_factory=Target)
    explore: Explore = field(default_factory=Explore)
    replay: Replay = field(default_factory=Replay)
    train: Train = field(default_factory=Train)
    log: Log = field(default_factory=Log)


GROUPS: dict[str, type] = {
    "env": Env,
    "actor": Actor,
    "critic": Critic,
    "encoder": Encoder,
    "memory": Memory,
    "target": Target,
    "explore": Explore,
    "replay": Replay,
    "train": Train,
    "log": Log,
}


def options() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield (group, field) of every option."""
    for group, record in GROUPS.items():
        for option in dataclasses.fields(record):
            yield group, option


def shapes(option: dataclasses.Field[Any]) -> bool:
    """Tell whether an option shapes the program: members of a run cannot differ in it."""
    return bool(option.metadata["kind"] == "structural")


def replace(config: Config, group: str, **changes: Any) -> Config:
    """Return the configuration with some options of a group changed."""
    return dataclasses.replace(
        config, **{group: dataclasses.replace(getattr(config, group), **changes)}
    )


def resolved(config: Config) -> Config:
    """Return the configuration with the numbers that the program takes, where none were given.

    Whether a number is a part of the program is told by these.
    """
    return dataclasses.replace(config, replay=usual_numbers(config.replay))


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Return the nested dictionary that `reading.from_dict` reads, as a TOML file can hold it.

    TOML knows no None: an option that is None is left out, or `none` where that is not its default.
    """
    return {
        group: {
            option.name: as_toml(value)
            for option in dataclasses.fields(record)
            for value in [getattr(getattr(config, group), option.name)]
            if value is not None or option.default is not None
        }
        for group, record in GROUPS.items()
    }


def as_toml(value: Any) -> Any:
    """Return an option's value as a TOML file holds it."""
    if value is None:
        return NONE
    if isinstance(value, Table):
        return value.values()
    if isinstance(value, Workers):
        return str(value) if value.on_ray else value.number
    return list(value) if isinstance(value, tuple) else value
