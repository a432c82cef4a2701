"""One file to ship: what is written is what is read, and what cannot be read is refused."""

import io
import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import (
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
from qmu.deploy import files, npz
from qmu.deploy.seal import sealed_zip


def write(path, policy):
    path.write_bytes(files.packed(path.suffix, policy))
    return path


def with_description(path, **changes):
    """Change the description in a .npz file."""
    with np.load(path) as file:
        held = dict(file)
    description = json.loads(str(held.pop("description"))) | changes
    path.write_bytes(sealed_zip(as_npz(description=json.dumps(description), **held)))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_npz_file_is_the_policy(tmp_path, kind):
    policy = make_shaped((2, 3), (2, 2), **kind)
    loaded = qmu.load(write(tmp_path / "p.npz", policy))
    check_like(loaded, policy)
    np.testing.assert_array_equal(loaded(draw_obs(9, 2, 3)), policy(draw_obs(9, 2, 3)))


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_a_npz_file_keeps_the_shapes(tmp_path, shapes):
    policy = make_shaped(*shapes)
    check_like(qmu.load(write(tmp_path / "p.npz", policy)), policy)


def test_a_npz_file_takes_observations_of_several_parts(tmp_path):
    policy = make_of_parts()
    check_takes_parts(qmu.load(write(tmp_path / "p.npz", policy)), policy)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=str)
def test_a_file_carries_the_past_along_an_episode(tmp_path, kind):
    policy, whole = make_with_frames(**kind)
    check_carries_its_past(qmu.load(write(tmp_path / "p.npz", policy)), whole)


def test_all_that_a_policy_is_comes_back():
    policy = make_policy(norm="layer", normalized=True, activation="elu")
    loaded = npz.read(npz.pack(policy), "a file")
    assert loaded.description() == policy.description()
    assert loaded.arrays().keys() == policy.arrays().keys()
    for name, array in policy.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert npz.pack(loaded) == npz.pack(policy)


def test_loading_a_npz_file_imports_no_training_framework(tmp_path):
    write(tmp_path / "p.npz", make_policy())
    code = (
        "import sys, qmu; policy = qmu.load('p.npz'); print(policy([1.0, 2.0, 3.0]).shape); "
        "print(sorted({'jax', 'equinox', 'gymnasium', 'torch', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.split("\n")[:2] == ["(2,)", "[]"]


def test_a_npz_file_can_be_read_without_qmu(tmp_path):
    policy = make_policy(activation="tanh")
    with np.load(write(tmp_path / "p.npz", policy), allow_pickle=False) as file:
        described = json.loads(str(file["description"]))
        hidden = draw_obs(3)
        for layer in range(described["layers"]):
            hidden = np.tanh(hidden @ file[f"actor.{layer}.weight"] + file[f"actor.{layer}.bias"])
        action = file["low"] + (file["high"] - file["low"]) * (hidden + 1) / 2
    np.testing.assert_allclose(action, policy(draw_obs(3)), rtol=1e-5)


def test_folders_and_the_directories_above_them_are_loaded(tmp_path):
    policy = make_policy()
    policy.save(tmp_path / "run" / "best")
    policy.save(tmp_path / "run" / "best" / "seed-0")
    for place in ("run", "run/best", "run/best/seed-0"):
        np.testing.assert_array_equal(qmu.load(tmp_path / place)(draw_obs(3)), policy(draw_obs(3)))


def test_a_folder_without_a_policy_says_where_there_is_one(tmp_path):
    make_policy().save(tmp_path / "000000200" / "seed-3")
    with pytest.raises(
        qmu.ConfigError, match=r"policy.json is not there; there is one in .*seed-3"
    ):
        qmu.load(tmp_path / "000000200")


@pytest.mark.parametrize("name", ["p.txt", "p", "p.npz.zip", ".npz"])
def test_other_endings_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(qmu.ConfigError, match=r"ends in .npz, .onnx or .pt"):
        qmu.load(tmp_path / name)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(qmu.ConfigError, match=r"there is no file .*p.npz"):
        qmu.load(tmp_path / "p.npz")
    with pytest.raises(qmu.ConfigError, match="cannot be read"):
        qmu.load("a\0b.npz")


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x80\x04\x95pickle"])
def test_junk_is_called_no_npz_file(tmp_path, junk):
    (tmp_path / "p.npz").write_bytes(junk)
    with pytest.raises(qmu.ConfigError, match=r"it is no \.npz file, or cut off") as refused:
        qmu.load(tmp_path / "p.npz")
    assert "pickle" not in str(refused.value)


def test_large_endings_are_endings(tmp_path):
    (tmp_path / "P.NPZ").write_bytes(npz.pack(make_policy()))
    assert qmu.load(tmp_path / "P.NPZ").obs_shape == (3,)


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def as_npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"PK\x05\x06" + bytes(18),
        as_npy(np.ones(3)),
        as_npz(a=np.ones(3)),
        as_npz(description=np.array("no JSON")),
        as_npz(description=np.array("[1]")),
        as_npz(description=np.array("[" * 100_000)),
        sealed_zip(as_npz(description=np.array('{"format": 2}'))),
        as_npz(description=np.array('{"format": 3}')),
        sealed_zip(as_npz(description=np.array('{"format": 3, "format": 3}'))),
    ],
    ids=range(11),
)
def test_what_is_no_policy_is_refused(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(qmu.ConfigError, match=r"the policy in .*p.npz cannot be read") as refused:
        qmu.load(tmp_path / "p.npz")
    assert "\n" not in str(refused.value)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    held = make_policy().arrays() | {"low": np.array([{}], object)}
    np.savez(tmp_path / "p.npz", description=json.dumps(make_policy().description()), **held)
    with pytest.raises(qmu.ConfigError, match="allow_pickle=False"):
        qmu.load(tmp_path / "p.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 6},
        {"format": [2]},
        {"layers": 2},
        {"layers": 10**12},
        {"layers": -1},
        {"norms": 2},
        {"normalized": True},
        {"activation": "gelu"},
        {"activation": {}},
        {"observation_shape": [4]},
        {"observation_shape": [-3]},
        {"observation_shape": [3.0]},
        {"observation_shape": [2**62, 4, 3]},
        {"observation_shape": None},
        {"action_shape": [True, 2]},
        {"info": "none"},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, changes):
    path = write(tmp_path / "p.npz", make_policy())
    with_description(path, **changes)
    with pytest.raises(qmu.ConfigError, match=r"the policy in .*p.npz"):
        qmu.load(path)


def test_numbers_of_another_kind_are_refused(tmp_path):
    held = make_policy().arrays()
    held["actor.0.weight"] = held["actor.0.weight"].astype(np.float64)
    described = json.dumps(make_policy().description())
    (tmp_path / "p.npz").write_bytes(sealed_zip(as_npz(description=described, **held)))
    with pytest.raises(qmu.ConfigError, match="do not fit together"):
        qmu.load(tmp_path / "p.npz")


WHOLE = npz.pack(make_policy(hidden_sizes=(4,)))
AS_IT_WAS = make_policy(hidden_sizes=(4,))


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_does_not_matter(place, change):
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with warnings.catch_warnings():
        # A zip file's reader warns of names that are there twice.
        warnings.simplefilter("ignore")
        try:
            loaded = npz.read(bytes(damaged), "a file")
        except qmu.ConfigError:
            return
    np.testing.assert_array_equal(loaded(draw_obs(5, 3)), AS_IT_WAS(draw_obs(5, 3)))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_off_is_refused(length):
    with pytest.raises(qmu.ConfigError, match="cannot be read"):
        npz.read(WHOLE[:length], "a file")


def test_an_older_npz_file_is_read_with_a_note(tmp_path):
    policy = make_policy()
    described = json.dumps(policy.description() | {"format": 2})
    (tmp_path / "p.npz").write_bytes(as_npz(description=described, **policy.arrays()))
    with pytest.warns(RuntimeWarning, match=r"p\.npz was written by an older qmu"):
        loaded = qmu.load(tmp_path / "p.npz")
    np.testing.assert_array_equal(loaded(draw_obs(3)), policy(draw_obs(3)))


def bomb(path, claimed):
    """Write a small file of many zeros, with a header that claims still more."""
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (claimed,)}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("description.npy", as_npy(np.array('{"format": 2}')))
        file.writestr("low.npy", header.getvalue() + bytes(2**26))
    return path.stat().st_size


@pytest.mark.parametrize("claimed", [2**24, 2**40])
def test_a_file_that_is_larger_unpacked_is_not_unpacked(tmp_path, monkeypatch, claimed):
    assert bomb(tmp_path / "p.npz", claimed) < 2**18
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(qmu.ConfigError, match="larger unpacked than it is"):
        qmu.load(tmp_path / "p.npz")


def test_an_array_that_claims_more_than_there_is_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as file:
        header = io.BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
        np.lib.format.write_array_header_1_0(header, described)
        file.writestr("low.npy", header.getvalue() + bytes(64))
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(qmu.ConfigError, match=r"low\.npy is said to be larger than it is"):
        qmu.load(tmp_path / "p.npz")


def test_a_npz_file_has_no_pickle():
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as file:
        for name in file.namelist():
            with file.open(name) as array:
                np.lib.format.read_array(array, allow_pickle=False)


@pytest.mark.parametrize(("module", "extra"), [("onnxruntime", "onnx"), ("torch", "torch")])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"qmu.deploy.{extra}", raising=False)
    path = tmp_path / {"onnx": "p.onnx", "torch": "p.pt"}[extra]
    path.write_bytes(b"anything")
    with pytest.raises(qmu.ConfigError, match=rf"pip install 'qmu\[{extra}\]'"):
        qmu.load(path)


def test_a_npz_file_keeps_the_centre_of_observations(tmp_path):
    (tmp_path / "p.npz").write_bytes(files.packed(".npz", make_centred()))
    check_reads_large_numbers(qmu.load(tmp_path / "p.npz"))
