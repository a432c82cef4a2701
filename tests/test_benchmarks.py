"""Every benchmark runs, with tiny numbers: what it would measure here is worth nothing.

Not `rivals.py`, which needs the libraries that qmu is compared with; where those are, the rivals of
`minutes.py` run.
"""

import importlib
import json
import math
import shutil
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from actors import Acting

from qmu.collecting.evaluate import evaluate
from qmu.learning.loop import SELECTION_SEEDS
from qmu.world.make import find_maker

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "actor": {"hidden_sizes": [8]},
    "critic": {"hidden_sizes": [8]},
    "replay": {"batch_size": 8},
    "explore": {"start_steps": 20},
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs a benchmark with these words and constants of its own.

    It returns the module. What is written goes to `tmp_path`.
    """
    monkeypatch.syspath_prepend(BENCHMARKS)
    for folder in ("results", "docs"):
        (tmp_path / "benchmarks" / folder).mkdir(parents=True)

    def run_one(name, words="", **constants):
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words.split()])
        if hasattr(module, "HERE"):
            monkeypatch.setattr(module, "HERE", tmp_path / "benchmarks")
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        module.main()
        return module

    return run_one


def results(tmp_path):
    """Return the results that a benchmark has written, by the beginning of their names."""
    files = (tmp_path / "benchmarks" / "results").glob("*.json")
    return {file.name.partition("-")[0]: json.loads(file.read_text()) for file in files}


def test_random_actions(run, tmp_path):
    file = tmp_path / "random.json"
    run("random_actions", EPISODES=2, WORLDS=("Pendulum-v1",), RESULTS=file)
    (found,) = json.loads(file.read_text())["worlds"].values()
    assert len(found["returns"]) == 2


def test_intervals(run, capsys):
    run("intervals", "--studies 10")
    assert capsys.readouterr().out.count(" seeds  ") == 21


def test_recipes(run, capsys, tmp_path):
    shutil.copy(BENCHMARKS / "published.csv", tmp_path / "benchmarks")
    for file in (BENCHMARKS / "results").glob("learning-*.json"):
        shutil.copy(file, tmp_path / "benchmarks" / "results")
    run("recipes")
    assert "| HalfCheetah-v5 |" in capsys.readouterr().out


@pytest.mark.long
def test_learning_and_its_picture(run, tmp_path, capsys):
    learning = importlib.import_module("learning")
    case = learning.Case("Pendulum-v1", 300, -200, True, "last_ten", 1, 3, 1)
    words = "actor.hidden_sizes=[8] critic.hidden_sizes=[8] explore.start_steps=20"
    run("learning", f"--seeds 1 --option {words}", CASES=[case])
    measured = results(tmp_path)["learning"]
    assert [len(row) for row in measured["curve"]] == [1, 1, 1]
    assert (
        "seeds below -200: 1; steps until an evaluation reached it: never"
        in capsys.readouterr().out
    )
    (tmp_path / "docs").mkdir()
    run("plot")
    assert (tmp_path / "docs" / "learning.png").is_file()


@pytest.mark.long
def test_gains(run, tmp_path, capsys):
    learning = importlib.import_module("learning")
    case = learning.Case("Pendulum-v1", 300, None, False, "last_ten", 1)
    run(
        "gains",
        "--world Pendulum-v1 --only prioritized --seeds 1",
        CASES=[case], SMALL=TINY, STEPS=300, EVALUATIONS=3, EPISODES=1,
    )  # fmt: skip
    assert list(results(tmp_path)["gains"]["arms"]) == ["default", "prioritized"]
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1].startswith("| prioritized | ")
    words = "--world Pendulum-v1 --seeds 1 --steps 300 --tag search --arm pair critic.count=2"
    run("gains", words, CASES=[case], SMALL=TINY, EVALUATIONS=3, EPISODES=1)
    found = tmp_path / "benchmarks" / "results" / "gains-Pendulum-v1-search.json"
    arms = json.loads(found.read_text())["arms"]
    assert list(arms) == ["default", "pair"]
    assert arms["pair"]["options"]["critic"]["count"] == 2
    run(
        "gains",
        words.replace("search", "wide") + " --width 6",
        CASES=[case],
        EVALUATIONS=3,
        EPISODES=1,
    )
    found = tmp_path / "benchmarks" / "results" / "gains-Pendulum-v1-wide.json"
    for options in (arm["options"] for arm in json.loads(found.read_text())["arms"].values()):
        assert options["actor"]["hidden_sizes"] == options["critic"]["hidden_sizes"] == [6, 6]
        assert options["replay"]["batch_size"] == 6


@pytest.mark.long
def test_switches(run, tmp_path):
    file = tmp_path / "switches.json"
    words = f"--only prioritized --pairs 2 --steps 32 --output {file}"
    world = {"env": {"id": "Pendulum-v1"}}
    run("switches", words, WORLD="Pendulum-v1", PLAIN=TINY | world, RANDOM_STEPS=20)
    (row,) = json.loads(file.read_text())["switches"]
    assert row["time_ratio"] > 0


@pytest.mark.long
def test_versions(run, tmp_path, capsys):
    words = f"{sys.executable} {sys.executable} --rounds 2 --chunks 1 --only tiny"
    run("versions", words, KINDS={"tiny": [TINY, 1]})
    found = results(tmp_path)["versions"]
    assert len(found["versions"]) == 2
    assert all(one["ms"] > 0 for own in found["kinds"]["tiny"]["rounds"] for one in own)
    assert capsys.readouterr().out.splitlines()[1].startswith("  tiny ")


@pytest.mark.long
def test_health(run, tmp_path):
    run("health", "--pairs 2 --steps 32", SIZES={"tiny": TINY})
    assert results(tmp_path)["health"]["rows"]["tiny"]["time_ratio"] > 0


@pytest.mark.long
def test_workers(run, tmp_path):
    words = "--pairs 2 --steps 32 --workers 1 --worlds 1"
    run("workers", words, WORLDS={"Pendulum-v1": "Pendulum-v1"}, CASES={"tiny": TINY})
    (row,) = results(tmp_path)["workers"]["rows"]
    assert row["time_ratio"] > 0


@pytest.mark.long
def test_cluster(run, tmp_path):
    run("cluster", "--steps 200 --rounds 1 --trials 0", PLACES={"processes": []}, ARMS=(4, 5))
    one, two = results(tmp_path)["cluster"]["studies"]
    assert (one["workers"], two["workers"]) == (1, 2)
    for row in (one, two):
        ((first, second),) = row["training_seconds"]
        assert 0 < max(first, second) < row["seconds"][0]
        assert 0 < row["serial_seconds"][0] < row["seconds"][0]


@pytest.mark.long
def test_saving(run, tmp_path):
    run("saving", "--rows 1000 --saves 2", WORLD="Pendulum-v1", NEW_ROWS=100)
    uniform, prioritized = results(tmp_path)["saving"]["cases"]
    for case in (uniform, prioritized):
        assert len(case["scheduled_seconds"]) == 2
        assert case["whole_stream_seconds"] > 0
        assert case["resume_seconds"] > 0


@pytest.fixture
def minutes(monkeypatch):
    """Return the module, with what its processes need to find qmu's sources."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("minutes")


def done(program, seed, seconds, reached=True):
    """Return a run of a program on a world."""
    times = {"seconds": seconds, "seconds_with_evaluations": seconds + 5}
    about = {"world": "Hopper-v5", "score": 1500.0, "program": program, "seed": seed}
    return about | times | {"reached": reached}


def test_medians_of_what_is_only_known_to_be_more(minutes):
    def middle(*times):
        return minutes.median([minutes.Time(value, reached) for value, reached in times])

    assert middle((1, True), (2, True), (9, False)) == (2, True)
    assert middle((1, True), (2, False), (9, True)) == (2, False)
    # In truth it may be 3.
    assert middle((1, False), (2, True), (3, True)) == (2, False)
    assert middle((1, True), (3, False)) == (2, False)
    assert middle((1, True), (3, True), (4, False), (5, True)) == (3.5, False)


def test_a_world_of_minutes_in_words(minutes):
    goal = minutes.goal_of("Hopper-v5")
    runs = [
        done("sbx-sac", 0, 200.0, False),
        done("qmu", 0, 100.0),
        done("qmu", 1, 300.0),
        done("sbx-sac", 1, 480.0),
        done("sbx-td3", 0, 250.0, False),
        done("sbx-td3", 0, 7.0) | {"score": 3.0},
    ]
    title, _, own, sac, td3, last = minutes.report(runs, goal, "qmu", 1.5)
    assert title == "Hopper-v5, seconds of training until an evaluation reached 1,500"
    assert " ".join(own.split()) == "qmu 200 205 0: 100 1: 300"
    assert " ".join(sac.split()) == "sbx-sac >340 >1.70 (1.60 to >2.00) >345 0: >200 1: 480"
    assert " ".join(td3.split()) == "sbx-td3 >250 >1.25 >255 0: >250"
    assert last.endswith("each of them: not shown: a rival was stopped before that")
    assert minutes.report(runs[:4], goal, "qmu", 1.7)[-1].endswith("each of them: yes")
    slower = [*runs, done("sbx-tqc", 0, 299.0)]
    assert minutes.report(slower, goal, "qmu", 1.5)[-1].endswith("each of them: no")


def test_when_a_rival_is_stopped(minutes):
    goal = minutes.goal_of("Hopper-v5")

    def limit(*runs, most=math.inf):
        return minutes.limit_of(list(runs), goal, "qmu", 2, most)

    one, other = done("qmu", 0, 100.0), done("qmu", 1, 200.0)
    assert limit() == math.inf
    assert limit(one, done("sbx-sac", 0, 7.0)) == 200
    assert limit(one, other) == 300
    assert limit(one, other, most=250) == 250
    assert limit(one | {"reached": False}, most=900) == 900


def test_the_order_of_programs_rotates(minutes):
    order = [minutes.in_turn(["qmu", "a", "b"], turn, "qmu", first=False) for turn in range(4)]
    assert order == [["qmu", "a", "b"], ["a", "b", "qmu"], ["b", "qmu", "a"], ["qmu", "a", "b"]]
    assert minutes.in_turn(["qmu", "a", "b"], 2, "qmu", first=True) == ["qmu", "b", "a"]


def test_a_race_ends_once(minutes):
    reach = importlib.import_module("reach")
    race = reach.Race(10, math.inf, 300)
    race.take(100)
    race.evaluate(9.5, 1000.0)
    assert race.why is None
    race.take(200)
    race.evaluate(10, 1.0)
    race.take(300)
    race.evaluate(20, 1.0)
    found = race.result()
    assert (found["why"], found["reached"], found["steps"]) == ("score", True, 200)
    assert [(step, score) for step, _, score in found["curve"]] == [(100, 9.5), (200, 10)]
    # Within the rounding.
    evaluating = found["seconds_with_evaluations"] - found["seconds"]
    assert evaluating == pytest.approx(1001, abs=0.02)


@pytest.mark.parametrize(("limit", "most", "why"), [(0.0, 900, "limit"), (math.inf, 100, "steps")])
def test_a_race_that_is_lost(minutes, limit, most, why):
    race = importlib.import_module("reach").Race(10, limit, most)
    race.take(100)
    race.evaluate(9, 0.1)
    race.take(200)
    race.evaluate(11, 0.1)
    found = race.result()
    assert (found["why"], found["reached"], found["steps"]) == (why, False, 100)


def test_a_rival_is_evaluated_in_the_same_episodes(minutes):
    reach = importlib.import_module("reach")
    maker, seeds = find_maker("Hopper-v5"), range(SELECTION_SEEDS, SELECTION_SEEDS + 3)

    def upright(obs):
        return 0.3 * np.tanh(0.5 * obs[:, -3:])

    class Rival:
        def predict(self, obs, deterministic):
            assert deterministic
            return upright(obs.astype(np.float32)), None

        def get_vec_normalize_env(self):
            return None

    score = evaluate(Acting(upright), maker.evaluation_worlds(3, render=False), seeds)
    assert len(set(score.lengths)) == 3
    found = reach.evaluate(Rival(), [gymnasium.make("Hopper-v5") for _ in seeds])
    assert found == pytest.approx(score.mean, rel=1e-4)


MINUTES = "--every 200 --episodes 2 --total-steps 400 --most-steps 400"


@pytest.mark.long
def test_minutes(run, minutes, tmp_path, capsys):
    file = tmp_path / "minutes.json"
    words = f"{MINUTES} --programs qmu --output {file}"
    run("minutes", f"--worlds Pendulum-v1=-3000 {words}")
    run("minutes", f"--worlds Pendulum-v1=-3000 Pendulum-v1=-1 {words}")
    won, lost = json.loads(file.read_text())["runs"]
    assert (won["why"], won["steps"], len(won["curve"])) == ("score", 200, 1)
    assert (lost["why"], lost["steps"], len(lost["curve"])) == ("steps", 400, 2)
    for one in (won, lost):
        assert 0 < one["seconds"] < one["seconds_with_evaluations"]
    assert capsys.readouterr().out.count("Pendulum-v1  seed 0  qmu ") == 2
    with pytest.raises(SystemExit, match=r"protocol .*: write to another file \(--output\)"):
        run("minutes", f"{words} --episodes 3")


@pytest.mark.long
@pytest.mark.parametrize("program", ["sbx-td3", "sbx-tqc-simba", "sb3-sac"])
def test_rivals_in_minutes(run, minutes, program, tmp_path):
    if not minutes.RIVALS_PYTHON.exists():
        pytest.skip("no .venv-bench: `make bench` installs the rivals")
    file = tmp_path / "minutes.json"
    words = f"{MINUTES} --programs {program} --output {file}"
    run("minutes", f"--worlds Pendulum-v1=-3000 {words}")
    (found,) = json.loads(file.read_text())["runs"]
    assert (found["why"], found["steps"]) == ("score", 200)


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        "loop --hidden 8 --batch 8 --warmup-steps 1100 --steps 32",
        "update --hidden 8 --batch 8 --blocks 1",
        "first-update",
    ],
)
def test_ours(run, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("ours", words)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    figure = {"loop": "steps_per_second", "update": "share_of_floor"}
    assert found[figure.get(words.split()[0], "seconds_to_first_update")] > 0


@pytest.mark.long
def test_speed(run, tmp_path):
    speed = importlib.import_module("speed")
    words = "update --hidden 8 --batch 8 --blocks 1"
    one = speed.Contender("tiny", [*speed.OURS, *words.split()], "share_of_floor")
    case = speed.Case("tiny", "a tiny update", [one], [speed.Goal("tiny", "", 0.1, 0.2)])
    file = tmp_path / "speed.json"
    run("speed", f"--rounds 2 --only tiny --output {file}", CASES=[case])
    (measured,) = json.loads(file.read_text())["cases"]
    assert len(measured["goals"][0]["ratios"]) == 2


@pytest.mark.long
def test_encoder(run, capsys, monkeypatch):
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    words = "ours --kind drqv2 --batch 2 --side 15 --channels 1 --updates 1 --blocks 1"
    run("encoder", words)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["milliseconds"] >= found["fastest"] > 0
