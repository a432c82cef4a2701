"""What the documentation site needs beyond its pages; mkdocs calls the functions named `on_...`.

The pages are read in the repository, too. There a link to a source file is a link to a file, and a
formula is LaTeX between dollars. Here the first becomes a page that shows the file, and the second
MathML, made when the site is built, so that no page needs a network.
"""

import ast
import html
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[1]
PAGES = "docs"
# Pages of the repository's root -> pages of the site. (A README would be taken for the index.)
ABOVE = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
# Where the pages that show a file or a folder of the repository lie in the site.
SHOWN = "source"

FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?\[([^\[\]]*)\])\(([^)\s]+)\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
# An option's name is not to be broken after its first hyphens.
SHORT = re.compile(r"<code>(?=--[^<]{1,30}</code>)")
MATHML = "{http://www.w3.org/1998/Math/MathML}"
PRIME, BAR, LIMITS = "\N{PRIME}", "\N{HORIZONTAL BAR}", ("∑", "max", "min")
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages, and a page for every file and folder that some page links to."""
    for name, page in ABOVE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    wanted = {
        target
        for file in files.documentation_pages()
        for target in linked(file.content_string, home_of(file.src_uri))
        if site_path(target).startswith(f"{SHOWN}/")
    }
    while wanted:
        target = wanted.pop()
        path = site_path(target)
        if files.get_file_from_path(path) is not None:
            continue
        text = shown(target)
        content = f"---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n{text}"
        files.append(
            File.generated(config, path, content=content, inclusion=InclusionLevel.NOT_IN_NAV)
        )
        if (ROOT / target).is_dir():
            wanted |= set(linked(text, target))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the repository's files lead to the pages that show them."""
    del config, files
    return relinked(markdown, home_of(page.file.src_uri), page.file.src_uri)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make MathML of the formulas, and let wide tables scroll by themselves."""
    del config, files
    where = page.file.src_uri
    content = FORMULA.sub(lambda found: mathml(found[1], html.unescape(found[2]), where), content)
    if "arithmatex" in content:
        raise PluginError(f"{where}: a formula has not been understood")
    content = SHORT.sub('<code class="short">', content)
    return TABLE.sub(lambda found: f'<div class="wide">{found[0]}</div>', content)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from a network."""
    del config
    for found in LOADED.finditer(output):
        loads = "stylesheet" in found[0] or "preload" in found[0] or "icon" in found[0]
        if not found[0].startswith("<link") or (loads and '="http' in found[0]):
            raise PluginError(f"{page.file.src_uri} loads from a network: {found[0]}")
    return output


def home_of(page: str) -> str:
    """Return the folder of the repository that a page's links begin in."""
    if page in ABOVE.values():
        return ""
    if page.startswith(f"{SHOWN}/"):
        # The listing of a folder; pages that show a file have no links.
        return str(PurePosixPath(page).relative_to(SHOWN).parent)
    return str(PurePosixPath(PAGES, page).parent)


def resolved(target: str, home: str) -> str:
    """Return the path in the repository that a link's target means, from a page in `home`."""
    return os.path.normpath(os.path.join(home, target)).replace(os.sep, "/")


def site_path(path: str) -> str:
    """Return where a path of the repository is in the site, as a path of a source."""
    if path in ABOVE:
        return ABOVE[path]
    if path.startswith(f"{PAGES}/") and not path.endswith(".py") and not (ROOT / path).is_dir():
        return path.removeprefix(f"{PAGES}/")
    if (ROOT / path).is_dir():
        return f"{SHOWN}/{path}/index.md"
    return f"{SHOWN}/{path}.md"


def linked(markdown: str, home: str) -> list[str]:
    """Return the paths in the repository that a page in `home` links to."""
    return [
        resolved(found[3].partition("#")[0], home)
        for found in LINK.finditer(FENCE.sub("", markdown))
        if "://" not in found[3] and not found[3].startswith(("#", "mailto:"))
    ]


def relinked(markdown: str, home: str, page: str) -> str:
    """Return a page's text with its links as the site has them."""

    def moved(found: re.Match[str]) -> str:
        target, hashed, anchor = found[3].partition("#")
        if "://" in target or not target or target.startswith("mailto:"):
            return found[0]
        path = resolved(target, home)
        if not (ROOT / path).exists():
            return found[0]  # mkdocs says that it leads nowhere
        there = os.path.relpath(site_path(path), str(PurePosixPath(page).parent))
        if path.endswith(".py") and not anchor:
            line = line_of(path, found[2].strip("`").removesuffix("()"))
            hashed, anchor = ("#", f"L-{line}") if line else ("", "")
        return f"{found[1]}({there.replace(os.sep, '/')}{hashed}{anchor})"

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(moved, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(moved, markdown[end:])])


def line_of(path: str, name: str) -> int | None:
    """Return the line of a Python file that defines a function, a class or a method."""
    nodes = ast.parse((ROOT / path).read_text("utf-8")).body
    line = None
    for part in name.split("."):
        node = next((node for node in nodes if getattr(node, "name", None) == part), None)
        if node is None:
            return line
        line, nodes = node.lineno, getattr(node, "body", [])
    return line


def shown(path: str) -> str:
    """Return the Markdown of a page that shows a file of the repository, or lists a folder."""
    place = ROOT / path
    if place.is_dir():
        inside = [one for one in sorted(place.iterdir()) if not one.name.startswith((".", "__"))]
        lines = [f"- [{one.name}]({one.name})" for one in inside]
        return "\n".join([f"# {path}", "", *lines, ""])
    if not place.is_file():
        raise PluginError(f"a page links to {path}, and there is no such file")
    try:
        lexer = get_lexer_for_filename(place.name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    code = HtmlFormatter(linenos="table", lineanchors="L", anchorlinenos=True, wrapcode=True)
    text = highlight(place.read_text("utf-8"), lexer, code)
    # What Markdown would take for a fence or a formula, inside of HTML or not.
    for sign in "`~$":
        text = text.replace(sign, f"&#{ord(sign)};")
    return f"# {path}\n\n{text}\n"


def mathml(tag: str, latex: str, where: str) -> str:
    """Return a formula as MathML: in the line for a span, on its own for a div."""
    alone = tag == "div"
    braces = re.sub(r"\\[{}]", "", latex)
    if braces.count("{") != braces.count("}"):
        raise PluginError(f"{where}: {latex.strip()} has a brace too many or too few")
    try:
        made = convert(latex.strip(), display="block" if alone else "inline")
    except Exception as error:
        raise PluginError(f"{where}: {latex.strip()} is no formula: {error!r}") from None
    if "\\" in html.unescape(made):
        raise PluginError(f"{where}: some command in {latex.strip()} is unknown")
    tree = ET.fromstring(made)
    for node in tree.iter():
        set_well(node, alone)
    made = ET.tostring(tree, "unicode")
    return f'<div class="formula">{made}</div>' if alone else made


def set_well(node: ET.Element, alone: bool) -> None:
    """Set what the converter leaves to the browser, and browsers differ in."""
    node.tag = node.tag.removeprefix(MATHML)
    scripts = list(node)
    if node.tag == "mtd":
        node.set("style", "text-align: left")
    if node.tag == "mover" and scripts[-1].text == BAR:
        # A sign above does not grow in every font; a border does.
        node.tag = "mrow"
        node.set("style", "border-top: 0.06em solid; padding-top: 0.1em")
        node.remove(scripts[-1])
    if node.tag in ("msub", "msubsup") and alone and scripts[0].text in LIMITS:
        node.tag = {"msub": "munder", "msubsup": "munderover"}[node.tag]
    elif node.tag in ("msup", "msubsup") and scripts[-1].text == PRIME:
        # Not every font has a prime for superscripts; a plain one is small and high already.
        base = ET.Element("mrow")
        base.extend([scripts[0], scripts[-1]])
        node[:] = [base, *scripts[1:-1]]
        node.tag = {"msup": "mrow", "msubsup": "msub"}[node.tag]
