"""Finding devices, and telling the user when they are shared."""

import jax
import pytest

from qmu.errors import ConfigError
from qmu.learning import devices
from qmu.learning.devices import compiled_folder, cores, find_devices, share_note


def test_there_is_a_cpu_device_per_core():
    assert len(find_devices("cpu")) == cores()


def test_auto_is_what_jax_would_take():
    assert find_devices("auto") == jax.devices()


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"--train.device tpu: JAX finds no such device here"):
        find_devices("tpu")


def test_members_that_share_a_device_needlessly_are_told(monkeypatch):
    monkeypatch.setattr("qmu.learning.devices.cores", lambda: 4)
    (device,) = jax.devices("cpu")[:1]
    assert "3 members share them" in share_note((0, 1, 2), [device])
    assert share_note((0,), [device]) is None
    assert share_note((0, 1, 2), [device] * 3) is None
    assert share_note(tuple(range(9)), [device] * 4) is None


def test_unlike_processors_share_no_compiled_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = compiled_folder("jax")
    assert own == compiled_folder("jax")
    assert own.parent == tmp_path / "qmu" / "jax"
    monkeypatch.setattr(devices.platform, "machine", lambda: "another")
    assert compiled_folder("jax").parent == own.parent
    assert compiled_folder("jax") != own
