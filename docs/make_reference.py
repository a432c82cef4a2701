"""Write docs/reference/ from what the program itself knows: options, presets, commands, names.

Run `.venv/bin/python docs/make_reference.py` after an option, a preset, a command's help, or the
signature or docstring of a public name has changed. A test compares the pages with what this would
write.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import qmu
from qmu import cli, config, presets
from qmu.config.spelling import spelled

FOLDER = Path(__file__).with_name("reference")
# How wide a command's help is, in characters.
WIDTH = 88
# The sections of a docstring -> what they are called on a page.
SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Raises": "Raises",
    "Returns": "Returns",
}
WRITTEN = "<!-- written by docs/make_reference.py, do not edit -->"


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    made = {
        "options.md": options_page(),
        "presets.md": presets_page(),
        "command-line.md": commands_page(),
        "python.md": python_page(),
    }
    return {name: "\n".join([WRITTEN, "", *lines]) + "\n" for name, lines in made.items()}


def options_page() -> Iterator[str]:
    """Yield the lines of the page of all options, a section per group."""
    yield from [
        "# All options",
        "",
        "Every option exists once, in its group's file in `config/`, from which this page is",
        "made; `qmu train --help` prints the same. [Options](../options.md) says how they are",
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
                f"`{spelled(option.default) or '[]'}`",
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


def commands_page() -> Iterator[str]:
    """Yield the lines of the page of all commands: what each says of itself."""
    yield from [
        "# The command line",
        "",
        "What `qmu --help` and `qmu COMMAND --help` print. A command ends with exit code 0, with 1",
        "where something failed on the way, with 2 where the request cannot be carried out, and",
        "with 130 or 143 after Ctrl-C or SIGTERM.",
        "",
        "```text",
        *cli.USAGE.splitlines(),
        "```",
    ]
    for command in re.findall(r"^  ([a-z]+) ", cli.USAGE.partition("examples:")[0], re.MULTILINE):
        text, cut, _ = help_of(command).partition("\nenv options")
        more = ["", "Then come the options of a run: [All options](options.md)."] if cut else []
        yield from ["", f"## `qmu {command}`", "", "```text", *text.splitlines(), "```"]
        yield from more


def help_of(command: str) -> str:
    """Return what a command's --help prints."""
    printed, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([command, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return re.sub(r"^ (?! )| +$", "", printed.getvalue(), flags=re.MULTILINE).strip()


def python_page() -> Iterator[str]:
    """Yield the lines of the page of all public names, a section each."""
    yield from [
        "# Python",
        "",
        "The public names of `import qmu`, as their docstrings describe them. The",
        "[tutorial](../tutorial.md#training-from-python) shows them at work. An environment, where",
        "one is asked for (`Source`), is an id, a function that returns an environment, an",
        "environment, or a vector environment.",
    ]
    for name in qmu.__all__:
        found = getattr(qmu, name)
        yield from ["", f"## `qmu.{name}`", ""]
        if not inspect.isclass(found):
            yield from described(found, name)
            continue
        hidden = [base for base in found.__mro__[1:] if is_hidden(base)]
        shown = (base for base in found.__bases__ if base is not object and base not in hidden)
        bases = ", ".join(base.__name__ for base in shown)
        yield from ["```python", f"class {name}({bases})" if bases else f"class {name}", "```", ""]
        yield from prose(inspect.getdoc(found) or "")
        inherited = {own: member for base in hidden for own, member in vars(base).items()}
        for own, member in (inherited | vars(found)).items():
            if own == "__init__" and member.__doc__ and not dataclasses.is_dataclass(found):
                yield from ["", f"### `{name}()`", "", *described(member, name)]
            elif own == "__call__":
                yield from ["", f"### `{name}.__call__`", "", *described(member, own)]
            elif not own.startswith("_") and isinstance(member, property):
                text = prose(inspect.getdoc(member) or "")
                yield from ["", f"### `{name}.{own}`", "", "A property.", "", *text]
            elif not own.startswith("_") and inspect.isroutine(member):
                function = getattr(member, "__func__", member)
                yield from ["", f"### `{name}.{own}`", "", *described(function, own)]


def is_hidden(base: type) -> bool:
    """Tell whether a class is qmu's without a public name: what it has belongs to its heirs."""
    return base.__module__.startswith("qmu.") and base.__name__ not in qmu.__all__


def described(function: Any, name: str) -> Iterator[str]:
    """Yield a function's signature, as its source has it, and its docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = tree.args
    for first in (arguments.posonlyargs, arguments.args):
        if first and first[0].arg in ("self", "cls"):
            del first[0]
    returned = "" if tree.returns is None else f" -> {ast.unparse(tree.returns).strip(chr(39))}"
    end = "" if tree.name == "__init__" else returned
    parts = parts_of(arguments)
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) > WIDTH:
        inside = "".join(f"    {part},\n" for part in parts)
        line = f"{name}(\n{inside}){end}"
    yield from ["```python", *line.splitlines(), "```", ""]
    yield from prose(inspect.getdoc(function) or "")


def parts_of(arguments: ast.arguments) -> list[str]:
    """Return a function's parameters, one by one, as its source has them."""
    depth, parts = 0, [""]
    for sign in ast.unparse(arguments):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        elif sign == "=" and depth == 0 and ":" in parts[-1]:
            parts[-1] += " = "
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part]


def prose(docstring: str) -> Iterator[str]:
    """Yield a docstring's lines as Markdown: its sections become lists."""
    section = ""
    for line in docstring.splitlines():
        if line.endswith(":") and line[:-1] in SECTIONS:
            section = line[:-1]
            yield from [f"**{SECTIONS[section]}**", ""]
        elif section and line.startswith("    ") and not line.startswith("     "):
            name, colon, text = line.strip().partition(": ")
            item = f"- `{name.removeprefix('**')}`: {text}" if colon else line.strip()
            yield item if section != "Returns" else line.strip()
        else:
            yield f"  {line.strip()}" if section and line.strip() else line.strip()


if __name__ == "__main__":
    main()
