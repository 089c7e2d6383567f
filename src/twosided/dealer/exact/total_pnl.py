"""What is exact about a scenario of the dealer market: its optimum, and what fixed makers earn in it.

The optimum of a maker's own total PnL is Theorem 1's spread PnL on both sides with no hedging. It is exact when
competitors quote from fixed laws, the midprice has no drift and investors know nothing of its next move. Where they
know it, the best quotes depend on the book: see tiers.py. What orders are worth is in order_flow.py.
"""

from functools import reduce
from operator import add

import numpy as np

from twosided.core.numeric import Array
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import PointMass, Uniform
from twosided.dealer.exact.best_response import Objective, Optimum, total_pnl_supremum
from twosided.dealer.exact.cost_curve import CostCurve
from twosided.dealer.exact.hedge_cost import HedgeCost, expected_hedge_cost, net_flow_law
from twosided.dealer.exact.order_values import orders_by_tier
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share
from twosided.dealer.investors import Investors, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter


def optimum(scenario: Scenario, objective: Objective = "own") -> Optimum:
    """The supremum of the learner's total PnL a step, and the quotes that reach or approach it.

    "excess" is the supremum of excess spread PnL alone (see best_response.py). Raises NotExact.
    """
    makers = [fixed_maker(policy) for policy in scenario.competitors]
    return total_pnl_supremum(makers, value_per_side(dealer_of(scenario)), objective=objective)


def value_per_side(market: DealerMarket) -> float:
    """alpha: what investors trade on one side in a step is worth at ε = 0, in currency. Raises NotExact.

    P_0 · N/2 · P[arrival] · E[|v| S_ref(v)], sizes and books being independent of each other and of the mid.
    """
    if market.flow.lookahead:
        raise NotExact("where investors know where the midprice goes, the best quotes depend on the book")
    return reduce(add, orders_by_tier(market)).buy.value


def fixed_maker(policy: Policy) -> FixedMaker:
    """A policy as laws of its action. Raises NotExact if it has none that stay the same."""
    if isinstance(policy, PersistentQuoter):
        quotes = (policy.epsilon_buy, policy.epsilon_sell, policy.hedge)
        buy, sell, hedge = (PointMass(float(value)) for value in quotes)
        return FixedMaker(buy=buy, sell=sell, hedge=hedge)
    if isinstance(policy, RandomQuoter):
        epsilon = _uniform(policy.low, policy.high)
        return FixedMaker(buy=epsilon, sell=epsilon, hedge=_uniform(policy.hedge_low, policy.hedge_high))
    raise NotExact(f"{type(policy).__name__} quotes from no fixed law, so no best response to it is known")


def fixed_values(scenario: Scenario, policy: Policy) -> tuple[Array, Array, list[HedgeCost]]:
    """Spread PnL a step, market share and hedge cost a step of every maker, the policy in the learner's seat.

    For unit orders and makers that quote from fixed laws with independent draws on the two sides. Raises
    NotExact.
    """
    market = dealer_of(scenario)
    value = value_per_side(market)
    mid = float(market.price.reset(np.zeros(())).mid)
    flow, arrival = market.flow, 1.0
    if isinstance(flow, Investors) and (flow.mean_size, flow.size_variation) == (1, 0):
        arrival = float(flow.arrival_probability)
    elif not isinstance(flow, UnitInvestors):
        raise NotExact("the cost of hedging is known only for unit orders")
    policies = (policy, *scenario.competitors)
    if any(isinstance(other, RandomQuoter) and other.symmetric for other in policies):
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


def dealer_of(scenario: Scenario) -> DealerMarket:
    """The market, if it is a dealer market. Raises NotExact."""
    if not isinstance(scenario.market, DealerMarket):
        raise NotExact(f"no exact optimum is known for {type(scenario.market).__name__}")
    return scenario.market


def _uniform(low, high) -> PointMass | Uniform:
    low, high = float(low), float(high)
    return PointMass(low) if low == high else Uniform(low, high)
