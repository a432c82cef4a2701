"""`qmu export`: what it writes and says, and what it refuses without leaving anything."""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import runs
from policies import draw_obs, make_policy

import qmu
from qmu.cli import main
from qmu.deploy import files
from qmu.saving import storage


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    changes = {
        "train": {"seeds": 3, "final_episodes": 4},
        "env": {"normalize_obs": True},
        "actor": {"norm": "layer"},
    }
    return runs.train(tmp_path_factory.mktemp("runs"), **changes)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def there():
    return sorted(path.name for path in Path().iterdir())


def test_the_best_policy_is_exported(trained, capsys):
    assert main(["export", str(trained), "p.npz"]) == 0
    assert there() == ["p.md", "p.npz"]
    best = qmu.open_run(trained).policy()
    np.testing.assert_array_equal(qmu.load("p.npz")(draw_obs(20, 3)), best(draw_obs(20, 3)))
    assert qmu.load("p.npz").info == best.info
    said = capsys.readouterr().out
    assert f"p.npz: seed {best.info['seed']} of Pendulum-v1, step {best.info['step']}" in said
    found = re.search(r"difference +(\S+) of the action range at most, .* on 1,000 obs", said)
    assert 0 <= float(found[1]) < 1e-5
    assert f"{Path('p.npz').stat().st_size:,} bytes" in said
    assert re.search(r"latency +\d+ µs for one observation \(median, measured here\)", said)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_seed_is_exported(trained, seed, capsys):
    assert main(["export", str(trained), "p.npz", "--seed", str(seed)]) == 0
    policy = qmu.open_run(trained).policy(seed)
    np.testing.assert_array_equal(qmu.load("p.npz")(draw_obs(3)), policy(draw_obs(3)))
    assert f"| {seed} (this policy) |" in Path("p.md").read_text()


def test_folders_of_policies_are_exported(trained, capsys):
    for place in ("best/seed-1", "checkpoints/000000240/seed-1"):
        assert main(["export", str(trained / place), "p.npz"]) == 0
        policy = qmu.load(trained / place)
        np.testing.assert_array_equal(qmu.load("p.npz")(draw_obs(3)), policy(draw_obs(3)))
        assert "observations of the run" in capsys.readouterr().out
        card = Path("p.md").read_text()
        assert "## Recipe\n\n- `--env.id Pendulum-v1" in card
    assert "(this policy)" not in card


def test_runs_and_policies_are_exported_from_python(trained):
    run = qmu.open_run(trained)
    made = qmu.export(run, "run.npz", seed=2)
    assert made.data == Path("run.npz").read_bytes()
    assert made.difference < 1e-5
    qmu.export(run.policy(2), "policy.npz")
    assert Path("policy.npz").read_bytes() == made.data
    card = Path("policy.md").read_text()
    assert "its recipe is not known here" in card
    assert "its scores are not known here" in card
    with pytest.raises(qmu.ConfigError, match="--seed 2 chooses among a run's policies"):
        qmu.export(run.policy(2), "again.npz", seed=2)


def test_the_card_says_what_there_is_to_know(trained):
    qmu.export(trained, "p.npz", seed=0)
    card = Path("p.md").read_text()
    info = json.loads((trained / "run.json").read_text())
    finals = [member["final_mean_reward"] for member in info["members"]]
    # Three seeds are too few for an interval.
    assert f"| all 3 | {np.mean(finals):,.0f} |  | {np.std(finals):.2f} |" in card
    for member in info["members"]:
        assert re.search(rf"\| {member['seed']}[^|]*\| {member['final_mean_reward']:,.0f} \|", card)
    assert "on 4 new episodes" in card
    data = (trained / "best" / "seed-0" / "policy.safetensors").read_bytes()
    assert f"SHA-256 `{hashlib.sha256(data).hexdigest()}` of policy.safetensors" in card
    assert "- `--env.normalize-obs True  (default: False)`" in card
    assert "--log." not in card
    assert f"jax {info['versions']['jax']}" in card
    assert "| action | float32, shape (1,), from -2 to 2 |" in card
    assert "for 240 steps of each seed" in card
    assert str(trained) not in card


def test_the_card_loads_the_policy_as_it_says(trained):
    qmu.export(trained, "p.npz")
    (code,) = re.findall(r"```python\n(.*?)```", Path("p.md").read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    np.testing.assert_array_equal(names["action"], qmu.open_run(trained).policy()(np.zeros(3)))


def test_a_card_keeps_what_it_said_of_other_files_of_the_same_policy(trained):
    def rows():
        return re.findall(r"^\| `(\S+)` \|", Path("p.md").read_text(), re.MULTILINE)

    def add_row():
        card = Path("p.md").read_text()
        (row,) = re.findall(r"^\| `p.npz`.*$", card, re.MULTILINE)
        Path("p.md").write_text(card.replace(row, f"{row}\n{row.replace('npz', 'pt')}"))

    qmu.export(trained, "p.npz", seed=0)
    add_row()
    qmu.export(trained, "p.npz", seed=0)
    assert rows() == ["p.npz"]  # there is no p.pt
    add_row()
    Path("p.pt").touch()
    qmu.export(trained, "p.npz", seed=0)
    assert rows() == ["p.npz", "p.pt"]
    qmu.export(trained, "p.npz", seed=1)
    assert rows() == ["p.npz"]  # p.pt is another policy


def test_a_run_that_was_stopped_has_no_scores(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    del described["members"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(described | {"status": "interrupted"}))
    qmu.export(tmp_path / "run", "p.npz")
    assert "its status is interrupted" in Path("p.md").read_text()


def test_an_export_replaces_an_older_one(trained):
    Path("p.npz").write_bytes(b"older")
    qmu.export(trained, "p.npz")
    assert qmu.load("p.npz").obs_shape == (3,)
    assert there() == ["p.md", "p.npz"]


def refused(words, capsys, code=2):
    """Return what is said about a refused export; nothing may change on the disk."""
    before = {path: path.is_dir() or path.read_bytes() for path in sorted(Path().rglob("*"))}
    assert main(["export", *map(str, words)]) == code
    after = {path: path.is_dir() or path.read_bytes() for path in sorted(Path().rglob("*"))}
    assert before == after
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize("name", ["p.txt", "p", "p.npz.gz", "p.safetensors", ""])
def test_other_endings_are_refused(trained, name, capsys):
    assert "ends in .npz, .onnx or .pt" in refused([trained, name], capsys)


def test_places_that_cannot_be_written_are_refused(trained, capsys):
    Path("p.npz").mkdir()
    assert "p.npz is a directory" in refused([trained, "p.npz"], capsys)
    Path("q.md").mkdir()
    assert "q.md is a directory" in refused([trained, "q.npz"], capsys)
    assert "there is no folder new" in refused([trained, "new/p.npz"], capsys)
    Path("file").touch()
    assert "there is no folder file" in refused([trained, "file/p.npz"], capsys)
    assert "cannot write" in refused([trained, "n" * 250 + ".npz"], capsys)
    assert "cannot write" in refused([trained, "a\0b.npz"], capsys)


def test_a_text_that_is_no_card_is_not_written_over(trained, capsys):
    Path("README.md").write_text("# My project\n")
    said = refused([trained, "README.npz"], capsys)
    assert "README.md is there and is no model card" in said
    Path("other.md").write_bytes(b"\xff\xfe")
    assert "other.md is there and is no model card" in refused([trained, "other.npz"], capsys)


@pytest.mark.parametrize("failing", [".unfinished-p.npz", ".unfinished-p.md"])
def test_a_full_disk_leaves_what_was_there(trained, failing, monkeypatch, capsys):
    Path("p.npz").write_bytes(b"older")
    write_file = storage.write_file

    def write(path, data):
        if path.name == failing:
            path.write_bytes(data[:10])
            raise OSError(28, os.strerror(28))
        return write_file(path, data)

    monkeypatch.setattr(storage, "write_file", write)
    assert "cannot write p.npz: No space left on device" in refused([trained, "p.npz"], capsys)


def test_a_policy_that_differs_leaves_nothing(trained, monkeypatch, capsys):
    bounds = {"low": np.float32([-2]), "high": np.float32([2])}
    data = files.packed(".npz", make_policy(action_shape=(1,), **bounds))
    monkeypatch.setattr(files, "packed", lambda kind, policy: data)
    said = refused([trained, "p.npz"], capsys, code=1)
    assert "p.npz was not written" in said
    assert there() == []


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("onnx", "p.onnx", "onnx"), ("onnxruntime", "p.onnx", "onnx"), ("torch", "p.pt", "torch")],
)
def test_a_missing_extra_is_named(trained, module, name, extra, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"qmu.deploy.{extra}", raising=False)
    assert f"pip install 'qmu[{extra}]'" in refused([trained, name], capsys)


def test_what_is_no_run_is_refused(trained, tmp_path, capsys):
    assert "nowhere is no directory" in refused(["nowhere", "p.npz"], capsys)
    assert "is not a run's directory" in refused([".", "p.npz"], capsys)
    assert "has no member with seed 7; there is 0, 1, 2" in refused(
        [trained, "p.npz", "--seed", 7], capsys
    )
    assert "chooses among a run's policies" in refused(
        [trained / "best/seed-1", "p.npz", "--seed", 1], capsys
    )


def test_damaged_and_unfinished_runs_are_refused(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    for members in ([{"seed": 0}], [3], {"a": 1}):
        (tmp_path / "run" / "run.json").write_text(json.dumps(described | {"members": members}))
        assert "run.json is damaged" in refused(["run", "p.npz"], capsys)
    (tmp_path / "run" / "best" / "policy.safetensors").write_bytes(b"nonsense")
    assert "cannot be read" in refused(["run", "p.npz"], capsys)
    shutil.rmtree(tmp_path / "run" / "best")
    assert "ended before its first evaluation" in refused(["run", "p.npz"], capsys)


@pytest.mark.extra
@pytest.mark.parametrize(("ending", "package"), [("onnx", "onnxruntime"), ("pt", "torch")])
def test_other_programs_get_the_same_policy(trained, ending, package, capsys):
    pytest.importorskip(package)
    assert main(["export", str(trained), f"p.{ending}"]) == 0
    found = re.search(r"difference +(\S+) of the action", capsys.readouterr().out)
    assert float(found[1]) < 1e-5
    best = qmu.open_run(trained).policy()
    obs = 3 * draw_obs(50, 3)
    np.testing.assert_allclose(qmu.load(f"p.{ending}")(obs), best(obs), atol=1e-5)
    qmu.export(trained, "p.npz")
    card = Path("p.md").read_text()
    assert f"| `p.{ending}` |" in card
    assert "| `p.npz` |" in card
