"""Exact best response to competitors that quote from fixed distributions: Theorem 1 of Ganesh et al. (2019).

On one side of a dealer market (see spread_pnl.py), a maker that quotes ε against independent competitors earns, per
unit of alpha,

    own       h(ε) = (1 + ε) W(ε)
    excess    h(ε) = (1 + ε) W(ε) - w [(1 + ε)(1 - W(ε)) - E(ε - Y)⁺],    w = 1 / number of competitors

where W(ε) is the probability of winning an order and Y the smallest ε of the competitors. The bracket is the spread
PnL of all competitors, E[(1 + min(Y, ε)) 1{a competitor wins}], so "excess" is the spread PnL of the maker less the
mean spread PnL of its competitors. For one competitor with distribution function F and tie probability p,
W(ε) = 1 - F(ε) + p P[Y = ε], and "own" is the h of Theorem 1 (section 5.1, proof in appendix 7.1). If investors are
informed, each order costs its winner c per unit of alpha (order_values.py), and 1 + ε - c replaces 1 + ε throughout.

Between breakpoints of the distributions W is a product of linear functions S_j, and

    h'(ε) = W(ε) + (1 + w)(1 + ε - c) W'(ε)

is a polynomial, linear for one competitor. The supremum of h is attained or approached at a root of h', at a
breakpoint, or at a limit from either side of a breakpoint. If the best quote is to undercut an atom of a competitor,
the supremum is a limit from the left that no ε attains.

The supremum over both sides, without hedging, is also the supremum of the maker's own total PnL over all policies if
the midprice has no drift and no investor is informed: then the best quote does not depend on the observation, the
expected inventory PnL is 0, and hedging only costs. With informed investors c depends on the book: see tiers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike

from twosided.core.numeric import FloatArray, FloatValues
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.spread_pnl import FixedMaker, tie_count_distribution

Objective = Literal["own", "excess"]
"""Objective of a maker: its own spread PnL, or its spread PnL less the mean of its competitors."""

ROUNDING = 1e-12
"""Tolerance below which two values of h count as equal: the error of float64 sums of probabilities."""


@dataclass(frozen=True)
class BestResponse:
    """Best response on one side, per unit of alpha."""

    supremum: float
    """sup h over the range of ε."""
    attained: bool
    """Whether some ε attains the supremum."""
    epsilon: float
    """An ε that attains the supremum, or that is within the tolerance of it."""
    maximizers: tuple[float, ...]
    """All ε at which the supremum is attained or approached, ascending."""


@dataclass(frozen=True)
class TwoSidedBestResponse:
    """Best responses on both sides."""

    value: float
    """Supremum of the objective, in the unit of value_per_side, currency per step."""
    buy: BestResponse
    """Best response where the maker buys, ε_b."""
    sell: BestResponse
    """Best response where the maker sells, ε_s."""


def best_response(
    competitors: Distribution | Sequence[Distribution],
    *,
    objective: Objective = "own",
    cost: float = 0.0,
    tie_probability: float | None = None,
    tolerance: float = 1e-6,
    low: float = -1.0,
    high: float = 1.0,
) -> BestResponse:
    """Return the supremum of h over [low, high], whether it is attained, and an ε within the tolerance of it.

    `cost` is c. If it is positive h can be negative, and the best response may be to lose every order.
    `tie_probability` is p, the probability of winning an order when tied with a single competitor; None means 1/k
    among k makers. `tolerance` is on the value, per unit of alpha. Raises ValueError for an invalid argument.
    """
    quotes = _as_list(competitors)
    weight = _competitor_weight(objective, quotes)
    win_shares = _win_shares(tie_probability, quotes)
    check("tolerance", tolerance, f"finite and at least {ROUNDING}", lambda: is_at_least(tolerance, ROUNDING))
    _check_cost(cost)
    check("low", low, "finite", lambda: np.isfinite(low))
    check("high", high, f"finite and above low ({low})", lambda: np.isfinite(high) and high > low)

    kinks = np.concatenate([[low, high], *(quote.breakpoints for quote in quotes)])
    cuts = np.unique(kinks[(kinks >= low) & (kinks <= high)])
    start, end, middle = cuts[:-1], cuts[1:], (cuts[:-1] + cuts[1:]) / 2
    open_interval = (start < middle) & (middle < end)  # otherwise there is no float64 between the ends
    start, end, middle = start[open_interval], end[open_interval], middle[open_interval]
    # One row per competitor, one column per interval: survival function just inside either end, and density.
    after_start = _rows(quotes, [quote.survival(start) for quote in quotes])
    before_end = _rows(quotes, [quote.survival(end) + quote.mass(end) for quote in quotes])
    density = _rows(quotes, [quote.density(middle) for quote in quotes])

    stationary = _stationary_points(start, end, after_start, before_end, density, 1 + weight, cost)
    attainable = np.concatenate([cuts, stationary])
    candidates = np.concatenate([attainable, end, start])
    approach = np.repeat([0, -1, 1], [attainable.size, end.size, start.size])
    win_probability = np.concatenate(
        [tie_count_distribution(attainable, quotes) @ win_shares, before_end.prod(0), after_start.prod(0)]
    )
    values = _objective(candidates, win_probability, quotes, weight, cost)

    supremum = float(values.max())
    best = np.flatnonzero(values >= supremum - ROUNDING * max(1.0, abs(supremum)))
    attained = best[approach[best] == 0]
    if attained.size:
        epsilon = candidates[attained[0]]
    else:
        # |h'| <= 1 + (1 + w)|1 + ε - c| Σ_j f_j gives a distance at which h has changed by half the tolerance.
        interval = (best[0] - attainable.size) % end.size
        steepest = 1 + (1 + weight) * (1 + cost + max(abs(low), abs(high))) * density[:, interval].sum()
        step = min(tolerance / steepest, end[interval] - start[interval]) / 2
        limit = candidates[best[0]]
        toward = limit + approach[best[0]] * step
        epsilon = toward if toward != limit else np.nextafter(limit, middle[interval])
    return BestResponse(
        supremum=supremum,
        attained=bool(attained.size),
        epsilon=float(epsilon),
        maximizers=tuple(np.unique(candidates[best]).tolist()),
    )


def objective_value(
    epsilon: ArrayLike,
    competitors: Distribution | Sequence[Distribution],
    *,
    objective: Objective = "own",
    cost: float = 0.0,
    tie_probability: float | None = None,
) -> FloatValues:
    """Return h(ε), the expected spread PnL of one side less the cost of the orders, per unit of alpha.

    The arguments are those of `best_response`.
    """
    _check_cost(cost)
    quotes = _as_list(competitors)
    epsilon = np.asarray(epsilon, float)
    win_probability = tie_count_distribution(epsilon, quotes) @ _win_shares(tie_probability, quotes)
    return _objective(epsilon, win_probability, quotes, _competitor_weight(objective, quotes), cost)


def total_pnl_supremum(
    competitors: Sequence[FixedMaker],
    value_per_side: float,
    *,
    objective: Objective = "own",
    tie_probability: float | None = None,
    tolerance: float = 1e-6,
) -> TwoSidedBestResponse:
    """Return the supremum per step over both sides, without hedging.

    "own" is the exact supremum of the maker's own total PnL if there is no drift, no informed investor and no risk
    penalty. "excess" is the exact supremum of excess spread PnL only: excess total PnL includes the hedge costs of the
    competitors, which increase with the flow that the maker leaves to them, and has a different supremum.
    """
    check("value_per_side", value_per_side, "at least 0 and finite", lambda: is_at_least(value_per_side, 0))
    buy, sell = (
        best_response(quotes, objective=objective, tie_probability=tie_probability, tolerance=tolerance)
        for quotes in ([maker.buy for maker in competitors], [maker.sell for maker in competitors])
    )
    return TwoSidedBestResponse(value=value_per_side * (buy.supremum + sell.supremum), buy=buy, sell=sell)


def _objective(
    epsilon: FloatValues,
    win_probability: FloatValues,
    quotes: Sequence[Distribution],
    weight: float,
    cost: float,
) -> FloatValues:
    price = 1 + epsilon - cost
    competitors = price * (1 - win_probability) - _expected_undercut(epsilon, quotes) if weight else 0.0
    return price * win_probability - weight * competitors


def _expected_undercut(epsilon: FloatValues, quotes: Sequence[Distribution]) -> FloatValues:
    """Return E(ε - Y)⁺ = ∫_{-∞}^ε P[Y <= y] dy, exactly, since P[Y <= y] is a polynomial between breakpoints."""
    cuts = np.unique(np.concatenate([epsilon.ravel(), *(quote.breakpoints for quote in quotes)]))
    node, weight = np.polynomial.legendre.leggauss(len(quotes) // 2 + 1)
    half = np.diff(cuts)[:, None] / 2
    y = cuts[:-1, None] + half * (1 + node)
    cdf = 1 - np.prod([quote.survival(y) for quote in quotes], axis=0)
    integral = np.append(0.0, np.cumsum((half * cdf) @ weight))
    return integral[np.searchsorted(cuts, epsilon)]


def _stationary_points(
    start: FloatArray,
    end: FloatArray,
    after_start: FloatArray,
    before_end: FloatArray,
    density: FloatArray,
    weight: float,
    cost: float,
) -> FloatArray:
    """Return the interior maxima of h in each interval: roots of h' = Π S_j (1 - weight (1 + ε - c) Σ_j f_j / S_j).

    The sum increases in ε, and so does its product with 1 + ε - c where that is positive, so h has at most one interior
    maximum, and only if it rises at the start of the interval and falls at its end. If some S_j is 0, h is constant on
    the interval and its midpoint is returned.
    """
    constant = (after_start == 0).any(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rises = weight * (1 + start - cost) * (density / after_start).sum(0) < 1
        falls = ~(weight * (1 + end - cost) * (density / before_end).sum(0) <= 1)
    found = [(start[constant] + end[constant]) / 2]
    for k in np.flatnonzero(rises & falls & ~constant):
        # In the local variable u = ε - start, so that the coefficients are well scaled.
        win = Polynomial([1.0])
        for survival, slope in zip(after_start[:, k], density[:, k], strict=True):
            win *= Polynomial([survival, -slope])
        derivative = win + weight * Polynomial([1 + start[k] - cost, 1.0]) * win.deriv()
        roots = start[k] + derivative.roots().real
        found.append(roots[(start[k] < roots) & (roots < end[k])])
    return np.concatenate(found)


def _check_cost(cost: float) -> None:
    check("cost", cost, "at least 0 and finite", lambda: is_at_least(cost, 0))


def _rows(quotes: Sequence[Distribution], values: list[FloatArray]) -> FloatArray:
    """Stack the values, one row per competitor; there may be none."""
    return np.array(values).reshape(len(quotes), -1) if quotes else np.ones((0, 1))


def _as_list(competitors: Distribution | Sequence[Distribution]) -> list[Distribution]:
    return [competitors] if isinstance(competitors, Distribution) else list(competitors)


def _competitor_weight(objective: Objective, quotes: Sequence[Distribution]) -> float:
    """Return w, the weight of the total spread PnL of the competitors in the objective."""
    check("objective", objective, "'own' or 'excess'", objective in ("own", "excess"))
    return 1 / len(quotes) if objective == "excess" and quotes else 0.0


def _win_shares(tie_probability: float | None, quotes: Sequence[Distribution]) -> FloatArray:
    """Return the probability of winning an order when tied with k competitors, k = 0..number of competitors."""
    if tie_probability is None:
        return 1.0 / np.arange(1, len(quotes) + 2)
    check("tie_probability", tie_probability, "in [0, 1]", lambda: 0 <= tie_probability <= 1)
    single = "None unless there is exactly one competitor"
    check("tie_probability", tie_probability, single, len(quotes) == 1)
    return np.array([1.0, tie_probability])
