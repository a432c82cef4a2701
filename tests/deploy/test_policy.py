"""The policy outside of training: the trained actor's actions, in files that can be trusted."""

import copy
import dataclasses
import errno
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from policies import (
    HIGH,
    INFO,
    LOW,
    check_reads_large_numbers,
    described,
    draw_obs,
    make_actor,
    make_centred,
    make_network,
    make_policy,
)

from qmu.agent.layers import ACTIVATIONS
from qmu.deploy import npz
from qmu.deploy.files import load_policy
from qmu.deploy.policy import Network, Policy
from qmu.errors import ConfigError
from qmu.layout import Layout
from qmu.parts import Part


@pytest.mark.parametrize("hidden_sizes", [(), (16,), (16, 8)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("body", ["plain", "residual"])
@pytest.mark.parametrize("input_norm", [False, True])
def test_the_numpy_network_is_the_trained_actor(activation, hidden_sizes, norm, body, input_norm):
    actor = make_actor(
        activation=activation,
        hidden_sizes=hidden_sizes,
        norm=norm,
        body=body,
        input_norm=input_norm,
    )
    obs = 3 * draw_obs(50, 3)
    action = make_network(actor)(obs)
    np.testing.assert_allclose(action, actor(jnp.asarray(obs)), rtol=1e-4, atol=1e-6)
    assert action.dtype == np.float32


def test_a_network_takes_one_observation_or_many():
    network, obs = make_network(make_actor()), draw_obs(4, 5, 3)
    np.testing.assert_allclose(network(obs)[2, 3], network(obs[2, 3]), rtol=1e-5)


def test_actions_are_scaled_to_the_units_of_the_environment():
    policy, obs = make_policy(), draw_obs(3)
    # Bounds -2 and 6: middle 2, half range 4; bounds 0 and 0.5: 0.25 and 0.25.
    expected = np.float32([2.0, 0.25]) + policy.network(obs) * np.float32([4.0, 0.25])
    np.testing.assert_allclose(policy(obs), expected, rtol=1e-6)
    assert policy(obs).dtype == np.float32


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
def test_actions_lie_inside_the_bounds(scale):
    action = make_policy()(scale * draw_obs(200, 3))
    assert (action >= LOW).all()
    assert (action <= HIGH).all()


@pytest.mark.parametrize("obs_shape", [(3,), (2, 3), ()])
@pytest.mark.parametrize("action_shape", [(2,), (1, 2)])
def test_a_batch_gives_the_action_of_each_observation(obs_shape, action_shape):
    policy, batch = make_policy(obs_shape, action_shape), draw_obs(5, *obs_shape)
    actions = policy(batch)
    assert actions.shape == (5, *action_shape)
    assert policy(batch[0]).shape == action_shape
    for obs, action in zip(batch, actions, strict=True):
        np.testing.assert_allclose(policy(obs), action, rtol=1e-5, atol=1e-6)


def test_an_empty_batch_gives_no_actions():
    assert make_policy()(np.zeros((0, 3))).shape == (0, 2)


def test_lists_and_other_numbers_are_observations_too():
    policy = make_policy()
    expected = policy(np.float32([1, 2, 3]))
    np.testing.assert_array_equal(policy([1, 2, 3]), expected)
    np.testing.assert_array_equal(policy(np.float64([1, 2, 3])), expected)


@pytest.mark.parametrize("shape", [(), (2,), (4,), (5, 4), (3, 1), (2, 5, 3)])
def test_an_observation_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"this policy takes \(3,\), or a batch"):
        make_policy()(np.zeros(shape))


def test_a_policy_tells_itself_in_one_line():
    assert repr(make_policy((2, 3))) == (
        "<Policy for Some-v0: observation (2, 3) -> action (2,), seed 3, step 1000>"
    )
    unknown = dataclasses.replace(make_policy(), info={})
    assert repr(unknown) == "<Policy: observation (3,) -> action (2,)>"
    strange = dataclasses.replace(make_policy(), info={"environment": "a\nb", "step": None})
    assert "\n" not in repr(strange)


def test_a_saved_policy_comes_back_as_it_was(tmp_path):
    policy = make_policy((1, 3), (2, 1), activation="silu")
    policy.save(tmp_path / "new" / "folder")
    loaded = load_policy(tmp_path / "new" / "folder")
    obs = draw_obs(20, 1, 3)
    np.testing.assert_array_equal(loaded(obs), policy(obs))
    assert (loaded.obs_shape, loaded.action_shape) == ((1, 3), (2, 1))
    assert loaded.info == INFO
    assert loaded.network.activation == "silu"


def test_saving_replaces_an_older_policy(tmp_path):
    make_policy().save(tmp_path)
    newer = make_policy(hidden_sizes=(4,))
    newer.save(tmp_path)
    np.testing.assert_array_equal(load_policy(tmp_path)(draw_obs(3)), newer(draw_obs(3)))


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    make_policy().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match=rf"holds no policy: .*{name} is not there"):
        load_policy(tmp_path)


def test_files_of_two_policies_are_refused(tmp_path):
    make_policy(hidden_sizes=(4,)).save(tmp_path / "one")
    other = make_policy(hidden_sizes=(4,), high=HIGH + 1)
    other.save(tmp_path / "other")
    (tmp_path / "one" / "policy.json").replace(tmp_path / "other" / "policy.json")
    said = r"cannot be read \(ValueError: policy.safetensors is damaged, or of another policy"
    with pytest.raises(ConfigError, match=said):
        load_policy(tmp_path / "other")


def test_files_that_are_being_replaced_are_read_again(tmp_path, monkeypatch):
    newer = make_policy(hidden_sizes=(4,), high=HIGH + 1)
    older = make_policy(hidden_sizes=(4,)).files()["policy.safetensors"]
    newer.save(tmp_path)
    looks = []

    def read(path):
        looks.append(path.name)
        with path.open("rb") as file:
            return older if len(looks) < 3 else file.read()

    monkeypatch.setattr(Path, "read_bytes", read)
    np.testing.assert_array_equal(load_policy(tmp_path)(draw_obs(3)), newer(draw_obs(3)))
    assert looks == 3 * ["policy.safetensors"]


def as_older(folder, number, *without):
    """Write a policy's description as an older version did: without sums."""
    path = folder / "policy.json"
    held = json.loads(path.read_text(encoding="utf-8")) | {"format": number}
    text = json.dumps({name: held[name] for name in held if name not in ("sha256", *without)})
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("number", "without"),
    [(1, ["arrays_sha256", "normalized", "parts"]), (2, ["arrays_sha256"]), (2, [])],
)
def test_older_policies_are_read_with_a_note(tmp_path, number, without):
    policy = make_policy()
    policy.save(tmp_path)
    as_older(tmp_path, number, *without)
    with pytest.warns(RuntimeWarning, match="descriptions have no sum") as said:
        loaded = load_policy(tmp_path)
    assert len(said) == 1
    np.testing.assert_array_equal(loaded(draw_obs(5, 3)), policy(draw_obs(5, 3)))
    loaded.save(tmp_path)
    load_policy(tmp_path)


def test_a_description_that_has_lost_its_sum_is_refused(tmp_path):
    make_policy().save(tmp_path)
    as_older(tmp_path, 3)
    with pytest.raises(ConfigError, match="its description has no sum"):
        load_policy(tmp_path)


def test_every_byte_of_a_description_is_noticed_or_says_the_same(tmp_path):
    policy = make_policy(norm="layer", hidden_sizes=(4, 4))
    policy.save(tmp_path)
    path = tmp_path / "policy.json"
    whole, noticed = path.read_bytes(), 0
    for place in range(len(whole)):
        for byte in (whole[place] ^ 1, ord("0"), ord(" ")):
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                loaded = load_policy(tmp_path)
            except ConfigError:
                noticed += 1
                continue
            assert loaded.description() == policy.description()
    assert noticed > 2 * len(whole)


def test_a_description_that_says_something_twice_is_refused(tmp_path):
    make_policy().save(tmp_path)
    path = tmp_path / "policy.json"
    text = path.read_text(encoding="utf-8").replace(
        '"activation": "relu"', '"activation": "silu", "activation": "relu"'
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="it says twice what 'activation' is"):
        load_policy(tmp_path)


def test_an_info_of_any_kind_is_sealed_as_json_holds_it(tmp_path):
    info = {3: (1, 2), "nan": float("nan"), "text": "ü \u2028"}
    policy = dataclasses.replace(make_policy(), info=info)
    policy.save(tmp_path)
    assert load_policy(tmp_path).info["3"] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[1, 2]"])
@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    make_policy().save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_cut_off_file_is_refused(tmp_path, name):
    make_policy().save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 0},
        {"layers": 2},
        {"layers": 4},
        {"layers": "three"},
        {"activation": "gelu"},
        {"activation": ["relu"]},
        {"observation_shape": [4]},
        {"observation_shape": ["a"]},
        {"observation_shape": 3},
        {"action_shape": [3]},
        {"format": 6},
        {"normalized": True},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_the_weights_is_refused(tmp_path, changes):
    policy = make_policy()
    policy.save(tmp_path)
    assert set(changes) <= set(policy.description())
    described(tmp_path, **changes)
    with pytest.raises(ConfigError, match=rf"policy in {tmp_path}"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    ("weights", "biases"),
    [
        ([(3, 16), (8, 2)], [(16,), (2,)]),
        ([(3, 16), (16, 2)], [(8,), (2,)]),
        ([(4, 16), (16, 2)], [(16,), (2,)]),
        ([(3, 16), (16, 3)], [(16,), (3,)]),
        ([(3,), (3, 2)], [(3,), (2,)]),
    ],
    ids=["between layers", "bias", "observation", "action", "no matrix"],
)
def test_layers_that_do_not_fit_together_are_refused(tmp_path, weights, biases):
    arrays = (tuple(np.ones(shape, np.float32) for shape in shapes) for shapes in (weights, biases))
    Policy(Network(*arrays, (), (), "relu", Layout(3)), (3,), (2,), LOW, HIGH, INFO).save(tmp_path)
    with pytest.raises(ConfigError, match="layers that do not fit together"):
        load_policy(tmp_path)


RESIDUAL = {"hidden_sizes": (8, 6), "body": "residual"}


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("blocks", [0, 1, 3, 4, -1, 2.0, True, "two", [2], 2**70])
def test_blocks_that_the_layers_do_not_have_are_refused(tmp_path, norm, blocks):
    make_policy(**RESIDUAL, norm=norm).save(tmp_path)
    assert load_policy(tmp_path).info is not None
    described(tmp_path, blocks=blocks)
    with pytest.raises(ConfigError, match=r"cannot be read|do not fit together"):
        load_policy(tmp_path)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_blocks_are_no_plain_layers_and_plain_layers_no_blocks(tmp_path, norm):
    make_policy(**RESIDUAL, norm=norm).save(tmp_path)
    assert json.loads((tmp_path / "policy.json").read_text())["format"] == 5
    described(tmp_path, blocks=None)
    with pytest.raises(ConfigError, match="do not fit together"):
        load_policy(tmp_path)
    make_policy(hidden_sizes=(8, 6), norm=norm).save(tmp_path)
    described(tmp_path, blocks=1)
    with pytest.raises(ConfigError, match="do not fit together"):
        load_policy(tmp_path)


def test_a_projection_that_does_not_fit_is_refused(tmp_path):
    whole = make_policy(**RESIDUAL)
    (weight, bias), *others = whole.network.projections
    for first in (None, (weight[:-1], bias), (weight[:, :-1], bias[:-1]), (weight, bias[:-1])):
        network = dataclasses.replace(whole.network, projections=(first, *others))
        dataclasses.replace(whole, network=network).save(tmp_path)
        with pytest.raises(ConfigError, match="do not fit together"):
            load_policy(tmp_path)


def senseless():
    """Return policies that fit together, and why each of them is none."""
    whole = make_policy(norm="layer", normalized=True)

    def with_network(**changes):
        return dataclasses.replace(whole, network=dataclasses.replace(whole.network, **changes))

    def with_normalization(**changes):
        own = dataclasses.replace(whole.network.normalization, **changes)
        return with_network(normalization=own)

    spread = np.float32([1, 0, 1])
    nan = np.full_like(whole.network.biases[0], np.nan)
    return {
        "a weight": (with_network(biases=(nan, *whole.network.biases[1:])), "not finite"),
        "a mean": (with_normalization(mean=spread / spread), "not finite"),
        "a spread": (with_normalization(std=spread), "spreads, or a largest value, of 0"),
        "a negative spread": (with_normalization(std=-1 - spread), "of 0 or below"),
        "a clip": (with_normalization(clip=np.float32(0)), "largest value, of 0"),
        "bounds": (dataclasses.replace(whole, low=HIGH, high=LOW), "above the upper one"),
        "no bounds": (dataclasses.replace(whole, high=HIGH * np.float32(np.inf)), "not finite"),
        "axes": (dataclasses.replace(whole, obs_shape=(3, *[1] * 60)), "it has 61 axes"),
        "action axes": (dataclasses.replace(whole, action_shape=(2, *[1] * 40)), "has 41 axes"),
        "part": (
            dataclasses.replace(whole, parts=(Part(("a",), (3, *[1] * 60)),)),
            "do not fit together",
        ),
    }


with np.errstate(invalid="ignore"):
    SENSELESS = senseless()


@pytest.mark.parametrize("name", SENSELESS)
def test_numbers_that_make_no_policy_are_refused(tmp_path, name):
    policy, why = SENSELESS[name]
    policy.save(tmp_path)
    with pytest.raises(ConfigError, match=why):
        load_policy(tmp_path)
    with pytest.raises(ConfigError, match=why):
        npz.read(npz.pack(policy), "a file")


def test_a_policy_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    before = make_policy()
    before.save(tmp_path)
    write = Path.write_bytes

    def full(path, data):
        if "json" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        make_policy(hidden_sizes=(4,)).save(tmp_path)
    np.testing.assert_array_equal(load_policy(tmp_path)(draw_obs(3)), before(draw_obs(3)))
    assert {path.name for path in tmp_path.iterdir()} == {"policy.json", "policy.safetensors"}


def test_every_number_of_a_network_has_to_be_finite_and_its_sums_need_not_be():
    network = copy.deepcopy(make_policy(norm="layer", normalized=True).network)
    assert network.finite()
    for name, array in network.arrays().items():
        before = array.copy()
        for wrong in (np.nan, np.inf, -np.inf):
            array[...] = wrong
            assert not network.finite(), name
        array[...] = before
    large = dataclasses.replace(network, weights=tuple(w * 0 + 3e38 for w in network.weights))
    assert large.finite()


SEVERAL = (
    Part(("arm", 0), (2,)),
    Part(("arm", 1), (), (3,), (-1,)),
    Part(("eye",), (2,), (2, 2), (0, 5)),
)


def several(**changes):
    """Return a policy of several parts; the first field of the last ones may be changed."""
    parts = (*SEVERAL[:2], SEVERAL[2]._replace(**changes))
    return dataclasses.replace(make_policy((9,)), parts=parts)


def test_parts_come_back_as_they_were(tmp_path):
    several().save(tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.parts == SEVERAL
    observation = {"arm": (np.ones(2), 1), "eye": np.array([1, 5])}
    np.testing.assert_array_equal(loaded(observation), several()(observation))
    with pytest.raises(ValueError, match=r"an observation without arm\.-3"):
        several(path=("arm", -3))(observation)


@pytest.mark.parametrize(
    "changes",
    [
        {"choices": (6, -2)},
        {"choices": (4, 0)},
        {"choices": (4,)},
        {"choices": (2, 2.0)},
        {"choices": (True, 3)},
        {"choices": "22"},
        {"first": (0,)},
        {"first": (0, 2**70)},
        {"first": None},
        {"shape": (-2,)},
        {"shape": (3,)},
        {"path": ([0],)},
        {"path": (1.5,)},
        {"path": "eye"},
        {"path": ()},
    ],
    ids=str,
)
def test_parts_that_cannot_be_used_are_refused(tmp_path, changes):
    several(**changes).save(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be read|do not fit together"):
        load_policy(tmp_path)


def test_small_changes_of_large_numbers_are_seen(tmp_path):
    policy = make_centred()
    check_reads_large_numbers(policy)
    policy.save(tmp_path)
    check_reads_large_numbers(load_policy(tmp_path))


@pytest.mark.parametrize("centre", [np.float32([1, 2, 3]), np.float64([1, 2]), np.full(3, np.nan)])
def test_what_is_no_centre_is_refused(centre, tmp_path):
    dataclasses.replace(make_centred(), centre=centre).save(tmp_path)
    with pytest.raises(ConfigError, match=r"obs.centre is no centre|do not fit together"):
        load_policy(tmp_path)
