"""The best quotes on bars: what the program says they earn, the market pays; by hand; who is refused."""

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

MINUTES = SimulatedBars(GeometricBrownian(initial=100.0, volatility=0.14, time_step=1 / 5_256_000), 10)


def quoting(**parameters):
    bounds = {"min_inventory": -3.0, "max_inventory": 3.0}
    settings = {"source": MINUTES, "sizes": False, "maker_rate": -1e-4, "max_offset": 6e-4}
    return BarsMarket(**settings | bounds | parameters)


def penalised(market, horizon=100):
    return Scenario(market, (), InventoryPenalty(running=0.002, time_step=1.0), horizon)


FILLS = {"through": {}, "probable": {"fills": ProbabilisticFill(touch=0.3, depth=1e-4)}}


@functools.cache
def solved(name):
    return bars_optimum(penalised(quoting(**FILLS[name])), offsets=13, draws=200_000)


@pytest.mark.parametrize("name", FILLS)
def test_the_market_pays_what_the_program_says(name):
    best = solved(name)
    others = {
        "wider": FixedOffset(1e-4, 1e-4),
        "no skew": FixedOffset(0.0, 0.0),
        # One more unit before the maker stops buying.
        "late": QuoteTable(jnp.asarray(-4.0), jnp.asarray(1.0), best.policy.bid, best.policy.ask),
    }
    records = evaluate(penalised(quoting(**FILLS[name])), {"best": best.policy, **others}, steps=400_000)
    reward = find(records, "best", "reward")
    # Of 200,000 draws the mean gain of a lot has an error of 3e-5, and both sides count.
    assert abs(reward.value - best.value) < 4 * np.hypot(reward.error, 5e-5)
    assert best.value == pytest.approx(best.maximum, abs=2e-4)
    for other in others:
        assert find(records, other, "reward").value < reward.value - 4 * reward.error


def test_the_two_sides_are_each_others_mirror_and_bounds_are_kept():
    best = solved("through")
    np.testing.assert_allclose(best.bid, best.ask[::-1], atol=1e-4)
    assert (np.diff(best.bid) >= 0).all()
    assert best.bid[-1] == best.ask[0] == pytest.approx(6e-4)


def test_a_price_that_stands_still_fills_touching_orders_always():
    """Bid and ask at the mid fill in every bar, both: a rebate of 1 on each, and no inventory but the rest of it."""
    still = SimulatedBars(Bachelier(initial=100.0, volatility=0.0, time_step=1.0), 2)
    market = quoting(source=still, fills=TouchFill(), maker_rate=0.0, maker_fee=-1.0, initial_inventory=2.0)
    best = bars_optimum(penalised(market, 10), offsets=3, draws=1)
    # Two bars without a bid bring inventory to 0 and lose two rebates: dear. Holding 2 for ten bars costs 10 x 0.008.
    assert best.value == pytest.approx((10 * 2 - 10 * 0.002 * 4) / 10, rel=1e-5)
    dear = dataclasses.replace(penalised(market, 10), reward=InventoryPenalty(running=1.0, time_step=1.0))
    # Now it sheds both units at once: 1 + 1 in two bars of one rebate, at a cost of 1 for the unit held between.
    assert bars_optimum(dear, offsets=3, draws=1).value == pytest.approx((1 - 1 + 1 + 8 * 2) / 10, rel=1e-5)


def test_it_stands_beside_runs():
    scenario = penalised(quoting(), 5)
    known = optimum(scenario)
    assert known.metric == "reward" and known.value == bars_optimum(scenario).value > 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sizes": True}, "makers of two offsets"),
        ({"source": SimulatedBars(Heston())}, "Brownian prices without drift"),
        ({"source": SimulatedBars(GeometricBrownian(drift=0.1))}, "Brownian prices without drift"),
        ({"size": 2.0}, "lots of one unit"),
        ({"min_inventory": 0.0}, "bounds around 0"),
        ({"max_inventory": 1e6}, "at most 1000 units apart"),
    ],
)
def test_markets_without_an_answer_are_refused(changes, why):
    with pytest.raises(NotExact, match=why):
        bars_optimum(penalised(quoting(**changes)))


def test_rewards_without_an_answer_are_refused():
    with pytest.raises(NotExact, match="SpreadPnL"):
        bars_optimum(Scenario(quoting(), (), SpreadPnL()))
