"""How options and their values are spelled for a person, and what was perhaps meant."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# How None is spelled where there is no word for it.
NONE = "none"
# Paths of the options that whoever is at work takes without their group.
BARE: ContextVar[frozenset[str]] = ContextVar("BARE", default=frozenset())


def flag(group: str, name: str) -> str:
    """Return the option's spelling on the command line: --group.some-name, or --some-name."""
    path = f"{group}.{name}"
    return f"--{(name if path in BARE.get() else path).replace('_', '-')}"


@contextmanager
def without_group(*paths: str) -> Iterator[None]:
    """Spell these options as a command takes them that has no groups, until it is left."""
    token = BARE.set(frozenset(paths))
    try:
        yield
    finally:
        BARE.reset(token)


def spelled(value: Any) -> str:
    """Return an option's value as it is typed."""
    if value is None:
        return NONE
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def nearest(word: str, known: Any) -> str:
    """Return '; did you mean ...?' with the nearest known words, or all of them."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(known)}"
