"""Policies of every kind, as training leaves them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu import config
from qmu.agent.encoder import feature_count, init_encoder
from qmu.agent.initial import init_actor
from qmu.agent.memory import RecurrentActor, init_memory
from qmu.agent.normalize import Normalizer
from qmu.agent.update import Acting, normalized
from qmu.deploy.past import held
from qmu.deploy.policy import Policy
from qmu.deploy.seal import signed
from qmu.layout import Layout, seen
from qmu.learning.handover import to_network
from qmu.parts import CHANNELS_FIRST, CHANNELS_LAST, GREY, Part, join_batch, layout_of
from qmu.rows import Sequences, Timed

LOW, HIGH = np.float32([-2.0, 0.0]), np.float32([6.0, 0.5])
INFO = {"environment": "Some-v0", "seed": 3, "step": 1000, "score": -1.5}


def make_actor(obs_size=3, hidden_sizes=(16, 8), action_size=2, **options):
    settings = config.Actor(hidden_sizes=hidden_sizes, **options)
    actor = init_actor(jax.random.key(0), obs_size, action_size, settings)
    norms = None if actor.norms is None else tuple(map(as_trained, actor.norms))
    entry = None if actor.entry is None else as_trained(actor.entry)
    return dataclasses.replace(actor, norms=norms, entry=entry)


def as_trained(norm):
    """Return the normalization with numbers as training leaves them: neither 1 nor 0."""
    leaves, structure = jax.tree.flatten(norm)
    changed = [jnp.linspace(0.5, 2 + index, len(leaf)) for index, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, changed)


def make_network(actor, normalizer=None, frames=1):
    first = (actor.projections or actor.layers)[0]
    layout = Layout(first.weight.shape[0] // frames, frames=frames)
    return to_network(jax.device_get(Acting(actor, normalizer)), layout)


def make_policy(
    obs_shape=(3,), action_shape=(2,), low=LOW, high=HIGH, normalized=False, frames=1, **options
):
    size = int(np.prod(obs_shape)) * frames
    normalizer = None
    if normalized:
        mean, variance = jnp.linspace(-2, 3, size), jnp.linspace(0.1, 4, size)
        normalizer = Normalizer(mean, jnp.sqrt(variance), jnp.float32(1.5))
    actor = make_actor(size, action_size=len(low), **options)
    return Policy(make_network(actor, normalizer, frames), obs_shape, action_shape, low, high, INFO)


def described(folder, **changes):
    """Change what policy.json says, with the sum of it."""
    path = folder / "policy.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held = {name: value for name, value in held.items() if name != "sha256"} | changes
    path.write_text(json.dumps(signed(held)), encoding="utf-8")


def draw_obs(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# What a network can be made of, each thing at least once beside each other.
KINDS = [
    {"activation": activation, "norm": norm, "normalized": normalized}
    for activation in ("relu", "leaky_relu", "elu", "silu", "tanh")
    for norm in ("none", "layer", "batch")
    for normalized in (False, True)
] + [
    {"body": "residual", "norm": norm, "input_norm": input_norm, "normalized": input_norm}
    for norm in ("none", "layer", "batch")
    for input_norm in (False, True)
]
# Shapes of observations and actions; the bounds of the actions are not symmetric.
SHAPES = [((3,), (2,)), ((2, 3), (2, 2)), ((), (1,)), ((1, 4), (3,)), ((2,), ())]


def make_centred(**options):
    """Return a policy that observes a time of 1.7e9, its digits behind the point, and a number."""
    centre = np.float64([1.7e9, 0.0, -500.25])
    return dataclasses.replace(make_policy(normalized=True, **options), centre=centre)


def check_reads_large_numbers(call):
    """Check that something which was made of a `make_centred` sees small changes of large ones."""
    near = draw_obs(50, 3).astype(np.float64)
    expected = make_policy(normalized=True)(near)
    observed = np.add(near, [1.7e9, 0.0, -500.25])
    assert observed.dtype == np.float64
    np.testing.assert_allclose(call(observed), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(call(observed[0]), expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(call(observed.tolist()), expected, rtol=0, atol=1e-5)
    assert np.abs(np.diff(expected, axis=0)).max() > 0.1


def make_shaped(obs_shape, action_shape, **options):
    """Return a policy of these shapes, each of its actions with bounds of its own."""
    low = np.linspace(-3, 1, int(np.prod(action_shape)), dtype=np.float32)
    return make_policy(obs_shape, action_shape, low, low + np.float32(0.5) * low**2 + 1, **options)


# An observation of parts: a dictionary with a position, a choice among three, and a goal.
PARTS = (
    Part(("cart", "place"), (2,)),
    Part(("cart", "gear"), (), (3,), (1,)),
    Part(("goal",), (1,)),
)


def make_of_parts():
    """Return a policy of observations with `PARTS`."""
    return dataclasses.replace(make_policy((6,)), parts=PARTS)


def check_takes_parts(call, policy):
    """Check that something takes the dictionaries that a policy of `make_of_parts` does."""
    assert (call.parts, np.asarray(call.low).tolist(), np.asarray(call.high).tolist()) == (
        policy.parts,
        policy.low.tolist(),
        policy.high.tolist(),
    )
    one = {"cart": {"place": [0.0, 0.1], "gear": 2}, "goal": [0.5]}
    flat = np.float32([0.0, 0.1, 0, 1, 0, 0.5])
    np.testing.assert_allclose(call(one), policy(one), rtol=0, atol=3e-6)
    np.testing.assert_array_equal(call(one), call(flat))
    batch = {"cart": {"place": draw_obs(4, 2), "gear": np.array([1, 2, 3, 1])}}
    batch |= {"goal": draw_obs(4, 1)}
    assert call(batch).shape == (4, 2)
    np.testing.assert_allclose(call(batch), policy(batch), rtol=0, atol=3e-6)
    np.testing.assert_array_equal(call.batch(batch), call(batch))
    np.testing.assert_array_equal(call({**one, "goal": 0.5}), call(one))
    of_one = {"cart": {"place": [[0.0, 0.1]], "gear": [2]}, "goal": [[0.5]]}
    assert call(of_one).shape == (2,)
    np.testing.assert_array_equal(call.batch(of_one), call.batch(flat[None]))
    assert call.batch(of_one).shape == (1, 2)
    for wrong in ({"cart": {"place": [0.0, 0.1], "gear": 2}}, {**one, "goal": [0.5, 1.0]}):
        with pytest.raises(ValueError, match=r"there have to be|it has to be"):
            call(wrong)


# Observations with images, each way that its axes may lie, alone and beside numbers.
SIGHTS = {
    "colours": (Part((), (36, 40, 3), image=CHANNELS_LAST),),
    "channels first": (Part((), (3, 36, 40), image=CHANNELS_FIRST),),
    "grey": (Part((), (36, 40), image=GREY),),
    "beside numbers": (
        Part(("arm", "angles"), (2,)),
        Part(("eye",), (36, 40, 1), image=CHANNELS_LAST),
        Part(("gear",), (), (3,), (1,)),
        Part(("hand",), (4, 33, 34), image=CHANNELS_FIRST),
    ),
}


def make_with_images(parts, frames=1, normalized=False):
    """Return a policy of observations with images."""
    layout = layout_of(parts, 0, frames)
    settings = config.Encoder(features=5)
    encoder = init_encoder(jax.random.key(1), layout.seen_images, settings)
    features = feature_count(layout.seen_numbers, len(layout.images), settings)
    normalizer = None
    if normalized:
        mean, std = (jnp.linspace(*ends, layout.seen_numbers) for ends in ((-1, 2), (0.5, 2)))
        normalizer = Normalizer(mean, std, jnp.float32(1.5))
    acting = jax.device_get(Acting(make_actor(features), normalizer, encoder))
    shape = parts[0].shape if parts[0].path == () else (layout.size,)
    return Policy(to_network(acting, layout), shape, (2,), LOW, HIGH, INFO, parts)


def draw_sight(parts, *batch, seed=0):
    """Return an observation of these parts, as an environment gives it."""
    generator = np.random.default_rng(seed)

    def drawn(part):
        if part.image:
            return generator.integers(0, 256, (*batch, *part.shape), np.uint8)
        if part.choices:
            return generator.integers(1, 4, (*batch, *part.shape))
        return generator.normal(size=(*batch, *part.shape)).astype(np.float32)

    if parts[0].path == ():
        return drawn(parts[0])
    angles, eye, gear, hand = map(drawn, parts)
    return {"arm": {"angles": angles}, "eye": eye, "gear": gear, "hand": hand}


def make_with_frames(**options):
    """Return a policy that sees three frames of (2, 3) numbers together, and one that is told all.

    The second takes the nine rows of three frames at once.
    """
    policy = make_shaped((2, 3), (2, 2), frames=3, **options)
    network = dataclasses.replace(policy.network, layout=Layout(18))
    return policy, dataclasses.replace(policy, network=network, obs_shape=(18,))


def check_carries_its_past(call, whole):
    """Check that something sees the last three observations of each episode, as `whole` is told."""
    obs = 4 * draw_obs(6, 2, 2, 3)

    def told(row, first, last):
        rows = [obs[max(last - back, first), row].reshape(-1) for back in (2, 1, 0)]
        return whole(np.concatenate(rows))

    state = call.initial_state(2)
    for time in range(6):
        # The second row's episode ends, and another one begins.
        if time == 3:
            state = tuple(
                np.concatenate([own[:1], new])
                for own, new in zip(state, call.initial_state(), strict=True)
            )
        action, state = call.step(obs[time], state)
        assert (action.dtype, action.shape) == (np.float32, (2, 2, 2))
        for row, first in ((0, 0), (1, 3 if time >= 3 else 0)):
            np.testing.assert_allclose(action[row], told(row, first, time), rtol=1e-4, atol=1e-5)
    for first in (0, 2):
        call.reset()
        for time in range(first, 5):
            expected = told(0, first, time)
            np.testing.assert_allclose(call(obs[time, 0]), expected, rtol=1e-4, atol=1e-5)
    alone = call.initial_state()
    action, alone = call.step(obs[0, 0].tolist(), alone)
    np.testing.assert_allclose(action, told(0, 0, 0), rtol=1e-4, atol=1e-5)
    for wrong in (call, call.batch):
        with pytest.raises(ValueError, match=r"policy.initial_state\(batch\), then"):
            wrong(obs[0])
    for state in ((), None, call.initial_state(3), call.initial_state(2)[::-1]):
        with pytest.raises(ValueError, match=r"policy's for 2 observations has float32\[2, 2, 6"):
            call.step(obs[0], state)


def check_like(call, policy):
    """Check that something is called as a policy is: the same actions, shapes and errors."""
    obs = 4 * draw_obs(200, *policy.obs_shape)
    action = call(obs)
    assert isinstance(action, np.ndarray)
    assert action.dtype == np.float32
    assert action.shape == (200, *policy.action_shape)
    flat = action.reshape(200, -1)
    assert (flat >= policy.low).all()
    assert (flat <= policy.high).all()
    scale = (policy.high - policy.low).reshape(policy.action_shape)
    np.testing.assert_allclose(action / scale, policy(obs) / scale, rtol=0, atol=3e-6)
    np.testing.assert_allclose(call(obs[0]) / scale, policy(obs[0]) / scale, rtol=0, atol=3e-6)
    assert call(obs[0]).shape == policy.action_shape
    assert call(obs[:0]).shape == (0, *policy.action_shape)
    np.testing.assert_array_equal(call.batch(obs), action)
    with pytest.raises(ValueError, match="one observation, of shape"):
        call.batch(obs[0])
    np.testing.assert_allclose(call(obs[:2].tolist()), action[:2], rtol=1e-4, atol=1e-5)
    assert (call.obs_shape, call.action_shape, call.info) == (
        policy.obs_shape,
        policy.action_shape,
        policy.info,
    )
    wrong = np.zeros((2, 2, *policy.obs_shape))
    with pytest.raises(ValueError, match="this policy takes") as ours:
        call(wrong)
    with pytest.raises(ValueError, match="this policy takes") as theirs:
        policy(wrong)
    assert str(ours.value) == str(theirs.value)


def make_remembering(kind="gru", fed=("observation", "action"), parts=(), **options):
    """Return a policy with a memory of five numbers, and what it was made of, as `Acting`."""
    frames = options.pop("frames", 1)
    scaled = options.pop("normalized", False)
    layout = layout_of(parts, 3, frames)
    encoder, settings = None, config.Encoder(features=4)
    if layout.images:
        encoder = init_encoder(jax.random.key(1), layout.seen_images, settings)
    features = feature_count(layout.seen_numbers, len(layout.images), settings)
    memory = init_memory(
        jax.random.key(2), features, 2, config.Memory(kind=kind, size=5, fed=tuple(fed))
    )
    normalizer = None
    if scaled:
        mean, std = (jnp.linspace(*ends, layout.seen_numbers) for ends in ((-1, 2), (0.5, 2)))
        normalizer = Normalizer(mean, std, jnp.float32(1.5))
    actor = RecurrentActor(memory, make_actor(features + 5, **options))
    acting = Acting(actor, normalizer, encoder)
    shape = (layout.size,) if parts else (3,)
    network = to_network(jax.device_get(acting), layout)
    return Policy(network, shape, (2,), LOW, HIGH, INFO, parts), acting


def remembered_actions(acting, policy, obs, rewards, begins):
    """Return the actions [time, batch, action] of a policy by the networks that training has.

    They see an episode at once: observations [time, batch, ...] as rows, the rewards before each.
    """
    layout, action = policy.layout, np.zeros((len(obs), obs.shape[1], 2), np.float32)
    first = np.maximum.accumulate(np.where(begins, np.arange(len(obs))[:, None], 0), axis=0)
    places = [
        np.maximum(np.arange(len(obs))[:, None] - back, first)
        for back in reversed(range(layout.frames))
    ]
    columns = np.arange(obs.shape[1])[None]
    frames = np.stack([obs[own, columns] for own in places], axis=2)
    found = seen(layout, frames if layout.frames > 1 else frames[:, :, 0])
    encoded = encoded_by(acting, found)
    for time in range(len(obs)):
        last = np.concatenate([np.zeros_like(action[:1]), action[:-1]])
        timed = Timed(
            encoded,
            jnp.asarray(np.where(begins[..., None], 0, last)),
            jnp.asarray(np.where(begins, 0, rewards)),
            jnp.asarray(begins),
        )
        action[time] = np.asarray(acting.actor(Sequences(timed))).reshape(action.shape)[time]
    return action


def encoded_by(acting, found):
    """Return what a memory is given of observations [time, batch, ...] as networks see them."""
    found = normalized(acting.normalizer, jax.tree.map(jnp.asarray, found))
    if acting.encoder is None:
        return found
    time, batch = found.images[0].shape[:2]
    rows = jax.tree.map(lambda leaf: leaf.reshape(time * batch, *leaf.shape[2:]), found)
    flat = acting.encoder(rows.numbers, rows.images)
    return flat.reshape(time, batch, -1)


def in_units(action):
    """Return actions in [-1, 1] between `LOW` and `HIGH`."""
    return 0.5 * (1 - action) * LOW + 0.5 * (1 + action) * HIGH


def check_remembers(call, policy, acting, sights, rows):
    """Check that something acts as training's networks do, over episodes that end in between.

    Args:
        call: a policy in whatever form.
        policy: what it was made of.
        acting: what that was made of.
        sights: observations by time and row of a batch of two, as an environment gives them.
        rows: the same as rows [time, 2, size].
    """
    times, fed = len(rows), policy.past.memory.reward
    rewards = np.random.default_rng(3).normal(size=(times, 2)).astype(np.float32)
    begins = np.zeros((times, 2), bool)
    begins[0] = begins[times // 2, 1] = True
    expected = in_units(remembered_actions(acting, policy, rows, rewards, begins))
    state = call.initial_state(2)
    for time in range(times):
        if begins[time, 1] and time:
            state = tuple(
                np.concatenate([own[:1], new])
                for own, new in zip(state, call.initial_state(), strict=True)
            )
        # At the beginning of an episode the reward is that of another one, and is not taken.
        action, state = call.step(sights[time], state, *([rewards[time]] if fed else []))
        np.testing.assert_allclose(action, expected[time], rtol=1e-3, atol=2e-5)
    call.reset()
    for time in range(times):
        alone = first_of(sights[time])
        action = call(alone, *([rewards[time, 0]] if fed and time else []))
        np.testing.assert_allclose(action, expected[time, 0], rtol=1e-3, atol=2e-5)
    if policy.past.memory.action:
        # Whoever executes another action than the policy's tells it.
        told = call.executed([[6.0, 0.0], [-2.0, 0.25]], state)
        np.testing.assert_allclose(held(policy.past, told)["action"], [[1, -1], [-1, 0]])
        call.executed([2.0, 0.5])
        np.testing.assert_allclose(held(policy.past, call.carried[-1])["action"], [[0, 1]])
        with pytest.raises(ValueError, match="3 numbers of actions; 2 of 2 each"):
            call.executed([0.0, 0.0, 0.0], state)
        with pytest.raises(ValueError, match="not finite"):
            call.executed([2.0, np.nan])
        for other in (5, state[:-1]):
            with pytest.raises(ValueError, match=r"begin with policy\.initial_state"):
                call.executed(np.zeros((2, 2)), other)
    if fed:
        with pytest.raises(ValueError, match=r"policy.step\(obs, state, reward\)"):
            call.step(sights[0], state)
        with pytest.raises(ValueError, match="3 rewards for 2 observations"):
            call.step(sights[0], state, [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"policy\.initial_state"):
        call.step(sights[0], call.initial_state(3))
    with pytest.raises(ValueError, match=r"policy.initial_state\(batch\), then"):
        call(sights[0])


def first_of(sight):
    """Return the first of a batch of observations."""
    if isinstance(sight, dict):
        return {name: first_of(part) for name, part in sight.items()}
    return sight[0]


def sights_and_rows(policy, times=8):
    """Return observations of a batch of two by time, and the same as rows [time, 2, size]."""
    if not policy.parts:
        rows = 3 * draw_obs(times, 2, 3)
        return list(rows), rows
    sights = [draw_sight(policy.parts, 2, seed=time) for time in range(times)]
    return sights, np.stack([join_batch(policy.parts, one) for one in sights])


# What a memory can be made of and stand behind.
REMEMBERING = {
    "gru": {},
    "mingru": {"kind": "mingru"},
    "fed all": {"fed": ("observation", "action", "reward"), "norm": "layer", "normalized": True},
    "fed a reward first": {"kind": "mingru", "fed": ("reward", "observation"), "frames": 3},
    "behind images": {"parts": SIGHTS["beside numbers"], "normalized": True, "frames": 2},
    "before blocks": {"body": "residual", "norm": "batch", "input_norm": True},
    "behind one image": {"parts": SIGHTS["channels first"], "kind": "mingru"},
}
