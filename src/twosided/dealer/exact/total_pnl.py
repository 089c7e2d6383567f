"""Exact values of dealer-market scenarios: the optimum of total PnL, and the values of makers with fixed distributions.

The optimum of a maker's own total PnL is the spread PnL of Theorem 1 on both sides, without hedging. It is exact if the
competitors quote from fixed distributions, the midprice has no drift and no investor is informed. With informed
investors the best quotes depend on the book: see tiers.py. The values of orders are computed in order_values.py.
"""

from functools import reduce
from operator import add

import numpy as np

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import PointMass, Uniform
from twosided.dealer.exact.best_response import Objective, TwoSidedBestResponse, total_pnl_supremum
from twosided.dealer.exact.cost_curve import CostCurve
from twosided.dealer.exact.hedge_cost import HedgeCost, expected_hedge_cost, net_flow_distribution
from twosided.dealer.exact.order_values import orders_by_tier
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share
from twosided.dealer.investors import Investors, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter


def total_pnl_optimum(scenario: Scenario, objective: Objective = "own") -> TwoSidedBestResponse:
    """Return the supremum of the learner's total PnL per step, and the quotes that attain or approach it.

    "excess" is the supremum of excess spread PnL only (see best_response.py). Raises NotExact.
    """
    makers = [fixed_maker(policy) for policy in scenario.competitors]
    return total_pnl_supremum(makers, value_per_side(require_dealer_market(scenario)), objective=objective)


def value_per_side(market: DealerMarket) -> float:
    """Return alpha, the expected value of the orders on one side in a step at ε = 0, in currency.

    alpha = P_0 · N/2 · P[arrival] · E[|v| S_ref(v)]; sizes, books and the midprice are independent. Raises NotExact.
    """
    if market.flow.lookahead:
        raise NotExact("with informed investors the best quotes depend on the book")
    return reduce(add, orders_by_tier(market)).buy.value


def fixed_maker(policy: Policy) -> FixedMaker:
    """Return the distributions of a policy's action. Raises NotExact if they are not fixed."""
    if isinstance(policy, PersistentQuoter):
        quotes = (policy.epsilon_buy, policy.epsilon_sell, policy.hedge)
        buy, sell, hedge = (PointMass(float(value)) for value in quotes)
        return FixedMaker(buy=buy, sell=sell, hedge=hedge)
    if isinstance(policy, RandomQuoter):
        epsilon = _uniform(policy.low, policy.high)
        return FixedMaker(buy=epsilon, sell=epsilon, hedge=_uniform(policy.hedge_low, policy.hedge_high))
    raise NotExact(
        f"{type(policy).__name__} does not quote from fixed distributions, so no exact best response to it is known"
    )


def fixed_maker_values(scenario: Scenario, policy: Policy) -> tuple[FloatArray, FloatArray, list[HedgeCost]]:
    """Return spread PnL per step, market share and hedge cost per step of every maker; the policy has seat 0.

    For unit orders and makers that quote from fixed distributions, independently on the two sides. Raises NotExact.
    """
    market = require_dealer_market(scenario)
    value = value_per_side(market)
    mid = float(market.price.reset(np.zeros(())).mid)
    flow, arrival = market.flow, 1.0
    if isinstance(flow, Investors) and (flow.mean_size, flow.size_variation) == (1, 0):
        arrival = float(flow.arrival_probability)
    elif not isinstance(flow, UnitInvestors):
        raise NotExact("the exact hedge cost needs unit orders")
    policies = (policy, *scenario.competitors)
    if any(isinstance(other, RandomQuoter) and other.symmetric for other in policies):
        raise NotExact("the exact hedge cost needs makers that draw ε_b and ε_s independently")
    makers = [fixed_maker(other) for other in policies]
    curve = CostCurve.from_book(market.book)
    costs = [
        expected_hedge_cost(
            net_flow_distribution(makers, seat, investors=flow.count, arrival_probability=arrival),
            maker.hedge,
            curve,
            steps=scenario.horizon,
            mid=mid,
            multiplier=float(market.hedge_cost),
        )
        for seat, maker in enumerate(makers)
    ]
    return expected_spread_pnl(makers, value), market_share(makers), costs


def require_dealer_market(scenario: Scenario) -> DealerMarket:
    """Return the market of the scenario. Raises NotExact if it is not a dealer market."""
    if not isinstance(scenario.market, DealerMarket):
        raise NotExact(f"no exact optimum is known for {type(scenario.market).__name__}")
    return scenario.market


def _uniform(low, high) -> PointMass | Uniform:
    low, high = float(low), float(high)
    return PointMass(low) if low == high else Uniform(low, high)
