"""Families of environment ids: which module registers them, which extra installs it.

The table is part of the program, so a file may name these ids: no file says what is imported.
"""

import importlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple

import gymnasium as gym

from qmu.errors import FAILURES, ConfigError, told
from qmu.world.graphics import no_graphics


class Family(NamedTuple):
    """Environments that come together.

    `ids` matches their ids, `home` is where their classes live. The other fields are about families
    that are not part of qmu's own installation: the `module` that registers the ids, the modules
    that it `needs`, the `extra` and the `packages` that bring them; `mujoco_below` is the first
    version of mujoco that they cannot work with. `images` matches ids whose observations are
    images; without a display some of them end the process.
    """

    name: str
    ids: str
    home: str
    extra: str | None = None
    module: str | None = None
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    mujoco_below: str | None = None
    images: str = "(?!)"

    @property
    def install(self) -> str:
        """The command that installs the family."""
        return f'pip install "qmu[{self.extra}]"'


FAMILIES = (
    Family("classic control", "(?!)", "gymnasium.envs.classic_control"),
    Family("mujoco", "(?!)", "gymnasium.envs.mujoco"),
    Family(
        "box2d",
        r"(LunarLander(Continuous)?|BipedalWalker(Hardcore)?|CarRacing)-v\d+",
        "gymnasium.envs.box2d",
        extra="box2d",
        needs=("Box2D",),
        packages=("box2d", "box2d-py"),
    ),
    Family(
        "pybullet",
        r"\w+BulletEnv-v\d+",
        "pybullet_envs_gymnasium",
        extra="pybullet",
        module="pybullet_envs_gymnasium",
        needs=("pybullet_envs_gymnasium", "pybullet"),
        packages=("pybullet_envs_gymnasium", "pybullet"),
    ),
    Family(
        "dm_control",
        r"dm_control/.+-v\d+",
        "shimmy.dm_control",
        extra="dm-control",
        module="shimmy",
        needs=("shimmy", "dm_control"),
        packages=("shimmy", "dm-control", "mujoco"),
        mujoco_below="4",
        images=r"dm_control/((Cmu|Rodent).*|.*_vision-.*)",
    ),
    Family(
        "robotics",
        r"(Fetch(Reach|Push|Slide|PickAndPlace)|Hand(Reach|Manipulate)|Adroit|FrankaKitchen"
        r"|(Point|Ant)Maze)\w*-v\d+",
        "gymnasium_robotics",
        extra="robotics",
        module="gymnasium_robotics",
        needs=("gymnasium_robotics",),
        packages=("gymnasium-robotics", "mujoco"),
        mujoco_below="3.12",
    ),
)

# Adapters of the old Gym, which imports the module of what their keyword argument `env_id` names.
ADAPTERS = ("GymV21Environment-v0", "GymV26Environment-v0")


def family_of(spec: Any) -> Family | None:
    """Return the family that a registered environment belongs to, if it is one of the table's."""
    entry = spec.entry_point if isinstance(spec.entry_point, str) else ""
    for family in FAMILIES:
        if entry.startswith(family.home) or re.fullmatch(family.ids, spec.id):
            return family
    return None


def group_of(spec: Any) -> str | None:
    """Return what an environment is listed under; None for functional duplicates and adapters."""
    family = family_of(spec)
    if family is not None:
        return family.name
    if spec.namespace in ("phys2d", "tabular") or spec.id in ADAPTERS:
        return None
    return spec.namespace or "other"


def family_named(name: str) -> Family | None:
    """Return the family that an id looks like one of."""
    return next((family for family in FAMILIES if re.fullmatch(family.ids, name)), None)


def register(name: str) -> None:
    """Have the family of an id register it, unless somebody has.

    Raises:
        ConfigError: the family is not installed, or cannot be imported, or the id is one of images.
    """
    family = family_named(name)
    if family is None:
        return
    if re.fullmatch(family.images, name):
        raise ConfigError(
            f"{name} observes images, and qmu takes numbers: choose another from `qmu envs`"
        )
    if name not in gym.registry or family.module is None:
        load(family, name)


def load(family: Family, wanted: str) -> None:
    """Import what registers a family's ids.

    Raises:
        ConfigError: it is not installed, or cannot be imported; `wanted` is what needs it.
    """
    if not is_installed(family):
        raise ConfigError(
            f"{wanted} belongs to the family {family.name}, which is not installed here: "
            f"{family.install}"
        )
    if family.module is None:
        return
    try:
        with warnings.catch_warnings():
            # They complain about displays and old versions before anybody has asked for one.
            warnings.simplefilter("ignore")
            importlib.import_module(family.module)
    except FAILURES as error:
        said = no_graphics(wanted, error) or cannot(family, wanted, error)
        raise ConfigError(said) from error


def is_installed(family: Family) -> bool:
    """Tell whether the modules that a family needs are there."""
    return all(importlib.util.find_spec(module) is not None for module in family.needs)


def absent(wanted: str | None = None) -> Iterator[str]:
    """Yield which families cannot be used here, or not all of them, why, and what installs them.

    Of all families, or of one.
    """
    for family in FAMILIES:
        if wanted not in (None, family.name):
            continue
        if not is_installed(family):
            yield f"{family.name}: not installed here: {family.install}"
        elif clash := clash_of(family, versions(family)):
            yield f"{family.name}: some may be missing, {clash}: {family.install}"


def cannot(family: Family, wanted: str, error: BaseException) -> str:
    """Return why an environment of an optional family cannot be made, and what to install."""
    there = versions(family)
    found = [f"{package} {version}" for package, version in there.items()]
    *others, last = found or [f"the {' and '.join(family.needs)} of this installation"]
    known = f"{', '.join(others)} and {last}" if others else last
    clash = clash_of(family, there)
    why = f": {clash}" if clash else ", which may not fit"
    said = told(error).replace("\n", " ")
    return (
        f"{wanted} cannot be made with {known}{why} ({said}); {family.install} installs versions "
        "that do, in a virtual environment of its own if something else here needs these"
    )


def versions(family: Family) -> dict[str, str]:
    """Return the version of each package of a family that is installed."""
    found = {}
    for package in family.packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def clash_of(family: Family, there: dict[str, str]) -> str | None:
    """Return which installed versions are known not to go together, in words."""
    mujoco = there.get("mujoco")
    if mujoco is None:
        return None
    if family.mujoco_below is not None and numbers(mujoco) >= numbers(family.mujoco_below):
        return f"mujoco must be below {family.mujoco_below}"
    for package in there:
        for asked in metadata.requires(package) or ():
            least = re.match(r"mujoco\b[^;]*>=\s*([\d.]+)", asked)
            if least and numbers(mujoco) < numbers(least[1]):
                return f"{package} {there[package]} asks for mujoco {least[1]} or newer"
    return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
