"""Panels of lines over time, one below the other: the frame of figures of an episode."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
from numpy import ndarray

from twosided.plots.style import dressed, key, stack


class Line(NamedTuple):
    """A line of a panel."""

    name: str
    y: ndarray
    color: str
    width: float = 1.6


class Panel(NamedTuple):
    """A panel: its title, its lines, and its share of the height."""

    title: str
    lines: Sequence[Line]
    share: float
    """Height relative to the sum of all shares."""
    axis: Mapping[str, Any] = {}
    """Settings of its vertical axis."""


def draw_panels(
    time: ndarray, panels: Sequence[Panel], keys: Mapping[int, Mapping[str, str]] = {}
) -> go.Figure:
    """Return the panels as a figure, each with a key to its colours in its title; `keys` replace those of panels."""
    titles = []
    for i, panel in enumerate(panels):
        colors: dict[str, str] = {}
        for line in panel.lines:
            # Both sides of a price have one colour, and a faint line has that of a strong one.
            if line.color not in colors.values() and not line.color.startswith("rgba"):
                colors[_in_key(line.name)] = line.color
        given = keys.get(i, colors if len(panel.lines) > 1 else {})
        titles.append(key(panel.title, {escape(name): color for name, color in given.items()}))
    figure = stack(titles, [panel.share for panel in panels])
    for row, panel in enumerate(panels, start=1):
        for line in panel.lines:
            drawn = go.Scatter(x=time[: len(line.y)], y=line.y, name=escape(line.name), mode="lines")
            drawn.update(line={"color": line.color, "width": line.width}, hovertemplate="%{y:.4~g}")
            figure.add_trace(drawn, row=row, col=1)
    dressed(figure, 200 * len(panels) + 40)
    for row, panel in enumerate(panels, start=1):
        figure.update_yaxes(zeroline=True, row=row, col=1, **panel.axis)
    figure.update_xaxes(title="step", row=len(panels), col=1)
    return figure


def _in_key(name: str) -> str:
    """Return the name of a line in the key, where both sides of a price are one entry."""
    return name.replace(" bid", " bid, ask")
