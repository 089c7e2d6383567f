"""Brownian midprices: geometric and arithmetic."""

import jax
import jax.numpy as jnp

from twosided.core.numeric import Scalar
from twosided.prices.process import (
    ChangeMoments,
    PriceProcess,
    PriceState,
    check_parameters,
    correlated_normal,
    log_normal_moments,
)


class Brownian(PriceProcess):
    """Base class of the Brownian processes."""

    initial: Scalar = 100.0
    """P_0, midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time: a year in the dealer market, one simulation in the hedging markets."""
    volatility: Scalar = 0.1
    """σ, per square root of a unit of time."""
    time_step: Scalar = 1 / 6552
    """Δ, length of a step in units of time. Default: 15 minutes in a year of 252 days of 6.5 hours."""

    def __check_init__(self):
        check_parameters(self)

    def shocks(self, key, shape):
        return jax.random.normal(key, shape)

    def correlated(self, shock, normal, correlation):
        return correlated_normal(shock, normal, correlation)

    def reset(self, shock):
        return PriceState(mid=jnp.asarray(self.initial, dtype=shock.dtype))


class GeometricBrownian(Brownian):
    """Geometric Brownian motion: P_{t+1} = P_t exp((μ - σ²/2) Δ + σ √Δ Z), Z standard normal.

    E[P_t] = P_0 exp(μ t) and Var[log P_t] = σ² t. Ganesh et al. (2019), section 3.3.
    """

    def step(self, state, shock):
        variance = jnp.square(self.volatility) * self.time_step
        growth = jnp.exp(self.drift * self.time_step - variance / 2 + jnp.sqrt(variance) * shock)
        return PriceState(mid=state.mid * growth)

    def change_moments(self, state):
        variance = jnp.square(self.volatility) * self.time_step
        return log_normal_moments(state.mid, self.drift * self.time_step, variance)


class Bachelier(Brownian):
    """Arithmetic Brownian motion: P_{t+1} = P_t + μ Δ + σ √Δ Z, Z standard normal.

    E[P_t] = P_0 + μ t and Var[P_t] = σ² t.
    """

    drift: Scalar = 0.0
    """μ, in currency per unit of time."""
    volatility: Scalar = 10.0
    """σ, in currency per square root of a unit of time."""

    def step(self, state, shock):
        change = self.drift * self.time_step + self.volatility * jnp.sqrt(self.time_step) * shock
        return PriceState(mid=state.mid + change)

    def change_moments(self, state):
        mean = jnp.asarray(self.drift * self.time_step, state.mid.dtype)
        std = jnp.asarray(self.volatility * jnp.sqrt(self.time_step), state.mid.dtype)
        z = mean / jnp.where(std > 0, std, 1.0)
        normal = jax.scipy.stats.norm
        downside = jnp.where(std > 0, mean * normal.cdf(-z) - std * normal.pdf(z), jnp.minimum(mean, 0.0))
        return ChangeMoments(mean=mean, mean_square=jnp.square(mean) + jnp.square(std), downside=downside)
