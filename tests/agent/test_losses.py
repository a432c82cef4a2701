"""The equations against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.agent.losses import (
    actor_loss,
    critic_loss,
    preactivation_penalty,
    smoothed,
    soft_update,
    td_target,
    weighted_mean,
)


def array(*numbers):
    return jnp.array(numbers, jnp.float32)


def test_td_target_adds_the_discounted_next_value():
    target = td_target(array(1.0, 0.5), array(0.9, 0.8), array(10.0, -5.0))
    # 1 + 0.9 · 10 = 10;  0.5 + 0.8 · (-5) = -3.5
    np.testing.assert_allclose(target, [10.0, -3.5], rtol=1e-6)


def test_a_termination_stops_the_target_and_a_truncation_does_not():
    gamma = 0.99
    terminated_then_truncated = gamma * array(0.0, 1.0)
    target = td_target(array(2.0, 2.0), terminated_then_truncated, array(100.0, 100.0))
    # terminated: 2 + 0 · 100 = 2;  truncated: 2 + 0.99 · 100 = 101
    np.testing.assert_allclose(target, [2.0, 101.0], rtol=1e-6)


def test_no_gradient_flows_through_the_target():
    gradient = jax.grad(lambda value: td_target(array(1.0), array(0.9), value)[0])(array(3.0))
    np.testing.assert_array_equal(gradient, [0.0])


def test_critic_loss_is_the_mean_squared_error():
    loss = critic_loss(array(1.0, 2.0, 3.0), array(2.0, 0.0, 3.5), array(1.0, 1.0, 1.0))
    # (1² + 2² + 0.5²) / 3 = 5.25 / 3 = 1.75: no factor of one half
    np.testing.assert_allclose(loss, 1.75, rtol=1e-6)


def test_critic_loss_pulls_values_to_their_targets():
    value, target, weight = array(1.0, 5.0), array(2.0, 2.0), array(1.0, 1.0)
    gradient = jax.grad(critic_loss)(value, target, weight)
    # 2 (Q - y) / 2: 1 - 2 = -1;  5 - 2 = 3
    np.testing.assert_allclose(gradient, [-1.0, 3.0], rtol=1e-6)


def test_critic_loss_leaves_out_slots_of_weight_0():
    loss = critic_loss(array(1.0, 777.0, 3.0), array(2.0, 0.0, 6.0), array(1.0, 0.0, 1.0))
    # (1² + 3²) / 2 = 5
    np.testing.assert_allclose(loss, 5.0, rtol=1e-6)


def test_actor_loss_is_minus_the_mean_value():
    loss = actor_loss(array(1.0, 2.0, 6.0), array(1.0, 1.0, 1.0))
    # -(1 + 2 + 6) / 3 = -3
    np.testing.assert_allclose(loss, -3.0, rtol=1e-6)


def test_actor_loss_leaves_out_slots_of_weight_0():
    loss = actor_loss(array(1.0, -777.0, 6.0), array(1.0, 0.0, 1.0))
    # -(1 + 6) / 2 = -3.5
    np.testing.assert_allclose(loss, -3.5, rtol=1e-6)


def test_smoothing_cuts_the_noise_and_stays_inside_the_bounds():
    action, noise = array(0.0, 0.5, -0.9)[:, None], array(0.4, 0.9, -0.2)[:, None]
    # 0 + 0.3 (cut), 0.5 + 0.3 (cut), -0.9 - 0.2 = -1.1 (cut to the bound)
    np.testing.assert_allclose(smoothed(action, noise, 0.3)[:, 0], [0.3, 0.8, -1.0], rtol=1e-6)
    np.testing.assert_allclose(smoothed(action, noise, None)[:, 0], [0.4, 1.0, -1.0], rtol=1e-6)


def test_weighted_mean_divides_by_the_number_of_slots_that_count():
    mean = weighted_mean(array(1.0, 2.0, 4.0, 9.0), array(1.0, 0.5, 0.25, 0.0))
    # (1 + 1 + 1 + 0) / 3 slots; Schaul et al. 2016 scale the step by the weights, too.
    np.testing.assert_allclose(mean, 1.0, rtol=1e-6)


def test_weighted_mean_and_its_gradient_are_0_without_weights():
    mean, gradient = jax.value_and_grad(weighted_mean)(array(5.0, 6.0), array(0.0, 0.0))
    assert mean == 0.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        (0.25, [2.0, 12.0]),  # 0.75 · 0 + 0.25 · 8 = 2;  0.75 · 10 + 0.25 · 18 = 12
        (1.0, [8.0, 18.0]),
        (0.0, [0.0, 10.0]),
    ],
)
def test_soft_update_takes_over_a_share_of_every_leaf(tau, expected):
    target = {"weight": array(0.0, 10.0), "bias": (array(4.0),)}
    online = {"weight": array(8.0, 18.0), "bias": (array(4.0),)}
    followed = soft_update(target, online, jnp.float32(tau))
    np.testing.assert_allclose(followed["weight"], expected, rtol=1e-6)
    np.testing.assert_allclose(followed["bias"][0], [4.0], rtol=1e-6)


def test_the_preactivation_penalty_is_the_mean_square():
    preactivation = jnp.array([[1.0, 3.0], [2.0, 0.0], [100.0, 100.0]])
    penalty = preactivation_penalty(preactivation, array(1.0, 1.0, 0.0))
    # ((1² + 3²) / 2 + (2² + 0²) / 2) / 2 = (5 + 2) / 2 = 3.5
    np.testing.assert_allclose(penalty, 3.5, rtol=1e-6)
