"""
Measure adverse selection
=========================

Compute markouts in markets with and without informed investors, and split inventory PnL into adverse selection
and the rest.
"""

import polars as pl

import twosided as ts
from twosided.plots import figure_bars, figure_markouts

# %%
# In one market all twenty investors are uninformed. In the other, five of them know the midprice three steps
# ahead.

flows = {
    "uninformed": ts.UnitInvestors(count=20),
    "5 informed": ts.UnitInvestors(count=20, informed=5, foresight=3),
}
maker = {"maker": ts.PersistentQuoter(epsilon_buy=0.2, epsilon_sell=0.2)}
scenarios = {
    name: ts.Scenario(ts.DealerMarket(flow=flow), (ts.RandomQuoter(),), horizon=50)
    for name, flow in flows.items()
}

# %%
# A markout is the PnL of a unit traded with clients, k steps after the trade: the spread earned plus all
# revaluations since then. It is constant in k if clients are uninformed, and falls if they are informed.

frame = pl.concat(
    ts.markouts(scenario, maker, lags=10, steps=200_000).with_columns(case=pl.lit(name))
    for name, scenario in scenarios.items()
)
figure_markouts(frame.filter(pl.col("maker") == 0)).show()

# %%
# ``adverse_selection`` splits inventory PnL into the revaluation of the trades of the last ``window`` steps and
# that of older positions.

parts = {
    "pnl_spread": "spread",
    "pnl_adverse": "adverse selection",
    "pnl_residual": "older positions",
    "pnl_hedge": "hedging",
    "pnl_total": "total",
}
rows = pl.concat(
    ts.to_frame(ts.adverse_selection(scenario, maker, window=3, steps=200_000)).with_columns(
        case=pl.lit(name)
    )
    for name, scenario in scenarios.items()
).filter(pl.col("maker") == 0)
figure_bars(rows.pivot("metric", index="case", values="value"), "case", parts, error=False).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/markouts.png'
