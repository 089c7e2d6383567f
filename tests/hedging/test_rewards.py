"""Position penalties and the price-of-risk reward by hand, and the charge for a breach."""

import dataclasses

import numpy as np
import pytest
from support.transitions import transition

from twosided.hedging.rewards import PositionPenalty, PriceOfRisk


def reward_of(reward, *args, **kwargs):
    value, state = reward(reward.init(), transition(*args, **kwargs), 0)
    assert state is None
    return float(value)


def test_baseline_depends_only_on_the_net_client_trade():
    def baseline(reward, inventory, net):
        step = transition(inventory)
        step = dataclasses.replace(step, bought=step.bought + max(net, 0), sold=step.sold + max(-net, 0))
        without, with_baseline = (
            float(dataclasses.replace(reward, subtract_baseline=subtract)(None, step, 0)[0])
            for subtract in (False, True)
        )
        return with_baseline - without

    for reward in (PositionPenalty(), PriceOfRisk(weight=0.1)):
        for net in (40.0, -40.0, 0.0):
            expected = reward.weight * 100 * 256 * np.expm1(abs(net) / 256)
            assert [baseline(reward, q, net) for q in (0.0, 90.0)] == pytest.approx([expected] * 2, rel=1e-4)


@pytest.mark.parametrize("inventory", [0.0, 64.0, -256.0])
def test_penalty_is_exponential_in_the_position(inventory):
    penalty = 3.0 * 100 * 256 * np.expm1(abs(inventory) / 256)
    assert reward_of(PositionPenalty(), inventory) == pytest.approx(5 - 2 + 0.25 - 0.5 - penalty, rel=1e-6)
    assert reward_of(PositionPenalty(expected_inventory=False), inventory) == pytest.approx(
        12.5 - penalty, rel=1e-6
    )
    assert reward_of(PositionPenalty(weight=0.0, variance_weight=0.5), inventory) == pytest.approx(
        2.75 - 0.5 * 4.0
    )
    sampled = PositionPenalty(weight=0.0, variance_weight=0.5, expected_inventory=False)
    assert reward_of(sampled, inventory) == pytest.approx(12.5 - 0.5 * 100.0)


def test_overhedge_adds_to_the_position():
    reward = PositionPenalty(weight=1.0, max_position=10.0, overhedge_weight=4.0)
    assert reward_of(reward, -5.0, overhedge=2.0, initial_price=2.0) == pytest.approx(
        2.75 - 20 * np.expm1(1.3), rel=1e-6
    )


def test_breach_costs_as_much_as_staying_at_the_limit_for_ever():
    reward = PositionPenalty(weight=1.0, discount=0.9)
    penalty = 100 * 256 * np.expm1(400 / 256)
    assert reward_of(reward, 400.0, terminated=True) == pytest.approx(2.75 - penalty / 0.1, rel=1e-6)
    # At the paper's discount, worse than a hundred steps just inside the limit.
    stay = sum(0.99**t * reward_of(PositionPenalty(), 384.0) for t in range(100))
    assert reward_of(PositionPenalty(), 385.0, terminated=True) < stay


@pytest.mark.parametrize(
    ("spread", "hedge", "mismatch"), [(5.0, -2.0, 3.0), (2.0, -5.0, 3.0), (4.0, -4.0, 0.0)]
)
def test_price_of_risk_is_highest_where_spread_pnl_equals_hedge_cost(spread, hedge, mismatch):
    value = reward_of(PriceOfRisk(weight=0.0), 10.0, spread=spread, hedge=hedge)
    assert value == pytest.approx(0.25 - 0.5 - mismatch)
    penalised = reward_of(PriceOfRisk(), 10.0, spread=spread, hedge=hedge)
    assert penalised == pytest.approx(value - 3.0 * 100 * 256 * np.expm1(10 / 256), rel=1e-6)


def test_penalty_of_huge_position_is_finite():
    assert np.isfinite(reward_of(PositionPenalty(max_position=1.0), 1e6, terminated=True))


@pytest.mark.parametrize("reward", [PositionPenalty, PriceOfRisk])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight must be at least 0 and finite, but got -1.0"),
        ({"variance_weight": np.inf}, "variance_weight must be at least 0 and finite, but got inf"),
        ({"max_position": 0.0}, "max_position must be positive and finite, but got 0.0"),
        ({"discount": 1.0}, r"discount must be in \[0, 1\), but got 1.0"),
    ],
)
def test_invalid_parameters_raise(reward, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        reward(**arguments)
