"""
Optimal quotes of limit orders
==============================

Compare the exact optimum of the limit-order market with the closed-form quotes of Avellaneda and Stoikov
(2008) and of Guéant, Lehalle and Fernandez-Tapia (2013).
"""

import numpy as np
import polars as pl

import twosided as ts
from twosided.limit_orders.exact import limit_order_optimum, limit_order_value
from twosided.plots import figure_bars, figure_lines

# %%
# An order at distance δ from the midprice fills in a step with probability 1 - exp(-A exp(-k δ) Δ). The
# reward charges φ q² per unit of time for the inventory q.

scenario = ts.Scenario(ts.LimitOrderMarket(), (), ts.InventoryPenalty(running=0.2))
optimum = limit_order_optimum(scenario)
print(f"optimum: {optimum.total:.3f} per session")

# %%
# Optimal offsets at three times. A long maker bids further from the midprice and asks closer to it. The skew
# vanishes towards the close, when inventory is held for a short time only.

steps = {"opening": 0, "20 steps before the close": 180, "last step": 199}
curves = pl.concat(
    pl.DataFrame(
        {"inventory": optimum.inventory, "bid": optimum.bid[step], "ask": optimum.ask[step]}
    ).with_columns(time=pl.lit(name))
    for name, step in steps.items()
)
curves = curves.with_columns(
    # An offset of max_offset is no order.
    pl.when(pl.col(side) < 4.0).then(pl.col(side)).alias(side)
    for side in ("bid", "ask")
)
panels = {"bid": "offset of the bid, currency", "ask": "offset of the ask, currency"}
figure_lines(curves, "inventory", panels, "time", x_title="inventory, units").show()

# %%
# The values of other makers in the same market are computed exactly too, without sampling.

makers = {
    "Guéant, Lehalle, Fernandez-Tapia": ts.GueantLehalleFernandezTapia(),
    "Avellaneda, Stoikov": ts.AvellanedaStoikov(),
    "δ = 0.7 on both sides": ts.FixedOffset(0.7, 0.7),
}
values = {"optimum": optimum.total} | {
    name: limit_order_value(scenario, maker).total for name, maker in makers.items()
}
frame = pl.DataFrame({"maker": list(values), "value": list(values.values())})
figure_bars(frame, "maker", {"value": "reward per session, currency"}).show()

# %%
# ``optimum.policy`` is the optimal policy. Its simulated value agrees with the exact one.

records = ts.evaluate(scenario, {"optimum": optimum.policy}, steps=200_000)
reward = next(record for record in records if record.metric == "reward")
session = 200 * np.array([reward.value, reward.error])
print(f"simulated: {session[0]:.2f} ± {session[1]:.2f} per session, exact: {optimum.total:.2f}")

# sphinx_gallery_thumbnail_path = '_static/thumbnails/exact_limit_orders.png'
