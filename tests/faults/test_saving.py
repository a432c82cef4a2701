"""Whatever happens to a save, the old checkpoint or the new one is there, and damage is noticed."""

import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import runs
import saves
from budget import some

import qmu
from qmu.deploy.seal import signed
from qmu.saving import arrays, storage, store
from qmu.saving.storage import DamagedError

SCRIPT = Path(saves.__file__)


def run_script(*words):
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.fault
def test_kill_at_random_moments_of_saving(tmp_path):
    wanted = runs.count(40, 200)
    said = run_script("kill", tmp_path / "checkpoints", wanted)
    kills, written = map(int, [word for word in said.split() if word.isdigit()])
    assert kills == wanted
    assert written > wanted


@pytest.mark.parametrize("torn", some([[], ["torn"]], [["torn"]]), ids=["exit", "torn writes"])
def test_exit_at_every_single_file_operation(torn, tmp_path):
    said = run_script("exit", tmp_path / "checkpoints", *torn)
    assert int(said.split()[0]) > 20


def test_the_order_of_write_flush_and_rename(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    saves.save(folder, 1, [])
    events = []
    real_flush, real_rename = os.fsync, os.replace

    def flush(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append(("flush", path, path.stat().st_size if path.is_file() else None))
        real_flush(descriptor)

    def rename(source, to):
        events.append(("rename", Path(source), Path(to)))
        real_rename(source, to)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    saves.save(folder, 2, [])
    kinds = [event[0] for event in events]
    segment, checkpoint = (index for index, kind in enumerate(kinds) if kind == "rename")
    unfinished, final = events[checkpoint][1:]
    assert final == folder / "000000002"
    # A segment: written through, renamed, its folder flushed; then the checkpoint begins.
    assert [event[1].parent for event in events[:segment]] == [folder / "segments"]
    assert events[segment + 1][:2] == ("flush", folder / "segments")
    inside = events[segment + 2 : checkpoint]
    files = {path.relative_to(final) for path in final.rglob("*") if path.is_file()}
    flushed = {event[1].relative_to(unfinished): event[2] for event in inside}
    for file in files:
        assert flushed[file] == (final / file).stat().st_size, file
    # The manifest is the last file; after the files come their folders, the innermost first.
    order = [event[1].relative_to(unfinished) for event in inside]
    assert order[-3:] == [Path("manifest.json"), Path("seed-0"), Path()]
    assert events[checkpoint + 1][:2] == ("flush", folder)


def test_leftovers_of_earlier_processes_are_removed(tmp_path):
    folder = tmp_path / "checkpoints"
    segments = saves.save(folder, 1, [])
    (folder / f"{storage.UNFINISHED}000000002").mkdir()
    (folder / f"{storage.UNFINISHED}000000002" / "state.json").write_text("{")
    (folder / "segments" / f"{storage.UNFINISHED}abc").write_text("half")
    (folder / "segments" / f"{'0' * 32}.safetensors").write_text("nobody refers to this")
    (folder / "segments" / "not-ours.txt").write_text("x")
    assert saves.newest(folder)[0] == 1
    saves.save(folder, 2, segments)
    assert {path.name for path in folder.iterdir()} == {"000000001", "000000002", "segments"}
    assert len(list((folder / "segments").iterdir())) == 3
    assert (folder / "segments" / "not-ours.txt").exists()


def test_of_pruned_checkpoints_the_policies_stay(tmp_path):
    folder = tmp_path / "checkpoints"
    segments = []
    for number in range(1, 6):
        segments = saves.save(folder, number, segments)
    assert [path.name for path in store.complete(folder)] == ["000000005", "000000004"]
    assert sorted(path.name for path in (folder / "000000001").iterdir()) == ["seed-0"]
    used = {segment.entry.name for segment in segments}
    kept = store.read_checkpoint(folder / "000000004").segments
    used |= {segment.entry.name for segment in kept}
    assert {path.name for path in (folder / "segments").iterdir()} == used


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a small run with two checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    return runs.train(folder, replay={"priorities": "td-error"}, train={"total_steps": 120})


MUTATIONS = 1000


def test_a_thousand_mutations_are_all_noticed(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    newest, before = runs.checkpoints(tmp_path / "run")
    files = [path for path in newest.rglob("*") if path.is_file()]
    files += [
        newest.parent / "segments" / one.entry.name
        for one in store.read_checkpoint(newest).segments
    ]
    choices = random.Random(0)
    unnoticed = []
    done = 0
    while done < MUTATIONS:
        path = choices.choice(files)
        whole = path.read_bytes()
        kind = choices.choice(["bit", "cut", "longer", "swap", "gone"])
        mutated = mutate(choices, kind, path, whole, newest, before)
        if mutated == whole:
            continue
        path.unlink()
        if mutated is not None:
            path.write_bytes(mutated)
        try:
            store.read_checkpoint(newest)
            unnoticed.append((path.name, kind))
        except DamagedError:
            pass
        path.write_bytes(whole)
        done += 1
    assert unnoticed == []
    store.read_checkpoint(newest)


def mutate(choices, kind, path, whole, newest, before):
    """Return the file's content after a mutation; None if it is gone."""
    place = choices.randrange(len(whole))
    if kind == "bit":
        return (
            whole[:place] + bytes([whole[place] ^ 1 << choices.randrange(8)]) + whole[place + 1 :]
        )
    if kind == "cut":
        return whole[:place]
    if kind == "longer":
        return whole + bytes(choices.randrange(1, 9))
    if kind == "gone":
        return None
    other = before / path.relative_to(newest) if newest in path.parents else before
    return other.read_bytes() if other.is_file() else whole


def test_of_a_damaged_checkpoint_the_one_before_is_used_loudly(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest, _ = runs.checkpoints(directory)
    file = newest / store.ARRAYS
    file.write_bytes(file.read_bytes()[:-1])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        qmu.resume(directory, total_steps=180)
    texts = [str(one.message) for one in said]
    assert any("is damaged, looking for the one before" in text for text in texts)
    assert qmu.open_run(directory).info["resumed"][-1]["step"] == 60
    assert qmu.open_run(directory).info["status"] == "finished"
    for path in runs.checkpoints(directory):
        (path / storage.MANIFEST).write_text("{}")
    with (
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.raises(qmu.ConfigError, match=r"all checkpoints of .* are damaged"),
    ):
        qmu.resume(directory, total_steps=500)


def resealed(path, **changes):
    """Change a checkpoint's manifest, and give it the sum that belongs to it."""
    manifest = storage.read_manifest(path) | changes
    (path / storage.MANIFEST).write_text(json.dumps(signed(manifest)))


@pytest.mark.parametrize(
    "name",
    ["../../../stolen", "/etc/passwd", "seed-0/../../../stolen", "..", "a\\..\\b", ".hidden", ""],
)
def test_a_path_that_leads_elsewhere_is_never_followed(name, trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    (tmp_path / "stolen").write_bytes(b"secret")
    newest = runs.checkpoints(directory)[0]
    for kind in ("files", "shared"):
        entry = {"name": name, "size": 6, "sha256": "0" * 64}
        resealed(newest, **{kind: [*storage.read_manifest(newest)[kind], entry]})
        with pytest.raises(DamagedError, match="names a file elsewhere"):
            store.read_checkpoint(newest)


def test_a_link_is_not_followed(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest = runs.checkpoints(directory)[0]
    target = tmp_path / "elsewhere.json"
    (newest / store.STATE).rename(target)
    (newest / store.STATE).symlink_to(target)
    with pytest.raises(DamagedError, match="is missing"):
        store.read_checkpoint(newest)


class Planted:
    """What a pickle would execute when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_pickle_is_not_executed(trained, tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest = runs.checkpoints(directory)[0]
    for name in (store.ARRAYS, store.STATE):
        data = pickle.dumps(Planted())
        (newest / name).write_bytes(data)
        manifest = storage.read_manifest(newest)
        for entry in manifest["files"]:
            if entry["name"] == name:
                entry |= {"size": len(data), "sha256": storage.hashlib.sha256(data).hexdigest()}
        resealed(newest, files=manifest["files"])
        with pytest.raises(DamagedError):
            store.read_checkpoint(newest)
    assert not (tmp_path / "executed").exists()


def test_a_class_path_in_a_state_imports_nothing(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest = runs.checkpoints(directory)[0]
    state = json.loads((newest / store.STATE).read_text())
    state["config"]["env"]["id"] = "antigravity:Pendulum-v1"
    state["behaviours"][0]["generator"]["bit_generator"] = "os.system"
    data = json.dumps(state).encode()
    (newest / store.STATE).write_bytes(data)
    manifest = storage.read_manifest(newest)
    for entry in manifest["files"]:
        if entry["name"] == store.STATE:
            entry |= {"size": len(data), "sha256": storage.hashlib.sha256(data).hexdigest()}
    resealed(newest, files=manifest["files"])
    with pytest.raises(qmu.ConfigError, match="does not fit its own configuration"):
        qmu.resume(directory, total_steps=180)
    assert "antigravity" not in sys.modules


def test_huge_files_are_refused_before_they_are_read(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest = runs.checkpoints(directory)[0]
    file = newest / store.ARRAYS
    with file.open("wb") as sparse:
        sparse.truncate(2**42)
    manifest = storage.read_manifest(newest)
    for entry in manifest["files"]:
        if entry["name"] == store.ARRAYS:
            entry["size"] = 2**42
    resealed(newest, files=manifest["files"])
    with pytest.raises(DamagedError, match="make sense"):
        store.read_checkpoint(newest)
    with (newest / storage.MANIFEST).open("wb") as sparse:
        sparse.truncate(2**42)
    with pytest.raises(DamagedError, match="larger than any manifest"):
        store.read_checkpoint(newest)


@pytest.mark.parametrize("length", [2**60, 2**31, 10**9])
def test_a_huge_header_is_refused(length):
    with pytest.raises(arrays.UnreadableError):
        arrays.unpack(length.to_bytes(8, "little") + b"{}")
    shape = json.dumps({"x": {"dtype": "F32", "shape": [length], "data_offsets": [0, 4 * length]}})
    data = len(shape).to_bytes(8, "little") + shape.encode() + bytes(8)
    with pytest.raises(arrays.UnreadableError):
        arrays.unpack(data)


def test_a_newer_format_is_refused_with_a_sentence(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    for path in runs.checkpoints(directory):
        resealed(path, format=99, qmu="7.0")
    with pytest.raises(qmu.ConfigError, match=r"has format 99, written by qmu 7\.0"):
        qmu.resume(directory, total_steps=180)


def test_rows_that_are_missing_are_noticed(trained, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(trained, directory)
    newest = runs.checkpoints(directory)[0]
    manifest = storage.read_manifest(newest)
    resealed(newest, shared=manifest["shared"][1:], parts=manifest["parts"][1:])
    with pytest.raises(qmu.ConfigError, match="rows of the stream are missing"):
        qmu.resume(directory, total_steps=180)
    assert np.isfinite(runs.weights(directory)[0]).all()
