"""Market on bars: hand-calculated steps, fill rules, bounds, PnL attribution, no look-ahead, sources, presets."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars.market import BarsMarket, BarsShock
from twosided.bars.source import RecordedBars, SimulatedBars
from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.data.bars import OHLC, Bars
from twosided.limit_orders.fills import ProbabilisticFill, TouchFill, TradeThroughFill
from twosided.limit_orders.market import LimitOrderMarket
from twosided.limit_orders.orders import LimitOrders
from twosided.limit_orders.policies import BuyAndHold, DoNothing, FixedOffset
from twosided.papers.heston_planning.scenario import one_minute_bars
from twosided.prices import Bachelier
from twosided.runs.settings import check_fit
from twosided.settings import build, load, preset_files, read

# Open, high, low and close of four bars.
HAND = np.array([[100, 101, 99, 100], [100, 102, 99, 101], [100.5, 101, 98, 99], [99, 99, 97, 98.0]]).T


def bars_of(prices, ask=None):
    """Bars of one minute from prices, or from bid and ask prices."""
    time = 60.0 * np.arange(prices.shape[1])
    if ask is None:
        return Bars(time, OHLC(*prices), 60.0)
    return Bars(time, OHLC(*(prices + ask) / 2), 60.0, OHLC(*prices), OHLC(*ask))


START = BarsShock(jnp.asarray(0), None, None)


def recorded(**parameters):
    market = {"fills": TouchFill(), "max_offset": 0.1, "scaled": False} | parameters
    return BarsMarket(source=RecordedBars.of(bars_of(HAND)), **market)


def orders(*values):
    """Action from bid offset, ask offset, bid size, ask size and market order."""
    return LimitOrders(*(None if v is None else jnp.array([v], jnp.float32) for v in values))


def after_actions(market, *actions, shock=START):
    state, _ = market.reset(shock)
    for action in actions:
        state, transition = market.step(state, action, shock)
    return state, transition


def parts(transition):
    return [float(leaf[0]) for leaf in jax.tree.leaves(transition.pnl)]


def test_steps_match_hand_calculation():
    market = recorded(maker_fee=0.1, taker_rate=0.01, initial_cash=1000.0)
    # At the close of 100: bid 99 for 2, ask 102 for 3, buy 4 by a market order. Bar 1: open 100, low 99, high 102,
    # close 101.
    state, first = after_actions(market, orders(0.01, 0.02, 2.0, 3.0, 4.0))
    np.testing.assert_allclose(parts(first), [2 * 1 + 3 * 2, 0, 3 * 1, -(5 * 0.1 + 4)], rtol=1e-4)
    assert float(state.inventory) == 3.0
    assert float(state.cash) == pytest.approx(1000 - 400 - 198 + 306 - 4.5, rel=1e-6)
    assert [float(x[0]) for x in (first.bought, first.sold, first.held)] == [2.0, 3.0, 0.0]
    observed = first.observation
    np.testing.assert_allclose(
        [float(x[0]) for x in (observed.open, observed.high, observed.low, observed.close, observed.change)],
        [100, 102, 99, 101, 0.5],
    )
    # Volumes include market orders. Profit is cash flow.
    np.testing.assert_allclose(
        [float(x[0]) for x in (observed.bought, observed.sold, observed.profit, observed.inventory_pnl)],
        [6.0, 3.0, -296.5, 3.0],
    )
    # At the close of 101: sell 2 at the open of 100.5, which is 0.5 below the midprice of the decision.
    _, second = after_actions(market, orders(0.01, 0.02, 2.0, 3.0, 4.0), orders(0.05, 0.01, 1.0, 1.0, -2.0))
    assert parts(second)[:3] == pytest.approx([0.0, 2 * -0.5, 1 * (99 - 101)], rel=1e-5)


@pytest.mark.parametrize(
    ("offset", "touch", "through", "margin"),
    [(0.0, 1, 1, 1), (0.01, 1, 0, 0), (0.005, 1, 1, 0), (0.0101, 0, 0, 0), (0.1, 0, 0, 0)],
)
def test_fill_rules_differ_at_the_low_of_the_bar(offset, touch, through, margin):
    # A bid at the close of 100; the low of bar 1 is 99.
    rules = TouchFill(), TradeThroughFill(), TradeThroughFill(margin=0.009)
    expected = touch, through, margin
    for rule, fills in zip(rules, expected, strict=True):
        _, transition = after_actions(recorded(fills=rule), orders(offset, 0.09, 1.0, 1.0, 0.0))
        assert float(transition.bought[0]) == fills


def test_probabilistic_fills_have_the_stated_probability():
    rule, draws = ProbabilisticFill(touch=0.3, depth=0.01), 100_000
    uniform = rule.shocks(jax.random.key(0), (draws,))
    for through, expected in ((0.0, 0.3), (0.01, 1 - 0.7 / np.e), (1.0, 1.0), (-1e-6, 0.0)):
        share = float(rule.filled(uniform, jnp.asarray(through)).mean())
        assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / draws)


def test_bids_fill_by_the_lowest_ask_on_bars_of_bid_and_ask():
    # The ask is 0.5 above the bid: the low of the midprice reaches a bid at 99.25, the low of the ask does not.
    both = RecordedBars.of(bars_of(HAND, HAND + 0.5))
    market = dataclasses.replace(recorded(), source=both)
    bar = both.bar(jnp.asarray(1))
    mid, half = (float(bar.mid.close), float(bar.mid.high)), float(bar.half_spread)
    assert (mid, half, float(bar.lowest_ask), float(bar.highest_bid)) == ((101.25, 102.25), 0.25, 99.5, 102.0)
    # The initial midprice is 100.25. Bids at 99.25 and 99.75; a market order pays 100.5 at the open.
    for offset, bought in ((1 / 100.25, 0.0), (0.5 / 100.25, 1.0)):
        _, transition = after_actions(market, orders(offset, 0.09, 1.0, 1.0, 2.0))
        assert float(transition.bought[0]) == bought
        assert parts(transition)[1] == pytest.approx(-2 * 0.25, rel=1e-4)


def test_orders_are_reduced_to_the_bounds():
    tight = recorded(min_inventory=-1.0, max_inventory=2.0)
    _, transition = after_actions(tight, orders(0.0, 0.0, 9.0, 9.0, 9.0))
    # The market order is reduced to the largest inventory. No unit is left to bid for; the ask is reduced to 3 units.
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == [0.0, 3.0]
    assert float(transition.inventory[0]) == -1.0
    _, transition = after_actions(tight, orders(0.0, 0.0, 9.0, 0.0, -9.0))
    assert float(transition.inventory[0]) == -1.0 + 3.0
    # Cash for 3 units at 99 and their fees, without debt.
    poor = recorded(initial_cash=300.0, min_cash=0.0, maker_fee=0.5)
    state, transition = after_actions(poor, orders(0.01, 0.09, 9.0, 9.0, 0.0))
    assert (float(transition.bought[0]), float(state.cash)) == (3.0, pytest.approx(300 - 3 * 99.5))
    _, transition = after_actions(poor, orders(0.09, 0.09, 1.0, 1.0, 9.0))
    assert float(transition.inventory[0]) == 3.0  # at the open of 100, without a taker fee
    # Sizes are rounded to whole units unless whole_units is off; without a size, the order has the market's size.
    _, transition = after_actions(recorded(), orders(0.0, 0.0, 1.9, 0.9, 0.0))
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == [1.0, 0.0]
    _, transition = after_actions(recorded(whole_units=False, size=2.5), orders(0.0, 0.0, 1.9, None, None))
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == pytest.approx([1.9, 2.5])


RNG = np.random.default_rng(0)


def random_walk(num_bars=400):
    """Open, high, low and close of a random walk whose opens differ from the previous closes."""
    close = 50 * np.exp(np.cumsum(RNG.normal(0, 0.01, num_bars)))
    open = np.append(50.0, close[:-1]) * np.exp(RNG.normal(0, 0.002, num_bars))
    high = np.maximum(open, close) * np.exp(np.abs(RNG.normal(0, 0.005, num_bars)))
    low = np.minimum(open, close) * np.exp(-np.abs(RNG.normal(0, 0.005, num_bars)))
    return np.stack([open, high, low, close])


BARS, STEPS, PATHS = random_walk(), 40, 8


@functools.cache
def simulation():
    """Compiled simulation of random actions, shared by all records."""

    def simulate(market, shocks, actions):
        state, first = jax.vmap(market.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))

        def step(state, x):
            state, transition = jax.vmap(market.step)(state, *x)
            return state, (state, transition)

        return first, jax.lax.scan(step, state, (actions, shocks))[1]

    return jax.jit(simulate)


def random_actions(bars, fills=None):
    market = BarsMarket(
        source=RecordedBars.of(bars_of(bars), window=STEPS),
        fills=fills or ProbabilisticFill(),
        max_offset=0.02,
        maker_rate=-0.0002,
        taker_rate=0.0004,
        initial_cash=1000.0,
        min_cash=-500.0,
    )
    shocks = market.shocks(jax.random.key(1), (STEPS, PATHS))
    rng = np.random.default_rng(2)

    def uniform(low, high):
        return jnp.asarray(rng.uniform(low, high, (STEPS, PATHS, 1)), jnp.float32)

    actions = jax.tree.map(uniform, market.action_space.low, market.action_space.high)
    return jax.tree.map(np.asarray, (shocks, *simulation()(as_arrays(market), shocks, actions)))


def test_pnl_is_the_change_of_marked_wealth_and_bounds_hold():
    _, _, (state, transition) = random_actions(BARS)
    wealth = state.cash[..., None] + transition.inventory * transition.quotes.mid_after
    change = np.diff(wealth, axis=0)
    pnl = transition.pnl
    total = pnl.spread + pnl.hedge + pnl.inventory + pnl.fees
    np.testing.assert_allclose(total[1:], change, atol=3e-7 * np.abs(wealth).max() * 3)
    assert np.abs(transition.inventory).max() <= 10
    assert state.cash.min() >= -500.01
    assert all(np.abs(getattr(pnl, part)).max() > 0 for part in ("spread", "hedge", "inventory", "fees"))
    assert transition.bought.mean() > 0.1 and transition.sold.mean() > 0.1


def test_results_up_to_a_bar_do_not_depend_on_later_bars():
    # On each path, results up to bar t + 1 are bit-identical when later bars are permuted.
    shocks, first, original = random_actions(BARS)
    start, time = shocks.source[0], 15
    for path in range(PATHS):
        known = start[path] + time + 1
        later = np.arange(known, BARS.shape[1])
        shuffled = BARS.copy()
        shuffled[:, later] = BARS[:, np.random.default_rng(path).permutation(later)]
        _, shuffled_first, other = random_actions(shuffled)
        for a, b in zip(
            jax.tree.leaves((first, original)), jax.tree.leaves((shuffled_first, other)), strict=True
        ):
            own = (slice(0, time), path) if a.ndim > 1 and a.shape[0] == STEPS else (path,)
            np.testing.assert_array_equal(a[own], b[own])
        # Later results differ, so the comparison above can fail.
        assert (original[1].pnl.inventory[time:, path] != other[1].pnl.inventory[time:, path]).any()


def test_orders_fill_in_the_next_bar_and_not_in_the_observed_one():
    # The high of bar 1 is 102, but an ask at 101.5 placed after it can fill in bar 2 only, whose high is 101.
    market = recorded()
    _, transition = after_actions(
        market, orders(0.09, 0.09, 1.0, 1.0, 0.0), orders(0.09, 0.5 / 101, 1.0, 1.0, 0.0)
    )
    assert float(transition.sold[0]) == 0.0
    _, transition = after_actions(market, orders(0.09, 0.015, 1.0, 1.0, 0.0))
    assert float(transition.sold[0]) == 1.0


def test_limit_orders_do_not_rest_over_a_gap():
    bars = bars_of(HAND)
    market = dataclasses.replace(
        recorded(), source=RecordedBars.of(Bars(bars.time + 3600.0 * (bars.time > 0), bars.price, 60.0))
    )
    _, transition = after_actions(market, orders(0.0, 0.0, 1.0, 1.0, 2.0))
    assert [float(x[0]) for x in (transition.bought, transition.sold)] == [0.0, 0.0]
    assert parts(transition)[2] == pytest.approx(2.0 * (101 - 100))  # the market order trades at the open
    _, transition = after_actions(market, orders(0.0, 0.0, 1.0, 1.0, 2.0), orders(0.0, 0.0, 1.0, 0.0, 0.0))
    assert float(transition.bought[0]) == 1.0


def test_episodes_start_where_the_window_fits_and_end_at_the_last_bar():
    source = RecordedBars.of(bars_of(BARS), window=390)
    starts = np.asarray(source.shocks(jax.random.key(0), (2000,)))
    assert set(starts) == set(range(9))
    assert int(RecordedBars.of(bars_of(BARS)).shocks(jax.random.key(0), ())) == 0
    state = jnp.asarray(8)
    for _ in range(390):
        state = source.step(state, None)
    assert not bool(source.ended(state))
    assert bool(source.ended(source.step(state, None)))


def test_simulated_bars_match_the_path_of_the_process():
    # Two substeps with known changes, to 103 and then to 98.
    source = SimulatedBars(Bachelier(volatility=1.0, time_step=1.0), substeps=2, relative_half_spread=0.01)
    state = source.step(source.reset(jnp.zeros(2)), jnp.array([3.0, -5.0]))
    bar = source.bar(state)
    np.testing.assert_allclose(
        [bar.mid.open, bar.mid.high, bar.mid.low, bar.mid.close, bar.lowest_ask, bar.highest_bid],
        [100, 103, 98, 98, 98 * 1.01, 103 * 0.99],
        rtol=1e-6,
    )
    np.testing.assert_allclose([bar.half_spread_at_open, bar.half_spread], [1.0, 0.98], rtol=1e-6)


def test_do_nothing_earns_zero_and_buy_and_hold_earns_the_price_change():
    market = BarsMarket(
        source=SimulatedBars(Bachelier(volatility=9.0, time_step=1e-4), substeps=3, relative_half_spread=1e-3)
    )

    def record(observation, policy_state, step):
        t = step.transition
        return t.pnl, t.quotes, t.inventory

    simulate = jax.jit(lambda p: episodes(Scenario(market, (), horizon=20), p, jax.random.key(0), 4, record))
    pnl, _, inventory = simulate(DoNothing())
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in jax.tree.leaves((pnl, inventory)))
    pnl, quotes, inventory = jax.tree.map(np.asarray, simulate(BuyAndHold(units=3.0)))
    assert (inventory == 3).all()
    half_spread = quotes.exchange_ask[0] - quotes.mid[0]
    total = sum(leaf.sum(0) for leaf in (pnl.spread, pnl.hedge, pnl.inventory, pnl.fees))
    np.testing.assert_allclose(total, 3 * (quotes.mid_after[-1] - quotes.mid[0] - half_spread), atol=1e-3)


def test_reward_of_gore2025_matches_hand_calculation():
    scenario = dataclasses.replace(one_minute_bars(RecordedBars.of(bars_of(HAND / 10))), horizon=2)
    shock = dataclasses.replace(scenario.shocks(jax.random.key(0), ()), market=START)
    state, observation = scenario.reset(shock)
    assert len(jax.tree.leaves(observation)) == 11
    assert len(jax.tree.leaves(scenario.action_space.low)) == 5
    # Cash 100 and inventory 10 at a price of 10: sell 2 by a market order at 10. No limit order fills in bar 1, with
    # low 9.9, high 10.2 and close 10.1.
    action = jax.tree.map(jnp.asarray, LimitOrders(0.005, 0.005, 0.0, 0.0, -2.0))
    state, first = scenario.step(state, action, shock)
    cash, profit = 100 + 20 - 0.01, 20 - 0.01
    mids = [10.0, 10.05]
    thresholds = [0.5, cash / (8 * 10.1) * cash / np.mean(mids)]
    excess = np.mean([10, 8]) / np.mean(thresholds)
    expected = profit + 8 * 0.1 - 0.3 * 2 - 0.2 * min(1, excess)
    assert float(first.reward) == pytest.approx(expected, rel=1e-4)
    # Bar 2 has low 9.8, high 10.1 and close 9.9; nothing trades.
    idle = jax.tree.map(jnp.asarray, LimitOrders(0.005, 0.005, 0.0, 0.0, 0.0))
    _, second = scenario.step(state, idle, shock)
    mids.append(9.95)
    thresholds.append(cash / (8 * 9.9) * cash / np.mean(mids))
    excess = np.mean([10, 8, 8]) / np.mean(thresholds)
    assert excess < 1
    assert float(second.reward) == pytest.approx(8 * -0.2 - 0.2 * excess, rel=1e-4)
    marked = dataclasses.replace(scenario.reward, marked=True)
    pay, _ = marked(marked.init(), first.transition, 0)
    assert float(pay) == pytest.approx(expected - profit - 8 * 0.1 + (8 * 0.1 - 0.01), abs=1e-5)


@pytest.mark.parametrize("name", ["bars", "gore2025", "limit-order"])
def test_presets_are_valid_settings_whose_parts_fit(name):
    settings = build(read("twosided.runs.settings:TrainSettings", load(preset_files()[name]), name))
    check_fit(settings.scenario, settings.references, settings.learner)
    if name == "gore2025":
        assert eqx.tree_equal(settings.scenario, one_minute_bars()) is True


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BarsMarket(num_makers=2), "num_makers must be 1"),
        (lambda: BarsMarket(max_offset=0.0), "max_offset must be above min_offset"),
        (lambda: BarsMarket(size=20.0, sizes=False), r"size must be at most max_size \(10.0\), but got 20.0"),
        (
            lambda: BarsMarket(max_size=0.5, whole_units=False),
            r"size must be at most max_size \(0.5\), but got 1.0",
        ),
        (lambda: BarsMarket(size=0.0), "size must be positive and finite"),
        (lambda: BarsMarket(initial_inventory=11.0), "initial_inventory must be from -10.0 to 10.0"),
        (lambda: BarsMarket(min_cash=1.0), "min_cash must be at most initial_cash"),
        (lambda: BarsMarket(volatility_window=0.5), "volatility_window must be at least 1"),
        (lambda: SimulatedBars(substeps=0), "substeps must be from 1"),
        (lambda: ProbabilisticFill(touch=1.5), "touch must be in"),
        (lambda: RecordedBars.of(bars_of(HAND[:, :2])), "bars must be at least 3, but got 2"),
        (lambda: RecordedBars.of(bars_of(HAND[[0, 2, 1, 3]])), "those of bar 0 are not"),
        (
            lambda: RecordedBars.of(bars_of(HAND, HAND * np.nan)),
            "open must be positive and finite, but bar 0",
        ),
        (lambda: RecordedBars.of(bars_of(HAND), window=3), "window must be from 1 to 2"),
    ],
)
def test_invalid_parameters_raise_value_error(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_parts_that_do_not_fit_the_market_are_refused():
    with pytest.raises(Exception, match="places market orders, which this market does not take"):
        check_fit(Scenario(LimitOrderMarket(), ()), [BuyAndHold()])
    with pytest.raises(Exception, match="scaled must be false"):
        scenario = dataclasses.replace(one_minute_bars(), market=BarsMarket())
        check_fit(scenario, [FixedOffset()])
