"""What orders are worth and cost, tier by tier, and the optimum for makers who tell tiers apart, in the simulator."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from twosided.distributions import Uniform
from twosided.evaluation import evaluate
from twosided.exact.best_response import payoff, total_pnl_supremum
from twosided.exact.cost_curve import expected_costs
from twosided.exact.dealer import (
    NotExact,
    fixed_values,
    optimum,
    optimum_by_tier,
    value_of_knowing,
    value_per_side,
)
from twosided.exact.order_flow import orders_by_tier
from twosided.exact.spread_pnl import FixedMaker
from twosided.flow import Investors, Tiers, UnitInvestors
from twosided.markets.base import Scenario
from twosided.markets.dealer import DealerAction, DealerMarket
from twosided.policies.rules import Persistent, Random
from twosided.prices import Bachelier, GeometricBrownian
from twosided.records import find
from twosided.types import Policy

UNIT = 100 * float(expected_costs(DealerMarket().book, [1.0]).mean())
"""What a unit order is worth at ε = 0, in currency."""
FLOWS = (UnitInvestors(count=12), Investors(count=6, arrival_probability=0.5, mean_size=2.0, informed=4))
# A move of 0.15 a step, some units' worth: knowing it pays, and so does knowing who knows.
MARKET = DealerMarket(price=Bachelier(volatility=1.5, time_step=0.01), flow=Tiers(FLOWS), by_tier=True)
RIVAL = Random()


def test_the_orders_of_each_tier_by_hand():
    plain, sharp = orders_by_tier(MARKET)
    two = 100 * float(expected_costs(MARKET.book, [2.0]).mean())
    assert plain.buy.value == plain.sell.value == pytest.approx(6 * UNIT, rel=1e-12)
    assert plain.buy.toxicity == plain.sell.toxicity == plain.buy.cost == 0
    assert sharp.buy.value == sharp.sell.value == pytest.approx(3 * 0.5 * two, rel=1e-12)
    # E[ΔP⁺] of a normal move is sd / √(2π): four investors, one in two of whom comes with two units.
    assert sharp.buy.toxicity == pytest.approx(4 * 0.5 * 2 * 0.15 / np.sqrt(2 * np.pi), rel=1e-12)
    assert sharp.sell.toxicity == pytest.approx(sharp.buy.toxicity, rel=1e-12)
    assert sharp.sell.cost == sharp.sell.toxicity / sharp.sell.value


def test_a_geometric_price_falls_more_often_and_by_less():
    price = GeometricBrownian(volatility=5.0, time_step=0.01)
    (orders,) = orders_by_tier(DealerMarket(price=price, flow=UnitInvestors(count=1, informed=1)))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    below, above = (
        -10 + (10.25) * (nodes + 1) / 2,
        0.25 + 9.75 * (nodes + 1) / 2,
    )  # log P falls where z < 0.25
    chances = {}
    for name, z, width in (("buy", below, 10.25), ("sell", above, 9.75)):
        density = weights * width / 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        chances[name] = density.sum()
        move = np.abs(100 * np.expm1(0.5 * z - 0.125))
        assert getattr(orders, name).value == pytest.approx(UNIT * chances[name], rel=1e-9)
        assert getattr(orders, name).toxicity == pytest.approx(density @ move, rel=1e-9)
    assert chances["buy"] > 0.59 and orders.buy.toxicity == pytest.approx(orders.sell.toxicity, rel=1e-9)


def test_nothing_is_lost_on_those_who_know_nothing():
    scenario = Scenario(dataclasses.replace(MARKET, flow=Tiers((FLOWS[0], Investors(count=3)))), (RIVAL,))
    law = Uniform(-1.0, 1.0)
    one = value_per_side(scenario.market)
    assert one == pytest.approx(7.5 * UNIT, rel=1e-9)
    expected = total_pnl_supremum([FixedMaker(buy=law, sell=law)], one).value
    assert optimum_by_tier(scenario).value == pytest.approx(expected, rel=1e-12)
    assert value_of_knowing(scenario) == pytest.approx(0, abs=1e-12)


class ByTier(Policy):
    """Quotes each tier its own, the same on both sides, and hedges nothing."""

    epsilons: tuple[float, ...]

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, memory, observation):
        quotes = jnp.stack(self.epsilons)
        return DealerAction(quotes, quotes, observation.inventory * 0), memory


@pytest.fixture(scope="module")
def simulated():
    """The best by tier and with one price, and a pair of quotes that is neither, beside a random maker."""
    scenario = Scenario(MARKET, (RIVAL,), horizon=10)
    by_tier = optimum_by_tier(scenario)
    one = optimum(dataclasses.replace(scenario, market=dataclasses.replace(MARKET, by_tier=False)))
    quotes = {
        "by tier": tuple(tier.buy.epsilon for tier in by_tier.tiers),
        "one price": (one.buy.epsilon,) * 2,
        "other": (0.6, -0.3),
    }
    records = evaluate(scenario, {name: ByTier(pair) for name, pair in quotes.items()}, steps=600_000)
    return by_tier, one, quotes, records


@pytest.mark.parametrize("case", ["by tier", "one price", "other"])
def test_what_quotes_by_tier_earn_in_the_simulator(simulated, case):
    *_, quotes, records = simulated
    law, expected = Uniform(-1.0, 1.0), 0.0
    for epsilon, orders in zip(quotes[case], orders_by_tier(MARKET), strict=True):
        for side in (orders.buy, orders.sell):
            expected += side.value * float(payoff(epsilon, law, cost=side.cost))
    total = find(records, case, "pnl_total")
    assert total.error and total.error < 0.005
    assert abs(total.value - expected) < 4 * total.error
    for tier in (0, 1):
        found = find(records, case, f"epsilon_buy_{tier}_mean").value
        assert found == pytest.approx(quotes[case][tier], abs=1e-5)
    mean = find(records, case, "epsilon_sell_mean").value
    assert mean == pytest.approx(np.mean(quotes[case]), abs=1e-5)


def test_knowing_the_client_pays(simulated):
    by_tier, one, quotes, records = simulated
    assert by_tier.value == pytest.approx(sum(tier.value for tier in by_tier.tiers))
    # Those who know nothing are quoted as by Theorem 1, those who know more wider, and all together in between.
    assert quotes["by tier"][0] == pytest.approx(0.0, abs=1e-12)
    assert quotes["by tier"][0] < quotes["one price"][0] < quotes["by tier"][1] < 1
    found = {case: find(records, case, "pnl_total") for case in quotes}
    for case, value in (("by tier", by_tier.value), ("one price", one.value)):
        assert abs(found[case].value - value) < 4 * found[case].error
    assert value_of_knowing(Scenario(MARKET, (RIVAL,))) == pytest.approx(by_tier.value - one.value)
    assert by_tier.value > one.value * 1.1


def test_a_tier_that_costs_more_than_it_can_pay_is_left_to_others():
    flow = Tiers((UnitInvestors(count=12), UnitInvestors(count=8, informed=8)))
    market = dataclasses.replace(MARKET, price=Bachelier(volatility=3.0, time_step=0.01), flow=flow)
    scenario = Scenario(market, (Persistent(epsilon_buy=0.5, epsilon_sell=0.5),))
    plain, sharp = optimum_by_tier(scenario).tiers
    assert plain.value == pytest.approx(12 * UNIT * 1.5, rel=1e-9)
    assert (sharp.value, sharp.buy.attained) == (0.0, True)
    assert sharp.buy.epsilon > 0.5


@pytest.mark.parametrize(
    ("market", "ask", "message"),
    [
        (MARKET, optimum, "quote by tier"),
        (MARKET, lambda s: value_per_side(s.market), "know where the midprice goes"),
        (MARKET, lambda s: fixed_values(s, Persistent()), "know where the midprice goes"),
        (DealerMarket(flow=UnitInvestors(informed=1, foresight=2)), optimum, "at most one step ahead"),
        (
            DealerMarket(flow=UnitInvestors(informed=1, foresight=2)),
            optimum_by_tier,
            "at most one step ahead",
        ),
        (DealerMarket(price=Bachelier(drift=1.0), flow=Tiers()), optimum_by_tier, "without drift"),
        (DealerMarket(flow=Tiers((*FLOWS, Investors(price_together=True)))), optimum, "priced on their own"),
    ],
)
def test_what_is_not_exact_is_said_in_a_sentence(market, ask, message):
    with pytest.raises(NotExact, match=message):
        ask(Scenario(market, (RIVAL,)))
