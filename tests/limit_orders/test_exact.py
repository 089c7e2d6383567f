"""Exact quotes: against brute force, simulation, known limits, and the order of the error of the time step."""

import dataclasses
import itertools

import numpy as np
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.optimum import NotExact
from twosided.core.policy import StatelessPolicy
from twosided.core.records import find
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.hedging.rewards import PositionPenalty
from twosided.limit_orders.exact import (
    limit_order_optimum,
    limit_order_value,
    risk_averse_optimum,
    short_step_optimum,
)
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.market import LimitOrderMarket
from twosided.limit_orders.orders import LimitOrders
from twosided.limit_orders.policies import (
    AvellanedaStoikov,
    BuyAndHold,
    DoNothing,
    FixedOffset,
    GueantLehalleFernandezTapia,
)
from twosided.prices import Bachelier, GeometricBrownian
from twosided.rewards import AsymmetricPenalty, InventoryPenalty

DEFAULT = Scenario(LimitOrderMarket(), (), InventoryPenalty())


def scenario(steps=200, reward=None, drift=0.0, **parameters):
    """Return a session of one unit of time in a number of steps."""
    price = Bachelier(volatility=2.0, drift=drift, time_step=1 / steps)
    market = LimitOrderMarket(price=price, session=steps, **parameters)
    return Scenario(market, (), reward or InventoryPenalty(running=0.2), steps)


def test_penalty_is_that_of_the_markets_time_step():
    # The same session in ten times as many steps has nearly the same running penalty.
    assert limit_order_optimum(scenario(2000)).total == pytest.approx(65.47990, abs=1e-4)


def test_optimum_matches_brute_force_on_a_small_market():
    tiny = scenario(
        2,
        InventoryPenalty(running=0.4, final=0.3),
        drift=0.6,
        fills=ExponentialFill(intensity=1.2, decay=1.5),
        max_inventory=1.0,
        fee=0.1,
    )
    grid = np.linspace(0.0, 4.0, 2001)
    value = {q: -0.3 * q * q for q in (-1, 0, 1)}
    probability = 1 - np.exp(-1.2 * 0.5 * np.exp(-1.5 * grid))
    probability[-1] = 0.0  # no order
    found = limit_order_optimum(tiny)
    for step in (1, 0):
        g = {q: value[q] + 0.6 * q * 0.5 - 0.4 * 0.5 * q * q for q in value}
        for q in value:
            bid, buys = (grid, probability) if q < 1 else (np.zeros(1), np.zeros(1))
            ask, sells = (grid, probability) if q > -1 else (np.zeros(1), np.zeros(1))
            b, s = buys[:, None], sells[None, :]
            values = b * (bid[:, None] - 0.1) + s * (ask[None, :] - 0.1)
            # Both or none fill, then the bid alone and the ask alone.
            values = values + (b * s + (1 - b) * (1 - s)) * g[q]
            values = values + b * (1 - s) * g.get(q + 1, 0.0) + (1 - b) * s * g.get(q - 1, 0.0)
            i, j = np.unravel_index(values.argmax(), values.shape)
            # A grid of 0.002 misses the maximum of a parabola by less than half of its square.
            assert found.value[step, q + 1] == pytest.approx(values.max(), abs=1e-6)
            assert found.value[step, q + 1] >= values.max() - 1e-12
            if q < 1:
                assert found.bid[step, q + 1] == pytest.approx(bid[i], abs=0.0021)
            if q > -1:
                assert found.ask[step, q + 1] == pytest.approx(ask[j], abs=0.0021)
        value = dict(zip((-1, 0, 1), found.value[step], strict=True))


def test_exact_values_match_simulation():
    optimum = limit_order_optimum(DEFAULT)
    policies = {"optimum": optimum.policy, "as": AvellanedaStoikov(), "glft": GueantLehalleFernandezTapia()}
    exact = {name: limit_order_value(DEFAULT, policy).total for name, policy in policies.items()}
    assert exact["optimum"] == pytest.approx(optimum.total, rel=1e-6)
    assert all(value <= optimum.total + 1e-4 for value in exact.values())
    # Both policies as tables, so one compiled program evaluates both.
    tables = {name: limit_order_value(DEFAULT, policies[name]).policy for name in ("optimum", "as")}
    records = evaluate(DEFAULT, tables, steps=400_000)
    for record in records:
        if record.metric == "reward":
            # The quotes of the policy are those of the table in single precision.
            assert abs(200 * record.value - exact[record.case]) < 3.5 * 200 * record.error


def test_changed_quotes_have_a_lower_value():
    # The quote of one side differs by 0.005 at one inventory and time.
    market = scenario(20)
    optimum = limit_order_optimum(market)
    for side, change in itertools.product(("bid", "ask"), (-0.005, 0.005)):
        quotes = getattr(optimum, side).copy()
        quotes[0, 10] += change
        changed = dataclasses.replace(optimum, **{side: quotes})
        assert limit_order_value(market, changed.policy).total < optimum.total - 1e-7


def test_optimum_converges_to_the_limit_of_short_steps_at_first_order():
    errors = []
    for steps in (400, 800, 1600):
        market = scenario(steps)
        limit = short_step_optimum(market)
        errors.append(limit.total - limit_order_optimum(market).total)
    assert limit.total == pytest.approx(66.28920798649, rel=1e-9)  # independent of the number of steps
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert errors[-1] > 0
    assert 1.9 < ratios[0] < ratios[1] < 2.0


def test_limit_of_short_steps_solves_its_equation():
    # dh/dt by central differences, with an error of O(Δ²).
    found, rate, k = short_step_optimum(scenario(4000)), 140.0, 1.5
    h, q = found.value, found.inventory
    growth = (h[2] - h[0]) * 4000 / 2
    up = np.exp(k * np.diff(h[1]))
    fills = rate / k * np.exp(-1) * (np.append(up, 0.0) + np.append(0.0, 1 / up))
    np.testing.assert_allclose(growth - 0.2 * q**2 + fills, 0.0, atol=1e-3)


def test_quotes_without_penalty_far_from_the_bounds_are_one_over_k():
    free = scenario(200, TotalPnL(), max_inventory=150.0)
    limit = short_step_optimum(free)
    middle = slice(140, 161)
    np.testing.assert_allclose(limit.bid[:, middle], 1 / 1.5, atol=1e-9)
    assert limit.total == pytest.approx(2 * 140 / 1.5 * np.exp(-1), rel=1e-9)
    # With steps of Δ the two sides are independent, and (e^x - 1)/x = kδ on each.
    bid = limit_order_optimum(free).bid[0, 150]
    x = 0.7 * np.exp(-1.5 * bid)
    assert np.expm1(x) / x == pytest.approx(1.5 * bid, rel=1e-9)


def test_small_risk_aversion_is_equivalent_to_a_running_penalty():
    # The quotes of both makers agree for φ = γσ²/2 and small γ.
    market, risk_aversion = scenario(50).market, 1e-5
    table = risk_averse_optimum(market, risk_aversion, np.sqrt(2 * 0.2 / risk_aversion))
    np.testing.assert_allclose(
        np.asarray(table.bid)[:, :-1],
        short_step_optimum(scenario(50)).bid[:, :-1],
        atol=2e-4,
    )


def test_closed_form_matches_the_risk_averse_optimum_far_from_the_close():
    market = dataclasses.replace(LimitOrderMarket(), max_inventory=30.0, session=1000)
    table = np.asarray(risk_averse_optimum(market, 0.1, 2.0).bid)[0, 25:36]
    ratio = np.log1p(0.1 / 1.5)
    skew = np.sqrt(0.4 / 420 * np.exp(ratio * 16))
    q = np.arange(-5, 6)
    # The closed form treats q as continuous: an error of second order in the skew, which is 0.05.
    np.testing.assert_allclose(table, ratio / 0.1 + (2 * q + 1) / 2 * skew, atol=0.01)


def test_quotes_are_symmetric_without_drift_and_skewed_with_it():
    symmetric, skewed = (short_step_optimum(scenario(50, drift=drift)) for drift in (0.0, 1.0))
    np.testing.assert_allclose(symmetric.bid, symmetric.ask[:, ::-1], atol=1e-10)
    assert (skewed.bid[:-1, 10] < symmetric.bid[:-1, 10]).all()
    assert limit_order_optimum(scenario(50, drift=1.0)).bid[0, 10] < skewed.ask[0, 10]


@pytest.mark.parametrize(
    ("market", "sentence"),
    [
        (Scenario(DealerMarket(), (PersistentQuoter(),)), "limit-order market, not for DealerMarket"),
        (
            scenario(reward=AsymmetricPenalty()),
            "no optimum of quotes is known for the reward AsymmetricPenalty",
        ),
        (Scenario(LimitOrderMarket(session=0), ()), "must be from 1 to the horizon of 200 steps, but is 0"),
        (Scenario(LimitOrderMarket(price=GeometricBrownian(drift=0.1)), ()), "price without drift"),
    ],
)
def test_unsupported_scenarios_raise_not_exact(market, sentence):
    with pytest.raises(NotExact, match=sentence):
        limit_order_optimum(market)


def test_rewards_that_need_other_extras_are_refused():
    with pytest.raises(
        ValueError, match="PositionPenalty needs HedgingExtras, which LimitOrderMarket does not"
    ):
        scenario(reward=PositionPenalty())


def test_random_policies_and_drift_raise_not_exact():
    with pytest.raises(NotExact, match="RandomQuoter is not known: it has a state or draws random numbers"):
        limit_order_value(DEFAULT, RandomQuoter())
    with pytest.raises(NotExact, match="without drift and fees"):
        risk_averse_optimum(scenario(drift=1.0).market, 0.1, 2.0)


class Sized(StatelessPolicy):
    """Quotes at an offset of 0.5 on both sides, with given sizes."""

    bid_size: float
    ask_size: float

    def act(self, shock, state, observation):
        return LimitOrders(0.5, 0.5, self.bid_size, self.ask_size), state


def test_size_below_one_unit_places_no_order():
    idle = limit_order_value(DEFAULT, DoNothing())
    assert (idle.value[:, 10] == 0.0).all() and idle.total == 0.0
    assert (idle.bid == 4.0).all() and (idle.ask == 4.0).all()
    for sizes, offsets in (((0.9, 1.0), (4.0, 0.5)), ((7.0, 0.0), (0.5, 4.0)), ((1.0, 2.0), (0.5, 0.5))):
        sized = limit_order_value(DEFAULT, Sized(*sizes))
        np.testing.assert_array_equal(sized.value, limit_order_value(DEFAULT, FixedOffset(*offsets)).value)
    # The value of one side alone matches simulation.
    asks = Sized(0.9, 1.0)
    record = find(evaluate(DEFAULT, {"asks": asks}, steps=200_000), "asks", "reward")
    assert abs(200 * record.value - limit_order_value(DEFAULT, asks).total) < 3.5 * 200 * record.error


def test_max_offset_places_no_order_in_single_precision():
    # 0.7 in single precision is below 0.7; the market compares numbers in single precision.
    market = scenario(20, TotalPnL(), max_offset=0.7)
    quotes = limit_order_value(market, FixedOffset(0.7, 0.7))
    assert quotes.total == 0.0
    assert limit_order_value(market, quotes.policy).total == 0.0
    below = float(np.nextafter(np.float32(0.7), np.float32(0)))
    assert limit_order_value(market, FixedOffset(below, 0.7)).total > 0


def test_policies_with_market_orders_raise_not_exact():
    with pytest.raises(NotExact, match="BuyAndHold is not known: it places market orders"):
        limit_order_value(DEFAULT, BuyAndHold())


def test_value_of_a_fixed_offset_matches_hand_calculation():
    # One step: each side fills with probability 1/2 and then earns 0.5.
    market = scenario(1, TotalPnL(), fills=ExponentialFill(intensity=np.log(2.0), decay=1e-9))
    value = limit_order_value(market, FixedOffset(0.5, 0.5))
    assert value.total == pytest.approx(0.5, rel=1e-6)
    # At the bounds of inventory only one side can fill.
    assert value.value[0, 0] == pytest.approx(0.25, rel=1e-6)
