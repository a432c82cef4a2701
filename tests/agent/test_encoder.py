"""Encoders: shapes, initial weights, pixels, the normalization of the trunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cores import printed_on_one_and_two

from qmu import config
from qmu.agent.convolution import LAYOUT
from qmu.agent.encoder import (
    STRIDES,
    CentredNorm,
    encoder_step,
    feature_count,
    init_encoder,
    init_encoder_optimizer,
    last_side,
    orthogonal,
    smallest_side,
)
from qmu.errors import ConfigError

KEY = jax.random.key(0)


def pictures(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def slowly(encoder, images):
    """Return features by XLA's own convolutions and NumPy."""
    hidden = jnp.asarray(np.float64(images) / 255 - 0.5, jnp.float32)
    for layer in encoder.convolutions:
        strides = (layer.stride, layer.stride)
        hidden = jax.lax.conv_general_dilated(
            hidden, layer.weight, strides, "VALID", dimension_numbers=LAYOUT
        )
        hidden = jnp.maximum(hidden + layer.bias[None, None, None], 0)
    flat = np.float64(hidden).reshape(len(hidden), -1)
    units = flat @ np.float64(encoder.trunk.weight) + np.float64(encoder.trunk.bias)
    spread = np.sqrt(units.var(axis=-1, keepdims=True) + 1e-5)
    normal = (units - units.mean(axis=-1, keepdims=True)) / spread
    return np.tanh(normal * np.float64(encoder.norm.scale) + np.float64(encoder.norm.offset))


def shaken(encoder):
    """Return the encoder with other biases, scales and offsets than the first ones."""
    leaves, structure = jax.tree.flatten(encoder)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        structure,
        [
            leaf + (leaf.ndim == 1) * 0.1 * jax.random.normal(key, leaf.shape)
            for key, leaf in zip(keys, leaves, strict=True)
        ],
    )


@pytest.mark.parametrize("kind", list(STRIDES))
def test_features_are_those_of_plain_convolutions(kind):
    encoder = shaken(init_encoder(KEY, [(33, 36, 3)], config.Encoder(kind=kind, features=7)))
    images = pictures(4, 33, 36, 3)
    found = encoder(jnp.zeros((4, 0)), (images,))
    np.testing.assert_allclose(found, slowly(encoder.images[0], images), atol=2e-5)


def test_numbers_come_first_and_then_the_features_of_each_image():
    settings = config.Encoder(kind="drqv2", features=5)
    encoder = init_encoder(KEY, [(15, 15, 3), (17, 16, 1)], settings)
    numbers, images = (
        jnp.arange(6.0).reshape(3, 2),
        (pictures(3, 15, 15, 3), pictures(3, 17, 16, 1)),
    )
    found = encoder(numbers, images)
    assert found.shape == (3, feature_count(2, 2, settings)) == (3, 12)
    np.testing.assert_array_equal(found[:, :2], numbers)
    np.testing.assert_array_equal(found[:, 2:7], encoder.images[0](images[0]))
    np.testing.assert_array_equal(found[:, 7:], encoder.images[1](images[1]))
    # Two images have weights of their own.
    first, second = (own.convolutions[1].weight for own in encoder.images)
    assert not jnp.allclose(first, second)


def test_the_first_weights_are_orthogonal_and_the_first_biases_0():
    encoder = init_encoder(KEY, [(31, 40, 9)], config.Encoder(features=6)).images[0]
    for layer in encoder.convolutions:
        columns = np.asarray(layer.weight).reshape(-1, 32)
        np.testing.assert_allclose(columns.T @ columns, 2 * np.eye(32), atol=1e-5)
        assert not layer.bias.any()
    columns = np.asarray(encoder.trunk.weight)
    assert columns.shape == (1 * 2 * 32, 6)
    np.testing.assert_allclose(columns.T @ columns, np.eye(6), atol=1e-5)
    assert not encoder.trunk.bias.any()
    assert (encoder.norm.scale == 1).all()


def test_weights_with_fewer_inputs_than_outputs_have_orthogonal_rows():
    rows = orthogonal(KEY, (3, 3, 2, 32), 1.5).reshape(18, 32)
    np.testing.assert_allclose(rows @ rows.T, 2.25 * np.eye(18), atol=1e-5)


@pytest.mark.parametrize(("kind", "side"), [("strided", 31), ("drqv2", 15)])
def test_the_smallest_images(kind, side):
    assert smallest_side(kind) == side
    assert last_side(side, STRIDES[kind]) == 1
    init_encoder(KEY, [(side, side, 1)], config.Encoder(kind=kind, features=1))
    with pytest.raises(ConfigError, match=rf"{side - 1} x 40 .*{kind}.* need {side} "):
        init_encoder(KEY, [(side - 1, 40, 1)], config.Encoder(kind=kind))


def test_images_that_are_too_small_are_told_of_the_kind_that_takes_them():
    with pytest.raises(ConfigError, match=r"larger images, or --encoder\.kind drqv2$"):
        init_encoder(KEY, [(30, 30, 1)], config.Encoder(kind="strided"))
    with pytest.raises(ConfigError, match=r"larger images$"):
        init_encoder(KEY, [(14, 14, 1)], config.Encoder(kind="strided"))


def test_a_large_mean_does_not_spoil_the_normalization():
    spread = np.random.default_rng(0).normal(size=(8, 50))
    norm = CentredNorm(jnp.ones(50), jnp.zeros(50))
    found = norm(jnp.asarray(spread + 1000, jnp.float32))
    expected = (spread - spread.mean(-1, keepdims=True)) / spread.std(-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_step_is_adams():
    encoder = init_encoder(KEY, [(15, 15, 1)], config.Encoder(kind="drqv2", features=2))
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, -3.0), encoder)
    settings = config.Encoder(lr=0.25)
    state = init_encoder_optimizer(encoder)
    after, state = encoder_step(encoder, gradient, state, settings)
    # Adam's first step is the learning rate, against the gradient's sign, whatever its size.
    for old, new in zip(jax.tree.leaves(encoder), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(new - old, 0.25, rtol=1e-5)
    assert state.count == 1


def test_a_few_steps_make_features_what_is_wanted():
    settings = config.Encoder(kind="drqv2", features=3, lr=3e-3)
    encoder, other = (init_encoder(jax.random.key(own), [(15, 15, 2)], settings) for own in (0, 1))
    images = (pictures(6, 15, 15, 2),)
    wanted = other(jnp.zeros((6, 0)), images)

    def loss(encoder):
        return jnp.mean(jnp.square(encoder(jnp.zeros((6, 0)), images) - wanted))

    def step(_, now):
        return encoder_step(now[0], jax.grad(loss)(now[0]), now[1], settings)

    start = encoder, init_encoder_optimizer(encoder)
    after, _ = jax.jit(lambda start: jax.lax.fori_loop(0, 60, step, start))(start)
    assert loss(after) < 0.1 * loss(encoder)


PROGRAM = """
import hashlib
import jax, numpy as np
from qmu import config
from qmu.agent.encoder import init_encoder
encoder = init_encoder(jax.random.key(0), [(64, 64, 9)], config.Encoder(kind="drqv2"))
weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(encoder))
print(hashlib.sha256(weights).hexdigest())
"""


@pytest.mark.long
def test_the_first_weights_are_the_same_on_one_core_and_on_two():
    assert len(printed_on_one_and_two(PROGRAM)) == 1
