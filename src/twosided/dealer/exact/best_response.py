"""The exact best response to competitors that quote from fixed laws: Theorem 1 of Ganesh et al. (2019).

On one side of a dealer market (see spread_pnl.py), a maker that quotes ε against independent competitors
earns, per unit of alpha,

    own       h(ε) = (1 + ε) W(ε)
    excess    h(ε) = (1 + ε) W(ε) - w [(1 + ε)(1 - W(ε)) - E(ε - Y)⁺],    w = 1 / number of competitors

where W(ε) is its probability of winning an order and Y the best of the competitors' epsilons. The bracket is
what the competitors earn together, E[(1 + min(Y, ε)) 1{a competitor wins}], so "excess" is the maker's spread
PnL less its competitors' mean. For one competitor with law F and tie probability p,
W(ε) = 1 - F(ε) + p P[Y = ε], the theorem's h. Where each order costs whoever wins it c per unit of alpha, because
investors know more than makers do (order_flow.py), 1 + ε - c stands for 1 + ε throughout.

Between breakpoints of the laws W is the product of linear functions S_j and

    h'(ε) = W(ε) + (1 + w)(1 + ε - c) W'(ε)

a polynomial, linear for one competitor: its roots, the breakpoints themselves and the limits from either side
of them are the only places where h can be largest. Where a competitor has an atom that is best undercut, the
supremum is a limit from the left that no epsilon attains.

The supremum on both sides, with no hedging, is also that of the maker's own total PnL over all policies, when
the midprice has no drift and investors no foresight: the best quote depends on nothing that a maker sees, the
inventory's expected PnL is 0, and hedging only costs. With foresight c depends on the book: see tiers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike

from twosided.core.numeric import Array
from twosided.core.validation import check, is_at_least
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.spread_pnl import FixedMaker, tie_law

Objective = Literal["own", "excess"]
"""What a maker maximises: its own spread PnL, or that less the mean of its competitors'."""

ROUNDING = 1e-12
"""Values that differ by less are taken as equal: the error of float64 sums of probabilities."""


@dataclass(frozen=True)
class BestResponse:
    """The supremum of one side, per unit of alpha."""

    supremum: float
    """sup h, which no epsilon of the range exceeds."""
    attained: bool
    """Whether some epsilon reaches it."""
    epsilon: float
    """Reaches it if attained; else comes within the tolerance that was asked for."""
    points: tuple[float, ...]
    """Where the supremum is attained or approached, ascending."""


@dataclass(frozen=True)
class Optimum:
    """The supremum over both sides."""

    value: float
    """In the unit of value_per_side, currency a step."""
    buy: BestResponse
    sell: BestResponse


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
    """The supremum of h over [low, high], whether it is attained, and an epsilon within the tolerance of it.

    `cost` is c. With it h can be negative, and to lose every order on purpose the best that there is.

    `tie_probability` is p, the chance of winning an order when tied with a single competitor; None is fair,
    1/k among k makers. The tolerance is on the value, per unit of alpha.
    """
    laws = _listed(competitors)
    relative = _relative_weight(objective, laws)
    split = _split(tie_probability, laws)
    check("tolerance", tolerance, f"finite and at least {ROUNDING}", lambda: is_at_least(tolerance, ROUNDING))
    _check_cost(cost)
    check("low", low, "finite", lambda: np.isfinite(low))
    check("high", high, f"finite and above low ({low})", lambda: np.isfinite(high) and high > low)

    kinks = np.concatenate([[low, high], *(law.breakpoints for law in laws)])
    cuts = np.unique(kinks[(kinks >= low) & (kinks <= high)])
    start, end, middle = cuts[:-1], cuts[1:], (cuts[:-1] + cuts[1:]) / 2
    open_interval = (start < middle) & (middle < end)  # else no float64 lies between
    start, end, middle = start[open_interval], end[open_interval], middle[open_interval]
    # A competitor a row, an interval a column: the chance that its epsilon is larger, just inside either end.
    after_start = _rows(laws, [law.survival(start) for law in laws])
    before_end = _rows(laws, [law.survival(end) + law.mass(end) for law in laws])
    density = _rows(laws, [law.density(middle) for law in laws])

    turning = _stationary_points(start, end, after_start, before_end, density, 1 + relative, cost)
    reached = np.concatenate([cuts, turning])
    points = np.concatenate([reached, end, start])
    approach = np.repeat([0, -1, 1], [reached.size, end.size, start.size])
    wins = np.concatenate([tie_law(reached, laws) @ split, before_end.prod(0), after_start.prod(0)])
    values = _payoff(points, wins, laws, relative, cost)

    supremum = float(values.max())
    best = np.flatnonzero(values >= supremum - ROUNDING * max(1.0, abs(supremum)))
    attained = best[approach[best] == 0]
    if attained.size:
        epsilon = points[attained[0]]
    else:
        # |h'| <= 1 + (1 + w)|1 + ε - c| Σ_j f_j gives a distance at which h has changed by half the tolerance.
        interval = (best[0] - reached.size) % end.size
        steepest = 1 + (1 + relative) * (1 + cost + max(abs(low), abs(high))) * density[:, interval].sum()
        step = min(tolerance / steepest, end[interval] - start[interval]) / 2
        toward = points[best[0]] + approach[best[0]] * step
        epsilon = toward if toward != points[best[0]] else np.nextafter(points[best[0]], middle[interval])
    return BestResponse(
        supremum=supremum,
        attained=bool(attained.size),
        epsilon=float(epsilon),
        points=tuple(np.unique(points[best]).tolist()),
    )


def payoff(
    epsilon: ArrayLike,
    competitors: Distribution | Sequence[Distribution],
    *,
    objective: Objective = "own",
    cost: float = 0.0,
    tie_probability: float | None = None,
) -> Array:
    """h(ε), expected spread PnL of one side, less the orders' cost, per unit of alpha, at any epsilon."""
    _check_cost(cost)
    laws = _listed(competitors)
    epsilon = np.asarray(epsilon, float)
    wins = tie_law(epsilon, laws) @ _split(tie_probability, laws)
    return _payoff(epsilon, wins, laws, _relative_weight(objective, laws), cost)


def total_pnl_supremum(
    competitors: Sequence[FixedMaker],
    value_per_side: float,
    *,
    objective: Objective = "own",
    tie_probability: float | None = None,
    tolerance: float = 1e-6,
) -> Optimum:
    """The supremum a step over both sides, with no hedging.

    "own" is the exact supremum of the maker's own total PnL: no drift, no foresight, no aversion to risk.
    "excess" is the exact supremum of excess spread PnL only. In excess total PnL the competitors' hedge cost
    counts too, and it grows with the flow that a maker leaves to them: its supremum is a different one.
    """
    check("value_per_side", value_per_side, "at least 0 and finite", lambda: is_at_least(value_per_side, 0))
    buy, sell = (
        best_response(laws, objective=objective, tie_probability=tie_probability, tolerance=tolerance)
        for laws in ([maker.buy for maker in competitors], [maker.sell for maker in competitors])
    )
    return Optimum(value=value_per_side * (buy.supremum + sell.supremum), buy=buy, sell=sell)


def _payoff(epsilon: Array, wins: Array, laws: Sequence[Distribution], relative: float, cost: float) -> Array:
    price = 1 + epsilon - cost
    competitors = price * (1 - wins) - _undercut(epsilon, laws) if relative else 0.0
    return price * wins - relative * competitors


def _undercut(epsilon: Array, laws: Sequence[Distribution]) -> Array:
    """E(ε - Y)⁺ = ∫_{-∞}^ε P[Y <= y] dy, exactly: between breakpoints P[Y <= y] is a polynomial."""
    cuts = np.unique(np.concatenate([epsilon.ravel(), *(law.breakpoints for law in laws)]))
    node, weight = np.polynomial.legendre.leggauss(len(laws) // 2 + 1)
    half = np.diff(cuts)[:, None] / 2
    y = cuts[:-1, None] + half * (1 + node)
    cdf = 1 - np.prod([law.survival(y) for law in laws], axis=0)
    integral = np.append(0.0, np.cumsum((half * cdf) @ weight))
    return integral[np.searchsorted(cuts, epsilon)]


def _stationary_points(
    start: Array,
    end: Array,
    after_start: Array,
    before_end: Array,
    density: Array,
    weight: float,
    cost: float,
) -> Array:
    """Where h' = Π S_j (1 - weight (1 + ε - c) Σ_j f_j / S_j) is 0 inside an interval and h is largest there.

    The sum grows with ε, and so does the product where it is positive, so h has at most one maximum in an
    interval, and one only if it rises at its start and falls at its end. Where some S_j is 0, h is constant and
    any point will do.
    """
    constant = (after_start == 0).any(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rises = weight * (1 + start - cost) * (density / after_start).sum(0) < 1
        falls = ~(weight * (1 + end - cost) * (density / before_end).sum(0) <= 1)
    found = [(start[constant] + end[constant]) / 2]
    for k in np.flatnonzero(rises & falls & ~constant):
        # In the local variable u = ε - start, which keeps the coefficients well scaled.
        win = Polynomial([1.0])
        for survival, slope in zip(after_start[:, k], density[:, k], strict=True):
            win *= Polynomial([survival, -slope])
        derivative = win + weight * Polynomial([1 + start[k] - cost, 1.0]) * win.deriv()
        roots = start[k] + derivative.roots().real
        found.append(roots[(start[k] < roots) & (roots < end[k])])
    return np.concatenate(found)


def _check_cost(cost: float) -> None:
    check("cost", cost, "at least 0 and finite", lambda: is_at_least(cost, 0))


def _rows(laws: Sequence[Distribution], values: list[Array]) -> Array:
    """One row a law, of which there may be none."""
    return np.array(values).reshape(len(laws), -1) if laws else np.ones((0, 1))


def _listed(competitors: Distribution | Sequence[Distribution]) -> list[Distribution]:
    return [competitors] if isinstance(competitors, Distribution) else list(competitors)


def _relative_weight(objective: Objective, laws: Sequence[Distribution]) -> float:
    """w, what a unit of PnL of the competitors together costs the maker."""
    check("objective", objective, "'own' or 'excess'", objective in ("own", "excess"))
    return 1 / len(laws) if objective == "excess" and laws else 0.0


def _split(tie_probability: float | None, laws: Sequence[Distribution]) -> Array:
    """The chance of winning an order when tied with k competitors, k = 0..len(laws)."""
    if tie_probability is None:
        return 1.0 / np.arange(1, len(laws) + 2)
    check("tie_probability", tie_probability, "in [0, 1]", lambda: 0 <= tie_probability <= 1)
    single = "None against more or fewer competitors than one"
    check("tie_probability", tie_probability, single, len(laws) == 1)
    return np.array([1.0, tie_probability])
