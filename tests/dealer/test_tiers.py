"""The best against investors who know the next move, by tier and with one price: closed forms and the simulator."""

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
from twosided.dealer.exact.best_response import payoff
from twosided.dealer.exact.order_values import SideOrders, orders_by_tier
from twosided.dealer.exact.tiers import _Envelope, best_fixed_quotes, supremum, value_of_knowing
from twosided.dealer.exact.total_pnl import optimum
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerAction, DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.dealer.reference_book import Snapshot
from twosided.prices import Bachelier, GeometricBrownian

pytestmark = pytest.mark.optimised

SIZE, ARRIVAL = 2.0, 0.5
FLOWS = (
    UnitInvestors(count=12),
    Investors(count=6, arrival_probability=ARRIVAL, mean_size=SIZE, informed=4),
)
# A move of 0.15 a step, some units' worth: knowing it pays, and so does knowing who knows.
MARKET = DealerMarket(
    price=GeometricBrownian(volatility=0.015, time_step=0.01), flow=Tiers(FLOWS), by_tier=True
)
APART = Scenario(MARKET, (RandomQuoter(),), horizon=10)
TOGETHER = dataclasses.replace(APART, market=dataclasses.replace(MARKET, by_tier=False))
LAW = Uniform(-1.0, 1.0)


class Linear(Policy):
    """Quotes each tier its own, intercept + slope · c with c = C / A of the book that it sees, and hedges nothing."""

    intercept: tuple[Scalar, ...]
    slope: Scalar
    loss: Scalar = orders_by_tier(MARKET)[1].buy.toxicity / 100
    """C of those who know, over the midprice."""

    def shocks(self, key, shape):
        return None

    def init(self):
        return None

    def act(self, shock, memory, observation):
        book = Snapshot(observation.spread, observation.volumes, MARKET.book.tick)
        cost = self.loss / (3 * ARRIVAL * book.cost(jnp.asarray(SIZE)))
        quotes = jnp.stack(self.intercept) + self.slope * cost * jnp.arange(2.0)
        return DealerAction(quotes, quotes, observation.inventory * 0), memory


@pytest.fixture(scope="module")
def simulated():
    """The best fixed quotes, apart and together, quotes that are neither, and those that follow the book."""
    quotes = {
        "apart": tuple(tier.buy.epsilon for tier in best_fixed_quotes(APART).tiers),
        "together": (best_fixed_quotes(TOGETHER).tiers[0].buy.epsilon,) * 2,
        "other": (0.6, -0.3),
    }
    policies = {name: Linear(pair, 0.0) for name, pair in quotes.items()}
    policies["book"] = Linear((0.0, 0.0), 0.5)  # c / 2 is the best against Uniform[-1, 1]
    return quotes, evaluate(APART, policies, steps=600_000)


def assert_earns(records, case, expected):
    total = find(records, case, "pnl_total")
    assert total.error and total.error < 0.005
    assert abs(total.value - expected) < 4 * total.error


@pytest.mark.parametrize("case", ["apart", "together", "other"])
def test_what_fixed_quotes_earn_in_the_simulator(simulated, case):
    quotes, records = simulated
    expected = 0.0
    for epsilon, orders in zip(quotes[case], orders_by_tier(MARKET), strict=True):
        for side in (orders.buy, orders.sell):
            expected += side.value * float(payoff(epsilon, LAW, cost=side.cost))
    assert_earns(records, case, expected)
    for tier in (0, 1):
        found = find(records, case, f"epsilon_buy_{tier}_mean").value
        assert found == pytest.approx(quotes[case][tier], abs=1e-5)
    assert find(records, case, "epsilon_sell_mean").value == pytest.approx(np.mean(quotes[case]), abs=1e-5)


def test_the_supremum_is_what_quotes_that_follow_the_book_earn(simulated):
    _, records = simulated
    best = supremum(APART)
    assert_earns(records, "book", best)
    # More than any fixed quotes, which are more than one price, which is more still if it follows the book.
    apart, together = best_fixed_quotes(APART).value, best_fixed_quotes(TOGETHER).value
    assert_earns(records, "apart", apart)
    assert_earns(records, "together", together)
    assert best > apart * 1.01 and apart > together * 1.1
    assert together * 1.01 < supremum(TOGETHER) < best
    assert value_of_knowing(APART) == value_of_knowing(TOGETHER) == best - supremum(TOGETHER)


def test_those_who_know_are_quoted_wider_and_all_together_in_between():
    plain, sharp = (tier.buy.epsilon for tier in best_fixed_quotes(APART).tiers)
    (together,) = best_fixed_quotes(TOGETHER).tiers
    assert plain == pytest.approx(0.0, abs=1e-12)
    assert plain < together.buy.epsilon < sharp < 1


def test_nothing_is_earned_by_knowing_those_who_know_nothing():
    market = dataclasses.replace(MARKET, flow=Tiers((FLOWS[0], Investors(count=3))))
    scenario = Scenario(market, (RandomQuoter(),))
    expected = optimum(scenario).value
    assert best_fixed_quotes(scenario).value == pytest.approx(expected, rel=1e-12)
    assert supremum(scenario) == pytest.approx(expected, rel=1e-12)
    assert value_of_knowing(scenario) == pytest.approx(0, abs=1e-12)


def test_a_tier_that_costs_more_than_it_can_pay_is_left_to_others():
    flow = Tiers((UnitInvestors(count=12), UnitInvestors(count=8, informed=8)))
    price = GeometricBrownian(volatility=0.03, time_step=0.01)
    market = dataclasses.replace(MARKET, price=price, flow=flow)
    plain, sharp = best_fixed_quotes(Scenario(market, (PersistentQuoter(0.5, 0.5),))).tiers
    assert plain.value == pytest.approx(2 * orders_by_tier(market)[0].buy.value * 1.5, rel=1e-9)
    assert (sharp.value, sharp.buy.attained) == (0.0, True)
    assert sharp.buy.epsilon > 0.5
    # Alone, it must trade with them: ε = 1 is the best, whatever the book.
    alone = Scenario(dataclasses.replace(market, num_makers=1), ())
    orders = orders_by_tier(market)[1]
    expected = 2 * orders.buy.value - orders.buy.toxicity + 2 * orders.sell.value - orders.sell.toxicity
    assert expected < 0
    assert supremum(alone) == pytest.approx(2 * 2 * orders_by_tier(market)[0].buy.value + expected, rel=1e-9)


def test_the_envelope_is_exact_to_a_millionth():
    envelope = _Envelope([LAW], "own")
    cost = np.random.default_rng(0).uniform(0, 6, 10_000)
    error = envelope(cost) - np.maximum(1 - cost / 2, 0) ** 2 / 2
    assert error.min() > -1e-12
    assert error.max() < 1e-6
    # Where nothing is traded nothing is earned.
    assert envelope.value(SideOrders(np.zeros((2, 3)), 0.0)) == 0.0
    tied = _Envelope([Uniform(-1.0, 1.0), Uniform(0.5, 1.5)], "excess")
    beyond = [
        float(payoff(1.0, [Uniform(-1.0, 1.0), Uniform(0.5, 1.5)], objective="excess", cost=c))
        for c in (3, 9)
    ]
    np.testing.assert_allclose(tied(np.array([3.0, 9.0])), beyond, rtol=1e-12)


@pytest.mark.parametrize("ask", [supremum, value_of_knowing])
def test_a_move_that_does_not_grow_with_the_price_is_refused(ask):
    market = dataclasses.replace(MARKET, price=Bachelier())
    with pytest.raises(NotExact, match="a geometric one"):
        ask(Scenario(market, (RandomQuoter(),)))
