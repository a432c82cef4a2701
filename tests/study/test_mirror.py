"""What changes in a folder comes to another, manifests after what they speak of."""

import pytest
from budget import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from qmu.study import mirror
from qmu.study.mirror import Parcel, Watch, found, packed, unpack

NAMES = ["log.txt", "runs/a/metrics.jsonl", "runs/a/1/manifest.json", "runs/a/1/state", "b/s"]
LOOK = "look"
STEPS = st.lists(
    st.one_of(
        st.just(LOOK),
        st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), st.binary(max_size=20))),
    ),
    max_size=20,
)


def contents(root):
    return {path: (root / path).read_bytes() for path in found(root)}


@settings(max_examples=examples(20, 100))
@given(before=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=9)), steps=STEPS)
def test_the_other_folder_becomes_the_same(tmp_path_factory, before, steps):
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    unpack(Parcel(before, []), here)
    for parcel in packed(here, ["log.txt", "runs", "b"]):
        unpack(parcel, there)
    assert contents(there) == before
    watch = Watch(here)
    for step in [*steps, LOOK]:
        if step == LOOK:
            for parcel in watch.changes():
                unpack(parcel, there)
            assert contents(there) == contents(here)
        elif step[1] is None:
            unpack(Parcel({}, [step[0]]), here)
        else:
            unpack(Parcel({step[0]: step[1]}, []), here)


def test_a_manifest_comes_last_and_large_changes_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "FULL", 10)
    watch = Watch(tmp_path)
    files = {"c/manifest.json": b"m" * 8, "c/state": b"s" * 8, "z": b"z" * 8}
    unpack(Parcel(files, []), tmp_path)
    first, last = watch.changes()
    assert list(first.files) == ["c/state", "z"]
    assert list(last.files) == ["c/manifest.json"]
    assert [list(parcel.files) for parcel in watch.changes()] == [[]]


def test_what_is_being_written_and_locks_stay_where_they_are(tmp_path):
    watch = Watch(tmp_path)
    names = [".unfinished-000/state", "a/.unfinished-x", "run.lock", "a/b"]
    unpack(Parcel(dict.fromkeys(names, b""), []), tmp_path)
    (parcel,) = watch.changes()
    assert list(parcel.files) == ["a/b"]


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    with pytest.raises(ValueError, match="leaves the folder"):
        unpack(Parcel({path: b""}, []), tmp_path / "root")
    with pytest.raises(ValueError, match="leaves the folder"):
        unpack(Parcel({}, [path]), tmp_path / "root")
