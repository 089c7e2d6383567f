"""Bars that the Heston model expects to follow, at parameters drawn from what was known of them at the time.

A path begins where a record of bars stood after bar t: with its last bar and spread, one draw of the parameters from
the fit that was the last at t, and a variance drawn from the filter at t. From there on it is Heston's own. A fit is
known from the bar at which its window ended, so nothing that a path begins with comes from later than t.

`twosided.bars.calibrated` makes one of bars and their fits.
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
    """Parameters, a row a fit; per year."""

    reversion: Float[Array, "fits draws"]
    level: Float[Array, "fits draws"]
    vol_of_vol: Float[Array, "fits draws"]
    correlation: Float[Array, "fits draws"]
    drift: Float[Array, "fits draws"]


class HestonBarsShock(eqx.Module):
    """What chance decides: where a path begins, and a bar of it."""

    bar: Int[Array, "*batch"]
    draw: Int[Array, "*batch"]
    variance: Float[Array, "*batch"]
    """Standard normal."""
    price: Any
    """Of the substeps."""


class HestonBarsState(eqx.Module):
    """Where a path stands, by its own parameters."""

    process: Heston
    price: HestonState
    bar: Bar
    relative_half_spread: Float[Array, ""]
    """That of the bar where it began, a fraction of the mid."""


class HestonBars(BarModel):
    """Bars of Heston's model from where a record stood, each path by parameters of its own."""

    record: RecordedBars
    draws: HestonDraws
    fit: Int[Array, "bars"]
    """The row of the last fit that was known after each bar."""
    volatility: Float[Array, "bars"]
    """Mean of √V after each bar, V per year, by that fit and the bars so far."""
    deviation: Float[Array, "bars"]
    """Of √V."""
    years_per_bar: float
    """Length of a bar."""
    substeps: int = eqx.field(static=True, default=10)
    """Steps of the model in a bar."""

    def shocks(self, key, shape):
        key_bar, key_draw, key_variance, key_price = jax.random.split(key, 4)
        return HestonBarsShock(
            jax.random.randint(key_bar, shape, 0, self.record.number),
            jax.random.randint(key_draw, shape, 0, self.draws.level.shape[1]),
            jax.random.normal(key_variance, shape),
            Heston().shocks(key_price, (*shape, self.substeps)),
        )

    def reset(self, shock):
        """A path from any bar of the record."""
        return self.continued(shock.bar, shock)

    def continued(self, place, shock):
        drawn = jax.tree.map(lambda leaf: leaf[self.fit[place], shock.draw], self.draws)
        variance = jnp.square(self.volatility[place] + self.deviation[place] * shock.variance)
        process = Heston(
            drift=drawn.drift,
            reversion=drawn.reversion,
            level=drawn.level,
            vol_of_vol=drawn.vol_of_vol,
            correlation=drawn.correlation,
            time_step=jnp.asarray(self.years_per_bar / self.substeps, variance.dtype),
        )
        bar = self.record.bar(place)
        close = bar.mid.close
        # Where a path starts is the record's: of the process only what moves it is used.
        return HestonBarsState(process, HestonState(close, variance), bar.mid, bar.half_spread / close)

    def step(self, state, shock):
        price, bar = step_bar(state.process, state.price, shock.price)
        return HestonBarsState(state.process, price, bar, state.relative_half_spread)

    def bar(self, state):
        return QuotedBar.around(state.bar, state.relative_half_spread)

    def ended(self, state):
        return jnp.zeros((), bool)
