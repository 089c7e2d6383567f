"""What is exact about a scenario of the dealer market: its optimum, and what fixed makers earn in it.

The optimum of a maker's own total PnL is Theorem 1's spread PnL on both sides with no hedging. It is exact when
competitors quote from fixed laws, the midprice has no drift and investors know nothing of its next move; each
order is then worth the mid times |v| S_ref(v), whose mean is taken over the book's law by quasi-Monte Carlo.
"""

import numpy as np

from twosided.distributions import Array, PointMass, Uniform
from twosided.exact.best_response import Objective, Optimum, total_pnl_supremum
from twosided.exact.cost_curve import CostCurve, expected_costs
from twosided.exact.hedge_cost import HedgeCost, expected_hedge_cost, net_flow_law
from twosided.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share
from twosided.flow import Investors, UnitInvestors
from twosided.markets.base import Scenario
from twosided.markets.dealer import DealerMarket
from twosided.policies.rules import Persistent, Random
from twosided.prices import Bachelier, GeometricBrownian
from twosided.types import Policy

HERMITE_POINTS = 64
"""Nodes of the quadrature over log-normal sizes; the cost is smooth once averaged over books."""


class NotExact(ValueError):
    """One sentence on why a scenario has no exact answer here."""


def optimum(scenario: Scenario, objective: Objective = "own") -> Optimum:
    """The supremum of the learner's total PnL a step, and the quotes that reach or approach it.

    "excess" is the supremum of excess spread PnL alone (see best_response.py). Raises NotExact.
    """
    makers = [fixed_maker(policy) for policy in scenario.competitors]
    return total_pnl_supremum(makers, value_per_side(_dealer(scenario)), objective=objective)


def value_per_side(market: DealerMarket) -> float:
    """alpha: what investors trade on one side in a step is worth at ε = 0, in currency. Raises NotExact.

    P_0 · N/2 · P[arrival] · E[|v| S_ref(v)], sizes and books being independent of each other and of the mid.
    """
    price, flow = market.price, market.flow
    if not isinstance(price, (GeometricBrownian, Bachelier)) or float(price.drift) != 0:
        raise NotExact("the optimum is exact only for a midprice without drift")
    mid = float(price.initial)
    if isinstance(flow, UnitInvestors):
        return mid * flow.count / 2 * float(expected_costs(market.book, [1.0]).mean())
    if isinstance(flow, Investors) and not flow.price_together:
        log_variance = np.log1p(float(flow.size_variation) ** 2)
        nodes, weights = np.polynomial.hermite_e.hermegauss(HERMITE_POINTS)
        sizes = float(flow.mean_size) * np.exp(np.sqrt(log_variance) * nodes - log_variance / 2)
        cost = expected_costs(market.book, sizes).mean(0) @ weights / weights.sum()
        return mid * flow.count / 2 * float(flow.arrival_probability) * float(cost)
    raise NotExact("the optimum is exact only for investors whose orders are each priced on their own")


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


def _dealer(scenario: Scenario) -> DealerMarket:
    if not isinstance(scenario.market, DealerMarket):
        raise NotExact(f"no exact optimum is known for {type(scenario.market).__name__}")
    return scenario.market


def _uniform(low, high) -> PointMass | Uniform:
    low, high = float(low), float(high)
    return PointMass(low) if low == high else Uniform(low, high)
