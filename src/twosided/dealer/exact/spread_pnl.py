"""Spread PnL and market share of makers that quote from fixed laws, in closed form.

On one side of a dealer market maker i draws its epsilon from a law of its own, independently of the others
and anew on every step; the smallest wins all of the side's orders, and k makers that tie win each order with
probability 1/k. With S_j(ε) = P[ε_j > ε] and m_j(ε) = P[ε_j = ε], the number of rivals that tie with a maker
that quotes ε, all others being worse, has the generating function

    Σ_k P[k tie] t^k = Π_{j≠i} (S_j(ε) + t m_j(ε)),        win probability = Σ_k P[k tie] / (k + 1)

A side's orders are worth alpha = E Σ |v| S_ref(v) at ε = 0 and are independent of the quotes, so that

    spread PnL a side = alpha E[(1 + ε_i) 1{i wins}],      market share = P[i wins]

(Ganesh et al. 2019, appendix 7.1, has it for two makers). Between breakpoints of the laws the integrands are
polynomials in ε, which Gauss-Legendre quadrature integrates exactly.

Units: alpha is in currency a step; for N unit investors it is N / 2 times the mid times E[S_ref(1)].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from twosided.core.numeric import Array
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution, PointMass


@dataclass(frozen=True, kw_only=True)
class FixedMaker:
    """A maker that draws its action from fixed laws, independently for each part and on each step."""

    buy: Distribution
    """Law of ε_b, its epsilon when it buys."""
    sell: Distribution
    """Law of ε_s, its epsilon when it sells."""
    hedge: Distribution = PointMass(0.0)
    """Law of x, the fraction of its inventory that it hedges in a step; in [0, 1]."""

    def __post_init__(self):
        smallest, largest = self.hedge.support
        check("hedge", self.hedge.support, "a law on [0, 1]", smallest >= 0 and largest <= 1)


def tie_law(epsilon: ArrayLike, rivals: Sequence[Distribution]) -> Array:
    """P[exactly k rivals quote epsilon and all others are worse]; last axis k = 0..len(rivals)."""
    epsilon = np.asarray(epsilon, float)
    law = np.zeros((*epsilon.shape, len(rivals) + 1))
    law[..., 0] = 1.0
    for rival in rivals:
        tied = law[..., :-1] * rival.mass(epsilon)[..., None]
        law *= rival.survival(epsilon)[..., None]
        law[..., 1:] += tied
    return law


def win_law(quotes: Sequence[Distribution], seat: int) -> tuple[Array, Array]:
    """For one side, P[the seat is among the best k] and E[(1 + ε) 1{the same}], k = 1..len(quotes)."""
    own, rivals = quotes[seat], [*quotes[:seat], *quotes[seat + 1 :]]
    cuts = np.unique(np.concatenate([law.breakpoints for law in quotes]))
    epsilon, weights = quadrature(own, cuts, degree=len(quotes))
    law = tie_law(epsilon, rivals)
    return weights @ law, (weights * (1 + epsilon)) @ law


def expected_spread_pnl(makers: Sequence[FixedMaker], value_per_side: float) -> Array:
    """Every maker's expected spread PnL a step, in the unit of value_per_side (alpha, currency a step)."""
    check("value_per_side", value_per_side, "at least 0 and finite", lambda: is_at_least(value_per_side, 0))
    split = 1.0 / np.arange(1, len(makers) + 1)
    margins = [win_law(side, seat)[1] @ split for side in _sides(makers) for seat in range(len(makers))]
    return value_per_side * np.reshape(margins, (2, len(makers))).sum(0)


def market_share(makers: Sequence[FixedMaker]) -> Array:
    """Every maker's expected share of the volume that investors trade, both sides being alike; sums to 1."""
    split = 1.0 / np.arange(1, len(makers) + 1)
    shares = [win_law(side, seat)[0] @ split for side in _sides(makers) for seat in range(len(makers))]
    return np.reshape(shares, (2, len(makers))).mean(0)


def quadrature(law: Distribution, cuts: Array, degree: int) -> tuple[Array, Array]:
    """Points and weights with E f(X) = Σ weight f(point), f a polynomial of that degree between the cuts.

    The cuts contain the law's own breakpoints; at its atoms f may take any value.
    """
    values, probabilities = law.atoms
    middle, half = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts) / 2
    density = law.density(middle)
    middle, half, density = middle[density > 0], half[density > 0], density[density > 0]
    node, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    points = middle[:, None] + half[:, None] * node
    weights = (density * half)[:, None] * weight
    return np.append(values, points.ravel()), np.append(probabilities, weights.ravel())


def _sides(makers: Sequence[FixedMaker]) -> tuple[list[Distribution], list[Distribution]]:
    check("makers", len(makers), "one or more", len(makers) > 0)
    return [maker.buy for maker in makers], [maker.sell for maker in makers]
