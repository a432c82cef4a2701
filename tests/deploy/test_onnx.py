"""The graph for ONNX runtimes: the same actions, and only what qmu has written is read."""

import dataclasses
import hashlib
import json
import sys

import numpy as np
import pytest
from policies import (
    INFO,
    KINDS,
    SHAPES,
    check_carries_its_past,
    check_like,
    check_reads_large_numbers,
    check_takes_parts,
    draw_obs,
    make_centred,
    make_of_parts,
    make_policy,
    make_shaped,
    make_with_frames,
)

import qmu
from qmu.deploy import files
from qmu.deploy.seal import sealed
from qmu.parts import Part

pytestmark = pytest.mark.extra
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def write(path, policy):
    path.write_bytes(files.packed(".onnx", policy))
    return path


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_graph_is_the_policy(tmp_path, kind):
    policy = make_shaped((2, 3), (2, 2), **kind)
    check_like(qmu.load(write(tmp_path / "p.onnx", policy)), policy)


@pytest.mark.parametrize("hidden_sizes", [(), (5,), (64, 32, 16)], ids=str)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_the_graph_has_the_shapes(tmp_path, shapes, hidden_sizes):
    policy = make_shaped(*shapes, hidden_sizes=hidden_sizes)
    check_like(qmu.load(write(tmp_path / "p.onnx", policy)), policy)


def test_the_graph_takes_observations_of_several_parts(tmp_path):
    policy = make_of_parts()
    check_takes_parts(qmu.load(write(tmp_path / "p.onnx", policy)), policy)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=str)
def test_a_file_carries_the_past_along_an_episode(tmp_path, kind):
    policy, whole = make_with_frames(**kind)
    check_carries_its_past(qmu.load(write(tmp_path / "p.onnx", policy)), whole)


def test_the_graph_tells_itself_in_one_line(tmp_path):
    policy = make_policy((2, 3))
    loaded = qmu.load(write(tmp_path / "p.onnx", policy))
    assert repr(loaded) == repr(policy).replace("Policy", "OnnxPolicy", 1)


def test_another_program_needs_nothing_of_qmu(tmp_path):
    policy = make_policy(norm="layer", normalized=True)
    path = write(tmp_path / "p.onnx", policy)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    obs = draw_obs(7, 3)
    (action,) = session.run(["action"], {"observation": obs})
    np.testing.assert_allclose(action, policy(obs), rtol=1e-4, atol=1e-5)
    held = json.loads(session.get_modelmeta().custom_metadata_map["qmu"])
    assert held["info"] == policy.info


def test_the_graph_is_one_that_older_runtimes_know(tmp_path):
    model = onnx.load(write(tmp_path / "p.onnx", make_policy(norm="layer", activation="silu")))
    assert model.ir_version == 8
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    batch, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert (batch.dim_param, [axis.dim_value for axis in rest]) == ("batch", [3])


def test_bounds_that_are_huge_or_equal_hold(tmp_path):
    largest = np.finfo(np.float32).max
    policy = make_policy(low=np.float32([-largest, 2]), high=np.float32([largest, 2]))
    loaded = qmu.load(write(tmp_path / "p.onnx", policy))
    obs = draw_obs(50, 3)
    assert np.isfinite(loaded(obs)).all()
    np.testing.assert_array_equal(loaded(obs)[:, 1], 2)
    np.testing.assert_allclose(loaded(obs), policy(obs), rtol=1e-4)


def test_loading_needs_onnxruntime_alone(tmp_path, monkeypatch):
    path = write(tmp_path / "p.onnx", make_policy())
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert qmu.load(path)(draw_obs(3)).shape == (2,)
    with pytest.raises(qmu.ConfigError, match=r"pip install 'qmu\[onnx\]'"):
        files.packed(".onnx", make_policy())


def test_the_file_ends_in_the_sum_of_all_that_is_before(tmp_path):
    path = write(tmp_path / "p.onnx", make_policy())
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "qmu.sha256"]
    body, digits = path.read_bytes()[:-64], path.read_bytes()[-64:].decode()
    assert entry.value == digits == hashlib.sha256(body).hexdigest()
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_is_noticed(tmp_path, bit):
    whole = write(tmp_path / "p.onnx", make_policy()).read_bytes()
    for place in range(0, len(whole), 31):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        (tmp_path / "p.onnx").write_bytes(damaged)
        with pytest.raises(qmu.ConfigError, match="it is damaged, or not from qmu"):
            qmu.load(tmp_path / "p.onnx")


def with_sum(model):
    return sealed(model.SerializeToString() + b"r\x4e\n\x0aqmu.sha256\x12\x40")


def changed(model, **description):
    """Return a model as bytes, with another description."""
    held = json.loads(model.metadata_props[0].value) | description
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"qmu": json.dumps(held)})
    return with_sum(model)


def without_description(model):
    del model.metadata_props[:]
    return with_sum(model)


def with_constant(model, name, value):
    """Return a model as bytes, all numbers of one of whose constants are this one."""
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(
        onnx.numpy_helper.from_array(np.full(list(tensor.dims), value, np.float32), name)
    )
    return with_sum(model)


def elsewhere(model, place):
    """Return a model, a number of which lies in another file."""
    tensor = next(one for one in model.graph.initializer if one.name == "actor.0.bias")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place
    return with_sum(model)


@pytest.mark.parametrize("named", ["observed", "location"])
def test_numbers_of_other_files_are_not_read(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "secret").write_bytes(np.ones(16, np.float32).tobytes())
    part = Part((named,), (3,), (), ())
    policy = dataclasses.replace(make_policy(), parts=(part,), info=INFO | {"env": "location"})
    path = write(tmp_path / "p" / "p.onnx", policy)
    assert qmu.load(path).info["env"] == "location"
    opened = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *given, **more: opened.append(1))
    path.write_bytes(elsewhere(onnx.load(path), "../secret"))
    with pytest.raises(qmu.ConfigError, match="takes numbers from other files"):
        qmu.load(path)
    assert opened == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: b"", "it is damaged, or not from qmu"),
        (lambda model: b"nonsense", "it is damaged, or not from qmu"),
        (lambda model: model.SerializeToString()[:-200], "it is damaged, or not from qmu"),
        (lambda model: sealed(b"nonsense"), "cannot be read"),
        (without_description, "it is not from qmu"),
        (lambda model: changed(model, format=6), "this version of qmu reads up to"),
        (
            lambda model: changed(model, observation_shape=[4]),
            r"is described as observation tensor\(float\) \(4,\)",
        ),
        (
            lambda model: changed(model, action_shape=[1, 2]),
            r"is described as action tensor\(float\) \(1, 2\)",
        ),
        (lambda model: changed(model, info=3), "its info is no object"),
        (lambda model: changed(model, low=[9.0, 9.0]), "a lower bound of its actions is above"),
        (lambda model: changed(model, high=[float("inf"), 1.0]), "bounds of its actions are not"),
        (lambda model: changed(model, low=[-9.0]), "not as many as its bounds"),
        (lambda model: changed(model, low=[5.9, 0.0]), "lie outside of its bounds"),
        (lambda model: changed(model, observation_shape=[3, *[1] * 60]), "it has 61 axes"),
        (lambda model: with_constant(model, "actor.2.bias", np.nan), "not finite"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path, change, said):
    model = onnx.load(write(tmp_path / "p.onnx", make_policy()))
    (tmp_path / "p.onnx").write_bytes(change(model))
    with pytest.raises(qmu.ConfigError, match=said) as refused:
        qmu.load(tmp_path / "p.onnx")
    assert "\n" not in str(refused.value)


def test_small_changes_of_large_numbers_are_seen(tmp_path):
    (tmp_path / "p.onnx").write_bytes(files.packed(".onnx", make_centred()))
    check_reads_large_numbers(qmu.load(tmp_path / "p.onnx"))
