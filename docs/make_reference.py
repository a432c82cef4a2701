"""Write docs/reference/ from what the program itself knows: its options and its presets.

Run `.venv/bin/python docs/make_reference.py` after an option or a preset was added or changed. A
test compares the pages with what this would write.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from qmu import config, configure, presets

FOLDER = Path(__file__).with_name("reference")
WRITTEN = "<!-- written by docs/make_reference.py, do not edit -->"


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    return {
        "options.md": "\n".join([WRITTEN, "", *options_page()]) + "\n",
        "presets.md": "\n".join([WRITTEN, "", *presets_page()]) + "\n",
    }


def options_page() -> Iterator[str]:
    """Yield the lines of the page of all options, a section per group."""
    yield from [
        "# All options",
        "",
        "Every option exists once, in [`config.py`](../../src/qmu/config.py), from which this page",
        "is made; `qmu train --help` prints the same. [Options](../options.md) says how they are",
        "set, [The family](../family.md) what each switch does, its equation and its source.",
        "",
        "*kind*: a `numeric` option is an input of the compiled program: changing it does not",
        "recompile. A `structural` option shapes the program or its surroundings.",
    ]
    for group, record in config.GROUPS.items():
        yield from ["", f"## `{group}`", "", inspect.getdoc(record) or "", ""]
        yield from ["| option | default | meaning | allowed | kind |", "|---|---|---|---|---|"]
        kinds = get_type_hints(record)
        for option in dataclasses.fields(record):
            cells = [
                f"`{config.flag(group, option.name)}`",
                f"`{configure.spelled(option.default)}`",
                option.metadata["help"].replace("|", "\\|"),
                allowed(option, kinds[option.name]),
                option.metadata["kind"],
            ]
            yield f"| {' | '.join(cells)} |"


def allowed(option: dataclasses.Field[Any], kind: Any) -> str:
    """Return which values an option takes, in words."""
    if kind is bool:
        return "yes, no"
    if option.metadata["rule"] is None:
        return ""
    _, words = option.metadata["rule"]
    for start in ("must ", "be ", "lie ", "all be "):
        words = words.removeprefix(start)
    return words.replace("|", "\\|")


def presets_page() -> Iterator[str]:
    """Yield the lines of the page of all presets: what each file says, as it is."""
    yield from [
        "# All presets",
        "",
        "A recipe per source: each file holds what differs from [the defaults](options.md), where",
        "that comes from, and what deviates from the source and why. `qmu presets NAME` prints the",
        "whole configuration.",
    ]
    for name in presets.names():
        yield from ["", f"## `{name}`", "", *quoted(name, None)]
    yield from [
        "",
        "## `auto`",
        "",
        "The environment's own recipe, and the default for all others.",
    ]
    for environment in presets.environments():
        yield from ["", f"### {environment}", "", *quoted(presets.AUTO, environment)]


def quoted(name: str, environment: str | None) -> list[str]:
    """Return a preset's file as the lines of a code block."""
    return ["```toml", *presets.text_of(name, environment).splitlines(), "```"]


if __name__ == "__main__":
    main()
