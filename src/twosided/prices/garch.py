"""GARCH(1,1): log returns with clustered volatility."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check
from twosided.prices.process import PriceProcess, check_parameters, correlated_normal, log_normal_moments


class GarchState(eqx.Module):
    """Midprice, and variance of the next log return."""

    mid: Float[Array, ""]
    """P_t, in currency."""
    variance: Float[Array, ""]
    """h_t, variance of the next step's log return."""


class Garch(PriceProcess):
    """GARCH(1,1) log returns, whose variance depends on the previous returns (Bollerslev 1986).

    P_{t+1} = P_t exp(μ Δ - h_t / 2 + √h_t Z),   h_{t+1} = (1 - α - β) σ² Δ + α h_t Z² + β h_t,   h_0 = σ² Δ

    E[h_t] = σ² Δ in every step, so the log return over time t has a variance of about σ² t, and E[P_t] = P_0 exp(μ t).
    Without drift the price is a martingale.
    """

    initial: Scalar = 100.0
    """P_0, midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time."""
    volatility: Scalar = 0.15
    """σ, long-run volatility, per square root of a unit of time."""
    alpha: Scalar = 0.1
    """α, weight of the last squared return in the variance; α + β < 1."""
    beta: Scalar = 0.88
    """β, weight of the last variance in the variance."""
    time_step: Scalar = 1 / 512
    """Δ, length of a step in units of time."""

    def __check_init__(self):
        check_parameters(self)
        check("alpha", self.alpha, "in [0, 1)", lambda: 0 <= self.alpha < 1)
        bound = 1 - self.alpha
        check("beta", self.beta, f"at least 0 and below 1 - alpha ({bound})", lambda: 0 <= self.beta < bound)

    def shocks(self, key, shape):
        return jax.random.normal(key, shape)

    def correlated(self, shock, normal, correlation):
        return correlated_normal(shock, normal, correlation)

    def reset(self, shock):
        variance = jnp.square(self.volatility) * self.time_step
        return GarchState(jnp.asarray(self.initial, shock.dtype), jnp.asarray(variance, shock.dtype))

    def step(self, state, shock):
        h = state.variance
        mid = state.mid * jnp.exp(self.drift * self.time_step - h / 2 + jnp.sqrt(h) * shock)
        constant = (1 - self.alpha - self.beta) * jnp.square(self.volatility) * self.time_step
        variance = constant + h * (self.alpha * jnp.square(shock) + self.beta)
        return GarchState(mid, variance.astype(h.dtype))

    def change_moments(self, state):
        return log_normal_moments(state.mid, self.drift * self.time_step, state.variance)
