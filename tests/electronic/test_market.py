"""Electronic market: hand-calculated events, order of the listing, PnL attribution, event probabilities, refusals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.scenario import Scenario
from twosided.electronic.market import (
    ElectronicAction,
    ElectronicMarket,
    TwoSidedAction,
    TwoSidedElectronicMarket,
)
from twosided.rewards import SpreadPnL, WeightedReward

MARKET = ElectronicMarket()
TWO_SIDED = TwoSidedElectronicMarket(noise=0.5)
RISE, FALL, BUY, SELL, INFORMED = 0.1, 0.3, 0.45, 0.55, 0.8
"""Shocks in the middle of the part of [0, 1) of each event."""


def after_events(market, events, actions):
    """Return the state and the transition of each step, from the start, for lists of events and actions."""
    state, _ = market.reset(jnp.float32(0))
    out = []
    for event, action in zip(events, actions, strict=True):
        state, transition = market.step(state, action, jnp.float32(event))
        out.append((state, transition))
    return out


def change(value):
    return ElectronicAction(jnp.array([float(value)]))


def changes(bid, ask):
    return TwoSidedAction(jnp.array([float(bid)]), jnp.array([float(ask)]))


def numbers(values):
    return [float(np.squeeze(value)) for value in values]


def test_events_match_hand_calculation():
    # p*: 201 201 201 200 200 200. Quotes: 200 200 201 201 202 202.
    events = [RISE, INFORMED, INFORMED, FALL, INFORMED, BUY]
    steps = after_events(MARKET, events, [change(c) for c in (0, 0, 1, 0, 1, 0)])
    states, transitions = zip(*steps, strict=True)
    assert numbers(s.price for s in states) == [201, 201, 201, 200, 200, 200]
    assert numbers(s.bid for s in states) == [200, 200, 201, 201, 202, 202]
    # The third order is decided on 200 and filled at 201; the fifth is decided on 201 and filled at 202.
    assert numbers(t.pnl.spread for t in transitions) == [0, -1, 0, 0, -2, 2]
    assert numbers(t.sold for t in transitions) == [0, 1, 1, 0, 0, 1]
    assert numbers(t.bought for t in transitions) == [0, 0, 0, 0, 1, 0]
    # A change resets the imbalance to the order of its own step.
    assert numbers(t.observation.imbalance for t in transitions) == [0, 1, 1, 1, -1, 0]
    # Two units were sold before the fall.
    assert numbers(t.pnl.inventory for t in transitions) == [0, 0, 0, 2, 0, 0]
    assert numbers(t.inventory for t in transitions) == [0, -1, -2, -2, -1, -2]
    assert numbers(s.cash for s in states) == [0, 200, 401, 401, 199, 401]


def test_orders_are_decided_on_the_new_quote_with_same_quote():
    market = ElectronicMarket(same_quote=True)
    (_, first), (_, second) = after_events(market, [RISE, INFORMED], [change(0), change(1)])
    assert numbers([second.sold, second.bought, second.pnl.spread]) == [0, 0, 0]
    (_, first), (_, second) = after_events(market, [INFORMED, INFORMED], [change(1), change(1)])
    assert numbers([first.bought, first.pnl.spread, second.pnl.spread]) == [1, -1, -2]


def test_observed_mispricing_is_that_before_the_event():
    market = ElectronicMarket(full_information=True)
    (_, first), (_, second) = after_events(market, [RISE, FALL], [change(0), change(-1)])
    assert numbers([first.observation.mispricing, second.observation.mispricing]) == [1, 1]
    _, seen = market.reset(jnp.float32(0))
    assert numbers([seen.mispricing]) == [0]
    assert MARKET.reset(jnp.float32(0))[1].mispricing is None


def test_two_sided_quotes_match_hand_calculation():
    market = TwoSidedElectronicMarket(max_spread=2.0)
    events = [RISE, INFORMED, RISE, INFORMED, SELL, SELL]
    moves = [(0, 1), (0, 0), (0, 0), (0, 0), (-1, 1), (0, -1)]
    states, transitions = zip(*after_events(market, events, [changes(*move) for move in moves]), strict=True)
    assert numbers(s.bid for s in states) == [200, 200, 200, 200, 200, 200]
    # The fifth change would make the spread 3 ticks wide, so neither side moves.
    assert numbers(s.ask for s in states) == [201, 201, 201, 201, 201, 200]
    # The first informed trader does not trade at an ask of 201; the next one does.
    assert numbers(t.sold for t in transitions) == [0, 0, 0, 1, 0, 0]
    assert numbers(t.pnl.spread for t in transitions) == [0, 0, 0, -1, 2, 2]
    assert numbers(t.observation.imbalance for t in transitions) == [0, 0, 0, 1, 0, -1]
    assert numbers(t.observation.spread for t in transitions) == [1, 1, 1, 1, 1, 0]


def test_initial_quotes_have_the_smallest_spread_around_the_price():
    state, _ = TwoSidedElectronicMarket(min_spread=3.0).reset(jnp.float32(0))
    assert numbers([state.bid, state.ask]) == [198.5, 201.5]


def test_noise_moves_the_price_of_informed_traders_by_a_tick():
    # The informed part of the shock is [0.6, 1): in its first quarter p* is taken for 199, in the next one for 201.
    for event, bought, sold in ((0.65, 1, 0), (0.75, 0, 1), (0.85, 0, 0), (0.95, 0, 0)):
        market = ElectronicMarket(noise=0.5)
        ((_, transition),) = after_events(market, [event], [change(0)])
        assert numbers([transition.bought, transition.sold]) == [bought, sold]


def simulated(market, seed=0, steps=150, paths=4000):
    """Return states before and after each step and transitions under random actions, with axes (time, paths)."""
    key_shock, key_action = jax.random.split(jax.random.key(seed))
    shocks = market.shocks(key_shock, (steps, paths))
    chosen = jax.random.randint(key_action, (steps, paths, 1), 0, market.action_space.size)
    actions = jax.tree.map(lambda leaf: leaf[chosen], market.action_space.actions)
    first, _ = jax.vmap(market.reset)(shocks[0])

    def one(state, x):
        after, transition = jax.vmap(market.step)(state, *x)
        return after, (state, after, transition)

    return jax.jit(lambda: jax.lax.scan(one, first, (actions, shocks))[1])()


@pytest.fixture(scope="module", params=[MARKET, TWO_SIDED], ids=["one price", "two prices"])
def history(request):
    return request.param, simulated(request.param)


def test_pnl_is_the_change_of_wealth(history):
    _, (before, after, transition) = history

    def wealth(state):
        return (
            np.asarray(state.cash, float) + np.asarray(state.inventory) * np.asarray(state.price)[..., None]
        )

    # Prices are multiples of half a tick, so float32 is exact.
    np.testing.assert_array_equal(wealth(after) - wealth(before), transition.pnl.total)


def test_events_have_their_probabilities(history):
    market, (before, after, transition) = history
    move = np.asarray(after.price - before.price)
    traded = np.asarray(transition.bought + transition.sold)[..., 0]
    n = move.size

    def near(count, probability):
        # 4 standard errors of a binomial; 5 comparisons.
        return abs(count / n - probability) < 4 * np.sqrt(probability * (1 - probability) / n)

    assert near((move == 1).sum(), market.price_change)
    assert near((move == -1).sum(), market.price_change)
    assert traded[move != 0].sum() == 0
    # Where p* is at both quotes, only uninformed traders and informed ones with a wrong p* trade.
    fair = (before.price == before.bid[..., 0]) & (before.price == before.ask[..., 0])
    noise = float(market.noise)
    expected = 2 * market.uninformed + market.informed * noise
    share = traded[fair].mean()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / fair.sum())


def test_expected_inventory_pnl_is_the_mean_of_its_draws(history):
    _, (_, _, transition) = history
    draws = np.asarray(transition.pnl.inventory, float)
    for expected, draw in (
        (transition.expected_inventory_pnl, draws),
        (transition.extras.expected_inventory_square, draws**2),
        (transition.extras.expected_inventory_loss, np.minimum(draws, 0)),
    ):
        error = (draw - np.asarray(expected, float)).mean(0).ravel()
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(error.size)


def test_spread_stays_within_its_bounds():
    market = TwoSidedElectronicMarket(min_spread=1.0, max_spread=3.0)
    _, after, _ = simulated(market, steps=50, paths=100)
    assert set(np.unique(after.ask - after.bid)) == {1.0, 2.0, 3.0}


def test_rewards_match_hand_calculation():
    scenario = Scenario(MARKET, (), SpreadPnL(), horizon=2)
    shock = scenario.shocks(jax.random.key(0), ())
    state, _ = scenario.reset(shock)
    state, step = scenario.step(
        state, ElectronicAction(jnp.float32(1.0)), replace(shock, market=jnp.float32(BUY))
    )
    assert float(step.reward) == 1.0
    weighted = WeightedReward(profit=2.0, inventory=0.25, quality=10.0)
    (_, first), (_, second) = after_events(TWO_SIDED, [BUY, BUY], [changes(-1, 1), changes(0, 0)])
    # Sold at one tick above p*, at a spread of two ticks.
    assert float(weighted(None, first, 0)[0]) == 2 * 1 - 0.25 - 20
    assert float(weighted(None, second, 0)[0]) == 2 * 1 - 0.5 - 20


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ({"informed": 0.5}, r"2 price_change \+ 2 uninformed \+ informed must be 1, but got 1.1"),
        ({"price_change": -0.1, "informed": 1.0}, "price_change must be in"),
        ({"uninformed": float("nan")}, "uninformed must be in"),
        ({"noise": 1.5}, "noise must be in"),
        ({"initial": float("inf")}, "initial must be finite"),
        ({"num_makers": 2}, "num_makers must be 1 in an electronic market"),
    ],
)
def test_invalid_parameters_raise(words, refusal):
    for market in (ElectronicMarket, TwoSidedElectronicMarket):
        with pytest.raises(ValueError, match=refusal):
            market(**words)


def test_invalid_spreads_raise():
    with pytest.raises(ValueError, match="max_spread must be at least min_spread"):
        TwoSidedElectronicMarket(min_spread=2.0, max_spread=1.0)
    with pytest.raises(ValueError, match="min_spread must be at least 0"):
        TwoSidedElectronicMarket(min_spread=-1.0)


def test_negative_weight_raises():
    with pytest.raises(ValueError, match="quality must be at least 0"):
        WeightedReward(quality=-1.0)
