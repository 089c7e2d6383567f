"""The best against investors who know the next move of the midprice, tier by tier or with one price for all.

On a side of the market (order_flow.py) a maker that quotes ε earns A (1 + ε) - C where it wins, so Theorem 1 holds per
unit of A with the cost c = C / A (best_response.py): with H(c) = sup_ε h(ε; c),

    with quotes that stay the same      E[A] H(C / E[A])
    with quotes that follow the book    E[A H(C / A)], the supremum over all policies

A is larger where the book is dear, and c smaller: a maker quotes wider when the exchange quotes tight. H is convex,
so the second is no less than the first. Sides and tiers add up; a maker that cannot tell tiers apart has their sums
for A and C. What knowing the client earns is the difference between the two.

The second is exact only for a midprice whose moves grow with it, as A does; both only without drift and for investors
who know no more than one step. Competitors quote from fixed laws, the same for all tiers. Hedging only costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from twosided.core.numeric import Array
from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.best_response import Objective, Optimum, best_response
from twosided.dealer.exact.order_values import SideOrders, TierOrders, orders_by_tier
from twosided.dealer.exact.spread_pnl import FixedMaker
from twosided.dealer.exact.total_pnl import dealer_of, fixed_maker
from twosided.prices import GeometricBrownian

CHORDS = 512
"""Of H over [0, 2]; they are above it by some 1e-6 (tests/test_tiers.py)."""


@dataclass(frozen=True)
class FixedQuotes:
    """The best quotes that stay the same."""

    value: float
    """What they earn, or approach, in currency a step."""
    tiers: tuple[Optimum, ...]
    """The quotes of each tier; a single pair where makers do not quote by tier."""


def best_fixed_quotes(scenario: Scenario, objective: Objective = "own") -> FixedQuotes:
    """The best quotes of a learner that never changes them. Raises NotExact."""
    rivals = _rivals(scenario)
    tiers = []
    for orders in _priced_apart(scenario):
        sides = ([rival.buy for rival in rivals], orders.buy), ([rival.sell for rival in rivals], orders.sell)
        buy, sell = (best_response(laws, objective=objective, cost=side.cost) for laws, side in sides)
        value = orders.buy.value * buy.supremum + orders.sell.value * sell.supremum
        tiers.append(Optimum(value, buy, sell))
    return FixedQuotes(sum(tier.value for tier in tiers), tuple(tiers))


def supremum(scenario: Scenario, objective: Objective = "own") -> float:
    """The supremum of the learner's PnL a step over all policies, in currency. Raises NotExact.

    "excess" is that of excess PnL before hedging (see best_response.py).
    """
    market = dealer_of(scenario)
    if market.flow.lookahead and not isinstance(market.price, GeometricBrownian):
        raise NotExact("the optimum is exact only for a midprice whose moves grow with it, a geometric one")
    rivals = _rivals(scenario)
    buy = _Envelope([rival.buy for rival in rivals], objective)
    sell = _Envelope([rival.sell for rival in rivals], objective)
    return sum(buy.value(orders.buy) + sell.value(orders.sell) for orders in _priced_apart(scenario))


def value_of_knowing(scenario: Scenario, objective: Objective = "own") -> float:
    """What quoting each tier its own epsilon earns over one for all, at the best of both, currency a step.

    Raises NotExact.
    """
    apart, together = (
        replace(scenario, market=replace(dealer_of(scenario), by_tier=by_tier)) for by_tier in (True, False)
    )
    return supremum(apart, objective) - supremum(together, objective)


class _Envelope:
    """H for one side: convex, a straight line from c = 2 on, where no win can earn and ε = 1 is best."""

    def __init__(self, laws: Sequence[Distribution], objective: Objective):
        self.costs = np.append(np.linspace(0.0, 2.0, CHORDS + 1), 3.0)
        found = [best_response(laws, objective=objective, cost=float(cost)).supremum for cost in self.costs]
        self.suprema = np.array(found)

    def value(self, orders: SideOrders) -> float:
        """E[A H(C / A)]; where A is 0 nothing is traded."""
        if orders.value == 0:
            return 0.0
        return float((orders.values * self(orders.toxicity / orders.values)).mean())

    def __call__(self, cost: Array) -> Array:
        beyond = np.maximum(cost - 3.0, 0.0) * (self.suprema[-1] - self.suprema[-2])
        return np.interp(cost, self.costs, self.suprema) + beyond


def _priced_apart(scenario: Scenario) -> tuple[TierOrders, ...]:
    """The orders that a maker has a price of its own for."""
    market = dealer_of(scenario)
    tiers = orders_by_tier(market)
    return tiers if market.by_tier else (reduce(add, tiers),)


def _rivals(scenario: Scenario) -> list[FixedMaker]:
    return [fixed_maker(policy) for policy in scenario.competitors]
