"""
Hedge client flow
=================

Compare hedgers by the cost of their hedges and the risk of their positions.
"""

import numpy as np
import polars as pl

import twosided as ts
from twosided.plots import figure_lines

# %%
# Clients trade with a dealer, who hedges on an exchange at a cost. ``FractionalHedger`` hedges a fraction of
# its position in every step.

scenario = ts.Scenario(ts.HedgingMarket(), (), horizon=256)
fractions = np.linspace(0.0, 1.0, 7)
makers = {f"{fraction}": ts.FractionalHedger(fraction=fraction) for fraction in fractions.tolist()}
records = ts.evaluate(scenario, makers, steps=50_000, as_frame=True)

# %%
# Mean PnL, the risk of inventory PnL, and the Sharpe ratio, by the fraction hedged. Bands are 95% confidence
# intervals.

panels = {
    "pnl_total": "PnL per step, currency",
    "inventory_pnl_std": "standard deviation of inventory PnL per step, currency",
    "sharpe": "Sharpe ratio of a step",
}
values = records.filter(pl.col("metric").is_in(list(panels))).pivot(
    "metric", index="case", values=["value", "error"]
)
values = values.rename(
    {f"value_{metric}": metric for metric in panels}
    | {f"error_{metric}": f"{metric}_error" for metric in panels}
)
values = values.with_columns(fraction=pl.col("case").cast(pl.Float64), maker=pl.lit("fractional hedger"))
figure_lines(values, "fraction", panels, "maker", x_title="fraction of the position hedged per step").show()

# %%
# The same episode of three makers.

shown = {"unhedged": ts.NoHedger(), "half": ts.FractionalHedger(fraction=0.5), "full": ts.FullHedger()}
traces = {name: ts.trace(scenario, maker, paths=1) for name, maker in shown.items()}
scenario.market.dashboard().side_by_side(traces).figure.show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/hedging_frontier.png'
