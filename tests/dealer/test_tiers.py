"""Optimal quotes against informed investors, by tier and with one quote for all: closed forms and simulation."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.numeric import Scalar
from twosided.core.optimum import NotExact
from twosided.core.policy import Policy
from twosided.core.records import find
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import Uniform
from twosided.dealer.exact.best_response import objective_value
from twosided.dealer.exact.order_values import SideOrders, orders_by_tier
from twosided.dealer.exact.tiers import SupremumCurve, best_fixed_quotes, supremum, value_of_tiering
from twosided.dealer.exact.total_pnl import total_pnl_optimum
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.dealer.reference_book import Snapshot
from twosided.prices import Bachelier, GeometricBrownian

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

SIZE, ARRIVAL = 2.0, 0.5
FLOWS = (
    UnitInvestors(count=12),
    Investors(count=6, arrival_probability=ARRIVAL, mean_size=SIZE, informed=4),
)
# Price moves have a std of 0.15 per step, several times the value of a unit order, so that tiering has a value.
MARKET = DealerMarket(
    price=GeometricBrownian(volatility=0.015, time_step=0.01), flow=Tiers(FLOWS), by_tier=True
)
BY_TIER = Scenario(MARKET, (RandomQuoter(),), horizon=10)
ONE_QUOTE = dataclasses.replace(BY_TIER, market=dataclasses.replace(MARKET, by_tier=False))
QUOTE = Uniform(-1.0, 1.0)


class LinearQuoter(Policy):
    """Quotes intercept + slope · c by tier, with c = C / A of the observed book in the informed tier; no hedging."""

    intercept: tuple[Scalar, ...]
    slope: Scalar
    loss: Scalar = orders_by_tier(MARKET)[1].buy.toxicity / 100
    """C of the informed tier, divided by the midprice."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, state, observation):
        book = Snapshot(observation.spread, observation.volumes, MARKET.book.tick)
        cost = self.loss / (3 * ARRIVAL * book.cost(jnp.asarray(SIZE)))
        quotes = jnp.stack(self.intercept) + self.slope * cost * jnp.arange(2.0)
        return DealerAction(quotes, quotes, observation.inventory * 0), state


@pytest.fixture(scope="module")
def simulated():
    """Optimal constant quotes by tier and for all tiers, other constant quotes, and quotes that depend on the book."""
    quotes = {
        "by tier": tuple(tier.buy.epsilon for tier in best_fixed_quotes(BY_TIER).tiers),
        "one quote": (best_fixed_quotes(ONE_QUOTE).tiers[0].buy.epsilon,) * 2,
        "other": (0.6, -0.3),
    }
    policies = {name: LinearQuoter(pair, 0.0) for name, pair in quotes.items()}
    policies["book"] = LinearQuoter((0.0, 0.0), 0.5)  # ε = c / 2 is optimal against Uniform[-1, 1]
    return quotes, evaluate(BY_TIER, policies, steps=600_000)


def assert_total_pnl(records, case, expected):
    total = find(records, case, "pnl_total")
    assert total.error and total.error < 0.005
    assert abs(total.value - expected) < 4 * total.error


@pytest.mark.parametrize("case", ["by tier", "one quote", "other"])
def test_total_pnl_of_constant_quotes_matches_simulation(simulated, case):
    quotes, records = simulated
    expected = 0.0
    for epsilon, orders in zip(quotes[case], orders_by_tier(MARKET), strict=True):
        for side in (orders.buy, orders.sell):
            expected += side.value * float(objective_value(epsilon, QUOTE, cost=side.cost))
    assert_total_pnl(records, case, expected)
    for tier in (0, 1):
        found = find(records, case, f"epsilon_buy_{tier}_mean").value
        assert found == pytest.approx(quotes[case][tier], abs=1e-5)
    assert find(records, case, "epsilon_sell_mean").value == pytest.approx(np.mean(quotes[case]), abs=1e-5)


def test_quotes_that_depend_on_the_book_earn_the_supremum(simulated):
    _, records = simulated
    best = supremum(BY_TIER)
    assert_total_pnl(records, "book", best)
    # Constant quotes by tier earn less, and one constant quote less still; it earns more if it depends on the book.
    by_tier, one_quote = best_fixed_quotes(BY_TIER).value, best_fixed_quotes(ONE_QUOTE).value
    assert_total_pnl(records, "by tier", by_tier)
    assert_total_pnl(records, "one quote", one_quote)
    assert best > by_tier * 1.01 and by_tier > one_quote * 1.1
    assert one_quote * 1.01 < supremum(ONE_QUOTE) < best
    assert value_of_tiering(BY_TIER) == value_of_tiering(ONE_QUOTE) == best - supremum(ONE_QUOTE)


def test_informed_tier_is_quoted_wider_and_one_quote_lies_between():
    uninformed, informed = (tier.buy.epsilon for tier in best_fixed_quotes(BY_TIER).tiers)
    (one_quote,) = best_fixed_quotes(ONE_QUOTE).tiers
    assert uninformed == pytest.approx(0.0, abs=1e-12)
    assert uninformed < one_quote.buy.epsilon < informed < 1


def test_tiering_of_uninformed_investors_has_no_value():
    market = dataclasses.replace(MARKET, flow=Tiers((FLOWS[0], Investors(count=3))))
    scenario = Scenario(market, (RandomQuoter(),))
    expected = total_pnl_optimum(scenario).value
    assert best_fixed_quotes(scenario).value == pytest.approx(expected, rel=1e-12)
    assert supremum(scenario) == pytest.approx(expected, rel=1e-12)
    assert value_of_tiering(scenario) == pytest.approx(0, abs=1e-12)


def test_unprofitable_tier_is_left_to_competitors():
    flow = Tiers((UnitInvestors(count=12), UnitInvestors(count=8, informed=8)))
    price = GeometricBrownian(volatility=0.03, time_step=0.01)
    market = dataclasses.replace(MARKET, price=price, flow=flow)
    uninformed, informed = best_fixed_quotes(Scenario(market, (PersistentQuoter(0.5, 0.5),))).tiers
    assert uninformed.value == pytest.approx(2 * orders_by_tier(market)[0].buy.value * 1.5, rel=1e-9)
    assert (informed.value, informed.buy.attained) == (0.0, True)
    assert informed.buy.epsilon > 0.5
    # A single maker cannot avoid the informed tier: ε = 1 is optimal for every book.
    alone = Scenario(dataclasses.replace(market, num_makers=1), ())
    orders = orders_by_tier(market)[1]
    expected = 2 * orders.buy.value - orders.buy.toxicity + 2 * orders.sell.value - orders.sell.toxicity
    assert expected < 0
    assert supremum(alone) == pytest.approx(2 * 2 * orders_by_tier(market)[0].buy.value + expected, rel=1e-9)


def test_supremum_curve_is_accurate_to_1e_6():
    curve = SupremumCurve([QUOTE], "own")
    cost = np.random.default_rng(0).uniform(0, 6, 10_000)
    error = curve(cost) - np.maximum(1 - cost / 2, 0) ** 2 / 2
    assert error.min() > -1e-12
    assert error.max() < 1e-6
    # Without orders the value is 0.
    assert curve.value(SideOrders(np.zeros((2, 3)), 0.0)) == 0.0
    tied = SupremumCurve([Uniform(-1.0, 1.0), Uniform(0.5, 1.5)], "excess")
    beyond = [
        float(objective_value(1.0, [Uniform(-1.0, 1.0), Uniform(0.5, 1.5)], objective="excess", cost=c))
        for c in (3, 9)
    ]
    np.testing.assert_allclose(tied(np.array([3.0, 9.0])), beyond, rtol=1e-12)


@pytest.mark.parametrize("function", [supremum, value_of_tiering])
def test_arithmetic_brownian_midprice_is_rejected(function):
    market = dataclasses.replace(MARKET, price=Bachelier())
    with pytest.raises(NotExact, match="a geometric Brownian midprice"):
        function(Scenario(market, (RandomQuoter(),)))
