"""Every example runs, with a budget of some hundred steps."""

import importlib.util
import inspect
from pathlib import Path

import pytest

import qmu

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def name(path):
    return path.stem


def load(path):
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_the_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = load(path).main
    few = {"seeds": 2} if "seeds" in inspect.signature(main).parameters else {}
    made = main(total_steps=300, **few)
    found = made.values() if isinstance(made, dict) else [made]
    for one in found:
        assert isinstance(one, qmu.Run | qmu.DDPG)
        if isinstance(one, qmu.Run):
            assert one.info["status"] == "finished"


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_the_example_says_how_it_is_run(path):
    assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1]
