"""
Exact optimum of the dealer market
==================================

Compute the best response to a competitor in closed form, and the optimal skew under a penalty on inventory risk by
dynamic programming.
"""

import numpy as np
import polars as pl

import twosided as ts
from twosided.dealer.distributions import PointMass, Uniform
from twosided.dealer.exact.best_response import best_response, objective_value
from twosided.dealer.exact.dynamic_programming import penalized_optimum
from twosided.plots import figure_lines

# %%
# On one side, a maker that quotes ε earns h(ε) = (1 + ε) P[it wins], in units of the value of the side's orders at
# ε = 0 (Theorem 1 of Ganesh et al. 2019). Against a competitor that draws its ε from Unif[-1, 1] the best quote
# is 0.

competitors = {
    "Unif[-1, 1]": Uniform(-1.0, 1.0),
    "Unif[-0.5, 0.5]": Uniform(-0.5, 0.5),
    "constant 0": PointMass(0.0),
}
epsilon = np.linspace(-1, 1, 401)
curves = pl.concat(
    pl.DataFrame({"epsilon": epsilon, "payoff": objective_value(epsilon, distribution)}).with_columns(
        competitor=pl.lit(name)
    )
    for name, distribution in competitors.items()
)
figure_lines(
    curves, "epsilon", {"payoff": "payoff h(ε), by competitor"}, "competitor", x_title="ε of the maker"
).show()

# %%
# Against a competitor that quotes a constant, the supremum is a limit: a maker wins all orders by undercutting by
# any amount, so no ε is best.

for name, distribution in competitors.items():
    best = best_response(distribution)
    attained = "attained" if best.attained else "not attained"
    print(f"{name}: supremum {best.supremum:.4f}, {attained}")

# %%
# With a penalty on the square of inventory PnL the best quotes depend on the inventory. ``penalized_optimum``
# solves a dynamic program and returns the error of its value by cause.

competitor = ts.PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0, hedge=0.2)
scenario = ts.Scenario(ts.DealerMarket(), (competitor,), ts.SquarePenalty(weight=0.07))
found = penalized_optimum(scenario, max_inventory=60, refinement=2, points=16)
print(f"{found.value:.4f} within {found.errors.bound:.4f}, standard error {found.errors.book:.4f}")

# %%
# The longer the maker is, the fewer orders to sell, and the more orders to buy, it should win.

curve = pl.DataFrame(
    {
        "inventory": found.curve.inventory,
        "orders to sell": found.curve.win_buy,
        "orders to buy": found.curve.win_sell,
    }
).filter(pl.col("inventory").is_between(-25, 25))
wins = curve.unpivot(index="inventory", variable_name="orders", value_name="share")
figure_lines(
    wins, "inventory", {"share": "probability of winning"}, "orders", x_title="inventory, units"
).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/exact_dealer_optimum.png'
