"""
Write your own policy
=====================

A policy is a class with an ``act`` method. Write a maker that skews its quotes by its inventory, and evaluate it
for several skews.
"""

import jax.numpy as jnp
import polars as pl

import twosided as ts
from twosided.dealer.plots import figure_skew
from twosided.plots import figure_lines

# %%
# The class is a frozen dataclass (an Equinox module). Fields of type ``float`` are its parameters, which JAX can map
# and differentiate. A policy without randomness and state needs ``act`` only.


class SkewedQuoter(ts.StatelessPolicy):
    """Quotes with a skew that is linear in the inventory."""

    epsilon: float = 0.0
    """Half-spread over the exchange's, less one, without inventory."""
    skew: float = 0.01
    """Change of ε per unit of inventory: a long maker buys wider and sells tighter."""

    def act(self, shock, state, observation):
        change = self.skew * observation.inventory
        action = ts.DealerAction(
            epsilon_buy=jnp.clip(self.epsilon + change, -1, 1),
            epsilon_sell=jnp.clip(self.epsilon - change, -1, 1),
            hedge_fraction=jnp.zeros_like(change),
        )
        return action, state


# %%
# Evaluate it for several skews. It is used like the policies of the package.

scenario = ts.Scenario(ts.DealerMarket(), competitors=(ts.RandomQuoter(),))
skews = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05]
makers = {f"{skew}": SkewedQuoter(skew=skew) for skew in skews}
records = ts.evaluate(scenario, makers, steps=200_000, as_frame=True).filter(pl.col("maker") == 0)

rows = (
    records.filter(pl.col("metric").is_in(["pnl_spread", "inventory_std"]))
    .pivot("metric", index="case", values="value")
    .with_columns(skew=pl.col("case").cast(pl.Float64), maker=pl.lit("SkewedQuoter"))
)
panels = {
    "pnl_spread": "spread PnL per step, currency",
    "inventory_std": "standard deviation of inventory, units",
}
figure_lines(rows, "skew", panels, "maker", x_title="skew per unit of inventory").show()

# %%
# A small skew costs little spread PnL and removes most of the inventory risk. Quotes by inventory:

figure_skew(ts.trace(scenario, SkewedQuoter(skew=0.01))).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/own_policy.png'
