"""Self-contained HTML documents from the templates of this package.

Style, script, figures and plotly.js are inside the file, and its content security policy forbids any connection. A
page follows the reader's light or dark theme and the width of the screen, down to a phone's; on paper it is light.
Templates escape all text that is passed to them.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from twosided.plots.style import dark_twins

RELOAD = 10
"""Seconds after which an open page of an unfinished run is loaded again."""


def render(template: str, title: str, summary: str = "", refresh: bool = False, **content: Any) -> str:
    """Return a document from a template: its title, a sentence or two on what it is about, and its content.

    With `refresh`, an open page loads itself again every few seconds.
    """
    page = _environment().get_template(template)
    head = {"title": title, "summary": summary, "refresh": RELOAD if refresh else 0}
    return page.render(**head, assets=_assets(), **content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("twosided.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = _figure_json
    environment.filters["keep_equations"] = _keep_equations
    return environment


@cache
def _assets() -> dict[str, Markup]:
    """Return the parts of a document that are the same for all: style, scripts and colours."""
    folder = files("twosided.report") / "assets"
    return {
        "style": Markup((folder / "page.css").read_text("utf-8")),
        "script": Markup((folder / "page.js").read_text("utf-8")),
        "plotly": Markup(get_plotlyjs()),
        "dark_twins": Markup(json.dumps(dark_twins())),
    }


def _figure_json(figure: go.Figure) -> Markup:
    """Return a figure as JSON. Plotly escapes every `<` in it, so that it cannot end its script element."""
    return Markup(figure.to_json() or "")


def _keep_equations(text: str) -> str:
    """Return text in which lines do not break around an equals sign."""
    return text.replace(" = ", "\u00a0=\u00a0")
