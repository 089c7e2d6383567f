"""Figures of markouts: PnL of a unit traded with clients, some steps after the trade."""

from html import escape

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from twosided.core.formatting import quantile_95
from twosided.plots.run import maker_name
from twosided.plots.style import INK, OTHERS, SERIES, band, dressed, key


def figure_markouts(frame: pl.DataFrame, *, scale: float = 1.0, unit: str = "currency per unit") -> go.Figure:
    """Return PnL per unit against steps since the trade, with its 95% interval.

    Columns: case, maker, lag; per_unit and per_unit_error in currency, drawn times `scale` in `unit`; and dof, the
    degrees of freedom of the errors, if there are any. The evaluated
    policies are coloured, one line per case. With a single case, the other makers are shown in grey.
    """
    cases = frame["case"].unique(maintain_order=True).to_list()
    makers = sorted(frame["maker"].unique())
    shown = [(case, 0) for case in cases]
    if len(cases) == 1:
        shown += [(cases[0], maker) for maker in makers if maker != 0]
    colors: dict[str, str] = {}
    figure = make_subplots(rows=1, cols=1, subplot_titles=[" "])
    for i, (case, maker) in enumerate(shown):
        line = frame.filter((pl.col("case") == case) & (pl.col("maker") == maker)).sort("lag")
        if line.height == 0:
            continue
        name = escape(case) if maker == 0 else maker_name(maker, makers)
        colors[name] = SERIES[i % len(SERIES)] if maker == 0 else OTHERS
        _line(figure, line, name, colors[name], scale)
    dressed(figure, 320)
    figure.update_annotations(text=key(f"PnL, {escape(unit)}", colors))
    figure.add_hline(0, line={"color": INK, "width": 1})
    figure.update_xaxes(title="steps since the trade", hoverformat=".0f")
    return figure


def _line(figure: go.Figure, line: pl.DataFrame, name: str, color: str, scale: float) -> None:
    """Add a mean and the band of its interval."""
    lag, mean = line["lag"].to_numpy(), scale * line["per_unit"].to_numpy()
    dof = line["dof"][0] if "dof" in line.columns else None
    half = scale * quantile_95(dof) * line["per_unit_error"].cast(pl.Float64).fill_null(0.0).to_numpy()
    figure.add_trace(band(lag, mean - half, mean + half, color))
    drawn = go.Scatter(x=lag, y=mean, name=name, mode="lines+markers")
    drawn.update(line={"color": color, "width": 2}, marker={"size": 5}, hovertemplate="%{y:.4~g}")
    figure.add_trace(drawn)
