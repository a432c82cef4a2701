"""Parts of a world's observations that are taken away, so that whoever acts has to remember."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from qmu.config.spelling import flag
from qmu.errors import ConfigError
from qmu.world.around import wrappers

POSITION, VELOCITY = "position", "velocity"
# Gymnasium's names of the same, in the `observation_structure` of MuJoCo's worlds (v5).
MUJOCO = {POSITION: "qpos", VELOCITY: "qvel"}
# Where they lie in the observations of worlds that do not say so, by id: of classic control, and of
# MuJoCo's that have no structure.
KNOWN: dict[str, dict[str, tuple[int, ...]]] = {
    "Pendulum-v1": {POSITION: (0, 1), VELOCITY: (2,)},
    "MountainCarContinuous-v0": {POSITION: (0,), VELOCITY: (1,)},
    "LunarLanderContinuous-v3": {POSITION: (0, 1, 4), VELOCITY: (2, 3, 5)},
    "Reacher-v5": {POSITION: (0, 1, 2, 3), VELOCITY: (6, 7)},
    "Pusher-v5": {POSITION: (0, 1, 2, 3, 4, 5, 6), VELOCITY: (7, 8, 9, 10, 11, 12, 13)},
    "InvertedDoublePendulum-v5": {POSITION: (0, 1, 2, 3, 4), VELOCITY: (5, 6, 7)},
}


class Hide(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Takes parts of the observations of a world away.

    Of a dictionary they are named, `inner.name` inside of another one. Of an array they are numbers
    by their places, or what its world says where it is: `position` and `velocity`, and all that a
    MuJoCo world (v5) names in its `observation_structure`.
    """

    def __init__(self, env: gym.Env[Any, Any], parts: str | int | Sequence[str | int]) -> None:
        """Go around a world.

        Args:
            env: its observations are a dictionary, or an array with one axis.
            parts: what is taken away: a name, a place, or several.

        Raises:
            ConfigError: there is no such part, or nothing would be left.
        """
        several = [parts] if isinstance(parts, str | int) else list(parts)
        # So that Gymnasium can make the world again, this wrapper included.
        gym.utils.RecordConstructorArgs.__init__(self, parts=several)
        super().__init__(env)
        self.parts = tuple(map(str, several))
        space = env.observation_space
        name = getattr(env.spec, "id", None) or type(env.unwrapped).__name__
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise ConfigError(
                f"{flag('env', 'hide')} {' '.join(self.parts)}: name what is to be hidden of "
                f"{name}, each once"
            )
        if isinstance(space, spaces.Dict):
            self.observation_space = without(space, self.parts, name)
        elif isinstance(space, spaces.Box) and len(space.shape) == 1:
            self.kept = left(self.parts, places_of(env, space.shape[0]), space.shape[0], name)
            self.observation_space = spaces.Box(
                space.low[self.kept], space.high[self.kept], dtype=space.dtype.type
            )
        else:
            raise ConfigError(
                f"{flag('env', 'hide')} takes parts of a dictionary, or numbers of an array with "
                f"one axis, away, and {name} observes {space}: leave it out, or wrap the "
                f"environment ({flag('env', 'wrappers')})"
            )

    def observation(self, observation: Any) -> Any:
        """Return what is left of an observation."""
        if isinstance(observation, Mapping):
            return chosen(self.observation_space, observation)
        return np.asarray(observation)[..., self.kept]


def hiding(environment: gym.Env[Any, Any], parts: Sequence[str]) -> gym.Env[Any, Any]:
    """Return an environment without some parts of its observations; itself, where none are named.

    Raises:
        ConfigError: as `Hide` does.
    """
    return Hide(environment, parts) if parts else environment


def hidden_in(environment: Any) -> list[str]:
    """Return what is hidden of an environment's observations by wrappers around it."""
    found = [one.parts for one in wrappers(environment) if isinstance(one, Hide)]
    return [part for parts in reversed(found) for part in parts]


def places_of(environment: gym.Env[Any, Any], size: int) -> dict[str, range | tuple[int, ...]]:
    """Return where what is known by name lies in a world's observations of so many numbers."""
    bare = environment.unwrapped
    structure = getattr(bare, "observation_structure", None)
    if isinstance(structure, Mapping):
        found: dict[str, range | tuple[int, ...]] = {}
        end = 0
        for name, count in structure.items():
            # Of these the observation lacks some at its beginning.
            if not str(name).startswith("skipped_") and count:
                found[str(name)] = range(end, end + int(count))
                end += int(count)
        alike = {own: found[theirs] for own, theirs in MUJOCO.items() if theirs in found}
        return found | alike if end == size else {}
    known = KNOWN.get(getattr(environment.spec, "id", None) or "", {})
    whole = bare.observation_space
    return dict(known) if isinstance(whole, spaces.Box) and whole.shape == (size,) else {}


def left(
    parts: Sequence[str], places: Mapping[str, range | tuple[int, ...]], size: int, name: str
) -> list[int]:
    """Return the places of the numbers that are left.

    Raises:
        ConfigError: there is no such part, or nothing is left.
    """
    gone: set[int] = set()
    for part in parts:
        if part in places:
            gone |= set(places[part])
        elif part.isdecimal() and int(part) < size:
            gone.add(int(part))
        else:
            named = f"{', '.join(places)}, or " if places else ""
            raise ConfigError(
                f"{flag('env', 'hide')} {part}: {name} has no such part: give {named}places of "
                f"numbers from 0 to {size - 1}"
            )
    if len(gone) == size:
        raise ConfigError(
            f"{flag('env', 'hide')} {' '.join(parts)}: nothing is left of what {name} observes: "
            "hide less"
        )
    return [place for place in range(size) if place not in gone]


def without(space: spaces.Dict, parts: Sequence[str], name: str) -> spaces.Dict:
    """Return a space of dictionaries without some of its parts.

    Raises:
        ConfigError: there is no such part, or nothing is left.
    """
    there = list(names_in(space))
    for part in parts:
        if part not in there:
            raise ConfigError(
                f"{flag('env', 'hide')} {part}: {name} has no such part: there "
                f"{'is' if len(there) == 1 else 'are'} {', '.join(there)}"
            )
    found = pruned(space, "", set(parts))
    if found is None:
        raise ConfigError(
            f"{flag('env', 'hide')} {' '.join(parts)}: nothing is left of what {name} observes: "
            "hide less"
        )
    return found


def names_in(space: spaces.Dict, before: str = "") -> Any:
    """Yield the names of all parts of a space of dictionaries, those of inner ones behind dots."""
    for key, inner in space.spaces.items():
        yield f"{before}{key}"
        if isinstance(inner, spaces.Dict):
            yield from names_in(inner, f"{before}{key}.")


def pruned(space: spaces.Dict, before: str, gone: set[str]) -> spaces.Dict | None:
    """Return a space of dictionaries without the parts of these names; None where none is left."""
    kept: list[tuple[str, gym.Space[Any]]] = []
    for key, inner in space.spaces.items():
        name = f"{before}{key}"
        if name in gone:
            continue
        rest = pruned(inner, f"{name}.", gone) if isinstance(inner, spaces.Dict) else inner
        if rest is not None:
            kept.append((key, rest))
    return spaces.Dict(kept) if kept else None


def chosen(space: gym.Space[Any], observation: Any) -> Any:
    """Return the parts of an observation that a space of dictionaries has."""
    if not isinstance(space, spaces.Dict):
        return observation
    return {key: chosen(inner, observation[key]) for key, inner in space.spaces.items()}
