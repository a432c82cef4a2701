"""A convolution of small squares of pixels, with a gradient rule of its own for CPUs.

Inside loops of compiled programs on CPUs, XLA's convolutions without padding and its gradients of
convolutions are many times too slow (docs/decisions/0010-convolutions.md has what was measured).
Other devices are given XLA's own gradients.
"""

import math
from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Pixels along each side of what one output sees.
SIDE = 3
# Terms of a sum, and multiplications, in one product of the gradient by the weights, at most.
# Longer sums are divided for the caches, larger products among cores, as their number says.
LONGEST, LARGEST = 256, 1_000_000
# Batch, height, width and channels, in this order; a kernel's inputs before its outputs.
LAYOUT = ("NHWC", "HWIO", "NHWC")

Images = Float[Array, "batch height width inputs"]
Outputs = Float[Array, "batch rows columns outputs"]
Kernel = Float[Array, "3 3 inputs outputs"]


class Convolution(eqx.Module):
    """A sum over squares of 3 x 3 pixels, whose corners lie `stride` pixels apart; no padding.

    LeCun et al. 1989. Outputs are [batch, rows, columns, outputs], with `output_side` rows for
    each side of the input.
    """

    weight: Kernel
    bias: Float[Array, " outputs"]
    stride: int = eqx.field(static=True)

    def __call__(self, images: Images) -> Outputs:
        """Return the outputs for a batch."""
        return convolve(images, self.weight, self.bias, self.stride)


def output_side(side: int, stride: int) -> int:
    """Return how many outputs there are along a side of so many pixels; below 3 pixels none."""
    return (side - SIDE) // stride + 1


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def convolve(
    images: Images, weight: Kernel, bias: Float[Array, " outputs"], stride: int
) -> Outputs:
    """Return b[o] + Σ_ijc x[n, s r + i, s q + j, c] W[i, j, c, o] at [n, r, q, o].

    The stride s is 1 or 2.
    """
    # The padding is cut off again. Convolutions without any go another way through XLA (YNNPACK),
    # which in a loop is slower: with jax 0.10.2 eight times at stride 1.
    padded = ordinary(images, weight, ((0, 1), (0, 1)), stride=stride)
    rows, columns = (output_side(side, stride) for side in images.shape[1:3])
    return padded[:, :rows, :columns] + bias[None, None, None]


def ordinary(
    images: Array,
    weight: Array,
    padding: Sequence[tuple[int, int]],
    *,
    stride: int = 1,
) -> Array:
    """Return XLA's own convolution."""
    return jax.lax.conv_general_dilated(
        images,
        weight,
        (stride, stride),
        padding,
        dimension_numbers=LAYOUT,
    )


Gradients = tuple[Images, Kernel, Float[Array, " outputs"]]


def forward(
    images: Images, weight: Kernel, bias: Float[Array, " outputs"], stride: int
) -> tuple[Outputs, tuple[Images, Kernel]]:
    """Return the outputs, and what their gradient needs."""
    return convolve(images, weight, bias, stride), (images, weight)


def backward(stride: int, known: tuple[Images, Kernel], slope: Outputs) -> Gradients:
    """Return the gradient by the images, weights and biases, from that by the outputs.

    Where nobody asks for that by the images, as in a first layer, the compiler leaves it out.
    """
    images, weight = known

    def on_cpu(images: Images, weight: Kernel, slope: Outputs) -> tuple[Images, Kernel]:
        by_images = BY_IMAGES[stride](slope, weight, images.shape)
        return by_images, by_weight(images, slope, stride)

    found: tuple[Images, Kernel] = jax.lax.platform_dependent(
        images, weight, slope, cpu=on_cpu, default=partial(by_both, stride=stride)
    )
    return *found, by_bias(slope)


convolve.defvjp(forward, backward)


def by_both(
    images: Images, weight: Kernel, slope: Outputs, *, stride: int
) -> tuple[Images, Kernel]:
    """Return the gradients by the images and the weights that XLA has for its own convolution."""

    def both(images: Images, weight: Kernel) -> Outputs:
        outputs: Outputs = ordinary(images, weight, ((0, 0), (0, 0)), stride=stride)
        return outputs

    back: tuple[Images, Kernel] = jax.vjp(both, images, weight)[1](slope)
    return back


def by_weight(images: Images, slope: Outputs, stride: int) -> Kernel:
    """Return the gradient by the weights: Σ_nrq x[n, s r + i, s q + j, c] dy[n, r, q, o].

    A few images at a time, so that what their outputs see stays in a core's cache, and in products
    so small that any number of cores adds up their sums in the same order.
    """
    inputs, outputs = images.shape[3], slope.shape[3]
    most = max(1, min(LONGEST, LARGEST // (SIDE * SIDE * inputs * outputs)))
    together = largest_divisor(len(images), most // math.prod(slope.shape[1:3]))

    def add(index: Array, total: Array) -> Array:
        own, slopes = (
            jax.lax.dynamic_slice_in_dim(all_, index * together, together)
            for all_ in (images, slope)
        )
        seen = patches(own, slope.shape[1:3], stride)
        slopes = slopes.reshape(-1, outputs)
        for first in range(0, len(seen), most):
            part = slice(first, first + most)
            total = total + seen[part].T @ slopes[part]
        return total

    zero = jnp.zeros((SIDE * SIDE * inputs, outputs))
    found = jax.lax.fori_loop(0, len(images) // together, add, zero)
    return found.reshape(SIDE, SIDE, inputs, outputs)


def largest_divisor(number: int, most: int) -> int:
    """Return the largest divisor that is no larger than `most`, or 1."""
    return max(one for one in range(1, max(1, most) + 1) if number % one == 0)


def patches(images: Images, sides: tuple[int, ...], stride: int) -> Float[Array, "places pixels"]:
    """Return what each output sees, one row each; `sides` are the outputs' rows and columns."""
    rows, columns = (stride * (side - 1) + 1 for side in sides)
    slices = [
        images[:, row : row + rows : stride, column : column + columns : stride]
        for row in range(SIDE)
        for column in range(SIDE)
    ]
    seen: Array = jnp.concatenate(slices, axis=-1)
    return seen.reshape(-1, SIDE * SIDE * images.shape[3])


def by_bias(slope: Outputs) -> Float[Array, " outputs"]:
    """Return the gradient by the biases: a sum, which as a product is the same on any cores."""
    places = slope.reshape(-1, slope.shape[-1])
    return jnp.ones(places.shape[0]) @ places


def images_1(slope: Outputs, weight: Kernel, shape: tuple[int, ...]) -> Images:
    """Return the gradient by the images at stride 1: every pixel is seen from 3 x 3 places."""
    del shape
    margin = SIDE - 1
    return ordinary(slope, flipped(weight), ((margin, margin), (margin, margin)))


def flipped(weight: Float[Array, "height width inputs outputs"]) -> Array:
    """Return the kernel that leads from outputs back to inputs."""
    return weight[::-1, ::-1].swapaxes(2, 3)


def images_2(slope: Outputs, weight: Kernel, shape: tuple[int, ...]) -> Images:
    """Return the gradient by the images at stride 2: pixels are seen from 2 x 2 places to 1.

    Even rows of pixels are seen by the kernel's rows 0 and 2, odd ones by row 1; columns alike.
    That makes four small convolutions, whose results lie between each other.
    """
    rows, columns = slope.shape[1] + 1, slope.shape[2] + 1

    def part(row: int, column: int) -> Array:
        kernel = flipped(weight[row::2, column::2])
        return ordinary(slope, kernel, [(size - 1, 1) for size in kernel.shape[:2]])

    quarters = [jnp.stack([part(row, 0), part(row, 1)], axis=3) for row in (0, 1)]
    whole = jnp.stack(quarters, axis=2).reshape(-1, 2 * rows, 2 * columns, shape[3])
    # An even side has a last pixel that nobody sees, an odd one is complete before it.
    return whole[:, : shape[1], : shape[2]]


# Stride -> the gradient by the images.
BY_IMAGES = {1: images_1, 2: images_2}
