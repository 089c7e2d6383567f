"""An HTML document that stands alone: its style, its script, its figures and plotly.js are inside.

Its content security policy forbids it the network. It follows the reader's light or dark theme and the width of
the screen, down to a phone's; on paper it is light.
"""

import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from twosided.plots.style import dark_twins

RELOAD = 10
"""Seconds until a page that changes is read again."""


@dataclass(frozen=True)
class Section:
    """A figure with its title and what to look for in it."""

    title: str
    sentence: str
    figure: go.Figure
    min_width: int = 0
    """Pixels below which the figure scrolls sideways in its box instead of shrinking."""

    def html(self) -> str:
        """The figure as JSON for the script to draw; plotly escapes every `<` in it, so it cannot end the element."""
        heading = f"<h2>{escape(self.title)}</h2>" if self.title else ""
        text = f"<p>{escape(self.sentence)}</p>" if self.sentence else ""
        figure = self.figure.to_json() or ""
        height = json.loads(figure)["layout"]["height"]
        return (
            f'<section>{heading}{text}<div class="scroll"><div class="figure" role="img" '
            f'aria-label="{escape(self.title or "figure")}" style="height:{height}px;min-width:{self.min_width}px">'
            f'<script type="application/json">{figure}</script></div></div></section>'
        )


def header(title: str, summary: str = "") -> str:
    """The mark, the title, and a few words on what the page is about."""
    lead = f'<p class="lead">{escape(summary)}</p>' if summary else ""
    return f'<header><p class="brand">{_MARK}twosided</p><h1>{escape(title)}</h1>{lead}</header>'


def document(title: str, *parts: str, reloads: bool = False) -> str:
    """The parts, which are HTML already, as one file; one that `reloads` is read anew every few seconds where it is
    open, for what is still being written."""
    assets = files("twosided.report") / "assets"
    page, style, script = (
        (assets / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    return Template(page).substitute(
        title=escape(title),
        reload=f'<meta http-equiv="refresh" content="{RELOAD}">' if reloads else "",
        style=style,
        body="\n".join(part for part in parts if part),
        twins=json.dumps(dark_twins()),
        plotly=get_plotlyjs(),
        script=script,
    )


_MARK = (
    '<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">'
    '<rect x="3" y="4" width="18" height="6" rx="2" fill="var(--sell)"/>'
    '<rect x="3" y="14" width="18" height="6" rx="2" fill="var(--buy)"/></svg>'
)
"""Two sides: an ask above a bid."""
