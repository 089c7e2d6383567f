"""Figures of a Heston calibration: convergence of the chains, posterior, filtered volatility, predictive checks."""

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
import polars as pl
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots
from scipy import stats

from twosided.plots.style import BLUE, GREY, INK, SERIES, VERMILLION, band, dressed, faded, key, stack

if TYPE_CHECKING:
    from twosided.heston.fit import HestonFit

SYMBOLS = {
    "kappa": "κ (per year)",
    "theta": "θ (per year)",
    "sigma": "σ (per year)",
    "rho": "ρ",
    "v0": "v₀ (per year)",
    "mu": "μ (per year)",
}
"""Label of each parameter."""
POSTERIOR, PRIOR, DATA = BLUE, GREY, VERMILLION
"""Colours of posterior, prior and data."""
RANK_BINS = 10
"""Bins of a rank histogram."""
MAX_POINTS = 500
"""Maximum number of draws in a pair plot, and of times in a volatility path."""


def figure_traces(draws: Mapping[str, Float[ndarray, "chains draws"]]) -> go.Figure:
    """Trace plot: the draws of each parameter in order, one line per chain."""
    figure = stack([SYMBOLS[name] for name in draws], [1.0] * len(draws))
    for row, values in enumerate(draws.values(), start=1):
        for number, chain in enumerate(values):
            figure.add_trace(
                _line(np.arange(len(chain)), chain, SERIES[number % len(SERIES)], 0.8), row=row, col=1
            )
    figure.update_xaxes(title="draw", row=len(draws), col=1)
    figure.update_layout(showlegend=False)
    return dressed(figure, 60 + 130 * len(draws))


def figure_ranks(draws: Mapping[str, Float[ndarray, "chains draws"]]) -> go.Figure:
    """Rank plot: histogram of the ranks of each chain's draws among those of all chains; flat if the chains agree."""
    figure = stack([SYMBOLS[name] for name in draws], [1.0] * len(draws))
    for row, values in enumerate(draws.values(), start=1):
        ranks = stats.rankdata(values).reshape(values.shape) / values.size
        for number, chain in enumerate(ranks):
            counts, edges = np.histogram(chain, bins=RANK_BINS, range=(0, 1))
            line = _line(
                (edges[:-1] + edges[1:]) / 2,
                counts * RANK_BINS / len(chain),
                SERIES[number % len(SERIES)],
                1.5,
            )
            figure.add_trace(line.update(line_shape="hvh"), row=row, col=1)
        figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dash"}, row=row, col=1)  # pyright: ignore[reportArgumentType]
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(
        title="rank among the draws of all chains, divided by their number", row=len(draws), col=1
    )
    figure.update_layout(showlegend=False)
    return dressed(figure, 60 + 130 * len(draws))


def figure_theta(theta: Float[ndarray, "chains draws"]) -> go.Figure:
    """Trace of θ in one chain, and of the mean of all chains at each draw."""
    figure = stack(["θ in one chain", f"θ, mean of {len(theta)} chains"], [1.0, 1.0])
    for row, values in enumerate((theta[0], theta.mean(0)), start=1):
        figure.add_trace(_line(np.arange(len(values)), values, POSTERIOR, 1.0), row=row, col=1)
    low, high = float(theta[0].min()), float(theta[0].max())
    figure.update_yaxes(range=[low - 0.05 * (high - low), high + 0.05 * (high - low)])
    figure.update_xaxes(title="draw", row=2, col=1)
    figure.update_layout(showlegend=False)
    return dressed(figure, 420)


def figure_marginals(
    draws: Mapping[str, Float[ndarray, "chains draws"]],
    prior: Mapping[str, Float[ndarray, "n"]],
    truth: Mapping[str, float] | None = None,
) -> go.Figure:
    """Posterior density of each parameter over its prior density, with the true value if it is known.

    Where the two are equal, the data carry no information about the parameter.
    """
    colours = {"posterior": POSTERIOR, "prior": PRIOR} | ({"truth": DATA} if truth else {})
    figure = _panels([key(SYMBOLS[name], colours if not i else {}) for i, name in enumerate(draws)])
    for i, (name, values) in enumerate(draws.items()):
        row, col = i // 2 + 1, i % 2 + 1
        low, high = np.quantile(values, [0.001, 0.999])
        reach = high - low
        edges = np.linspace(low - 0.2 * reach, high + 0.2 * reach, 50)
        for samples, colour in ((prior[name], PRIOR), (values.ravel(), POSTERIOR)):
            counts, _ = np.histogram(samples, edges)
            density = counts / (len(samples) * np.diff(edges))
            bars = go.Bar(x=(edges[:-1] + edges[1:]) / 2, y=density, width=np.diff(edges), hoverinfo="skip")
            bars.update(marker={"color": faded(colour, 0.55), "line": {"width": 0}})
            figure.add_trace(bars, row=row, col=col)
        if truth and name in truth:
            figure.add_vline(x=truth[name], line={"color": DATA, "width": 2}, row=row, col=col)  # pyright: ignore[reportArgumentType]
    figure.update_layout(barmode="overlay", showlegend=False)
    figure.update_yaxes(showticklabels=False)
    return dressed(figure, 60 + 190 * ceil(len(draws) / 2))


def figure_pairs(draws: Mapping[str, Float[ndarray, "chains draws"]]) -> go.Figure:
    """Scatter plots of the draws of each pair of parameters."""
    names = list(draws)
    total = next(iter(draws.values())).size
    shown = slice(None, None, max(1, total // MAX_POINTS))
    figure = make_subplots(
        rows=len(names) - 1, cols=len(names) - 1, shared_xaxes=True, shared_yaxes=True,
        horizontal_spacing=0.02, vertical_spacing=0.02,
    )  # fmt: skip
    for row, y_name in enumerate(names[1:], start=1):
        for col, x_name in enumerate(names[:row], start=1):
            dots = go.Scatter(x=draws[x_name].ravel()[shown], y=draws[y_name].ravel()[shown], mode="markers")
            dots.update(marker={"size": 3, "color": faded(POSTERIOR, 0.4)}, hoverinfo="skip")
            figure.add_trace(dots, row=row, col=col)
            if col == 1:
                figure.update_yaxes(title=SYMBOLS[y_name].split(" ")[0], row=row, col=col)
            if row == len(names) - 1:
                figure.update_xaxes(title=SYMBOLS[x_name].split(" ")[0], row=row, col=col)
    figure.update_layout(showlegend=False)
    return dressed(figure, 60 + 130 * (len(names) - 1))


def figure_predictive(
    simulated: Mapping[str, Float[ndarray, "n"]], observed: Mapping[str, float], titles: Mapping[str, str]
) -> go.Figure:
    """Histograms of statistics of data sets simulated from the posterior, with the observed values."""
    colours = {"simulated": POSTERIOR, "data": DATA}
    figure = _panels([key(titles[name], colours if not i else {}) for i, name in enumerate(simulated)])
    for i, (name, values) in enumerate(simulated.items()):
        row, col = i // 2 + 1, i % 2 + 1
        ordered = np.sort(values[np.isfinite(values)])
        # The top percent of a heavy-tailed statistic would compress the rest of its histogram.
        bars = go.Histogram(
            x=ordered[: ceil(0.99 * len(ordered))], nbinsx=30, marker={"color": faded(POSTERIOR, 0.55)}
        )
        figure.add_trace(bars.update(hoverinfo="skip"), row=row, col=col)
        figure.add_vline(x=observed[name], line={"color": DATA, "width": 2}, row=row, col=col)  # pyright: ignore[reportArgumentType]
    figure.update_layout(showlegend=False)
    figure.update_yaxes(showticklabels=False)
    return dressed(figure, 60 + 190 * ceil(len(simulated) / 2))


def figure_volatility(fit: "HestonFit", realized: Float[ndarray, "blocks"]) -> go.Figure:
    """Filtered volatility with its 90% interval, and the volatility from the realized variance around each block."""
    shown = np.unique(np.linspace(0, len(fit.variance) - 1, MAX_POINTS).astype(int))
    mean, low, high = 100 * np.sqrt(fit.variance[shown].T)
    time = (fit.sample.time[shown] * 1000).astype("datetime64[ms]")
    colours = {"filtered, with 90% interval": POSTERIOR, "realized": PRIOR}
    figure = stack([key("volatility (% per year)", colours)], [1.0])
    figure.add_trace(band(time, low, high, POSTERIOR))
    figure.add_trace(_line(time, 100 * np.sqrt(realized[shown]), PRIOR, 1.0))
    figure.add_trace(_line(time, mean, POSTERIOR, 1.8))
    figure.update_layout(showlegend=False)
    return dressed(figure, 320)


def figure_refits(refits: pl.DataFrame) -> go.Figure:
    """Posterior median and 90% interval of each parameter at the end of each window; rejected fits are marked."""
    names = [name for name in SYMBOLS if name in refits.columns]
    time = (refits["time"].to_numpy() * 1000).astype("datetime64[ms]")
    rejected = refits["rejected"].to_numpy()
    colours = {"median, with 90% interval": POSTERIOR} | ({"rejected": DATA} if rejected.any() else {})
    figure = stack(
        [key(SYMBOLS[name], colours if not i else {}) for i, name in enumerate(names)], [1.0] * len(names)
    )
    for row, name in enumerate(names, start=1):
        median, low, high = (refits[column].to_numpy() for column in (name, f"{name}_low", f"{name}_high"))
        figure.add_trace(band(time, low, high, POSTERIOR), row=row, col=1)
        # Markers make a single window visible.
        line = _line(time, median, POSTERIOR, 1.8).update(mode="lines+markers", marker={"size": 4})
        figure.add_trace(line, row=row, col=1)
        if rejected.any():
            marks = go.Scatter(x=time[rejected], y=median[rejected], mode="markers", hoverinfo="skip")
            marks.update(marker={"size": 9, "color": DATA, "symbol": "x"})
            figure.add_trace(marks, row=row, col=1)
    figure.update_layout(showlegend=False)
    return dressed(figure, 60 + 130 * len(names))


def _panels(titles: list[str]) -> go.Figure:
    rows = ceil(len(titles) / 2)
    return make_subplots(
        rows=rows, cols=2, subplot_titles=titles, vertical_spacing=0.3 / rows, horizontal_spacing=0.08
    )


def _line(x: ndarray, y: ndarray, colour: str, width: float) -> go.Scatter:
    line = go.Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": width})
    return line.update(hovertemplate="%{y:.4~g}<extra></extra>")
