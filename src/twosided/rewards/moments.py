"""Rewards on the moments of PnL: the Sharpe ratio and the variance, each paid step by step.

The Sharpe ratio of an episode (Bakshaev 2020, eq. 30) is no sum over steps. Its derivative with respect to the weight
η of the last step in running moments is (Moody and Saffell 2001):

    A' = A + η (R - A),  B' = B + η (R² - B),   D = (B (R - A) - A (R² - B) / 2) / (B - A²)^(3/2)

so that η D is the last step's part in the ratio. R is a step's total PnL; moments are of an episode, plain means until
1/η steps are in them.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from twosided.core.numeric import Scalar
from twosided.core.reward import Reward
from twosided.core.validation import check, is_at_least


class Moments(eqx.Module):
    """Running means."""

    first: Float[Array, ""]
    """A, in currency."""
    second: Float[Array, ""]
    """B, in currency squared."""
    count: Int[Array, ""]
    """How many steps are in them."""


class DifferentialSharpe(Reward):
    """The part that a step's total PnL has in the Sharpe ratio of the last ones (Moody and Saffell 2001)."""

    rate: Scalar = 0.01
    """η, the weight of the last step; in (0, 1]."""
    settle: int = eqx.field(static=True, default=20)
    """Steps at the start of an episode that are paid nothing, while there are no moments to speak of."""

    def __check_init__(self):
        _check_rate(self.rate)
        check("settle", self.settle, "from 2 to 1000000", 2 <= self.settle <= 1_000_000)

    def init(self):
        return _nothing()

    def __call__(self, memory, transition, seat):
        pnl = transition.pnl.total[seat]
        variance = memory.second - jnp.square(memory.first)
        settled = (memory.count >= self.settle) & (variance > 0)
        change = memory.second * (pnl - memory.first) - memory.first * (jnp.square(pnl) - memory.second) / 2
        paid = change / jnp.where(settled, variance, 1.0) ** 1.5
        return jnp.where(settled, paid, 0.0), _updated(memory, pnl, self.rate)


class RunningVariance(Reward):
    """The maker's own total PnL less α (R - A)², with A the running mean of R: a penalty on PnL's variance."""

    weight: Scalar = 0.01
    """α, per unit of currency."""
    rate: Scalar = 0.01
    """η, the weight of the last step in the mean; in (0, 1]."""

    def __check_init__(self):
        check("weight", self.weight, "at least 0 and finite", lambda: is_at_least(self.weight, 0))
        _check_rate(self.rate)

    def init(self):
        return _nothing()

    def __call__(self, memory, transition, seat):
        pnl = transition.pnl.total[seat]
        # Of the first step there is no mean to depart from.
        apart = jnp.where(memory.count > 0, pnl - memory.first, 0.0)
        return pnl - self.weight * jnp.square(apart), _updated(memory, pnl, self.rate)


def _nothing() -> Moments:
    return Moments(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))


def _updated(memory: Moments, pnl: Float[Array, ""], rate: Scalar) -> Moments:
    count = memory.count + 1
    step = jnp.maximum(rate, 1 / count).astype(pnl.dtype)
    first = memory.first + step * (pnl - memory.first)
    return Moments(first, memory.second + step * (jnp.square(pnl) - memory.second), count)


def _check_rate(rate: Scalar) -> None:
    check("rate", rate, "in (0, 1]", lambda: 0 < rate <= 1)
