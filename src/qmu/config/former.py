"""Old spellings of options, which are still read: in files and dictionaries, and where one types.

Whoever reads values puts them under the names that options have now; nothing else knows the old
ones, and nothing writes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qmu.config.spelling import flag
from qmu.config.values import convert
from qmu.errors import ConfigError


class Former(NamedTuple):
    """What has become of an option that was on or off: its name now, and what either is there."""

    name: str
    on: str
    off: str

    def meant(self, value: bool) -> str:
        """Return the value that the option has now."""
        return self.on if value else self.off


# Group and old name -> what it is now.
FORMER = {("replay", "prioritized"): Former("priorities", on="td-error", off="uniform")}


def renamed(group: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group's values under the names that its options have now.

    Raises:
        ConfigError: an old spelling is neither true nor false, or means something else than the new
            one beside it.
    """
    now = dict(given)
    for (home, name), former in FORMER.items():
        if home == group and name in now:
            value = convert(group, name, now.pop(name), bool)
            meant = former.meant(value)
            if now.setdefault(former.name, meant) != meant:
                raise ConfigError(
                    f"{flag(group, name)} {value} is an old spelling of {flag(group, former.name)} "
                    f"{meant}, and {flag(group, former.name)} {now[former.name]} is given, too: "
                    "leave the old one out"
                )
    return now


def respelled(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with options spelled as they are now.

    Raises:
        ConfigError: an old spelling means something else than the new one beside it.
    """
    typed = {
        word: (flag(group, former.name), value)
        for (group, name), former in FORMER.items()
        for word, value in (
            (flag(group, name), former.on),
            (flag(group, f"no_{name}"), former.off),
        )
    }
    now: list[str] = []
    for word in words:
        spelled = word.replace("_", "-")
        if spelled not in typed:
            now.append(word)
            continue
        option, value = typed[spelled]
        for other in values_of(option, words):
            if other != value:
                raise ConfigError(
                    f"{spelled} is an old spelling of {option} {value}, and {option} {other} is "
                    "given, too: leave the old one out"
                )
        now += [option, value]
    return now


def values_of(option: str, words: Sequence[str]) -> list[str]:
    """Return the values that an option is given among the words of a command line."""
    found = []
    for word, behind in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            found.append(value if equals else behind)
    return found


def value_of(record: Any, group: str, name: str) -> Any:
    """Return an option's value in its group's record; under an old name, the value that it had.

    None if there was none that means the same.
    """
    former = FORMER.get((group, name))
    if former is None:
        return getattr(record, name)
    meant = {former.on: True, former.off: False}
    return meant.get(getattr(record, former.name))


def check_once(group: str, names: Mapping[str, Any]) -> None:
    """Raise ConfigError where an option is named by its old spelling and by the new one."""
    for (home, name), former in FORMER.items():
        if home == group and name in names and former.name in names:
            raise ConfigError(
                f"{group}.{name} is an old spelling of {group}.{former.name}, which is there, too: "
                "leave the old one out"
            )
