"""What the documentation site does to pages: links to files, formulas, nothing from a network.

`make site` builds it, strictly. These need its tools: `pip install -e '.[docs]'`.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def page(path):
    return SimpleNamespace(file=SimpleNamespace(src_uri=path))


def test_a_link_to_a_function_leads_to_its_line(hooks):
    link = "[`td_target`](../src/qmu/agent/losses.py)"
    there = hooks.relinked(link, "docs", "theory.md")
    lines = (ROOT / "src/qmu/agent/losses.py").read_text("utf-8").splitlines()
    line = lines.index("def td_target(") + 1
    assert there == f"[`td_target`](source/src/qmu/agent/losses.py.md#L-{line})"


def test_a_link_to_a_method_leads_to_its_line(hooks):
    path = "src/qmu/world/collector.py"
    line = (ROOT / path).read_text("utf-8").splitlines()[hooks.line_of(path, "Collector.write") - 1]
    assert line.strip().startswith("def write(")


@pytest.mark.parametrize(
    ("link", "page", "moved"),
    [
        ("[a](../README.md#how-fast)", "results.md", "[a](overview.md#how-fast)"),
        ("[a](../../CHANGELOG.md)", "howto/x.md", "[a](../changelog.md)"),
        ("[a](metrics.md#health)", "studies.md", "[a](metrics.md#health)"),
        ("[a](docs/family.md)", "overview.md", "[a](family.md)"),
        ("[a](../tests/faults)", "reliability.md", "[a](source/tests/faults/index.md)"),
        ("[a](https://example.org)", "options.md", "[a](https://example.org)"),
        ("[a](nowhere.md)", "options.md", "[a](nowhere.md)"),
        ("```\n[a](../README.md)\n```", "options.md", "```\n[a](../README.md)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site(hooks, link, page, moved):
    assert hooks.relinked(link, hooks.home_of(page), page) == moved


def test_a_file_is_shown_with_its_lines_and_nothing_that_markdown_would_take(hooks):
    shown = hooks.shown("src/qmu/agent/losses.py")
    count = len((ROOT / "src/qmu/agent/losses.py").read_text("utf-8").splitlines())
    assert 'id="L-1"' in shown
    assert f'id="L-{count}"' in shown
    assert "```" not in shown
    assert "$" not in shown


def test_formulas_become_mathml(hooks):
    content = (
        '<span class="arithmatex">\\(Q\'_j(s)\\)</span>'
        '<div class="arithmatex">\n\\[\n\\sum_{i=0}^{n} x_i\n\\]\n</div>'
    )
    made = hooks.on_page_content(content, page("x.md"), None, None)
    assert made.count("<math") == 2
    assert "<msub><mrow><mi>Q</mi><mi>′</mi></mrow><mi>j</mi></msub>" in made
    assert "<munderover><mo>∑</mo>" in made
    assert "arithmatex" not in made


@pytest.mark.parametrize("formula", [r"\frac{1", "x^", r"\unheardof x", r"\big\lfloor x"])
def test_a_formula_that_is_not_understood_stops_the_build(hooks, formula):
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match=r"x\.md"):
        hooks.mathml("span", formula, "x.md")


@pytest.mark.parametrize(
    "loaded",
    [
        '<script src="https://unpkg.com/x"></script>',
        '<img alt="" src="//example.org/x.png">',
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css">',
    ],
)
def test_a_page_that_loads_from_a_network_stops_the_build(hooks, loaded):
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match="network"):
        hooks.on_post_page(loaded, page("x.md"), None)


def test_a_page_may_link_to_other_sites(hooks):
    link = '<a href="https://arxiv.org/abs/1509.02971">paper</a><img src="learning.png">'
    assert hooks.on_post_page(link, page("x.md"), None) == link


@pytest.mark.slow
@pytest.mark.parametrize("broken", [None, "link", "anchor", "page"])
def test_the_build_is_strict(hooks, tmp_path, broken):
    for name in ("docs", "src", "tests", "benchmarks", "examples", "findings"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left_out)
    for name in ("mkdocs.yml", *hooks.ABOVE):
        shutil.copy(ROOT / name, tmp_path / name)
    studies = tmp_path / "docs" / "studies.md"
    added = {"link": "[x](nowhere.md)", "anchor": "[x](metrics.md#nowhere)"}.get(broken, "")
    studies.write_text(studies.read_text("utf-8") + f"\n{added}\n", encoding="utf-8")
    if broken == "page":
        (tmp_path / "docs" / "orphan.md").write_text("# Orphan\n", encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if broken is None else 1), done.stderr
    if broken is None:
        theory = (tmp_path / "site" / "theory.html").read_text("utf-8")
        assert theory.count("<math") > 100
        assert (tmp_path / "site" / "search" / "search_index.js").exists()
    else:
        assert {"link": "nowhere.md", "anchor": "#nowhere", "page": "orphan.md"}[broken] in (
            done.stderr
        )
