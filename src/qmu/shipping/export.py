"""An export, compared with the trained actor and timed before anything of it is written."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from qmu.agent import update as algorithm
from qmu.agent.memory import RecurrentActor
from qmu.deploy import files
from qmu.deploy.description import network_of
from qmu.deploy.layers import Floats
from qmu.deploy.parts import observed
from qmu.deploy.policy import Normalization, Policy
from qmu.errors import QmuError
from qmu.layout import Layout, numbers_of, row, seen
from qmu.learning.devices import start_jax
from qmu.learning.handover import to_acting
from qmu.parts import as_given
from qmu.records.directory import CHECKPOINTS
from qmu.rows import Timed
from qmu.runs.results import Run
from qmu.saving import arrays, storage, store
from qmu.saving.arrays import UnreadableError
from qmu.saving.storage import DamagedError
from qmu.world.spaces import to_environment

# An export and the actor are compared on so many observations. Where they are normalized, so many
# of them have a share of their numbers beyond where normalized ones are cut.
OBSERVATIONS, CUT, SHARE = 1000, 100, 0.1
# For a policy with a past so many of them are an episode.
EPISODE = 50
# What they may differ by, in action ranges.
TOLERANCE = 1e-5
# One observation is timed so often, after some that are not.
CALLS, WARM_UP = 1000, 100


class Observed(NamedTuple):
    """Observations [rows, ...], and in words where they come from."""

    obs: NDArray[Any]
    origin: str


class Export(NamedTuple):
    """A policy as the bytes of a file, and what was measured of them.

    `difference` is the largest one from the trained actor, in action ranges; `microseconds` the
    median time that one observation takes, on this machine; `undescribed` are files beside it that
    share its name, and that its model card is not about; `notes` say what the policy lacks of the
    world that it was trained in.
    """

    path: Path
    policy: Policy
    data: bytes
    observed: Observed
    difference: float
    microseconds: float
    undescribed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        return (
            f"<Export {self.path}: {len(self.data):,} bytes, at most {self.difference:.1e} "
            f"from the trained actor, {self.microseconds:.0f} µs{notes}>"
        )


def make_export(policy: Policy, path: Path, observed: Observed) -> Export:
    """Return a policy as the file that `path` will be, read back, compared and timed.

    Raises:
        ConfigError: the ending is unknown, or a package that it takes is not installed.
        QmuError: the file's actions are not those of the trained actor.
    """
    kind = files.ending(path)
    data = files.packed(kind, policy)
    exported = files.unpacked(kind, data, path)
    found = difference(
        actions_along(exported, observed.obs), actions_of_actor(policy, observed.obs), policy
    )
    if not found < TOLERANCE:
        raise QmuError(
            f"{path} was not written: on {len(observed.obs):,} observations {observed.origin} its "
            f"actions are up to {found:.1e} action ranges from the trained actor's, and less than "
            f"{TOLERANCE:.0e} is right (of an actor deep in saturation, which `qmu doctor` finds, "
            "it may be rounding)"
        )
    memory = policy.past.memory
    fed = memory is not None and memory.reward
    call = partial(exported, reward=0.0) if fed else exported
    return Export(path, policy, data, observed, found, latency(call, observed.obs[0]))


def actions_along(policy: Any, obs: Floats) -> Floats:
    """Return a policy's actions on observations [rows, ...]; with a past, those of episodes.

    Each `EPISODE` of them are an episode; all begin at the same time, but for the first, which goes
    before the others by the calls of a single policy that carries its past itself. A memory that is
    fed rewards gets those of `rewards_along`.
    """
    if not policy.initial_state():
        actions: Floats = policy(obs)
        return actions
    episodes = obs.reshape(-1, EPISODE, *obs.shape[1:])
    rewards = rewards_along(len(episodes))
    policy.reset()
    alone = np.stack([policy(*both) for both in zip(episodes[0], rewards[0], strict=True)])
    policy.reset()
    state, found = policy.initial_state(len(episodes) - 1), []
    for moment in range(EPISODE):
        action, state = policy.step(episodes[1:, moment], state, rewards[1:, moment])
        found.append(action)
    together = np.stack(found, axis=1)
    return np.concatenate([alone[None], together]).reshape(len(obs), *alone.shape[1:])


def rewards_along(episodes: int) -> Floats:
    """Return the reward before each observation of so many episodes; none before the first one."""
    drawn = np.random.default_rng(1).normal(size=(episodes, EPISODE)).astype(np.float32)
    drawn[:, 0] = 0
    return drawn


def remembering_along(actor: Any, seen: Any) -> Any:
    """Return the actions [rows, action] of an actor with a memory on what is seen [rows, ...].

    They are those of the episodes of `actions_along`, moment by moment: it is fed its own actions.
    """
    episodes = seen.reshape(-1, EPISODE, seen.shape[-1])
    rewards = jnp.asarray(rewards_along(len(episodes)))
    state = jnp.zeros((len(episodes), actor.memory.cell.size))
    outputs = jax.eval_shape(actor.head, jnp.concatenate([episodes[:, 0], state], axis=1))
    action, found = jnp.zeros(outputs.shape), []
    for moment in range(EPISODE):
        now = episodes[:, moment]
        begins = jnp.full((1, len(now)), moment == 0)
        timed = Timed(now[None], action[None], rewards[None, :, moment], begins)
        (state,) = actor.memory.states(timed, state)
        action = actor.head(jnp.concatenate([now, state], axis=1))
        found.append(action)
    return jnp.stack(found, axis=1).reshape(len(seen), -1)


def seen_along(layout: Layout, rows: Floats) -> Any:
    """Return rows [rows, size] as networks see them, in the episodes of `actions_along`."""
    if layout.frames == 1:
        return seen(layout, rows)
    places = np.arange(len(rows)) % EPISODE
    firsts = np.arange(len(rows)) - places
    before = [np.maximum(places - back, 0) for back in reversed(range(layout.frames))]
    return seen(layout, rows[firsts[:, None] + np.stack(before, axis=1)])


def actions_of_actor(policy: Policy, obs: Floats) -> Floats:
    """Return what a policy's actor does in JAX, where it was trained; in the world's units.

    It has the policy's weights and runs in the networks of training, and its actions are scaled as
    there. In full precision: matrix products of a GPU have fewer digits by default.
    """
    start_jax()
    around = 0.0 if policy.centre is None else policy.centre
    with jax.default_device(host()), jax.default_matmul_precision("highest"):
        acting = to_acting(network_of(policy))
        rows, batch = observed(policy.parts, policy.obs_shape, obs, policy.dtype)
        rows = rows.reshape(*batch, -1)
        if not policy.layout.images:
            rows = (rows - around).astype(np.float32)
        held = jax.tree.map(jnp.asarray, seen_along(policy.layout, rows))
        numbers = algorithm.normalized(acting.normalizer, held)
        features, actor = algorithm.features(acting.encoder, numbers), acting.actor
        remembers = isinstance(actor, RecurrentActor)
        action = np.asarray(remembering_along(actor, features) if remembers else actor(features))
    scaled = to_environment(action, policy.low, policy.high)
    return scaled.reshape(len(obs), *policy.action_shape)


def host() -> jax.Device:
    """Return the CPU, if JAX was not told to do without it."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError:
        return jax.devices()[0]


def difference(ours: Floats, theirs: Floats, policy: Policy) -> float:
    """Return the largest difference of actions, in ranges of the policy's actions."""
    low, high = (bound.astype(np.float64) for bound in (policy.low, policy.high))
    scale = np.where(high > low, high - low, 1.0).reshape(policy.action_shape)
    return float(np.max(np.abs(ours.astype(np.float64) - theirs) / scale))


def latency(policy: Callable[[Floats], Any], obs: Floats) -> float:
    """Return the median time that the action for one observation takes, in microseconds."""
    for _ in range(WARM_UP):
        policy(obs)
    times = []
    for _ in range(CALLS):
        started = time.perf_counter_ns()
        policy(obs)
        times.append(time.perf_counter_ns() - started)
    return float(np.median(times)) / 1000


def observations(policy: Policy, run: Run | None) -> Observed:
    """Return observations to compare a policy's actions on, always the same.

    They are of the newest that its run has stored. Where it has stored too few, the others are
    drawn by the statistics that the policy has of its observations; without these, standard normal.
    """
    generator = np.random.default_rng(0)
    layout, size = policy.layout, policy.layout.numbers
    known = newest(network_of(policy).normalization, size)
    stored = np.zeros((0, layout.size), layout.dtype)
    if run is not None:
        stored = stored_observations(run, layout)
    rows = generator.permutation(stored)[:OBSERVATIONS]
    chosen = numbers_of(layout, rows)
    drawn = generator.normal(size=(OBSERVATIONS - len(chosen), size))
    drawn_from = "from a standard normal distribution"
    if known is not None:
        drawn = known.mean + known.std * drawn
        drawn_from = "with the statistics of those in training"
    if layout.images:
        drawn_from = f"{drawn_from}, images of noise" if size else "of noise"
    obs = np.concatenate([chosen, drawn])
    origin = origin_of(len(chosen), drawn_from)
    if known is not None:
        obs[-CUT:] = beyond_clip(obs[-CUT:], known, generator)
        origin += f", {CUT} of them partly beyond the clip"
    if layout.images:
        return Observed(with_images(policy, obs.astype(np.float32), rows, generator), origin)
    if policy.centre is not None:
        obs = obs + policy.centre
    return Observed(obs.reshape(-1, *policy.obs_shape).astype(policy.dtype), origin)


def with_images(
    policy: Policy, numbers: Floats, stored: Any, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Return observations of these numbers, with images of stored rows, the others of noise.

    They are what the policy takes as one array: an image as its environment gives it, or rows.
    """
    layout = policy.layout
    own = [stored[:, place] for place in layout.places]
    noise = [
        generator.integers(0, 256, (len(numbers) - len(stored), one.shape[1]), np.uint8)
        for one in own
    ]
    images = [
        np.concatenate(pair).reshape(-1, *image)
        for pair, image in zip(zip(own, noise, strict=True), layout.images, strict=True)
    ]
    rows: NDArray[np.uint8] = row(layout, numbers, images)
    return as_given(policy.parts[0], rows) if policy.parts[0].path == () else rows


def newest(known: Normalization | None, size: int) -> Normalization | None:
    """Return how the newest of the frames, of so many numbers, is normalized."""
    if known is None:
        return None
    return Normalization(known.mean[-size:], known.std[-size:], known.clip)


def origin_of(stored: int, drawn_from: str) -> str:
    """Return where observations come from, in words: so many of the run, the others drawn."""
    if stored == OBSERVATIONS:
        return "of the run"
    return f"({stored} of the run, the others {drawn_from})" if stored else drawn_from


def beyond_clip(obs: Any, known: Normalization, generator: np.random.Generator) -> Any:
    """Return observations [rows, obs], in each some numbers replaced by such as are clipped."""
    far = known.clip * generator.uniform(1, 2, size=obs.shape)
    far = known.mean + known.std * far * generator.choice([-1, 1], size=obs.shape)
    chosen = generator.random(obs.shape) < SHARE
    chosen[:, 0] |= ~chosen.any(axis=1)
    return np.where(chosen, far, obs)


def stored_observations(run: Run, layout: Layout) -> NDArray[Any]:
    """Return observations [rows, size] that a run has stored, the newest segments of rows first.

    There are all rows of as many segments as make `OBSERVATIONS`, or of all that can be read.
    """
    folder = run.directory / CHECKPOINTS
    listed = [entry for path in store.complete(folder) for entry in reversed(segments_of(path))]
    found = [np.zeros((0, layout.size), layout.dtype)]
    size, name = layout.size, "bytes" if layout.images else "numbers"
    for entry in dict.fromkeys(listed):
        try:
            data = storage.read_checked(folder, entry, store.LARGEST_SEGMENT)
            held: NDArray[Any] = arrays.unpack(data)[name]
        except (DamagedError, UnreadableError, KeyError):
            continue
        if held.ndim == 2 and held.shape[1] >= size:
            found.append(held[:, :size])
        if sum(map(len, found)) >= OBSERVATIONS:
            break
    return np.concatenate(found)


def segments_of(checkpoint: Path) -> list[storage.Entry]:
    """Return the segments that a checkpoint lists, the oldest first; none of a damaged one."""
    try:
        return storage.entries_of(storage.read_manifest(checkpoint), "shared")
    except DamagedError:
        return []
