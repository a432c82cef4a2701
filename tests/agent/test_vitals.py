"""Vitals against numbers worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.agent import update as algorithm
from qmu.agent.layers import Linear
from qmu.agent.vitals import dead, gradient_length, vitals
from qmu.layout import Layout
from qmu.rows import Batch

OBS = np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [1.0, 0.0]], np.float32)
ACTION = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)


def batch():
    return Batch(
        obs=jnp.asarray(OBS),
        action=jnp.asarray(ACTION),
        reward=jnp.array([0.0, 0.0, 4.0, 4.0]),
        discount=jnp.ones(4),
        next_obs=jnp.asarray(OBS),
        weight=jnp.ones(4),
    )


def linear(weight, bias):
    return Linear(jnp.array(weight, jnp.float32), jnp.array(bias, jnp.float32))


def test_vitals_of_small_networks_by_hand(tiny_config):
    config = tiny_config(
        actor={"hidden_sizes": [2]}, critic={"hidden_sizes": [2], "norm": "none"},
        env={"reward_scale": 0.5},
    )  # fmt: skip
    agent = algorithm.init(jax.random.key(0), Layout(2), 1, config)
    # Hidden units relu(x) and relu(-9): the second says 0 whatever it sees. Then 2 relu(x).
    actor = dataclasses.replace(
        agent.actor,
        layers=(linear([[1, 0], [0, 0]], [0, -9]), linear([[2], [1]], [0])),
    )
    # Units relu(x + 5) and relu(a): Q = x + 5 + 3 a; the target is less by 2.
    layers = linear([[1, 0], [0, 0], [0, 1]], [5, 0]), linear([[1], [3]], [0])
    critic = dataclasses.replace(agent.critics.each[0], layers=layers)
    slow = dataclasses.replace(critic, layers=(layers[0], linear([[1], [3]], [-2])))
    agent = dataclasses.replace(
        agent,
        actor=actor,
        critics=dataclasses.replace(agent.critics, each=(critic,)),
        target=dataclasses.replace(
            agent.target, critics=dataclasses.replace(agent.critics, each=(slow,))
        ),
    )
    found = vitals(agent, batch(), algorithm.trace_numbers(config))
    # What the tanh is given: 2, 0, 6, 2; tanh(2) = 0.964.
    assert found.saturated == pytest.approx(0.25)
    assert found.preactivation == pytest.approx(np.sqrt((4 + 0 + 36 + 4) / 4))
    assert found.dead_actor == pytest.approx(0.5)
    assert found.dead_critic == pytest.approx(0.0)
    assert found.q_std == pytest.approx(np.std([6, 7, 8, 9]))
    assert found.target_gap == pytest.approx(2.0)
    assert (found.reward_mean, found.reward_std) == (1.0, 1.0)
    # The second number never changes.
    assert found.obs_smallest == found.obs_largest == pytest.approx(np.std([1, -1, 3, 1]))


def test_a_unit_is_dead_that_says_the_same_for_all():
    layers = [jnp.array([[0.0, 1.0], [0.0, 2.0]]), jnp.array([[3.0, 3.0], [3.0, 3.0 + 1e-7]])]
    assert dead(layers) == pytest.approx(0.75)
    assert dead([]) is None


def test_the_length_of_gradients_is_read_from_adam(tiny_config):
    from qmu.agent.optimizers import init_optimizer, optimizer_step

    config = tiny_config(actor={"clip_norm": 100.0}).actor
    weights = {"one": jnp.zeros(2), "other": jnp.zeros(1)}
    state = init_optimizer(weights, config)
    assert gradient_length(state) == 0.0
    gradient = {"one": jnp.array([3.0, 0.0]), "other": jnp.array([4.0])}
    for _ in range(3):
        weights, state = optimizer_step(weights, gradient, state, config)
    assert gradient_length(state) == pytest.approx(5.0, rel=1e-4)
    sgd = tiny_config(actor={"optimizer": "sgd"}).actor
    assert gradient_length(init_optimizer(weights, sgd)) is None
