"""Optimal quotes against informed investors, with a quote per investor tier or one quote for all tiers.

On one side of the market (order_values.py) a maker that quotes ε earns A (1 + ε) - C if it wins, so Theorem 1 holds per
unit of A with the cost c = C / A (best_response.py). With H(c) = sup_ε h(ε; c),

    constant quotes                      E[A] H(C / E[A])
    quotes that depend on the book       E[A H(C / A)], the supremum over all policies

If the exchange's spread is wide, A is large and c is small: a maker quotes a larger ε when the exchange's spread is
narrow. H is convex, so the second value is no less than the first. Sides and tiers add up; a maker that cannot tell
tiers apart has the sums over tiers for A and C. The value of tiering is the difference between the two suprema.

The second value is exact only if price moves are proportional to the midprice, as A is. Both are exact only without
drift, for investors that know at most one step, and for competitors that quote from fixed distributions, the same for
all tiers. Hedging only costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.best_response import Objective, TwoSidedBestResponse, best_response
from twosided.dealer.exact.order_values import SideOrders, TierOrders, orders_by_tier
from twosided.dealer.exact.spread_pnl import FixedMaker
from twosided.dealer.exact.total_pnl import fixed_maker, require_dealer_market
from twosided.prices import GeometricBrownian

NUM_CHORDS = 512
"""Number of chords of H on [0, 2]; they exceed H by less than 1e-6 (tests/dealer/test_tiers.py)."""


@dataclass(frozen=True)
class FixedQuotes:
    """Optimal constant quotes."""

    value: float
    """Supremum of the objective over constant quotes, in currency per step."""
    tiers: tuple[TwoSidedBestResponse, ...]
    """Best responses by tier; a single entry if makers do not quote by tier."""


def best_fixed_quotes(scenario: Scenario, objective: Objective = "own") -> FixedQuotes:
    """Return the optimal constant quotes of the learner. Raises NotExact."""
    competitors = _competitors(scenario)
    tiers = []
    for orders in _orders_by_quote(scenario):
        sides = (
            ([competitor.buy for competitor in competitors], orders.buy),
            ([competitor.sell for competitor in competitors], orders.sell),
        )
        buy, sell = (best_response(quotes, objective=objective, cost=side.cost) for quotes, side in sides)
        value = orders.buy.value * buy.supremum + orders.sell.value * sell.supremum
        tiers.append(TwoSidedBestResponse(value, buy, sell))
    return FixedQuotes(sum(tier.value for tier in tiers), tuple(tiers))


def supremum(scenario: Scenario, objective: Objective = "own") -> float:
    """Return the supremum of the learner's total PnL over all policies, in currency per step.

    "excess" is the supremum of excess PnL before hedging (see best_response.py). Raises NotExact.
    """
    market = require_dealer_market(scenario)
    if market.flow.lookahead and not isinstance(market.price, GeometricBrownian):
        raise NotExact("with informed investors the exact optimum needs a geometric Brownian midprice")
    competitors = _competitors(scenario)
    buy = SupremumCurve([competitor.buy for competitor in competitors], objective)
    sell = SupremumCurve([competitor.sell for competitor in competitors], objective)
    return sum(buy.value(orders.buy) + sell.value(orders.sell) for orders in _orders_by_quote(scenario))


def value_of_tiering(scenario: Scenario, objective: Objective = "own") -> float:
    """Return the supremum with a quote per tier less the supremum with one quote for all, in currency per step.

    Raises NotExact.
    """
    separate, common = (
        replace(scenario, market=replace(require_dealer_market(scenario), by_tier=by_tier))
        for by_tier in (True, False)
    )
    return supremum(separate, objective) - supremum(common, objective)


class SupremumCurve:
    """H(c) of one side, by chords: convex, and linear for c >= 2, where every win makes a loss and ε = 1 is best."""

    def __init__(self, quotes: Sequence[Distribution], objective: Objective):
        self.costs = np.append(np.linspace(0.0, 2.0, NUM_CHORDS + 1), 3.0)
        found = [best_response(quotes, objective=objective, cost=float(cost)).supremum for cost in self.costs]
        self.suprema = np.array(found)

    def value(self, orders: SideOrders) -> float:
        """Return E[A H(C / A)], in currency per step; 0 if A is 0."""
        if orders.value == 0:
            return 0.0
        return float((orders.values * self(orders.toxicity / orders.values)).mean())

    def __call__(self, cost: FloatArray) -> FloatArray:
        beyond = np.maximum(cost - 3.0, 0.0) * (self.suprema[-1] - self.suprema[-2])
        return np.interp(cost, self.costs, self.suprema) + beyond


def _orders_by_quote(scenario: Scenario) -> tuple[TierOrders, ...]:
    """The orders to which a maker can give a quote of their own: by tier, or the sum over tiers."""
    market = require_dealer_market(scenario)
    tiers = orders_by_tier(market)
    return tiers if market.by_tier else (reduce(add, tiers),)


def _competitors(scenario: Scenario) -> list[FixedMaker]:
    return [fixed_maker(policy) for policy in scenario.competitors]
