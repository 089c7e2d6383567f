"""Figures of the dealer market: quotes as epsilon, skew, and the exchange's book.

A trace is a table of steps with one row per maker, as `twosided.trace` makes it; here its columns path, time, maker,
inventory, epsilon_buy and epsilon_sell matter. Maker 0 is the evaluated one.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots

from twosided.plots.run import Curve, figure_by_inventory, maker_name
from twosided.plots.style import BUY, INK, OTHERS, SELL, dressed, key, stack

SIDES = (("buy", "bid", BUY), ("sell", "ask", SELL))


def figure_epsilon(
    trace: pl.DataFrame, optimal_buy: float | None = None, optimal_sell: float | None = None
) -> go.Figure:
    """Return histograms of the epsilons quoted, one panel per side, with those of competitors and the optimal one."""
    best = {"buy": optimal_buy, "sell": optimal_sell}
    edges = _epsilon_edges(trace, [value for value in best.values() if value is not None])
    middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    makers = sorted(trace["maker"].unique())
    competitors = {maker_name(maker, makers): OTHERS for maker in makers[1:]}
    titles = [
        key(f"{quote} ε, % of steps", {maker_name(0, makers): color} | competitors)
        for _, quote, color in SIDES
    ]
    figure = stack(titles, shares=[1.0, 1.0])
    for row, (side, _, color) in enumerate(SIDES, start=1):
        top = 0.0
        for maker in makers:
            values = trace.filter(pl.col("maker") == maker)[f"epsilon_{side}"].to_numpy()
            share = 100 * np.histogram(values, edges)[0] / len(values)
            if maker == 0:
                drawn = go.Bar(x=middle, y=share, width=width)
                drawn.update(marker={"color": color, "line": {"width": 0}})
            elif np.ptp(values) < 1e-6:
                # A constant epsilon would be a bar of 100%, which would dwarf the rest.
                _vertical_line(figure, float(values[0]), row, {"color": OTHERS, "width": 5})
                continue
            else:
                drawn = go.Scatter(x=middle, y=share, mode="lines")
                drawn.update(line={"color": OTHERS, "width": 2, "shape": "hvh"})
            drawn.update(name=maker_name(maker, makers), hovertemplate="%{y:.1f}%")
            figure.add_trace(drawn, row=row, col=1)
            top = max(top, float(share.max()))
        # Leaves room for a label above the highest bar.
        figure.update_yaxes(range=[0, 1.2 * top], row=row, col=1)
    dressed(figure, 460)
    for row, (side, _, _) in enumerate(SIDES, start=1):
        value = best[side]
        if value is not None:
            side = -1 if value > (edges[0] + edges[-1]) / 2 else 1
            note = {"text": "optimal", "font": {"size": 12, "color": INK}, "xshift": 4 * side}
            _vertical_line(figure, value, row, {"color": INK, "width": 1.5, "dash": "dash"}, note)
    figure.update_xaxes(range=[edges[0], edges[-1]], hoverformat=".3f")
    figure.update_xaxes(title="ε, relative to the exchange’s half-spread", row=2, col=1)
    return figure


def figure_skew(
    trace: pl.DataFrame,
    optimal_buy: float | None = None,
    optimal_sell: float | None = None,
    *,
    exact: pl.DataFrame | None = None,
) -> go.Figure:
    """Return the mean epsilon of each side ± a standard deviation by inventory, and the share of steps there.

    `exact` is the optimal policy, dashed over the same inventories: inventory, epsilon_buy, epsilon_sell, where a
    quote that is meant to lose counts as 1.
    """
    curves = {f"epsilon_{side}": Curve(f"{quote} ε", color) for side, quote, color in SIDES}
    levels = [value for value in (optimal_buy, optimal_sell) if value is not None]
    return figure_by_inventory(trace, curves, "ε", levels=levels, exact=exact)


def figure_book(
    levels: Float[ndarray, "levels"], volumes: Float[ndarray, "levels"], mid: float = 100.0
) -> go.Figure:
    """Return one snapshot of an exchange's book, as figure 6 of Ganesh et al. (2019).

    `levels` are distances from the mid as fractions of it, and `volumes` the volume at each of them, in units; both
    sides of the book are the same.
    """
    levels, volumes = np.asarray(levels, np.float64), np.asarray(volumes, np.float64)
    figure = make_subplots(
        rows=1, cols=1, subplot_titles=[key("volume at each price, units", {"bids": BUY, "asks": SELL})]
    )
    gaps = np.diff(np.sort(np.concatenate([-levels, levels])))
    width = 0.8 * mid * gaps[gaps > 0].min(initial=np.inf)
    best = levels.min()
    for name, sign, color in (("bid", -1, BUY), ("ask", 1, SELL)):
        price = mid * (1 + sign * levels)
        bars = go.Bar(x=price, y=volumes, name=f"{name} volume", hovertemplate="%{y:.3f}")
        bars.update(marker={"color": color, "line": {"width": 0}})
        figure.add_trace(bars.update(width=width if np.isfinite(width) else None))
    dressed(figure, 340)
    for name, sign, side in (("bid", -1, "left"), ("ask", 1, "right")):
        price = mid * (1 + sign * best)
        note = {"text": f"{name} {price:.3f}", "font": {"size": 12, "color": INK}, "xshift": 4 * sign}
        place: dict[str, Any] = {"annotation": note, "annotation_position": f"top {side}"}
        figure.add_vline(price, line={"color": INK, "width": 1, "dash": "dot"}, **place)
    figure.add_vline(mid, line={"color": INK, "width": 1.5, "dash": "dash"})
    # Leaves room for labels above the bars.
    figure.update_yaxes(range=[0, 1.2 * max(float(volumes.max()), 1e-9)])
    return figure.update_xaxes(title=f"price, currency; dashed: mid {mid:.2f}", hoverformat=".3f")


def _epsilon_edges(trace: pl.DataFrame, marks: list[float], bins: int = 60) -> np.ndarray:
    """Return the edges of bins over all quotes and marked values, with a margin."""
    values = np.concatenate([trace["epsilon_buy"].to_numpy(), trace["epsilon_sell"].to_numpy()])
    low = min([float(np.quantile(values, 0.001)), *marks])
    high = max([float(np.quantile(values, 0.999)), *marks])
    margin = max(0.08 * (high - low), 0.03)
    return np.linspace(low - margin, high + margin, bins + 1)


def _vertical_line(
    figure: go.Figure, x: float, row: int, line: dict[str, Any], note: dict[str, Any] | None = None
) -> None:
    """Add a vertical line to a panel, with a note at its top."""
    place: dict[str, Any] = {"row": row, "col": 1, "line": line}
    if note is None:
        figure.add_vline(x, **place)
    else:
        side = "right" if note["xshift"] > 0 else "left"
        figure.add_vline(x, **place, annotation=note, annotation_position=f"top {side}")
