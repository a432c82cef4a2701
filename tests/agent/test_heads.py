"""How values are said: by one number, or by a distribution over bins."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu import config
from qmu.agent.heads import HEADS, SUPPORT
from qmu.agent.losses import cross_entropy, huber_error, projected, smeared, weighted_mean
from qmu.config import reading

# Five bins, at -2, -1, 0, 1 and 2.
ENDS = 2.0
FINITE = {"allow_nan": False, "allow_infinity": False, "width": 32}


def array(*numbers):
    return jnp.asarray(numbers, jnp.float32)


def rows(*numbers):
    return jnp.asarray(numbers, jnp.float32)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0.0, [0, 0, 1, 0, 0]),  # exactly on a bin
        (-2.0, [1, 0, 0, 0, 0]),  # on the first one
        (2.0, [0, 0, 0, 0, 1]),  # on the last one
        (0.25, [0, 0, 0.75, 0.25, 0]),
        (-1.9, [0.9, 0.1, 0, 0, 0]),
        (7.0, [0, 0, 0, 0, 1]),  # beyond the ends
        (-1e30, [1, 0, 0, 0, 0]),
    ],
)
def test_a_value_is_divided_among_the_two_bins_around_it(place, expected):
    chance = rows([0, 1, 0, 0, 0])
    moved = jnp.full((1, 5), place, jnp.float32)
    np.testing.assert_allclose(projected(chance, moved, ENDS), rows(expected), atol=1e-6)


def test_a_distribution_is_moved_and_shrunk():
    # Values -2 ... 2 become 0.5 + 0.5 v: -0.5, 0, 0.5, 1, 1.5.
    chance = rows([0.1, 0.2, 0.4, 0.2, 0.1])
    moved = 0.5 + 0.5 * jnp.linspace(-2, 2, 5)[None]
    # -0.5 to bins -1 and 0; 0 to 0; 0.5 to 0 and 1; 1 to 1; 1.5 to 1 and 2.
    expected = [0, 0.05, 0.05 + 0.2 + 0.2, 0.2 + 0.2 + 0.05, 0.05]
    np.testing.assert_allclose(projected(chance, moved, ENDS), rows(expected), atol=1e-6)


def slowly_projected(chance, moved, support):
    """Return the projection, bin by bin, with the triangle around each (Bellemare et al. 2017)."""
    bins = chance.shape[1]
    width = 2 * support / (bins - 1)
    found = np.zeros(chance.shape)
    for row in range(len(chance)):
        for target in range(bins):
            centre = -support + target * width
            for source in range(bins):
                place = min(max(moved[row, source], -support), support)
                found[row, target] += chance[row, source] * max(
                    0.0, 1 - abs(place - centre) / width
                )
    return found


@given(
    st.integers(2, 9),
    st.lists(
        st.tuples(st.floats(-20, 20, **FINITE), st.floats(0, 1, **FINITE)), min_size=1, max_size=4
    ),
    st.integers(0, 2**20),
)
def test_a_projection_is_that_of_the_slow_reference(bins, moves, seed):
    generator = np.random.default_rng(seed)
    chance = generator.dirichlet(np.full(bins, 0.3), len(moves))
    shift, factor = np.array(moves).T
    moved = shift[:, None] + factor[:, None] * np.linspace(-SUPPORT, SUPPORT, bins)
    found = projected(jnp.asarray(chance, jnp.float32), jnp.asarray(moved, jnp.float32), SUPPORT)
    np.testing.assert_allclose(found, slowly_projected(chance, moved, SUPPORT), atol=1e-5)
    np.testing.assert_allclose(np.sum(found, axis=1), 1.0, atol=1e-5)


def test_a_normal_target_is_what_lies_between_the_edges_of_a_bin():
    found = np.asarray(smeared(array(0.3), 5, ENDS, 0.5))[0]

    def below(edge):
        return 0.5 * (1 + math.erf((edge - 0.3) / (0.5 * math.sqrt(2))))

    edges = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    mass = np.diff([below(edge) for edge in edges])
    np.testing.assert_allclose(found, mass / mass.sum(), atol=1e-6)


@given(st.floats(-30, 30, **FINITE), st.integers(11, 201), st.floats(0.5, 2.0, **FINITE))
def test_a_normal_target_has_its_value_as_mean(value, bins, spread):
    found = np.asarray(smeared(array(value), bins, SUPPORT, spread), np.float64)[0]
    assert found.sum() == pytest.approx(1.0, abs=1e-5)
    width = 2 * SUPPORT / (bins - 1)
    mean = found @ np.linspace(-SUPPORT, SUPPORT, bins)
    inside = min(max(value, -SUPPORT), SUPPORT)
    # At an end half of the bell is left out: the mean moves inwards, by less than its width.
    near = SUPPORT - abs(inside) < 4 * spread * width
    assert abs(mean - inside) < ((spread + 0.5) * width if near else 0.15 * width)


def test_cross_entropy_by_hand():
    logits = jnp.log(rows([0.5, 0.25, 0.25]))
    found = cross_entropy(logits, rows([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(found, [math.log(2)], rtol=1e-6)
    both = cross_entropy(logits, rows([0.0, 0.5, 0.5]))
    np.testing.assert_allclose(both, [math.log(4)], rtol=1e-6)


def test_huber_is_the_square_up_to_1_and_grows_evenly_beyond():
    value, target = array(0.0, 0.0, 0.0, 5.0), array(0.5, 1.0, -3.0, 15.0)
    np.testing.assert_allclose(huber_error(value, target), [0.25, 1.0, 5.0, 19.0], rtol=1e-6)
    slope = jax.grad(lambda own: jnp.sum(huber_error(own, target)))(value)
    np.testing.assert_allclose(slope, [-1.0, -2.0, 2.0, -2.0], rtol=1e-6)


# Logits of distributions over three bins, at -5, 0 and 5, of two critics and two rows.
SAID = jnp.log(
    jnp.asarray(
        [
            [[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]],  # values 0 and 3.5
            [[0.6, 0.2, 0.2], [0.0001, 0.0001, 0.9998]],  # values -2 and almost 5
        ]
    )
)


def settings_of(**options):
    return reading.from_dict({"critic": {"count": 2, **options}}).critic


def test_a_value_in_bins_is_their_mean():
    found = HEADS["categorical"].value(SAID)
    np.testing.assert_allclose(found, [[0.0, 3.5], [-2.0, 5 * 0.9997]], atol=1e-3)


def test_the_smallest_of_two_distributions_is_that_of_the_smaller_mean():
    settings = settings_of(head="categorical")
    target = HEADS["categorical"].target(jnp.zeros(2), jnp.ones(2), SAID, settings)
    np.testing.assert_allclose(target, [[0.6, 0.2, 0.2], [0.1, 0.1, 0.8]], atol=1e-5)
    np.testing.assert_allclose(HEADS["categorical"].target_value(target), [-2.0, 3.5], atol=1e-4)


def test_the_mean_of_two_distributions_is_their_mixture():
    settings = settings_of(head="categorical", bootstrap="mean")
    target = HEADS["categorical"].target(jnp.zeros(2), jnp.ones(2), SAID, settings)
    np.testing.assert_allclose(target[0], [0.4, 0.4, 0.2], atol=1e-5)
    # After a termination all of it lies at the reward: 2.5, half way from 0 to 5.
    ended = HEADS["categorical"].target(array(2.5, -5.0), jnp.zeros(2), SAID, settings)
    np.testing.assert_allclose(ended, [[0, 0.5, 0.5], [1, 0, 0]], atol=1e-5)


@pytest.mark.parametrize(("bootstrap", "value"), [("min", -2.0), ("mean", -1.0)])
def test_hl_gauss_learns_the_number_that_scalars_do(bootstrap, value):
    settings = settings_of(head="hl-gauss", bootstrap=bootstrap, spread=0.2)
    target = HEADS["hl-gauss"].target(array(1.0, 1.0), array(0.5, 0.5), SAID, settings)
    expected = smeared(array(1.0 + 0.5 * value), 3, SUPPORT, 0.2)
    np.testing.assert_allclose(target[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_no_gradient_flows_into_a_target(kind):
    settings = settings_of(head=kind)
    said = SAID if kind != "scalar" else SAID[..., 0]

    def loss(said):
        target = HEADS[kind].target(jnp.zeros(2), jnp.ones(2), said, settings)
        return jnp.sum(HEADS[kind].target_value(target))

    np.testing.assert_array_equal(jax.grad(loss)(said), jnp.zeros_like(said))


@pytest.mark.parametrize("kind", ["categorical", "hl-gauss"])
def test_steps_down_the_loss_bring_a_value_to_its_target(kind):
    settings = settings_of(head=kind, bins=51)
    head, wanted = HEADS[kind], array(1.7, -4.2)
    next_said = jnp.zeros((1, 2, 51))
    target = head.target(wanted, jnp.zeros(2), next_said, settings)

    def loss(said):
        return weighted_mean(head.loss(said, target, settings), jnp.ones(2))

    said = jnp.zeros((2, 51))
    for _ in range(300):
        said = said - 5.0 * jax.grad(loss)(said)
    np.testing.assert_allclose(head.value(said), wanted, atol=0.05)


def test_bins_and_spread_have_defaults_where_they_are_used():
    from qmu.config import heads

    assert heads.bins(config.Critic()) is None
    assert heads.bins(config.Critic(head="categorical")) == 51
    assert heads.bins(config.Critic(head="hl-gauss", bins=7)) == 7
    assert heads.spread(config.Critic(head="hl-gauss")) == 0.75
