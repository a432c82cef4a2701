"""A disk that is full, for checkpoints and for logs; files that were torn; what must not leak."""

import errno
import io
import os
import subprocess
import warnings

import pytest
import runs

import qmu
from qmu.saving import storage, store
from qmu.watching import sinks, tensorboard


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 4 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, left):
    """Fill the disk but for so many bytes; return the file that does."""
    file = folder / "ballast"
    with file.open("wb") as ballast:
        ballast.write(bytes(max(storage.free_bytes(folder) - left, 0)))
    return file


@pytest.mark.parametrize("checked", [True, False], ids=["noticed before", "noticed in writing"])
def test_a_full_disk_destroys_nothing(checked, small_disk, monkeypatch):
    if not checked:
        monkeypatch.setattr(store, "check_space", lambda folder, size: None)
    events = []

    class Filling(qmu_record()):
        """Fills the disk before the save at step 120, and frees it after that at 180."""

        def save(self, scheduled):
            step = self.trainer.step
            if step == 120:
                events.append(fill(small_disk, 4096))
            super().save(scheduled)
            if step in (60, 120, 180):
                path = store.complete(self.directory / "checkpoints")[0]
                events.append((step, store.read_checkpoint(path).state["step"]))
            if step == 180:
                events[1].unlink()

    monkeypatch.setattr("qmu.runs.record.Record", Filling)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        directory = runs.train(small_disk)
    texts = [str(one.message) for one in said]
    failed = [text for text in texts if text.startswith("no checkpoint at step")]
    assert [text.split(":")[0][-3:] for text in failed] == ["120", "180"]
    assert all("free" in text if checked else "No space left" in text for text in failed)
    # What was there stayed readable, and the next one that there was room for is complete.
    assert events[0] == (60, 60)
    assert events[2:] == [(120, 60), (180, 60)]
    assert store.read_checkpoint(runs.checkpoints(directory)[0]).state["step"] == 240
    assert qmu.open_run(directory).info["status"] == "finished"
    assert not list(directory.rglob(f"{storage.UNFINISHED}*"))


def qmu_record():
    from qmu.runs.record import Record

    return Record


def test_the_training_after_a_failed_save_is_what_it_would_have_been(tmp_path, monkeypatch):
    whole = runs.train(tmp_path / "whole")
    write = storage.write_folder

    def sometimes(folder, *rest):
        if folder.name == "000000120":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(folder, *rest)

    monkeypatch.setattr(storage, "write_folder", sometimes)
    with pytest.warns(RuntimeWarning, match="no checkpoint at step 120: .*No space left"):
        directory = runs.train(tmp_path / "failing")
    assert runs.final_state(directory) == runs.final_state(whole)
    assert runs.metrics(directory) == runs.metrics(whole)


@pytest.mark.parametrize("board", [False, True])
def test_a_disk_that_is_full_for_logs_ends_nothing(board, tmp_path, monkeypatch):
    write = tensorboard.TensorBoard.write if board else io.FileIO.write
    calls = []

    class Full(io.FileIO):
        """Takes a part of the third line, and then nothing."""

        def write(self, data):
            calls.append(data)
            if 3 <= len(calls) < 6:
                super().write(data[:10])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def full(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, *arguments)

    class Lines(sinks.JsonLines):
        def __init__(self, path):
            self.file = Full(path, "ab")
            self.size = self.file.tell()

    if board:
        monkeypatch.setattr(tensorboard.TensorBoard, "write", full)
    else:
        monkeypatch.setattr("qmu.watching.logbook.JsonLines", Lines)
    said = "tensorboard is not written any more" if board else "metrics.jsonl lacks lines"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        directory = runs.train(tmp_path, log={"tensorboard": board, "interval": 20})
    texts = [str(one.message) for one in told]
    # Once, and once again after a save that there was room for, though three lines are lacking.
    assert len(texts) == (1 if board else 2)
    for text in texts:
        assert text.startswith(f"{said}, the run goes on: ")
        assert "No space left" in text
    assert qmu.open_run(directory).info["status"] == "finished"
    assert all(isinstance(line, dict) for line in runs.metrics(directory))
    steps = [line["step"] for line in runs.metrics(directory)]
    assert len(steps) == (18 if board else 15)
    assert steps[-1] == 240


def test_a_torn_line_is_readable_and_no_step_is_logged_twice(tmp_path):
    changes = {"log": {"tensorboard": True, "interval": 20}}
    whole = runs.train(tmp_path / "whole", **changes)
    directory = runs.train(tmp_path / "torn", **changes, train={"total_steps": 180})
    lines = runs.metrics(directory)
    # As a process leaves it that was killed after the save at step 120: later lines, a torn one.
    for path in runs.checkpoints(directory)[:1]:
        assert path.name == "000000180"
        storage.remove(path)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "seco')
    assert len(qmu.open_run(directory).metrics()) == len(lines)
    qmu.resume(directory, total_steps=240)
    assert runs.metrics(directory) == runs.metrics(whole)
    logged = events(directory)
    assert logged == events(whole)
    assert len(logged) == len(set(logged)) > 30


def events(directory):
    """Return (member, step, name) of every scalar in a run's event files."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(directory.glob("tensorboard/*/events*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = Event.FromString(data[place + 12 : place + 12 + length])
            found += [
                (file.parent.name, event.step, value.tag)
                for value in event.summary.value
                if not value.tag.startswith("time/")
            ]
            place += 16 + length
    return sorted(found)


def test_secrets_of_the_environment_are_in_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-of-mine-0123456789")
    directory = runs.train(tmp_path, log={"tensorboard": True})
    for path in directory.rglob("*"):
        if path.is_file():
            assert b"s3cr3t-of-mine" not in path.read_bytes(), path


HOLD = """
import sys, time
from pathlib import Path
from qmu.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_only_one_process_resumes_a_run_and_a_stale_lock_is_none(tmp_path):
    import sys

    directory = runs.train(tmp_path, train={"total_steps": 120})
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        # Not the one that the run's description names, which has ended.
        said = f"is being trained by process {holder.pid} on "
        with pytest.raises(qmu.ConfigError, match=said):
            qmu.resume(directory, total_steps=180)
        holder.kill()
    assert qmu.resume(directory, total_steps=180).info["status"] == "finished"


def test_too_little_space_for_a_run_is_said_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "free_bytes", lambda folder: 1000)
    with pytest.raises(qmu.ConfigError, match=r"needs about .* MiB for its checkpoints"):
        runs.train(tmp_path)
    assert list(tmp_path.iterdir()) == []
