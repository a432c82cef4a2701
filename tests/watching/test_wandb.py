"""Weights & Biases: what is handed over, and that nothing about it holds up or ends a run."""

import base64
import hashlib
import itertools
import json
import sys
import time

import pytest
import runs

import qmu
from qmu.cli import main
from qmu.watching import wandb_sink
from qmu.watching.sinks import Picture

OFFLINE = {"log": {"wandb": "offline"}}


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Return a function that puts a few lines of Python in the place of the process."""
    (tmp_path / "parts").mkdir()

    def replace(code):
        file = tmp_path / "parts" / "worker.py"
        file.write_text(f"import json, sys, time\n{code}\n")
        monkeypatch.setattr(wandb_sink, "WORKER", (sys.executable, str(file)))

    monkeypatch.setattr(wandb_sink, "find_spec", lambda name: sys)
    monkeypatch.setattr(sys, "origin", "there", raising=False)
    return replace


KEEP = """
with open(sys.argv[0] + ".txt", "w") as file:
    file.writelines(sys.stdin)
print(json.dumps({"done": True}))
"""


def kept(tmp_path):
    text = (tmp_path / "parts" / "worker.py.txt").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_hands_over_its_members_metrics_and_pictures(tmp_path, worker):
    worker(KEEP)
    directory = runs.train(tmp_path, **OFFLINE, train={"seeds": 2})
    opened, *rest = kept(tmp_path)
    assert (opened["mode"], opened["project"], opened["group"]) == (
        "offline",
        "qmu",
        directory.name,
    )
    assert opened["tags"] == ["Pendulum-v1", "ddpg"]
    assert [one["id"] for one in opened["runs"]] == [
        f"{directory.name}-seed-0",
        f"{directory.name}-seed-1",
    ]
    assert [one["config"]["seed"] for one in opened["runs"]] == [0, 1]
    assert opened["runs"][0]["config"]["actor"]["hidden_sizes"] == [8]
    written = [told for told in rest if told["do"] == "write"]
    assert {told["member"] for told in written} == {"seed-0", "seed-1", "mean", "std"}
    own = [told for told in written if told["member"] == "seed-1"]
    lines = [line for line in runs.metrics(directory) if line["member"] == "seed-1"]
    assert [told["step"] for told in own] == [line["step"] for line in lines]
    assert own[-1]["values"]["eval/mean_reward"] == lines[-1]["eval/mean_reward"]


def test_one_run_for_all_members(tmp_path, worker):
    worker(KEEP)
    directory = runs.train(
        tmp_path, log={"wandb": "offline", "wandb_runs": "one", "wandb_project": "mine"}
    )
    opened, *_ = kept(tmp_path)
    assert opened["one"]
    assert opened["project"] == "mine"
    assert [one["id"] for one in opened["runs"]] == [directory.name]
    assert opened["runs"][0]["config"]["members"] == ["seed-0"]


def test_a_resumed_run_goes_on_under_the_same_ids(tmp_path, worker):
    worker(KEEP)
    directory = runs.train(tmp_path, **OFFLINE)
    before = [one["id"] for one in kept(tmp_path)[0]["runs"]]
    qmu.resume(directory, total_steps=300, schedule_steps=300)
    opened, *rest = kept(tmp_path)
    assert [one["id"] for one in opened["runs"]] == before
    assert min(told["step"] for told in rest if told["do"] == "write") > 240


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(3)", "its process has ended"),
        (
            "sys.stdin.readline(); print(json.dumps({'failed': 'CommError: 502'}), flush=True)",
            "CommError: 502",
        ),
    ],
)
def test_a_process_that_fails_is_told_once_and_the_run_goes_on(code, said, tmp_path, worker):
    worker(code)
    with pytest.warns(RuntimeWarning, match="wandb is not written any more, the run") as told:
        directory = runs.train(tmp_path, **OFFLINE, train={"total_steps": 400})
    assert len(told) == 1
    assert said in str(told[0].message)
    assert qmu.open_run(directory).info["status"] == "finished"


def test_a_service_that_cannot_be_reached_is_told(tmp_path, worker):
    worker(f"print(json.dumps({{'unreachable': 'no route'}}), flush=True)\n{KEEP}")
    with pytest.warns(RuntimeWarning, match="cannot be reached .no route.; what") as told:
        directory = runs.train(tmp_path, **OFFLINE)
    assert len(told) == 1
    written = [handed["step"] for handed in kept(tmp_path) if handed["do"] == "write"]
    assert written == [line["step"] for line in runs.metrics(directory)]


def test_a_full_queue_drops_and_an_end_is_not_waited_for_long(tmp_path, worker, monkeypatch):
    worker("time.sleep(1000)")
    monkeypatch.setattr(wandb_sink, "MOST_WAITING", 3)
    monkeypatch.setattr(wandb_sink, "SECONDS_TO_FINISH", 0.5)
    said = []
    folder = tmp_path / "run"
    folder.mkdir()
    config = qmu.Config()
    sink = wandb_sink.Wandb(folder, "a world", config, (), said.append)
    # More than a pipe holds, and what waits for it.
    media = Picture(bytes(100_000))
    for step in range(6):
        sink.show(step, 0.0, "seed-0", "curves", media)
        sink.write(step, 0.0, "seed-0", {"a": 1.0})
    assert len(said) == 1
    assert "metrics are dropped" in said[0]
    began = time.monotonic()
    sink.close()
    sink.close()
    assert time.monotonic() - began < 20
    assert len(said) == 2
    assert "has not taken everything in 0.5 s" in said[1]
    assert sink.process.returncode is not None
    assert not any(thread.is_alive() for thread in sink.threads)


@pytest.mark.parametrize(
    "code", ["sys.exit(3)", "print(json.dumps({'failed': ''}), flush=True); time.sleep(1000)"]
)
def test_a_process_that_has_failed_is_not_waited_for(code, tmp_path, worker, monkeypatch):
    worker(code)
    monkeypatch.setattr(wandb_sink, "MOST_WAITING", 3)
    (folder := tmp_path / "run").mkdir()
    sink = wandb_sink.Wandb(folder, "a world", qmu.Config(), (), lambda said: None)

    def write(times):
        for step in times:
            sink.write(step, 0.0, "seed-0", {"a": 1.0})

    with pytest.raises(OSError, match=r"its process has ended|^$"):
        write(itertools.count())
    # Nobody takes these, and the queue is full.
    write(range(6))
    began = time.monotonic()
    sink.close()
    assert time.monotonic() - began < 20
    assert sink.process.returncode is not None


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_missing_extra_is_told_before_anything_is_written(mode, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb_sink, "find_spec", lambda name: None)
    assert main(["train", "Pendulum-v1", "--log.wandb", mode]) == 2
    assert "install it with pip install 'qmu[wandb]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"key": False, "why": "No API key configured."},
            "needs a key of Weights & Biases: log in",
        ),
        ({"key": False, "why": "WANDB_API_KEY invalid: short."}, "Biases (WANDB_API_KEY invalid"),
        ({"broken": "ImportError: no"}, "wandb cannot be imported (ImportError: no)"),
    ],
)
def test_what_is_lacking_is_told_before_anything_is_written(answer, said, tmp_path, worker, capsys):
    worker(f"print(json.dumps({answer!r}))")
    folder = tmp_path / "runs"
    words = ["train", "Pendulum-v1", "--log.wandb", "online", "--log.dir", str(folder)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "offline" in error or "pip install" in error
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x" * 129])
def test_a_project_that_the_service_refuses_is_refused(name, capsys):
    assert main(["train", "Pendulum-v1", "--log.wandb-project", name]) == 2
    assert "must have 1 to 128 characters" in capsys.readouterr().err


def test_nothing_of_the_library_is_imported_unless_it_is_asked_for(tmp_path):
    runs.train(tmp_path)
    assert "wandb" not in sys.modules


def records(directory):
    """Return id -> records of the files that are kept for the service."""
    from wandb.proto import wandb_internal_pb2 as wire

    found = {}
    for path in sorted((directory / "wandb").glob("offline-run-*/*.wandb")):
        data, place, parts = path.read_bytes(), 7, b""
        own = found.setdefault(path.stem.removeprefix("run-"), [])
        while place + 7 <= len(data):
            left = 32768 - place % 32768
            if left < 7:
                place += left
                continue
            size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
            parts += data[place + 7 : place + 7 + size]
            place += 7 + size
            if kind in (1, 4):
                own.append(wire.Record.FromString(parts))
                parts = b""
    return found


def history(own):
    lines = [record.history.item for record in own if record.HasField("history")]
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in line}
        for line in lines
    ]


def summary(own):
    """Return the newest value of everything in a run's summary."""
    return {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in own
        if record.HasField("summary")
        for item in record.summary.update
    }


@pytest.mark.extra
def test_an_offline_run_is_kept_and_goes_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no network
    directory = runs.train(tmp_path, **OFFLINE, train={"seeds": 2})
    found = records(directory)
    assert list(found) == [f"{directory.name}-seed-0", f"{directory.name}-seed-1"]
    for seed, own in enumerate(found.values()):
        (run,) = [record.run for record in own if record.HasField("run")][:1]
        assert (run.run_group, run.project) == (directory.name, "qmu")
        axes = {
            one.metric.glob_name: one.metric.step_metric for one in own if one.HasField("metric")
        }
        assert axes["*"] == "step"
        lines = [line for line in runs.metrics(directory) if line["member"] == f"seed-{seed}"]
        logged = history(own)
        assert [line["step"] for line in logged][: len(lines)] == [line["step"] for line in lines]
        assert logged[1]["train/q_mean"] == pytest.approx(lines[1]["train/q_mean"])
        (artifact,) = [record.artifact for record in own if record.HasField("artifact")]
        assert {entry.path for entry in artifact.manifest.contents} == {
            "policy.safetensors",
            "policy.json",
        }
        assert [record.exit.exit_code for record in own if record.HasField("exit")] == [0]
    assert not [path for path in directory.rglob("*") if path.is_symlink()]
    qmu.resume(directory, total_steps=300, schedule_steps=300)
    again = records(directory)
    assert list(again) == list(found)
    last = history(again[f"{directory.name}-seed-0"])
    assert any("curves/path" in line for line in last)
    assert last[-1]["step"] == 300
    assert capsys.readouterr() == ("", "")


@pytest.mark.extra
@pytest.mark.parametrize(("seeds", "prefixes"), [(1, [""]), (2, ["seed-0/", "seed-1/", "mean/"])])
def test_one_run_has_all_members_and_the_best_policy_of_all(seeds, prefixes, tmp_path):
    pytest.importorskip("wandb")
    log = {"wandb": "offline", "wandb_runs": "one"}
    directory = runs.train(tmp_path, log=log, train={"seeds": seeds})
    ((name, own),) = records(directory).items()
    assert name == directory.name
    logged = history(own)
    for prefix in prefixes:
        member = prefix.rstrip("/") or "seed-0"
        for metric in ("eval/mean_reward", "train/q_mean"):
            written = [line[prefix + metric] for line in logged if prefix + metric in line]
            lines = [line for line in runs.metrics(directory) if line["member"] == member]
            assert written == [line[metric] for line in lines if line.get(metric) is not None]
    assert ("eval/mean_reward" in set().union(*logged)) is (seeds == 1)
    scores = json.loads((directory / "run.json").read_text())["members"]
    for prefix, score in zip(prefixes, scores, strict=False):
        assert summary(own)[prefix + "final_mean_reward"] == score["final_mean_reward"]
    (artifact,) = [record.artifact for record in own if record.HasField("artifact")]
    assert {entry.path: entry.digest for entry in artifact.manifest.contents} == {
        name: base64.b64encode(
            hashlib.md5((directory / "best" / name).read_bytes()).digest()
        ).decode()
        for name in ("policy.safetensors", "policy.json")
    }


@pytest.mark.extra
def test_a_key_is_asked_for_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(qmu.ConfigError, match="needs a key of Weights & Biases: log in with"):
        runs.train(tmp_path / "runs", log={"wandb": "online"})
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
@pytest.mark.extra
def test_an_unreachable_service_ends_nothing_and_loses_nothing(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setattr(wandb_sink, "SECONDS_TO_BEGIN", 2)
    with pytest.warns(RuntimeWarning, match="Weights & Biases cannot be reached") as told:
        directory = runs.train(tmp_path, log={"wandb": "online"})
    assert len(told) == 1
    (own,) = records(directory).values()
    assert history(own)[-1]["step"] == 240
