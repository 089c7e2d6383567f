"""Figures of a run: how it learned, what it earns, how it quotes, and one of its episodes.

A trace is a table of steps with a row a maker: path, time, maker; mid, bid, ask in currency; inventory before
the step; epsilon_buy, epsilon_sell; bought, sold in units; pnl_{part} in currency. Maker 0 is the one that is
judged. PnL a step is drawn times 100, as the tables have it.
"""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
import polars as pl

from twosided.core.formatting import SCALE, interval
from twosided.core.records import Record
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

SIDES = (("buy", "bid", BUY), ("sell", "ask", SELL))
MIN_SAMPLES = 20
"""Fewer steps than these say nothing of a mean."""
SMALLEST_GAP = 0.1
"""Percent; on a logarithmic scale there is no place for what sampling puts at or above the optimum."""


def figure_learning(curves: pl.DataFrame, supremum: float | None = None) -> go.Figure:
    """PnL a step against steps of training, a line a seed; what is paid, and the gap to the optimum, where known.

    Columns: seed, timesteps, eval_pnl (currency a step); eval_reward (what the reward pays a step), drawn where that is
    not the PnL; and, where an optimum is known, optimality_gap (percent), on a logarithmic scale.
    """
    known = "optimality_gap" in curves.columns and bool(curves["optimality_gap"].is_not_null().any())
    colours = {seed: SERIES[i % len(SERIES)] for i, seed in enumerate(curves["seed"].unique().sort())}
    named = {str(seed): colour for seed, colour in colours.items()} if len(colours) <= len(SERIES) else {}
    paid = "eval_reward" in curves.columns and not np.allclose(
        curves["eval_reward"], curves["eval_pnl"], rtol=1e-3
    )
    titles = [key("PnL a step × 100, by seed", named)]
    titles += ["reward a step, which is what it learns from"] * paid + [
        "gap to the best, %, logarithmic"
    ] * known
    figure = stack(titles, shares=[1.0] * len(titles))
    for seed, colour in colours.items():
        curve = curves.filter(pl.col("seed") == seed).sort("timesteps")
        panels = [SCALE * curve["eval_pnl"].to_numpy()]
        if paid:
            panels.append(curve["eval_reward"].to_numpy())
        if known:
            panels.append(curve["optimality_gap"].cast(pl.Float64).clip(lower_bound=SMALLEST_GAP).to_numpy())
        for row, y in enumerate(panels, start=1):
            line = go.Scatter(x=curve["timesteps"].to_numpy(), y=y, name=f"seed {seed}", mode="lines+markers")
            line.update(line={"color": colour, "width": 2}, marker={"size": 5}, hovertemplate="%{y:.2f}")
            figure.add_trace(line, row=row, col=1)
    dressed(figure, 260 + 200 * (len(titles) - 1))
    if supremum is not None:
        pnl = SCALE * curves["eval_pnl"].to_numpy()
        _level(figure, SCALE * supremum, f"best possible {SCALE * supremum:.1f}", pnl)
    if known:
        ticks = [digit * 10.0**power for power in range(-1, 5) for digit in (1, 2, 5)]
        figure.update_yaxes(type="log", tickvals=ticks, tickformat="~g", row=len(titles), col=1)
    figure.update_xaxes(title="market steps of training, a seed", tickformat="~s", row=len(titles), col=1)
    return figure


def figure_earnings(
    records: Iterable[Record], cases: Sequence[str], supremum: float | None = None
) -> go.Figure:
    """Own PnL a step by part, a bar a policy, with its total and 95% interval."""
    own = {(r.case, r.metric): r for r in records if r.maker == 0 and r.metric.startswith("pnl_")}
    cases = [case for case in cases if (case, "pnl_total") in own]
    names = [escape(case) for case in cases]
    drawn = {}
    figure = stack([""], shares=[1.0])
    for part, colour in PARTS.items():
        held = [own.get((case, f"pnl_{part}")) for case in cases]
        values = [SCALE * record.value if record else 0.0 for record in held]
        if part != "fees" or any(values):
            drawn[part] = colour
            bars = go.Bar(x=values, y=names, orientation="h", name=part, width=0.55)
            bars.update(marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{x:.2f}")
            figure.add_trace(bars)
    totals = [own[case, "pnl_total"] for case in cases]
    half = [SCALE * (interval(record)[1] - record.value) for record in totals]
    diamonds = go.Scatter(
        x=[SCALE * record.value for record in totals], y=names, name="total", mode="markers"
    )
    diamonds.update(
        marker={"symbol": "diamond", "size": 10, "color": INK, "line": {"color": PAPER, "width": 1.5}}
    )
    diamonds.update(error_x={"array": half, "color": INK, "thickness": 1.5, "width": 5})
    diamonds.update(hovertemplate="%{x:.2f}")
    figure.add_trace(diamonds)
    dressed(figure, 110 + 38 * len(cases), left=min(16 + 8 * max(map(len, cases), default=0), 150))
    figure.update_annotations(text=f"{key('', drawn)}  ◆\u00a0total".strip())
    figure.update_layout(barmode="relative", hovermode="y unified")
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"color": INK, "size": 12.5})
    title = "PnL a step × 100"
    if supremum is not None:
        figure.add_vline(SCALE * supremum, line={"color": INK, "width": 1.5, "dash": "dash"})
        title += f"<br>dashed: best possible {SCALE * supremum:.1f}"
    figure.update_xaxes(title=title, zeroline=True)
    return figure


def figure_epsilon(
    trace: pl.DataFrame, optimal_buy: float | None = None, optimal_sell: float | None = None
) -> go.Figure:
    """How often each epsilon is quoted, a panel a side, against the competitors' and the optimal one."""
    best = {"buy": optimal_buy, "sell": optimal_sell}
    edges = _epsilon_edges(trace, [value for value in best.values() if value is not None])
    middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    makers = sorted(trace["maker"].unique())
    rivals = {maker_name(maker, makers): OTHERS for maker in makers[1:]}
    titles = [
        key(f"{quote} ε, % of steps", {maker_name(0, makers): colour} | rivals) for _, quote, colour in SIDES
    ]
    figure = stack(titles, shares=[1.0, 1.0])
    for row, (side, _, colour) in enumerate(SIDES, start=1):
        top = 0.0
        for maker in makers:
            values = trace.filter(pl.col("maker") == maker)[f"epsilon_{side}"].to_numpy()
            share = 100 * np.histogram(values, edges)[0] / len(values)
            if maker == 0:
                drawn = go.Bar(x=middle, y=share, width=width)
                drawn.update(marker={"color": colour, "line": {"width": 0}})
            elif np.ptp(values) < 1e-6:
                # One epsilon all the time: a bar of 100% would dwarf the rest.
                _upright(figure, float(values[0]), row, {"color": OTHERS, "width": 5})
                continue
            else:
                drawn = go.Scatter(x=middle, y=share, mode="lines")
                drawn.update(line={"color": OTHERS, "width": 2, "shape": "hvh"})
            drawn.update(name=maker_name(maker, makers), hovertemplate="%{y:.1f}%")
            figure.add_trace(drawn, row=row, col=1)
            top = max(top, float(share.max()))
        # Room for a word over the highest bar.
        figure.update_yaxes(range=[0, 1.2 * top], row=row, col=1)
    dressed(figure, 460)
    for row, (side, _, _) in enumerate(SIDES, start=1):
        value = best[side]
        if value is not None:
            note = {"text": "optimal", "font": {"size": 12, "color": INK}, "xshift": 4}
            _upright(figure, value, row, {"color": INK, "width": 1.5, "dash": "dash"}, note)
    figure.update_xaxes(range=[edges[0], edges[-1]], hoverformat=".3f")
    figure.update_xaxes(title="ε, the spread against the exchange’s", row=2, col=1)
    return figure


def figure_skew(
    trace: pl.DataFrame,
    optimal_buy: float | None = None,
    optimal_sell: float | None = None,
    *,
    exact: pl.DataFrame | None = None,
) -> go.Figure:
    """Mean epsilon a side ± a standard deviation by the inventory before it, and the time spent there.

    `exact` is what the best maker quotes, dashed over the same inventories: inventory, epsilon_buy, epsilon_sell,
    where a quote that is meant to lose counts as 1.
    """
    own = trace.filter(pl.col("maker") == 0)
    inventory = own["inventory"].to_numpy()
    low, high = np.quantile(inventory, [0.005, 0.995])
    edges = np.linspace(low - 0.5, high + 0.5, 26 if high - low > 4 else 2)
    counts, _ = np.histogram(inventory, edges)
    enough = counts >= min(MIN_SAMPLES, counts.max())
    middle, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    colours = {quote: colour for _, quote, colour in SIDES}
    said = "mean ε ± deviation" + ("; dashed: exact" if exact is not None else "")
    titles = [key(said, colours), "% of steps at that inventory"]
    figure = stack(titles, shares=[0.7, 0.3])
    drawn = []
    for side, quote, colour in SIDES:
        mean, deviation = _binned(inventory, own[f"epsilon_{side}"].to_numpy(), edges)
        x, mean, deviation = middle[enough], mean[enough], deviation[enough]
        drawn += [mean - deviation, mean + deviation]
        figure.add_trace(band(x, mean - deviation, mean + deviation, colour), row=1, col=1)
        line = go.Scatter(x=x, y=mean, name=f"{quote} ε", mode="lines+markers")
        line.update(line={"color": colour, "width": 2.5}, marker={"size": 5}, hovertemplate="%{y:.3f}")
        figure.add_trace(line, row=1, col=1)
        if exact is not None:
            near = exact.filter(pl.col("inventory").is_between(x[0] - width / 2, x[-1] + width / 2))
            best = (
                near.select("inventory", y=pl.col(f"epsilon_{side}").fill_nan(None))
                .drop_nulls()
                .sort("inventory")
            )
            curve = go.Scatter(
                x=best["inventory"].to_numpy(), y=best["y"].to_numpy(), name=f"{quote} ε, exact"
            )
            curve.update(mode="lines" if best.height > 1 else "markers", hovertemplate="%{y:.3f}")
            curve.update(line={"color": colour, "width": 2, "dash": "dash"}, marker={"symbol": "diamond"})
            figure.add_trace(curve, row=1, col=1)
            drawn.append(best["y"].to_numpy())
    time = go.Bar(x=middle, y=100 * counts / counts.sum(), width=np.diff(edges), name="steps")
    time.update(marker={"color": GREY, "line": {"width": 0}}, hovertemplate="%{y:.1f}%")
    figure.add_trace(time, row=2, col=1)
    dressed(figure, 460)
    for value in {value for value in (optimal_buy, optimal_sell) if value is not None}:
        _level(figure, value, "optimal", np.concatenate(drawn))
    figure.update_xaxes(hoverformat=".0f")
    figure.update_xaxes(title="inventory before the step, units", row=2, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    return figure


def figure_episode(trace: pl.DataFrame, path: int = 0) -> go.Figure:
    """One episode, panel by panel: midprice, quotes, trades, inventory, PnL by part."""
    episode = trace.filter(pl.col("path") == path).sort("time")
    makers = sorted(episode["maker"].unique())
    own = episode.filter(pl.col("maker") == 0)
    gained = {part: own[f"pnl_{part}"].to_numpy().cumsum() for part in PARTS}
    parts = {part: PARTS[part] for part in PARTS if part != "fees" or gained[part].any()}
    sides = {"ask": SELL, "bid": BUY} | {maker_name(maker, makers): OTHERS for maker in makers[1:]}
    titles = [
        "midprice, currency",
        key("quotes, bp", sides),
        key("trades, units", {"bought": BUY, "sold": SELL}),
        "inventory, units",
        key("PnL", parts | {"total": INK}),
    ]
    figure = stack(titles, shares=[0.17, 0.22, 0.17, 0.17, 0.27])
    time = own["time"].to_numpy()

    def line(row: int, y: np.ndarray, name: str, colour: str, width: float = 1.8, **more) -> None:
        drawn = go.Scatter(x=time, y=y, name=name, mode="lines", line={"color": colour, "width": width})
        figure.add_trace(drawn.update(hovertemplate="%{y:.2f}", **more), row=row, col=1)

    line(1, own["mid"].to_numpy(), "midprice", INK)
    for maker in reversed(makers):
        quotes = episode.filter(pl.col("maker") == maker)
        mid = quotes["mid"].to_numpy()
        for _, quote, colour in SIDES:
            distance = 1e4 * (quotes[quote].to_numpy() - mid) / mid
            rival = maker != 0
            name = f"{maker_name(maker, makers)}’s {quote}" if rival else quote
            line(2, distance, name, OTHERS if rival else colour, 1.2 if rival else 1.5)
    for volume, sign, colour in (("bought", 1, BUY), ("sold", -1, SELL)):
        bars = go.Bar(x=time, y=sign * own[volume].to_numpy(), name=volume, width=0.9)
        bars.update(marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{y:.1f}")
        figure.add_trace(bars, row=3, col=1)
    line(4, own["inventory"].to_numpy(), "inventory", INK, fill="tozeroy", fillcolor=faded(GREY, 0.25))
    for part, colour in parts.items():
        line(5, gained[part], part, colour)
    line(5, np.sum(list(gained.values()), axis=0), "total", INK, 2.5)
    dressed(figure, 1000)
    figure.update_layout(barmode="relative")
    for row in range(2, 6):
        figure.update_yaxes(zeroline=True, row=row, col=1)
    figure.update_xaxes(title="step", row=5, col=1)
    return figure


def maker_name(maker: int, makers: Sequence[int]) -> str:
    """What a figure calls a maker."""
    if maker == 0:
        return "maker"
    return "competitor" if len(makers) == 2 else f"competitor {maker}"


def _epsilon_edges(trace: pl.DataFrame, marks: list[float], bins: int = 60) -> np.ndarray:
    """Bins over what is quoted by anyone and what is marked, with a margin."""
    values = np.concatenate([trace["epsilon_buy"].to_numpy(), trace["epsilon_sell"].to_numpy()])
    low = min([float(np.quantile(values, 0.001)), *marks])
    high = max([float(np.quantile(values, 0.999)), *marks])
    margin = max(0.08 * (high - low), 0.03)
    return np.linspace(low - margin, high + margin, bins + 1)


def _binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of y in each bin of x; not a number where a bin is empty."""
    y = y.astype(np.float64)
    count, first, second = (np.histogram(x, edges, weights=y**power)[0] for power in (0, 1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        return mean, np.sqrt(np.maximum(second / count - mean**2, 0.0))


def _level(figure: go.Figure, y: float, name: str, beside: np.ndarray) -> None:
    """A dashed line across the first panel, named at its left end, and room for what is drawn beside it."""
    low, high = min(y, float(beside.min())), max(y, float(beside.max()))
    room = max(high - low, 1e-3)
    figure.update_yaxes(range=[low - 0.08 * room, high + 0.2 * room], row=1, col=1)
    place = {"row": 1, "col": 1, "line": {"color": INK, "width": 1.5, "dash": "dash"}}
    note = {"text": name, "font": {"size": 12, "color": INK}}
    figure.add_hline(y, **place, annotation=note, annotation_position="top left")


def _upright(figure: go.Figure, x: float, row: int, line: dict, note: dict | None = None) -> None:
    """An upright line in a panel, with a note at its top."""
    place = {"row": row, "col": 1, "line": line}
    if note is None:
        figure.add_vline(x, **place)
    else:
        figure.add_vline(x, **place, annotation=note, annotation_position="top right")
