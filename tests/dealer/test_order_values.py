"""What orders are worth to a maker and what they cost it, tier by tier, by hand."""

import numpy as np
import pytest

from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.exact.order_values import orders_by_tier
from twosided.dealer.exact.total_pnl import fixed_values, optimum, value_per_side
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.prices import Bachelier, GeometricBrownian

UNIT = 100 * float(expected_costs(DealerMarket().book, [1.0]).mean())
"""What a unit order is worth at ε = 0, in currency."""
FLOWS = (UnitInvestors(count=12), Investors(count=6, arrival_probability=0.5, mean_size=2.0, informed=4))
# A move of 0.15 a step, some units' worth.
MARKET = DealerMarket(price=Bachelier(volatility=1.5, time_step=0.01), flow=Tiers(FLOWS))


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


def test_tiers_add_up_book_by_book():
    one, other = orders_by_tier(MARKET)
    both = one + other
    assert both.buy.toxicity == other.buy.toxicity
    np.testing.assert_allclose(both.sell.values, one.sell.values + other.sell.values)
    # Books differ, and dear ones are dear for all.
    assert np.corrcoef(one.buy.values.ravel(), other.buy.values.ravel())[0, 1] > 0.9


def test_those_who_know_nothing_are_worth_the_same_on_both_sides():
    market = DealerMarket(flow=Tiers((FLOWS[0], Investors(count=3))))
    assert value_per_side(market) == pytest.approx(7.5 * UNIT, rel=1e-9)
    assert optimum(Scenario(market, (RandomQuoter(),))).value == pytest.approx(7.5 * UNIT, rel=1e-9)


@pytest.mark.parametrize(
    ("market", "ask", "message"),
    [
        (MARKET, optimum, "depend on the book"),
        (MARKET, lambda s: fixed_values(s, PersistentQuoter()), "depend on the book"),
        (
            DealerMarket(flow=UnitInvestors(informed=1, foresight=2)),
            lambda s: orders_by_tier(s.market),
            "at most one step ahead",
        ),
        (DealerMarket(price=Bachelier(drift=1.0)), optimum, "without drift"),
        (
            DealerMarket(flow=Tiers((FLOWS[0], Investors(aggregate_orders=True)))),
            optimum,
            "priced on their own",
        ),
    ],
)
def test_what_is_not_exact_is_said_in_a_sentence(market, ask, message):
    with pytest.raises(NotExact, match=message):
        ask(Scenario(market, (RandomQuoter(),)))
