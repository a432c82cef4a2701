"""From names and values to a checked configuration: what a file, a dictionary or a flag asks for.

Every value is converted to its option's declared type, held against the option's own rule, and
against the other options. What is wrong is said in the words that the user typed.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from qmu.config.checks import check_each, check_together, check_value
from qmu.config.declared import Rule
from qmu.config.former import renamed
from qmu.config.spelling import NONE, flag, nearest, spelled
from qmu.config.values import convert, is_none
from qmu.config.whole import GROUPS, Config, options, resolved, shapes, to_dict
from qmu.errors import ConfigError


def from_dict(values: Mapping[str, Any]) -> Config:
    """Return the checked configuration of a nested mapping: group -> option -> value.

    Raises:
        ConfigError: as of `read_dict`, or options contradict each other.
    """
    config = read_dict(values)
    check_together(config)
    return config


def read_dict(values: Mapping[str, Any]) -> Config:
    """Return the configuration of a part of what is given: contradictions may still be resolved.

    Raises:
        ConfigError: an unknown group or option (with the nearest names), a wrong type, or a value
            out of its range.
    """
    groups = {}
    for group, given in values.items():
        if group not in GROUPS:
            raise ConfigError(f"unknown group of options {group!r}{nearest(group, GROUPS)}")
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{group} is a group of options: give a dictionary such as "
                f"{group}={{{dataclasses.fields(GROUPS[group])[0].name!r}: ...}}, not {given!r}"
            )
        groups[group] = read_group(group, given)
    config = Config(**groups)
    check_each(config)
    return config


def read_group(group: str, given: Mapping[str, Any]) -> Any:
    """Return the group's record with the given values, converted to the declared types."""
    record = GROUPS[group]
    kinds = get_type_hints(record)
    given = renamed(group, given)
    for name in given:
        if name not in kinds:
            everywhere = {f"{other}.{option.name}": option.name for other, option in options()}
            homes = [path for path, option in everywhere.items() if option == name]
            hint = f"; there is {' and '.join(homes)}" if homes else nearest(name, kinds)
            raise ConfigError(f"unknown option {group}.{name}{hint}")
    rules = {option.name: option.metadata["rule"] for option in dataclasses.fields(record)}
    return record(
        **{
            name: convert(group, name, as_spelled(value, rules[name]), kinds[name])
            for name, value in given.items()
        }
    )


def as_spelled(value: Any, rule: Rule | None) -> Any:
    """Return `none` where that is one of an option's words, and meant in another spelling."""
    return NONE if is_none(value) and rule is not None and is_word(NONE, rule) else value


def is_word(word: str, rule: Rule) -> bool:
    """Tell whether a word is one of those that a rule allows."""
    return word in rule[1].removeprefix("must be one of ").split(", ")


def read_number(group: str, name: str, value: Any) -> float:
    """Return a value of a numeric option, after checking it against the option's own rule.

    Raises:
        ConfigError: it is no number, or not one that the option may be.
    """
    found: float = convert(group, name, value, float)
    (option,) = [own for own in dataclasses.fields(GROUPS[group]) if own.name == name]
    check_value(group, option, found)
    return found


def vary(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return the configuration with some numeric options changed: a member's own.

    Raises:
        ConfigError: an option is not numeric, or a part is switched on or off.
    """
    varied = from_dict(merge(to_dict(config), changes))
    both = resolved(config), resolved(varied)
    for group, option in options():
        old, new = (getattr(getattr(one, group), option.name) for one in both)
        if old != new and (shapes(option) or (old is None) != (new is None)):
            raise ConfigError(
                f"{flag(group, option.name)} shapes the program, and members of one program cannot "
                f"differ in it: {spelled(new)} needs a run of its own"
            )
    return varied


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested dictionary `base` with the options in `changes` replaced."""
    merged = dict(base)
    for group, values in changes.items():
        before = merged.get(group, {})
        if not isinstance(before, Mapping):
            continue  # no group of options: `from_dict` says so
        merged[group] = (
            renamed(group, before) | renamed(group, values)
            if isinstance(values, Mapping)
            else values
        )
    return merged


def differences(values: Config, base: Config) -> list[str]:
    """Return a line for every option in which two configurations differ."""
    return [
        f"{flag(group, option.name)} {spelled(new)}  (default: {spelled(old)})"
        for group, option in options()
        for new, old in [
            (getattr(getattr(config, group), option.name) for config in (values, base))
        ]
        if new != old
    ]
