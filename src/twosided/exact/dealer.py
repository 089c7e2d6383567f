"""What is exact about a scenario of the dealer market: its optimum, and what fixed makers earn in it.

The optimum of a maker's own total PnL is Theorem 1's spread PnL on both sides with no hedging, less what the orders
that it wins lose to informed investors. It is exact when competitors quote from fixed laws, the midprice has no
drift, and investors know nothing of it beyond the step that they trade in: nothing that a maker sees then says
anything of what comes. What orders are worth and what they cost is in order_flow.py.

Where makers quote by tier, each tier has an optimum of its own, and they add up. What knowing the client earns is
the difference between that sum and the optimum of one price for all.
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from twosided.distributions import Array, PointMass, Uniform
from twosided.exact.best_response import Objective, Optimum, best_response
from twosided.exact.cost_curve import CostCurve
from twosided.exact.hedge_cost import HedgeCost, expected_hedge_cost, net_flow_law
from twosided.exact.order_flow import NotExact, TierOrders, orders_by_tier
from twosided.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share
from twosided.flow import Investors, UnitInvestors
from twosided.markets.base import Scenario
from twosided.markets.dealer import DealerMarket
from twosided.policies.rules import Persistent, Random
from twosided.types import Policy


@dataclass(frozen=True)
class TierOptimum:
    """The supremum over all that a maker who tells tiers apart can quote."""

    value: float
    """In currency a step."""
    tiers: tuple[Optimum, ...]


def optimum(scenario: Scenario, objective: Objective = "own") -> Optimum:
    """The supremum of the learner's total PnL a step, and the quotes that reach or approach it.

    "excess" is the supremum of excess PnL before hedging (see best_response.py). Raises NotExact.
    """
    market = _dealer(scenario)
    if market.by_tier and market.flow.tiers > 1:
        raise NotExact("makers that quote by tier have an optimum for each tier and none in two numbers")
    return _optimum(_rivals(scenario), reduce(add, orders_by_tier(market)), objective)


def optimum_by_tier(scenario: Scenario, objective: Objective = "own") -> TierOptimum:
    """The same for a learner that quotes each tier its own epsilon, tier by tier. Raises NotExact."""
    rivals = _rivals(scenario)
    tiers = tuple(_optimum(rivals, orders, objective) for orders in orders_by_tier(_dealer(scenario)))
    return TierOptimum(sum(tier.value for tier in tiers), tiers)


def value_of_knowing(scenario: Scenario, objective: Objective = "own") -> float:
    """What quoting each tier its own epsilon earns over one for all, currency a step, at the best of both.

    Competitors quote as they do, one epsilon for all. Raises NotExact.
    """
    one_price = replace(_dealer(scenario), by_tier=False)
    one = optimum(replace(scenario, market=one_price), objective)
    return optimum_by_tier(scenario, objective).value - one.value


def value_per_side(market: DealerMarket) -> float:
    """alpha: what investors trade on one side in a step is worth at ε = 0, in currency. Raises NotExact.

    P_0 · N/2 · P[arrival] · E[|v| S_ref(v)], sizes and books being independent of each other and of the mid.
    """
    if market.flow.lookahead:
        raise NotExact("investors who know where the midprice goes bring no sides that are worth the same")
    return reduce(add, orders_by_tier(market)).buy.value


def fixed_maker(policy: Policy) -> FixedMaker:
    """A policy as laws of its action. Raises NotExact if it has none that stay the same."""
    if isinstance(policy, Persistent):
        quotes = (policy.epsilon_buy, policy.epsilon_sell, policy.hedge)
        buy, sell, hedge = (PointMass(float(value)) for value in quotes)
        return FixedMaker(buy=buy, sell=sell, hedge=hedge)
    if isinstance(policy, Random):
        epsilon = _uniform(policy.low, policy.high)
        return FixedMaker(buy=epsilon, sell=epsilon, hedge=_uniform(policy.hedge_low, policy.hedge_high))
    raise NotExact(f"{type(policy).__name__} quotes from no fixed law, so no best response to it is known")


def fixed_values(scenario: Scenario, policy: Policy) -> tuple[Array, Array, list[HedgeCost]]:
    """Spread PnL a step, market share and hedge cost a step of every maker, the policy in the learner's seat.

    For unit orders and makers that quote from fixed laws with independent draws on the two sides. Raises
    NotExact.
    """
    market = _dealer(scenario)
    value = value_per_side(market)
    mid = float(market.price.reset(np.zeros(())).mid)
    flow, arrival = market.flow, 1.0
    if isinstance(flow, Investors) and (flow.mean_size, flow.size_variation) == (1, 0):
        arrival = float(flow.arrival_probability)
    elif not isinstance(flow, UnitInvestors):
        raise NotExact("the cost of hedging is known only for unit orders")
    policies = (policy, *scenario.competitors)
    if any(isinstance(other, Random) and other.one_draw for other in policies):
        raise NotExact("the cost of hedging is known only for makers that draw their sides apart")
    makers = [fixed_maker(other) for other in policies]
    curve = CostCurve.from_book(market.book)
    costs = [
        expected_hedge_cost(
            net_flow_law(makers, seat, investors=flow.count, arrival_probability=arrival),
            maker.hedge,
            curve,
            steps=scenario.horizon,
            mid=mid,
            multiplier=float(market.hedge_cost),
        )
        for seat, maker in enumerate(makers)
    ]
    return expected_spread_pnl(makers, value), market_share(makers), costs


def _optimum(rivals: list[FixedMaker], orders: TierOrders, objective: Objective) -> Optimum:
    sides = ([rival.buy for rival in rivals], orders.buy), ([rival.sell for rival in rivals], orders.sell)
    buy, sell = (best_response(laws, objective=objective, cost=side.cost) for laws, side in sides)
    return Optimum(orders.buy.value * buy.supremum + orders.sell.value * sell.supremum, buy, sell)


def _rivals(scenario: Scenario) -> list[FixedMaker]:
    return [fixed_maker(policy) for policy in scenario.competitors]


def _dealer(scenario: Scenario) -> DealerMarket:
    if not isinstance(scenario.market, DealerMarket):
        raise NotExact(f"no exact optimum is known for {type(scenario.market).__name__}")
    return scenario.market


def _uniform(low, high) -> PointMass | Uniform:
    low, high = float(low), float(high)
    return PointMass(low) if low == high else Uniform(low, high)
