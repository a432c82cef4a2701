"""Write the table of all options into docs/options.md, from src/qmu/config.py.

Run `.venv/bin/python docs/make_options.py` after an option was added or changed. A test compares
the page with what this would write.
"""

import dataclasses
import inspect
from pathlib import Path

from qmu import config, configure

PAGE = Path(__file__).with_name("options.md")
BEGIN = "<!-- options: begin (written by docs/make_options.py, do not edit) -->"
END = "<!-- options: end -->"


def main() -> None:
    """Rewrite the page's table."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(page: str) -> str:
    """Return the page with everything between the two markers replaced by the current tables."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} must contain {BEGIN!r} and, after it, {END!r}")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """Return one section per group: its purpose, and a table of its options."""
    return "\n".join(table(group, record) for group, record in config.GROUPS.items())


def table(group: str, record: type) -> str:
    """Return the section of a group."""
    lines = [
        f"### `{group}`",
        "",
        inspect.getdoc(record) or "",
        "",
        "| option | default | meaning | kind |",
        "|---|---|---|---|",
    ]
    for option in dataclasses.fields(record):
        cells = [
            f"`{config.flag(group, option.name)}`",
            f"`{configure.spelled(option.default)}`",
            option.metadata["help"].replace("|", "\\|"),
            option.metadata["kind"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
