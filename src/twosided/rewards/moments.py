"""Rewards on the moments of PnL: the Sharpe ratio and the variance, as rewards per step.

The Sharpe ratio of an episode (Bakshaev 2020, eq. 30) is not a sum over steps. Its derivative with respect to the
weight η of the last step in running moments is (Moody and Saffell 2001)

    A' = A + η (R - A),  B' = B + η (R² - B),   D = (B (R - A) - A (R² - B) / 2) / (B - A²)^(3/2)

so η D is the contribution of the last step. R is a step's total PnL. The moments are reset at the start of each
episode, and are plain means until 1/η steps have been seen.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward
from twosided.core.validation import check, is_at_least


class Moments(eqx.Module):
    """Running moments of PnL."""

    first: Float[Array, ""]
    """A, in currency."""
    second: Float[Array, ""]
    """B, in currency squared."""
    count: Int[Array, ""]
    """Number of steps seen."""


class DifferentialSharpe(Reward):
    """Differential Sharpe ratio: a step's contribution to the running Sharpe ratio of total PnL (Moody and
    Saffell 2001)."""

    rate: Scalar = 0.01
    """η, weight of the last step; in (0, 1]."""
    settle: int = eqx.field(static=True, default=20)
    """Steps at the start of an episode with a reward of 0, while the moments are too noisy."""

    def __check_init__(self):
        _check_rate(self.rate)
        check("settle", self.settle, "from 2 to 1000000", 2 <= self.settle <= 1_000_000)

    def init(self):
        return _initial()

    def __call__(self, state, transition, seat):
        pnl = transition.pnl.total[seat]
        variance = state.second - jnp.square(state.first)
        settled = (state.count >= self.settle) & (variance > 0)
        change = state.second * (pnl - state.first) - state.first * (jnp.square(pnl) - state.second) / 2
        paid = change / jnp.where(settled, variance, 1.0) ** 1.5
        return jnp.where(settled, paid, 0.0), _updated(state, pnl, self.rate)


class RunningVariance(Reward):
    """Own total PnL less α (R - A)², with A the running mean of R: a penalty on the variance of PnL."""

    weight: Scalar = 0.01
    """α, per unit of currency."""
    rate: Scalar = 0.01
    """η, weight of the last step in the mean; in (0, 1]."""

    def __check_init__(self):
        check("weight", self.weight, "at least 0 and finite", lambda: is_at_least(self.weight, 0))
        _check_rate(self.rate)

    def init(self):
        return _initial()

    def __call__(self, state, transition, seat):
        pnl = transition.pnl.total[seat]
        # Before the first step there is no mean.
        difference = jnp.where(state.count > 0, pnl - state.first, 0.0)
        return pnl - self.weight * jnp.square(difference), _updated(state, pnl, self.rate)


def _initial() -> Moments:
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))


def _updated(state: Moments, pnl: Float[Array, ""], rate: Scalar) -> Moments:
    count = state.count + 1
    step = jnp.maximum(rate, 1 / count).astype(pnl.dtype)
    first = state.first + step * (pnl - state.first)
    return Moments(first, state.second + step * (jnp.square(pnl) - state.second), count)


def _check_rate(rate: Scalar) -> None:
    check("rate", rate, "in (0, 1]", lambda: 0 < rate <= 1)
