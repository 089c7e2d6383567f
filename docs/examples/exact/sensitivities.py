"""
Vary and differentiate parameters
=================================

The numbers of a scenario are leaves of a pytree. One compiled program serves all their values, ``jax.vmap`` maps
over them, and ``jax.grad`` differentiates with respect to them.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import polars as pl

import twosided as ts
from twosided.core.numeric import as_arrays
from twosided.plots import figure_lines

# %%
# The mean reward of a maker with fixed offsets in the limit-order market, as a function of its offset and of the
# risk penalty φ:

scenario = as_arrays(ts.Scenario(ts.LimitOrderMarket(), (), ts.InventoryPenalty(running=0.2)))


def mean_reward(offset, running):
    varied = dataclasses.replace(scenario, reward=dataclasses.replace(scenario.reward, running=running))
    policy = ts.FixedOffset(offset, offset)
    rewards = ts.episodes(
        varied, policy, jax.random.key(0), 200, lambda observation, state, step: step.reward
    )
    return rewards.sum(0).mean()


# %%
# Evaluate a grid of offsets for three penalties in one call, on common random numbers.

offsets, penalties = jnp.linspace(0.1, 2.0, 39), jnp.asarray([0.0, 0.2, 1.0])
over_grid = jax.vmap(jax.vmap(mean_reward, (0, None)), (None, 0))
rewards = eqx.filter_jit(over_grid)(offsets, penalties)
frame = pl.concat(
    pl.DataFrame({"offset": offsets.tolist(), "reward": row.tolist()}).with_columns(
        penalty=pl.lit(f"φ = {penalty:g}")
    )
    for penalty, row in zip(penalties.tolist(), rewards, strict=True)
)
figure_lines(
    frame, "offset", {"reward": "reward per session, currency"}, "penalty", x_title="offset, currency"
).show()

# %%
# The derivative of the reward with respect to φ is -E[∫ q² dt], minus the inventory risk of the maker. ``jax.grad``
# computes it from the same simulation, here for every offset. (It cannot compute the derivative with respect to the
# offset: a fill is a step function of the offset, whose derivative is zero almost everywhere.)

risk = -jax.jit(jax.vmap(jax.grad(mean_reward, argnums=1), (0, None)))(offsets, 0.2)
frame = pl.DataFrame({"offset": offsets.tolist(), "risk": risk.tolist()}).with_columns(
    maker=pl.lit("FixedOffset")
)
figure_lines(frame, "offset", {"risk": "E[∫ q² dt] of a session"}, "maker", x_title="offset, currency").show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/sensitivities.png'
