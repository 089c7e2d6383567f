"""
Choose a price process
======================

Compare price processes of about equal volatility: paths of the midprice, and tails of the distribution of
returns.
"""

import equinox as eqx
import jax
import numpy as np
import polars as pl

import twosided as ts
from twosided.plots import figure_distributions, figure_lines

# %%
# The ``step`` of a price process is written for one path. ``jax.lax.scan`` runs it over time and ``jax.vmap``
# maps it over paths.

day = 1 / 252
processes = {
    "GeometricBrownian": ts.GeometricBrownian(volatility=0.2, time_step=day),
    "MertonJumps": ts.MertonJumps(volatility=0.15, jump_rate=10.0, jump_std=0.042, time_step=day),
    "Garch": ts.Garch(volatility=0.2, time_step=day),
    "Heston": ts.Heston(initial_variance=0.04, long_run_variance=0.04, time_step=day),
}


@eqx.filter_jit
def simulate(process, key, steps, paths):
    """Return midprices with axes (paths, steps)."""
    key_start, key_steps = jax.random.split(key)

    def path(start, shocks):
        def step(state, shock):
            state = process.step(state, shock)
            return state, state.mid

        return jax.lax.scan(step, process.reset(start), shocks)[1]

    return jax.vmap(path)(process.shocks(key_start, (paths,)), process.shocks(key_steps, (paths, steps)))


mids = {
    name: np.asarray(simulate(process, jax.random.key(0), 252, 1000)) for name, process in processes.items()
}

# %%
# One year of daily prices of each process.

paths = pl.concat(
    pl.DataFrame({"day": np.arange(252), "mid": mid[0]}).with_columns(process=pl.lit(name))
    for name, mid in mids.items()
)
figure_lines(paths, "day", {"mid": "midprice, currency"}, "process", x_title="day").show()

# %%
# Distribution of daily returns, and its excess kurtosis, which is 0 for a normal distribution.

returns = {name: 100 * np.diff(np.log(mid), axis=1).ravel() for name, mid in mids.items()}
frame = pl.concat(
    pl.DataFrame({"return": r}).with_columns(process=pl.lit(name)) for name, r in returns.items()
)
figure_distributions(frame, {"return": "daily return, %"}, "process").show()

for name, r in returns.items():
    kurtosis = np.mean((r - r.mean()) ** 4) / r.var() ** 2 - 3
    print(f"{name}: standard deviation {r.std():.2f}%, excess kurtosis {kurtosis:.2f}")

# sphinx_gallery_thumbnail_path = '_static/thumbnails/price_processes.png'
