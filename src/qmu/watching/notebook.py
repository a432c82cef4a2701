"""A live display in a notebook: one output that is renewed in place. It needs no widgets."""

import io
import time
from typing import Any

from rich.console import Console as Terminal

# Seconds between two renewals: each one is sent to the browser.
PAUSE = 0.25
WIDTH = 100
PAGE = '<pre style="line-height:normal;white-space:pre;overflow-x:auto">{code}</pre>'
NOTHING = {"text/html": "", "text/plain": ""}


class Notebook:
    """Shows a renderable of rich in the cell's output, and newer ones in its place."""

    def __init__(self) -> None:
        """Begin with nothing to be seen."""
        self.handle: Any = None
        self.renewed = 0.0

    def update(self, view: Any) -> None:
        """Show this from now on; what comes too soon after the one before is left out."""
        if self.handle is None:
            from IPython.display import display

            self.handle = display(page_of(view), raw=True, display_id=True)
        elif time.monotonic() - self.renewed < PAUSE:
            return
        else:
            self.handle.update(page_of(view), raw=True)
        self.renewed = time.monotonic()

    def stop(self) -> None:
        """Show nothing any more."""
        if self.handle is not None:
            self.handle.update(NOTHING, raw=True)


def page_of(view: Any) -> dict[str, str]:
    """Return what a notebook shows of a renderable, as HTML and as plain text."""
    paper = Terminal(
        file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, force_jupyter=False
    )
    paper.print(view)
    html = paper.export_html(inline_styles=True, code_format=PAGE, clear=False)
    return {"text/html": html, "text/plain": paper.export_text()}
