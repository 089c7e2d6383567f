"""Figure of a calibrated reference book: the fitted model over the data."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots
from scipy import special

from twosided.plots.style import BLUE, GREY, INK, dressed, key

if TYPE_CHECKING:
    from twosided.dealer.calibration import BookFit

BASIS_POINTS = 1e4
DATA, MODEL = GREY, BLUE


def figure_book_fit(
    fit: "BookFit", sizes: Float[ndarray, "sizes"], curves: Float[ndarray, "samples sizes"]
) -> go.Figure:
    """Plot the fitted model over the data, as in figure 7 of Ganesh et al. (2019).

    `curves` are S_ref(v) of simulated snapshots, as fractions of the mid, at the sizes v in units of trade.
    """
    gamma = f"gamma, shape {fit.estimates['best_volume_shape']:.2f}"
    titles = (
        key("best level’s volume", {"data": DATA, gamma: MODEL}),
        key("depth shape", {"data": DATA, "model ± std": MODEL}),
        key("S_ref(v)", {"simulated snapshots": MODEL}),
        key("quoted spread", {"data": DATA, "clipped normal": MODEL}),
    )
    figure = make_subplots(
        rows=2, cols=2, subplot_titles=titles, vertical_spacing=0.16, horizontal_spacing=0.1
    )
    _best_volume(figure, fit)
    _depth_shape(figure, fit)
    _spread_curves(figure, sizes, curves)
    _quoted_spread(figure, fit)
    return dressed(figure, 720)


def _best_volume(figure: go.Figure, fit: "BookFit") -> None:
    k = fit.estimates["best_volume_shape"]
    end = max(np.quantile(fit.best_volumes, 0.995), 1.5)
    density, edges = np.histogram(fit.best_volumes, bins=50, range=(0, end))
    share = density / (len(fit.best_volumes) * np.diff(edges))
    x = np.linspace(end / 400, end, 400)
    figure.add_trace(_bars(edges, share, "data", shown=True), row=1, col=1)
    # The gamma density of mean 1, computed from its logarithm so that large shapes do not overflow.
    pdf = k * np.exp(special.xlogy(k - 1, k * x) - k * x - special.gammaln(k))
    figure.add_trace(_line(x, pdf, f"gamma, shape {k:.2f}"), row=1, col=1)
    # The density is infinite at 0 for k < 1; it must not set the scale of the axis.
    figure.update_yaxes(range=[0, 1.15 * min(max(share.max(), pdf.max()), 3 * share.max())], row=1, col=1)
    figure.update_yaxes(title="density", row=1, col=1)
    figure.update_xaxes(title="V(0) / mean V(0)", row=1, col=1)


def _depth_shape(figure: go.Figure, fit: "BookFit") -> None:
    level = np.arange(fit.num_levels)
    for number, shape in enumerate(fit.sample_shapes):
        trace = go.Scatter(
            x=level,
            y=shape,
            mode="lines",
            line={"color": DATA, "width": 0.7},
            opacity=0.5,
            name="sample shapes",
            legendgroup="samples",
            showlegend=number == 0,
            hoverinfo="skip",
        )
        figure.add_trace(trace, row=1, col=2)
    mean = fit.mean_shape
    markers = go.Scatter(x=level, y=mean, mode="markers", marker={"color": INK}, name="mean of the data")
    low, high = fit.fitted_shape - fit.fitted_shape_std, fit.fitted_shape + fit.fitted_shape_std
    band = go.Scatter(
        x=np.concatenate([level, level[::-1]]),
        y=np.concatenate([high, np.maximum(low, fit.depth_floor)[::-1]]),
        fill="toself",
        line={"width": 0},
        fillcolor=MODEL,
        opacity=0.2,
        hoverinfo="skip",
        name="± one standard deviation",
    )
    figure.add_trace(band, row=1, col=2)
    figure.add_trace(_line(level, fit.fitted_shape, "1 + a n + b n²"), row=1, col=2)
    figure.add_trace(markers, row=1, col=2)
    top = 1.15 * max(float(np.quantile(fit.sample_shapes, 0.95)), float(high.max()))
    figure.update_yaxes(title="V(n) / V(0)", range=[0, top], row=1, col=2)
    figure.update_xaxes(title="level n", row=1, col=2)


def _spread_curves(figure: go.Figure, sizes: ndarray, curves: ndarray) -> None:
    for number, curve in enumerate(curves):
        trace = _line(sizes, BASIS_POINTS * curve, "simulated snapshots", width=0.8)
        trace.update(opacity=0.6, legendgroup="curves", showlegend=number == 0)
        figure.add_trace(trace, row=2, col=1)
    figure.update_yaxes(title="basis points of the mid", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title="v, units of trade", row=2, col=1)


def _quoted_spread(figure: go.Figure, fit: "BookFit") -> None:
    estimates = fit.estimates
    low, high = estimates["spread_min"], estimates["spread_max"]
    if high == low:
        high = low * (1 + 1e-6)
    counts, edges = np.histogram(fit.spreads, bins=40, range=(low, high))
    # The clipped normal has atoms at its bounds, in the first and the last bar.
    below = np.where(edges <= estimates["spread_mean"], 0.0, 1.0)
    if estimates["spread_std"] > 0:
        below = special.ndtr((edges - estimates["spread_mean"]) / estimates["spread_std"])
    below[0], below[-1] = 0, 1
    middle = (edges[:-1] + edges[1:]) / 2
    bars = _bars(BASIS_POINTS * edges, counts / counts.sum(), "data", shown=False)
    figure.add_trace(bars, row=2, col=2)
    steps = _line(BASIS_POINTS * middle, np.diff(below), "clipped normal")
    steps.update(line_shape="hvh")
    figure.add_trace(steps, row=2, col=2)
    figure.update_yaxes(title="share", row=2, col=2)
    figure.update_xaxes(title="s_0, basis points of the mid", row=2, col=2)


def _bars(edges: ndarray, heights: ndarray, name: str, shown: bool) -> go.Bar:
    middle = (edges[:-1] + edges[1:]) / 2
    return go.Bar(
        x=middle,
        y=heights,
        width=np.diff(edges),
        name=name,
        marker={"color": DATA, "line": {"width": 0}},
        showlegend=shown,
    )


def _line(x: ndarray, y: ndarray, name: str, width: float = 2.5) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="lines", name=name, line={"color": MODEL, "width": width})
