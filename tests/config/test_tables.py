"""Tables as values of options: one text for equal ones, and what TOML cannot hold is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmu.config.tables import Table, inline, read_table
from qmu.errors import ConfigError

SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_table_is_read_back_from_its_text(values):
    table = read_table(values)
    assert table.values() == values
    assert read_table(str(table)) == table
    assert "\n" not in table


@pytest.mark.parametrize(
    "same",
    [
        {"terrain": "flat", "frame_skip": 4},
        {"frame_skip": np.int64(4), "terrain": np.str_("flat")},
        '{terrain = "flat", frame_skip = 4}',
        "  { frame_skip = 4, terrain = 'flat' }  # a comment",
        "terrain = 'flat'\nframe_skip = 4\n",
    ],
)
def test_equal_tables_are_equal_texts(same):
    table = read_table(same)
    assert isinstance(table, Table)
    assert table == '{frame_skip = 4, terrain = "flat"}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (1e300, "1e+300"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        ("", '""'),
        ('say "no"\n\\', '"say \\"no\\"\\n\\\\"'),
        ("\x00\x7f", '"\\u0000\\u007f"'),
        ((1, [2.5, "x"]), '[1, [2.5, "x"]]'),
        (np.array([[1, 2]]), "[[1, 2]]"),
        (np.float32(0.5), "0.5"),
        (np.bool_(True), "true"),
        ({}, "{}"),
        ({"b": 1, "a-1": {"": 2}, "é": 3}, '{a-1 = {"" = 2}, b = 1, "é" = 3}'),
    ],
)
def test_a_value_is_written_as_toml_in_one_line(value, text):
    assert inline(value) == text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (3, "3 is not a table of names and values"),
        (None, "None is not a table"),
        (["a"], r"\['a'\] is not a table"),
        ("frame_skip", "'frame_skip' is not a table of TOML .*: write it as in '{frame_skip = 4"),
        ("{a = 1", "is not a table of TOML"),
        ("a = 1\na = 2", "is not a table of TOML"),
        (f"a = {'1' * 5000}", "is not a table of TOML"),
        ("{a = 1}\nb = 2", "goes on behind its closing brace: write all names within the braces"),
        ("{a = 1}\n[b]\nc = 2", "goes on behind its closing brace"),
        ('{a = 1}\n"a b" = 2', "goes on behind its closing brace"),
        ("a = 2026-11-20", "date.* is no text, number, truth value, list or table"),
        ({"a": None}, "None is no text, number"),
        ({"a": [1j]}, "1j is no text, number"),
        ({3: 1}, "the names of a table are texts, unlike those of {3: 1}"),
        ({"a": {3: 1}}, "the names of a table are texts"),
    ],
)
def test_what_is_no_table_is_described(wrong, words):
    with pytest.raises(ConfigError, match=words):
        read_table(wrong)


def within_itself():
    """Return a table that holds itself."""
    table = {}
    table["again"] = table
    return table


@pytest.mark.parametrize(
    "deep",
    ["a = " + "[" * 3000, "{a = " + "[" * 3000 + "]" * 3000 + "}", within_itself()],
    ids=["cut off", "closed", "within itself"],
)
def test_what_is_nested_too_deeply_is_described(deep):
    with pytest.raises(ConfigError, match="the table is nested too deeply"):
        read_table(deep)
