import jax.numpy as jnp
import pytest

from qmu.agent.schedule import linear, scheduled
from qmu.agent.update import trace_numbers
from qmu.config.reading import from_dict


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 0.8), (0.5, 0.6), (1.0, 0.2)])
def test_linear_is_the_straight_line_between_its_ends(share, expected):
    assert float(linear(1.0, 0.2, jnp.float32(share))) == pytest.approx(expected)


def test_each_learning_rate_falls_to_its_own_share_of_itself():
    config = from_dict({"actor": {"lr": 2e-3, "lr_end": 0.1}, "critic": {"lr": 1e-3, "lr_end": 1}})
    half = scheduled(trace_numbers(config), jnp.float32(0.5))
    assert float(half.actor.lr) == pytest.approx(1.1e-3)
    assert float(half.critic.lr) == pytest.approx(1e-3)


def test_both_ends_of_the_worlds_noise_fall_alike():
    held = {"env": {"count": 2}, "explore": {"std": 0.1, "std_last": 0.4, "noise_end": 0.5}}
    config = trace_numbers(from_dict(held))
    half = scheduled(config, jnp.float32(0.5)).explore
    assert float(half.std) == pytest.approx(0.075)
    assert float(half.std_last) == pytest.approx(0.3)
    given = scheduled(config, jnp.float32(0.5), {"explore.std_last"}).explore
    assert float(given.std_last) == pytest.approx(0.4)


def test_nothing_else_changes():
    config = trace_numbers(from_dict({}))
    later = scheduled(config, jnp.float32(0.7))
    assert later.target == config.target
    assert later.explore == config.explore
