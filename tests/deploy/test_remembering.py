"""Policies with a memory: over episodes, as the networks of training act on them."""

import numpy as np
import pytest
from policies import REMEMBERING, check_remembers, described, make_remembering, sights_and_rows

import qmu
from qmu.deploy import npz
from qmu.deploy.files import load_policy
from qmu.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", REMEMBERING)


@KINDS
def test_a_policy_remembers_as_in_training(kind):
    policy, acting = make_remembering(**REMEMBERING[kind])
    check_remembers(policy, policy, acting, *sights_and_rows(policy))


@KINDS
@pytest.mark.parametrize("form", ["folder", "npz"])
def test_files_remember(tmp_path, kind, form):
    policy, acting = make_remembering(**REMEMBERING[kind])
    if form == "folder":
        policy.save(tmp_path / "policy")
        call = load_policy(tmp_path / "policy")
    else:
        (tmp_path / "policy.npz").write_bytes(npz.pack(policy))
        call = qmu.load(tmp_path / "policy.npz")
    check_remembers(call, policy, acting, *sights_and_rows(policy))


@pytest.mark.extra
@KINDS
@pytest.mark.parametrize("form", ["onnx", "pt"])
def test_exports_remember(tmp_path, kind, form):
    from qmu.deploy.files import packed

    pytest.importorskip({"onnx": "onnx", "pt": "torch"}[form])
    policy, acting = make_remembering(**REMEMBERING[kind])
    path = tmp_path / f"policy.{form}"
    path.write_bytes(packed(path.suffix, policy))
    check_remembers(qmu.load(path), policy, acting, *sights_and_rows(policy))


@pytest.mark.extra
def test_a_tensor_is_remembered_with_gradients(tmp_path):
    torch = pytest.importorskip("torch")
    from qmu.deploy.files import packed

    policy, _ = make_remembering(fed=("observation", "action", "reward"))
    path = tmp_path / "policy.pt"
    path.write_bytes(packed(".pt", policy))
    call, rows = qmu.load(path), sights_and_rows(policy)[1]
    first = torch.tensor(rows[0], requires_grad=True)
    _, state = call.step(first, call.initial_state(2))
    action, _ = call.step(torch.tensor(rows[1]), state, torch.zeros(2))
    assert isinstance(action, torch.Tensor)
    action.sum().backward()
    assert float(first.grad.abs().min()) > 0
    _, held = policy.step(rows[0], policy.initial_state(2))
    expected, _ = policy.step(rows[1], held, np.zeros(2))
    np.testing.assert_allclose(action.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_memory_that_does_not_fit_is_refused(tmp_path):
    policy, _ = make_remembering()
    for change in ({"fed": ["sight"]}, {"fed": ["observation", "reward"]}, {"fed": []}):
        policy.save(tmp_path / "policy")
        described(tmp_path / "policy", **change)
        with pytest.raises(ConfigError, match="policy in"):
            load_policy(tmp_path / "policy")
