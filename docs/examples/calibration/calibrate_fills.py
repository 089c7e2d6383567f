"""
Calibrate fill probabilities
============================

Fit a model of fill probabilities by distance from the midprice to bars, and derive closed-form quotes from it.
"""

import numpy as np
import polars as pl

import twosided as ts
from twosided.limit_orders.market import LimitOrderObservation
from twosided.plots import figure_lines

# %%
# Simulate bars of a Brownian midprice with ten observations per bar.

bars, _ = ts.simulate_bars(ts.Bachelier(volatility=1.0, time_step=1e-3), 5_000, substeps=10)

# %%
# In the model an order at a distance δ, a fraction of the last close, fills in a bar with probability
# 1 - exp(-A exp(-k δ)). ``fit_fills`` estimates A and k by maximum likelihood, with standard errors for
# independent bars and, because volatility clusters in real data, for independent blocks of bars.

fit = ts.fit_fills(bars)
print(f"A = {fit.intensity:.3f} ± {fit.robust_errors['intensity']:.3f} per bar")
print(f"k = {fit.decay:,.0f} ± {fit.robust_errors['decay']:,.0f} per fraction of the price")
print(f"χ² test of the model: p = {fit.p_value:.2g}")

# %%
# Observed and fitted shares of filled orders. The model does not describe a Brownian price exactly: distant orders
# fill less often than in the model.

basis_points = 1e4 * np.asarray(fit.offsets)
frame = pl.concat(
    pl.DataFrame({"offset": basis_points, "share": share}).with_columns(source=pl.lit(source))
    for source, share in (("observed", fit.observed), ("fitted", fit.fitted))
)
figure_lines(
    frame, "offset", {"share": "share of orders filled"}, "source", x_title="offset, basis points"
).show()

# %%
# Quotes of Guéant, Lehalle and Fernandez-Tapia (2013) for these parameters. A maker with a higher risk aversion
# skews its quotes more.

inventory = np.arange(-5, 6, dtype=np.float32)
quotes = []
for risk_aversion in (50.0, 500.0):
    maker = fit.gueant_lehalle_fernandez_tapia(risk_aversion)
    action, _ = maker.act(None, None, LimitOrderObservation(inventory, None))
    for side, offset in (("bid", action.bid_offset), ("ask", action.ask_offset)):
        name = f"{side}, γ = {risk_aversion:g}"
        quotes.append(
            pl.DataFrame({"inventory": inventory, "offset": 1e4 * np.asarray(offset)}).with_columns(
                quote=pl.lit(name)
            )
        )
figure_lines(
    pl.concat(quotes), "inventory", {"offset": "offset, basis points"}, "quote", x_title="inventory, units"
).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/calibrate_fills.png'
