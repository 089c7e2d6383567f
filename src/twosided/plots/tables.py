"""Figures of small tables: values by cell and action, a policy as arrows, and a map of best choices.

All text is escaped. NaN is left blank: a pair that was never visited, or a point without a market.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy import ndarray

from twosided.core.formatting import number
from twosided.plots.style import BLUE, GREY, INK, MUTED, PAPER, SERIES, dressed, faded

ROW, TOP, BOTTOM = 34, 30, 56
"""Pixels: height of a row, space above the first and below the last."""
ARROWS = {-1.0: "arrow-down", 0.0: "line-ew", 1.0: "arrow-up"}
TIE = 1e-9
"""Largest relative difference between values that tie."""
SEEN = 0.02
"""Smallest probability of an action that is drawn."""


def figure_table(
    values: Float[ndarray, "cells actions"],
    cells: Sequence[str],
    actions: Sequence[str],
    title: str = "",
    digits: int = 3,
) -> go.Figure:
    """Return a table of values, one row per cell. Larger values of a row are darker; the largest ones are framed."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(1, keepdims=True)
    high = np.where(known, values, -np.inf).max(1, keepdims=True)
    tie = TIE * np.abs(np.where(known, values, 0.0)).max(1, keepdims=True)
    width = np.where(high - low > tie, high - low, np.inf)
    shade = np.where(known, np.where(known, values - low, 0.0) / width, np.nan)
    figure = go.Figure()
    words = [[number(float(value), digits) if np.isfinite(value) else "" for value in row] for row in values]
    names = [escape(action) for action in actions]
    rows = [escape(cell) for cell in cells]
    heat = go.Heatmap(
        z=shade, x=names, y=rows, text=words, texttemplate="%{text}", showscale=False, xgap=2, ygap=2
    )
    heat.update(colorscale=[[0, faded(BLUE, 0.04)], [1, faded(BLUE, 0.35)]], zmin=0, zmax=1)
    heat.update(hovertemplate="%{y}, %{x}: %{text}<extra></extra>", textfont={"color": INK})
    figure.add_trace(heat)
    for i, best in np.argwhere(known & (np.where(known, values, -np.inf) >= high - tie)):
        box = {"x0": best - 0.48, "x1": best + 0.48, "y0": i - 0.46, "y1": i + 0.46}
        figure.add_shape(type="rect", **box, line={"color": INK, "width": 1.5})
    # Categories even where names look like numbers, as those of imbalances do.
    figure.update_xaxes(title=escape(title), type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    dressed(figure, TOP + BOTTOM + ROW * len(rows), left=16 + 8 * max(map(len, cells)))
    return figure.update_layout(hovermode="closest")


def figure_arrows(
    probabilities: Float[ndarray, "cells actions"],
    changes: Sequence[float],
    cells: Sequence[str],
    title: str = "",
) -> go.Figure:
    """Return the change of the quote in each cell: an arrow up, a dash or an arrow down, sized by its probability.

    `changes` are the changes of quote that the actions make, in ticks.
    """
    names = [escape(cell) for cell in cells]
    figure = go.Figure()
    for change, share in zip(changes, probabilities.T, strict=True):
        drawn = share >= SEEN
        marks = go.Scatter(
            x=[n for n, d in zip(names, drawn, strict=True) if d], y=[change] * int(drawn.sum())
        )
        colour = GREY if change == 0 else SERIES[0] if change > 0 else SERIES[1]
        look = {"symbol": ARROWS[float(np.sign(change))], "size": 6 + 18 * share[drawn], "color": colour}
        marks.update(
            mode="markers", marker=look | {"line": {"color": colour, "width": 3 if change == 0 else 0}}
        )
        marks.update(customdata=share[drawn], hovertemplate="%{x}: %{customdata:.0%}<extra></extra>")
        figure.add_trace(marks)
    figure.update_xaxes(title=escape(title), type="category", categoryorder="array", categoryarray=names)
    ticks = sorted(set(changes))
    figure.update_yaxes(
        title="change of quote, ticks", tickvals=ticks, range=[min(ticks) - 0.6, max(ticks) + 0.6]
    )
    dressed(figure, 220)
    return figure.update_layout(hovermode="closest")


def figure_best(
    values: Float[ndarray, "rows columns choices"],
    rows: Sequence[float],
    columns: Sequence[float],
    choices: Sequence[str],
    row_title: str,
    column_title: str,
) -> go.Figure:
    """Return a map of the best choice at each point, one colour per choice; hovering shows the value of each."""
    known = np.asarray(np.isfinite(values).all(-1))
    best = np.where(known, np.where(known[..., None], values, -np.inf).argmax(-1), np.nan)
    names = [escape(choice) for choice in choices]
    told = [
        [
            "<br>".join(f"{name}: {number(float(v), 4)}" for name, v in zip(names, point, strict=True))
            for point in row
        ]
        for row in values
    ]
    count = len(choices)
    scale = [[edge / count, SERIES[i]] for i in range(count) for edge in (i, i + 1)]
    heat = go.Heatmap(
        z=best, x=list(columns), y=list(rows), text=told, colorscale=scale, zmin=-0.5, zmax=count - 0.5
    )
    bar = {"tickvals": list(range(count)), "ticktext": names, "outlinewidth": 0, "tickfont": {"color": MUTED}}
    heat.update(colorbar=bar, hoverongaps=False, hovertemplate="%{text}<extra></extra>", xgap=1, ygap=1)
    figure = go.Figure(heat)
    figure.update_xaxes(title=escape(column_title), showgrid=False)
    figure.update_yaxes(title=escape(row_title), showgrid=False)
    dressed(figure, 420)
    return figure.update_layout(hovermode="closest", hoverlabel={"bgcolor": PAPER})
