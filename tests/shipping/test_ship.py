"""`qmu export`: what it writes and says, and what it refuses without leaving anything."""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
import runs
from policies import (
    SIGHTS,
    described,
    draw_obs,
    draw_sight,
    make_of_parts,
    make_policy,
    make_with_images,
)

import qmu
from qmu.cli import main
from qmu.config import reading
from qmu.deploy import files
from qmu.runs.train import train_config
from qmu.saving import storage
from qmu.shipping import export


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
        assert re.search(r"on 1,000 observations \(7\d\d of the run, the", capsys.readouterr().out)
        card = Path("p.md").read_text()
        assert "- `--env.id Pendulum-v1" in recipe_in(card)
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


def test_a_model_is_exported_with_its_recipe_and_versions():
    model = qmu.TD3("Pendulum-v1", seed=4, env={"kwargs": {"g": 9.0}}, actor={"hidden_sizes": [8]})
    try:
        made = qmu.export(model, "p.npz")
        np.testing.assert_array_equal(
            qmu.load("p.npz")(draw_obs(9, 3)), model.policy()(draw_obs(9, 3))
        )
    finally:
        model.close()
    assert made.policy.info["seed"] == 4
    card = Path("p.md").read_text()
    assert "- `--env.kwargs {g = 9.0}" in card
    assert "- `--actor.hidden-sizes 8" in card
    assert "A model in qmu 0.1.0, jax " in card
    assert "`model.evaluate` measures it" in card
    with pytest.raises(qmu.ConfigError, match="--seed 4 chooses among a run's policies"):
        qmu.export(model, "q.npz", seed=4)


def test_the_card_of_a_policy_alone_says_what_trained_it(trained):
    qmu.export(qmu.open_run(trained).policy(), "p.npz")
    assert "Trained with qmu 0.1.0. Exported with qmu 0.1.0." in Path("p.md").read_text()


@pytest.mark.parametrize("source", [3, None, [1.0], dict])
def test_what_is_no_source_of_a_policy_is_refused(source):
    with pytest.raises(
        qmu.ConfigError, match="an export takes a run, a model, a policy, or"
    ) as said:
        qmu.export(source, "p.npz")
    assert type(source).__name__ in str(said.value)
    assert there() == []


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


def test_the_card_lists_the_parts_of_observations():
    qmu.export(make_of_parts(), "p.npz")
    assert (
        "| numbers | part | what |\n|---|---|---|\n"
        "| 0 to 1 | `cart.place` | shape (2,) |\n"
        "| 2 to 4 | `cart.gear` | a 1 among zeros, for 1 to 3 |\n"
        "| 5 | `goal` | shape (1,) |\n"
    ) in Path("p.md").read_text()
    qmu.export(make_policy(), "q.npz")
    assert "| part |" not in Path("q.md").read_text()


@pytest.mark.parametrize("name", SIGHTS)
def test_the_card_of_images_says_how_they_lie_and_its_example_runs(name, monkeypatch):
    monkeypatch.setattr(export, "OBSERVATIONS", 50)
    monkeypatch.setattr(export, "CALLS", 3)
    parts = SIGHTS[name]
    qmu.export(make_with_images(parts), "p.npz")
    card = Path("p.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["action"].shape == (2,)
    if name != "beside numbers":
        assert "several parts" not in card
        assert f": an image, {parts[0].image}, from 0 to 255 |" in card
        assert "50 observations of noise." in " ".join(card.split())
        return
    assert (
        "| bytes | part | what |\n|---|---|---|\n"
        "| 0 to 7 | `arm.angles` | shape (2,) |\n"
        "| 8 to 19 | `gear` | a 1 among zeros, for 1 to 3 |\n"
        "| 20 to 1459 | `eye` | an image, uint8, height width channels: (36, 40, 1) |\n"
        "| 1460 to 5947 | `hand` | an image, uint8, channels height width: (4, 33, 34) |\n"
    ) in card
    sight = draw_sight(parts)
    row = np.concatenate(
        [
            np.float32([*sight["arm"]["angles"], *(sight["gear"] == [1, 2, 3])]).view(np.uint8),
            sight["eye"].ravel(),
            sight["hand"].transpose(1, 2, 0).ravel(),
        ]
    )
    policy = qmu.load("p.npz")
    np.testing.assert_array_equal(policy(row), policy(sight))


@pytest.mark.extra
def test_the_card_of_a_graph_names_what_it_takes(monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "OBSERVATIONS", 100)
    monkeypatch.setattr(export, "CALLS", 3)
    qmu.export(make_with_images(SIGHTS["colours"], 2), "p.onnx")
    assert (
        "the graph takes `observation` (uint8, (36, 40, 3)), `frames.observation` (uint8, "
        "(1, 36, 40, 3)), `begun` (bool, ()), and gives `action` (float32, (2,)), "
        "`frames.observation_next` (uint8, (1, 36, 40, 3)), `begun_next` (bool, ()), all"
    ) in " ".join(Path("p.md").read_text().split())


def test_the_example_of_a_long_observation_is_short():
    qmu.export(make_policy((348,)), "p.npz")
    card = Path("p.md").read_text()
    assert "action = policy(np.zeros((348,)))" in card
    assert max(map(len, card.splitlines())) < 200


@pytest.mark.parametrize(
    ("normalized", "said"),
    [
        (False, "scaling to the bounds is inside of it."),
        (True, "scaling to the bounds and the normalization of observations are inside of it."),
    ],
)
def test_the_card_says_what_is_inside_of_the_policy(normalized, said):
    qmu.export(make_policy(normalized=normalized), "p.npz")
    assert said in " ".join(Path("p.md").read_text().split())


def recipe_in(card):
    """Return the section of a card that says what trained the policy."""
    return card.partition("## Recipe\n\n")[2].partition("\n## ")[0]


@pytest.mark.long
def test_the_card_names_the_preset_that_the_recipe_is_nearest_to():
    for kind, preset in ((qmu.DDPG, "default"), (qmu.TD3, "td3")):
        model = kind("Pendulum-v1", target={"tau": 0.25})
        qmu.export(model, "p.npz")
        model.close()
        assert recipe_in(Path("p.md").read_text()) == (
            f"The preset `{preset}` (`qmu presets {preset}` prints it), with:\n\n"
            "- `--env.id Pendulum-v1  (default: none)`\n"
            "- `--target.tau 0.25  (default: 0.005)`\n"
        ).replace("(default:", f"({preset}:")
    # The recipe of the environment's own, which `auto` stands for.
    model = qmu.DDPG("Pendulum-v1", preset="auto")
    qmu.export(model, "p.npz")
    model.close()
    assert recipe_in(Path("p.md").read_text()) == (
        "The preset `auto` (`qmu presets auto --env Pendulum-v1` prints it), with:\n\n"
        "- `--env.id Pendulum-v1  (auto: none)`\n"
    )


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
    assert "is not about" not in Path("p.md").read_text()
    for seed in (1, 0):
        made = qmu.export(trained, "p.npz", seed=seed)
        assert rows() == ["p.npz"]  # p.pt is another policy
        assert made.undescribed == ("p.pt",)
        assert "This card is not about `p.pt`" in Path("p.md").read_text()


def test_it_is_said_that_a_card_replaces_that_of_another_policy(trained, capsys):
    assert main(["export", str(trained), "p.npz", "--seed", "0"]) == 0
    assert "card        p.md\n" in capsys.readouterr().out
    Path("p.npz").rename("p.pt")
    Path("p.md").write_text(Path("p.md").read_text().replace("p.npz", "p.pt"))
    assert main(["export", str(trained), "p.npz", "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert "card        p.md, which is not about p.pt: of another policy, or measured" in said


def test_a_run_that_was_stopped_has_no_scores(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    del described["members"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(described | {"status": "interrupted"}))
    qmu.export(tmp_path / "run", "p.npz")
    assert "its status is interrupted" in Path("p.md").read_text()


def test_the_card_of_a_run_that_was_killed_does_not_say_how_long_it_was(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    for key in ("members", "steps", "seconds"):
        del described[key]
    (tmp_path / "run" / "run.json").write_text(json.dumps(described | {"status": "running"}))
    qmu.export(tmp_path / "run", "p.npz")
    card = Path("p.md").read_text()
    assert "It was trained on Pendulum-v1 and nothing else. How it does elsewhere" in card


ARMS = {"quiet": {"explore": {"std": 0.1}}, "loud": {"explore": {"std": 0.5}}}


@pytest.fixture(scope="module")
def with_arms(tmp_path_factory):
    """Return the directory of a run with two arms, whose best steps are all the same."""
    train = {"seeds": 2, "total_steps": 80, "schedule_steps": 80, "eval_interval": 80}
    changes = {"env": {"id": "Pendulum-v1"}, "train": train}
    asked = runs.options(tmp_path_factory.mktemp("arms"), changes)
    return train_config(reading.from_dict(asked), arms=ARMS).directory


@pytest.mark.long
@pytest.mark.parametrize("arm", ARMS)
def test_the_card_of_a_policy_of_an_arm_tells_it_from_the_others(with_arms, arm, capsys):
    assert main(["export", str(with_arms / "best" / f"{arm}.seed-1"), "p.npz"]) == 0
    assert f"p.npz: {arm}, seed 1 of Pendulum-v1, step 80" in capsys.readouterr().out
    card = Path("p.md").read_text()
    assert re.findall(r"^\| (.*) \(this policy\) \|", card, re.MULTILINE) == [f"{arm} 1"]
    assert f"- `--explore.std {ARMS[arm]['explore']['std']}" in card
    assert f"| arm | {arm} |" in card


@pytest.mark.long
def test_the_card_of_a_policy_that_does_not_know_its_arm_says_so(with_arms, tmp_path):
    shutil.copytree(with_arms, tmp_path / "run")
    folder = tmp_path / "run" / "best" / "loud.seed-1"
    info = dict(qmu.load_policy(folder).info)
    del info["arm"]
    described(folder, info=info)
    qmu.export(folder, "p.npz")
    card = Path("p.md").read_text()
    assert "The run has trained several recipes, and the policy does not say which" in card
    assert "without its run" not in card
    assert "(this policy)" not in card


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
    Path("file").touch()
    for path in ("file/p.npz", "file/new/p.npz"):
        said = refused([trained, path], capsys)
        assert f"cannot write {path}: {Path('file').absolute()} is no folder" in said
    assert "cannot write" in refused([trained, "n" * 250 + ".npz"], capsys)
    assert "cannot write" in refused([trained, "a\0b.npz"], capsys)


def test_a_text_that_is_no_card_is_not_written_over(trained, capsys):
    Path("README.md").write_text("# My project\n")
    said = refused([trained, "README.npz"], capsys)
    assert "README.md is there and is no model card" in said
    Path("other.md").write_bytes(b"\xff\xfe")
    assert "other.md is there and is no model card" in refused([trained, "other.npz"], capsys)


def test_folders_that_are_not_there_are_made(trained):
    assert main(["export", str(trained), "robots/arm/p.npz"]) == 0
    assert sorted(path.name for path in Path("robots/arm").iterdir()) == ["p.md", "p.npz"]


@pytest.fixture(params=[".unfinished-p.npz", ".unfinished-p.md"])
def full_disk(request, monkeypatch):
    """Let the writing of one of the two files fail halfway."""
    write_file = storage.write_file

    def write(path, data):
        if path.name == request.param:
            path.write_bytes(data[:10])
            raise OSError(28, os.strerror(28))
        return write_file(path, data)

    monkeypatch.setattr(storage, "write_file", write)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_what_was_there(trained, capsys):
    Path("p.npz").write_bytes(b"older")
    assert "cannot write p.npz: No space left on device" in refused([trained, "p.npz"], capsys)
    Path("robots").mkdir()
    said = refused([trained, "robots/arm/new/p.npz"], capsys)
    assert "cannot write robots/arm/new/p.npz: No space left on device" in said


def test_a_policy_that_differs_leaves_nothing(trained, monkeypatch, capsys):
    bounds = {"low": np.float32([-2]), "high": np.float32([2])}
    data = files.packed(".npz", make_policy(action_shape=(1,), **bounds))
    monkeypatch.setattr(files, "packed", lambda kind, policy: data)
    for name in ("p.npz", "new/p.npz"):
        assert f"{name} was not written" in refused([trained, name], capsys, code=1)
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


@pytest.mark.long
def test_a_run_with_an_actor_of_the_users_own_is_refused_at_once(tmp_path, capsys):
    class Actor(eqx.Module):
        layer: eqx.nn.Linear

        def __call__(self, obs):
            return jax.vmap(self.layer)(obs)

    networks = qmu.Networks(
        actor=lambda key, obs, action: Actor(eqx.nn.Linear(obs, action, key=key))
    )
    changes = {name: value for name, value in runs.options(tmp_path).items() if name != "actor"}
    run = qmu.train("Pendulum-v1", networks=networks, **changes)
    for source in (run.directory, run.directory / "best" / "seed-0"):
        said = refused([source, "p.npz"], capsys)
        assert "has networks of the user's own, and an export holds the built-in networks" in said
    for source in (run, run.policy(), qmu.open_run(run.directory)):
        with pytest.raises(qmu.ConfigError, match="an export holds the built-in networks"):
            qmu.export(source, "p.npz")


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
