"""Spread PnL and market share of makers that quote from fixed distributions, in closed form.

On one side of a dealer market maker i draws its epsilon ε_i from a distribution of its own, independently of the other
makers and in each step. The smallest ε wins all orders of the side; k makers that tie win each order with probability
1/k. Let S_j(ε) = P[ε_j > ε] and m_j(ε) = P[ε_j = ε]. Given that maker i quotes ε, the number k of competitors that tie
with it while all others quote worse has the generating function

    Σ_k P[k tie] t^k = Π_{j≠i} (S_j(ε) + t m_j(ε)),        win probability = Σ_k P[k tie] / (k + 1)

The orders of a side are worth alpha = E Σ |v| S_ref(v) at ε = 0 and are independent of the quotes, so that

    spread PnL of a side = alpha E[(1 + ε_i) 1{i wins}],      market share = P[i wins]

(Ganesh et al. 2019, appendix 7.1, for two makers). Between breakpoints of the distributions the integrands are
polynomials in ε, which Gauss-Legendre quadrature integrates exactly.

Units: alpha is in currency per step; for N unit investors it is N / 2 · P · E[S_ref(1)].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from twosided.core.numeric import FloatArray
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution, PointMass


@dataclass(frozen=True, kw_only=True)
class FixedMaker:
    """Market maker that draws ε_b, ε_s and x from fixed distributions, independently of each other and in each step."""

    buy: Distribution
    """Distribution of ε_b."""
    sell: Distribution
    """Distribution of ε_s."""
    hedge: Distribution = PointMass(0.0)
    """Distribution of x, the fraction of the inventory hedged in each step, on [0, 1]."""

    def __post_init__(self):
        smallest, largest = self.hedge.support
        check("hedge", self.hedge.support, "a distribution on [0, 1]", smallest >= 0 and largest <= 1)


def tie_count_distribution(epsilon: ArrayLike, competitors: Sequence[Distribution]) -> FloatArray:
    """Return P[exactly k competitors quote epsilon and all others quote worse].

    The last axis is k = 0..len(competitors). The probabilities sum to 1 less the probability that a competitor quotes
    better.
    """
    epsilon = np.asarray(epsilon, float)
    probability = np.zeros((*epsilon.shape, len(competitors) + 1))
    probability[..., 0] = 1.0
    for competitor in competitors:
        tied = probability[..., :-1] * competitor.mass(epsilon)[..., None]
        probability *= competitor.survival(epsilon)[..., None]
        probability[..., 1:] += tied
    return probability


def win_distribution(quotes: Sequence[Distribution], seat: int) -> tuple[FloatArray, FloatArray]:
    """Return P[A_k] and E[(1 + ε) 1{A_k}] for k = 1..len(quotes), on one side.

    A_k is the event that the maker in the seat quotes the best price together with k - 1 others.
    """
    own, competitors = quotes[seat], [*quotes[:seat], *quotes[seat + 1 :]]
    cuts = np.unique(np.concatenate([distribution.breakpoints for distribution in quotes]))
    epsilon, weights = quadrature(own, cuts, degree=len(quotes))
    probability = tie_count_distribution(epsilon, competitors)
    return weights @ probability, (weights * (1 + epsilon)) @ probability


def expected_spread_pnl(makers: Sequence[FixedMaker], value_per_side: float) -> FloatArray:
    """Return the expected spread PnL of every maker per step, in the unit of value_per_side (alpha)."""
    check("value_per_side", value_per_side, "at least 0 and finite", lambda: is_at_least(value_per_side, 0))
    win_shares = 1.0 / np.arange(1, len(makers) + 1)
    margins = [
        win_distribution(side, seat)[1] @ win_shares for side in _sides(makers) for seat in range(len(makers))
    ]
    return value_per_side * np.reshape(margins, (2, len(makers))).sum(0)


def market_share(makers: Sequence[FixedMaker]) -> FloatArray:
    """Return the expected share of the traded volume of every maker, with equal volume on both sides; sums to 1."""
    win_shares = 1.0 / np.arange(1, len(makers) + 1)
    shares = [
        win_distribution(side, seat)[0] @ win_shares for side in _sides(makers) for seat in range(len(makers))
    ]
    return np.reshape(shares, (2, len(makers))).mean(0)


def quadrature(distribution: Distribution, cuts: FloatArray, degree: int) -> tuple[FloatArray, FloatArray]:
    """Return points and weights with E f(X) = Σ weight f(point) for f a polynomial of the degree between the cuts.

    The cuts contain the breakpoints of the distribution of X. At its atoms f may take any value.
    """
    values, probabilities = distribution.atoms
    middle, half = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts) / 2
    density = distribution.density(middle)
    middle, half, density = middle[density > 0], half[density > 0], density[density > 0]
    node, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    points = middle[:, None] + half[:, None] * node
    weights = (density * half)[:, None] * weight
    return np.append(values, points.ravel()), np.append(probabilities, weights.ravel())


def _sides(makers: Sequence[FixedMaker]) -> tuple[list[Distribution], list[Distribution]]:
    check("makers", len(makers), "one or more", len(makers) > 0)
    return [maker.buy for maker in makers], [maker.sell for maker in makers]
