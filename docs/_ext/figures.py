"""Plotly figures in the pages of the gallery: interactive, in the reader's theme, and without the network.

A figure that a cell of an example ends with, or shows, is embedded as JSON. One copy of plotly.js serves all pages;
only pages with figures load it. docs/_static/figures.js draws them.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import plotly.graph_objects as go
import plotly.io
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx

from twosided.plots.style import dark_twins

FIRST = ("train_and_evaluate.py", "compare_makers.py", "own_market.py", "own_policy.py", "own_data.py")
"""Examples that come first in their section, in this order."""


def gallery_order(filename: str) -> tuple[int, str]:
    """Return the sort key of an example within its section."""
    name = Path(filename).name
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


class PlotlyScraper:
    """Collect the figures of a cell for sphinx-gallery."""

    def __repr__(self) -> str:  # a part of the configuration that Sphinx compares between builds
        return "PlotlyScraper"

    def __call__(self, block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
        shown, _Shown.figures = _Shown.figures, []
        return "\n".join(embedded(figure) for figure in shown)


class _Shown(plotly.io.base_renderers.ExternalRenderer):
    """Renderer that keeps what `figure.show()` shows."""

    figures: ClassVar[list[go.Figure]] = []

    def render(self, fig_dict: dict[str, Any]) -> None:
        _Shown.figures.append(go.Figure(fig_dict, skip_invalid=True))


def embedded(figure: go.Figure) -> str:
    """Return reStructuredText that embeds a figure."""
    text = figure.to_json()  # escapes every `<`, so that it cannot end the element
    height = json.loads(text)["layout"].get("height", 450)
    return f"""
.. raw:: html

    <div class="plotly-figure" style="height:{height}px"><script type="application/json">{text}</script></div>
"""


def write_assets(app: Sphinx) -> None:
    """Write plotly.js and the colours of the dark theme beside the other static files."""
    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plotly.min.js").write_text(get_plotlyjs(), "utf-8")
    (folder / "twins.js").write_text(f"window.figureTwins = {json.dumps(dark_twins())};\n", "utf-8")


def add_scripts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Load plotly.js on pages with figures only."""
    if 'class="plotly-figure"' in context.get("body", ""):
        for name in ("plotly.min.js", "twins.js", "figures.js"):
            app.add_js_file(name, loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    plotly.io.renderers["site"] = _Shown()
    plotly.io.renderers.default = "site"
    app.connect("builder-inited", write_assets)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
