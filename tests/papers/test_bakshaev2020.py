"""The paper's scenarios against an independent simulation of its rules in NumPy."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest

from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.hedging.hedgers import FractionalHedger, NoHedger, PortfolioHedger
from twosided.papers.bakshaev2020.scenarios import portfolio, price_of_risk, single_asset

pytestmark = pytest.mark.extended

# Mean PnL of a path, the mean of paths' Sharpe ratios in percent and the mean size of the position, over
# 2,000 paths of the rules as the paper's code has them, in a loop of NumPy; with the standard error of the means.
RULES = {
    "full": (FractionalHedger(1.0), (1856, 7.7), (23.7, 0.10), (16.35, 0.02)),
    "half": (FractionalHedger(0.5), (2226, 8.7), (25.8, 0.12), (18.50, 0.02)),
    "unhedged": (NoHedger(), (2974, 115), (4.9, 0.12), (267, 5)),
}
PATHS = 1024


@eqx.filter_jit
def simulated(scenario, policy, key):
    def record(observation, policy_state, step):
        return step.transition.pnl.total[0], step.transition.inventory[0]

    return episodes(scenario, policy, key, PATHS, record)


@pytest.mark.parametrize("name", RULES)
def test_rule_based_hedgers_match_the_papers_rules(name):
    policy, (path, path_error), (sharpe, sharpe_error), (size, size_error) = RULES[name]
    scenario = single_asset()
    # No breaches: they would end most episodes of the unhedged position.
    market = dataclasses.replace(scenario.market, breach_multiple=1e9)
    scenario = dataclasses.replace(scenario, market=market)
    pnl, position = (
        np.asarray(x, float) for x in simulated(*as_arrays((scenario, policy)), jax.random.key(0))
    )
    for found, expected, error in (
        (pnl.sum(0), path, path_error),
        (100 * pnl.mean(0) / pnl.std(0), sharpe, sharpe_error),
        (np.abs(position).mean(0), size, size_error),
    ):
        # Their first volatility is that of later steps, ours that of two prices: a difference of half a percent.
        assert abs(found.mean() - expected) < 0.005 * expected + 4 * np.hypot(
            found.std() / np.sqrt(PATHS), error
        )


def test_scenarios_have_the_papers_values():
    market, reward = single_asset(skew=True).market, single_asset().reward
    assert (market.price.initial, reward.max_position) == (100.0, None)
    assert (market.max_hedge, market.max_position, market.breach_multiple, market.elasticity) == (
        32.0,
        256.0,
        1.5,
        0.5,
    )
    assert (market.client_spread.multiplier, market.exchange_spread.multiplier) == (0.18, 0.07)
    assert reward.weight == 3.0
    risk = price_of_risk().market
    assert (risk.client_spread.multiplier, risk.exchange_spread.multiplier, risk.elasticity) == (
        0.2,
        0.1,
        0.0,
    )
    two = portfolio(weight=0.25, correlation=0.9).market
    assert (two.max_hedge, two.weights, two.prices.correlation, two.prices.num_assets) == (
        64.0,
        (0.25, 0.75),
        0.9,
        2,
    )


def test_portfolio_position_stays_bounded():
    pnl, position = simulated(*as_arrays((portfolio(), PortfolioHedger())), jax.random.key(0))
    assert np.isfinite(pnl).all()
    assert np.abs(position).mean() < 40
