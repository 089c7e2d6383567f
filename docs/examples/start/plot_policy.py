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
# Train a maker of limit orders for a few seconds.

scenario = ts.Scenario(ts.LimitOrderMarket(), (), ts.InventoryPenalty(running=0.2))
learner = ts.PPO(total_timesteps=300_000, num_envs=32, gamma=0.98, gae_lambda=0.9, learning_rate=2e-3)
policies, _ = ts.train(scenario, learner, seed=0)
makers = {"learned": policies[0], "optimal": ts.optimum(scenario).policy}

# %%
# ``act`` takes the shock, the policy state and the observation of one maker. ``jax.vmap`` maps it over a grid
# of observations.

inventory = jnp.arange(-10.0, 11.0)
time_left = jnp.linspace(0.05, 1.0, 20)


@eqx.filter_jit
def quotes_of(policy):
    """Return the quotes on the grid, with axes (time, inventory)."""

    def act(time_left, inventory):
        observation = LimitOrderObservation(inventory, time_left)
        action, _ = policy.act(None, policy.init(), observation)
        return action

    return jax.vmap(jax.vmap(act, (None, 0)), (0, None))(time_left, inventory)


quotes = {name: quotes_of(policy) for name, policy in makers.items()}

# %%
# Offsets of the learned and of the optimal maker by inventory, in the middle of the session. If it is long, the
# optimal maker bids further from the midprice and asks closer to it. After so short a training the learned maker
# does so at small inventories only, where it is most of the time.

middle = len(time_left) // 2
frame = pl.concat(
    pl.DataFrame(
        {
            "inventory": inventory.tolist(),
            "bid": action.bid_offset[middle].tolist(),
            "ask": action.ask_offset[middle].tolist(),
        }
    ).with_columns(maker=pl.lit(name))
    for name, action in quotes.items()
).with_columns(pl.when(pl.col(side) < 4.0).then(pl.col(side)).alias(side) for side in ("bid", "ask"))
panels = {"bid": "offset of the bid, currency", "ask": "offset of the ask, currency"}
figure_lines(frame, "inventory", panels, "maker", x_title="inventory, units").show()

# %%
# Skew of the learned maker (offset of the bid less that of the ask) by inventory and time to the close.

skew = quotes["learned"].bid_offset - quotes["learned"].ask_offset
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
