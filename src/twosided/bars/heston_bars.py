"""Heston model of the bars that follow a bar of a record, with parameter uncertainty.

A path starts from the state of a record after bar t: its last bar and spread, one posterior draw of the parameters from
the last fit available at t, and a variance drawn from the filter's distribution at t. From there on it follows the
Heston model. A fit is available from the last bar of its window on, so no path uses information from after bar t.

`twosided.bars.calibrated` makes the model from bars and their fits.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.bars.source import BarModel, QuotedBar, RecordedBars
from twosided.heston.process import Heston, HestonState
from twosided.prices.bars import Bar, step_bar


class HestonDraws(eqx.Module):
    """Posterior draws of the Heston parameters, one row per fit; per year."""

    mean_reversion: Float[Array, "fits draws"]
    """κ, mean-reversion rate of the variance."""
    long_run_variance: Float[Array, "fits draws"]
    """θ, long-run variance."""
    vol_of_vol: Float[Array, "fits draws"]
    """σ, volatility of the variance."""
    correlation: Float[Array, "fits draws"]
    """ρ, correlation between price and variance."""
    drift: Float[Array, "fits draws"]
    """μ, drift of the price."""


class HestonBarsShock(eqx.Module):
    """Random inputs of the start of a path and of one bar."""

    bar: Int[Array, "*batch"]
    """Bar of the record that a path starts from."""
    draw: Int[Array, "*batch"]
    """Index of the draw of the parameters."""
    variance: Float[Array, "*batch"]
    """Standard normal of the initial volatility."""
    price: Any
    """Shocks of the price process, one per substep."""


class HestonBarsState(eqx.Module):
    """State of a path, with its parameters."""

    process: Heston
    """Price process with the parameters of this path."""
    price: HestonState
    """State of the price process."""
    bar: Bar
    """Last bar."""
    relative_half_spread: Float[Array, ""]
    """Half-spread of the bar that the path started from, as a fraction of the midprice."""


class HestonBars(BarModel):
    """Heston model of the bars that follow each bar of a record; each path has its own draw of the parameters."""

    record: RecordedBars
    """Record of bars that paths start from."""
    draws: HestonDraws
    """Draws of the parameters: row 0 from the prior, then one row per fit."""
    fit_index: Int[Array, "bars"]
    """Row of `draws` of the last fit available after each bar."""
    volatility: Float[Array, "bars"]
    """Filtered mean of √V after each bar, with V per year, from that fit and the bars so far."""
    volatility_std: Float[Array, "bars"]
    """Filtered standard deviation of √V after each bar."""
    years_per_bar: float
    """Length of a bar in years."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the model in a bar."""

    def shocks(self, key, shape):
        key_bar, key_draw, key_variance, key_price = jax.random.split(key, 4)
        return HestonBarsShock(
            jax.random.randint(key_bar, shape, 0, self.record.number),
            jax.random.randint(key_draw, shape, 0, self.draws.long_run_variance.shape[1]),
            jax.random.normal(key_variance, shape),
            Heston().shocks(key_price, (*shape, self.substeps)),
        )

    def reset(self, shock):
        """Return the start of a path from a random bar of the record."""
        return self.continued(shock.bar, shock)

    def continued(self, place, shock):
        drawn = jax.tree.map(lambda leaf: leaf[self.fit_index[place], shock.draw], self.draws)
        variance = jnp.square(self.volatility[place] + self.volatility_std[place] * shock.variance)
        process = Heston(
            drift=drawn.drift,
            mean_reversion=drawn.mean_reversion,
            long_run_variance=drawn.long_run_variance,
            vol_of_vol=drawn.vol_of_vol,
            correlation=drawn.correlation,
            time_step=jnp.asarray(self.years_per_bar / self.substeps, variance.dtype),
        )
        bar = self.record.bar(place)
        close = bar.mid.close
        # The path starts from the record's price; the initial price and variance of the process are not used.
        return HestonBarsState(process, HestonState(close, variance), bar.mid, bar.half_spread / close)

    def step(self, state, shock):
        price, bar = step_bar(state.process, state.price, shock.price)
        return HestonBarsState(state.process, price, bar, state.relative_half_spread)

    def bar(self, state):
        return QuotedBar.around(state.bar, state.relative_half_spread)

    def ended(self, state):
        return jnp.zeros((), bool)
