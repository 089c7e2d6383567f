"""Rewards: hand calculation by seat and number of makers, and variance reduction by expected inventory PnL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.toys import Toy

from twosided.core.reward import TotalPnL
from twosided.core.rollout import rollout, start
from twosided.core.scenario import Scenario
from twosided.core.transition import PnL, Quotes, Transition
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.hedging.rewards import PositionPenalty
from twosided.prices import GeometricBrownian
from twosided.rewards import AsymmetricPenalty, ExcessPnL, SquarePenalty, StdPenalty
from twosided.rewards.extras import InventoryMoments


def transition(spread, hedge, inventory, expected):
    nothing = jnp.zeros(len(spread))
    pnl = PnL(jnp.array(spread), jnp.array(hedge), jnp.array(inventory), nothing - 0.5)
    return Transition(
        observation=None,
        pnl=pnl,
        quotes=Quotes(*[nothing] * 4),
        held=nothing,
        expected_inventory_pnl=jnp.array(expected),
        inventory=nothing,
        bought=nothing,
        sold=nothing,
        terminated=jnp.zeros((), bool),
        extras=InventoryMoments(jnp.square(jnp.array(expected)) + 1, -(jnp.array(expected) ** 2)),
    )


THREE = transition([4.0, 0.0, 1.0], [-1.0, -2.0, 0.0], [10.0, -20.0, 30.0], [0.25, -0.5, 0.75])
"""Totals are 12.5, -22.5, 30.5 with sampled inventory PnL, and 2.75, -3.0, 1.25 with its expectation."""


@pytest.mark.parametrize("seat", [0, 1, 2])
@pytest.mark.parametrize(
    ("expected_inventory", "totals"), [(False, [12.5, -22.5, 30.5]), (True, [2.75, -3.0, 1.25])]
)
def test_rewards_match_hand_calculation(seat, expected_inventory, totals):
    reward, state = TotalPnL(expected_inventory)(None, THREE, seat)
    assert (reward, state) == (totals[seat], None)
    others = [total for other, total in enumerate(totals) if other != seat]
    reward, state = ExcessPnL(expected_inventory)(None, THREE, seat)
    assert (reward, state) == (totals[seat] - sum(others) / 2, None)


def test_excess_pnl_without_competitors_is_total_pnl():
    alone = transition([4.0], [-1.0], [10.0], [0.25])
    assert ExcessPnL()(None, alone, 0)[0] == TotalPnL()(None, alone, 0)[0] == 2.75


def test_excess_pnl_of_two_makers_sums_to_zero():
    two = transition([4.0, 0.0], [-1.0, -2.0], [10.0, -20.0], [0.25, -0.5])
    assert ExcessPnL()(None, two, 0)[0] == -ExcessPnL()(None, two, 1)[0]


@pytest.mark.parametrize("seat", [0, 1, 2])
def test_penalties_match_hand_calculation(seat):
    sample, expected = [10.0, -20.0, 30.0][seat], [0.25, -0.5, 0.75][seat]
    total, expected_total = [12.5, -22.5, 30.5][seat], [2.75, -3.0, 1.25][seat]
    assert SquarePenalty(0.5, False)(None, THREE, seat) == (total - 0.5 * sample**2, None)
    assert SquarePenalty(0.5)(None, THREE, seat) == (expected_total - 0.5 * (expected**2 + 1), None)
    assert AsymmetricPenalty(0.5, False)(None, THREE, seat) == (total + 0.5 * min(sample, 0.0), None)
    assert AsymmetricPenalty(0.5)(None, THREE, seat) == (expected_total - 0.5 * expected**2, None)


def test_std_penalty_is_over_the_last_steps():
    reward, state = StdPenalty(weight=2.0, window=3, expected_inventory=False), None
    series, rewards = [5.0, -1.0, 2.0, 2.0, 2.0, 8.0], []
    state = reward.init()
    for pnl in series:
        step = transition([0.0], [0.0], [pnl], [0.0])
        value, state = reward(state, step, 0)
        rewards.append(float(value))
    windows = [series[max(0, i - 2) : i + 1] for i in range(len(series))]
    expected = [window[-1] - 0.5 - 2 * np.std(window) for window in windows]
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)


@pytest.mark.parametrize("penalty", [StdPenalty, SquarePenalty, AsymmetricPenalty])
@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_negative_and_not_finite_weights_raise(penalty, weight):
    with pytest.raises(ValueError, match="weight must be at least 0 and finite, but got"):
        penalty(weight)


@pytest.mark.parametrize("window", [0, 1, 10_001])
def test_window_out_of_range_raises(window):
    with pytest.raises(ValueError, match="window must be from 2 to 10000, but got"):
        StdPenalty(window=window)


def test_expected_inventory_pnl_has_the_same_mean_and_a_smaller_variance():
    # A drift of 60 per year moves the price by 0.9 per step, so both means are far from 0.
    market = DealerMarket(price=GeometricBrownian(drift=60.0, volatility=2.0))
    makers = (
        RandomQuoter(hedge_low=0.1, hedge_high=0.3),
        PersistentQuoter(epsilon_buy=-0.2, epsilon_sell=0.3, hedge=0.1),
    )
    scenario, paths, steps = Scenario(market, makers[1:]), 4096, 20

    @jax.jit
    def rewards(key):
        def record(observation, policy_state, step):
            return [TotalPnL(expected)(None, step.transition, 0)[0] for expected in (True, False)]

        carry = start(scenario, makers[0], key, paths)
        return rollout(scenario, makers[0], carry, key, steps, record)[1]

    expected, sample = (np.asarray(reward, float) for reward in rewards(jax.random.key(0)))
    difference = (sample - expected).mean(0)
    error = difference.std() / np.sqrt(paths)
    assert abs(difference.mean()) < 4 * error
    assert abs(expected.mean()) > 20 * error
    # Only the variance of the trades remains, without the price innovation σ z √Δ P.
    assert expected.var() < 0.5 * sample.var()


def test_rewards_raise_in_markets_without_their_extras():
    with pytest.raises(ValueError, match="SquarePenalty needs InventoryMoments, which Toy does not report"):
        Scenario(Toy(), (), SquarePenalty())
    with pytest.raises(
        ValueError, match="PositionPenalty needs HedgingExtras, which DealerMarket does not report"
    ):
        Scenario(DealerMarket(), (PersistentQuoter(),), PositionPenalty())
