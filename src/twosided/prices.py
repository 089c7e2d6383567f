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
    def expected_change(self, state: Any) -> Float[Array, ""]:
        """E[P_{t+1} - P_t | state], in currency."""


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

    def expected_change(self, state):
        return state.mid * jnp.expm1(jnp.asarray(self.drift * self.time_step, state.mid.dtype))


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

    def expected_change(self, state):
        return jnp.asarray(self.drift * self.time_step, state.mid.dtype)
