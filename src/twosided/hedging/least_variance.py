"""Hedges of a portfolio that are best for variance, in closed form.

Exposures q = w C + h change by the hedge a and by clients' trades n, whose mean is 0, and are revalued with the
covariance Σ of price changes. A maker that weighs variance by r and pays ½ c |a|² for a hedge,

    V(q) = min over a of  ½ c |a|² + ½ r (q + a)ᵀ Σ (q + a) + γ E V(q + a + n)

has a quadratic V, on every principal direction of Σ its own: with the eigenvalue l, a = -k q,

    k = (r l + γ p) / (c + r l + γ p),   p = c k,   so that   γ p² + (c + r l - γ c) p - c r l = 0

The more a direction varies the more of it is hedged at once; free hedges (c = 0) take all of it, so that what clients
bring is hedged with their weights, -w C. Where some assets alone can be hedged with, the least variance is the
regression on these.

Units: exposures in units of trade, c in currency per unit squared, Σ in currency squared a step.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float

from twosided.core.numeric import Array
from twosided.core.policy import StatelessPolicy
from twosided.core.validation import check
from twosided.hedging.hedgers import exposure
from twosided.hedging.portfolio import PortfolioAction, PortfolioMarket


def covariance(market: PortfolioMarket) -> Array:
    """Of a step's price changes at the first prices, assets by assets, in currency squared."""
    number = market.prices.num_assets
    state = market.prices.reset(jnp.zeros(number))
    units = np.eye(number)

    def second(position: Array) -> float:
        mean, square = market.prices.position_moments(state, jnp.asarray(position))
        return float(square - mean**2)

    own = np.array([second(unit) for unit in units])
    both = np.array([[second(a + b) for b in units] for a in units])
    return (both - own[:, None] - own) / 2


def least_variance(exposure: Array, covariance: Array, hedging: Sequence[int]) -> Array:
    """Units to buy of the assets with the indices `hedging` so that what is left varies least."""
    chosen = np.asarray(hedging, int)
    inner = covariance[np.ix_(chosen, chosen)]
    return np.asarray(-np.linalg.lstsq(inner, covariance[chosen] @ exposure, rcond=None)[0], float)


def hedge_matrix(covariance: Array, risk: float, cost: float, discount: float = 0.99) -> Array:
    """K of the best hedge a = -K q."""
    check("risk", risk, "positive", risk > 0)
    check("cost", cost, "at least 0", cost >= 0)
    check("discount", discount, "in [0, 1]", 0 <= discount <= 1)
    values, vectors = np.linalg.eigh(covariance)
    wanted = risk * np.maximum(values, 0.0)
    if cost == 0:
        share = np.ones_like(wanted)
    else:
        half = (cost + wanted - discount * cost) / 2
        root = np.sqrt(half**2 + discount * cost * wanted)
        # The positive root, without a difference of near numbers.
        share = np.where(wanted > 0, wanted / (half + root), 0.0)
    return (vectors * share) @ vectors.T


class LinearHedger(StatelessPolicy):
    """Hedges a = -K q of the exposures q = w C + h, for weights and prices that it is told or sees."""

    matrix: Float[JaxArray, "assets assets"]
    """K."""
    weights: Float[JaxArray, "assets"]
    """w."""
    price: float = eqx.field(default=100.0)
    """Of every asset, in currency, where the market shows none."""

    def act(self, shock, memory, observation):
        hedge = -self.matrix @ exposure(observation, self.weights, self.price)
        return PortfolioAction(hedge.astype(observation.hedge_values.dtype)), memory
