"""Where the price-of-risk reward puts the client spread: closed form, brute force, the dynamic program, and at play."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from twosided.core.evaluation import trace
from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.hedging.clients import PoissonClients
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.hedging.price_of_risk import price_of_risk, share_asked, weighted_median
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import GeometricBrownian

HORIZON = 40


def scenario(exchange, **changes):
    market = HedgingMarket(
        client_spread=StochasticSpread(multiplier=0.2),
        exchange_spread=StochasticSpread(multiplier=exchange),
        skews=True,
        elasticity=0.0,
    )
    return Scenario(dataclasses.replace(market, **changes), (), PriceOfRisk(), HORIZON)


# Prices that stand still: certain spreads, and trades of a law that nothing changes.
STILL = {
    "price": GeometricBrownian(volatility=0.0, time_step=1 / 512),
    "clients": PoissonClients(scale=200.0),
    "client_spread": StochasticSpread(multiplier=0.2, noise=0.0, clamp=False),
    "max_hedge": 200.0,
}


def test_a_weighted_median_has_the_least_weighted_distance():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=301), rng.exponential(size=301)
    found = weighted_median(values, weights)
    missed = [(weights * np.abs(values - m)).sum() for m in values]
    assert found == values[np.argmin(missed)]


@pytest.mark.parametrize("ratio", [0.2, 0.7, 1.5])
def test_the_share_that_is_asked_is_its_integral(ratio):
    median = np.sqrt(2 * np.log(2))
    # Half of the weight of |n| lies beyond it.
    assert stats.halfnorm.expect(lambda z: z, lb=median) == pytest.approx(stats.halfnorm.mean() / 2, rel=1e-6)
    cut = integrate.quad(
        lambda z: min(ratio * z / median, 1) * stats.halfnorm.pdf(z), 0, 12, points=[median / ratio]
    )
    assert share_asked(ratio) == pytest.approx((1 + cut[0]) / 2, rel=1e-6)


def test_the_client_spread_is_that_of_the_hedge_at_one_ratio_alone():
    equal = optimize.brentq(lambda k: share_asked(k) - k, 0.1, 2)
    assert equal == pytest.approx(0.737, abs=0.003)
    assert share_asked(0.5) > 0.5 and share_asked(0.9) < 0.9


@pytest.mark.parametrize("exchange", [0.1, 0.18])
def test_normal_trades_have_the_closed_form(exchange):
    found = price_of_risk(
        scenario(
            exchange, **STILL, exchange_spread=StochasticSpread(multiplier=exchange, noise=0.0, clamp=False)
        ),
        paths=2000,
    )
    # Trades are whole: half a one is 2% of their weighted median, 23, and moves the share by half of that.
    assert found.asked[0] / found.unskewed == pytest.approx(share_asked(exchange / 0.2), abs=0.0125)
    assert found.exchange == pytest.approx(exchange, rel=1e-4)


def test_it_is_what_the_dynamic_program_finds():
    still = {**STILL, "clients": PoissonClients(scale=100.0), "max_hedge": 16.0, "max_position": 50.0}
    still["exchange_spread"] = StochasticSpread(multiplier=0.14, noise=0.0, clamp=False)
    asked = dataclasses.replace(scenario(0.14, **still), horizon=3)
    best = hedging_optimum(asked, volatilities=2, trends=1, skews=21, paths=16)
    found = price_of_risk(dataclasses.replace(asked, horizon=HORIZON), paths=2000)
    for position in range(-12, 13):
        place = [int(np.flatnonzero(x == position)[0]) for x in (best.position, found.positions)]
        assert best.hedge[place[0]] == -position
        # A step of the grid, and of the whole trades that the median is one of.
        assert abs(found.skew[place[1]]) == pytest.approx(abs(best.skew[place[0]]), abs=0.08)


def test_at_play_the_maker_asks_and_misses_what_is_said():
    asked = scenario(0.14)
    found = price_of_risk(asked, paths=1000)
    played = trace(asked, found.policy(32.0), seed=3, paths=300)
    apart = (played["pnl_spread"] + played["pnl_hedge"]).abs().to_numpy().reshape(300, HORIZON).mean(1)
    error = np.hypot(apart.std(ddof=1) / np.sqrt(300), found.missed[1])
    assert abs(apart.mean() - found.missed[0]) < 4 * error
    spread = ((played["ask"] - played["bid"]) / 2).to_numpy().reshape(300, HORIZON).mean(1)
    error = np.hypot(spread.std(ddof=1) / np.sqrt(300), found.asked[1])
    assert abs(spread.mean() - found.asked[0]) < 4 * error
    # Less skew or more misses more.
    for factor in (0.7, 1.3):
        worse = dataclasses.replace(found, skew=np.clip(factor * found.skew, -1, 1)).policy(32.0)
        played = trace(asked, worse, seed=3, paths=300)
        missed = (played["pnl_spread"] + played["pnl_hedge"]).abs().to_numpy().reshape(300, HORIZON).mean(1)
        more = missed - apart
        assert more.mean() > 3 * more.std(ddof=1) / np.sqrt(300)


def test_the_hurdle_is_what_hedges_drift_and_risk_cost():
    calm = price_of_risk(scenario(0.1), paths=1000)
    assert calm.loss[0] == pytest.approx(0.0, abs=1e-6)
    # A price that rises by 2/512 on every step for certain, and clients who buy nearly all: what they bought a step ago
    # is short over the next rise.
    rising = price_of_risk(
        scenario(
            0.1,
            price=GeometricBrownian(drift=2.0, volatility=0.0, time_step=1 / 512),
            clients=PoissonClients(sensitivity=200.0),
            max_hedge=1e3,
            max_position=1e4,
        ),
        paths=1000,
    )
    prices = 100 * np.exp(2 / 512 * np.arange(HORIZON))
    assert rising.loss[0] == pytest.approx((prices * np.expm1(2 / 512)).mean(), rel=0.05)
    assert calm.hurdle()[0] == calm.cost[0]
    assert calm.hurdle(0.01)[0] == pytest.approx(calm.cost[0] + 0.01 * calm.square[0])
    assert 0 < calm.cost[1] < calm.hurdle(0.01)[1] < 0.01


@pytest.mark.parametrize(
    "asked",
    [
        scenario(0.1, elasticity=1.0),
        scenario(0.1, gross=True),
        scenario(0.1, skews=False),
        dataclasses.replace(scenario(0.1), reward=PositionPenalty()),
    ],
)
def test_what_it_is_not_derived_for_is_refused(asked):
    with pytest.raises(NotExact, match="is derived for"):
        price_of_risk(asked)
