"""Variance-optimal hedges of a portfolio, in closed form.

Exposures q = w C + h change by the hedge a and by client trades n with mean 0, and are revalued with the covariance Σ
of price changes. A maker with a penalty r on variance and a cost ½ c |a|² of a hedge has the value function

    V(q) = min over a of  ½ c |a|² + ½ r (q + a)ᵀ Σ (q + a) + γ E V(q + a + n)

V is quadratic and separates over the principal directions of Σ. In a direction with eigenvalue l, a = -k q with

    k = (r l + γ p) / (c + r l + γ p),   p = c k,   so that   γ p² + (c + r l - γ c) p - c r l = 0

The larger the variance of a direction, the larger the fraction of it that is hedged at once. Free hedges (c = 0) remove
the whole exposure, so client trades are hedged with their weights, -w C. If only some assets are available for hedging,
the least-variance hedge is a regression on them.

Units: exposures in units of trade, c in currency per unit squared, Σ in currency squared per step.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.core.numeric import FloatArray
from twosided.core.policy import StatelessPolicy
from twosided.core.validation import check
from twosided.hedging.hedgers import exposure
from twosided.hedging.portfolio import PortfolioAction, PortfolioMarket


def covariance(market: PortfolioMarket) -> FloatArray:
    """Return the covariance matrix of one step's price changes at the initial prices, in currency squared."""
    num_assets = market.prices.num_assets
    state = market.prices.reset(jnp.zeros(num_assets))
    units = np.eye(num_assets)

    def variance(position: FloatArray) -> float:
        mean, square = market.prices.position_moments(state, jnp.asarray(position))
        return float(square - mean**2)

    variances = np.array([variance(unit) for unit in units])
    pair_variances = np.array([[variance(a + b) for b in units] for a in units])
    return (pair_variances - variances[:, None] - variances) / 2


def least_variance(exposure: FloatArray, covariance: FloatArray, hedging: Sequence[int]) -> FloatArray:
    """Return the units to buy of the assets with the indices `hedging` that minimise the variance of the hedged
    exposure."""
    indices = np.asarray(hedging, int)
    own = covariance[np.ix_(indices, indices)]
    return np.asarray(-np.linalg.lstsq(own, covariance[indices] @ exposure, rcond=None)[0], float)


def hedge_matrix(covariance: FloatArray, risk: float, cost: float, discount: float = 0.99) -> FloatArray:
    """Return K of the optimal hedge a = -K q, for the penalty r = `risk`, the cost c and the discount γ.

    Raises ValueError for parameters out of range.
    """
    check("risk", risk, "positive", risk > 0)
    check("cost", cost, "at least 0", cost >= 0)
    check("discount", discount, "in [0, 1]", 0 <= discount <= 1)
    values, vectors = np.linalg.eigh(covariance)
    penalty = risk * np.maximum(values, 0.0)
    if cost == 0:
        fraction = np.ones_like(penalty)
    else:
        half = (cost + penalty - discount * cost) / 2
        root = np.sqrt(half**2 + discount * cost * penalty)
        # The positive root, in a form without cancellation.
        fraction = np.where(penalty > 0, penalty / (half + root), 0.0)
    return (vectors * fraction) @ vectors.T


class LinearHedger(StatelessPolicy):
    """Policy that hedges a = -K q of the exposures q = w C + h."""

    matrix: Float[Array, "assets assets"]
    """K."""
    weights: Float[Array, "assets"]
    """w, weight of each asset in client trades."""
    assumed_price: float = eqx.field(default=100.0)
    """Price of every asset, in currency, if the market does not show midprices."""

    def act(self, shock, state, observation):
        hedge = -self.matrix @ exposure(observation, self.weights, self.assumed_price)
        return PortfolioAction(hedge.astype(observation.hedge_values.dtype)), state
