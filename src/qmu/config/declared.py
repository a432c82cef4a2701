"""How an option is declared: its default, its unit, its one line of help, its own rule.

`numeric` options are numbers that the compiled program takes as inputs: changing one never
recompiles, and members of a run may differ in them. `structural` options shape the program.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any

Rule = tuple[Callable[[Any], bool], str]
POSITIVE: Rule = (lambda value: value > 0, "must be greater than 0")
NOT_NEGATIVE: Rule = (lambda value: value >= 0, "must be 0 or greater")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "must lie in [0, 1]")
PART: Rule = (lambda value: 0 <= value < 1, "must lie in [0, 1)")
WIDTH: Rule = (lambda value: 0 < value <= 2, "must lie in (0, 2]")
COLOR: Rule = (lambda value: 0 <= value <= 2, "must lie in [0, 2], from white to brown")
SHARE: Rule = (lambda value: 0 < value <= 1, "must lie in (0, 1]")
UP_TO_1000: Rule = (lambda value: 0 < value <= 1000, "must lie in [1, 1000]")
NOTICEABLE: Rule = (lambda value: value >= 0.001, "must be 0.001 or greater")
FINITE: Rule = (lambda value: True, "must be a finite number")
AT_LEAST_2: Rule = (lambda value: value >= 2, "must be 2 or greater")
ZERO_OR_ONE: Rule = (lambda value: value in (0, 1), "must be 0 or 1")
NOT_EMPTY: Rule = (lambda value: value != "", "must not be empty")


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    return (lambda value: value in names, f"must be one of {', '.join(names)}")


def numeric(default: float | None, *, help: str, rule: Rule) -> Any:
    """Declare an option that is a traced number: it may differ per member, never recompiles."""
    return field(default=default, metadata={"kind": "numeric", "help": help, "rule": rule})


def structural(default: Any, *, help: str, rule: Rule | None = None) -> Any:
    """Declare an option that shapes the program or its surroundings; one value for all members."""
    return field(default=default, metadata={"kind": "structural", "help": help, "rule": rule})
