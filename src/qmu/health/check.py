"""What a world is, seen by stepping it with random actions."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from qmu.collecting.display import be_ready
from qmu.config import Env, reading, without_group
from qmu.errors import ConfigError, WorldError
from qmu.health.symptoms import ERROR, Evidence, Symptom, Walk, examine
from qmu.parts import Part, find
from qmu.places import WorkingFolder
from qmu.replay.stream import row_bytes
from qmu.wording import counted
from qmu.world import hearing
from qmu.world.hearing import stepping
from qmu.world.host import HostWorlds, changes_observations, final_in
from qmu.world.make import Maker, Source, maker_of
from qmu.world.parts import bounds_of
from qmu.world.spaces import Spaces, bounds, to_environment

# Steps of the walks that are compared, and of those that are taken in turn; seeds whose first
# observations are.
COMPARED, IN_TURN, SEEDS = 1_000, 500, 5
# More bounds than these are summed up.
MOST_BOUNDS = 6


@dataclass(frozen=True, repr=False)
class Checkup:
    """What a world is, and what is wrong with it, the most important first."""

    evidence: Evidence
    symptoms: tuple[Symptom, ...]

    @property
    def possible(self) -> bool:
        """Whether the world can be trained in: none of the symptoms makes it impossible."""
        return all(symptom.level != ERROR for symptom in self.symptoms)

    def __repr__(self) -> str:
        """Return all of it in words: what is printed, and what a notebook shows."""
        return "\n".join([*facts(self.evidence), "", *told(self.symptoms)])


@without_group(
    "env.kwargs",
    "env.wrappers",
    "env.episode_length",
    "env.single",
    "env.repeat",
    "env.hide",
    "env.images",
    "env.pixels",
    "env.camera",
    "env.shadows",
    "env.numbers",
)
def check_env(
    env: Source,
    *,
    steps: int = 2_000,
    seed: int = 0,
    kwargs: str | Mapping[str, Any] | None = None,
    wrappers: Sequence[str] = (),
    episode_length: int | None = None,
    single: bool = False,
    repeat: int = 1,
    hide: Sequence[str] = (),
    images: Sequence[str] = ("auto",),
    pixels: int | None = None,
    camera: str | None = None,
    shadows: bool = False,
    numbers: bool = False,
) -> Checkup:
    """Step a world with random actions; return what it is and what is wrong with it.

    Args:
        env: an environment id, a function that returns an environment, or an environment.
        steps: how many steps are taken; the comparisons take up to 3,500 more.
        seed: of its first episode, and of the actions.
        kwargs: keyword arguments of the environment, as with `env.kwargs`.
        wrappers: dotted names of wrappers, as with `env.wrappers`.
        episode_length: time limit of an episode, as with `env.episode_length`.
        single: make one world in all, as with `env.single`; what takes two is left out.
        repeat: steps of the world that an action is repeated for, as with `env.repeat`.
        hide: what is taken away of the observations, as with `env.hide`.
        images: which observations are images, as with `env.images`.
        pixels: size of pictures that are observed, as with `env.pixels`; also the next three.
        camera: which one draws them.
        shadows: whether they have shadows.
        numbers: whether the world's own numbers are observed beside them.

    Raises:
        ConfigError: it cannot be made here, or has spaces that qmu does not take.
    """
    if steps < 1:
        raise ConfigError(f"--steps must be 1 or more, not {steps}")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"--seed must lie in [0, 2^31), not {seed}")
    given = {
        "kwargs": kwargs,
        "wrappers": list(wrappers),
        "episode_length": episode_length,
        "single": single,
        "repeat": repeat,
        "hide": list(hide),
        "images": list(images),
        "pixels": pixels,
        "camera": camera,
        "shadows": shadows,
        "numbers": numbers,
    }
    settings: Env = reading.from_dict({"env": given}).env
    hearing.pass_on()
    be_ready(settings)
    with WorkingFolder(), contextlib.closing(maker_of(env, settings)) as maker:
        evidence = gather(maker, steps, seed)
    return Checkup(evidence, tuple(examine(evidence)))


class Witness(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what an environment returned last, as it was returned."""

    returned: tuple[Any, Any] = (None, {})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Start an episode."""
        result: Any = self.env.reset(seed=seed, options=options)
        if isinstance(result, tuple) and len(result) == 2:
            self.returned = result
        return result

    def step(self, action: Any) -> Any:
        """Execute an action."""
        result: Any = self.env.step(action)
        if isinstance(result, tuple) and len(result) == 5:
            self.returned = (result[0], result[4])
        return result


def gather(maker: Maker, steps: int, seed: int) -> Evidence:
    """Return what is seen of a world in `steps` steps, and in others that repeat them.

    The others are in a second world, too, unless it is the only one.
    """
    single = maker.only is not None
    count = 1 if single else 2
    worlds = [HostWorlds([Witness(maker.make_one(None))], maker.spaces) for _ in range(count)]
    try:
        first = walk(worlds[0], steps, seed)
        again = walk(worlds[0], min(steps, COMPARED), seed)
        walks = {"": first, "when it begins anew, ": again}
        elsewhere = in_turn = None
        if not single:
            walks["in a second world, "] = other = walk(worlds[1], min(steps, COMPARED), seed)
            elsewhere = first_difference(first, other)
        walks["when it is given another seed, "] = begun = starts(worlds[-1], seed)
        if not single:
            few, next_seed = min(steps, IN_TURN), (seed + 1) % 2**31
            alone = walk(worlds[1], few, next_seed)
            turns = walk_in_turn(worlds, few, (seed, next_seed))
            walks |= {
                "in an episode of another seed, ": alone,
                "when two of them are stepped in turn, ": turns[0],
                "when two of them are stepped in turn, in the second, ": turns[1],
            }
            in_turn = earliest(first_difference(again, turns[0]), first_difference(alone, turns[1]))
        space = worlds[0].environments[0].observation_space
        return Evidence(
            name=maker.name,
            spaces=maker.spaces,
            space=space,
            longest=maker.longest,
            walk=first,
            failure=first_failure(walks),
            differs_again=first_difference(first, again),
            differs_elsewhere=elsewhere,
            differs_in_turn=in_turn,
            single=single,
            starts=begun.obs,
            changed_obs=changes_observations(worlds[0].environments[0]),
            said=tuple(filter(hearing.matters, hearing.take())),
            normalizers=maker.normalizers,
            hidden=tuple(maker.made.get("hidden", ())),
        )
    finally:
        for world in worlds:
            world.close()


@stepping()
def walk(world: HostWorlds, steps: int, seed: int) -> Walk:
    """Return what is seen in `steps` random steps of a world, whose first episode has the seed."""
    seen = Walk()
    for _ in pace(world, steps, seed, seen):
        pass
    return seen


@stepping()
def walk_in_turn(worlds: Sequence[HostWorlds], steps: int, seeds: Sequence[int]) -> list[Walk]:
    """Return what is seen in each world when all take one step after the other, in turn."""
    walks = [Walk() for _ in worlds]
    paces = [pace(*one) for one in zip(worlds, [steps] * len(worlds), seeds, walks, strict=True)]
    for _ in itertools.zip_longest(*paces):
        pass
    return walks


def pace(world: HostWorlds, steps: int, seed: int, seen: Walk) -> Iterator[None]:
    """Take random steps, and note what is seen; stop before the first step, and after each.

    It ends where the world fails.
    """
    spaces, witness = world.spaces, world.environments[0]
    assert isinstance(witness, Witness)
    actions = np.random.default_rng(seed)
    try:
        obs = begin(world, seed, seen)
        yield
        for _ in range(steps):
            action = actions.uniform(-1, 1, spaces.action_size).astype(np.float32)
            before, _ = witness.returned
            started = time.perf_counter()
            result = world.execute(0, to_environment(action, spaces.low, spaces.high))
            seen.seconds.append(time.perf_counter() - started)
            seen.broken += [(len(seen.rewards) + 1, cause) for _, cause in world.broken]
            world.broken = []
            seen.obs.append(obs)
            seen.rewards.append(result.reward)
            seen.terminated.append(result.terminated)
            seen.truncated.append(result.truncated)
            note_types(world, "step", seen)
            after, _ = witness.returned
            seen.reused += isinstance(after, np.ndarray) and after is before
            obs = result.final
            if result.terminated or result.truncated:
                seen.self_resets += is_other(*witness.returned)
                seen.obs_at_ends.append(obs)
                obs = begin(world, None, seen)
            yield
    except WorldError as error:
        seen.failure = str(error)


def is_other(obs: Any, info: Any) -> bool:
    """Tell whether the last observation of an episode is another one in the info."""
    final = final_in(info, obs)
    try:
        return final is not obs and not np.array_equal(final, obs)
    except (TypeError, ValueError):
        return True


def begin(world: HostWorlds, seed: int | None, seen: Walk) -> NDArray[np.float32]:
    """Start an episode; return its first observation."""
    started = time.perf_counter()
    obs = world.start(0, seed)
    seen.resets += 1
    seen.reset_seconds += time.perf_counter() - started
    note_types(world, "reset", seen)
    return obs


def note_types(world: HostWorlds, method: str, seen: Walk) -> None:
    """Note of what type the observation and the info are that a method has just returned."""
    witness, parts = world.environments[0], world.spaces.parts
    assert isinstance(witness, Witness)
    obs, info = witness.returned
    for part in parts:
        value = find(parts, part, obs)
        seen.kinds.setdefault(part.name, set()).add(kind_of(value))
        seen.shapes.setdefault(part.name, set()).add(np.shape(value))
    seen.unknown |= set(unknown(obs, {part.path for part in parts}))
    if not parts:
        seen.kinds.setdefault("", set()).add(kind_of(obs))
    if not isinstance(info, dict):
        seen.other_infos.add(f"{method} returned {type(info).__name__}")


def unknown(
    held: Any, known: set[tuple[str | int, ...]], path: tuple[Any, ...] = ()
) -> Iterator[str]:
    """Yield the names of what dictionaries in an observation hold, and no part of it is."""
    if path in known or not isinstance(held, Mapping | tuple):
        return
    for key, value in held.items() if isinstance(held, Mapping) else enumerate(held):
        there = (*path, key)
        if any(own[: len(there)] == there for own in known):
            yield from unknown(value, known, there)
        else:
            yield ".".join(map(str, there))


def kind_of(obs: Any) -> str:
    """Return the type of an observation, with the dtype of an array."""
    return str(obs.dtype) if isinstance(obs, np.ndarray) else type(obs).__name__


def first_failure(walks: Mapping[str, Walk]) -> str | None:
    """Return how a world has failed first, in words; None if it has not.

    The walks are named by their circumstances.
    """
    for where, seen in walks.items():
        if seen.failure is not None:
            return f"{where}at step {len(seen.rewards) + 1}, {seen.failure}"
    return None


def first_difference(one: Walk, other: Walk) -> int | None:
    """Return the first step at which two walks differ; None if they do not, as far as they go."""
    pairs = zip(rows_of(one), rows_of(other), strict=False)
    for step, (row, another) in enumerate(pairs):
        if not (np.array_equal(row[0], another[0]) and row[1:] == another[1:]):
            return step
    return None


def earliest(*steps: int | None) -> int | None:
    """Return the first of these steps; None if there is none."""
    return min((step for step in steps if step is not None), default=None)


def rows_of(seen: Walk) -> Any:
    """Return the rows of a walk: observation, reward, terminated, truncated."""
    return zip(seen.obs, seen.rewards, seen.terminated, seen.truncated, strict=True)


@stepping()
def starts(world: HostWorlds, seed: int) -> Walk:
    """Return a walk without a step: the first observations of episodes with different seeds."""
    seen = Walk()
    try:
        for index in range(SEEDS):
            seen.obs.append(world.start(0, (seed + index) % 2**31))
    except WorldError as error:
        seen.failure = str(error)
    return seen


def facts(evidence: Evidence) -> list[str]:
    """Return what a world is, in words."""
    seen, spaces, steps = evidence.walk, evidence.spaces, len(evidence.walk.rewards)
    lines = {
        "observations": in_parts(spaces)
        if spaces.parts
        else numbers(spaces.obs_shape, *bounds_of(evidence.space)),
        **({"hidden": ", ".join(evidence.hidden)} if evidence.hidden else {}),
        "actions": numbers(spaces.action_shape, spaces.low, spaces.high),
        "time limit": "none" if evidence.longest is None else f"{evidence.longest:,} steps",
    }
    if steps:
        rewards = np.array(seen.rewards)
        lengths, returns = seen.episodes()
        ends = f"{sum(seen.terminated):,} terminated, {sum(seen.truncated):,} truncated"
        lines["rewards"] = (
            f"{rewards.min():z.4g} to {rewards.max():z.4g}, mean {rewards.mean():z.4g}, with "
            "random actions"
        )
        lines["episodes"] = f"{len(lengths):,} ended in {steps:,} steps"
        if lengths:
            lines["episodes"] += (
                f": {ends}; {min(lengths):,} to {max(lengths):,} steps; "
                f"returns {min(returns):z.4g} to {max(returns):z.4g}"
            )
        lines["speed"] = (
            f"{steps / sum(seen.seconds):,.0f} steps/s; a reset takes "
            f"{1000 * seen.reset_seconds / seen.resets:.3g} ms"
        )
        lines["determinism"] = determinism(evidence)
    if evidence.single:
        lines["left out"] = (
            "what takes a second world (--single): whether the same seed gives the same rows in a "
            "new one, and whether two of a process disturb each other"
        )
    size = row_bytes(spaces.layout, spaces.action_size)
    lines["memory"] = f"{size:,} bytes a row, {size / 1000:.3g} GB for a million"
    return [evidence.name, *(f"  {name:13} {text}" for name, text in lines.items())]


def in_parts(spaces: Spaces) -> str:
    """Return what observations consist of, in words: which parts are taken for images."""
    told = [
        f"{part.name} ({image_told(part) if part.image else part.size})" for part in spaces.parts
    ]
    if spaces.parts[0].path == ():
        return f"{image_told(spaces.parts[0])}; --env.images none takes it for numbers"
    whole = count(spaces.layout.numbers)
    if spaces.layout.images:
        whole += f" and {counted(len(spaces.layout.images), 'image')}"
    return f"{whole}, in this order: {', '.join(told)}"


def image_told(part: Part) -> str:
    """Return in words what an image is."""
    height, width, channels = part.pixels
    return f"an image of {height} x {width}, {counted(channels, 'channel')}, as {part.image}"


def determinism(evidence: Evidence) -> str:
    """Return whether a world can be repeated, in words."""
    if evidence.differs_again is not None or evidence.differs_elsewhere is not None:
        return "the same seed and actions give other rows"
    if evidence.differs_in_turn is not None:
        return "the same seed and actions give other rows where another world is stepped in turn"
    if evidence.failure is not None:
        return "until it failed, the same seed and actions gave no other rows"
    if evidence.single:
        return "the same seed and actions give the same rows, in this world again"
    return "the same seed and actions give the same rows, in this world again and in a new one"


def count(size: int) -> str:
    """Return how many numbers, in words."""
    return f"{size:,} number{'s' if size > 1 else ''}"


def numbers(shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]) -> str:
    """Return how many numbers there are, and between which bounds."""
    sides = f" ({' × '.join(map(str, shape))})" if len(shape) > 1 else ""
    words = bounds(low, high)
    if len(words) > MOST_BOUNDS:
        words = [f"bounds of their own, the widest [{low.min():zg}, {high.max():zg}]"]
    return f"{count(math.prod(shape))}{sides} in {', '.join(words)}"


def told(symptoms: Sequence[Symptom]) -> list[str]:
    """Return what is wrong, in words."""
    if not symptoms:
        return ["Nothing is wrong with it, as far as random actions show."]
    lines = []
    for one in symptoms:
        lines += [
            f"{one.level}: {one.name}",
            f"  seen   {one.seen}",
            f"  means  {one.meaning}",
            f"  try    {one.advice}",
        ]
    return lines
