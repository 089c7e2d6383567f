"""SAC in the limit-order market, against the exact optimum."""

import numpy as np
import pytest

from twosided.core.scenario import Scenario
from twosided.learn.sac import SAC
from twosided.learn.train import train
from twosided.limit_orders.exact import limit_order_optimum, limit_order_value
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.market import LimitOrderMarket
from twosided.limit_orders.policies import FixedOffset
from twosided.prices import Bachelier
from twosided.rewards import InventoryPenalty

pytestmark = [pytest.mark.extended, pytest.mark.optimised]


def test_sac_comes_close_to_the_optimum():
    """Train in a short session with a high inventory penalty, in which the best fixed offset reaches 63% of the
    optimum."""
    market = LimitOrderMarket(
        price=Bachelier(volatility=2.0, time_step=0.05),
        fills=ExponentialFill(intensity=30.0),
        max_inventory=4.0,
        max_offset=3.0,
        session=20,
    )
    short = Scenario(market, (), InventoryPenalty(running=1.0, final=0.3), 20)
    best = limit_order_optimum(short).total
    fixed = [limit_order_value(short, FixedOffset(d, d)).total for d in np.linspace(0.5, 1.5, 11)]
    assert max(fixed) == pytest.approx(0.634 * best, rel=0.01)
    (policy,), _ = train(
        short, SAC(total_timesteps=8_000, gamma=0.95, hidden_sizes=(32, 32), learning_starts=500), 0, 1, 1
    )
    # Two seeds reached 89% and 90%. The value of the policy is exact, so only training varies.
    assert 0.8 * best < limit_order_value(short, policy).total < best
