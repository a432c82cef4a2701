"""What trained a policy, in words: the nearest preset, and the options that differ from it."""

from typing import NamedTuple

from qmu import config as options
from qmu import presets
from qmu.config import Config, reading


class Recipe(NamedTuple):
    """A preset, the command that prints it, and a line for each option that differs from it."""

    preset: str
    command: str
    changes: list[str]


def recipe_of(config: Config) -> Recipe:
    """Return a configuration as the preset that it differs from in the fewest options.

    Of equals it is the first. Options about logging are left out: they change nothing learned.
    """
    names = presets.names()
    if config.env.id in presets.environments():
        names.append(presets.AUTO)
    return min((compared(config, name) for name in names), key=lambda one: len(one.changes))


def compared(config: Config, preset: str) -> Recipe:
    """Return a configuration as this preset, and what differs from it."""
    base = reading.from_dict(presets.read_preset(preset, config.env.id))
    lines = reading.differences(config, options.replace(base, "log", **vars(config.log)))
    env = f" --env {config.env.id}" if preset == presets.AUTO else ""
    return Recipe(
        preset,
        f"qmu presets {preset}{env}",
        [line.replace("(default:", f"({preset}:") for line in lines],
    )
