"""Whatever is typed or written into a file ends in a sentence and exit code 2, or in a run."""

import math

import pytest
import runs
import tomli_w
from budget import examples
from hypothesis import HealthCheck, given
from hypothesis import settings as tests
from hypothesis import strategies as st

from qmu import cli
from qmu import config as options

FLAGS = [options.flag(group, option.name) for group, option in options.options()]
NAMES = [(group, option.name) for group, option in options.options()]
NASTY = st.sampled_from(
    ["", "-1", "0", "nan", "NaN", "inf", "-inf", "1e400", "-1e400", "1_0", "0x10", "٣", "None",
     "none", "True", "--", "-", "=", "[]", "{}", "\x00", "..", "/", "a" * 10_000, "9" * 400,
     "1e-400", "💥", "; rm -rf /", "$(touch x)", "'", '"', "\\", "\n"]
)  # fmt: skip
WORDS = (
    st.sampled_from(FLAGS)
    | st.sampled_from(["--preset", "--config", "--seed", "--seeds", "Pendulum-v1", "--wrong.flag"])
    | NASTY
    | st.text(max_size=20)
)
VALUES = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20)
    | st.booleans()
    | st.lists(st.integers(-3, 300), max_size=4)
    | st.lists(st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
    | NASTY
)
COMMANDS = ["train", "resume", "eval", "doctor", "study", "compare", "report"]
GROUP_NAMES = st.sampled_from(list(options.GROUPS)) | st.text(max_size=8)
MANY = tests(
    max_examples=runs.count(examples(20, 100), 3000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def untrained(monkeypatch, tmp_path):
    """Return a list of the configurations that would have been trained."""
    monkeypatch.chdir(tmp_path)
    trained = []
    monkeypatch.setattr(
        "qmu.runs.train.train_config", lambda config, **rest: trained.append(config)
    )
    return trained


def code_of(words):
    """Return the exit code of a command; anything but an exit is an error of ours."""
    try:
        return cli.main(words)
    except SystemExit as stop:
        return stop.code or 0


@MANY
@given(words=st.lists(WORDS, max_size=6), command=st.sampled_from(COMMANDS))
def test_any_command_line_is_a_run_or_a_usage_error(words, command, untrained, capsys):
    untrained.clear()
    code = code_of([command, *words])
    said = capsys.readouterr()
    assert code in (0, 2), (words, said)
    assert "Traceback" not in said.out + said.err
    if code == 2:
        assert untrained == []
        assert said.out + said.err
    for config in untrained:
        assert all(math.isfinite(number) for number in numbers_of(config))


def numbers_of(config):
    return [
        value
        for group, name in NAMES
        for value in [getattr(getattr(config, group), name)]
        if isinstance(value, float)
    ]


@MANY
@given(
    values=st.dictionaries(
        GROUP_NAMES,
        st.dictionaries(st.sampled_from([name for _, name in NAMES]), VALUES, max_size=3) | VALUES,
        max_size=3,
    )
)
def test_any_file_is_a_configuration_or_a_usage_error(values, untrained, tmp_path, capsys):
    untrained.clear()
    try:
        text = tomli_w.dumps(values)
    except (ValueError, TypeError, OverflowError):
        return
    (tmp_path / "file.toml").write_text(text, encoding="utf-8", errors="surrogatepass")
    code = code_of(["train", "Pendulum-v1", "--config", "file.toml"])
    said = capsys.readouterr()
    assert code in (0, 2), (values, said)
    assert "Traceback" not in said.out + said.err
    for config in untrained:
        assert all(math.isfinite(number) for number in numbers_of(config))


@MANY
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_a_usage_error(data, untrained, tmp_path, capsys):
    (tmp_path / "file.toml").write_bytes(data)
    code = code_of(["train", "Pendulum-v1", "--config", "file.toml"])
    assert code in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
