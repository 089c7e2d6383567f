"""Geometric Brownian motion with jumps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import Scalar
from twosided.core.validation import check, is_at_least
from twosided.prices.poisson import poisson_from_normal
from twosided.prices.process import (
    ChangeMoments,
    PriceProcess,
    PriceState,
    check_parameters,
    correlated_normal,
    log_normal_moments,
)

MAX_JUMPS = 16
"""Number of terms in the series of the moments. At one jump per step on average, more jumps have probability 1e-15."""


class JumpShock(eqx.Module):
    """Standard normals of a step."""

    diffusion: Float[Array, "*batch"]
    """Z, innovation of the diffusion."""
    number: Float[Array, "*batch"]
    """Innovation of N, the number of jumps, by the Poisson quantile function."""
    size: Float[Array, "*batch"]
    """J, innovation of the total size of the step's jumps."""


class MertonJumps(PriceProcess):
    """Geometric Brownian motion with log-normal jumps (Merton 1976).

    P_{t+1} = P_t exp((μ - λκ - σ²/2) Δ + σ √Δ Z + N m + √N s J), N Poisson(λ Δ), κ = exp(m + s²/2) - 1, so that
    E[P_t] = P_0 exp(μ t) and Var[log P_t] = (σ² + λ (m² + s²)) t. Without drift the price is a martingale.
    """

    initial: Scalar = 100.0
    """P_0, midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time."""
    volatility: Scalar = 0.15
    """σ, volatility of the diffusion, per square root of a unit of time."""
    jump_rate: Scalar = 5.0
    """λ, expected jumps per unit of time; at most one jump per step on average."""
    jump_mean: Scalar = 0.0
    """m, mean jump of the log price."""
    jump_std: Scalar = 0.03
    """s, standard deviation of a jump of the log price."""
    time_step: Scalar = 1 / 512
    """Δ, length of a step in units of time."""

    def __check_init__(self):
        check_parameters(self)
        rate, constraint = self.jump_rate, "from 0 to one jump per step (1 / time_step)"
        check("jump_rate", rate, constraint, lambda: (rate >= 0) & (rate * self.time_step <= 1))
        check("jump_mean", self.jump_mean, "finite", lambda: np.isfinite(self.jump_mean))
        check("jump_std", self.jump_std, "at least 0 and finite", lambda: is_at_least(self.jump_std, 0))

    def shocks(self, key, shape):
        return JumpShock(*jax.random.normal(key, (3, *shape)))

    def correlated(self, shock, normal, correlation):
        return JumpShock(correlated_normal(shock.diffusion, normal, correlation), shock.number, shock.size)

    def reset(self, shock):
        return PriceState(mid=jnp.asarray(self.initial, dtype=shock.diffusion.dtype))

    def step(self, state, shock):
        number = poisson_from_normal(
            jnp.asarray(self.jump_rate * self.time_step, state.mid.dtype), shock.number
        )
        variance = jnp.square(self.volatility) * self.time_step
        jumps = number * self.jump_mean + jnp.sqrt(number) * self.jump_std * shock.size
        growth = (self.drift - self._compensator) * self.time_step - variance / 2
        return PriceState(mid=state.mid * jnp.exp(growth + jnp.sqrt(variance) * shock.diffusion + jumps))

    def change_moments(self, state):
        """Return the expectations of P_{t+1} - P_t: the mean over N of those given N jumps, which are log-normal."""
        rate, variance = self.jump_rate * self.time_step, jnp.square(self.volatility) * self.time_step
        growth = (self.drift - self._compensator) * self.time_step
        probability = jnp.exp(jnp.asarray(-rate, state.mid.dtype))
        square = downside = jnp.zeros_like(state.mid)
        jump_growth = self.jump_mean + jnp.square(self.jump_std) / 2
        jump_variance = jnp.square(self.jump_std)
        for number in range(MAX_JUMPS):
            given = log_normal_moments(
                state.mid, growth + number * jump_growth, variance + number * jump_variance
            )
            square = square + probability * given.mean_square
            downside = downside + probability * given.downside
            probability = probability * rate / (number + 1)
        mean = jnp.expm1(jnp.asarray(self.drift * self.time_step, state.mid.dtype))
        return ChangeMoments(mean=state.mid * mean, mean_square=square, downside=downside)

    @property
    def _compensator(self):
        """λκ, drift that compensates the mean of the jumps."""
        return self.jump_rate * jnp.expm1(self.jump_mean + jnp.square(self.jump_std) / 2)
