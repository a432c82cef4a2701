"""Members on devices, and one member's function for all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmu.config import reading
from qmu.config.members import members_of
from qmu.errors import ConfigError
from qmu.layout import Layout
from qmu.learning.groups import divide, for_each
from qmu.learning.members import init_member, init_members


@pytest.mark.parametrize(
    ("seeds", "devices", "sizes"),
    [(1, 1, [1]), (1, 4, [1]), (3, 2, [2, 1]), (4, 2, [2, 2]), (5, 3, [2, 2, 1]), (7, 1, [7])],
)
def test_members_are_divided_as_equally_as_can_be(seeds, devices, sizes):
    names = [f"device {index}" for index in range(devices)]
    members = members_of(reading.from_dict({"train": {"seed": 10, "seeds": seeds}}), {})
    groups = divide(members, names)
    assert [len(group.members) for group in groups] == sizes
    assert [group.device for group in groups] == names[: len(sizes)]
    assert sum((group.members for group in groups), ()) == members
    assert [member.seed for member in members] == list(range(10, 10 + seeds))
    assert [member.name for member in members] == [f"seed-{seed}" for seed in range(10, 10 + seeds)]


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


def test_every_seed_of_every_arm_is_a_member():
    config = reading.from_dict({"train": {"seed": 3, "seeds": 2}})
    members = members_of(
        config, {"low": {"explore": {"std": 0.1}}, "high": {"explore": {"std": 1}}}
    )
    assert [member.name for member in members] == [
        "low.seed-3", "low.seed-4", "high.seed-3", "high.seed-4",
    ]  # fmt: skip
    assert [member.config.explore.std for member in members] == [0.1, 0.1, 1.0, 1.0]
    assert members[2].label == "high, seed 3"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"critic": {"count": 2}}, "--critic.count shapes the program"),
        ({"target": {"smoothing_std": None}}, "--target.smoothing-std shapes the program"),
        ({"actor": {"clip_norm": 1.0}}, "--actor.clip-norm shapes the program"),
        ({"actor": {"lr": -1}}, "--actor.lr must be 0 or greater"),
        ({"actor": {"rate": 1}}, "unknown option actor.rate"),
    ],
)
def test_members_of_one_program_differ_in_numbers_only(changes, said):
    with pytest.raises(ConfigError, match=said):
        members_of(reading.from_dict({}), {"arm": changes})


KINDS = {
    "default": {},
    "batch norm and normalized observations": {
        "env": {"normalize_obs": True, "obs_clip": 3.0},
        "actor": {"norm": "batch", "final_range": 3e-3},
    },
    "regions": {
        "actor": {"climbs": "mean"},
        "critic": {"count": 3, "batches": "regions", "bootstrap": "mean"},
    },
    "momentum": {"critic": {"optimizer": "sgd", "momentum": 0.9, "action_layer": 1}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_program_makes_the_agents_that_their_operations_make(kind):
    config = reading.from_dict(
        reading.merge(KINDS[kind], {"train": {"seed": 2**31 - 3, "seeds": 2}})
    )
    members = members_of(config, {})
    (group,) = divide(members, jax.devices("cpu")[:1])
    found = init_members(group, Layout(4), action_size=2)
    for position, member in enumerate(members):
        agent, key = init_member(member.seed, member.config, Layout(4), 2)
        own = jax.tree.map(lambda leaf, position=position: leaf[position], found.agents)
        assert jax.tree.structure(own) == jax.tree.structure(agent)
        for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(agent), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found.keys[position], key)
