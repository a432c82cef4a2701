"""What a notebook shows: a display that is renewed in place, and pictures."""

import re
import sys
import types

import pytest
import runs
from rich.console import Console as Terminal

import qmu
from qmu.watching import forecast, notebook
from qmu.watching.console import Console


class Display:
    """Stands in for IPython's: keeps what is shown, and what it is renewed with."""

    def __init__(self):
        self.shown, self.printed = [], []

    def __call__(self, shown, raw=False, display_id=False):
        if not raw:
            self.printed.append(shown.text)
            return None
        self.shown.append(shown)
        return types.SimpleNamespace(update=lambda page, raw: self.shown.append(page))


@pytest.fixture
def display(monkeypatch):
    shown = Display()
    module = types.ModuleType("IPython.display")
    module.display = shown
    package = types.ModuleType("IPython")
    package.display = module
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


@pytest.mark.long
def test_a_notebook_has_one_output_that_is_renewed_in_place(tmp_path, display, monkeypatch):
    monkeypatch.setattr(notebook, "PAUSE", 0.0)
    # What is left of a run of a second is not worth a line.
    for name in ("TIMED", "SHORT"):
        monkeypatch.setattr(forecast, name, 0.0)
    from qmu.runs.train import configure_run, train_config

    config = configure_run("Pendulum-v1", None, runs.options(tmp_path), {})
    train_config(config, "Pendulum-v1", Console(Terminal(force_jupyter=True, highlight=False)))
    pages = [page["text/html"] for page in display.shown]
    assert len(pages) > 10
    assert "last evaluation" in pages[5]
    assert "240/240" in pages[-2]
    assert pages[-1] == ""
    assert "\x1b" not in display.shown[5]["text/plain"]
    printed = "".join(display.printed)
    assert "writing to" in printed
    assert re.search(r"memory: about .* free; disk: about \S+ KiB of .* free", printed)
    assert len(re.findall(r"about \d+ s left: \d+ s of training, \d+ s of eval", printed)) == 1
    assert "left -:--:--" in pages[0]
    assert "left 0:00:0" in pages[-2]
    assert "best policy on 1 new episode" in printed
    # A line per evaluation is for those who see no display.
    assert "evaluation by seed" not in printed


def test_a_notebook_is_not_flooded(display):
    shown = notebook.Notebook()
    for step in range(50):
        shown.update(str(step))
    shown.stop()
    assert [page["text/plain"] for page in display.shown] == ["0\n", ""]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return qmu.train("Pendulum-v1", seeds=5, **runs.options(folder))


def test_a_runs_picture_has_its_seeds_their_mean_and_an_interval(run):
    figure = run.plot()
    (axes,) = figure.axes
    names = [line.get_gid() for line in axes.lines]
    assert names == [*(f"seed-{seed}" for seed in range(5)), "mean"]
    logged = {
        (line["member"], line["step"]): line["eval/mean_reward"]
        for line in run.metrics()
        if "eval/mean_reward" in line
    }
    steps, values = axes.lines[1].get_data()
    assert steps.tolist() == [40, 80, 120, 160, 200, 240]
    assert values.tolist() == [logged["seed-1", step] for step in steps]
    assert axes.lines[5].get_ydata()[-1] == pytest.approx(logged["mean", 240])
    (band,) = axes.collections
    assert band.get_gid() == "band"
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "pyplot" not in str(type(figure))


def test_a_picture_of_any_metric_or_a_sentence(run):
    assert run.plot("health/saturated").axes[0].get_ylabel() == "health/saturated"
    with pytest.raises(qmu.ConfigError, match=r"has logged no 'eval/score'; there is .*eval/mean_"):
        run.plot("eval/score")


NOTEBOOK = """
import warnings
warnings.simplefilter("error")
import qmu
run = qmu.train("Pendulum-v1", seeds=2, progress=True, **OPTIONS)
run.plot()
"""


@pytest.mark.extra
@pytest.mark.filterwarnings("default")
def test_a_real_notebook_shows_progress_and_the_picture(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    client = pytest.importorskip("nbclient")
    code = NOTEBOOK.replace("OPTIONS", repr(runs.options(tmp_path)))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    outputs = book.cells[0].outputs
    kinds = [set(output.get("data", {})) for output in outputs]
    assert "image/png" in kinds[-1]
    assert not any("jupyter support" in str(output).lower() for output in outputs)
    said = "".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "over 2 seeds" in said
    # The display has been taken away, and there was one.
    assert sum(output.get("data", {}).get("text/html") == "" for output in outputs) == 1
