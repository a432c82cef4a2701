"""The encoder outside of training: the trained one's features, by names in a file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu import config
from qmu.agent.encoder import PIXEL_OFFSET, PIXEL_SCALE, STRIDES, init_encoder
from qmu.deploy import pixels
from qmu.deploy.pixels import PixelEncoder, convolved, pixel_encoder


def make_encoder(shape, **options):
    """Return a trained encoder: biases, scales and offsets are neither 0 nor 1."""
    (encoder,) = init_encoder(jax.random.key(0), [shape], config.Encoder(**options)).images
    leaves, structure = jax.tree.flatten(encoder)
    changed = [jnp.linspace(-0.1, 1.5, leaf.size) if leaf.ndim == 1 else leaf for leaf in leaves]
    return jax.tree.unflatten(structure, changed)


def deployed(encoder):
    encoder = jax.device_get(encoder)
    layers = encoder.convolutions
    return PixelEncoder(
        weights=tuple(layer.weight for layer in layers),
        biases=tuple(layer.bias for layer in layers),
        strides=tuple(layer.stride for layer in layers),
        trunk_weight=encoder.trunk.weight,
        trunk_bias=encoder.trunk.bias,
        scale=encoder.norm.scale,
        offset=encoder.norm.offset,
    )


def pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", list(STRIDES))
@pytest.mark.parametrize("shape", [(31, 32, 9), (36, 33, 1)])
def test_the_numpy_encoder_is_the_trained_one(kind, shape):
    encoder, images = make_encoder(shape, kind=kind, features=11), pictures(5, *shape)
    features = deployed(encoder)(images)
    assert (features.shape, features.dtype) == ((5, 11), np.float32)
    np.testing.assert_allclose(features, encoder(jnp.asarray(images)), atol=1e-5)


def test_a_pixel_is_the_same_number():
    assert np.float32(PIXEL_SCALE) == pixels.PIXEL_SCALE
    assert np.float32(PIXEL_OFFSET) == pixels.PIXEL_OFFSET


def test_a_convolution_by_hand():
    images = np.arange(20, dtype=np.float32).reshape(1, 5, 4, 1)
    weight = np.zeros((3, 3, 1, 2), np.float32)
    # The pixel in the middle, and the one at the lower left less the one at the upper right.
    weight[1, 1, 0, 0] = weight[2, 0, 0, 1] = 1
    weight[0, 2, 0, 1] = -1
    assert convolved(images, weight, 2).tolist() == [[[[5, 6]], [[13, 6]]]]
    assert convolved(images, weight, 1)[0, :, :, 0].tolist() == [[5, 6], [9, 10], [13, 14]]


def test_images_may_be_views_from_the_end():
    encoder = deployed(make_encoder((15, 16, 3), kind="drqv2", features=3))
    images = pictures(2, 15, 16, 3)
    turned = np.ascontiguousarray(images[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(encoder(turned), encoder(images))
    assert images.dtype == np.uint8


def test_its_numbers_have_names_and_can_be_read_again():
    encoder = deployed(make_encoder((15, 15, 2), kind="drqv2", features=3))
    arrays = encoder.arrays(1)
    assert len(arrays) == 2 * 4 + 4
    assert arrays["encoder.1.conv.0.weight"].shape == (3, 3, 2, 32)
    assert arrays["encoder.1.trunk.weight"].shape == (32, 3)
    again = pixel_encoder(arrays, 1, encoder.strides)
    images = pictures(2, 15, 15, 2)
    np.testing.assert_array_equal(again(images), encoder(images))
    with pytest.raises(KeyError, match=r"encoder\.0\.conv\.0\.weight"):
        pixel_encoder(arrays, 0, encoder.strides)


def test_numbers_that_are_not_finite_are_seen():
    encoder = deployed(make_encoder((15, 15, 2), kind="drqv2", features=3))
    assert encoder.finite()
    weights = list(encoder.weights)
    weights[2] = np.where(weights[2] == weights[2].max(), np.float32(np.nan), weights[2])
    assert not dataclasses.replace(encoder, weights=tuple(weights)).finite()
    assert not dataclasses.replace(encoder, offset=np.float32([0, np.inf, 0])).finite()
