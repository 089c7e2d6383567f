"""What a midprice process is, and the moments that it must know."""

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
    """Expectations of the next change of the midprice, ΔP = P_{t+1} - P_t."""

    mean: Float[Array, ""]
    """E[ΔP], in currency."""
    square: Float[Array, ""]
    """E[ΔP²], in currency squared."""
    fall: Float[Array, ""]
    """E[min(ΔP, 0)], in currency; the rise E[max(ΔP, 0)] is the mean less this."""

    def revaluation(self, position: Float[Array, "*makers"]) -> tuple[Float[Array, "*makers"], ...]:
        """E[Y], E[Y²] and E[min(Y, 0)] of Y = position · ΔP."""
        rise = self.mean - self.fall
        loss = jnp.maximum(position, 0.0) * self.fall + jnp.minimum(position, 0.0) * rise
        return position * self.mean, jnp.square(position) * self.square, loss


class PriceState(eqx.Module):
    """The state of a process that remembers its price alone."""

    mid: Float[Array, ""]


class PriceProcess(eqx.Module):
    """How the midprice moves."""

    time_step: eqx.AbstractVar[Scalar]
    """Units of time in a step."""

    @abc.abstractmethod
    def shocks(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
        """The innovations, with the given leading axes."""

    @abc.abstractmethod
    def correlated(self, shock: Any, normal: Float[Array, ""], correlation: Float[Array, ""]) -> Any:
        """The shock with its normal innovation Z replaced by ρ normal + √(1 - ρ²) Z: what a signal foretells."""

    @abc.abstractmethod
    def reset(self, shock: Any) -> Any:
        """The state at the start of an episode."""

    @abc.abstractmethod
    def step(self, state: Any, shock: Any) -> Any:
        """The state one step later."""

    @abc.abstractmethod
    def change(self, state: Any) -> ChangeMoments:
        """What is expected of P_{t+1} - P_t, given the state."""


def check_motion(process: Any) -> None:
    """Checks a process's initial price, drift, volatility and time step."""
    check("initial", process.initial, "positive and finite", lambda: is_positive(process.initial))
    check("drift", process.drift, "finite", lambda: np.isfinite(process.drift))
    check(
        "volatility", process.volatility, "at least 0 and finite", lambda: is_at_least(process.volatility, 0)
    )
    check("time_step", process.time_step, "positive and finite", lambda: is_positive(process.time_step))


def mixed(innovation: Float[Array, "*n"], normal: Any, correlation: Any) -> Float[Array, "*n"]:
    """A standard normal that has the correlation with `normal`, from one that has none (Bakshaev 2020, eq. 9)."""
    return correlation * normal + jnp.sqrt(1 - jnp.square(correlation)) * innovation


def log_normal_change(mid: Any, growth: Any, variance: Any) -> ChangeMoments:
    """Of P exp(growth - variance/2 + √variance Z): E[P_{t+1}] = P e^growth.

    The fall is that of a put struck at P: P [Φ(-d_2) - Φ(-d_1) - (e^growth - 1) Φ(-d_1)] (Black 1976).
    """
    growth, variance = jnp.asarray(growth, mid.dtype), jnp.asarray(variance, mid.dtype)
    mean = jnp.expm1(growth)
    square = jnp.square(mean) + jnp.square(1 + mean) * jnp.expm1(variance)
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    upper = growth / deviation + deviation / 2
    lower = upper - deviation
    # A difference of error functions keeps the digits that one of probabilities would lose.
    between = (_erf(upper) - _erf(lower)) / 2
    put = between - mean * jax.scipy.special.ndtr(-upper)
    fall = jnp.where(variance > 0, -put, jnp.minimum(mean, 0.0))
    return ChangeMoments(mean=mid * mean, square=jnp.square(mid) * square, fall=mid * fall)


def _erf(x: Any) -> Any:
    return jax.scipy.special.erf(x / jnp.sqrt(2.0).astype(x.dtype))
