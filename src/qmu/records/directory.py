"""A run's directory: its name, the names of its files, and what is said about the run."""

import datetime
import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from qmu import config as options
from qmu.config import Config
from qmu.deploy.files import BEST as BEST
from qmu.errors import ConfigError
from qmu.places import absolute
from qmu.saving import storage

RUN_FILE = "run.json"
# Of what is said there; the first ones did not say it.
RUN_FORMAT = 1
# The status of a run that is trained, or was when its process died.
RUNNING = "running"
CONFIG_FILE = "config.toml"
METRICS = "metrics.jsonl"
MESSAGES = "messages.txt"
CHECKPOINTS = "checkpoints"
VIDEOS = "videos"


def runs_of(config: Config, home: str | None) -> Path:
    """Return the folder that holds the runs of somebody who is at `home`.

    Raises:
        ConfigError: `log.dir` names a home or a variable that there is not.
    """
    return absolute(config.log.dir, home)


def make_directory(
    config: Config, home: str | None, name: str, described: Mapping[str, Any]
) -> Path:
    """Make the run's directory, with its configuration, and a description with this in it.

    Its path is one without links: what a link of `log.dir` leads to may change, the run does not.
    `home` is the user's working folder, which worlds may have changed.

    Raises:
        ConfigError: it cannot be made, or takes no files. Nothing of it is left.
    """
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = runs_of(config, home) / folder_name(name)
    # Without vowels it makes no words, and without 0, 1 and l it is read aloud well.
    alphabet = "bcdfghjkmnpqrstvwxz23456789"
    suffix = "".join(secrets.choice(alphabet) for _ in range(4))
    directory = folder / f"{config.log.name}-{moment}-{suffix}"
    about = describe(name) | {"commit": git_commit(home)} | dict(described)
    try:
        with storage.folders_around(directory):
            directory.mkdir()
            try:
                write_config(directory, config)
                write_json(directory / RUN_FILE, about)
            except BaseException:
                storage.remove(directory)
                raise
    except OSError as error:
        raise ConfigError(
            f"cannot make the run's directory {directory}: {error.strerror or error}; make room, "
            "or choose another --log.dir"
        ) from None
    return directory.resolve()


def folder_name(world: str) -> str:
    """Return how the folder of a world's runs is called."""
    return world.replace("/", "_").replace(":", "_")


def describe(environment: str) -> dict[str, Any]:
    """Return where and with what a run was started."""
    packages = ("qmu", "jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium", "mujoco")
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "format": RUN_FORMAT,
        "environment": environment,
        "status": RUNNING,
        "process": os.getpid(),
        "host": platform.node(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
    }


def git_commit(home: str | None) -> str | None:
    """Return the commit of the folder that the user works in, if it is under git."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of the run holds; nothing if it is gone or damaged."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def write_config(directory: Path, config: Config) -> None:
    """Write a run's configuration, which is never half there."""
    text = tomli_w.dumps(options.to_dict(config))
    storage.replace_file(directory / CONFIG_FILE, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, which is never half there."""
    storage.replace_file(path, json.dumps(value, indent=2).encode() + b"\n")
