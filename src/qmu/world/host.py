"""Steps Gymnasium worlds, in this process.

One vector step is one executed action of every world. Worlds that end are reset at once. What an
environment returns is checked here, and nowhere else.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from qmu.errors import FAILURES, WorldError, told
from qmu.layout import numbers_of
from qmu.parts import NUMBERS, Part, is_several, join
from qmu.signals import listen_again
from qmu.world import causes
from qmu.world.around import wrappers
from qmu.world.breakdowns import Watch, watch_of
from qmu.world.repeat import repeat_in
from qmu.world.scalars import one_number
from qmu.world.spaces import Spaces

Floats = NDArray[np.float32]
Guard = contextlib.AbstractContextManager[None]
# New worlds that may fail before one of them has taken a step.
MOST_FAILURES = 5
# Where a world that resets itself inside of its step puts the last observation of an episode.
FINAL = ("final_obs", "final_observation")


class Result(NamedTuple):
    """What an action led to."""

    final: Floats  # [obs]
    reward: float
    terminated: bool
    truncated: bool


class Outcome(NamedTuple):
    """What an action led to, and where the next one starts."""

    final: Floats  # [obs]
    reward: float
    terminated: bool
    truncated: bool
    current: Floats  # [obs]: `final`, unless the world was reset


class Restarted(NamedTuple):
    """A world that failed has been replaced; its episode ended before the action."""

    current: Floats  # [obs]: where the new world starts


class Worlds(Protocol):
    """Some worlds that are stepped together."""

    spaces: Spaces
    count: int
    replaced: list[str]  # why worlds have been replaced, since somebody has asked last
    broken: list[tuple[int, str]]  # which worlds' simulations began anew by themselves, and why
    at_rest: bool  # whether an episode has ended and no other begun: there is nothing to step

    def reset(self, seeds: Sequence[int] | None) -> list[Floats]:
        """Start an episode in every world; with seeds, one for each."""

    def step(self, actions: Floats) -> Sequence[Outcome | Restarted]:
        """Execute one action of every world [worlds, action], in the environment's units."""

    def world_steps(self) -> int:
        """Return how many steps of the worlds themselves repeated actions were so far."""

    def close(self) -> None:
        """Give back what the worlds hold."""


class HostWorlds:
    """Gymnasium environments, one after another in this process."""

    at_rest = False

    def __init__(
        self,
        environments: Sequence[gym.Env[Any, Any]],
        spaces: Spaces,
        guard: Guard | None = None,
        make: Callable[[], gym.Env[Any, Any]] | None = None,
        longest: int | None = None,
    ) -> None:
        """Take the environments, all of these spaces.

        Args:
            environments: the worlds.
            spaces: what all of them observe and take.
            guard: entered while an environment runs.
            make: makes an environment in place of one that failed; without it, failures are raised.
            longest: steps of an episode at most, if that is known.
        """
        self.environments = list(environments)
        self.spaces = spaces
        self.count = len(self.environments)
        self.guard = guard or contextlib.nullcontext()
        self.make = make
        self.longest = longest
        self.declared = [declared(environment) for environment in self.environments]
        self.replaced: list[str] = []
        self.broken: list[tuple[int, str]] = []
        self.watches: list[Watch | None] = [None] * self.count
        # Steps of worlds that have been replaced.
        self.gone = 0
        self.repeats = [repeat_in(environment) for environment in self.environments]
        self.seeds = [0] * self.count
        self.failures = [0] * self.count

    def reset(self, seeds: Sequence[int] | None) -> list[Floats]:
        """Start an episode in every world; with seeds, one for each."""
        given = [None] * self.count if seeds is None else list(seeds)
        return [self.start_surely(index, seed) for index, seed in enumerate(given)]

    def start_surely(self, index: int, seed: int | None) -> Floats:
        """Start an episode in one world, or in the one that replaces it."""
        try:
            return self.start(index, seed)
        except WorldError as error:
            return self.replace(index, error).current

    def start(self, index: int, seed: int | None) -> Floats:
        """Start an episode in one world."""
        environment = self.environments[index]
        if seed is not None:
            self.seeds[index] = seed
        name = self.spaces.name
        try:
            with self.guard:
                returned = environment.reset(seed=seed)
        except FAILURES as error:
            with self.guard:
                cause = causes.of_reset(environment, error, seed)
            raise WorldError(f"{name} raised in reset: {told(error)}{cause}") from error
        listen_again()
        if not causes.is_pair(returned):
            raise WorldError(f"{name}: {causes.alone(returned)}")
        self.watches[index] = watch_of(environment, self.watches[index])
        now, before = declared(environment), self.declared[index]
        if any(one is not other and one != other for one, other in zip(now, before, strict=True)):
            raise WorldError(
                f"{name} changed its spaces in reset: they were {before}, they are "
                f"{now}, and the networks were made for the former"
            )
        try:
            return read_obs(self.spaces, returned[0])
        except WorldError as error:
            with self.guard:
                cause = causes.of_reading(environment, returned, seed)
            raise WorldError(f"{error}{cause}") from error

    def step(self, actions: Floats) -> list[Outcome | Restarted]:
        """Execute one action of every world [worlds, action], in the environment's units."""
        outcomes: list[Outcome | Restarted] = []
        for index in range(self.count):
            try:
                result = self.execute(index, actions[index])
            except WorldError as error:
                outcomes.append(self.replace(index, error))
                continue
            self.failures[index] = 0
            ended = result.terminated or result.truncated
            current = self.begin_next(index, result.final) if ended else result.final
            outcomes.append(Outcome(*result, current))
        return outcomes

    def begin_next(self, index: int, final: Floats) -> Floats:
        """Start the episode after one that has ended with an observation."""
        del final
        return self.start_surely(index, None)

    def replace(self, index: int, error: WorldError) -> Restarted:
        """Put a new environment in the place of one that failed, and start an episode in it.

        Raises:
            WorldError: as `make_anew` does.
        """
        self.make_anew(index, error)
        seed = (self.seeds[index] + 1) % 2**31
        return Restarted(self.start_surely(index, seed))

    def make_anew(self, index: int, error: WorldError) -> None:
        """Put a new environment in the place of one that failed.

        Raises:
            WorldError: the failure itself, if nothing makes a new one, or if it is the last of too
                many in a row.
        """
        # A handler of the program that qmu is a part of may want to end it by this.
        exits = isinstance(error.__cause__, SystemExit)
        if self.make is None or exits:
            raise error
        self.failures[index] += 1
        if self.failures[index] > MOST_FAILURES:
            raise WorldError(f"{error} ({MOST_FAILURES} new worlds in a row failed, too)")
        self.replaced.append(str(error))
        close_quietly(self.environments[index], self.guard)
        try:
            with self.guard:
                self.environments[index] = self.make()
        except FAILURES as second:
            raise WorldError(f"{error} (no other could be made: {told(second)})") from second
        self.declared[index] = declared(self.environments[index])
        repeat = self.repeats[index]
        self.gone += 0 if repeat is None else repeat.steps
        self.repeats[index] = repeat_in(self.environments[index])

    def world_steps(self) -> int:
        """Return how many steps of the worlds themselves repeated actions were so far."""
        return self.gone + sum(repeat.steps for repeat in self.repeats if repeat is not None)

    def execute(self, index: int, action: Floats) -> Result:
        """Execute one action [action] of one world, without a reset at the episode's end."""
        spaces = self.spaces
        shaped = action.reshape(spaces.action_shape).astype(spaces.action_dtype)
        try:
            with self.guard:
                obs, reward, terminated, truncated, info = self.environments[index].step(shaped)
        except FAILURES as error:
            raise WorldError(
                f"{spaces.name} raised in step with action {shaped}: {told(error)}"
            ) from error
        watch = self.watches[index]
        if watch is not None and (cause := watch.look()) is not None:
            self.broken.append((index, cause))
        is_terminated = read_flag(spaces, "terminated", terminated)
        is_truncated = read_flag(spaces, "truncated", truncated)
        ended = is_terminated or is_truncated
        final = obs
        if ended and not changes_observations(self.environments[index]):
            final = final_in(info, obs)
        read = read_obs(spaces, obs) if final is obs else read_final(spaces, final)
        return Result(read, read_reward(spaces, reward), is_terminated, is_truncated)

    def close(self) -> None:
        """Close all environments."""
        for environment in self.environments:
            close_quietly(environment, self.guard)


class VectorWorlds:
    """A ready-made vector environment that resets finished worlds in the same step."""

    at_rest = False

    def __init__(
        self,
        environment: gym.vector.VectorEnv[Any, Any, Any],
        spaces: Spaces,
        guard: Guard | None = None,
    ) -> None:
        """Take the environment, which must be in same-step autoreset mode, and runs in `guard`."""
        self.environment = environment
        self.failed = False
        self.guard = guard or contextlib.nullcontext()
        self.spaces = spaces
        self.count = environment.num_envs
        self.replaced: list[str] = []
        self.broken: list[tuple[int, str]] = []
        # Those of worlds in processes of their own are not seen.
        self.environments = list(getattr(environment, "envs", []))
        self.watches: list[Watch | None] = [None] * len(self.environments)

    def reset(self, seeds: Sequence[int] | None) -> list[Floats]:
        """Start an episode in every world; with seeds, one for each."""
        # One seed per world is allowed; the annotation of the base class knows only one for all.
        given: Any = None if seeds is None else list(seeds)
        try:
            with self.guard:
                obs, _ = self.environment.reset(seed=given)
        except FAILURES as error:
            self.failed = True
            raise WorldError(f"{self.spaces.name} raised in reset: {told(error)}") from error
        self.watches = [watch_of(one) for one in self.environments]
        return [read_obs(self.spaces, one) for one in self.each("observations", obs)]

    def step(self, actions: Floats) -> list[Outcome]:
        """Execute one action of every world [worlds, action], in the environment's units."""
        spaces = self.spaces
        shaped = actions.reshape(self.count, *spaces.action_shape).astype(spaces.action_dtype)
        try:
            with self.guard:
                obs, rewards, terminated, truncated, info = self.environment.step(shaped)
        except FAILURES as error:
            self.failed = True
            raise WorldError(f"{spaces.name} raised in step: {told(error)}") from error
        obs, rewards = self.each("observations", obs), self.each("rewards", rewards)
        terminated = self.each("values of terminated", terminated)
        truncated = self.each("values of truncated", truncated)
        outcomes = []
        for index in range(self.count):
            current = read_obs(spaces, obs[index])
            is_terminated = read_flag(spaces, "terminated", terminated[index])
            is_truncated = read_flag(spaces, "truncated", truncated[index])
            ended = is_terminated or is_truncated
            final = read_obs(spaces, self.finals(info)[index]) if ended else current
            reward = read_reward(spaces, rewards[index])
            outcomes.append(Outcome(final, reward, is_terminated, is_truncated, current))
            if index < len(self.watches):
                self.look(index, ended)
        return outcomes

    def look(self, index: int, ended: bool) -> None:
        """Look whether the simulation of one world has begun anew by itself."""
        watch = self.watches[index]
        if ended:
            self.watches[index] = watch_of(self.environments[index], watch)
        elif watch is not None and (cause := watch.look()) is not None:
            self.broken.append((index, cause))

    def each(self, what: str, values: Any) -> Any:
        """Return what a vector environment has returned, if it is one value for each world.

        Raises:
            WorldError: it is not.
        """
        try:
            count = len(values)
        except TypeError:
            count = -1
        if count != self.count:
            raise WorldError(
                f"{self.spaces.name} returned {values!r:.200}, which are not {what} of its "
                f"{self.count} worlds"
            )
        return values

    def finals(self, info: Any) -> Any:
        """Return the final observations of the worlds whose episode has ended.

        Raises:
            WorldError: there are none.
        """
        if not isinstance(info, dict) or "final_obs" not in info:
            raise WorldError(
                f"{self.spaces.name} ended an episode and returned no final_obs: is it in "
                "same-step autoreset mode?"
            )
        return self.each("final observations", info["final_obs"])

    def world_steps(self) -> int:
        """Return zero: nothing repeats actions in them."""
        return 0

    def close(self) -> None:
        """Close the vector environment."""
        if self.failed:
            end_workers(self.environment)
        else:
            close_quietly(self.environment, self.guard)


def final_in(info: Any, obs: Any) -> Any:
    """Return the last observation of an episode that has ended.

    A world that resets itself inside of its step returns the first one of the next episode, and
    the last one in its info.
    """
    if isinstance(info, dict):
        for name in FINAL:
            if info.get(name) is not None:
                return info[name]
    return obs


def read_final(spaces: Spaces, final: Any) -> Floats:
    """Return the last observation of an episode that is in a world's info.

    Raises:
        WorldError: it is no observation.
    """
    try:
        return read_obs(spaces, final)
    except WorldError as error:
        raise WorldError(
            f"{error}: so is the last observation that it put into its info, under "
            f"{' or '.join(FINAL)}"
        ) from error


def changes_observations(environment: Any) -> bool:
    """Tell whether wrappers change an environment's observations; they leave those in its info."""
    return any(isinstance(one, gym.ObservationWrapper) for one in wrappers(environment))


def declared(environment: gym.Env[Any, Any]) -> tuple[Any, Any]:
    """Return an environment's spaces, as it says."""
    return environment.observation_space, environment.action_space


def close_quietly(environment: Any, guard: Guard | None = None) -> None:
    """Close an environment; one that has failed may fail in this, too, and complain or hang."""
    with contextlib.suppress(*FAILURES), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with guard or contextlib.nullcontext():
            environment.close()


def end_workers(environment: Any) -> None:
    """End the processes of a vector environment, one of which may hang or be gone."""
    for process in getattr(environment, "processes", []):
        process.kill()
        process.join()
    environment.closed = True


def read_obs(spaces: Spaces, obs: Any) -> Floats:
    """Return an observation as a new row, after checking it: numbers, or bytes with images.

    Raises:
        WorldError: a wrong shape, a dtype that is no number, NaN or infinity.
    """
    if spaces.parts:
        several = read_several(spaces, obs)
        if spaces.layout.images:
            numbers = numbers_of(spaces.layout, several)
            checked(spaces, numbers, numbers)
            return several
        return checked(spaces, rounded(spaces, several), several)
    if isinstance(obs, Mapping):
        raise WorldError(
            f"{spaces.name} returned a dictionary as an observation, of "
            f"{', '.join(map(str, obs))}; its space is one array of shape {spaces.obs_shape}"
        )
    try:
        array = np.asarray(obs)
    except Exception as error:
        detach = ": return obs.detach().cpu().numpy()" if hasattr(obs, "detach") else ""
        raise WorldError(
            f"{spaces.name} returned an observation that is no array: {error}{detach}"
        ) from None
    if array.shape != spaces.obs_shape:
        raise WorldError(
            f"{spaces.name} returned an observation of shape {array.shape}; "
            f"its observation space says {spaces.obs_shape}"
        )
    if array.dtype.kind not in NUMBERS:
        raise WorldError(
            f"{spaces.name} returned an observation of dtype {array.dtype}, which is no number: "
            f"{obs!r}"
        )
    return checked(spaces, rounded(spaces, array.reshape(-1)), array.reshape(-1))


def rounded(spaces: Spaces, numbers: NDArray[Any]) -> Floats:
    """Return the numbers of an observation as new ones in single precision, around the centre."""
    if spaces.centre is None:
        return numbers.astype(np.float32)
    return (numbers - spaces.centre).astype(np.float32)


def read_several(spaces: Spaces, obs: Any) -> NDArray[Any]:
    """Return an observation of several parts as a new flat array.

    Raises:
        WorldError: it has other parts, or parts of other shapes, than its space says.
    """
    if not is_several(spaces.parts, obs):
        raise WorldError(
            f"{spaces.name} returned {type(obs).__name__} as an observation; its observation space "
            f"says that it has parts: {', '.join(part.name for part in spaces.parts)}"
        )
    try:
        return join(spaces.parts, obs, np.float32 if spaces.centre is None else np.float64)
    except ValueError as error:
        raise WorldError(
            f"{spaces.name} returned an observation that its space does not have: {error}"
        ) from None


def checked(spaces: Spaces, flat: Floats, said: NDArray[Any]) -> Floats:
    """Return a flat observation, which a world has said with `said`, if its numbers are finite."""
    # One product finds almost every row to be finite; only the others are searched.
    square = flat.dot(flat)
    if not math.isfinite(square) and not np.isfinite(flat).all():
        position = int(np.flatnonzero(~np.isfinite(flat))[0])
        raise WorldError(
            f"{spaces.name} returned {said[position]} at {place(spaces.parts, position)} of an "
            "observation, which must be finite float32 numbers"
        )
    return flat


def place(parts: Sequence[Part], position: int) -> str:
    """Return where a number of a flat observation is, in words."""
    start = 0
    for part in parts:
        if part.image:
            continue
        if position < start + part.size:
            return f"position {position} ({part.name})"
        start += part.size
    return f"position {position}"


def read_reward(spaces: Spaces, reward: Any) -> float:
    """Return a reward as a number, after checking it.

    Raises:
        WorldError: no single number, NaN or infinity.
    """
    value = reward if type(reward) is float else one_number(reward)
    if value is None:
        raise WorldError(f"{spaces.name} returned the reward {reward!r}, which is not one number")
    # 3.4e38 is where float32 ends.
    if not abs(value) <= 3.4e38:
        raise WorldError(f"{spaces.name} returned the reward {value}, which must be finite")
    return value


def read_flag(spaces: Spaces, name: str, flag: Any) -> bool:
    """Return whether an episode is terminated or truncated, after checking it.

    Raises:
        WorldError: not one truth value.
    """
    if isinstance(flag, bool | np.bool_):
        return bool(flag)
    value = one_number(flag)
    if value not in (0.0, 1.0):
        raise WorldError(f"{spaces.name} returned {name}={flag!r}, which is not true or false")
    return bool(value)
