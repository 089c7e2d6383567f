"""
Measure adverse selection
=========================

Compute markouts of trades with informed and uninformed investors, and split inventory PnL into adverse
selection and the rest.
"""

import polars as pl

import twosided as ts
from twosided.plots import figure_bars, figure_markouts

# %%
# Five of twenty investors know the midprice three steps ahead. Tiers keep the two kinds apart.

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
# A markout is what a unit traded with clients has earned k steps later: its spread and every revaluation
# since. It is constant where clients know nothing about the price, and falls where they do.

frame = pl.concat(
    ts.markouts(scenario, maker, lags=10, steps=200_000).with_columns(case=pl.lit(name))
    for name, scenario in scenarios.items()
)
figure_markouts(frame.filter(pl.col("maker") == 0)).show()

# %%
# ``adverse_selection`` splits inventory PnL into the revaluation of the trades of the last ``window`` steps,
# and of older positions.

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
