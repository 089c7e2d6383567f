"""Figures of a run: how it learned, what it earns, how it quotes, and one of its episodes.

A trace is a table of steps with a row a maker: path, time, maker; mid, bid, ask in currency; inventory before the
step; epsilon_buy, epsilon_sell; bought, sold in units; pnl_{part} in currency. Maker 0 is the one that is judged.
PnL a step is drawn times 100, as the tables have it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from twosided.plots.style import BUY, GREY, INK, MUTED, OTHERS, PARTS, SELL, SERIES, dressed, faded
from twosided.records import Record

SCALE = 100.0
SIDES = (("buy", "bid", BUY), ("sell", "ask", SELL))
MIN_SAMPLES = 20
"""Fewer steps than these say nothing of a mean."""


def figure_learning(curves: pl.DataFrame, supremum: float | None = None) -> go.Figure:
    """PnL a step against steps of training, a line a seed, and the gap to the optimum on a logarithmic scale.

    Columns: seed, steps, score (currency a step) and, where an optimum is known, gap (percent).
    """
    known = "gap" in curves.columns and curves["gap"].is_not_null().any()
    titles = ["PnL a step × 100"] + ["gap to the optimum, percent, logarithmic"] * known
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.13
    )
    for i, ((seed,), curve) in enumerate(curves.sort("seed", "steps").group_by("seed", maintain_order=True)):
        look = {
            "mode": "lines+markers",
            "line": {"color": SERIES[i % len(SERIES)], "width": 2},
            "marker": {"size": 5},
            "name": f"seed {seed}",
            "legendgroup": f"seed {seed}",
            "x": curve["steps"].to_numpy(),
        }
        figure.add_trace(go.Scatter(y=SCALE * curve["score"].to_numpy(), **look), row=1, col=1)
        if known:
            # On a logarithmic scale there is no place for what sampling puts at or above the optimum.
            gap = curve["gap"].cast(pl.Float64).clip(lower_bound=0.1).to_numpy()
            figure.add_trace(go.Scatter(y=gap, showlegend=False, **look), row=2, col=1)
    figure.update_traces(hovertemplate="%{y:.2f}")
    dressed(figure, 300 + 200 * known)
    if supremum is not None:
        _level(figure, SCALE * supremum, f"best possible {SCALE * supremum:.1f}", row=1)
    if known:
        figure.update_yaxes(type="log", dtick="D2", row=2, col=1)
    figure.update_xaxes(title="market steps of training, a seed", tickformat="~s", row=len(titles), col=1)
    return figure


def figure_earnings(
    records: Iterable[Record], cases: Sequence[str], supremum: float | None = None
) -> go.Figure:
    """Own PnL a step by part, a bar a policy, with its total and 95% interval."""
    own = {(r.case, r.metric): r for r in records if r.maker == 0 and r.metric.startswith("pnl_")}
    cases = [case for case in cases if (case, "pnl_total") in own]
    figure = go.Figure()
    for part, colour in PARTS.items():
        values = [own.get((case, f"pnl_{part}")) for case in cases]
        heights = [SCALE * record.value if record else 0.0 for record in values]
        if part != "fees" or any(heights):
            bar = go.Bar(
                x=heights,
                y=cases,
                orientation="h",
                name=part,
                width=0.55,
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{x:.2f}",
            )
            figure.add_trace(bar)
    totals = [own[case, "pnl_total"] for case in cases]
    figure.add_trace(
        go.Scatter(
            x=[SCALE * record.value for record in totals],
            y=cases,
            error_x={
                "array": [1.96 * SCALE * (record.error or 0.0) for record in totals],
                "color": INK,
                "thickness": 1.5,
                "width": 5,
            },
            mode="markers",
            marker={"symbol": "diamond", "size": 9, "color": INK, "line": {"color": "#ffffff", "width": 1}},
            name="total, with its 95% interval",
            hovertemplate="%{x:.2f}",
        )
    )
    dressed(figure, 110 + 38 * len(cases))
    figure.update_layout(barmode="relative", hovermode="y unified")
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"color": INK, "size": 12.5})
    figure.update_xaxes(title="PnL a step × 100", zeroline=True)
    if supremum is not None:
        figure.add_vline(SCALE * supremum, line={"color": INK, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=SCALE * supremum,
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor="right",
            text=f"best possible {SCALE * supremum:.1f}",
            showarrow=False,
            font={"size": 12},
        )
    return figure


def figure_epsilon(
    trace: pl.DataFrame, optimal_buy: float | None = None, optimal_sell: float | None = None
) -> go.Figure:
    """How often each epsilon is quoted, a panel a side, against the competitors' and the optimal one."""
    best = {"buy": optimal_buy, "sell": optimal_sell}
    edges = _epsilon_edges(trace, [value for value in best.values() if value is not None])
    middle, width = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    titles = ["ε on the bid, percent of steps", "ε on the ask, percent of steps"]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.12)
    makers = sorted(trace["maker"].unique())
    for row, (side, quote, colour) in enumerate(SIDES, start=1):
        for maker in reversed(makers):
            values = trace.filter(pl.col("maker") == maker)[f"epsilon_{side}"].to_numpy()
            share = 100 * np.histogram(values, edges)[0] / max(len(values), 1)
            name = maker_name(maker, makers)
            if maker == 0:
                bars = go.Bar(x=middle, y=share, width=width, name=f"{name}, {quote}")
                bars.update(marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{y:.1f}%")
                figure.add_trace(bars, row=row, col=1)
            elif np.ptp(values) < 1e-6:
                _mark(figure, float(values[0]), name, row, OTHERS, "dot")
            else:
                line = go.Scatter(x=middle, y=share, name=name, mode="lines", legendgroup=name)
                line.update(line={"color": OTHERS, "width": 2, "shape": "hvh"}, showlegend=row == 1)
                line.update(hovertemplate="%{y:.1f}%")
                figure.add_trace(line, row=row, col=1)
        if best[side] is not None:
            _mark(figure, best[side], "optimal", row, INK, "dash")
    dressed(figure, 460)
    figure.update_xaxes(range=[edges[0], edges[-1]])
    figure.update_xaxes(title="ε: the spread quoted, against the exchange's", row=2, col=1)
    figure.update_yaxes(rangemode="tozero")
    return figure


def figure_skew(
    trace: pl.DataFrame, optimal_buy: float | None = None, optimal_sell: float | None = None
) -> go.Figure:
    """Mean epsilon a side, ± a standard deviation, by the inventory that it was quoted at; and the time spent there."""
    own = trace.filter(pl.col("maker") == 0)
    inventory = own["inventory"].to_numpy()
    low, high = np.quantile(inventory, [0.005, 0.995])
    edges = np.linspace(low - 0.5, high + 0.5, 26 if high - low > 4 else 2)
    counts, _ = np.histogram(inventory, edges)
    enough = counts >= min(MIN_SAMPLES, counts.max())
    middle = (edges[:-1] + edges[1:]) / 2
    titles = ["mean ε by inventory", "percent of steps at that inventory"]
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        row_heights=[0.72, 0.28],
        subplot_titles=titles,
        vertical_spacing=0.12,
    )
    for side, quote, colour in SIDES:
        mean, deviation = _binned(inventory, own[f"epsilon_{side}"].to_numpy(), edges)
        x, mean, deviation = middle[enough], mean[enough], deviation[enough]
        band = go.Scatter(x=np.concatenate([x, x[::-1]]), fill="toself", fillcolor=faded(colour, 0.16))
        band.update(y=np.concatenate([mean + deviation, (mean - deviation)[::-1]]), line={"width": 0})
        band.update(hoverinfo="skip", showlegend=False, mode="lines")
        figure.add_trace(band, row=1, col=1)
        line = go.Scatter(x=x, y=mean, name=f"ε on the {quote}", mode="lines+markers")
        line.update(line={"color": colour, "width": 2.5}, marker={"size": 5}, hovertemplate="%{y:.3f}")
        figure.add_trace(line, row=1, col=1)
    time = go.Bar(x=middle, y=100 * counts / max(counts.sum(), 1), width=np.diff(edges))
    time.update(marker={"color": GREY, "line": {"width": 0}}, showlegend=False, hovertemplate="%{y:.1f}%")
    figure.add_trace(time, row=2, col=1)
    dressed(figure, 460)
    best = sorted({value for value in (optimal_buy, optimal_sell) if value is not None})
    for value in best:
        _level(figure, value, "optimal", row=1)
    figure.update_xaxes(title="inventory before the step, units", row=2, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    return figure


def figure_episode(trace: pl.DataFrame, path: int = 0) -> go.Figure:
    """One episode, panel by panel: midprice, quotes, trades, inventory, PnL by part."""
    episode = trace.filter(pl.col("path") == path).sort("time")
    makers = sorted(episode["maker"].unique())
    own = episode.filter(pl.col("maker") == 0)
    time = own["time"].to_numpy()
    titles = [
        "midprice, currency",
        "quotes: distance from the midprice, basis points",
        "trades with clients, units a step",
        "inventory, units",
        "PnL so far, currency",
    ]
    figure = make_subplots(
        rows=5,
        cols=1,
        shared_xaxes=True,
        subplot_titles=titles,
        vertical_spacing=0.05,
        row_heights=[0.17, 0.22, 0.17, 0.17, 0.27],
    )

    def line(row: int, y: np.ndarray, name: str, colour: str, **look) -> None:
        look = {"showlegend": True, "hovertemplate": "%{y:.2f}"} | look
        stroke = {"color": colour, "width": look.pop("width", 1.8), "dash": look.pop("dash", "solid")}
        stroke["shape"] = look.pop("shape", "linear")
        figure.add_trace(
            go.Scatter(x=time, y=y, name=name, mode="lines", line=stroke, **look), row=row, col=1
        )

    line(1, own["mid"].to_numpy(), "midprice", INK, showlegend=False)
    for maker in reversed(makers):
        quotes, name = episode.filter(pl.col("maker") == maker), maker_name(maker, makers)
        mid = quotes["mid"].to_numpy()
        for _, quote, colour in SIDES:
            distance = 1e4 * (quotes[quote].to_numpy() - mid) / mid
            if maker == 0:
                line(2, distance, quote, colour, width=1.5)
            else:
                line(2, distance, name, OTHERS, width=1.2, dash="dot", legendgroup=name, showlegend=quote == "ask")
    for volume, sign, name, colour in (("bought", 1, "bought", BUY), ("sold", -1, "sold", SELL)):
        bars = go.Bar(x=time, y=sign * own[volume].to_numpy(), name=name, width=0.9)
        bars.update(marker={"color": colour, "line": {"width": 0}}, hovertemplate="%{y:.1f}")
        figure.add_trace(bars, row=3, col=1)
    line(4, own["inventory"].to_numpy(), "inventory", INK, showlegend=False, fill="tozeroy", shape="hv")
    figure.data[-1].update(fillcolor=faded(GREY, 0.25))
    total = np.zeros(len(time))
    for part, colour in PARTS.items():
        gained = own[f"pnl_{part}"].to_numpy().cumsum()
        total = total + gained
        if part != "fees" or gained.any():
            line(5, gained, part, colour, legend="legend2")
    line(5, total, "total", INK, width=2.5, legend="legend2")
    dressed(figure, 1000)
    figure.update_layout(barmode="relative")
    for row in range(2, 6):
        figure.update_yaxes(zeroline=True, row=row, col=1)
    figure.update_xaxes(title="step", row=5, col=1)
    return figure


def maker_name(maker: int, makers: Sequence[int]) -> str:
    """What a figure calls a maker."""
    if maker == 0:
        return "this maker"
    return "competitor" if len(makers) == 2 else f"competitor {maker}"


def _epsilon_edges(trace: pl.DataFrame, marks: list[float], bins: int = 60) -> np.ndarray:
    """Bins over what is quoted by anyone and what is marked, with a margin; all of [-1, 1] at most."""
    values = np.concatenate([trace["epsilon_buy"].to_numpy(), trace["epsilon_sell"].to_numpy()])
    low = min([float(np.quantile(values, 0.001)), *marks])
    high = max([float(np.quantile(values, 0.999)), *marks])
    margin = max(0.1 * (high - low), 0.05)
    return np.linspace(max(low - margin, -1.0), min(high + margin, 1.0), bins + 1)


def _binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of y in each bin of x; not a number where a bin is empty."""
    count, first, second = (np.histogram(x, edges, weights=y**power)[0] for power in (0, 1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        return mean, np.sqrt(np.maximum(second / count - mean**2, 0.0))


def _level(figure: go.Figure, y: float, name: str, row: int) -> None:
    """A dashed line across a panel, named at its right end."""
    note = {"text": name, "position": "top right", "font": {"size": 12, "color": INK}}
    figure.add_hline(
        y,
        row=row,  # type: ignore[arg-type]
        col=1,  # type: ignore[arg-type]
        line={"color": INK, "width": 1.5, "dash": "dash"},
        annotation={"text": name, "font": note["font"], "xanchor": "right", "yanchor": "bottom"},
        annotation_position="top right",
    )


def _mark(figure: go.Figure, x: float, name: str, row: int, colour: str, dash: str) -> None:
    """An upright line in a panel, named at its top."""
    figure.add_vline(
        x,
        row=row,  # type: ignore[arg-type]
        col=1,  # type: ignore[arg-type]
        line={"color": colour, "width": 1.5, "dash": dash},
        annotation={"text": name, "font": {"size": 12, "color": colour if colour == INK else MUTED}},
        annotation_position="top left" if colour == INK else "top right",
    )
