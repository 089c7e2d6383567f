"""Figures of a hedging maker: the dashboard of one episode, and several makers in the same episode side by side.

A trace is a table with one row per step and maker, as returned by `twosided.core.evaluation.trace`. Its columns are
path, time, maker; mid, bid, ask, exchange_bid, exchange_ask in currency; client_position, hedge_position, net_position
after the step in units, and for several assets hedge_position_0, ... and asset_mid_0, ...; skew if the maker has one;
bought, sold in units; pnl_{part} in currency. The panels are those of Bakshaev (2020), figures 2, 3, 4, 8, 10 and 11,
and of figure 6.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy import ndarray

from twosided.plots.style import BUY, GREY, INK, OLIVE, PARTS, SELL, SERIES, dressed, faded, key, stack

CLIENTS, HEDGES = BUY, SELL
"""Colours of client trades and of hedges."""
ASSETS = (SELL, PARTS["spread"], PARTS["inventory"], PARTS["hedge"], OLIVE)
"""Colours of a portfolio's assets; more could not be distinguished."""
FROM_ZERO = {"rangemode": "tozero"}
WINDOW = 50
"""Number of steps in the average of spreads."""


class Line(NamedTuple):
    """Line of a panel."""

    name: str
    y: ndarray
    colour: str
    width: float = 1.6


class Panel(NamedTuple):
    """Panel of a dashboard."""

    title: str
    lines: list[Line]
    share: float
    """Height relative to that of the other panels."""
    axis: Mapping[str, Any] = {}
    """Settings of the vertical axis."""


def figure_hedging(trace: pl.DataFrame, path: int = 0) -> go.Figure:
    """Return the dashboard of one episode: prices, spreads charged and paid, skew, trades, positions and PnL by
    part."""
    episode = trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
    num_assets = len([name for name in episode.columns if name.startswith("asset_mid_")])
    panels = [_price_panel(episode, num_assets), _spread_panel(episode)]
    if "skew" in episode.columns:
        panels.append(_skew_panel(episode))
    panels += [_trade_panel(episode), _position_panel(episode, num_assets), _pnl_panel(episode)]
    return _draw(episode["time"].to_numpy(), panels)


def figure_side_by_side(traces: Mapping[str, pl.DataFrame], path: int = 0) -> go.Figure:
    """Return a figure of the same episode of several makers: the midprice, and each maker's position and cumulative
    PnL."""
    episodes = {
        name: trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
        for name, trace in traces.items()
    }
    longest = max(episodes.values(), key=len)
    colours = dict(zip(episodes, [SERIES[i % len(SERIES)] for i in range(len(episodes))], strict=True))
    positions = {name: _net_position(episode) for name, episode in episodes.items()}
    pnl = {name: episode["pnl_total"].to_numpy().cumsum() for name, episode in episodes.items()}
    legend = {f"{name} {_sharpe(episode)}": colours[name] for name, episode in episodes.items()}
    panels = [
        Panel("midprice, currency", [Line("midprice", longest["mid"].to_numpy(), INK)], 0.22),
        Panel("position, units", [Line(n, y, colours[n]) for n, y in positions.items()], 0.34),
        Panel(
            "cumulative PnL, currency; per-step Sharpe ratio × 100:",
            [Line(n, y, colours[n], 2.2) for n, y in pnl.items()],
            0.44,
        ),
    ]
    return _draw(longest["time"].to_numpy(), panels, {2: legend})


def _price_panel(episode: pl.DataFrame, num_assets: int) -> Panel:
    """Return the panel of the midprice and the quotes of the maker and the exchange; for a portfolio, of the blend and
    each asset."""
    lines = [
        Line(f"asset {i + 1}", episode[f"asset_mid_{i}"].to_numpy(), _asset_colour(i, num_assets), 1.2)
        for i in range(num_assets)
    ]
    mid = "blend" if num_assets else "midprice"
    lines.append(Line(mid, episode["mid"].to_numpy(), INK, 1.4))
    for column, name, colour in (
        ("bid", "client bid", CLIENTS),
        ("ask", "client ask", CLIENTS),
        ("exchange_bid", "hedge bid", HEDGES),
        ("exchange_ask", "hedge ask", HEDGES),
    ):
        if column in episode.columns and not num_assets:
            lines.append(Line(name, episode[column].to_numpy(), colour, 0.9))
    return Panel("prices, currency", lines, 0.2)


def _spread_panel(episode: pl.DataFrame) -> Panel:
    """Return the panel of quoted half-spreads (faint), and of the mean half-spreads charged and paid in the last
    steps."""
    lines = []
    for side, bid, ask, colour in (
        ("client", "bid", "ask", CLIENTS),
        ("hedge", "exchange_bid", "exchange_ask", HEDGES),
    ):
        if bid in episode.columns:
            half_spread = (episode[ask] - episode[bid]).to_numpy() / 2
            lines.append(Line(f"{side} half-spread", half_spread, faded(colour, 0.3), 0.8))
    clients = (episode["bought"] + episode["sold"]).to_numpy()
    lines.append(Line("charged", _per_unit(episode["pnl_spread"].to_numpy(), clients), CLIENTS, 2.2))
    lines.append(
        Line("paid", _per_unit(-episode["pnl_hedge"].to_numpy(), _hedge_volume(episode)), HEDGES, 2.2)
    )
    return Panel(
        f"half-spreads, currency per unit; thick: mean over the trades of the last {WINDOW} steps",
        lines,
        0.17,
        FROM_ZERO,
    )


def _skew_panel(episode: pl.DataFrame) -> Panel:
    skew = np.clip(episode["skew"].to_numpy(), -1.0, 1.0)
    title = "skew: the ask is lowered above 0, the bid is raised below 0"
    return Panel(title, [Line("skew", skew, INK)], 0.1, {"range": [-1.15, 1.15], "tickvals": [-1, 0, 1]})


def _trade_panel(episode: pl.DataFrame) -> Panel:
    """Return the panel of net client trades and hedges per step; hedges are summed over assets."""
    clients = (episode["bought"] - episode["sold"]).to_numpy()
    hedges = np.diff(episode["hedge_position"].to_numpy(), prepend=0.0)
    lines = [Line("clients", clients, CLIENTS, 1.0), Line("hedge", hedges, HEDGES, 1.0)]
    return Panel("trades per step, units", lines, 0.13)


def _position_panel(episode: pl.DataFrame, num_assets: int) -> Panel:
    lines = [Line("clients", episode["client_position"].to_numpy(), CLIENTS)]
    if num_assets:
        hedges = [episode[f"hedge_position_{i}"].to_numpy() for i in range(num_assets)]
        lines += [
            Line(f"hedge in asset {i + 1}", y, _asset_colour(i, num_assets), 1.4)
            for i, y in enumerate(hedges)
        ]
    if num_assets == 0 or num_assets > len(ASSETS):
        lines.append(Line("hedge", episode["hedge_position"].to_numpy(), HEDGES))
    lines.append(Line("net", episode["net_position"].to_numpy(), INK, 2.2))
    unit = "units (net: of the blend at its initial price)" if num_assets else "units"
    return Panel(f"positions, {unit}", lines, 0.22)


def _pnl_panel(episode: pl.DataFrame) -> Panel:
    parts = {part: episode[f"pnl_{part}"].to_numpy().cumsum() for part in PARTS}
    lines = [Line(part, y, PARTS[part]) for part, y in parts.items() if part != "fees" or y.any()]
    lines.append(Line("total", episode["pnl_total"].to_numpy().cumsum(), INK, 2.4))
    return Panel(f"cumulative PnL, currency; per-step Sharpe ratio × 100: {_sharpe(episode)}", lines, 0.24)


def _draw(time: ndarray, panels: list[Panel], keys: Mapping[int, Mapping[str, str]] = {}) -> go.Figure:
    """Draw the panels, each with a key to its colours in its title; `keys` replaces the keys of the panels it names."""
    titles = []
    for i, panel in enumerate(panels):
        colours = {}
        for line in panel.lines:
            # Bid and ask have one colour and one entry; faint lines have no entry of their own.
            if line.colour not in colours.values() and not line.colour.startswith("rgba"):
                colours[_key_name(line.name)] = line.colour
        has_one_line = len(panel.lines) == 1
        entries = keys.get(i, {} if has_one_line else colours)
        titles.append(key(panel.title, {escape(name): colour for name, colour in entries.items()}))
    figure = stack(titles, [panel.share for panel in panels])
    for row, panel in enumerate(panels, start=1):
        for line in panel.lines:
            trace = go.Scatter(x=time[: len(line.y)], y=line.y, name=escape(line.name), mode="lines")
            trace.update(line={"color": line.colour, "width": line.width}, hovertemplate="%{y:.4~g}")
            figure.add_trace(trace, row=row, col=1)
    dressed(figure, 200 * len(panels) + 40)
    for row, panel in enumerate(panels, start=1):
        figure.update_yaxes(zeroline=True, row=row, col=1, **panel.axis)
    figure.update_xaxes(title="step", row=len(panels), col=1)
    return figure


def _key_name(name: str) -> str:
    """Return the name of a line in the key, which is the same for bid and ask."""
    return name.replace(" bid", " bid, ask")


def _asset_colour(asset: int, num_assets: int) -> str:
    return ASSETS[asset] if num_assets <= len(ASSETS) else faded(GREY, 0.5)


def _net_position(episode: pl.DataFrame) -> ndarray:
    """Return the position after each step, or before it if the trace has no net_position."""
    return episode["net_position" if "net_position" in episode.columns else "inventory"].to_numpy()


def _hedge_volume(episode: pl.DataFrame) -> ndarray:
    """Return the units traded on the exchange in each step, over all assets and both sides."""
    columns = [name for name in episode.columns if name.startswith("hedge_position_")] or ["hedge_position"]
    return sum(np.abs(np.diff(episode[name].to_numpy(), prepend=0.0)) for name in columns) + np.zeros(
        len(episode)
    )


def _per_unit(money: ndarray, units: ndarray) -> ndarray:
    """Return money per unit over the last steps; NaN where nothing was traded in them."""
    totals = []
    for values in (money, units):
        cumulative = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        start = np.maximum(np.arange(len(values)) + 1 - WINDOW, 0)
        totals.append(cumulative[1:] - cumulative[start])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals[1] > 0, totals[0] / totals[1], np.nan)


def _sharpe(episode: pl.DataFrame) -> str:
    """Return 100 times the mean over the standard deviation of a step's PnL (eq. 30)."""
    pnl = episode["pnl_total"].to_numpy()
    std = pnl.std()
    return f"{100 * pnl.mean() / std:.1f}" if std > 0 else "–"
