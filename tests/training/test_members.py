"""Members on devices, and one member's function for all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.training.members import divide, for_each


@pytest.mark.parametrize(
    ("seeds", "devices", "sizes"),
    [(1, 1, [1]), (1, 4, [1]), (3, 2, [2, 1]), (4, 2, [2, 2]), (5, 3, [2, 2, 1]), (7, 1, [7])],
)
def test_members_are_divided_as_equally_as_can_be(seeds, devices, sizes):
    names = [f"device {index}" for index in range(devices)]
    groups = divide(tuple(range(10, 10 + seeds)), names)
    assert [len(group.seeds) for group in groups] == sizes
    assert [group.device for group in groups] == names[: len(sizes)]
    assert sum((group.seeds for group in groups), ()) == tuple(range(10, 10 + seeds))


def one_member(position, value, options):
    """Return something that depends on all that a member has."""
    return {
        "sum": jnp.sum(value) * options["scale"],
        "position": jnp.asarray(position),
        "old": value,
    }


def values(size):
    return jnp.arange(6.0 * size).reshape(size, 2, 3), {"scale": jnp.arange(1.0, size + 1)}


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_member_gets_its_own_values_and_position(platform, size):
    value, options = values(size)
    result = jax.jit(lambda *members: for_each(one_member, platform, *members))(value, options)
    sums = np.asarray(value).sum(axis=(1, 2)) * np.arange(1, size + 1)
    np.testing.assert_allclose(result["sum"], sums)
    np.testing.assert_array_equal(result["position"], np.arange(size))
    np.testing.assert_array_equal(result["old"], value)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_one_after_another_and_side_by_side_give_the_same(size):
    results = [for_each(one_member, platform, *values(size)) for platform in ("cpu", "gpu")]
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-6)
