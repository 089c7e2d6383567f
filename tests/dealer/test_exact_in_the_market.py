"""Simulated dealer market against exact values of fixed makers: spread PnL, market share, hedge cost."""

import jax
import numpy as np
import pytest

from twosided.core.rollout import rollout, start
from twosided.core.scenario import Scenario
from twosided.dealer.distributions import PointMass, Uniform
from twosided.dealer.exact.cost_curve import CostCurve, expected_costs
from twosided.dealer.exact.hedge_cost import expected_hedge_cost, net_flow_distribution
from twosided.dealer.exact.spread_pnl import FixedMaker, expected_spread_pnl, market_share
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter

pytestmark = pytest.mark.extended

STEPS, PATHS, INVESTORS, MID = 40, 16_384, 20, 100.0

PERSISTENT = PersistentQuoter(epsilon_buy=-0.25, epsilon_sell=0.0, hedge=0.2)
PERSISTENT_MAKER = FixedMaker(buy=PointMass(-0.25), sell=PointMass(0.0), hedge=PointMass(0.2))
RANDOM = RandomQuoter(low=-0.5, high=0.5)
RANDOM_MAKER = FixedMaker(buy=Uniform(-0.5, 0.5), sell=Uniform(-0.5, 0.5), hedge=Uniform(0.0, 1.0))


@pytest.fixture(scope="module")
def curve():
    return CostCurve.from_book(DealerMarket().book)


@pytest.mark.parametrize(
    ("policies", "makers"),
    [
        ([PERSISTENT, RANDOM], [PERSISTENT_MAKER, RANDOM_MAKER]),
        ([PERSISTENT, PERSISTENT], [PERSISTENT_MAKER, PERSISTENT_MAKER]),
        ([RANDOM, PERSISTENT, PERSISTENT], [RANDOM_MAKER, PERSISTENT_MAKER, PERSISTENT_MAKER]),
    ],
    ids=["persistent and random", "always tied", "three makers"],
)
def test_simulation_matches_exact_values_of_fixed_makers(policies, makers, curve):
    market = DealerMarket(num_makers=len(policies))
    scenario = Scenario(market=market, competitors=tuple(policies[1:]), horizon=STEPS)

    @jax.jit
    def simulate(key):
        def record(observation, state, step):
            t = step.transition
            return t.pnl.spread, -t.pnl.hedge, t.bought + t.sold

        carry = start(scenario, policies[0], key, PATHS)
        _, recorded = rollout(scenario, policies[0], carry, jax.random.fold_in(key, 1), STEPS, record)
        return [leaf.mean(0) for leaf in recorded]

    sampled = [np.asarray(leaf, float) for leaf in simulate(jax.random.key(7))]
    value_per_side = INVESTORS / 2 * MID * expected_costs(market.book, [1.0]).mean()
    hedge = [
        expected_hedge_cost(
            net_flow_distribution(makers, seat, INVESTORS), maker.hedge, curve, steps=STEPS, mid=MID
        )
        for seat, maker in enumerate(makers)
    ]
    exact = [
        expected_spread_pnl(makers, value_per_side),
        np.array([cost.value for cost in hedge]),
        INVESTORS * market_share(makers),
    ]
    for paths, expected in zip(sampled, exact, strict=True):
        standard_error = paths.std(0) / np.sqrt(PATHS)
        # 21 numbers at a fixed seed: in one of 750 seeds one of them exceeds 4 standard errors.
        # 2e-5 allows for float32 rounding and for the error bounds of the hedge cost.
        np.testing.assert_array_less(np.abs(paths.mean(0) - expected), 4 * standard_error + 2e-5 * expected)
