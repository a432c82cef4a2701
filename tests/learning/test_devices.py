"""Finding devices, and telling the user when they are shared."""

import os
import subprocess
import sys

import jax
import pytest

from qmu.errors import ConfigError
from qmu.learning import devices
from qmu.learning.devices import compiled_folder, cores, find_devices, share_note

# What says where a home, or a folder of programs, is.
HOMES = ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")


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


@pytest.mark.long
def test_a_user_without_a_home_has_no_folder_for_programs(tmp_path):
    """Nobody with this number is known to the system."""
    code = (
        "import jax; from qmu.learning import devices; devices.start_jax(); "
        "print(devices.compiled_folder('jax'), jax.config.jax_compilation_cache_dir)"
    )
    around = {name: value for name, value in os.environ.items() if name not in HOMES}
    command = ["unshare", "-U", "--map-user=12345", sys.executable, "-c", code]
    try:
        done = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("there is no unshare here")
    if "unshare" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    assert done.stdout == "None None\n", done.stderr


def test_unlike_processors_share_no_compiled_programs(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = compiled_folder("jax")
    assert own == compiled_folder("jax")
    assert own.parent == tmp_path / "qmu" / "jax"
    monkeypatch.setattr(devices.platform, "machine", lambda: "another")
    assert compiled_folder("jax").parent == own.parent
    assert compiled_folder("jax") != own
