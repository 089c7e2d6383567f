"""The interface of midprice processes, and the moments of the next price change."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least, is_positive


class ChangeMoments(eqx.Module):
    """Conditional expectations of the next change of the midprice, ΔP = P_{t+1} - P_t; scalars, or a batch."""

    mean: Float[Array, "*batch"]
    """E[ΔP], in currency."""
    mean_square: Float[Array, "*batch"]
    """E[ΔP²], in currency squared."""
    downside: Float[Array, "*batch"]
    """E[min(ΔP, 0)], in currency. The upside E[max(ΔP, 0)] is the mean less the downside."""

    def of_position(self, position: Float[Array, "*makers"]) -> tuple[Float[Array, "*makers"], ...]:
        """Return E[Y], E[Y²] and E[min(Y, 0)] of the revaluation Y = position · ΔP."""
        upside = self.mean - self.downside
        loss = jnp.maximum(position, 0.0) * self.downside + jnp.minimum(position, 0.0) * upside
        return position * self.mean, jnp.square(position) * self.mean_square, loss


class PriceState(eqx.Module):
    """State of a process whose only state variable is the price."""

    mid: Float[Array, ""]
    """P_t, in currency."""


class PriceProcess(eqx.Module):
    """Midprice process: a Markov process that is deterministic given its shocks."""

    initial: eqx.AbstractVar[Scalar]
    """Midprice at the start of an episode, in currency."""
    time_step: eqx.AbstractVar[Scalar]
    """Length of a step, in the market's units of time."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """Draw the shocks of steps, with leading axes of the given shape."""

    @abc.abstractmethod
    def correlated(self, shock: Any, normal: Float[Array, ""], correlation: Float[Array, ""]) -> Any:
        """Return the shock with its normal innovation Z replaced by ρ·normal + √(1 - ρ²) Z, for a signal that predicts
        the price change."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> Any:
        """Return the state at the start of an episode."""

    @abc.abstractmethod
    def step(self, state: Any, shock: Any) -> Any:
        """Return the state one step later."""

    @abc.abstractmethod
    def change_moments(self, state: Any) -> ChangeMoments:
        """Return the expectations of P_{t+1} - P_t given the state."""


def check_parameters(process: Any) -> None:
    """Check the initial price, drift, volatility and time step of a process. Raises ValueError."""
    check("initial", process.initial, "positive and finite", lambda: is_positive(process.initial))
    check("drift", process.drift, "finite", lambda: np.isfinite(process.drift))
    check(
        "volatility", process.volatility, "at least 0 and finite", lambda: is_at_least(process.volatility, 0)
    )
    check("time_step", process.time_step, "positive and finite", lambda: is_positive(process.time_step))


def correlated_normal(innovation: Float[Array, "*n"], normal: Any, correlation: Any) -> Float[Array, "*n"]:
    """Return ρ·normal + √(1 - ρ²) innovation: a standard normal with correlation ρ to `normal`, if the two are
    independent standard normals (Bakshaev 2020, eq. 9)."""
    return correlation * normal + jnp.sqrt(1 - jnp.square(correlation)) * innovation


def log_normal_moments(mid: Any, growth: Any, variance: Any) -> ChangeMoments:
    """Return the moments of the change from P = mid to P exp(growth - variance/2 + √variance Z), whose mean is
    P e^growth.

    The downside is minus the value of a put struck at P, which is P [Φ(-d_2) - Φ(-d_1) - (e^growth - 1) Φ(-d_1)] (Black
    1976).
    """
    growth, variance = jnp.asarray(growth, mid.dtype), jnp.asarray(variance, mid.dtype)
    mean = jnp.expm1(growth)
    square = jnp.square(mean) + jnp.square(1 + mean) * jnp.expm1(variance)
    std = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    d1 = growth / std + std / 2
    d2 = d1 - std
    # A difference of error functions keeps digits that a difference of normal probabilities would lose.
    difference = (_erf(d1) - _erf(d2)) / 2
    put = difference - mean * jax.scipy.special.ndtr(-d1)
    downside = jnp.where(variance > 0, -put, jnp.minimum(mean, 0.0))
    return ChangeMoments(mean=mid * mean, mean_square=jnp.square(mid) * square, downside=mid * downside)


def _erf(x: Any) -> Any:
    """Return erf(x / √2), which is 2 Φ(x) - 1."""
    return jax.scipy.special.erf(x / jnp.sqrt(2.0).astype(x.dtype))
