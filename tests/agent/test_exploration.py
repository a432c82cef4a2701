"""Noise and random actions, in half action ranges."""

import numpy as np

from qmu.agent.exploration import explore, normal_noise, uniform_actions

SHAPE = (2_000, 2, 5)


def test_normal_noise_has_the_mean_and_deviation_that_were_asked_for():
    noise = normal_noise(np.random.default_rng(0), SHAPE, mean=0.3, std=0.1)
    # 20000 draws: the mean is known to 0.1 / sqrt(20000) = 0.0007.
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0.3, atol=0.01)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), 0.1, atol=0.005)
    assert noise.dtype == np.float32


def test_noise_is_independent_in_time_worlds_and_dimensions():
    noise = normal_noise(np.random.default_rng(0), SHAPE, mean=0.0, std=1.0)
    assert abs(np.mean(noise[1:] * noise[:-1])) < 0.05
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) < 0.05
    assert abs(np.mean(noise[..., 0] * noise[..., 1])) < 0.05


def test_random_actions_fill_the_bounds():
    actions = uniform_actions(np.random.default_rng(0), SHAPE)
    assert -1 <= actions.min() < -0.99
    assert 0.99 < actions.max() <= 1
    assert abs(actions.mean()) < 0.02
    assert actions.dtype == np.float32


def test_exploring_adds_the_noise_and_clips_to_the_bounds():
    action, noise = np.float32([[0.5, 0.9, -0.9]]), np.float32([[0.25, 0.5, -0.5]])
    np.testing.assert_array_equal(explore(action, noise), [[0.75, 1.0, -1.0]])
    np.testing.assert_array_equal(action, np.float32([[0.5, 0.9, -0.9]]))
