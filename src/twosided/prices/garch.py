"""Departures from Brownian motion: jumps, and volatility that clusters. Without drift both are martingales."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check
from twosided.prices.process import (
    PriceProcess,
    check_motion,
    log_normal_change,
    mixed,
)


class GarchState(eqx.Module):
    """The price, and what decides the deviation of its next move."""

    mid: Float[Array, ""]
    variance: Float[Array, ""]
    """h, of the next step's log return."""


class Garch(PriceProcess):
    """Log returns whose variance remembers the last ones: GARCH(1,1) (Bollerslev 1986).

    P_{t+1} = P_t exp(μ Δ - h_t / 2 + √h_t Z),   h_{t+1} = (1 - a - b) σ² Δ + a h_t Z² + b h_t,   h_0 = σ² Δ

    E[h_t] = σ² Δ on every step, so the log return over t has about the variance σ² t, and E[P_t] = P_0 exp(μ t).
    """

    initial: Scalar = 100.0
    """P_0, the midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time."""
    volatility: Scalar = 0.15
    """σ, the long run's, per square root of a unit of time."""
    reaction: Scalar = 0.1
    """a, how much of the variance the last return makes; a + b is below 1."""
    persistence: Scalar = 0.88
    """b, how much of it stays."""
    time_step: Scalar = 1 / 512
    """Δ, units of time in a step."""

    def __check_init__(self):
        check_motion(self)
        check("reaction", self.reaction, "in [0, 1)", lambda: 0 <= self.reaction < 1)
        rest = 1 - self.reaction
        within = f"at least 0 and below 1 - reaction ({rest})"
        check("persistence", self.persistence, within, lambda: 0 <= self.persistence < rest)

    def shocks(self, key, shape):
        return jax.random.normal(key, shape)

    def correlated(self, shock, normal, correlation):
        return mixed(shock, normal, correlation)

    def reset(self, shock):
        variance = jnp.square(self.volatility) * self.time_step
        return GarchState(jnp.asarray(self.initial, shock.dtype), jnp.asarray(variance, shock.dtype))

    def step(self, state, shock):
        h = state.variance
        mid = state.mid * jnp.exp(self.drift * self.time_step - h / 2 + jnp.sqrt(h) * shock)
        constant = (1 - self.reaction - self.persistence) * jnp.square(self.volatility) * self.time_step
        variance = constant + h * (self.reaction * jnp.square(shock) + self.persistence)
        return GarchState(mid, variance.astype(h.dtype))

    def change(self, state):
        return log_normal_change(state.mid, self.drift * self.time_step, state.variance)
