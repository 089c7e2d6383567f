"""Optimum of the price-of-risk reward: closed form, brute force, the dynamic program, and in the market."""

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
from twosided.hedging.price_of_risk import price_of_risk, spread_share, weighted_median
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import GeometricBrownian

pytestmark = pytest.mark.extended

HORIZON = 40


def scenario(exchange, **changes):
    market = HedgingMarket(
        client_spread=StochasticSpread(multiplier=0.2),
        exchange_spread=StochasticSpread(multiplier=exchange),
        allow_skew=True,
        elasticity=0.0,
    )
    return Scenario(dataclasses.replace(market, **changes), (), PriceOfRisk(), HORIZON)


# Constant prices: constant spreads, and a constant distribution of trades.
CONSTANT = {
    "price": GeometricBrownian(volatility=0.0, time_step=1 / 512),
    "clients": PoissonClients(scale=200.0),
    "client_spread": StochasticSpread(multiplier=0.2, noise_std=0.0, clamp=False),
    "max_hedge": 200.0,
}


def test_weighted_median_minimises_the_weighted_distance():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=301), rng.exponential(size=301)
    found = weighted_median(values, weights)
    distances = [(weights * np.abs(values - m)).sum() for m in values]
    assert found == values[np.argmin(distances)]


@pytest.mark.parametrize("ratio", [0.2, 0.7, 1.5])
def test_spread_share_matches_its_integral(ratio):
    median = np.sqrt(2 * np.log(2))
    # Half of the weight of |n| is above the median.
    assert stats.halfnorm.expect(lambda z: z, lb=median) == pytest.approx(stats.halfnorm.mean() / 2, rel=1e-6)
    expected_min = integrate.quad(
        lambda z: min(ratio * z / median, 1) * stats.halfnorm.pdf(z), 0, 12, points=[median / ratio]
    )
    assert spread_share(ratio) == pytest.approx((1 + expected_min[0]) / 2, rel=1e-6)


def test_client_and_hedge_spreads_are_equal_at_one_ratio_only():
    equal = optimize.brentq(lambda k: spread_share(k) - k, 0.1, 2)
    assert equal == pytest.approx(0.737, abs=0.003)
    assert spread_share(0.5) > 0.5 and spread_share(0.9) < 0.9


@pytest.mark.parametrize("exchange", [0.1, 0.18])
def test_nearly_normal_trades_match_the_closed_form(exchange):
    found = price_of_risk(
        scenario(
            exchange,
            **CONSTANT,
            exchange_spread=StochasticSpread(multiplier=exchange, noise_std=0.0, clamp=False),
        ),
        num_paths=2000,
    )
    # Trades are whole units: half a unit is 2% of the weighted median, 23, and changes the share by half of that.
    assert found.client_spread[0] / found.unskewed_spread == pytest.approx(
        spread_share(exchange / 0.2), abs=0.0125
    )
    assert found.exchange_spread == pytest.approx(exchange, rel=1e-4)


def test_skews_match_the_dynamic_program():
    constant = {**CONSTANT, "clients": PoissonClients(scale=100.0), "max_hedge": 16.0, "max_position": 50.0}
    constant["exchange_spread"] = StochasticSpread(multiplier=0.14, noise_std=0.0, clamp=False)
    short = dataclasses.replace(scenario(0.14, **constant), horizon=3)
    best = hedging_optimum(short, num_volatilities=2, num_trends=1, num_skews=21, num_paths=16)
    found = price_of_risk(dataclasses.replace(short, horizon=HORIZON), num_paths=2000)
    for position in range(-12, 13):
        index = [int(np.flatnonzero(x == position)[0]) for x in (best.position, found.positions)]
        assert best.hedge[index[0]] == -position
        # The tolerance covers the grid of skews and the discrete trades of the median.
        assert abs(found.skew[index[1]]) == pytest.approx(abs(best.skew[index[0]]), abs=0.08)


def test_policy_attains_the_client_spread_and_mismatch_in_the_market():
    market = scenario(0.14)
    found = price_of_risk(market, num_paths=1000)
    steps = trace(market, found.policy(32.0), seed=3, paths=300)
    mismatch = (steps["pnl_spread"] + steps["pnl_hedge"]).abs().to_numpy().reshape(300, HORIZON).mean(1)
    error = np.hypot(mismatch.std(ddof=1) / np.sqrt(300), found.mismatch[1])
    assert abs(mismatch.mean() - found.mismatch[0]) < 4 * error
    spread = ((steps["ask"] - steps["bid"]) / 2).to_numpy().reshape(300, HORIZON).mean(1)
    error = np.hypot(spread.std(ddof=1) / np.sqrt(300), found.client_spread[1])
    assert abs(spread.mean() - found.client_spread[0]) < 4 * error
    # A smaller or larger skew increases the mismatch.
    for factor in (0.7, 1.3):
        worse = dataclasses.replace(found, skew=np.clip(factor * found.skew, -1, 1)).policy(32.0)
        steps = trace(market, worse, seed=3, paths=300)
        larger = (steps["pnl_spread"] + steps["pnl_hedge"]).abs().to_numpy().reshape(300, HORIZON).mean(1)
        increase = larger - mismatch
        assert increase.mean() > 3 * increase.std(ddof=1) / np.sqrt(300)


def test_hurdle_is_the_cost_of_hedges_drift_and_risk():
    driftless = price_of_risk(scenario(0.1), num_paths=1000)
    assert driftless.inventory_loss[0] == pytest.approx(0.0, abs=1e-6)
    # The price rises by 2/512 in every step, and almost all client trades are purchases, so the maker is short the last
    # step's trades over the next rise.
    rising = price_of_risk(
        scenario(
            0.1,
            price=GeometricBrownian(drift=2.0, volatility=0.0, time_step=1 / 512),
            clients=PoissonClients(sensitivity=200.0),
            max_hedge=1e3,
            max_position=1e4,
        ),
        num_paths=1000,
    )
    prices = 100 * np.exp(2 / 512 * np.arange(HORIZON))
    assert rising.inventory_loss[0] == pytest.approx((prices * np.expm1(2 / 512)).mean(), rel=0.05)
    assert driftless.hurdle()[0] == driftless.hedge_cost[0]
    assert driftless.hurdle(0.01)[0] == pytest.approx(
        driftless.hedge_cost[0] + 0.01 * driftless.inventory_square[0]
    )
    assert 0 < driftless.hedge_cost[1] < driftless.hurdle(0.01)[1] < 0.01


@pytest.mark.parametrize(
    "unsupported",
    [
        scenario(0.1, elasticity=1.0),
        scenario(0.1, gross=True),
        scenario(0.1, allow_skew=False),
        dataclasses.replace(scenario(0.1), reward=PositionPenalty()),
    ],
)
def test_unsupported_scenario_raises_not_exact(unsupported):
    with pytest.raises(NotExact, match="is derived for"):
        price_of_risk(unsupported)
