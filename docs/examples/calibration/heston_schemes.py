"""
Simulate the Heston model
=========================

Measure the bias of two discretisation schemes against exact call prices.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

import twosided as ts
from twosided.heston.moments import call_price
from twosided.plots import figure_lines

# %%
# The parameters make discretisation difficult: they violate the Feller condition 2 κ θ > σ² by a wide margin.

parameters = {
    "initial_variance": 0.04,
    "mean_reversion": 0.5,
    "long_run_variance": 0.04,
    "vol_of_vol": 1.0,
    "correlation": -0.9,
}
schemes = {"quadratic-exponential": ts.Heston, "Euler": ts.HestonEuler}


@eqx.filter_jit
def terminal(process, key, steps, paths):
    """Return midprices after a number of steps, with an axis of paths."""
    key_start, key_steps = jax.random.split(key)

    def path(start, shocks):
        def step(state, shock):
            return process.step(state, shock), None

        return jax.lax.scan(step, process.reset(start), shocks)[0].mid

    return jax.vmap(path)(process.shocks(key_start, (paths,)), process.shocks(key_steps, (paths, steps)))


# %%
# Bias of at-the-money calls with a maturity of two years, by the number of steps per year.

exact = call_price(ts.Heston(**parameters), strike=100.0, time=2.0)
rows = []
for name, scheme in schemes.items():
    for steps in (1, 2, 4, 8, 16):
        process = scheme(**parameters, time_step=1 / steps)
        mid = terminal(process, jax.random.key(0), 2 * steps, 200_000)
        payoff = np.asarray(jnp.maximum(mid - 100.0, 0.0), np.float64)
        rows.append(
            {
                "scheme": name,
                "steps": steps,
                "bias": payoff.mean() - exact,
                "bias_error": payoff.std() / np.sqrt(payoff.size),
            }
        )
figure_lines(
    pl.DataFrame(rows),
    "steps",
    {"bias": f"bias of the call price, currency (exact {exact:.3f})"},
    "scheme",
    x_title="steps per year",
).show()

# sphinx_gallery_thumbnail_path = '_static/thumbnails/heston_schemes.png'
