"""Style of all figures: transparent background, few lines, and colours that are safe for colour-blind readers.

Figures are made in the colours of a light page. A dark page replaces each colour with its counterpart
(`dark_twins`), so a figure is made once for both. The hues are those of Okabe and Ito, with a contrast of at least
3:1 to the page.
"""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy import ndarray
from plotly.subplots import make_subplots

INK, MUTED, GRID, PAPER = "#1d2530", "#5d6878", "#e3e7ec", "#ffffff"
BLUE, VERMILLION, GREEN, AMBER, PURPLE, OLIVE = (
    "#0072b2",
    "#cc5500",
    "#00855f",
    "#a87000",
    "#a8558a",
    "#6f6a12",
)
GREY = "#808b9b"

TWINS = {
    INK: "#e7ebf1",
    MUTED: "#9ba6b6",
    GRID: "#2a313c",
    PAPER: "#171c24",
    BLUE: "#56b4e9",
    VERMILLION: "#ff8a47",
    GREEN: "#27c795",
    AMBER: "#f0b840",
    PURPLE: "#e08fc4",
    OLIVE: "#cfc84f",
    GREY: "#788494",
}
"""Counterpart of each colour on a dark page."""

BUY, SELL, OTHERS = BLUE, VERMILLION, GREY
PARTS = {"spread": GREEN, "hedge": AMBER, "inventory": PURPLE, "fees": OLIVE}
"""Colours of the parts of PnL; the total is in ink."""
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, AMBER, OLIVE)
"""Colours of alike series, such as seeds."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def faded(colour: str, opacity: float) -> str:
    """Return a colour with an opacity."""
    return f"{_rgba(colour)}{opacity:g})"


def key(title: str, colours: Mapping[str, str]) -> str:
    """Return a panel's title with a legend of its colours."""
    return "  ".join(
        [title, *(f'<span style="color:{c}">■</span>\u00a0{name}' for name, c in colours.items())]
    )


def band(x: ndarray, low: ndarray, high: ndarray, colour: str) -> go.Scatter:
    """Return the area between two curves, faded."""
    drawn = go.Scatter(x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), mode="lines")
    return drawn.update(fill="toself", fillcolor=faded(colour, 0.16), line={"width": 0}, hoverinfo="skip")


def stack(titles: list[str], shares: list[float]) -> go.Figure:
    """Return panels one below the other with a common x-axis; figures are one panel wide, for phones."""
    spacing = 0.11 if len(titles) < 4 else 0.045
    return make_subplots(
        rows=len(titles),
        cols=1,
        shared_xaxes=True,
        row_heights=shares,
        subplot_titles=[title or " " for title in titles],
        vertical_spacing=spacing,
    )


def dark_twins() -> dict[str, str]:
    """Return the replacements in the JSON of a figure for a dark page, for both notations of a colour."""
    return TWINS | {_rgba(light): _rgba(dark) for light, dark in TWINS.items()}


def dressed(figure: go.Figure, height: int, left: int = 48) -> go.Figure:
    """Apply the common style to a figure of a height in pixels; its width is that of the page.

    `left` is the space in pixels for the labels of the vertical axis. Titles of panels start where the labels do.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GREY,
        "zeroline": False,
        "tickcolor": GRID,
        "tickfont": {"color": MUTED, "size": 12},
        "title": {"font": {"color": MUTED, "size": 12}, "standoff": 8},
        "automargin": True,
        "spikecolor": GREY,
        "spikethickness": 1,
        "spikedash": "solid",
    }
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        template=go.layout.Template(layout={"xaxis": axis, "yaxis": axis, "colorway": SERIES}),
        height=height,
        autosize=True,
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        margin={"l": left, "r": 12, "t": 30, "b": 8},
        showlegend=False,
        hovermode="x unified",
        hoverlabel={"bgcolor": PAPER, "bordercolor": GRID, "font": {"color": INK, "size": 12}},
        bargap=0,
    )
    look = {"xanchor": "left", "align": "left", "xshift": -left, "font": {"color": MUTED, "size": 12.5}}
    look["yshift"] = 6  # a label at the very top of the vertical axis reaches half its height above the panel
    return figure.for_each_annotation(
        lambda title: title.update(x=_panel_start(figure, title.x), **look), selector=_PANEL_TITLE
    )


_PANEL_TITLE = {
    "xref": "paper",
    "yref": "paper",
    "xanchor": "center",
    "yanchor": "bottom",
    "showarrow": False,
}
"""Selects the titles that make_subplots centres over each panel."""


def _panel_start(figure: go.Figure, x: float) -> float:
    """Return the left end of the panel that contains x."""
    domains = [axis["domain"] for axis in figure.select_xaxes()]
    return next(start for start, end in domains if start <= x <= end)


def _rgba(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},"
