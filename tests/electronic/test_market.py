"""The electronic market: events by hand, the listing's order of things, money, the law of its events, and refusals."""

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
"""Shocks in the middle of each event's part of [0, 1)."""


def lived(market, events, actions):
    """States and transitions, from the start, of a list of events and of actions."""
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


def test_a_morning_by_hand():
    # p*: 201 201 201 200 200 200. The quote: 200 200 201 201 202 202.
    events = [RISE, INFORMED, INFORMED, FALL, INFORMED, BUY]
    steps = lived(MARKET, events, [change(c) for c in (0, 0, 1, 0, 1, 0)])
    states, transitions = zip(*steps, strict=True)
    assert numbers(s.price for s in states) == [201, 201, 201, 200, 200, 200]
    assert numbers(s.bid for s in states) == [200, 200, 201, 201, 202, 202]
    # The third order is decided on 200, filled at 201; the fifth on 201, filled at 202.
    assert numbers(t.pnl.spread for t in transitions) == [0, -1, 0, 0, -2, 2]
    assert numbers(t.sold for t in transitions) == [0, 1, 1, 0, 0, 1]
    assert numbers(t.bought for t in transitions) == [0, 0, 0, 0, 1, 0]
    # A change forgets the orders before it and keeps the one of its own step.
    assert numbers(t.observation.imbalance for t in transitions) == [0, 1, 1, 1, -1, 0]
    # Two were sold before the fall.
    assert numbers(t.pnl.inventory for t in transitions) == [0, 0, 0, 2, 0, 0]
    assert numbers(t.inventory for t in transitions) == [0, -1, -2, -2, -1, -2]
    assert numbers(s.cash for s in states) == [0, 200, 401, 401, 199, 401]


def test_an_order_on_the_quote_that_it_trades_at():
    market = ElectronicMarket(same_quote=True)
    (_, first), (_, second) = lived(market, [RISE, INFORMED], [change(0), change(1)])
    assert numbers([second.sold, second.bought, second.pnl.spread]) == [0, 0, 0]
    (_, first), (_, second) = lived(market, [INFORMED, INFORMED], [change(1), change(1)])
    assert numbers([first.bought, first.pnl.spread, second.pnl.spread]) == [1, -1, -2]


def test_what_the_maker_sees_of_the_fundamental_price_is_from_before_the_event():
    market = ElectronicMarket(full_information=True)
    (_, first), (_, second) = lived(market, [RISE, FALL], [change(0), change(-1)])
    assert numbers([first.observation.mispricing, second.observation.mispricing]) == [1, 1]
    _, seen = market.reset(jnp.float32(0))
    assert numbers([seen.mispricing]) == [0]
    assert MARKET.reset(jnp.float32(0))[1].mispricing is None


def test_two_sided_quotes_by_hand():
    market = TwoSidedElectronicMarket(max_spread=2.0)
    events = [RISE, INFORMED, RISE, INFORMED, SELL, SELL]
    acts = [(0, 1), (0, 0), (0, 0), (0, 0), (-1, 1), (0, -1)]
    states, transitions = zip(*lived(market, events, [changes(*a) for a in acts]), strict=True)
    assert numbers(s.bid for s in states) == [200, 200, 200, 200, 200, 200]
    # The fifth change would make the spread 3 ticks wide, so neither side moves.
    assert numbers(s.ask for s in states) == [201, 201, 201, 201, 201, 200]
    # The first informed trader finds 201 at the ask and does not trade; the next one buys there.
    assert numbers(t.sold for t in transitions) == [0, 0, 0, 1, 0, 0]
    assert numbers(t.pnl.spread for t in transitions) == [0, 0, 0, -1, 2, 2]
    assert numbers(t.observation.imbalance for t in transitions) == [0, 0, 0, 1, 0, -1]
    assert numbers(t.observation.spread for t in transitions) == [1, 1, 1, 1, 1, 0]


def test_the_first_quotes_are_as_narrow_as_may_be_around_the_price():
    state, _ = TwoSidedElectronicMarket(min_spread=3.0).reset(jnp.float32(0))
    assert numbers([state.bid, state.ask]) == [198.5, 201.5]


def test_noise_makes_informed_traders_miss_by_a_tick():
    # The informed part of the shock is [0.6, 1): its first quarter takes p* to be 199, the next 201.
    for event, bought, sold in ((0.65, 1, 0), (0.75, 0, 1), (0.85, 0, 0), (0.95, 0, 0)):
        market = ElectronicMarket(noise=0.5)
        ((_, transition),) = lived(market, [event], [change(0)])
        assert numbers([transition.bought, transition.sold]) == [bought, sold]


def played(market, seed=0, steps=150, paths=4000):
    """Random actions on many paths: shocks, and states and transitions with leading axes (time, paths)."""
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
    return request.param, played(request.param)


def test_pnl_is_the_change_of_wealth(history):
    _, (before, after, transition) = history

    def wealth(state):
        return (
            np.asarray(state.cash, float) + np.asarray(state.inventory) * np.asarray(state.price)[..., None]
        )

    # Whole ticks (half ticks at most), so float32 is exact.
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
    # Uninformed traders alone trade where p* lies within the quotes and nobody mistakes it.
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


def test_the_spread_stays_within_its_bounds():
    market = TwoSidedElectronicMarket(min_spread=1.0, max_spread=3.0)
    _, after, _ = played(market, steps=50, paths=100)
    assert set(np.unique(after.ask - after.bid)) == {1.0, 2.0, 3.0}


def test_rewards():
    scenario = Scenario(MARKET, (), SpreadPnL(), horizon=2)
    shock = scenario.shocks(jax.random.key(0), ())
    state, _ = scenario.reset(shock)
    state, step = scenario.step(
        state, ElectronicAction(jnp.float32(1.0)), replace(shock, market=jnp.float32(BUY))
    )
    assert float(step.reward) == 1.0
    weighed = WeightedReward(profit=2.0, inventory=0.25, quality=10.0)
    (_, first), (_, second) = lived(TWO_SIDED, [BUY, BUY], [changes(-1, 1), changes(0, 0)])
    # Sold at a tick over p*, at a spread of two ticks.
    assert float(weighed(None, first, 0)[0]) == 2 * 1 - 0.25 - 20
    assert float(weighed(None, second, 0)[0]) == 2 * 1 - 0.5 - 20


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
def test_bad_parameters(words, refusal):
    for market in (ElectronicMarket, TwoSidedElectronicMarket):
        with pytest.raises(ValueError, match=refusal):
            market(**words)


def test_bad_spreads():
    with pytest.raises(ValueError, match="max_spread must be at least min_spread"):
        TwoSidedElectronicMarket(min_spread=2.0, max_spread=1.0)
    with pytest.raises(ValueError, match="min_spread must be at least 0"):
        TwoSidedElectronicMarket(min_spread=-1.0)


def test_bad_weights():
    with pytest.raises(ValueError, match="quality must be at least 0"):
        WeightedReward(quality=-1.0)
