"""Figures of a run: learning curves, PnL by source, one episode, and actions by inventory.

A trace is a table of steps with one row per maker, as `twosided.trace` makes it: path, time, maker; mid, bid, ask in
currency; inventory before the step; each part of the action; bought, sold in units; pnl_{part} in currency. Maker 0
is the evaluated one.

PnL per step is drawn times `scale`, in `unit`: those of the market's metric catalogue.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.formatting import interval, with_error
from twosided.core.records import Record
from twosided.plots.panels import Line, Panel, draw_panels
from twosided.plots.style import (
    BUY,
    GREY,
    INK,
    OTHERS,
    PAPER,
    PARTS,
    SELL,
    SERIES,
    band,
    dressed,
    faded,
    key,
    stack,
)

PER_STEP = "currency per step"
MIN_SAMPLES = 20
"""Inventories that were held for fewer steps than this are not drawn: their means are too noisy."""
BINS = 25
"""Most bins of inventories."""
SMALLEST_GAP = 0.1
"""Smallest gap that is drawn, in percent: a logarithmic scale has no place for gaps at or below 0."""


def figure_learning(
    curves: pl.DataFrame, optimum: float | None = None, *, scale: float = 1.0, unit: str = PER_STEP
) -> go.Figure:
    """Return the learning curves: PnL per step against steps of training, one line per seed.

    Columns: seed, timesteps, eval_pnl (currency per step); eval_reward (reward per step), which has a panel of its own
    if it differs from the PnL; and optimality_gap (percent), which has one, logarithmic if gaps vary by a factor of 3,
    where the optimum is known. `optimum` is that of total PnL in currency per step, a dashed line.
    """
    known = "optimality_gap" in curves.columns and bool(curves["optimality_gap"].is_not_null().any())
    colors = {seed: SERIES[i % len(SERIES)] for i, seed in enumerate(curves["seed"].unique().sort())}
    named = {str(seed): color for seed, color in colors.items()} if len(colors) <= len(SERIES) else {}
    differs = "eval_reward" in curves.columns and not np.allclose(
        curves["eval_reward"], curves["eval_pnl"], rtol=1e-3
    )
    titles = [key(f"PnL, {escape(unit)}; seeds:", named)]
    is_log = False
    if known:
        gaps = pl.col("optimality_gap").cast(pl.Float64).clip(lower_bound=SMALLEST_GAP)
        curves = curves.with_columns(optimality_gap=gaps)
        # A logarithmic axis over less than a factor of 3 would have few ticks.
        is_log = curves.select(gaps.max() >= 3 * gaps.min()).item()
    titles += ["reward per step"] * differs + [f"optimality gap, %{', logarithmic' * is_log}"] * known
    figure = stack(titles, shares=[1.0] * len(titles))
    for seed, color in colors.items():
        curve = curves.filter(pl.col("seed") == seed).sort("timesteps")
        panels = [scale * curve["eval_pnl"].to_numpy()]
        if differs:
            panels.append(curve["eval_reward"].to_numpy())
        if known:
            panels.append(curve["optimality_gap"].to_numpy())
        for row, y in enumerate(panels, start=1):
            line = go.Scatter(x=curve["timesteps"].to_numpy(), y=y, name=f"seed {seed}", mode="lines+markers")
            line.update(line={"color": color, "width": 2}, marker={"size": 5}, hovertemplate="%{y:.4~g}")
            figure.add_trace(line, row=row, col=1)
    dressed(figure, 260 + 200 * (len(titles) - 1))
    if optimum is not None:
        _level(figure, scale * optimum, _optimum_text(scale * optimum), scale * curves["eval_pnl"].to_numpy())
    if is_log:
        ticks = [digit * 10.0**power for power in range(-1, 5) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=ticks, tickformat="~g", row=len(titles), col=1)
    figure.update_xaxes(title="market steps of training, per seed", tickformat="~s", row=len(titles), col=1)
    return figure


def figure_earnings(
    records: Iterable[Record],
    cases: Sequence[str],
    optimum: float | None = None,
    *,
    scale: float = 1.0,
    unit: str = PER_STEP,
) -> go.Figure:
    """Return PnL per step by source, one bar per policy, with the total and its 95% interval.

    `optimum` is that of total PnL in currency per step, a dashed line.
    """
    own = {(r.case, r.metric): r for r in records if r.maker == 0 and r.metric.startswith("pnl_")}
    cases = [case for case in cases if (case, "pnl_total") in own]
    names = [escape(case) for case in cases]
    drawn = {}
    figure = stack([""], shares=[1.0])
    for part, color in PARTS.items():
        found = [own.get((case, f"pnl_{part}")) for case in cases]
        values = [scale * record.value if record else 0.0 for record in found]
        if any(values):
            drawn[part] = color
            bars = go.Bar(x=values, y=names, orientation="h", name=part, width=0.55)
            bars.update(marker={"color": color, "line": {"width": 0}}, hovertemplate="%{x:.4~g}")
            figure.add_trace(bars)
    totals = [own[case, "pnl_total"] for case in cases]
    half = [abs(scale) * (interval(record)[1] - record.value) for record in totals]
    diamonds = go.Scatter(x=[scale * r.value for r in totals], y=names, name="total", mode="markers")
    diamonds.update(
        marker={"symbol": "diamond", "size": 10, "color": INK, "line": {"color": PAPER, "width": 1.5}}
    )
    diamonds.update(error_x={"array": half, "color": INK, "thickness": 1.5, "width": 5})
    diamonds.update(hovertemplate="%{x:.4~g}")
    figure.add_trace(diamonds)
    dressed(figure, 110 + 38 * len(cases), left=min(16 + 8 * max(map(len, cases), default=0), 150))
    figure.update_annotations(text=f"{key('', drawn)}  ◆\u00a0total".strip())
    figure.update_layout(barmode="relative", hovermode="y unified")
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"color": INK, "size": 12.5})
    title = f"PnL, {escape(unit)}"
    if optimum is not None:
        figure.add_vline(scale * optimum, line={"color": INK, "width": 1.5, "dash": "dash"})
        title += f"<br>dashed: {_optimum_text(scale * optimum)}"
    figure.update_xaxes(title=title, zeroline=True)
    return figure


def figure_episode(
    trace: pl.DataFrame, path: int = 0, *, currency: str = "currency", relative: bool = True
) -> go.Figure:
    """Return one episode in panels: midprice, quotes, trades, inventory, PnL by source.

    Quotes are drawn as distances from the midprice, in basis points of it if `relative`, else in currency.
    `currency` is the name of the unit of prices and money, such as ticks.
    """
    episode = trace.filter(pl.col("path") == path).sort("time")
    makers = sorted(episode["maker"].unique())
    own = episode.filter(pl.col("maker") == 0)
    gained = {part: own[f"pnl_{part}"].to_numpy().cumsum() for part in PARTS}
    parts = {part: PARTS[part] for part in PARTS if gained[part].any()}
    sides = {"ask": SELL, "bid": BUY} | {maker_name(maker, makers): OTHERS for maker in makers[1:]}
    titles = [
        f"midprice, {currency}",
        key(f"quotes relative to the midprice, {'bp' if relative else currency}", sides),
        key("trades, units", {"bought": BUY, "sold": SELL}),
        "inventory, units",
        key(f"cumulative PnL, {currency}", parts | {"total": INK}),
    ]
    figure = stack(titles, shares=[0.17, 0.22, 0.17, 0.17, 0.27])
    time = own["time"].to_numpy()

    def line(row: int, y: np.ndarray, name: str, color: str, width: float = 1.8, **more) -> None:
        drawn = go.Scatter(x=time, y=y, name=name, mode="lines", line={"color": color, "width": width})
        figure.add_trace(drawn.update(hovertemplate="%{y:.5~g}", **more), row=row, col=1)

    line(1, own["mid"].to_numpy(), "midprice", INK)
    for maker in reversed(makers):
        quotes = episode.filter(pl.col("maker") == maker)
        mid = quotes["mid"].to_numpy()
        for quote, color in (("bid", BUY), ("ask", SELL)):
            distance = quotes[quote].to_numpy() - mid
            if relative:
                distance = 1e4 * distance / mid
            competes = maker != 0
            name = f"{maker_name(maker, makers)}’s {quote}" if competes else quote
            line(2, distance, name, OTHERS if competes else color, 1.2 if competes else 1.5)
    for volume, sign, color in (("bought", 1, BUY), ("sold", -1, SELL)):
        bars = go.Bar(x=time, y=sign * own[volume].to_numpy(), name=volume, width=0.9)
        bars.update(marker={"color": color, "line": {"width": 0}}, hovertemplate="%{y:.4~g}")
        figure.add_trace(bars, row=3, col=1)
    line(4, own["inventory"].to_numpy(), "inventory", INK, fill="tozeroy", fillcolor=faded(GREY, 0.25))
    for part, color in parts.items():
        line(5, gained[part], part, color)
    line(5, np.sum(list(gained.values()), axis=0), "total", INK, 2.5)
    dressed(figure, 1000)
    figure.update_layout(barmode="relative")
    for row in range(2, 6):
        figure.update_yaxes(zeroline=True, row=row, col=1)
    figure.update_xaxes(title="step", row=5, col=1)
    return figure


def figure_side_by_side(
    traces: Mapping[str, pl.DataFrame],
    path: int = 0,
    *,
    position: str = "inventory",
    currency: str = "currency",
) -> go.Figure:
    """Return the same episode with several makers, one colour each: midprice, position and cumulative PnL.

    `position` is the column of the positions; traces in which the market ended the episode are shorter.
    """
    episodes = {
        name: trace.filter((pl.col("path") == path) & (pl.col("maker") == 0)).sort("time")
        for name, trace in traces.items()
    }
    longest = max(episodes.values(), key=len)
    colors = dict(zip(episodes, [SERIES[i % len(SERIES)] for i in range(len(episodes))], strict=True))
    pnl = {name: episode["pnl_total"].to_numpy().cumsum() for name, episode in episodes.items()}
    sharpe = {f"{name} {sharpe_text(episode)}": colors[name] for name, episode in episodes.items()}
    panels = [
        Panel(f"midprice, {currency}", [Line("midprice", longest["mid"].to_numpy(), INK)], 0.22),
        Panel(
            "position, units",
            [Line(name, episode[position].to_numpy(), colors[name]) for name, episode in episodes.items()],
            0.34,
        ),
        Panel(
            f"cumulative PnL, {currency}; Sharpe ratio per step:",
            [Line(name, y, colors[name], 2.2) for name, y in pnl.items()],
            0.44,
        ),
    ]
    return draw_panels(longest["time"].to_numpy(), panels, {2: sharpe})


class Curve(NamedTuple):
    """A column of a trace as a curve."""

    name: str
    color: str


def figure_by_inventory(
    trace: pl.DataFrame,
    curves: Mapping[str, Curve],
    title: str,
    *,
    inventory: str = "inventory",
    levels: Iterable[float] = (),
    exact: pl.DataFrame | None = None,
) -> go.Figure:
    """Return means ± standard deviations of columns of a trace by inventory, and the share of steps at each one.

    `curves` are columns of the trace of maker 0; null values are left out. `levels` are optimal values, dashed. `exact`
    is an exact policy, dashed over the same inventories: a column `inventory`, and those of `curves`.
    """
    own = trace.filter(pl.col("maker") == 0)
    held = own[inventory].to_numpy()
    edges = _inventory_edges(held)
    counts, _ = np.histogram(held, edges)
    middle, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    colors = {curve.name: curve.color for curve in curves.values()}
    described = f"{title}: mean ± std" + ("; dashed: exact" if exact is not None else "")
    figure = stack([key(described, colors), "% of steps at that inventory"], shares=[0.7, 0.3])
    drawn = []
    for column, curve in curves.items():
        known = own.filter(pl.col(column).is_not_null())
        mean, std, count = _binned(known[inventory].to_numpy(), known[column].to_numpy(), edges)
        enough = count >= max(min(MIN_SAMPLES, count.max()), 1)
        x, mean, std = middle[enough], mean[enough], std[enough]
        drawn += [mean - std, mean + std]
        figure.add_trace(band(x, mean - std, mean + std, curve.color), row=1, col=1)
        line = go.Scatter(x=x, y=mean, name=curve.name, mode="lines+markers")
        line.update(line={"color": curve.color, "width": 2.5}, marker={"size": 5}, hovertemplate="%{y:.4~g}")
        figure.add_trace(line, row=1, col=1)
        if exact is not None and len(x):
            near = exact.filter(pl.col("inventory").is_between(x[0] - width / 2, x[-1] + width / 2))
            best = near.select("inventory", y=pl.col(column).fill_nan(None)).drop_nulls().sort("inventory")
            dashed = go.Scatter(
                x=best["inventory"].to_numpy(), y=best["y"].to_numpy(), name=f"{curve.name}, exact"
            )
            dashed.update(mode="lines" if best.height > 1 else "markers", hovertemplate="%{y:.4~g}")
            dashed.update(
                line={"color": curve.color, "width": 2, "dash": "dash"}, marker={"symbol": "diamond"}
            )
            figure.add_trace(dashed, row=1, col=1)
            drawn.append(best["y"].to_numpy())
    time = go.Bar(x=middle, y=100 * counts / counts.sum(), width=np.diff(edges), name="steps")
    time.update(marker={"color": GREY, "line": {"width": 0}}, hovertemplate="%{y:.1f}%")
    figure.add_trace(time, row=2, col=1)
    dressed(figure, 460)
    levels = set(levels)
    for value in levels:
        _level(figure, value, "optimal", np.concatenate([*drawn, list(levels)]))
    figure.update_xaxes(hoverformat=".4~g")
    figure.update_xaxes(title="inventory before the step, units", row=2, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    return figure


def maker_name(maker: int, makers: Sequence[int]) -> str:
    """Return the name of a maker in figures."""
    if maker == 0:
        return "maker"
    return "competitor" if len(makers) == 2 else f"competitor {maker}"


def sharpe_text(episode: pl.DataFrame) -> str:
    """Return the mean over the standard deviation of a step's PnL in one episode, as text."""
    pnl = episode["pnl_total"].to_numpy()
    std = pnl.std() if pnl.size else 0.0
    return f"{pnl.mean() / std:.3f}".replace("-", "−") if std > 0 else "–"


def _optimum_text(value: float) -> str:
    return f"exact optimum {with_error(value, figures=4)[0]}"


def _inventory_edges(held: np.ndarray) -> np.ndarray:
    """Return the edges of bins over all inventories but the rarest 1%: a bin for each of a few whole numbers."""
    low, high = np.quantile(held, [0.005, 0.995])
    if high - low <= BINS and np.all(held == np.round(held)):
        return np.arange(np.round(low) - 0.5, np.round(high) + 1.0)
    margin = 0.5 if high - low > 4 or high == low else 0.02 * (high - low)
    return np.linspace(low - margin, high + margin, (BINS if high > low else 1) + 1)


def _binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of y in each bin of x, NaN where a bin is empty, and the counts."""
    y = y.astype(np.float64)
    count, first, second = (np.histogram(x, edges, weights=y**power)[0] for power in (0, 1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        return mean, np.sqrt(np.maximum(second / count - mean**2, 0.0)), count


def _level(figure: go.Figure, y: float, name: str, beside: np.ndarray) -> None:
    """Add a dashed line across the first panel, named at its left end, and make room for what is drawn beside it."""
    low, high = min(y, float(beside.min())), max(y, float(beside.max()))
    room = max(high - low, 1e-3 * max(abs(low), abs(high), 1e-6))
    figure.update_yaxes(range=[low - 0.08 * room, high + 0.2 * room], row=1, col=1)
    place: dict[str, Any] = {"row": 1, "col": 1, "line": {"color": INK, "width": 1.5, "dash": "dash"}}
    note = {"text": name, "font": {"size": 12, "color": INK}}
    figure.add_hline(y, **place, annotation=note, annotation_position="top left")
