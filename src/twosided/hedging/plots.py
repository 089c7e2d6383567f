"""Dashboards of a maker that hedges its clients' trades, and makers side by side on the same chance.

A trace is a table of steps with a row a maker, as `twosided.core.evaluation.trace` makes it: path, time,
maker; mid, bid,
ask, exchange_bid, exchange_ask in currency; client_position, hedge_position, net_position after the step in units, of
several assets hedge_position_0, ... and asset_mid_0, ... too; skew where the maker has one; bought, sold in units;
pnl_{part} in currency. The panels are those of Bakshaev (2020), figures 2, 3, 4, 8, 10 and 11, and of its figure 6.
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
"""What clients do and bring, and what is done about it on the exchange."""
ASSETS = (SELL, PARTS["spread"], PARTS["inventory"], PARTS["hedge"], OLIVE)
"""Colours of a portfolio's assets; of more they would not be told apart."""
FROM_0 = {"rangemode": "tozero"}
WINDOW = 50
"""Steps that spreads are averaged over."""


class Line(NamedTuple):
    """A line of a panel."""

    name: str
    y: ndarray
    colour: str
    width: float = 1.6


class Panel(NamedTuple):
    """A panel of a dashboard: its title, its lines, and its share of the height."""

    title: str
    lines: list[Line]
    share: float
    """Of the height, beside those of the others."""
    axis: Mapping[str, Any] = {}
    """What its vertical axis must have."""


def figure_hedging(trace: pl.DataFrame, path: int = 0) -> go.Figure:
    """One episode of a hedger: prices, spreads charged and paid, skew, trades, positions by kind, PnL by part."""
    episode = trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
    assets = len([name for name in episode.columns if name.startswith("asset_mid_")])
    dashboard = [_prices(episode, assets), _spreads(episode)]
    if "skew" in episode.columns:
        dashboard.append(_skew(episode))
    dashboard += [_trades(episode), _positions(episode, assets), _earned(episode)]
    return _drawn(episode["time"].to_numpy(), dashboard)


def figure_side_by_side(traces: Mapping[str, pl.DataFrame], path: int = 0) -> go.Figure:
    """The same episode of several makers, a colour each: the price that all met, what each held and what it earned."""
    episodes = {
        name: trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
        for name, trace in traces.items()
    }
    longest = max(episodes.values(), key=len)
    colours = dict(zip(episodes, [SERIES[i % len(SERIES)] for i in range(len(episodes))], strict=True))
    held = {name: _net(episode) for name, episode in episodes.items()}
    earned = {name: episode["pnl_total"].to_numpy().cumsum() for name, episode in episodes.items()}
    said = {f"{name} {_sharpe(episode)}": colours[name] for name, episode in episodes.items()}
    side_by_side = [
        Panel("midprice, currency", [Line("midprice", longest["mid"].to_numpy(), INK)], 0.22),
        Panel("position, units", [Line(n, y, colours[n]) for n, y in held.items()], 0.34),
        Panel(
            "PnL so far, currency, and Sharpe ratio of a step × 100:",
            [Line(n, y, colours[n], 2.2) for n, y in earned.items()],
            0.44,
        ),
    ]
    return _drawn(longest["time"].to_numpy(), side_by_side, {2: said})


def _prices(episode: pl.DataFrame, assets: int) -> Panel:
    """The midprice between the quotes to clients and the exchange's; of a portfolio the blend's, and each asset's."""
    lines = [
        Line(f"asset {i + 1}", episode[f"asset_mid_{i}"].to_numpy(), _asset_colour(i, assets), 1.2)
        for i in range(assets)
    ]
    mid = "blend" if assets else "midprice"
    lines.append(Line(mid, episode["mid"].to_numpy(), INK, 1.4))
    for column, name, colour in (
        ("bid", "client bid", CLIENTS),
        ("ask", "client ask", CLIENTS),
        ("exchange_bid", "hedge bid", HEDGES),
        ("exchange_ask", "hedge ask", HEDGES),
    ):
        if column in episode.columns and not assets:
            lines.append(Line(name, episode[column].to_numpy(), colour, 0.9))
    return Panel("prices, currency", lines, 0.2)


def _spreads(episode: pl.DataFrame) -> Panel:
    """Half the distance of bid and ask, faint, and what was charged and paid for a unit over the last steps."""
    lines = []
    for side, bid, ask, colour in (
        ("client", "bid", "ask", CLIENTS),
        ("hedge", "exchange_bid", "exchange_ask", HEDGES),
    ):
        if bid in episode.columns:
            offered = (episode[ask] - episode[bid]).to_numpy() / 2
            lines.append(Line(f"{side} half-spread", offered, faded(colour, 0.3), 0.8))
    clients = (episode["bought"] + episode["sold"]).to_numpy()
    lines.append(Line("charged", _a_unit(episode["pnl_spread"].to_numpy(), clients), CLIENTS, 2.2))
    lines.append(Line("paid", _a_unit(-episode["pnl_hedge"].to_numpy(), _hedged(episode)), HEDGES, 2.2))
    return Panel(
        f"half-spreads, currency a unit; thick: of the last {WINDOW} steps’ trades", lines, 0.17, FROM_0
    )


def _skew(episode: pl.DataFrame) -> Panel:
    skew = np.clip(episode["skew"].to_numpy(), -1.0, 1.0)
    title = "skew: above 0 the ask is lowered, below 0 the bid raised"
    return Panel(title, [Line("skew", skew, INK)], 0.1, {"range": [-1.15, 1.15], "tickvals": [-1, 0, 1]})


def _trades(episode: pl.DataFrame) -> Panel:
    """What clients and hedges add to the position, step by step; of several assets together."""
    clients = (episode["bought"] - episode["sold"]).to_numpy()
    hedges = np.diff(episode["hedge_position"].to_numpy(), prepend=0.0)
    lines = [Line("clients", clients, CLIENTS, 1.0), Line("hedge", hedges, HEDGES, 1.0)]
    return Panel("traded in a step, units", lines, 0.13)


def _positions(episode: pl.DataFrame, assets: int) -> Panel:
    lines = [Line("clients", episode["client_position"].to_numpy(), CLIENTS)]
    if assets:
        hedges = [episode[f"hedge_position_{i}"].to_numpy() for i in range(assets)]
        lines += [
            Line(f"hedge in asset {i + 1}", y, _asset_colour(i, assets), 1.4) for i, y in enumerate(hedges)
        ]
    if assets == 0 or assets > len(ASSETS):
        lines.append(Line("hedge", episode["hedge_position"].to_numpy(), HEDGES))
    lines.append(Line("net", episode["net_position"].to_numpy(), INK, 2.2))
    return Panel("positions, units" + " (net: of the blend at its first price)" * bool(assets), lines, 0.22)


def _earned(episode: pl.DataFrame) -> Panel:
    parts = {part: episode[f"pnl_{part}"].to_numpy().cumsum() for part in PARTS}
    lines = [Line(part, y, PARTS[part]) for part, y in parts.items() if part != "fees" or y.any()]
    lines.append(Line("total", episode["pnl_total"].to_numpy().cumsum(), INK, 2.4))
    return Panel(f"PnL so far, currency; {_sharpe(episode)} is the Sharpe ratio of a step × 100", lines, 0.24)


def _drawn(time: ndarray, dashboard: list[Panel], keys: Mapping[int, Mapping[str, str]] = {}) -> go.Figure:
    """The panels, each with the key to its colours in its title; `keys` says what else stands there."""
    titles = []
    for i, panel in enumerate(dashboard):
        colours = {}
        for line in panel.lines:
            # Both sides of a price are one colour, and faint lines go with the strong one.
            if line.colour not in colours.values() and not line.colour.startswith("rgba"):
                colours[_kind(line.name)] = line.colour
        alone = len(panel.lines) == 1
        given = keys.get(i, {} if alone else colours)
        titles.append(key(panel.title, {escape(name): colour for name, colour in given.items()}))
    figure = stack(titles, [panel.share for panel in dashboard])
    for row, panel in enumerate(dashboard, start=1):
        for line in panel.lines:
            drawn = go.Scatter(x=time[: len(line.y)], y=line.y, name=escape(line.name), mode="lines")
            drawn.update(line={"color": line.colour, "width": line.width}, hovertemplate="%{y:.4~g}")
            figure.add_trace(drawn, row=row, col=1)
    dressed(figure, 200 * len(dashboard) + 40)
    for row, panel in enumerate(dashboard, start=1):
        figure.update_yaxes(zeroline=True, row=row, col=1, **panel.axis)
    figure.update_xaxes(title="step", row=len(dashboard), col=1)
    return figure


def _kind(name: str) -> str:
    """What a key calls a line: both sides of a price together."""
    return name.replace(" bid", " bid, ask")


def _asset_colour(asset: int, assets: int) -> str:
    return ASSETS[asset] if assets <= len(ASSETS) else faded(GREY, 0.5)


def _net(episode: pl.DataFrame) -> ndarray:
    """The position after each step, or before it where the market does not keep it apart."""
    return episode["net_position" if "net_position" in episode.columns else "inventory"].to_numpy()


def _hedged(episode: pl.DataFrame) -> ndarray:
    """Units traded on the exchange in each step, whatever the asset and the side."""
    each = [name for name in episode.columns if name.startswith("hedge_position_")] or ["hedge_position"]
    return sum(np.abs(np.diff(episode[name].to_numpy(), prepend=0.0)) for name in each) + np.zeros(
        len(episode)
    )


def _a_unit(money: ndarray, units: ndarray) -> ndarray:
    """Money over units of the last steps; not a number where nothing was traded in them."""
    totals = []
    for values in (money, units):
        so_far = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        begin = np.maximum(np.arange(len(values)) + 1 - WINDOW, 0)
        totals.append(so_far[1:] - so_far[begin])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals[1] > 0, totals[0] / totals[1], np.nan)


def _sharpe(episode: pl.DataFrame) -> str:
    """100 times the mean over the deviation of a step's PnL (eq. 30)."""
    pnl = episode["pnl_total"].to_numpy()
    deviation = pnl.std()
    return f"{100 * pnl.mean() / deviation:.1f}" if deviation > 0 else "–"
