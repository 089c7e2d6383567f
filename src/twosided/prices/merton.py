"""Departures from Brownian motion: jumps, and volatility that clusters. Without drift both are martingales."""

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
    check_motion,
    log_normal_change,
    mixed,
)

MOST_JUMPS = 16
"""In the moments' series; with one jump a step on average, more have a chance of 1e-15."""


class JumpShock(eqx.Module):
    """Standard normals."""

    diffusion: Float[Array, "*batch"]
    number: Float[Array, "*batch"]
    """Of jumps, through the Poisson law's quantiles."""
    size: Float[Array, "*batch"]
    """Of all of the step's jumps together."""


class MertonJumps(PriceProcess):
    """Geometric Brownian motion with log-normal jumps (Merton 1976).

    P_{t+1} = P_t exp((μ - λκ - σ²/2) Δ + σ √Δ Z + N m + √N s J), N Poisson(λ Δ), κ = exp(m + s²/2) - 1, so that
    E[P_t] = P_0 exp(μ t), and Var[log P_t] = (σ² + λ (m² + s²)) t.
    """

    initial: Scalar = 100.0
    """P_0, the midprice at the start of an episode, in currency."""
    drift: Scalar = 0.0
    """μ, per unit of time."""
    volatility: Scalar = 0.15
    """σ of the motion between jumps, per square root of a unit of time."""
    jump_rate: Scalar = 5.0
    """λ, jumps in a unit of time; at most one in a step on average."""
    jump_mean: Scalar = 0.0
    """m, mean of a jump of the logarithm of the price."""
    jump_deviation: Scalar = 0.03
    """s, its deviation."""
    time_step: Scalar = 1 / 512
    """Δ, units of time in a step."""

    def __check_init__(self):
        check_motion(self)
        rate, most = self.jump_rate, "from 0 to one jump a step (1 / time_step)"
        check("jump_rate", rate, most, lambda: (rate >= 0) & (rate * self.time_step <= 1))
        check("jump_mean", self.jump_mean, "finite", lambda: np.isfinite(self.jump_mean))
        deviation = self.jump_deviation
        check("jump_deviation", deviation, "at least 0 and finite", lambda: is_at_least(deviation, 0))

    def shocks(self, key, shape):
        return JumpShock(*jax.random.normal(key, (3, *shape)))

    def correlated(self, shock, normal, correlation):
        return JumpShock(mixed(shock.diffusion, normal, correlation), shock.number, shock.size)

    def reset(self, shock):
        return PriceState(mid=jnp.asarray(self.initial, dtype=shock.diffusion.dtype))

    def step(self, state, shock):
        number = poisson_from_normal(
            jnp.asarray(self.jump_rate * self.time_step, state.mid.dtype), shock.number
        )
        variance = jnp.square(self.volatility) * self.time_step
        jumps = number * self.jump_mean + jnp.sqrt(number) * self.jump_deviation * shock.size
        growth = (self.drift - self._compensation) * self.time_step - variance / 2
        return PriceState(mid=state.mid * jnp.exp(growth + jnp.sqrt(variance) * shock.diffusion + jumps))

    def change(self, state):
        """Given N jumps the change is log-normal: the mean over N."""
        rate, variance = self.jump_rate * self.time_step, jnp.square(self.volatility) * self.time_step
        growth = (self.drift - self._compensation) * self.time_step
        chance = jnp.exp(jnp.asarray(-rate, state.mid.dtype))
        square = fall = jnp.zeros_like(state.mid)
        jump, spread = self.jump_mean + jnp.square(self.jump_deviation) / 2, jnp.square(self.jump_deviation)
        for number in range(MOST_JUMPS):
            given = log_normal_change(state.mid, growth + number * jump, variance + number * spread)
            square, fall = square + chance * given.square, fall + chance * given.fall
            chance = chance * rate / (number + 1)
        mean = jnp.expm1(jnp.asarray(self.drift * self.time_step, state.mid.dtype))
        return ChangeMoments(mean=state.mid * mean, square=square, fall=fall)

    @property
    def _compensation(self):
        """λκ."""
        return self.jump_rate * jnp.expm1(self.jump_mean + jnp.square(self.jump_deviation) / 2)
