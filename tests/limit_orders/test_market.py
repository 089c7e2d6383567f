"""Limit-order market: hand-calculated steps, fill probabilities, offsets without orders, the close, and policies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.market import LimitOrderMarket, LimitOrderShock
from twosided.limit_orders.orders import LimitOrders
from twosided.limit_orders.policies import (
    AvellanedaStoikov,
    FixedOffset,
    GueantLehalleFernandezTapia,
    QuoteTable,
)
from twosided.prices import Bachelier
from twosided.rewards import InventoryPenalty

MARKET = LimitOrderMarket(fee=0.05, session=3, max_inventory=1.0)


def shock(move=0.0, sale=0.0, purchase=0.0):
    return LimitOrderShock(*(jnp.asarray(x, jnp.float32) for x in (move, sale, purchase)))


def after_steps(market, *steps):
    state, observation = market.reset(shock())
    transitions = []
    for (bid, ask), shocks in steps:
        orders = LimitOrders(jnp.array([bid]), jnp.array([ask]))
        state, transition = market.step(state, orders, shocks)
        transitions.append(transition)
    return observation, state, transitions


def test_steps_match_hand_calculation():
    # log(A Δ) = log 0.7, so a shock of 1.5 reaches (log 0.7 + 1.5) / 1.5 = 0.762 from the midprice.
    deep = 1.5
    observation, state, (first, second, third) = after_steps(
        MARKET,
        ((0.7, 0.8), shock(move=1.0, sale=deep, purchase=deep)),
        ((0.7, 0.7), shock(move=-0.5, sale=deep, purchase=-1.0)),
        ((0.7, 0.7), shock(move=0.0, sale=-1.0, purchase=deep)),
    )
    move = 2.0 * np.sqrt(0.005)
    # The bid at 0.7 fills, the ask at 0.8 does not; the unit bought is revalued in the same step.
    parts = [float(part[0]) for part in jax.tree.leaves(first.pnl)]
    np.testing.assert_allclose(parts, [0.7, 0.0, move, -0.05], rtol=1e-4)  # float32 at a midprice of 100
    assert [float(x[0]) for x in (first.bought, first.sold, first.inventory)] == [1.0, 0.0, 1.0]
    quotes = first.quotes
    np.testing.assert_allclose(
        [float(x[0]) for x in (quotes.mid, quotes.bid, quotes.ask, quotes.mid_after)],
        [100, 99.3, 100.8, 100 + move],
        rtol=1e-6,
    )
    # At the largest inventory nothing more is bought.
    assert [float(x[0]) for x in (second.bought, second.inventory)] == [0.0, 1.0]
    assert float(second.pnl.inventory[0]) == pytest.approx(-0.5 * move, rel=1e-4)
    assert [float(x[0]) for x in (third.sold, third.inventory)] == [1.0, 0.0]
    assert float(state.cash) == pytest.approx(0.7 + 0.7 + 0.5 * move - 2 * 0.05, rel=1e-3)
    # The market closes after three steps.
    assert [bool(t.terminated) for t in (first, second, third)] == [False, False, True]
    left = [float(o.time_left[0]) for o in (observation, first.observation, third.observation)]
    np.testing.assert_allclose(left, [0.015, 0.010, 0.0], rtol=1e-6)


def test_offsets_are_clipped_and_max_offset_places_no_order():
    # A Gumbel variable of 40 reaches 26 from the midprice.
    _, _, (transition,) = after_steps(MARKET, ((MARKET.max_offset, -3.0), shock(sale=40.0, purchase=40.0)))
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == [0.0, 1.0]
    assert float(transition.pnl.spread[0]) == 0.0  # at an offset of 0
    _, _, (transition,) = after_steps(MARKET, ((3.9, 5.0), shock(sale=40.0, purchase=40.0)))
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == [1.0, 0.0]


def test_fills_have_the_stated_probability():
    fills, offsets, draws, step = ExponentialFill(), np.array([0.0, 0.5, 1.0, 2.0]), 200_000, 0.005
    shocks = fills.shocks(jax.random.key(0), (draws,))
    share = np.asarray(fills.filled(shocks, jnp.asarray(offsets)[:, None], step)).mean(1)
    expected = np.asarray(fills.probability(jnp.asarray(offsets), step))
    # 1 - exp(-A Δ e^{-k δ}) at the midprice.
    assert expected[0] == pytest.approx(1 - np.exp(-0.7), rel=1e-6)
    error = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(share - expected) < 4 * error).all()


@pytest.fixture(scope="module")
def simulated():
    """All steps of some sessions of a maker that skews."""
    scenario = Scenario(LimitOrderMarket(), (), InventoryPenalty(running=0.3, final=0.4))

    def record(observation, policy_state, step):
        t = step.transition
        return t.pnl, t.quotes, t.held, t.inventory, t.bought, t.sold, step.reward, step.terminated

    simulate = jax.jit(lambda s, p: episodes(s, p, jax.random.key(3), 64, record))
    return jax.tree.map(np.asarray, simulate(as_arrays(scenario), as_arrays(AvellanedaStoikov())))


def test_pnl_is_the_change_of_marked_wealth(simulated):
    pnl, quotes, held, inventory, bought, sold, _, _ = simulated
    traded = sold * quotes.ask - bought * quotes.bid
    change = traded + inventory * quotes.mid_after - held * quotes.mid
    total = pnl.spread + pnl.hedge + pnl.inventory + pnl.fees
    np.testing.assert_allclose(total, change, atol=1e-6 * np.abs(held * quotes.mid).max() + 1e-4)
    np.testing.assert_array_equal(inventory, held + bought - sold)
    np.testing.assert_array_equal(inventory[:-1], held[1:])
    assert np.abs(inventory).max() <= 10
    assert bought.mean() > 0.1 and sold.mean() > 0.1


def test_inventory_penalty_is_charged_every_step_and_once_at_the_close(simulated):
    pnl, _, _, inventory, _, _, reward, terminated = simulated
    # The reward has the expectation of inventory PnL, which is 0 here.
    running = 0.3 * 0.005 * inventory[..., 0] ** 2
    final = np.where(np.arange(200)[:, None] == 199, 0.4 * inventory[..., 0] ** 2, 0.0)
    np.testing.assert_allclose(reward, (pnl.spread + pnl.fees)[..., 0] - running - final, atol=1e-5)
    assert terminated[-1].all() and not terminated[:-1].any()


def act(policy, inventory, left=0.5):
    observation = LimitOrderMarket().reset(shock())[1]
    observation = dataclasses.replace(
        observation,
        inventory=jnp.asarray(inventory, jnp.float32),
        time_left=None if left is None else jnp.asarray(left, jnp.float32),
    )
    orders, _ = policy.act(None, None, observation)
    return float(orders.bid_offset), float(orders.ask_offset)


def test_closed_form_policies_match_hand_calculation():
    # γσ²τ = 0.1 · 4 · 0.5 = 0.2, (1/γ) log(1 + γ/k) = 10 log(16/15) = 0.645385.
    bid, ask = act(AvellanedaStoikov(), 3.0)
    np.testing.assert_allclose([bid, ask], [0.745385 + 0.6, 0.745385 - 0.6], rtol=1e-5)
    assert act(AvellanedaStoikov(horizon=0.5), 3.0, left=None) == (bid, ask)
    # √(4 · 0.1 / (2 · 1.5 · 140) · (16/15)^16) = 0.0517167.
    skew = np.sqrt(0.4 / 420 * (16 / 15) ** 16)
    np.testing.assert_allclose(
        act(GueantLehalleFernandezTapia(), 3.0), [0.645385 + 3.5 * skew, 0.645385 - 2.5 * skew], rtol=1e-5
    )
    assert act(FixedOffset(0.5, 0.25), 3.0) == (0.5, 0.25)


def test_quote_table_is_read_by_time_and_inventory_and_clipped():
    bid = jnp.arange(12.0).reshape(4, 3)
    table = QuoteTable(jnp.asarray(-1.0), jnp.asarray(0.1), bid, -bid)
    assert act(table, -1.0, left=0.4) == (0.0, 0.0)
    assert act(table, 1.0, left=0.1) == (11.0, -11.0)
    assert act(table, 5.0, left=0.2) == (8.0, -8.0)
    assert act(table, -7.0, left=9.0) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LimitOrderMarket(max_inventory=2.5), "max_inventory must be a whole number from 1 on"),
        (lambda: LimitOrderMarket(min_offset=1.0, max_offset=1.0), "max_offset must be above min_offset"),
        (lambda: LimitOrderMarket(session=-1), "session must be from 0 to 1000000"),
        (lambda: LimitOrderMarket(num_makers=2), "num_makers must be 1"),
        (lambda: ExponentialFill(decay=0.0), "decay must be positive and finite"),
        (lambda: InventoryPenalty(running=-1.0), "running must be at least 0 and finite"),
        (lambda: AvellanedaStoikov(risk_aversion=0.0), "aversion must be positive and finite"),
        (lambda: GueantLehalleFernandezTapia(volatility=-1.0), "volatility must be at least 0"),
        (lambda: LimitOrderMarket(price=Bachelier(time_step=0.0)), "time_step must be positive"),
    ],
)
def test_invalid_parameters_raise(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
