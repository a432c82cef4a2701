"""Random shifts, by hand and against interpolation at whole pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

from qmu import config
from qmu.agent.shift import augmented, moved, shifted

KEY = jax.random.key(0)


def pictures(*shape):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_by_hand():
    image = jnp.arange(6, dtype=jnp.uint8).reshape(1, 2, 3, 1)
    for move, expected in {
        (0, 0): [[0, 1, 2], [3, 4, 5]],
        (1, 0): [[3, 4, 5], [3, 4, 5]],
        (0, -1): [[0, 0, 1], [3, 3, 4]],
        (-2, 2): [[2, 2, 2], [2, 2, 2]],
    }.items():
        assert moved(image, jnp.asarray([move]), 2)[0, :, :, 0].tolist() == expected


@pytest.mark.parametrize("shape", [(9, 8, 7, 3), (5, 4, 9, 1)])
def test_as_interpolation_at_whole_pixels(shape):
    images, most = pictures(*shape), 4
    moves = jax.random.randint(KEY, (shape[0], 2), -most, most + 1)
    found = moved(images, moves, most)
    assert found.dtype == jnp.uint8
    for image, move, own in zip(images, moves, found, strict=True):
        places = jnp.meshgrid(
            jnp.arange(shape[1]) + move[0], jnp.arange(shape[2]) + move[1], indexing="ij"
        )
        places = [place.astype(jnp.float32) for place in places]
        for channel in range(shape[3]):
            values = image[:, :, channel].astype(jnp.float32)
            expected = map_coordinates(values, places, order=1, mode="nearest")
            np.testing.assert_array_equal(own[:, :, channel], expected)


def test_every_move_comes_up_and_no_other():
    # Each pixel says its row and its column.
    image = jnp.stack(jnp.meshgrid(jnp.arange(9), jnp.arange(9), indexing="ij"), axis=-1)
    images = jnp.broadcast_to(image.astype(jnp.uint8), (1000, 9, 9, 2))
    middles = np.asarray(shifted(KEY, images, 2))[:, 4, 4].astype(int) - 4
    found, counts = np.unique(middles, axis=0, return_counts=True)
    assert found.tolist() == [[row, column] for row in range(-2, 3) for column in range(-2, 3)]
    assert counts.min() > 20


def test_all_channels_of_a_row_move_alike_and_rows_by_themselves():
    images = jnp.broadcast_to(pictures(1, 12, 12, 1), (6, 12, 12, 3))
    found = shifted(KEY, images, 4)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    assert len({bytes(np.asarray(image)) for image in found}) > 1


def test_the_images_of_an_observation_move_by_themselves():
    images = (pictures(8, 12, 12, 3),) * 2
    first, second = augmented(KEY, images, config.Encoder(shift=4))
    assert not jnp.array_equal(first, second)


def test_without_a_shift_images_are_the_same_arrays():
    images = (pictures(2, 5, 5, 1),)
    assert augmented(KEY, images, config.Encoder(shift=0))[0] is images[0]
    program = jax.make_jaxpr(lambda one: augmented(KEY, (one,), config.Encoder(shift=0)))
    assert not program(images[0]).eqns
