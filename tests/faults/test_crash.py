"""A run that ends before any of its file operations: what is on the disk can be gone on from."""

import os
import random
import sys

import pytest
import runs
from saves import AUDITED

import qmu

# Everything a run does once: evaluations, the best policies, checkpoints that are pruned, metrics.
CHANGES = {
    "train": {
        "seeds": 2,
        "total_steps": 120,
        "schedule_steps": 120,
        "eval_interval": 30,
        "save_interval": 40,
    },
    "log": {"interval": 25},
}


class PowerOffError(BaseException):
    """Nothing reaches the disk any more."""


class Power:
    """Counts the file operations below a folder, and refuses all of them from one on."""

    def __init__(self):
        self.folder, self.count, self.last = None, 0, 0
        self.flush = os.fsync
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if event in AUDITED and self.folder is not None and self.folder in str(arguments[0]):
            # The log's own file is open, and reading is no operation of interest.
            if event == "open" and arguments[1] in ("r", "rb", None) and not writes(arguments[2]):
                return
            self.step()

    def fsync(self, descriptor):
        if self.folder is not None:
            self.step()
        self.flush(descriptor)

    def step(self):
        self.count += 1
        if self.count >= self.last:
            raise PowerOffError

    def train(self, folder, last):
        """Train a run whose power goes off before its operation `last`; tell whether it did."""
        self.folder, self.count, self.last = str(folder), 0, last
        try:
            runs.train(folder, **CHANGES)
        except PowerOffError:
            return True
        finally:
            self.folder = None
        return False


def writes(flags):
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


@pytest.fixture(scope="module")
def power():
    """Return the only one: an audit hook stays for good."""
    return Power()


def check(folder, whole):
    """Go on with what is left below a folder, and compare it with the whole run."""
    files = list(folder.glob("*/*/run.json"))
    if not files:
        return "no run yet"
    (directory,) = (file.parent for file in files)
    if not runs.checkpoints(directory):
        with pytest.raises(qmu.ConfigError, match="no checkpoint yet: there is nothing to go on"):
            qmu.resume(directory)
        return "no checkpoint yet"
    if qmu.open_run(directory).info["status"] == "finished":
        return "finished"
    qmu.resume(directory)
    assert runs.final_state(directory) == runs.final_state(whole)
    assert runs.metrics(directory) == runs.metrics(whole)
    described, expected = qmu.open_run(directory).info, qmu.open_run(whole).info
    assert described["members"] == expected["members"]
    for seed in range(2):
        for one, other in zip(
            runs.weights(directory, seed), runs.weights(whole, seed), strict=True
        ):
            assert (one == other).all()
    return "gone on"


@pytest.mark.fault
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_power_off_before_any_file_operation_of_a_run(power, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", power.fsync)
    assert not power.train(tmp_path / "whole", 10**9)
    operations = power.count
    whole = runs.only_run(tmp_path / "whole")
    assert operations > 150
    moments = range(1, operations + 1)
    tried = runs.count(random.Random(0).sample(moments, 8), moments)
    ends = {}
    for last in tried:
        folder = tmp_path / str(last)
        assert power.train(folder, last)
        end = check(folder, whole)
        ends.setdefault(end, []).append(last)
    print(f"{operations} operations, tried: { {end: len(ends[end]) for end in ends} }")
    assert len(ends["gone on"]) >= len(tried) / 2
