"""The PyTorch module: the same actions, gradients, and a file without classes."""

import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
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
from qmu.deploy import files

pytestmark = pytest.mark.extra
torch = pytest.importorskip("torch")
with_sum = pytest.importorskip("qmu.deploy.torch").with_sum


def write(path, policy):
    path.write_bytes(files.packed(".pt", policy))
    return path


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_module_is_the_policy(tmp_path, kind):
    policy = make_shaped((2, 3), (2, 2), **kind)
    check_like(qmu.load(write(tmp_path / "p.pt", policy)), policy)


@pytest.mark.parametrize("hidden_sizes", [(), (5,), (64, 32, 16)], ids=str)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_the_module_has_the_shapes(tmp_path, shapes, hidden_sizes):
    policy = make_shaped(*shapes, hidden_sizes=hidden_sizes, normalized=True)
    check_like(qmu.load(write(tmp_path / "p.pt", policy)), policy)


def test_the_module_takes_observations_of_several_parts(tmp_path):
    policy = make_of_parts()
    check_takes_parts(qmu.load(write(tmp_path / "p.pt", policy)), policy)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=str)
def test_a_file_carries_the_past_along_an_episode(tmp_path, kind):
    policy, whole = make_with_frames(**kind)
    check_carries_its_past(qmu.load(write(tmp_path / "p.pt", policy)), whole)


def test_the_module_tells_itself_in_one_line(tmp_path):
    policy = make_policy((2, 3))
    loaded = qmu.load(write(tmp_path / "p.pt", policy))
    assert repr(loaded) == repr(policy).replace("Policy", "TorchPolicy", 1)


def test_a_tensor_gives_a_tensor_with_gradients():
    module = files.unpacked(".pt", files.packed(".pt", make_policy(activation="tanh")), "a file")
    obs = torch.tensor(draw_obs(4, 3), requires_grad=True)
    action = module(obs)
    assert (action.dtype, action.shape, action.requires_grad) == (torch.float32, (4, 2), True)
    np.testing.assert_allclose(action.detach().numpy(), module(draw_obs(4, 3)), rtol=1e-5)
    step = 1e-2 * torch.eye(3)[0]
    action[0, 0].backward()
    around = [float(module(draw_obs(4, 3)[0] + sign * step.numpy())[0]) for sign in (1, -1)]
    assert float(obs.grad[0, 0]) == pytest.approx((around[0] - around[1]) / 2e-2, rel=1e-2)


def test_it_is_a_module_with_parameters_to_tune():
    module = files.unpacked(".pt", files.packed(".pt", make_policy(norm="layer")), "a file")
    assert isinstance(module, torch.nn.Module)
    named = dict(module.named_parameters())
    assert [tuple(value.shape) for value in named.values()] == [
        *((16, 3), (16,), (16,), (16,)),
        *((8, 16), (8,), (8,), (8,)),
        *((2, 8), (2,)),
    ]
    before = module(draw_obs(3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.tensor(draw_obs(1, 3))).sum().backward()
    optimizer.step()
    assert not np.array_equal(module(draw_obs(3)), before)


def test_other_dtypes_of_tensors_and_of_the_module_work():
    module = files.unpacked(".pt", files.packed(".pt", make_policy()), "a file")
    expected = module(draw_obs(3))
    observation = torch.tensor(draw_obs(3), dtype=torch.float64)
    np.testing.assert_allclose(module(observation).detach().numpy(), expected, rtol=1e-5)
    precise = module.double()(observation)
    assert precise.dtype == torch.float64
    np.testing.assert_allclose(precise.detach().numpy(), expected, rtol=1e-5)


def test_the_file_holds_tensors_and_text_only(tmp_path):
    policy = make_policy(norm="layer", normalized=True)
    held = torch.load(write(tmp_path / "p.pt", policy), weights_only=True)
    assert json.loads(held.pop("description"))["info"] == policy.info
    assert all(isinstance(value, torch.Tensor) for value in held.values())
    assert {"actor.0.weight", "actor.1.scale", "obs.std", "low"} <= set(held)


def test_the_file_ends_in_the_sum_of_all_that_is_before(tmp_path):
    path = write(tmp_path / "p.pt", make_policy())
    body, digits = path.read_bytes()[:-64], path.read_bytes()[-64:]
    assert digits.decode() == hashlib.sha256(body).hexdigest()
    with zipfile.ZipFile(path) as file:
        assert (file.comment, file.testzip()) == (digits, None)
    assert "low" in torch.load(path, weights_only=True, mmap=True)


def refused(path, content):
    """Return what is said of a file that holds these bytes."""
    path.write_bytes(content)
    with pytest.raises(qmu.ConfigError, match=r"the policy in .*p.pt cannot be read") as error:
        qmu.load(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "held", [torch.nn.Linear(2, 2), {"description": print}], ids=["module", "function"]
)
def test_more_than_tensors_and_text_is_refused_without_advice_to_run_it(tmp_path, held):
    torch.save(held, tmp_path / "p.pt")
    for content in ((tmp_path / "p.pt").read_bytes(), with_sum(held)):
        said = refused(tmp_path / "p.pt", content)
        assert "weights_only" not in said
    assert "it holds more than tensors and text, and nothing of it was run" in said


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_file_is_refused(tmp_path, content):
    assert "it is damaged, or not from qmu" in refused(tmp_path / "p.pt", content)


@pytest.mark.parametrize("held", [{}, [1], {"description": "{}"}, {"description": "[]", "a": 1}])
def test_tensors_of_something_else_are_refused(tmp_path, held):
    refused(tmp_path / "p.pt", with_sum(held))


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    whole = write(tmp_path / "p.pt", make_policy()).read_bytes()
    refused(tmp_path / "p.pt", whole[:-50])


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_is_noticed(tmp_path, bit):
    whole = write(tmp_path / "p.pt", make_policy(norm="layer")).read_bytes()
    for place in range(0, len(whole), 31):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        assert "it is damaged, or not from qmu" in refused(tmp_path / "p.pt", damaged)


def test_the_module_can_be_exported_for_programs_without_qmu(tmp_path):
    policy = make_policy(norm="layer", normalized=True)
    module = qmu.load(write(tmp_path / "p.pt", policy))
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "p.pt2")
    np.save(tmp_path / "obs.npy", draw_obs(9, 3))
    code = (
        "import sys; sys.modules['qmu'] = None; import numpy as np, torch\n"
        "module = torch.export.load('p.pt2').module()\n"
        "action = module(torch.tensor(np.load('obs.npy')))\n"
        "np.save('action.npy', action.detach().numpy())"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    action = np.load(tmp_path / "action.npy")
    np.testing.assert_allclose(action, policy(draw_obs(9, 3)), rtol=1e-4, atol=1e-5)


def test_small_changes_of_large_numbers_are_seen(tmp_path):
    (tmp_path / "p.pt").write_bytes(files.packed(".pt", make_centred()))
    check_reads_large_numbers(qmu.load(tmp_path / "p.pt"))
