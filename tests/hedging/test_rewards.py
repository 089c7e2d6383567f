"""Penalties on the position and the price of risk, by hand; and that no breach pays."""

import dataclasses

import numpy as np
import pytest
from support.transitions import transition

from twosided.hedging.rewards import PositionPenalty, PriceOfRisk


def paid(reward, *args, **kwargs):
    value, memory = reward(reward.init(), transition(*args, **kwargs), 0)
    assert memory is None
    return float(value)


def test_relative_to_what_clients_brought_the_penalty_is_less_by_a_number_that_is_nobodys_doing():
    def both(reward, inventory, net):
        seen = transition(inventory)
        trades = dataclasses.replace(seen, bought=seen.bought + max(net, 0), sold=seen.sold + max(-net, 0))
        whole, rest = (
            float(dataclasses.replace(reward, relative=relative)(None, trades, 0)[0])
            for relative in (False, True)
        )
        return rest - whole

    for reward in (PositionPenalty(), PriceOfRisk(weight=0.1)):
        for net in (40.0, -40.0, 0.0):
            taken = reward.weight * 100 * 256 * np.expm1(abs(net) / 256)
            assert [both(reward, q, net) for q in (0.0, 90.0)] == pytest.approx([taken] * 2, rel=1e-4)


@pytest.mark.parametrize("inventory", [0.0, 64.0, -256.0])
def test_the_penalty_is_exponential_in_the_position(inventory):
    penalty = 3.0 * 100 * 256 * np.expm1(abs(inventory) / 256)
    assert paid(PositionPenalty(), inventory) == pytest.approx(5 - 2 + 0.25 - 0.5 - penalty, rel=1e-6)
    assert paid(PositionPenalty(expected_inventory=False), inventory) == pytest.approx(
        12.5 - penalty, rel=1e-6
    )
    assert paid(PositionPenalty(weight=0.0, variance=0.5), inventory) == pytest.approx(2.75 - 0.5 * 4.0)
    drawn = PositionPenalty(weight=0.0, variance=0.5, expected_inventory=False)
    assert paid(drawn, inventory) == pytest.approx(12.5 - 0.5 * 100.0)


def test_too_much_of_a_hedge_counts_with_the_position():
    reward = PositionPenalty(weight=1.0, price=2.0, limit=10.0, overhedge=4.0)
    assert paid(reward, -5.0, overhedge=2.0) == pytest.approx(2.75 - 20 * np.expm1(1.3), rel=1e-6)


def test_a_breach_costs_what_staying_there_for_ever_would():
    reward = PositionPenalty(weight=1.0, discount=0.9)
    penalty = 100 * 256 * np.expm1(400 / 256)
    assert paid(reward, 400.0, terminated=True) == pytest.approx(2.75 - penalty / 0.1, rel=1e-6)
    # At the paper's discount, worse than a hundred steps just inside of the limit on the way back to 0.
    stay = sum(0.99**t * paid(PositionPenalty(), 384.0) for t in range(100))
    assert paid(PositionPenalty(), 385.0, terminated=True) < stay


@pytest.mark.parametrize(
    ("spread", "hedge", "unequal"), [(5.0, -2.0, 3.0), (2.0, -5.0, 3.0), (4.0, -4.0, 0.0)]
)
def test_the_price_of_risk_is_best_where_clients_pay_for_hedges(spread, hedge, unequal):
    value = paid(PriceOfRisk(weight=0.0), 10.0, spread=spread, hedge=hedge)
    assert value == pytest.approx(0.25 - 0.5 - unequal)
    penalised = paid(PriceOfRisk(), 10.0, spread=spread, hedge=hedge)
    assert penalised == pytest.approx(value - 3.0 * 100 * 256 * np.expm1(10 / 256), rel=1e-6)


def test_a_position_beyond_all_numbers_is_still_a_number():
    assert np.isfinite(paid(PositionPenalty(limit=1.0), 1e6, terminated=True))


@pytest.mark.parametrize("reward", [PositionPenalty, PriceOfRisk])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"weight": -1.0}, "weight must be at least 0 and finite, but got -1.0"),
        ({"variance": np.inf}, "variance must be at least 0 and finite, but got inf"),
        ({"limit": 0.0}, "limit must be positive and finite, but got 0.0"),
        ({"discount": 1.0}, r"discount must be in \[0, 1\), but got 1.0"),
    ],
)
def test_bad_input(reward, arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        reward(**arguments)
