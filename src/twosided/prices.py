"""Midprice processes: how the price that everybody refers to moves, whoever trades.

A process is deterministic given its shock, `step(state, shock)`, so that paths are compared on common
chance and history can stand in its place. Its state is a pytree whose `mid` the market reads.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.types import Scalar, check, is_at_least, is_positive


class PriceProcess(eqx.Module):
    """How the midprice moves."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """The innovations, with the given leading axes."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> Any:
        """The state at the start of an episode."""

    @abc.abstractmethod
    def step(self, state: Any, shock: Any) -> Any:
        """The state one step later."""

    @abc.abstractmethod
    def change(self, state: Any) -> "ChangeMoments":
        """What is expected of P_{t+1} - P_t, given the state."""


class ChangeMoments(eqx.Module):
    """Expectations of the next change of the midprice, ΔP = P_{t+1} - P_t."""

    mean: Float[Array, ""]
    """E[ΔP], in currency."""
    square: Float[Array, ""]
    """E[ΔP²], in currency squared."""
    fall: Float[Array, ""]
    """E[min(ΔP, 0)], in currency; the rise E[max(ΔP, 0)] is the mean less this."""


class PriceState(eqx.Module):
    """The state of a process that remembers its price alone."""

    mid: Float[Array, ""]


class _Brownian(PriceProcess):
    """What the Brownian processes share."""

    initial: Scalar = 100.0
    """P_0, the midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per year."""
    volatility: Scalar = 0.1
    """σ, per square root of a year."""
    time_step: Scalar = 1 / 6552
    """Δ, years in a step: 15 minutes of a year of 252 days of 6.5 hours."""

    def __check_init__(self):
        check("initial", self.initial, "positive and finite", lambda: is_positive(self.initial))
        check("drift", self.drift, "finite", lambda: np.isfinite(self.drift))
        check("volatility", self.volatility, "at least 0 and finite", lambda: is_at_least(self.volatility, 0))
        check("time_step", self.time_step, "positive and finite", lambda: is_positive(self.time_step))

    def shocks(self, key, shape):
        return jax.random.normal(key, shape)

    def reset(self, shock):
        return PriceState(mid=jnp.asarray(self.initial, dtype=shock.dtype))


class GeometricBrownian(_Brownian):
    """Geometric Brownian motion: P_{t+1} = P_t exp((μ - σ²/2) Δ + σ √Δ Z), Z standard normal.

    E[P_t] = P_0 exp(μ t) and Var[log P_t] = σ² t. Ganesh et al. (2019), section 3.3; time in years.
    """

    def step(self, state, shock):
        variance = jnp.square(self.volatility) * self.time_step
        growth = jnp.exp(self.drift * self.time_step - variance / 2 + jnp.sqrt(variance) * shock)
        return PriceState(mid=state.mid * growth)

    def change(self, state):
        """The fall is that of a put struck at P_t: P_t [Φ(-d_2) - Φ(-d_1) - (e^{μΔ} - 1) Φ(-d_1)] (Black 1976)."""
        growth = jnp.asarray(self.drift * self.time_step, state.mid.dtype)
        variance = jnp.asarray(jnp.square(self.volatility) * self.time_step, state.mid.dtype)
        mean = jnp.expm1(growth)
        square = jnp.square(mean) + jnp.square(1 + mean) * jnp.expm1(variance)
        deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        upper = growth / deviation + deviation / 2
        lower = upper - deviation
        # A difference of error functions keeps the digits that one of probabilities would lose.
        between = (_erf(upper) - _erf(lower)) / 2
        put = between - mean * jax.scipy.special.ndtr(-upper)
        fall = jnp.where(variance > 0, -put, jnp.minimum(mean, 0.0))
        mid = state.mid
        return ChangeMoments(mean=mid * mean, square=jnp.square(mid) * square, fall=mid * fall)


def _erf(x):
    return jax.scipy.special.erf(x / jnp.sqrt(2.0).astype(x.dtype))


class Bachelier(_Brownian):
    """Arithmetic Brownian motion: P_{t+1} = P_t + μ Δ + σ √Δ Z, Z standard normal.

    E[P_t] = P_0 + μ t and Var[P_t] = σ² t. Time in years.
    """

    drift: Scalar = 0.0
    """μ, currency per year."""
    volatility: Scalar = 10.0
    """σ, currency per square root of a year."""

    def step(self, state, shock):
        change = self.drift * self.time_step + self.volatility * jnp.sqrt(self.time_step) * shock
        return PriceState(mid=state.mid + change)

    def change(self, state):
        mean = jnp.asarray(self.drift * self.time_step, state.mid.dtype)
        deviation = jnp.asarray(self.volatility * jnp.sqrt(self.time_step), state.mid.dtype)
        z = mean / jnp.where(deviation > 0, deviation, 1.0)
        normal = jax.scipy.stats.norm
        fall = jnp.where(
            deviation > 0, mean * normal.cdf(-z) - deviation * normal.pdf(z), jnp.minimum(mean, 0.0)
        )
        return ChangeMoments(mean=mean, square=jnp.square(mean) + jnp.square(deviation), fall=fall)
