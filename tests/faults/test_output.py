"""An output that takes nothing, a disk that takes nothing until the end: what is said, and how."""

import errno
import os
import subprocess
import sys

import pytest
import runs
from test_signals import ENDLESS

import qmu
from qmu.saving import storage

SHORT = [
    *ENDLESS[:-2],
    *("--train.total-steps", "600", "--train.final-episodes", "1"),
]
QMU = [sys.executable, "-m", "qmu"]


def into(path, *words, **keywords):
    with open(path, "wb", buffering=0) as out:
        return subprocess.run(
            [*QMU, *words], stdout=out, stderr=subprocess.PIPE, text=True, check=False, **keywords
        )


@pytest.fixture(scope="module")
def full():
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    return "/dev/full"


@pytest.mark.long
def test_a_run_whose_output_finds_no_room_goes_on(full, tmp_path):
    done = into(full, "train", "Pendulum-v1", "--log.dir", str(tmp_path), *SHORT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nothing can be shown: [Errno 28] No space left on device") == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert qmu.open_run(runs.only_run(tmp_path)).info["status"] == "finished"


@pytest.mark.parametrize("words", [["presets"], ["presets", "td3"], ["--help"], ["--version"]])
def test_a_command_whose_output_is_lost_says_so(full, words):
    done = into(full, *words)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "qmu: the output could not be written: [Errno 28] No space left on device"
    )


def test_an_error_keeps_its_exit_code_where_nothing_can_be_said(full):
    with open(full, "wb", buffering=0) as out:
        done = subprocess.run([*QMU, "evla"], stdout=out, stderr=out, check=False)
    assert done.returncode == 2


def no_checkpoint_after(step, monkeypatch):
    write = storage.write_folder

    def full(folder, *rest):
        if int(folder.name[:9]) > step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(folder, *rest)

    monkeypatch.setattr(storage, "write_folder", full)


@pytest.mark.filterwarnings("ignore:no checkpoint at step")
@pytest.mark.parametrize(("step", "left"), [(120, "until step 120"), (0, "there is no checkpoint")])
def test_a_run_that_could_not_be_saved_to_its_end_is_not_finished(
    step, left, tmp_path, monkeypatch
):
    no_checkpoint_after(step, monkeypatch)
    with pytest.raises(
        qmu.QmuError, match="came to its end, and the checkpoint of its last step could not be wri"
    ) as raised:
        runs.train(tmp_path)
    assert raised.value.exit_code == 1
    notes = " ".join(raised.value.__notes__)
    assert left in notes
    assert ("qmu resume" in notes) == (step > 0)
    run = qmu.open_run(runs.only_run(tmp_path))
    assert run.info["status"] == "unsaved"
    assert "No space left" in run.info["error"]
    # What it has learned best is there, and measured.
    assert run.info["members"][0]["final_mean_reward"] < 0
    assert run.policy().info["step"] > 0
    monkeypatch.undo()
    if step:
        assert qmu.resume(run.directory).info["status"] == "finished"


@pytest.mark.filterwarnings("ignore:no checkpoint at step 180")
def test_a_disk_with_room_again_at_the_end_has_everything(tmp_path, monkeypatch):
    from qmu.learning.loop import Trainer

    score = Trainer.score

    def freed(trainer, *words):
        monkeypatch.undo()
        return score(trainer, *words)

    no_checkpoint_after(120, monkeypatch)
    monkeypatch.setattr(Trainer, "score", freed)
    with pytest.warns(RuntimeWarning, match="no checkpoint at step 240"):
        directory = runs.train(tmp_path)
    assert qmu.open_run(directory).info["status"] == "finished"
    assert runs.checkpoints(directory)[0].name == "000000240"


LIMITED = """
import resource, sys
from qmu.cli import main
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.long
def test_a_limit_of_files_is_said_by_the_exit_code(tmp_path):
    # A checkpoint has more than 60,000 bytes, and no other file has as many as the limit.
    words = ["train", "Pendulum-v1", "--log.dir", str(tmp_path), *SHORT]
    words += ["--critic.hidden-sizes", "64", "64"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "20000", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "came to its end, and the checkpoint of its last step could not be" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert qmu.open_run(runs.only_run(tmp_path)).info["status"] == "unsaved"


@pytest.mark.long
def test_a_limit_of_files_that_no_run_begins_under_is_said(tmp_path):
    words = ["train", "Pendulum-v1", "--log.dir", str(tmp_path / "new"), *SHORT]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "1024", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "cannot make the run's directory" in done.stderr
    assert "File too large; make room, or choose another --log.dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.toml", "run.json"])
@pytest.mark.parametrize("there", [True, False], ids=["its folder is there", "it is not"])
def test_a_disk_that_takes_nothing_at_the_start_has_no_half_of_a_run(
    name, there, tmp_path, monkeypatch
):
    write, folder = storage.write_file, tmp_path / "new"
    if there:
        (folder / "Pendulum-v1" / "another").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    def full(path, data):
        if path.name.endswith(name):
            path.write_bytes(data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(storage, "write_file", full)
    said = r"cannot make the run's directory .*: No space left on device; make room"
    with pytest.raises(qmu.ConfigError, match=said):
        runs.train(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_description_that_cannot_be_written_is_said_by_the_exit_code(tmp_path, monkeypatch):
    replace = storage.replace_files

    def full(files):
        if any(path.name == "run.json" and path.exists() for path in files):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        replace(files)

    monkeypatch.setattr(storage, "replace_files", full)
    with (
        pytest.warns(RuntimeWarning, match=r"run\.json could not be written"),
        pytest.raises(qmu.QmuError, match=r"came to its end, and run\.json could not be written"),
    ):
        runs.train(tmp_path)
