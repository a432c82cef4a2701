"""Reports: what they say, and that a browser shows them without an error."""

import base64
import html
import re
import shlex
import shutil
import subprocess

import gymnasium as gym
import jax
import numpy as np
import pytest
import runs
from probes import Counter

import qmu
from qmu import cli, command
from qmu.config import reading
from qmu.report import maps
from qmu.report.page import write_report
from qmu.runs.train import train_config
from qmu.study import results
from qmu.study.plan import World
from qmu.study.results import Outcome, Place, Results
from qmu.world.make import find_maker

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a finished run of three seeds."""
    directory = runs.train(tmp_path_factory.mktemp("runs"), train={"seeds": 3, "total_steps": 120})
    return results.open_run(directory)


@pytest.fixture(scope="module")
def car(tmp_path_factory):
    """Return the directory of a finished run in another world, with another option."""
    changes = {"train": {"total_steps": 120}, "explore": {"std": 0.5}}
    return runs.train(tmp_path_factory.mktemp("car"), "MountainCarContinuous-v0", **changes)


def trial(run):
    """Return two arms in two worlds, with the directory of a real run; one arm has not finished."""
    generator = np.random.default_rng(0)
    steps = np.arange(1, 13) * 10.0
    places = []
    for name in ("Pendulum-v1", "Other <world>"):
        outcomes = [
            Outcome(
                arm,
                (0, 1, 2),
                steps,
                generator.normal(size=(3, 12)).cumsum(axis=1) + 5 * index,
                status,
                12.0,
                run,
                tuple(f"seed-{seed}" for seed in range(3)),
            )
            for index, (arm, status) in enumerate(
                [
                    ("plain & simple", "finished"),
                    ("better | other", "finished"),
                    ("slow", "stopped"),
                ]
            )
        ]
        places.append(Place(World(name, 120, 3.0, None, None, {}), tuple(outcomes)))
    arms = ("plain & simple", "better | other", "slow")
    return Results("trial", "Which <one>?", arms, arms[0], tuple(places), None)


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    """Return the path of a report with several arms and worlds."""
    folder = tmp_path_factory.mktemp("report")
    return write_report(trial(run), folder, [run.directory], "html")


def test_a_page_needs_no_network_and_holds_everything(page):
    text = page.read_text()
    links = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
    assert all(link.startswith(("#", "data:")) for link in links), links
    assert "<one>" not in text
    assert "Which &lt;one&gt;?" in text
    assert results.PROTOCOL in html.unescape(text)
    assert "slow: stopped at step 120" in text
    names = re.findall(r'<[^>]* id="([^"]*)"', text)
    assert len(names) == len(set(names))
    # Two worlds' curves, the profiles, and maps of the run that all arms are said to be.
    assert text.count("<svg") == 5
    assert "<h2>What is wrong</h2>" in text
    assert "Few random steps</b> (seeds 0 to 2; possible)" in text


def test_pictures_are_no_larger_than_they_look(page):
    text = page.read_text()
    # A hundredth of a point is less than a screen or a printer shows.
    assert re.search(r' d="M -?\d+\.\d\d ', text)
    assert not re.search(r' d="[^"]*\.\d{3}', text)
    assert "<metadata>" not in text
    # Two maps, each of three pairs of numbers in two rows: what lies along the bottom stands once.
    names = re.findall(r'transform="rotate\((-?\d+)[^>]*>(observation \d)<', text)
    along = [name for turned, name in names if int(turned) == 0]
    assert along == 2 * ["observation 0", "observation 0", "observation 1"]


@pytest.mark.long
def test_a_page_carries_the_newest_video_of_each_arm(run, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run.directory, copy)
    videos = copy / "videos"
    videos.mkdir()
    for name in ("seed-0-000000060", "seed-1-000000120", "elsewhere-000000999"):
        (videos / f"{name}.mp4").write_bytes(name.encode())
    found = results.run_results([copy])
    text = write_report(found, tmp_path, [copy], "html").read_text()
    (source,) = re.findall(r'<video [^>]*src="data:video/mp4;base64,([^"]*)"', text)
    assert base64.b64decode(source) == b"seed-1-000000120"
    monkeypatch.setattr("qmu.report.page.MOST_VIDEO_BYTES", 10)
    text = write_report(found, tmp_path, [copy], "html").read_text()
    assert "<video" not in text
    assert f"too large for this page: {videos / 'seed-1-000000120.mp4'}" in text


# What a person would do, and what they would see, as the page's title.
VISIT = """
<script>
addEventListener("load", () => {
  const rows = [...document.querySelectorAll("#scores-0 tbody tr")];
  const table = rows.map((row) => row.cells[0].textContent + "=" + row.cells[2].textContent);
  const curve = document.querySelector('[id^="arm-1-"]');
  const seen = () => [curve, rows[1]].map((part) => getComputedStyle(part).display != "none");
  const before = seen(), box = document.querySelector('[data-toggle="1"]');
  box.click();
  const off = seen();
  box.click();
  document.title = JSON.stringify({table, before, off, after: seen()});
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_the_table_and_switches_arms_off(page, run, tmp_path):
    import json

    visited = tmp_path / "visited.html"
    visited.write_text(page.read_text().replace("</body>", VISIT + "</body>"))
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom",
            visited.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    title = html.unescape(re.search(r"<title>(.*?)</title>", done.stdout)[1])
    seen = json.loads(title)
    found = trial(run)
    expected = [
        f"{row.arm}={results.cells(row)[1]}" for row in results.rows(found, found.places[0])
    ]
    assert seen["table"] == expected
    assert (seen["before"], seen["off"], seen["after"]) == ([True] * 2, [False] * 2, [True] * 2)


def test_the_command_writes_a_page_and_markdown(run, tmp_path, capsys):
    assert cli.main(["report", str(run.directory), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "What has the run learned?" in text
    assert f"qmu train Pendulum-v1 --config {run.directory}/config.toml" in text
    assert f"<pre>qmu report {run.directory} --markdown --csv</pre>" in text
    assert cli.main(["report", str(run.directory), "--out", str(tmp_path), "--markdown"]) == 0
    assert "| arm | mean | median |" in (tmp_path / "report.md").read_text()
    assert cli.main(["report", str(run.directory), "--out", str(tmp_path), "--csv"]) == 0
    lines = (tmp_path / "evaluations.csv").read_text().splitlines()
    assert lines[0] == "world,arm,seed,step,mean_reward"
    known = [line for line in run.metrics() if "eval/mean_reward" in line]
    known = [line for line in known if line["member"].startswith("seed-")]
    assert len(lines) == 1 + len(known)
    for line in known:
        seed, value = line["member"].removeprefix("seed-"), line["eval/mean_reward"]
        row = f"Pendulum-v1,{run.directory.name},{seed},{line['step']},{value:.7g}"
        assert row in lines
    # A report lies beside what it is about, unless it is sent elsewhere.
    assert not (run.directory / "report.html").exists()


def test_a_run_and_its_copies_are_told_apart_and_a_link_is_the_run(run, tmp_path, capsys):
    name = run.directory.name
    for place in ("a/same", "b/same", "c"):
        shutil.copytree(run.directory, tmp_path / place / name)
    (tmp_path / "link").symlink_to(run.directory)
    paths = [run.directory, *(tmp_path / place / name for place in ("a/same", "b/same", "c"))]
    found = command.results_of([*paths, tmp_path / "link", paths[0]])
    arms = [f"Pendulum-v1/{name}", f"a/same/{name}", f"b/same/{name}", f"c/{name}"]
    assert list(found.arms) == arms
    assert [one.arm for one in found.places[0].outcomes] == arms
    assert command.results_of([tmp_path / "link", paths[0]]).arms == (name,)


def arms_told(found, run, tmp_path, kind):
    """Return the part of a report that says what the arms are."""
    text = write_report(found, tmp_path, [run.directory], kind).read_text()
    return html.unescape(text).partition("What the arms are")[2].partition("What is wrong")[0]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_what_the_arms_are_is_said_of_several(run, car, tmp_path, kind):
    alone = results.run_results([run.directory])
    assert arms_told(alone, run, tmp_path, kind) == ""
    told = arms_told(trial(run), run, tmp_path, kind)
    assert told.count("what the others are held against") == 1
    assert told.count("the same") == 2
    told = arms_told(results.run_results([run.directory, car]), run, tmp_path, kind)
    assert told.count("what the others are held against") == 1
    assert "the same" not in told
    for option in ("--env.id MountainCarContinuous-v0", "--explore.std 0.5"):
        assert told.count(f"{option}  ({run.directory.name}:") == 1


@pytest.mark.long
def test_a_bar_in_the_name_of_an_arm_ends_no_cell(run, tmp_path):
    text = write_report(trial(run), tmp_path, [run.directory], "markdown").read_text()
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert any("better \\| other" in line for line in tables)
    for line in tables:
        assert len(re.findall(r"(?<!\\)\|", line)) in (11, 4, 5), line
    assert text.endswith("```\n")


def test_what_cannot_be_reported_is_said(run, tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "is not a run's directory" in capsys.readouterr().err
    empty = tmp_path / "empty"
    shutil.copytree(run.directory, empty)
    (empty / "metrics.jsonl").write_text("")
    assert cli.main(["report", str(empty)]) == 2
    assert "has no evaluation yet" in capsys.readouterr().err
    (empty / "metrics.jsonl").unlink()
    for words in (["report", str(empty)], ["compare", str(empty), str(empty)]):
        assert cli.main(words) == 2
        assert "has no metrics.jsonl, where evaluations are written" in capsys.readouterr().err
    # Beside another run it has none, as one that has not come to its first evaluation.
    assert cli.main(["compare", str(empty), str(run.directory)]) == 0
    assert "empty" in capsys.readouterr().out
    assert cli.main(["report", str(run.directory), str(empty), "--out", str(tmp_path / "x")]) == 0
    assert qmu.open_run(empty).metrics() == []
    (tmp_path / "file").write_text("")
    assert cli.main(["report", str(run.directory), "--out", str(tmp_path / "file" / "x")]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.long
def test_small_observations_are_mapped(run, tmp_path):
    (place,) = results.run_results([run.directory]).places
    outcome = place.outcomes[0]
    assert "image" in maps.maps(outcome, "Pendulum-v1")
    (agents, _), best = maps.agents_of(run), int(np.argmax(outcome.scores))
    member = jax.tree.map(lambda leaf: leaf[best], agents)
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -3.0]], np.float32)
    newest = run.directory / "checkpoints" / "000000120" / f"seed-{best}"
    np.testing.assert_allclose(
        member.actor(obs), qmu.load_policy(newest).network(obs), rtol=1e-5, atol=1e-6
    )
    # A grid where two numbers have bounds.
    other = runs.train(tmp_path, "MountainCarContinuous-v0", train={"total_steps": 120})
    (place,) = results.run_results([other]).places
    obs, grid = maps.states(find_maker("MountainCarContinuous-v0"), None)
    assert grid
    np.testing.assert_allclose([obs.min(axis=0), obs.max(axis=0)], [[-1.2, -0.07], [0.6, 0.07]])
    assert maps.maps(place.outcomes[0], "a world") is not None
    shutil.rmtree(other / "checkpoints")
    assert maps.maps(place.outcomes[0], "a world") is None


class Wide(Counter):
    """Observes two numbers that may be anything that float32 holds."""

    largest = np.finfo(np.float32).max
    observation_space = gym.spaces.Box(-largest, largest, (2,))


class Tired(Counter):
    """Raises once `tired` is set."""

    tired = False

    def step(self, action):
        if Tired.tired:
            raise OSError("too tired")
        return super().step(action)


@pytest.mark.long
@pytest.mark.parametrize("world", [Wide, Tired])
def test_a_report_of_a_difficult_world_is_written(world, tmp_path, monkeypatch, capsys):
    name = f"{world.__name__}-v0"
    monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, world))
    directory = runs.train(tmp_path, name, train={"total_steps": 120})
    monkeypatch.setattr(Tired, "tired", True)
    assert cli.main(["report", str(directory)]) == 0
    maps_there = "has learned</h3>" in (directory / "report.html").read_text()
    assert maps_there == (world is Wide)


def test_an_unfinished_run_says_what_is_missing(run, tmp_path, capsys):
    import json

    part = tmp_path / "part"
    shutil.copytree(run.directory, part)
    info = json.loads((part / "run.json").read_text())
    (part / "run.json").write_text(json.dumps(info | {"status": "interrupted"}))
    assert cli.main(["report", str(part)]) == 0
    assert "interrupted at step 120" in (part / "report.html").read_text()
    assert "Nothing has been trained to its end yet." in (part / "report.html").read_text()


def again(directory, tmp_path):
    """Return what a run's report says to type to train it again, line by line."""
    found = results.run_results([directory])
    text = write_report(found, tmp_path, [directory], "markdown").read_text()
    return text.partition("## Again\n\n```\n")[2].removesuffix("\n```\n").splitlines()


def scores(directory, prefix=""):
    """Return the evaluations of a run's only seed, or of an arm's."""
    name = f"{prefix}seed-0"
    lines = [line for line in qmu.open_run(directory).metrics() if line["member"] == name]
    return [line["eval/mean_reward"] for line in lines if "eval/mean_reward" in line]


def newest(folder, before):
    """Return the directory of the run below a folder that was not there before."""
    (file,) = set(folder.glob("*/*/run.json")) - before
    return file.parent


SHORT = {"total_steps": 120, "schedule_steps": 120, "save_interval": 0}
TIMED = "gymnasium.wrappers.TimeAwareObservation"


@pytest.mark.long
def test_a_run_in_wrappers_can_be_trained_again_as_its_report_says(tmp_path):
    wrapped = {"env": {"wrappers": [TIMED], "kwargs": {"g": 5.0}}, "train": SHORT}
    directory = runs.train(tmp_path, **wrapped)
    (typed,) = again(directory, tmp_path)
    before = set(tmp_path.glob("*/*/run.json"))
    assert cli.main(shlex.split(typed)[1:]) == 0
    assert scores(newest(tmp_path, before)) == scores(directory)


@pytest.mark.long
def test_what_was_given_in_python_is_given_again_as_the_report_says(tmp_path):
    given = {"schedules": {"actor.lr": lambda step: 1e-3 / (1 + step)}}
    options = runs.options(tmp_path, {"env": {"wrappers": [TIMED]}, "train": SHORT})
    for source in (Counter, "Pendulum-v1"):
        directory = qmu.train(source, **options, **given).directory
        (typed,) = again(directory, tmp_path)
        before = set(tmp_path.glob("*/*/run.json"))
        call = typed.replace("train(...", "train(Counter").replace("schedules=...", "**given")
        repeated = eval(call, {"qmu": qmu, "Counter": Counter, "given": given})
        assert repeated.directory == newest(tmp_path, before)
        assert scores(repeated.directory) == scores(directory)


@pytest.mark.long
def test_every_arm_of_a_run_can_be_trained_again_as_its_report_says(tmp_path, monkeypatch):
    arms = {"quiet": {}, "loud": {"explore": {"std": 0.5}, "target": {"tau": 0.05}}}
    asked = runs.options(tmp_path, {"env": {"id": "Pendulum-v1"}, "train": SHORT})
    directory = train_config(reading.from_dict(asked), arms=arms).directory
    monkeypatch.chdir(tmp_path)
    for arm, typed in zip(arms, again(directory, tmp_path), strict=True):
        assert cli.main(shlex.split(typed)[1:]) == 0
        (repeated,) = tmp_path.glob(f"AGAIN/*/{arm}-*")
        # Not to the bit: groups of one member are compiled otherwise.
        np.testing.assert_allclose(scores(repeated), scores(directory, f"{arm}."), rtol=1e-3)


@pytest.mark.long
def test_runs_of_several_worlds_are_beside_each_other(run, car, tmp_path, capsys):
    assert cli.main(["report", str(run.directory), str(car), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "<h2>Pendulum-v1</h2>" in text
    assert "<h2>MountainCarContinuous-v0</h2>" in text
    assert "not begun" not in text
    assert "are not compared" in text
    assert "Performance profiles" not in text
