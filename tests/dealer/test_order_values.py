"""Value and toxicity of the orders of each tier, by hand."""

import numpy as np
import pytest

from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.dealer.exact.cost_curve import expected_costs
from twosided.dealer.exact.order_values import orders_by_tier
from twosided.dealer.exact.total_pnl import fixed_maker_values, total_pnl_optimum, value_per_side
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.prices import Bachelier, GeometricBrownian

UNIT = 100 * float(expected_costs(DealerMarket().book, [1.0]).mean())
"""Value of a unit order at ε = 0, in currency."""
FLOWS = (UnitInvestors(count=12), Investors(count=6, arrival_probability=0.5, mean_size=2.0, informed=4))
# Price moves have a std of 0.15 per step, several times the value of a unit order.
MARKET = DealerMarket(price=Bachelier(volatility=1.5, time_step=0.01), flow=Tiers(FLOWS))


def test_orders_of_each_tier_match_hand_computed_values():
    uninformed, informed = orders_by_tier(MARKET)
    two = 100 * float(expected_costs(MARKET.book, [2.0]).mean())
    assert uninformed.buy.value == uninformed.sell.value == pytest.approx(6 * UNIT, rel=1e-12)
    assert uninformed.buy.toxicity == uninformed.sell.toxicity == uninformed.buy.cost == 0
    assert informed.buy.value == informed.sell.value == pytest.approx(3 * 0.5 * two, rel=1e-12)
    # E[ΔP⁺] of a normal move is std / √(2π); four investors, each with probability 1/2 of an order of two units.
    assert informed.buy.toxicity == pytest.approx(4 * 0.5 * 2 * 0.15 / np.sqrt(2 * np.pi), rel=1e-12)
    assert informed.sell.toxicity == pytest.approx(informed.buy.toxicity, rel=1e-12)
    assert informed.sell.cost == informed.sell.toxicity / informed.sell.value


def test_geometric_brownian_price_falls_more_often_and_by_less():
    price = GeometricBrownian(volatility=5.0, time_step=0.01)
    (orders,) = orders_by_tier(DealerMarket(price=price, flow=UnitInvestors(count=1, informed=1)))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    below, above = (
        -10 + (10.25) * (nodes + 1) / 2,
        0.25 + 9.75 * (nodes + 1) / 2,
    )  # log P falls where z < 0.25
    probabilities = {}
    for name, z, width in (("buy", below, 10.25), ("sell", above, 9.75)):
        density = weights * width / 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        probabilities[name] = density.sum()
        move = np.abs(100 * np.expm1(0.5 * z - 0.125))
        assert getattr(orders, name).value == pytest.approx(UNIT * probabilities[name], rel=1e-9)
        assert getattr(orders, name).toxicity == pytest.approx(density @ move, rel=1e-9)
    assert probabilities["buy"] > 0.59 and orders.buy.toxicity == pytest.approx(
        orders.sell.toxicity, rel=1e-9
    )


def test_sum_of_tiers_adds_values_book_by_book():
    one, other = orders_by_tier(MARKET)
    both = one + other
    assert both.buy.toxicity == other.buy.toxicity
    np.testing.assert_allclose(both.sell.values, one.sell.values + other.sell.values)
    # Values vary over books and are correlated between tiers.
    assert np.corrcoef(one.buy.values.ravel(), other.buy.values.ravel())[0, 1] > 0.9


def test_uninformed_orders_have_equal_value_on_both_sides():
    market = DealerMarket(flow=Tiers((FLOWS[0], Investors(count=3))))
    assert value_per_side(market) == pytest.approx(7.5 * UNIT, rel=1e-9)
    assert total_pnl_optimum(Scenario(market, (RandomQuoter(),))).value == pytest.approx(7.5 * UNIT, rel=1e-9)


@pytest.mark.parametrize(
    ("market", "function", "message"),
    [
        (MARKET, total_pnl_optimum, "depend on the book"),
        (MARKET, lambda s: fixed_maker_values(s, PersistentQuoter()), "depend on the book"),
        (
            DealerMarket(flow=UnitInvestors(informed=1, foresight=2)),
            lambda s: orders_by_tier(s.market),
            "at most one step ahead",
        ),
        (DealerMarket(price=Bachelier(drift=1.0)), total_pnl_optimum, "without drift"),
        (
            DealerMarket(flow=Tiers((FLOWS[0], Investors(aggregate_orders=True)))),
            total_pnl_optimum,
            "priced individually",
        ),
    ],
)
def test_scenarios_without_exact_values_are_rejected(market, function, message):
    with pytest.raises(NotExact, match=message):
        function(Scenario(market, (RandomQuoter(),)))
