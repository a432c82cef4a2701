"""The documentation is true: links lead somewhere, examples run, options are all there."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tomli_w
from budget import some
from policies import make_policy

import qmu
from qmu import cli
from qmu.collecting.evaluate import Score
from qmu.config import reading
from qmu.study import plan
from qmu.tuning import space

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("findings/*.md")])
EXAMPLES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/howto/*.md")])

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\[\]]*)\]\(([^)\s]+)\)")
NUMBER = re.compile(r"-?\d+\.\d+")
AGAIN = "run .venv/bin/python docs/make_pictures.py"
SHELL = ("sh", "bash", "shell", "console")


def name(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    """Return (line, text) of the page's code blocks in these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 1, match[3])
        for match in FENCE.finditer(text)
        if match[2] in languages
    ]


def links(page):
    """Return (text, target) of the page's links that lead to files or headings of the project."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [(text, to) for text, to in LINK.findall(prose) if "://" not in to]


def anchors(page):
    """Return the names by which a page's headings can be linked."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page):
    """Return the words of every qmu command in the page's shell blocks."""
    found = []
    for _, text in blocks(page, *SHELL):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and Path(words[0]).name == "qmu":
                found.append(words[1:])
    return found


def files_of_runs(page):
    """Return path -> text of the files in directories of runs and studies that commands read."""
    texts = {
        "config.toml": tomli_w.dumps({"env": {"id": "Pendulum-v1"}}),
        "study.toml": plan.text_of("noise"),
    }
    return {
        word: texts[Path(word).name]
        for words in commands(page)
        for word in words
        if Path(word).name in texts
    }


def toml_files(page):
    """Return name -> text of the TOML blocks whose first line is their file's name."""
    texts = [text for _, text in blocks(page, "toml")]
    return {text.split("\n", 1)[0].removeprefix("#").strip(): text for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for text, target in links(page):
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{name(page)}: [{text}]({target})"
        assert place.is_relative_to(ROOT), f"{name(page)}: [{text}]({target}) leaves the project"
        if anchor:
            assert anchor in anchors(place), f"{name(page)}: [{text}]({target})"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_functions_are_where_the_links_say(page):
    for text, target in links(page):
        word = text.strip("`").removesuffix("()")
        if text == word or not target.endswith(".py") or word.endswith(".py"):
            continue
        code = (page.parent / target).read_text(encoding="utf-8")
        for part in word.split("."):
            defined = re.search(rf"^ *(def|class) {part}\b|^{part}\b.* = ", code, re.MULTILINE)
            assert defined, f"{name(page)}: {target} defines no {part}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    some([page for page in EXAMPLES if blocks(page, "python")], [ROOT / "README.md"]),
    ids=name,
)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace = {"__name__": "docs"}
    for line, text in blocks(page, "python"):
        # So that a traceback shows the page and its line.
        exec(compile("\n" * line + text, str(page), "exec"), namespace)


@pytest.mark.extra
@pytest.mark.parametrize("page", [page for page in EXAMPLES if blocks(page, "py")], ids=name)
def test_python_examples_with_extras_run(page, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    for ending in ("npz", "onnx", "pt"):
        qmu.export(make_policy(action_shape=(2,)), f"pendulum.{ending}")
    for line, text in blocks(page, "py"):
        exec(compile("\n" * line + text, str(page), "exec"), {"__name__": "docs"})


# Those whose studies are measured for an estimate are long.
@pytest.mark.parametrize(
    "page",
    some(
        [page for page in EXAMPLES if commands(page)],
        [page for page in EXAMPLES if page.parent == ROOT or "--dry-run" not in page.read_text()],
    ),
    ids=name,
)
def test_commands_are_understood(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file, text in (toml_files(page) | files_of_runs(page)).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    score = Score((0.0,), (1,))
    run = SimpleNamespace(
        info={"environment": "a world"},
        evaluate=lambda *args, **kw: score,
        play=lambda *args, **kw: score,
        video=lambda *args, **kw: score,
    )
    run.in_world = lambda *args, **kw: run
    # What imports the functions below has to have done so before they are replaced.
    importlib.import_module("qmu.runs.resume")
    importlib.import_module("qmu.command")
    trained = []
    monkeypatch.setattr("qmu.runs.train.train_config", lambda config, **kw: trained.append(config))
    monkeypatch.setattr("qmu.runs.results.open_run", lambda directory: run)
    monkeypatch.setattr("qmu.runs.resume.resume", lambda directory, **kw: None)
    checkup = SimpleNamespace(possible=True)
    monkeypatch.setattr("qmu.health.check.check_env", lambda *args, **kw: checkup)
    monkeypatch.setattr("qmu.health.doctor.told", lambda run: [])
    monkeypatch.setattr("qmu.tuning.site.Site", lambda *arguments: None)
    for command in ("run_study", "tune", "compare", "report", "export"):
        monkeypatch.setattr(f"qmu.command.{command}", lambda *arguments: None)
    monkeypatch.setattr("qmu.world.make.trainable", lambda family: [("family", "id")])
    for words in commands(page):
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        assert code == 0, f"{name(page)}: qmu {shlex.join(words)}: {out.err}"
        assert not out.err, f"{name(page)}: qmu {shlex.join(words)}: {out.err}"
    assert len(trained) == sum(
        words[0] == "train" and "--help" not in words for words in commands(page)
    )


@pytest.mark.parametrize("page", [page for page in EXAMPLES if blocks(page, "toml")], ids=name)
def test_toml_examples_are_configurations(page):
    for file, text in toml_files(page).items():
        held = tomllib.loads(text)
        if "question" in held:
            plan.programs(plan.study_of("example", held))
        elif file.endswith("space.toml"):
            space.space_of(held, reading.from_dict({}))
        else:
            reading.from_dict(held)


def script_of(name):
    """Return a Python file of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_every_page_is_in_the_navigation():
    listed = set(
        re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    )
    there = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    assert there <= listed
    # What is listed and not there is a page of the root, which the site has, too.
    assert len(listed - there) == 3


def test_the_reference_is_up_to_date():
    script = script_of("make_reference")
    written = {page.name: page.read_text(encoding="utf-8") for page in script.FOLDER.iterdir()}
    assert written == script.pages(), "run .venv/bin/python docs/make_reference.py"


def test_the_reference_has_every_command_and_every_public_name():
    made = script_of("make_reference").pages()
    listed = re.findall(r"^  ([a-z]+) ", cli.USAGE.partition("examples:")[0], re.MULTILINE)
    assert len(listed) >= 9
    for command in listed:
        assert f"usage: qmu {command} " in made["command-line.md"]
    for public in qmu.__all__:
        assert f"## `qmu.{public}`" in made["python.md"]


def test_the_sections_of_a_docstring_are_lists_in_the_reference():
    page = script_of("make_reference").pages()["python.md"]
    assert "**Attributes**\n\n- `log`: the newest metrics, renewed" in page
    assert re.findall(r"^[A-Z][a-z]+:$", page, re.MULTILINE) == []


@pytest.mark.long
@pytest.mark.slow
def test_the_pictures_are_up_to_date(tmp_path, monkeypatch):
    script = script_of("make_pictures")
    monkeypatch.setattr("sys.argv", ["make_pictures.py", str(tmp_path)])
    script.main()
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in script.FOLDER.iterdir()}
    for name in drawn:
        now, before = ((folder / name).read_text("utf-8") for folder in (tmp_path, script.FOLDER))
        # Another processor's last bits move a point by a ten-thousandth of a pixel.
        assert re.sub(NUMBER, "", now) == re.sub(NUMBER, "", before), f"{name}: {AGAIN}"
        numbers = [[float(one) for one in re.findall(NUMBER, text)] for text in (now, before)]
        np.testing.assert_allclose(*numbers, atol=0.01, err_msg=f"{name}: {AGAIN}")


def test_every_logged_metric_is_explained():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    written = set(re.findall(r'"((?:rollout|eval|time|train|explore|health)/\w+)"', code))
    assert len(written) > 20
    from qmu.agent.update import Metrics
    from qmu.agent.vitals import Vitals

    written |= {f"train/{field}" for field in Metrics.__dataclass_fields__}
    written |= {f"health/{field}" for field in Vitals.__dataclass_fields__}
    for metric in written:
        assert f"`{metric}`" in page, metric
