"""
Plot a policy
=============

A policy is a function of the observation. Evaluate it on a grid and draw it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import plotly.graph_objects as go
import polars as pl

import twosided as ts
from twosided.limit_orders.market import LimitOrderObservation
from twosided.plots import figure_lines

# %%
# Train a maker of limit orders for a short while.

scenario = ts.Scenario(ts.LimitOrderMarket(), (), ts.InventoryPenalty(running=0.2))
policies, _ = ts.train(scenario, ts.PPO(steps=200_000, discount=0.99), seed=0)
policy = policies[0]

# %%
# ``act`` takes the shock, the policy state and the observation of one maker. ``jax.vmap`` maps it over a
# grid.

inventory = jnp.arange(-10.0, 11.0)
time_left = jnp.linspace(0.05, 1.0, 20)


def act(time_left, inventory):
    observation = LimitOrderObservation(inventory, time_left)
    action, _ = policy.act(None, policy.init(), observation)
    return action


quotes = eqx.filter_jit(jax.vmap(jax.vmap(act, (None, 0)), (0, None)))(time_left, inventory)

# %%
# Offsets of bid and ask by inventory, in the middle of the session.

middle = len(time_left) // 2
frame = pl.DataFrame(
    {
        "inventory": inventory.tolist(),
        "bid": quotes.bid_offset[middle].tolist(),
        "ask": quotes.ask_offset[middle].tolist(),
    }
).unpivot(["bid", "ask"], index="inventory", variable_name="side", value_name="offset")
figure_lines(
    frame, "inventory", {"offset": "offset from the midprice, currency"}, "side", x_title="inventory, units"
).show()

# %%
# The skew, offset of the bid less that of the ask, by inventory and time to the close.

skew = quotes.bid_offset - quotes.ask_offset
heatmap = go.Heatmap(
    x=inventory.tolist(),
    y=time_left.tolist(),
    z=skew.tolist(),
    colorscale="RdBu",
    zmid=0,
    colorbar={"title": "skew"},
)
figure = go.Figure(heatmap)
figure.update_layout(height=380, xaxis_title="inventory, units", yaxis_title="time to the close")
figure.show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/plot_policy.png'
