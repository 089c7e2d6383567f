"""Figure of an episode of a hedging maker.

A trace is a table with one row per step and maker, as returned by `twosided.core.evaluation.trace`. Its columns are
path, time, maker; mid, bid, ask, exchange_bid, exchange_ask in currency; client_position, hedge_position, net_position
after the step in units, and for several assets hedge_position_0, ... and asset_mid_0, ...; skew if the maker has one;
bought, sold in units; pnl_{part} in currency. The panels are those of Bakshaev (2020), figures 2, 3, 4, 8, 10 and 11.
"""

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy import ndarray

from twosided.plots.panels import Line, Panel, draw_panels
from twosided.plots.run import sharpe_text
from twosided.plots.style import BUY, GREY, INK, OLIVE, PARTS, SELL, faded

CLIENTS, HEDGES = BUY, SELL
"""Colours of client trades and of hedges."""
ASSETS = (SELL, PARTS["spread"], PARTS["inventory"], PARTS["hedge"], OLIVE)
"""Colours of a portfolio's assets; more could not be distinguished."""
FROM_ZERO = {"rangemode": "tozero"}
WINDOW = 50
"""Number of steps in the average of spreads."""


def figure_hedging(trace: pl.DataFrame, path: int = 0) -> go.Figure:
    """Return the dashboard of one episode: prices, spreads charged and paid, skew, trades, positions and PnL by
    part."""
    episode = trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
    num_assets = len([name for name in episode.columns if name.startswith("asset_mid_")])
    panels = [_price_panel(episode, num_assets), _spread_panel(episode)]
    if "skew" in episode.columns:
        panels.append(_skew_panel(episode))
    panels += [_trade_panel(episode), _position_panel(episode, num_assets), _pnl_panel(episode)]
    return draw_panels(episode["time"].to_numpy(), panels)


def _price_panel(episode: pl.DataFrame, num_assets: int) -> Panel:
    """Return the panel of the midprice and the quotes of the maker and the exchange; for a portfolio, of the blend and
    each asset."""
    lines = [
        Line(f"asset {i + 1}", episode[f"asset_mid_{i}"].to_numpy(), _asset_color(i, num_assets), 1.2)
        for i in range(num_assets)
    ]
    mid = "blend" if num_assets else "midprice"
    lines.append(Line(mid, episode["mid"].to_numpy(), INK, 1.4))
    for column, name, color in (
        ("bid", "client bid", CLIENTS),
        ("ask", "client ask", CLIENTS),
        ("exchange_bid", "hedge bid", HEDGES),
        ("exchange_ask", "hedge ask", HEDGES),
    ):
        if column in episode.columns and not num_assets:
            lines.append(Line(name, episode[column].to_numpy(), color, 0.9))
    return Panel("prices, currency", lines, 0.2)


def _spread_panel(episode: pl.DataFrame) -> Panel:
    """Return the panel of quoted half-spreads (faint), and of the mean half-spreads charged and paid in the last
    steps."""
    lines = []
    for side, bid, ask, color in (
        ("client", "bid", "ask", CLIENTS),
        ("hedge", "exchange_bid", "exchange_ask", HEDGES),
    ):
        if bid in episode.columns:
            half_spread = (episode[ask] - episode[bid]).to_numpy() / 2
            lines.append(Line(f"{side} half-spread", half_spread, faded(color, 0.3), 0.8))
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
            Line(f"hedge in asset {i + 1}", y, _asset_color(i, num_assets), 1.4) for i, y in enumerate(hedges)
        ]
    if num_assets == 0 or num_assets > len(ASSETS):
        lines.append(Line("hedge", episode["hedge_position"].to_numpy(), HEDGES))
    lines.append(Line("net", episode["net_position"].to_numpy(), INK, 2.2))
    unit = "units (net: of the blend at its initial price)" if num_assets else "units"
    return Panel(f"positions, {unit}", lines, 0.22)


def _pnl_panel(episode: pl.DataFrame) -> Panel:
    parts = {part: episode[f"pnl_{part}"].to_numpy().cumsum() for part in PARTS}
    lines = [Line(part, y, PARTS[part]) for part, y in parts.items() if y.any()]
    lines.append(Line("total", episode["pnl_total"].to_numpy().cumsum(), INK, 2.4))
    return Panel(f"cumulative PnL, currency; Sharpe ratio per step: {sharpe_text(episode)}", lines, 0.24)


def _asset_color(asset: int, num_assets: int) -> str:
    return ASSETS[asset] if num_assets <= len(ASSETS) else faded(GREY, 0.5)


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
