"""
Compare market makers
=====================

Evaluate several policies in one scenario on common random numbers, and draw an episode of one of them.
"""

import polars as pl

import twosided as ts
from twosided.plots import figure_earnings, figure_episode

# %%
# The competitor draws its quotes at random. Three of the policies quote constant spreads, and one adapts its
# quotes to the volume that they win.

scenario = ts.Scenario(ts.DealerMarket(), competitors=(ts.RandomQuoter(),))
makers = {
    "tight": ts.PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=-0.5),
    "wide": ts.PersistentQuoter(epsilon_buy=0.5, epsilon_sell=0.5),
    "skewed": ts.PersistentQuoter(epsilon_buy=0.3, epsilon_sell=-0.3),
    "adaptive": ts.AdaptiveQuoter(),
}
optimum = ts.optimum(scenario)
records = ts.evaluate(scenario, makers, steps=400_000, optimum=optimum)

# %%
# Orders, prices and books are the same for every policy, so differences between policies have smaller errors
# than the values themselves.

metrics = ["pnl_total", "optimality_gap", "market_share", "inventory_std", "sharpe"]
frame = ts.to_frame(records).filter(pl.col("maker") == 0, pl.col("metric").is_in(metrics))
frame.pivot("metric", index="case", values="value")

# %%
# PnL by source: spread, inventory and hedges.

figure_earnings(records, list(makers), optimum=optimum.value).show()

# %%
# One episode of the adaptive maker.

figure_episode(ts.trace(scenario, makers["adaptive"], paths=1)).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/compare_makers.png'
