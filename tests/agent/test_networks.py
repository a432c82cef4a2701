"""Shapes, initial weights and activations of actor and critic."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu import config
from qmu.agent.initial import init_actor, init_critic, init_layer_norm, init_layers
from qmu.agent.layers import ACTIVATIONS, BatchNorm, Linear
from qmu.agent.networks import Critic
from qmu.config import networks
from qmu.deploy.layers import ACTIVATIONS as DEPLOYED

KEY = jax.random.key(0)


def make_actor(sizes, **options):
    obs_size, *hidden_sizes, action_size = sizes
    settings = config.Actor(hidden_sizes=tuple(hidden_sizes), **options)
    return init_actor(KEY, obs_size, action_size, settings)


def make_critic(obs_size, action_size, hidden_sizes, norm="none", **options):
    settings = config.Critic(hidden_sizes=hidden_sizes, norm=norm, **options)
    return init_critic(KEY, obs_size, action_size, settings)


def layers_of(sizes, **options):
    return init_layers(KEY, list(itertools.pairwise(sizes)), config.Actor(**options))


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 5, 4)])
def test_an_actor_returns_an_action_per_observation(hidden_sizes, norm):
    actor = make_actor((3, *hidden_sizes, 2), norm=norm)
    assert actor(jnp.ones((6, 3))).shape == (6, 2)
    assert len(actor.layers) == len(hidden_sizes) + 1


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 5, 4)])
def test_a_critic_returns_a_value_per_observation_and_action(hidden_sizes, norm):
    critic = make_critic(3, 2, hidden_sizes, norm)
    assert critic(jnp.ones((6, 3)), jnp.ones((6, 2))).shape == (6,)


def test_a_critic_sees_observation_and_action():
    critic = make_critic(3, 2, (8,))
    value = critic(jnp.ones((1, 3)), jnp.ones((1, 2)))
    assert critic(jnp.zeros((1, 3)), jnp.ones((1, 2))) != value
    assert critic(jnp.ones((1, 3)), jnp.zeros((1, 2))) != value


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_actions_lie_in_the_unit_interval(scale):
    action = make_actor((3, 16, 2))(scale * jax.random.normal(KEY, (100, 3)))
    assert np.abs(action).max() <= 1.0


def test_activations_stand_between_layers_and_not_after_the_last():
    layers = (
        Linear(jnp.array([[1.0, -1.0]]), jnp.array([0.5, 0.0])),
        Linear(jnp.array([[2.0], [3.0]]), jnp.array([-10.0])),
    )
    value = Critic(layers, None, "relu", 0)(jnp.array([[1.0]]), jnp.zeros((1, 0)))
    # relu(1 + 0.5) = 1.5, relu(-1) = 0;  2 · 1.5 + 3 · 0 - 10 = -7
    np.testing.assert_allclose(value, [-7.0], rtol=1e-6)


def test_layer_norm_standardizes_each_sample_before_the_activation():
    layers = (
        Linear(jnp.eye(2), jnp.array([0.0, 0.0])),
        Linear(jnp.array([[1.0], [10.0]]), jnp.array([0.0])),
    )
    critic = Critic(layers, (init_layer_norm(2),), "leaky_relu", 0)
    value = critic(jnp.array([[1.0], [500.0]]), jnp.array([[5.0], [300.0]]))
    # (1, 5) has mean 3 and deviation 2: (-1, 1), then (-0.01, 1);  -0.01 + 10 = 9.99
    # (500, 300) has mean 400 and deviation 100: (1, -1), then (1, -0.01);  1 - 0.1 = 0.9
    np.testing.assert_allclose(value, [9.99, 0.9], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("xavier", (6 / (50 + 400)) ** 0.5),
        ("uniform", 1 / 50**0.5),
    ],
)
def test_initial_weights_fill_their_range(name, limit):
    (layer,) = layers_of((50, 400), weights_init=name)
    # Of 20000 draws, the largest lies within 0.1% of the limit (but for one time in 5e8).
    assert 0.999 * limit < np.abs(layer.weight).max() <= limit
    assert abs(np.mean(layer.weight)) < 0.02 * limit


def test_initial_biases_are_zeros_or_fill_the_range_of_the_inputs():
    (zeros,) = layers_of((50, 4000), bias_init="zeros")
    (uniform,) = layers_of((50, 4000), bias_init="uniform")
    np.testing.assert_array_equal(zeros.bias, np.zeros(4000))
    limit = 1 / 50**0.5
    assert 0.99 * limit < np.abs(uniform.bias).max() <= limit


def test_final_range_is_that_of_the_last_layer_only():
    sizes = (30, 40, 500)
    plain = layers_of(sizes)
    ranged = layers_of(sizes, final_range=3e-3, bias_init="zeros")
    np.testing.assert_array_equal(plain[0].weight, ranged[0].weight)
    for drawn in (ranged[1].weight, ranged[1].bias):
        assert 0.98 * 3e-3 < np.abs(drawn).max() <= 3e-3


def test_every_layer_and_key_has_its_own_weights():
    first, second = layers_of((8, 8, 8))
    (other, _) = init_layers(jax.random.key(1), [(8, 8), (8, 8)], config.Actor())
    assert not np.array_equal(first.weight, second.weight)
    assert not np.array_equal(first.weight, other.weight)
    assert not np.array_equal(first.weight[0], first.bias)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_deployed_activation_is_the_trained_one(name):
    grid = np.concatenate([np.linspace(-12, 12, 481), [-200, -50, 50, 200]]).astype(np.float32)
    trained = ACTIVATIONS[name](jnp.asarray(grid))
    np.testing.assert_allclose(DEPLOYED[name](grid), trained, rtol=1e-5, atol=1e-6)


def test_the_two_tables_of_activations_and_the_options_agree():
    _, sentence = networks.ACTIVATION
    assert set(ACTIVATIONS) == set(DEPLOYED)
    assert sentence == f"must be one of {', '.join(ACTIVATIONS)}"


def test_the_action_may_enter_one_layer_later():
    layers = (
        Linear(jnp.array([[2.0]]), jnp.array([-1.0])),
        Linear(jnp.array([[1.0, 0.0], [0.0, 10.0]]), jnp.zeros(2)),
        Linear(jnp.array([[1.0], [1.0]]), jnp.zeros(1)),
    )
    value = Critic(layers, None, "relu", 1)(jnp.array([[3.0], [0.0]]), jnp.array([[0.5], [-1.0]]))
    # relu(2 · 3 - 1) = 5 beside 0.5: 5 + 10 · 0.5 = 10;  relu(-1) = 0 beside -1: relu(-10) = 0
    np.testing.assert_allclose(value, [10.0, 0.0], rtol=1e-6)


def test_a_late_action_widens_the_layer_that_it_enters():
    shapes = [layer.weight.shape for layer in make_critic(3, 2, (8, 6), action_layer=1).layers]
    assert shapes == [(3, 8), (10, 6), (6, 1)]


def test_batch_norm_learns_with_the_batch_and_acts_with_running_statistics():
    norm = BatchNorm(jnp.array([2.0]), jnp.array([1.0]), jnp.array([10.0]), jnp.array([4.0]))
    batch = jnp.array([[1.0], [3.0]])
    learned, seen = norm.learning(batch)
    # The batch has mean 2 and variance 1: (-1, 1) · 2 + 1.
    np.testing.assert_allclose(learned, [[-1.0], [3.0]], rtol=1e-4)
    # The running ones are mean 10 and deviation 2: (-4.5, -3.5) · 2 + 1.
    np.testing.assert_allclose(norm(batch), [[-8.0], [-6.0]], rtol=1e-4)
    # A batch replaces 1% of them: 10 - 0.01 · 8 and 4 - 0.01 · 3.
    np.testing.assert_allclose(seen.mean, [9.92], rtol=1e-6)
    np.testing.assert_allclose(seen.variance, [3.97], rtol=1e-6)
    assert (seen.scale, seen.offset) == (norm.scale, norm.offset)


def test_a_network_takes_over_the_statistics_that_a_batch_left():
    critic = make_critic(3, 2, (8,), norm="batch")
    _, seen = critic.learning(jnp.ones((4, 3)), jnp.ones((4, 2)))
    (after,) = critic.with_statistics(seen).norms
    np.testing.assert_array_equal(after.mean, seen.hidden[0].mean)
    assert np.abs(after.mean).max() > 0
    np.testing.assert_array_equal(after.scale, critic.norms[0].scale)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_without_batch_norm_learning_and_acting_see_the_same(norm):
    critic = make_critic(3, 2, (8,), norm=norm)
    obs, action = jnp.ones((4, 3)), jnp.ones((4, 2))
    learned, seen = critic.learning(obs, action)
    np.testing.assert_array_equal(learned, critic(obs, action))
    assert critic.with_statistics(seen).norms == critic.norms


def test_perturbing_adds_noise_in_proportion_to_each_matrix_and_spares_norms():
    actor = make_actor((50, 300, 2), norm="layer")
    moved = actor.perturbed(jax.random.key(3), 0.1)
    for layer, other in zip(actor.layers, moved.layers, strict=True):
        size = np.sqrt(np.mean(np.square(layer.weight)))
        # 600 draws and more: their deviation is known to 3%.
        np.testing.assert_allclose(np.std(other.weight - layer.weight), 0.1 * size, rtol=0.1)
    assert moved.norms == actor.norms
