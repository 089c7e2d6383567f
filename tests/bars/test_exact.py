"""Exact quotes on bars: value by simulation and by hand calculation, symmetry, and refusals."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars.exact import bars_optimum
from twosided.bars.market import BarsMarket
from twosided.bars.source import SimulatedBars
from twosided.core.evaluation import evaluate
from twosided.core.optimum import NotExact, optimum
from twosided.core.records import find
from twosided.core.scenario import Scenario
from twosided.heston.process import Heston
from twosided.limit_orders.fills import ProbabilisticFill, TouchFill
from twosided.limit_orders.policies import FixedOffset, QuoteTable
from twosided.prices import Bachelier, GeometricBrownian
from twosided.rewards import InventoryPenalty, SpreadPnL

pytestmark = pytest.mark.extended

MINUTES = SimulatedBars(GeometricBrownian(initial=100.0, volatility=0.14, time_step=1 / 5_256_000), 10)


def quoting(**parameters):
    bounds = {"min_inventory": -3.0, "max_inventory": 3.0}
    settings = {"source": MINUTES, "sizes": False, "maker_rate": -1e-4, "max_offset": 6e-4}
    return BarsMarket(**settings | bounds | parameters)


def scenario_of(market, horizon=100):
    return Scenario(market, (), InventoryPenalty(running=0.002), horizon)


FILLS = {"through": {}, "probable": {"fills": ProbabilisticFill(touch=0.3, depth=1e-4)}}


@functools.cache
def solved(name):
    return bars_optimum(scenario_of(quoting(**FILLS[name])), offsets=13, draws=200_000)


@pytest.mark.parametrize("name", FILLS)
def test_exact_value_matches_simulation_and_other_quotes_earn_less(name):
    best = solved(name)
    others = {
        "wider": FixedOffset(1e-4, 1e-4),
        "no skew": FixedOffset(0.0, 0.0),
        # The maker stops buying one unit later.
        "late": QuoteTable(jnp.asarray(-4.0), jnp.asarray(1.0), best.policy.bid, best.policy.ask),
    }
    records = evaluate(scenario_of(quoting(**FILLS[name])), {"best": best.policy, **others}, steps=400_000)
    reward = find(records, "best", "reward")
    # With 200,000 draws the standard error of the mean earnings of an order is 3e-5, for each of two sides.
    assert abs(reward.value - best.value) < 4 * np.hypot(reward.error, 5e-5)
    assert best.value == pytest.approx(best.maximum, abs=2e-4)
    for other in others:
        assert find(records, other, "reward").value < reward.value - 4 * reward.error


def test_quotes_are_symmetric_and_place_no_order_beyond_the_bounds():
    best = solved("through")
    np.testing.assert_allclose(best.bid, best.ask[::-1], atol=1e-4)
    assert (np.diff(best.bid) >= 0).all()
    assert best.bid[-1] == best.ask[0] == pytest.approx(6e-4)


def test_quotes_at_a_constant_price_match_hand_calculation():
    """With touch fills, a bid and an ask at the midprice both fill in every bar. Each earns a rebate of 1, and the
    inventory does not change."""
    constant = SimulatedBars(Bachelier(initial=100.0, volatility=0.0), 2)
    market = quoting(
        source=constant, fills=TouchFill(), maker_rate=0.0, maker_fee=-1.0, initial_inventory=2.0
    )
    best = bars_optimum(scenario_of(market, 10), offsets=3, draws=1)
    # Two bars without a bid bring the inventory to 0 but forgo two rebates. Holding 2 units for ten bars costs less,
    # 10 x 0.008.
    assert best.value == pytest.approx((10 * 2 - 10 * 0.002 * 4) / 10, rel=1e-5)
    high_penalty = dataclasses.replace(scenario_of(market, 10), reward=InventoryPenalty(running=1.0))
    # Now it is optimal to sell both units: two bars with one rebate each, and a penalty of 1 for the unit held between.
    assert bars_optimum(high_penalty, offsets=3, draws=1).value == pytest.approx(
        (1 - 1 + 1 + 8 * 2) / 10, rel=1e-5
    )


def test_optimum_of_the_market_is_that_of_bars_optimum():
    scenario = scenario_of(quoting(), 5)
    known = optimum(scenario)
    assert known.metric == "reward" and known.value == bars_optimum(scenario).value > 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sizes": True}, "makers that choose two offsets alone"),
        ({"source": SimulatedBars(Heston())}, "a Brownian price without drift"),
        ({"source": SimulatedBars(GeometricBrownian(drift=0.1))}, "a Brownian price without drift"),
        ({"size": 2.0}, "orders of one unit"),
        ({"min_inventory": 0.0}, "bounds on inventory on both sides of 0"),
        ({"max_inventory": 1e6}, "at most 1000 units apart"),
    ],
)
def test_unsupported_markets_raise_not_exact(changes, why):
    with pytest.raises(NotExact, match=why):
        bars_optimum(scenario_of(quoting(**changes)))


def test_unsupported_rewards_raise_not_exact():
    with pytest.raises(NotExact, match="SpreadPnL"):
        bars_optimum(Scenario(quoting(), (), SpreadPnL()))
