"""The convolution and its gradient, by hand and against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from budget import examples
from cores import printed_on_one_and_two
from hypothesis import given, settings
from hypothesis import strategies as st

from qmu.agent.convolution import (
    LAYOUT,
    Convolution,
    by_both,
    by_weight,
    convolve,
    largest_divisor,
    output_side,
)


def plain(images, weight, bias, stride):
    outputs = jax.lax.conv_general_dilated(
        images, weight, (stride, stride), "VALID", dimension_numbers=LAYOUT
    )
    return outputs + bias[None, None, None]


def random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_by_hand():
    images = jnp.arange(9.0).reshape(1, 3, 3, 1)
    weight = jnp.asarray([[1.0, 0, 2], [0, 3, 0], [0, 0, -1]]).reshape(3, 3, 1, 1)
    layer = Convolution(weight, jnp.asarray([0.5]), 1)
    # 1*0 + 2*2 + 3*4 - 1*8 + 0.5
    assert layer(images).tolist() == [[[[8.5]]]]
    # The gradient by a weight is the pixel that it sees, and by a pixel the weight that sees it.
    by_images, by_weight = jax.grad(
        lambda images, weight: Convolution(weight, jnp.zeros(1), 1)(images).sum(), argnums=(0, 1)
    )(images, weight)
    np.testing.assert_array_equal(by_images.ravel(), weight.ravel())
    np.testing.assert_array_equal(by_weight.ravel(), images.ravel())


def test_stride_2_by_hand():
    images = jnp.arange(20.0).reshape(1, 5, 4, 1)
    weight = jnp.ones((3, 3, 1, 1))
    # Columns 0 to 2 of rows 0 to 2, and of rows 2 to 4; the last column is never seen.
    assert convolve(images, weight, jnp.zeros(1), 2).ravel().tolist() == [45, 117]
    slope = jnp.asarray([1.0, 10]).reshape(1, 2, 1, 1)
    by_images, by_weight, by_bias = jax.vjp(
        lambda *known: convolve(*known, 2), images, weight, jnp.zeros(1)
    )[1](slope)
    assert by_bias.tolist() == [11]
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [11, 11, 11, 0], [10, 10, 10, 0], [10, 10, 10, 0]]
    assert by_images[0, :, :, 0].tolist() == expected
    assert by_weight[0, 0].item() == 0 * 1 + 8 * 10
    assert by_weight[2, 1].item() == 9 * 1 + 17 * 10


@settings(max_examples=examples(8, 60))
@given(
    stride=st.sampled_from([1, 2]),
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    batch=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_as_the_ordinary_convolution(stride, height, width, batch, channels):
    images = random(0, batch, height, width, channels[0])
    weight, bias = random(1, 3, 3, *channels), random(2, channels[1])
    outputs, back = jax.vjp(lambda *known: convolve(*known, stride), images, weight, bias)
    expected, plainly_back = jax.vjp(lambda *known: plain(*known, stride), images, weight, bias)
    assert outputs.shape[1:3] == (output_side(height, stride), output_side(width, stride))
    slope = random(3, *expected.shape)
    for own, other in zip((outputs, *back(slope)), (expected, *plainly_back(slope)), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_no_gradient_is_made_for_pixels():
    images, weight, bias = random(0, 4, 9, 9, 3), random(1, 3, 3, 3, 7), random(2, 7)

    def convolutions(by):
        loss = jax.grad(lambda *known: convolve(*known, 1).sum(), argnums=by)
        return jax.jit(loss).lower(images, weight, bias).compile().as_text().count("convolution(")

    # Of ones there is no slope that depends on the outputs: the forward pass goes, too.
    assert convolutions((0, 1)) == 1
    assert convolutions(1) == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_other_devices_have_the_gradients_of_xla(stride):
    known = random(0, 4, 9, 8, 3), random(1, 3, 3, 3, 7), random(2, 7)

    def gradients(*known):
        return jax.grad(
            lambda *known: jnp.square(convolve(*known, stride)).sum(), argnums=(0, 1, 2)
        )(*known)

    def text(platform):
        lowered = jax.jit(gradients).trace(*known).lower(lowering_platforms=(platform,))
        return lowered.as_text()

    assert "stablehlo.while" in text("cpu")
    assert "stablehlo.while" not in text("cuda")
    # Forward, by the images, by the weights.
    assert text("cuda").count("stablehlo.convolution") == 3
    slope = random(3, 4, output_side(9, stride), output_side(8, stride), 7)
    for own, other in zip(
        by_both(*known[:2], slope, stride=stride),
        jax.vjp(lambda *known: plain(*known, stride), *known)[1](slope),
        strict=False,
    ):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "side", "channels", "stride"),
    # Blocks of several images, of one, of parts of one, and a batch that only one image divides.
    [(12, 5, 2, 1), (3, 21, 2, 1), (2, 33, 32, 1), (7, 6, 3, 2), (4, 40, 9, 2)],
)
def test_sums_over_blocks_are_sums_over_all(batch, side, channels, stride):
    images = random(0, batch, side, side, channels)
    places = output_side(side, stride)
    slope = random(1, batch, places, places, 32)
    found = by_weight(images, slope, stride)
    ends = stride * (places - 1) + 1
    for row in range(3):
        for column in range(3):
            seen = images[:, row : row + ends : stride, column : column + ends : stride]
            expected = np.einsum("nrqc,nrqo->co", *(np.float64(own) for own in (seen, slope)))
            np.testing.assert_allclose(found[row, column], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("number", "most", "found"), [(12, 5, 4), (7, 6, 1), (6, 0, 1), (8, 9, 8)])
def test_the_largest_divisor(number, most, found):
    assert largest_divisor(number, most) == found


PROGRAM = """
import hashlib
import jax, numpy as np
from qmu.agent.convolution import convolve
random = np.random.default_rng(0)
images, weights = random.normal(size=(16, 41, 41, 32)), random.normal(size=(3, 3, 3, 32, 32))
def loss(weights, images):
    # Side by side: the gradient by images, of which nothing is said, is not asked for.
    return sum(
        (jax.nn.relu(convolve(images, weight, weight[0, 0, 0], stride)) ** 2).mean()
        for stride, weight in zip((2, 1, 2), weights)
    )
step = lambda _, weights: weights - 0.01 * jax.grad(loss)(weights, images.astype(np.float32))
found = jax.jit(lambda weights: jax.lax.fori_loop(0, 3, step, weights))(weights.astype(np.float32))
print(hashlib.sha256(np.asarray(found).tobytes()).hexdigest())
"""


@pytest.mark.long
def test_one_core_computes_what_two_do():
    assert len(printed_on_one_and_two(PROGRAM)) == 1
