"""What a run needs, against what there is: both are made up here."""

import types

import numpy as np
import pytest

from qmu.config import reading
from qmu.errors import ConfigError
from qmu.learning import devices, provisions
from qmu.learning.devices import free_memory
from qmu.learning.loop import Trainer
from qmu.learning.needs import ring_bytes
from qmu.saving import storage, store
from qmu.world.make import maker_of

GIBIBYTE = 2**30


@pytest.fixture(scope="module")
def trainer():
    """Return a trainer that has 1,000 rows to save, of 21 bytes."""
    config = reading.from_dict(
        {
            "actor": {"hidden_sizes": [8]},
            "critic": {"hidden_sizes": [8]},
            "replay": {"batch_size": 8, "capacity": 50_000},
            "train": {"total_steps": 1000, "seeds": 2},
        }
    )
    made = Trainer(config, maker_of("Pendulum-v1", config.env))
    yield made
    made.close()


@pytest.fixture
def machine(monkeypatch):
    """Return a machine with as much memory and disk as is set there."""
    there = types.SimpleNamespace(taken=GIBIBYTE, memory=8 * GIBIBYTE, disk=9 * GIBIBYTE)
    monkeypatch.setattr(provisions, "processes_bytes", lambda: there.taken)
    monkeypatch.setattr(provisions, "free_memory", lambda: there.memory)
    monkeypatch.setattr(storage, "free_bytes", lambda folder: there.disk)
    return there


def test_enough_is_said_in_one_line(trainer, machine, tmp_path):
    said, short = provisions.provisions(trainer, tmp_path)
    assert said == "memory: about 1.4 GiB of 9.0 GiB free; disk: about 54 KiB of 9.0 GiB free"
    assert short == []


def test_what_is_short_is_said_with_what_lowers_it(trainer, machine, tmp_path):
    machine.memory = 100 * 2**20
    needed = provisions.disk_needed(trainer).total + store.MARGIN
    machine.disk = needed - 1
    _, (memory, disk) = provisions.provisions(trainer, tmp_path)
    assert memory.startswith("memory is short: 100 MiB are left")
    assert "2.0 MiB): lower --replay.capacity or --train.seeds" in memory
    assert ring_bytes(trainer.config, trainer.maker.spaces, 2) == 2 * 50_001 * 21
    for name in ("replay.capacity", "train.seeds", "train.keep-checkpoints", "train.save-interval"):
        assert f"--{name}" in disk
    machine.disk = needed
    assert len(provisions.provisions(trainer, tmp_path)[1]) == 1
    # What a run has written before it is resumed is its own.
    machine.disk = needed - 100
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "rows").write_bytes(bytes(100))
    assert len(provisions.provisions(trainer, tmp_path)[1]) == 1
    machine.disk = needed - 101
    assert len(provisions.provisions(trainer, tmp_path)[1]) == 2


def test_checkpoints_that_cannot_be_written_are_refused(trainer, machine, tmp_path):
    surely = provisions.disk_needed(trainer).surely + store.MARGIN
    assert surely > 2 * 1000 * 21 + store.MARGIN
    machine.disk = surely - 1
    with pytest.raises(ConfigError, match=r"MiB for its checkpoints.*--train\.keep-checkpoints"):
        provisions.check_disk(trainer, tmp_path)
    provisions.check_disk(trainer, tmp_path, written=1)
    machine.disk = surely
    provisions.check_disk(trainer, tmp_path)


def test_what_processes_take_is_counted():
    # NumPy and JAX alone are more than that.
    assert provisions.processes_bytes() > 50 * 2**20


def test_a_container_has_the_memory_that_its_group_may_have(tmp_path, monkeypatch):
    whole = free_memory(tmp_path)
    assert whole > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 50000\nslab 7\n")
    assert devices.left_to_group(tmp_path) == 650_000
    assert free_memory(tmp_path) == 650_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > np.int64(650_000)


def test_a_stream_that_fits_into_memory_and_swap_is_not_refused(monkeypatch):
    config = reading.from_dict({"replay": {"capacity": 1_000_000}})
    maker = maker_of("Pendulum-v1", config.env)
    (device,) = devices.find_devices("cpu")[:1]
    monkeypatch.setattr(devices, "free_memory", lambda: 15_000_000)
    swap = types.SimpleNamespace(free=0)
    monkeypatch.setattr(devices.psutil, "swap_memory", lambda: swap)
    with pytest.raises(ConfigError, match=r"lower --replay\.capacity or --train.seeds"):
        devices.check_memory(config, maker, device, 1)
    swap.free = 7_000_000
    devices.check_memory(config, maker, device, 1)
