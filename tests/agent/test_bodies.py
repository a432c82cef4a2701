"""Residual blocks, unit weights, normalization at the input and of joined batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu import config
from qmu.agent.initial import init_actor, init_critic
from qmu.agent.layers import EPSILON, RENEWAL, BatchNorm, LayerNorm, Linear
from qmu.agent.networks import Actor, Critics, Pairs, foreseen, learned_from
from qmu.agent.optimizers import init_optimizer, optimizer_step
from qmu.config import reading

KEY = jax.random.key(0)


def numbers(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


def make_actor(hidden_sizes, **options):
    return init_actor(KEY, 3, 2, config.Actor(hidden_sizes=hidden_sizes, **options))


def make_critic(hidden_sizes, **options):
    return init_critic(KEY, 3, 2, config.Critic(hidden_sizes=hidden_sizes, **options))


def linear(weight, bias):
    return Linear(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))


def test_a_residual_block_by_hand():
    # One number goes around a block of two hidden units.
    actor = Actor(
        layers=(
            linear([[1.0, -1.0]], [0.0, 1.0]),
            linear([[2.0], [3.0]], [0.5]),
            linear([[0.1]], [0.0]),
        ),
        norms=None,
        activation="relu",
        projections=(linear([[2.0]], [1.0]),),
    )
    # x = 2 · 1 + 1 = 3; hidden: relu(3, -2) = 3, 0; x + 6 + 0.5 = 9.5.
    np.testing.assert_allclose(actor.preactivation(jnp.ones((1, 1))), [[0.95]], rtol=1e-6)
    np.testing.assert_allclose(actor.hidden(jnp.ones((1, 1)))[0], [[3.0, 0.0]], rtol=1e-6)


def test_normalizations_stand_before_blocks_and_before_the_last_layer():
    layers = (
        linear(np.eye(2), [0.0, 0.0]),
        linear(np.zeros((2, 2)), [0.0, 0.0]),
        linear([[1.0], [0.0]], [0.0]),
    )
    norms = tuple(LayerNorm(jnp.full(2, scale), jnp.zeros(2)) for scale in (3.0, 0.5))
    actor = Actor(layers, norms, "relu", projections=(linear(np.eye(2), [0.0, 0.0]),))
    obs = jnp.asarray([[4.0, 2.0]])
    # (4, 2) is normalized to (1, -1); times 3 before the block, times 0.5 before the last layer.
    np.testing.assert_allclose(actor.hidden(obs)[0], [[3.0, 0.0]], rtol=1e-4)
    np.testing.assert_allclose(actor.preactivation(obs), [[0.5]], rtol=1e-4)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("hidden_sizes", [(), (2,), (8,), (8, 8), (40, 20, 7)], ids=str)
@pytest.mark.parametrize("action_layer", [0, 1])
def test_every_list_of_sizes_makes_a_residual_body(hidden_sizes, norm, action_layer):
    actor = make_actor(hidden_sizes, body="residual", norm=norm, input_norm=True)
    assert actor(jnp.ones((6, 3))).shape == (6, 2)
    assert [units.shape for units in actor.hidden(jnp.ones((6, 3)))] == [
        (6, size) for size in hidden_sizes
    ]
    if action_layer > len(hidden_sizes):
        return
    critic = make_critic(hidden_sizes, body="residual", norm=norm, action_layer=action_layer)
    assert critic(jnp.ones((6, 3)), jnp.ones((6, 2))).shape == (6,)
    value = critic(numbers(6, 3), jnp.ones((6, 2)))
    assert (critic(numbers(6, 3), jnp.zeros((6, 2))) != value).any()


def test_only_unequal_widths_get_a_projection():
    actor = make_actor((40, 40, 64, 3), body="residual")
    # A quarter goes around a block; of few hidden units as many as there are.
    shapes = [None if one is None else one.weight.shape for one in actor.projections]
    assert shapes == [(3, 10), None, (10, 16), (16, 3)]
    assert [layer.weight.shape for layer in actor.layers] == [
        (10, 40),
        (40, 10),
        (10, 40),
        (40, 10),
        (16, 64),
        (64, 16),
        (3, 3),
        (3, 3),
        (3, 2),
    ]


@pytest.mark.parametrize("body", ["plain", "residual"])
@pytest.mark.parametrize("kind", ["actor", "critic"])
def test_hidden_units_have_weights_of_length_1_after_every_step(body, kind):
    options = reading.from_dict(
        {kind: {"body": body, "weight_norm": True, "hidden_sizes": [8, 12], "lr": 0.1}}
    )
    settings = getattr(options, kind)
    network = (init_actor if kind == "actor" else init_critic)(KEY, 3, 2, settings)
    state = init_optimizer(network, settings)

    def lengths(network):
        inner = [*network.layers[:-1], *filter(None, network.projections or ())]
        return np.concatenate([np.linalg.norm(one.weight, axis=0) for one in inner])

    np.testing.assert_allclose(lengths(network), 1.0, rtol=1e-5)
    last = network.layers[-1].weight
    for _ in range(3):
        gradient = jax.tree.map(lambda leaf: jnp.ones_like(leaf) + leaf, network)
        network, state = optimizer_step(network, gradient, state, settings)
        np.testing.assert_allclose(lengths(network), 1.0, rtol=1e-5)
    # The last layer is free: three steps of Adam of 0.1 each.
    np.testing.assert_allclose(network.layers[-1].weight, last - 0.3, atol=2e-2)


def test_without_weight_norm_lengths_are_free():
    settings = config.Actor(hidden_sizes=(8,), lr=0.1)
    network = init_actor(KEY, 3, 2, settings)
    gradient = jax.tree.map(jnp.ones_like, network)
    network, _ = optimizer_step(network, gradient, init_optimizer(network, settings), settings)
    assert not np.allclose(np.linalg.norm(network.layers[0].weight, axis=0), 1.0, rtol=1e-2)


def test_what_a_network_is_given_is_normalized_by_the_batch():
    critic = make_critic((), norm="none", input_norm=True)
    obs, action = 5 + 2 * numbers(40, 3), numbers(40, 2)
    weight, bias = (np.asarray(own) for own in (critic.layers[0].weight, critic.layers[0].bias))
    both = np.concatenate([obs, action], axis=1)
    mean, variance = both.mean(axis=0), both.var(axis=0)
    value, seen = critic.learning(obs, action)
    normal = (both - mean) / np.sqrt(variance + EPSILON)
    np.testing.assert_allclose(value, (normal @ weight + bias)[:, 0], rtol=1e-3, atol=1e-5)
    after = critic.with_statistics(seen)
    np.testing.assert_allclose(after.entry.mean, RENEWAL * mean, rtol=1e-5)
    # Outside of learning, the running statistics count.
    running = (both - RENEWAL * mean) / np.sqrt(after.entry.variance + EPSILON)
    expected = (running @ weight + bias)[:, 0]
    np.testing.assert_allclose(after(obs, action), expected, rtol=1e-3, atol=1e-5)


def test_an_action_that_enters_later_is_not_normalized():
    critic = make_critic((8,), norm="none", input_norm=True, action_layer=1)
    assert critic.entry.mean.shape == (3,)


def test_joined_pairs_are_normalized_as_one_batch():
    critic = make_critic((6,), norm="batch", input_norm=True)
    pairs = Pairs(numbers(10, 3), numbers(10, 2))
    following = Pairs(4 + numbers(10, 3), -numbers(10, 2))
    both = [jnp.concatenate(two) for two in zip(pairs, following, strict=True)]
    whole, whole_seen = critic.learning(*both)
    said, seen = learned_from(critic, pairs, following, slice(None))
    np.testing.assert_array_equal(said, whole[:10])
    np.testing.assert_array_equal(seen.entry.mean, whole_seen.entry.mean)
    ahead = foreseen(Critics((critic, critic)), pairs, following)
    np.testing.assert_array_equal(ahead, np.stack([whole[10:]] * 2))
    # Alone they are normalized by other numbers.
    alone, _ = learned_from(critic, pairs, None, slice(None))
    assert np.abs(np.asarray(alone - said)).max() > 0.01


def test_a_share_of_the_batch_is_joined_with_its_own_successors():
    critic = make_critic((6,), norm="batch")
    pairs, following = (Pairs(own * numbers(10, 3), numbers(10, 2)) for own in (1.0, 3.0))
    rows = slice(1, None, 2)
    said, _ = learned_from(critic, pairs, following, rows)
    both = [
        jnp.concatenate([one[rows], two[rows]]) for one, two in zip(pairs, following, strict=True)
    ]
    np.testing.assert_array_equal(said, critic.learning(*both)[0][:5])


def test_batch_norms_of_all_places_have_their_batch_in_learning():
    critic = make_critic((8, 8), norm="batch", body="residual", input_norm=True)
    _, seen = critic.learning(3 + numbers(20, 3), numbers(20, 2))
    after = critic.with_statistics(seen)
    for norm in (after.entry, *after.norms):
        assert isinstance(norm, BatchNorm)
        assert np.abs(norm.mean).max() > 0
    assert len(after.norms) == 3
