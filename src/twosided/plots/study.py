"""Figures of a study: lines, distributions and bars that compare its cases.

Numbers are drawn in the units that they are given in; missing ones and those that are not finite are left out.
Titles of panels and axes may contain markup; all other text is escaped.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy import ndarray
from plotly.subplots import make_subplots

from twosided.core.formatting import Z_95
from twosided.plots.style import GREY, INK, PAPER, SERIES, band, dressed, faded, key

COLOURS = (*SERIES, INK, GREY)
MAX_MARKERS = 40
"""Most points of a line with markers."""
TAIL = 0.001
"""Share of steps in each tail of a distribution that is not drawn."""
PANEL, GAP, TOP, BOTTOM = 200, 46, 30, 52
"""Pixels: height of a panel, space between panels, above the first and below the last."""
CLOSE = 0.12
"""Share of a panel's height below which there is no space for a name between two levels."""
LINE, LINE_HEIGHT = 52, 17
"""Characters in a line of a title on a phone, and its height in pixels."""


def figure_lines(
    frame: pl.DataFrame,
    x: str,
    panels: Mapping[str, str],
    by: str,
    *,
    x_title: str = "",
    levels: Mapping[str, float] = {},
) -> go.Figure:
    """Return one panel per column in `panels` (column: title) against x, one line per value of the column `by`.

    A column `<y>_error`, a standard error, adds a 95% band. `levels` are dashed lines across the first panel, by name.
    """
    frame = _finite(frame, panels)
    groups = _groups(frame, panels, by)
    figure = _stacked(list(panels.values()), groups, shared=True)
    reached = [*levels.values()]
    for row, column in enumerate(panels, start=1):
        for name, colour, rows in groups:
            curve = rows.drop_nulls([x, column]).sort(x)
            if curve.is_empty():
                continue
            at, y = curve[x].to_numpy(), curve[column].to_numpy()
            low = high = y
            if f"{column}_error" in frame.columns:
                half = Z_95 * _floats(curve[f"{column}_error"])
                low, high = y - half, y + half
                figure.add_trace(band(at, low, high, colour), row=row, col=1)
            if row == 1:
                reached += [float(low.min()), float(high.max())]
            mode = "lines+markers" if len(y) <= MAX_MARKERS else "lines"
            line = go.Scatter(x=at, y=y, name=name, mode=mode, marker={"size": 5})
            line.update(line={"color": colour, "width": 2}, hovertemplate="%{y:.4~g}")
            figure.add_trace(line, row=row, col=1)
    if levels:
        _levels(figure, levels, min(reached), max(reached))
    figure.update_xaxes(title=x_title, row=len(panels), col=1)
    return figure


def figure_distributions(
    frame: pl.DataFrame,
    panels: Mapping[str, str],
    by: str,
    *,
    weight: str | None = None,
    bins: int = 60,
) -> go.Figure:
    """Return the distributions over steps for each value of `by`, one panel per column in `panels` (column: title).

    Each row of the table is one step, or as many as its column `weight`. All distributions have the same bins. For
    values on a grid, such as whole units, the bins are as wide as whole steps of the grid.
    """
    frame = _finite(frame, panels)
    groups = _groups(frame, panels, by)
    figure = _stacked([f"{title}; % of steps" for title in panels.values()], groups, shared=False)
    for row, column in enumerate(panels, start=1):
        held = []
        for name, colour, rows in groups:
            steps = rows.drop_nulls(column)
            weights = _floats(steps[weight]) if weight else np.ones(steps.height)
            if weights.sum() > 0:
                held.append((name, colour, steps[column].to_numpy(), weights / weights.sum()))
        if not held:
            continue
        _, _, values, weights = zip(*held, strict=True)
        edges = _edges(np.concatenate(values), np.concatenate(weights), bins)
        # An empty bin at either end closes the outline.
        width = edges[1] - edges[0]
        outer = np.concatenate([[edges[0] - width], edges, [edges[-1] + width]])
        for name, colour, own, weights in held:
            share, _ = np.histogram(own, outer, weights=100 * weights)
            share[[0, -1]] = 0.0
            line = go.Scatter(x=(outer[:-1] + outer[1:]) / 2, y=share, name=name, mode="lines")
            line.update(line={"color": colour, "width": 2, "shape": "hvh"}, hovertemplate="%{y:.2f}%")
            line.update(fill="tozeroy", fillcolor=faded(colour, 0.12))
            figure.add_trace(line, row=row, col=1)
    figure.update_xaxes(hoverformat=".4~g")
    return figure.update_yaxes(rangemode="tozero")


def figure_bars(
    frame: pl.DataFrame,
    label: str,
    values: Mapping[str, str],
    *,
    error: bool = True,
    marks: Mapping[str, str] = {},
) -> go.Figure:
    """Return bars: one row of the figure per row of the table, one colour per column in `values` (column: name).

    A column `<value>_error`, a standard error, adds 95% whiskers. `marks` (column of values: column) are the paper's
    values, drawn as diamonds.
    """
    figure = make_subplots(rows=1, cols=1, subplot_titles=[" "])
    rows = np.arange(frame.height)
    names = [_wrapped(str(name)) for name in frame[label]]
    titles = {column: escape(name) for column, name in values.items()}
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(titles.values())}
    errors = {column: f"{column}_error" for column in values if error and f"{column}_error" in frame.columns}
    numbers = _finite(frame, {*values, *errors.values(), *marks.values()})
    thick = 0.76 / max(len(values), 1)
    hover = "%{customdata}<br>%{fullData.name} %{x:.4~g}<extra></extra>"
    for i, (column, name) in enumerate(titles.items()):
        y = rows + thick * (i - (len(values) - 1) / 2)
        bars = go.Bar(x=numbers[column].to_numpy(), y=y, orientation="h", width=0.9 * thick, name=name)
        bars.update(marker={"color": colours[name], "line": {"width": 0}})
        if column in errors:
            half = Z_95 * numbers[errors[column]].to_numpy()
            bars.update(error_x={"array": half, "color": INK, "thickness": 1.5, "width": 4})
        figure.add_trace(bars.update(customdata=names, hovertemplate=hover))
        if column in marks:
            theirs = numbers[marks[column]].to_numpy()
            paper = go.Scatter(x=theirs, y=y, mode="markers", name=f"{name}, the paper’s")
            look = {"symbol": "diamond", "size": 10, "color": PAPER, "line": {"color": INK, "width": 1.5}}
            figure.add_trace(paper.update(marker=look, customdata=names, hovertemplate=hover))
    widest = max((len(line) for name in names for line in name.split("<br>")), default=0)
    tall = max(38, 20 * len(values) + 14)
    title, top = _keyed("", colours, "◇\u00a0the paper’s" if marks else "")
    dressed(figure, top + BOTTOM + tall * frame.height, left=min(16 + 8 * widest, 170))
    figure.update_annotations(text=title)
    figure.update_layout(barmode="overlay", hovermode="closest", margin_t=top)
    ticks: dict[str, Any] = {"tickvals": rows, "ticktext": names, "tickfont": {"color": INK, "size": 12.5}}
    figure.update_yaxes(range=[frame.height - 0.5, -0.5], showgrid=False, **ticks)
    return figure.update_xaxes(zeroline=True)


class _Group(NamedTuple):
    """Rows with one value of the grouping column."""

    name: str
    colour: str
    rows: pl.DataFrame


def _groups(frame: pl.DataFrame, columns: Iterable[str], by: str) -> list[_Group]:
    """Return the groups that have values to draw, in order of first appearance."""
    shown = frame.filter(pl.any_horizontal(pl.col(list(columns)).is_not_null())).drop_nulls(by)
    parts = shown.partition_by(by, maintain_order=True)
    return [_Group(_name(rows[by][0]), COLOURS[i % len(COLOURS)], rows) for i, rows in enumerate(parts)]


def _name(value: object) -> str:
    """Return escaped text, or a number with a true minus sign."""
    text = f"{value:g}" if isinstance(value, float) else escape(str(value))
    return text.replace("-", "−") if isinstance(value, float | int) else text


def _stacked(titles: Sequence[str], groups: Sequence[_Group], shared: bool) -> go.Figure:
    """Return styled panels one below the other; the title of the first has the legend."""
    named = {group.name: group.colour for group in groups} if len(groups) <= len(COLOURS) else {}
    first, top = _keyed(titles[0], named)
    plot = len(titles) * PANEL + (len(titles) - 1) * GAP
    figure = make_subplots(
        rows=len(titles),
        cols=1,
        shared_xaxes=shared,
        subplot_titles=[first, *titles[1:]],
        vertical_spacing=GAP / plot,
    )
    return dressed(figure, top + plot + BOTTOM).update_layout(margin_t=top)


def _keyed(title: str, colours: Mapping[str, str], end: str = "") -> tuple[str, int]:
    """Return a panel's title with a legend, in lines that fit a phone, and its height in pixels."""
    # Lengths are of names as they are read, not as they are written.
    pieces = [(len(title), title)]
    pieces += [(2 + len(unescape(name)), key("", {name: colour}).strip()) for name, colour in colours.items()]
    pieces.append((len(end), end))
    lines: list[list[str]] = []
    used = LINE
    for length, piece in pieces:
        if length == 0:
            continue
        used += 2 + length
        if used > LINE:
            lines.append([])
            used = length
        lines[-1].append(piece)
    return "<br>".join(map("  ".join, lines)) or " ", TOP + LINE_HEIGHT * max(len(lines) - 1, 0)


def _levels(figure: go.Figure, levels: Mapping[str, float], low: float, high: float) -> None:
    """Add named dashed lines across the first panel, and extend its range beyond low and high."""
    room = max(high - low, 1e-3)
    figure.update_yaxes(range=[low - 0.1 * room, high + 0.16 * room], row=1, col=1)
    ordered = sorted(levels.items(), key=lambda level: level[1])
    above = [y for _, y in ordered[1:]] + [np.inf]
    side, last = "left", -np.inf
    for (name, y), following in zip(ordered, above, strict=True):
        # Of two lines that are close together each is named on its outer side; neighbours at different ends.
        if y - last < 2 * CLOSE * room:
            side = "right" if side == "left" else "left"
        where = f"{'bottom' if following - y < CLOSE * room else 'top'} {side}"
        place: dict[str, Any] = {"row": 1, "col": 1, "line": {"color": INK, "width": 1.5, "dash": "dash"}}
        note = {"text": escape(name), "font": {"size": 12, "color": INK}}
        figure.add_hline(y, **place, annotation=note, annotation_position=where)
        last = y


def _edges(values: ndarray, weights: ndarray, bins: int) -> ndarray:
    """Return the edges of at most about `bins` bins between the outer quantiles that are drawn."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    # A little less, so that rounding of the sums decides nothing.
    low, high = values[order][np.searchsorted(below, np.array([TAIL, 1 - TAIL]) - 1e-9)]
    distinct = np.unique(values)
    if len(distinct) == 1:
        half = 0.05 * abs(low) or 0.5
        return np.array([low - half, low + half])
    span = distinct[-1] - distinct[0]
    step = span / np.round(span / np.diff(distinct).min())
    steps = (distinct - distinct[0]) / step
    if np.allclose(steps, np.round(steps), rtol=0, atol=1e-3):
        # Bins that hold now more, now fewer points of a grid would show waves that are not there.
        points = int(np.round((high - low) / step)) + 1
        each = -(-points // bins)
        return low + step * (each * np.arange(-(-points // each) + 1) - 0.5)
    return np.linspace(low, high, bins + 1)


def _finite(frame: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Return the table with columns as floats, in which numbers that are not finite are null."""
    numbers = [pl.col(column).cast(pl.Float64) for column in columns]
    return frame.with_columns(pl.when(number.is_finite()).then(number) for number in numbers)


def _floats(column: pl.Series | ndarray) -> ndarray:
    """Return floats in which missing numbers and those that are not finite are 0."""
    return np.nan_to_num(np.asarray(column, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _wrapped(text: str) -> str:
    """Return an escaped label in lines of at most 26 characters."""
    return "<br>".join(escape(line) for line in wrap(text, 26))
