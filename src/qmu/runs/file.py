"""One file that holds a model: its agent, optimizers, statistics, and what they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qmu import config as options
from qmu.config import Config, reading
from qmu.deploy.seal import SUM
from qmu.errors import ConfigError, warn
from qmu.learning.loop import Trainer
from qmu.places import absolute
from qmu.saving import arrays, storage
from qmu.world.centre import written_centre
from qmu.world.declared import declared

# Files of the first format have no sum.
UNSEALED, FORMAT = "qmu agent 1", "qmu agent 2"


class Saved(NamedTuple):
    """What a file holds: arrays by their names, their description, and what that says."""

    file: Path
    held: dict[str, Any]
    described: dict[str, Any]
    config: Config
    step: int
    updates: int
    episodes: int
    world_steps: int


def write(trainer: Trainer, path: str | Path, own: Mapping[str, Any]) -> None:
    """Write a trainer's agent into a file, with what its model says of itself.

    Raises:
        ConfigError: the file cannot be written.
    """
    described = {
        **own,
        **trainer.described(),
        "config": options.to_dict(trainer.config),
        "environment": trainer.maker.spaces.name,
        "spaces": declared(trainer.maker.spaces, trainer.maker.longest),
        **written_centre(trainer.maker.spaces),
        "step": trainer.step,
        "updates": trainer.learner.updates,
        "episodes": trainer.episodes.tolist(),
        "world_steps": trainer.world_steps.tolist(),
    }
    agents = arrays.stacked([members.agents for members in trainer.learner.members])
    header = {"format": FORMAT, "described": json.dumps(described)}
    file = with_suffix(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        learner = trainer.learner
        held = {"": agents, "statistics": learner.statistics, "returns": learner.returns}
        storage.replace_file(file, arrays.pack(held, header))
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from None


def read(path: str | Path) -> Saved:
    """Return what a file holds.

    Raises:
        ConfigError: there is none, it is damaged, or no model's.
    """
    file = with_suffix(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    try:
        held = arrays.unpack(data)
    except arrays.UnreadableError as error:
        raise ConfigError(f"{file} cannot be read as a safetensors file: {error}") from None
    described = description_in(file, data)
    try:
        config = reading.from_dict(described["config"])
        step, updates = int(described["step"]), int(described["updates"])
        (episodes,) = map(int, described["episodes"])
        # Older files have none: no action was repeated.
        (world_steps,) = map(int, described.get("world_steps", [0]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the description in {file} is damaged: {error!r}") from None
    return Saved(file, held, described, config, step, updates, episodes, world_steps)


def description_in(file: Path, data: bytes) -> dict[str, Any]:
    """Return the description in the header of a saved model.

    Raises:
        ConfigError: it is not that of one, or the file is not what was written.
    """
    try:
        header = arrays.header_of(data)
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: {error}") from None
    if header.get("format") not in (UNSEALED, FORMAT):
        raise ConfigError(f"{file} holds no agents saved by qmu")
    if header.get("format") == FORMAT and header.get(SUM) != arrays.sum_of_all(data):
        raise ConfigError(f"{file} is damaged: its SHA-256 sum is another one")
    if header.get("format") == UNSEALED:
        warn(
            f"{file} was written by an older qmu, whose models have no sum: that it is what was "
            "written cannot be told; save it again"
        )
    try:
        described = json.loads(header["described"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ConfigError(f"the description in {file} is damaged: {error}") from None
    if not isinstance(described, dict):
        raise ConfigError(f"the description in {file} is damaged: it is no object")
    return described


def with_suffix(path: str | Path) -> Path:
    """Return the path with the ending .safetensors.

    Raises:
        ConfigError: it is a folder's.
    """
    file = absolute(path)
    if Path(path).name in ("", ".."):
        raise ConfigError(
            f"{file} is a folder, and a model is one file: give its name, too, such as model"
        )
    return file if file.suffix == ".safetensors" else file.with_name(file.name + ".safetensors")
