"""Dealer market: steps by hand and against a trade-by-trade ledger; PnL parts sum to the change of marked wealth."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twosided.core.rollout import rollout, start
from twosided.core.scenario import Scenario
from twosided.dealer.investors import Investors, InvestorShock, Tiers, UnitInvestors, UnitShock
from twosided.dealer.market import DealerAction, DealerMarket, DealerShock, DealerState
from twosided.dealer.quoters import PersistentQuoter
from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot
from twosided.prices import Bachelier, GeometricBrownian, PriceState

BUY, SELL = 0, 1
SPREAD, VOLUMES, TICK = 2e-4, [0.5, 1.0, 2.0], 1e-4
"""Half a unit at 1 bp, one more unit at 2 bp, the rest at 3 bp: one unit costs 1.5 bp, four 10 bp, five 13 bp."""

# The midprice moves by exactly its shock.
MARKET = DealerMarket(
    price=Bachelier(volatility=10.0, time_step=0.01),
    flow=UnitInvestors(count=4),
    book=ReferenceBook(num_levels=3),
)


def state_of(inventory, cash=(0.0, 0.0), mid=100.0):
    book = Snapshot(jnp.asarray(SPREAD), jnp.asarray(VOLUMES), jnp.asarray(TICK))
    return DealerState(PriceState(jnp.asarray(mid)), book, jnp.asarray(cash), jnp.asarray(inventory))


def shock_of(flow, move=2.0):
    # The next book: quoted spread 1 bp, and all draws at their median or mean.
    book = BookShock(jnp.asarray(0.0), jnp.asarray(1.0), jnp.zeros(2))
    return DealerShock(price=jnp.asarray(move), flow=flow, book=book)


def action_of(epsilon_buy, epsilon_sell, hedge):
    return DealerAction(*(jnp.asarray(part) for part in (epsilon_buy, epsilon_sell, hedge)))


# Three of four investors sell, so the makers buy; the fourth buys, and its tie-break selects maker 1.
THREE_SELL = shock_of(
    UnitShock(selling=jnp.array([0b0111], jnp.uint32), tie_breaks=jnp.array([0b1010], jnp.uint32))
)


def test_step_matches_hand_computed_values():
    # Maker 0 has the better bid and buys from all three sellers; the asks tie, and maker 1 sells to the only buyer.
    action = action_of([-0.5, 0.0], [0.0, 0.0], [0.5, 1.0])
    state = state_of(inventory=[10.0, -4.0], cash=[7.0, 0.0])
    after, transition = MARKET.step(state, action, THREE_SELL)
    pnl = transition.pnl
    # Spread PnL: 100 · 3 · 1.5 bp · (1 - 0.5) and 100 · 1.5 bp. Hedge costs: five units 13 bp, four units 10 bp.
    np.testing.assert_allclose(pnl.spread, [0.0225, 0.0150], rtol=1e-6)
    np.testing.assert_allclose(pnl.hedge, [-0.13, -0.10], rtol=1e-6)
    # z' = (1 - x) z + bought - sold: 10 - 5 + 3 and -4 + 4 - 1, revalued by +2.
    np.testing.assert_array_equal(transition.inventory, [8.0, -1.0])
    np.testing.assert_array_equal(pnl.inventory, [16.0, -2.0])
    np.testing.assert_array_equal(pnl.fees, [0.0, 0.0])
    np.testing.assert_array_equal(transition.expected_inventory_pnl, [0.0, 0.0])
    np.testing.assert_array_equal(transition.bought, [3.0, 0.0])
    np.testing.assert_array_equal(transition.sold, [0.0, 1.0])
    # Maker 0 sells five units on the exchange and buys three; maker 1 buys four on the exchange and sells one.
    np.testing.assert_allclose(
        after.cash,
        [7.0 + 500 - 0.13 - 3 * 100 * (1 - 0.75e-4), -400 - 0.10 + 100 * (1 + 1.5e-4)],
        rtol=1e-6,
    )
    assert after.price.mid == 102.0
    assert not transition.terminated


def test_observation_matches_hand_computed_values():
    action = action_of([-0.5, 0.0], [0.0, 0.0], [0.5, 1.0])
    after, transition = MARKET.step(state_of(inventory=[10.0, -4.0]), action, THREE_SELL)
    observed = transition.observation
    np.testing.assert_array_equal(observed.bought, [3.0, 0.0])
    np.testing.assert_array_equal(observed.sold, [0.0, 1.0])
    np.testing.assert_array_equal(observed.market_volume, [4.0, 4.0])
    np.testing.assert_array_equal(observed.inventory, [8.0, -1.0])
    np.testing.assert_array_equal(observed.inventory_pnl, [16.0, -2.0])
    np.testing.assert_array_equal(observed.mid, [102.0, 102.0])
    # The book is that of the next step.
    book = MARKET.book.snapshot(THREE_SELL.book)
    np.testing.assert_array_equal(observed.spread, [book.spread] * 2)
    np.testing.assert_array_equal(observed.volumes, [book.volumes] * 2)
    np.testing.assert_array_equal(after.book.volumes, book.volumes)


def test_first_observation_has_no_trades_and_no_inventory():
    state, observed = MARKET.reset(THREE_SELL)
    for zero in (
        observed.bought,
        observed.sold,
        observed.market_volume,
        observed.inventory,
        observed.inventory_pnl,
        state.cash,
    ):
        np.testing.assert_array_equal(zero, [0.0, 0.0])
    np.testing.assert_array_equal(observed.mid, [100.0, 100.0])
    np.testing.assert_allclose(observed.spread, [1e-4, 1e-4], rtol=1e-6)


def test_quotes_are_the_prices_of_a_unit():
    state, action = state_of(inventory=[0.0, 0.0]), action_of([-0.5, 0.0], [0.0, 1.0], [0.0, 0.0])
    after, transition = MARKET.step(state, action, THREE_SELL)
    quotes = transition.quotes
    np.testing.assert_array_equal(quotes.mid, [100.0, 100.0])
    np.testing.assert_array_equal(quotes.mid_after, [after.price.mid] * 2)
    np.testing.assert_allclose(quotes.bid, [100 - 0.0075, 100 - 0.015], rtol=1e-7)
    np.testing.assert_allclose(quotes.ask, [100 + 0.015, 100 + 0.030], rtol=1e-7)


def test_ties_on_both_sides_follow_the_tie_breaks():
    action = action_of([0.2, 0.2], [-0.3, -0.3], [0.0, 0.0])
    _, transition = MARKET.step(state_of(inventory=[0.0, 0.0]), action, THREE_SELL)
    np.testing.assert_array_equal(transition.bought, [2.0, 1.0])
    np.testing.assert_array_equal(transition.sold, [0.0, 1.0])
    unit = 100 * 1.5e-4
    np.testing.assert_allclose(transition.pnl.spread, [2 * 1.2 * unit, (1.2 + 0.7) * unit], rtol=1e-6)


def test_worse_quote_wins_no_orders_and_epsilon_of_minus_1_earns_0():
    action = action_of([-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0])
    _, transition = MARKET.step(state_of(inventory=[0.0, 0.0]), action, THREE_SELL)
    np.testing.assert_array_equal(transition.bought + transition.sold, [4.0, 0.0])
    np.testing.assert_array_equal(transition.pnl.spread, [0.0, 0.0])


def test_single_maker_wins_all_orders():
    market = DealerMarket(MARKET.price, MARKET.flow, MARKET.book, num_makers=1)
    action = action_of([1.0], [0.5], [0.0])
    _, transition = market.step(state_of(inventory=[0.0], cash=[0.0]), action, THREE_SELL)
    assert (transition.bought, transition.sold) == (3.0, 1.0)
    np.testing.assert_allclose(transition.pnl.spread, [100 * 1.5e-4 * (3 * 2 + 1.5)], rtol=1e-6)


def test_full_hedge_leaves_only_new_trades():
    action = action_of([-0.5, 0.0], [0.0, 0.0], [1.0, 1.0])
    _, transition = MARKET.step(state_of(inventory=[1.0, -1.0]), action, THREE_SELL)
    np.testing.assert_array_equal(transition.inventory, [3.0, -1.0])
    np.testing.assert_allclose(transition.pnl.hedge, [-100 * 1.5e-4] * 2, rtol=1e-6)


@pytest.mark.parametrize("multiplier", [0.0, 3.0])
def test_hedge_cost_multiplier_scales_only_hedge_pnl(multiplier):
    action = action_of([-0.5, 0.0], [0.0, 0.0], [0.5, 1.0])
    market = DealerMarket(MARKET.price, MARKET.flow, MARKET.book, hedge_cost=multiplier)
    _, transition = market.step(state_of(inventory=[10.0, -4.0]), action, THREE_SELL)
    np.testing.assert_allclose(transition.pnl.hedge, [-0.13 * multiplier, -0.10 * multiplier], rtol=1e-6)
    np.testing.assert_allclose(transition.pnl.spread, [0.0225, 0.0150], rtol=1e-6)


def test_actions_are_clipped_to_the_action_space():
    state = state_of(inventory=[10.0, -4.0])
    outside = MARKET.step(state, action_of([-3.0, 1.5], [7.0, 2.0], [1.2, -0.1]), THREE_SELL)
    inside = MARKET.step(state, action_of([-1.0, 1.0], [1.0, 1.0], [1.0, 0.0]), THREE_SELL)
    for a, b in zip(jax.tree.leaves(outside), jax.tree.leaves(inside), strict=True):
        np.testing.assert_array_equal(a, b)


def test_buy_and_sell_sides_are_symmetric():
    # Swapping long and short, bids and asks, sellers and buyers, rises and falls gives the same PnL.
    all_bits = jnp.uint32(0b1111)
    flow = THREE_SELL.flow
    mirrored_flow = UnitShock(selling=all_bits & ~flow.selling, tie_breaks=flow.tie_breaks)
    action, mirrored = (
        action_of([-0.5, 0.0], [0.1, 0.1], [0.5, 1.0]),
        action_of([0.1, 0.1], [-0.5, 0.0], [0.5, 1.0]),
    )
    _, one = MARKET.step(state_of(inventory=[10.0, -4.0]), action, THREE_SELL)
    _, other = MARKET.step(state_of(inventory=[-10.0, 4.0]), mirrored, shock_of(mirrored_flow, move=-2.0))
    np.testing.assert_array_equal(one.bought, other.sold)
    np.testing.assert_array_equal(one.inventory, -other.inventory)
    for a, b in zip(jax.tree.leaves(one.pnl), jax.tree.leaves(other.pnl), strict=True):
        np.testing.assert_array_equal(a, b)


def test_expected_inventory_pnl_follows_the_drift():
    price = GeometricBrownian(drift=2.0, volatility=3.0, time_step=0.01)
    market = DealerMarket(price, MARKET.flow, MARKET.book)
    action = action_of([-0.5, 0.0], [0.0, 0.0], [0.5, 1.0])
    _, transition = market.step(state_of(inventory=[10.0, -4.0]), action, THREE_SELL)
    np.testing.assert_allclose(
        transition.expected_inventory_pnl, np.array([8, -1]) * 100 * np.expm1(0.02), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_makers": 0}, "num_makers must be at least 1, but got 0"),
        ({"hedge_cost": -1.0}, "hedge_cost must be at least 0 and finite, but got -1.0"),
        ({"hedge_cost": float("nan")}, "hedge_cost must be at least 0 and finite, but got nan"),
    ],
)
def test_invalid_parameters_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DealerMarket(**arguments)


# Informed investors.


@pytest.mark.parametrize("move", [2.0, -2.0])
def test_step_with_informed_investors_matches_hand_computed_values(move):
    market = DealerMarket(MARKET.price, UnitInvestors(count=4, informed=4), MARKET.book)
    action = action_of([-0.5, 0.0], [0.0, -0.5], [0.0, 0.0])
    _, transition = market.step(state_of(inventory=[1.0, 1.0]), action, shock_of(THREE_SELL.flow, move))
    # All four sell at the best bid before a fall, or buy at the best ask before a rise.
    won = [[0.0, -4.0], [4.0, 0.0]][move < 0]
    np.testing.assert_array_equal(transition.bought - transition.sold, won)
    held = 1 + np.array(won)
    np.testing.assert_array_equal(transition.pnl.inventory, held * move)
    np.testing.assert_array_equal(transition.expected_inventory_pnl, held * move)
    np.testing.assert_array_equal(transition.extras.expected_inventory_square, (held * move) ** 2)
    np.testing.assert_array_equal(transition.extras.expected_inventory_loss, np.minimum(held * move, 0))


def test_informed_orders_match_future_moves_across_blocks_and_episodes():
    horizon, foresight, paths = 8, 3, 4000
    flow = Tiers(
        (UnitInvestors(count=3, informed=3, foresight=foresight), UnitInvestors(count=2, informed=2))
    )
    market = DealerMarket(Bachelier(volatility=10.0, time_step=0.01), flow, num_makers=1, by_tier=True)
    scenario = Scenario(market, (), horizon=horizon)

    @jax.jit
    def blocks(key):
        def record(observation, state, step):
            after = step.transition.observation
            return step.observed.mid[0], after.mid[0], after.bought[0], after.sold[0]

        keys = jax.random.split(key, 5)
        carry, recorded = start(scenario, PersistentQuoter(), keys[0], paths), []
        for each in keys[1:]:
            carry, block = rollout(scenario, PersistentQuoter(), carry, each, 5, record)
            recorded.append(block)
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *recorded)

    mid, after, bought, sold = (np.asarray(leaf, float) for leaf in blocks(jax.random.key(0)))
    steps = len(mid)
    checked = 0
    for tier, (ahead, count) in enumerate([(foresight, 3), (1, 2)]):
        for time in range(steps - ahead + 1):
            if time % horizon + ahead <= horizon:
                move = after[time + ahead - 1] - mid[time]
                moves = move != 0  # a move can be rounded to 0 in float32
                rises = move[moves] > 0
                np.testing.assert_array_equal(sold[time, moves, tier], np.where(rises, count, 0))
                np.testing.assert_array_equal(bought[time, moves, tier], np.where(rises, 0, count))
                checked += time % horizon == 0
    assert checked == 6  # first steps of all three episodes, for both tiers
    # Innovations are standard normal, and none is reused, even when episodes restart.
    moved = after - mid
    moments = np.cov(moved)
    np.testing.assert_allclose(moments, np.eye(steps), atol=5 * np.sqrt(2 / paths))


# Quotes by tier.

TWO_TIERS = DealerMarket(
    price=MARKET.price,
    flow=Tiers((UnitInvestors(count=4), UnitInvestors(count=4))),
    book=MARKET.book,
    by_tier=True,
)
TIERED_SHOCK = shock_of(
    (
        THREE_SELL.flow,
        UnitShock(selling=jnp.array([0b0001], jnp.uint32), tie_breaks=jnp.array([0b0110], jnp.uint32)),
    )
)


def test_each_tier_trades_at_its_own_best_quote():
    # Tier 0: maker 0 has the best bid, and the tie at the ask goes to maker 1. Tier 1: maker 1 has both best quotes.
    action = action_of([[-0.5, 0.5], [0.0, -0.2]], [[0.0, 1.0], [0.0, 0.3]], [0.0, 0.0])
    state = state_of(inventory=[0.0, 0.0])
    after, transition = TWO_TIERS.step(state, action, TIERED_SHOCK)
    observed = transition.observation
    np.testing.assert_array_equal(observed.bought, [[3.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(observed.sold, [[0.0, 0.0], [1.0, 3.0]])
    np.testing.assert_array_equal(observed.market_volume, [8.0, 8.0])
    np.testing.assert_array_equal(transition.bought, [3.0, 1.0])
    np.testing.assert_array_equal(transition.sold, [0.0, 4.0])
    unit = 100 * 1.5e-4
    spread_pnl = [3 * 0.5 * unit, (1.0 + 0.8 + 3 * 1.3) * unit]
    np.testing.assert_allclose(transition.pnl.spread, spread_pnl, rtol=1e-6)
    np.testing.assert_allclose(after.cash, [-300 + spread_pnl[0], -100 + 400 + spread_pnl[1]], rtol=1e-6)
    # The reported quotes are means over tiers.
    quotes = transition.quotes
    half = (quotes.ask - 100) / (1 + np.array([0.5, 0.15]))
    np.testing.assert_allclose((100 - quotes.bid) / half, 1 + np.array([0.0, -0.1]), rtol=1e-3)


def shapes(action):
    return [np.shape(leaf) for leaf in jax.tree.leaves(action)]


def test_single_epsilon_applies_to_all_tiers():
    one = action_of([-0.5, 0.0], [0.2, 0.2], [0.0, 1.0])
    each = action_of([[-0.5, -0.5], [0.0, 0.0]], [[0.2, 0.2], [0.2, 0.2]], [0.0, 1.0])
    state = state_of(inventory=[3.0, -4.0])
    for a, b in zip(
        *(jax.tree.leaves(TWO_TIERS.step(state, x, TIERED_SHOCK)) for x in (one, each)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    # Without by_tier only the observation differs.
    pooled = DealerMarket(MARKET.price, TWO_TIERS.flow, MARKET.book)
    (after, tiered), (pooled_after, pooled_transition) = (
        m.step(state, one, TIERED_SHOCK) for m in (TWO_TIERS, pooled)
    )
    for a, b in zip(
        *map(jax.tree.leaves, ((after, tiered.pnl), (pooled_after, pooled_transition.pnl))), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(tiered.observation.bought.sum(1), pooled_transition.observation.bought)
    assert shapes(pooled.action_space.low) == [(), (), ()]
    assert shapes(TWO_TIERS.action_space.high) == [(2,), (2,), ()]


def test_single_tier_has_no_axis_of_tiers():
    alone = DealerMarket(MARKET.price, MARKET.flow, MARKET.book, by_tier=True)
    assert shapes(alone.action_space.low) == [(), (), ()]
    assert alone.reset(THREE_SELL)[1].bought.shape == (2,)


# Trade-by-trade ledger of all accounts: makers, investors and the exchange.


def cost_of(size):
    cost, rest = 0.0, size
    for level, volume in enumerate([*VOLUMES[:-1], np.inf]):
        taken = min(rest, volume)
        cost, rest = cost + taken * (SPREAD / 2 + level * TICK), rest - taken
    return cost


class Ledger:
    """Cash and units of every account; a trade only moves them between accounts."""

    def __init__(self, cash, inventory):
        self.cash = {("maker", i): value for i, value in enumerate(cash)}
        self.units = {("maker", i): value for i, value in enumerate(inventory)}

    def trade(self, seller, buyer, units, price):
        for account, sign in ((seller, 1), (buyer, -1)):
            self.cash[account] = self.cash.get(account, 0.0) + sign * units * price
            self.units[account] = self.units.get(account, 0.0) - sign * units

    def of(self, account, accounts):
        return [account.get(name, 0.0) for name in accounts]


def ledger_step(ledger, orders, epsilon, hedge, hedge_cost, mid):
    """Book all trades of a step; an order is (side of the maker, size, rule that selects among tied makers)."""
    for maker, fraction in enumerate(hedge):
        position = ledger.units["maker", maker]
        size = abs(fraction * position)
        if size > 0:
            spread = mid * hedge_cost * cost_of(size) / size
            if position > 0:
                ledger.trade(("maker", maker), "exchange", size, mid - spread)
            else:
                ledger.trade("exchange", ("maker", maker), size, mid + spread)
    for investor, (side, size, pick) in enumerate(orders):
        if size == 0:
            continue
        quotes = [pair[side] for pair in epsilon]
        tied = [maker for maker, quote in enumerate(quotes) if quote == min(quotes)]
        maker = pick(tied)
        half_spread = mid * cost_of(size) / size * (1 + epsilon[maker][side])
        if side == BUY:
            ledger.trade(("investor", investor), ("maker", maker), size, mid - half_spread)
        else:
            ledger.trade(("maker", maker), ("investor", investor), size, mid + half_spread)


INVESTORS = 5


# Without subnormal numbers, which are flushed to 0, so that different quotes would tie.
def floats(low, high):
    return st.floats(low, high, allow_subnormal=False)


epsilons = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.3, 1.0]) | floats(-1.0, 1.0)
fractions = st.sampled_from([0.0, 0.2, 1.0]) | floats(0.0, 1.0)
inventories = st.integers(-20, 20).map(float) | floats(-50.0, 50.0)


def makers_of(count):
    maker = st.tuples(epsilons, epsilons, fractions, inventories)
    return st.lists(maker, min_size=count, max_size=count)


def assert_ledger(market, makers, flow_shock, orders, move, hedge_cost):
    epsilon = [(buy, sell) for buy, sell, _, _ in makers]
    hedge, inventory = [maker[2] for maker in makers], [maker[3] for maker in makers]
    cash, mid = [10.0 * i for i in range(len(makers))], 100.0

    ledger = Ledger(cash, inventory)
    before = np.array(cash) + mid * np.array(inventory)
    ledger_step(ledger, orders, epsilon, hedge, hedge_cost, mid)

    with jax.enable_x64(True):
        action = action_of(*(np.array([maker[part] for maker in makers]) for part in range(3)))
        state = state_of(inventory=inventory, cash=cash)
        after, transition = STEP(market, state, action, shock_of(flow_shock, move), hedge_cost)
        after, transition = jax.tree.map(np.asarray, (after, transition))

    seats = [("maker", i) for i in range(len(makers))]
    np.testing.assert_allclose(after.cash, ledger.of(ledger.cash, seats), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(after.inventory, ledger.of(ledger.units, seats), rtol=1e-12, atol=1e-12)
    # Cash and units are conserved over all accounts.
    assert sum(ledger.cash.values()) == pytest.approx(sum(cash), abs=1e-9)
    assert sum(ledger.units.values()) == pytest.approx(sum(inventory), abs=1e-11)
    counterparties = [account for account in ledger.cash if account not in seats]
    paid = -sum(ledger.of(ledger.cash, counterparties)) - mid * sum(ledger.of(ledger.units, counterparties))
    assert (transition.pnl.spread + transition.pnl.hedge).sum() == pytest.approx(paid, abs=1e-9)
    # The parts of PnL sum to the change of marked wealth.
    wealth = after.cash + after.inventory * (mid + move)
    np.testing.assert_allclose(wealth - before, transition.pnl.total, rtol=0, atol=1e-9)


@jax.jit
def STEP(market, state, action, shock, hedge_cost):
    market = DealerMarket(market.price, market.flow, market.book, hedge_cost, market.num_makers)
    return market.step(state, action, shock)


@settings(max_examples=60)
@given(
    makers=makers_of(2),
    selling=st.integers(0, 2**INVESTORS - 1),
    tie_breaks=st.integers(0, 2**INVESTORS - 1),
    move=floats(-5.0, 5.0),
    hedge_cost=st.sampled_from([0.0, 1.0, 2.5]),
)
def test_two_makers_with_unit_orders_match_the_ledger(makers, selling, tie_breaks, move, hedge_cost):
    market = DealerMarket(MARKET.price, UnitInvestors(INVESTORS), MARKET.book)
    orders = []
    for investor in range(INVESTORS):
        pick = tie_breaks >> investor & 1
        side = BUY if selling >> investor & 1 else SELL
        orders.append((side, 1.0, lambda tied, pick=pick: tied[pick] if len(tied) == 2 else tied[0]))
    words = (jnp.array([word], jnp.uint32) for word in (selling, tie_breaks))
    assert_ledger(market, makers, UnitShock(*words), orders, move, hedge_cost)


@settings(max_examples=60)
@given(
    makers=makers_of(3),
    investors=st.lists(
        st.tuples(st.booleans(), st.booleans(), floats(-2.0, 2.0), st.integers(0, 2**32 - 1)),
        min_size=INVESTORS,
        max_size=INVESTORS,
    ),
    move=floats(-5.0, 5.0),
    hedge_cost=st.sampled_from([0.0, 1.0, 2.5]),
)
def test_three_makers_with_random_sizes_match_the_ledger(makers, investors, move, hedge_cost):
    flow = Investors(INVESTORS, arrival_probability=0.5, mean_size=2.0, size_variation=1.0)
    market = DealerMarket(MARKET.price, flow, MARKET.book, num_makers=3)
    orders = []
    for arrives, sells, normal, tie_break in investors:
        size = 2.0 * np.exp(np.sqrt(np.log(2)) * normal - np.log(2) / 2) if arrives else 0.0
        pick = lambda tied, tie_break=tie_break: tied[int((tie_break >> 8) * len(tied) / 2**24)]  # noqa: E731
        orders.append((BUY if sells else SELL, size, pick))
    arrives, sells, normal, tie_breaks = zip(*investors, strict=True)
    with jax.enable_x64(True):
        shock = InvestorShock(
            arrival=jnp.where(jnp.array(arrives), 0.25, 0.75),
            selling=jnp.array(sells),
            size=jnp.array(normal),
            tie_breaks=jnp.array(tie_breaks, jnp.uint32),
        )
    assert_ledger(market, makers, shock, orders, move, hedge_cost)


# Identities on every step of every path.

STEPS, PATHS = 25, 32
FLOWS = {
    "unit investors": UnitInvestors(),
    "sizes, individual": Investors(size_variation=0.8, arrival_probability=0.7),
    "sizes, aggregated": Investors(size_variation=0.8, aggregate_orders=True),
    "tiers": Tiers((Investors(size_variation=0.8), UnitInvestors(count=5, informed=4))),
}


@jax.jit
def paths_of(market, shocks, actions):
    """Cash, inventory and midprice before and after each step, and transitions; the axes are (time, paths, ...)."""
    first, _ = jax.vmap(market.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))

    def step(state, x):
        after, transition = jax.vmap(market.step)(state, *x)
        recorded = (
            (state.cash, state.inventory, state.price.mid),
            (after.cash, after.inventory, after.price.mid),
        )
        return after, (*recorded, transition)

    return jax.lax.scan(step, first, (actions, shocks))[1]


draw = jax.jit(lambda part, key, *makers: part.shocks(key, (STEPS, PATHS), *makers), static_argnums=2)


def simulate(makers, flow, seed, actions, drift=0.0, volatility=0.1, volume_scale=1.0, hedge_cost=1.0):
    market = DealerMarket(
        price=GeometricBrownian(drift=jnp.asarray(drift), volatility=jnp.asarray(volatility)),
        flow=FLOWS[flow],
        book=ReferenceBook(volume_scale=jnp.asarray(volume_scale)),
        hedge_cost=jnp.asarray(hedge_cost),
        num_makers=makers,
    )
    # Each part is drawn by a program of its own, which is compiled once for all markets.
    keys = jax.random.split(jax.random.key(seed), 3)
    book = draw(ReferenceBook(), keys[2])
    shocks = DealerShock(draw(market.price, keys[0]), draw(market.flow, keys[1], makers), book)
    return paths_of(market, shocks, action_of(*actions))


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("makers", "flow"),
    [
        (1, "unit investors"),
        (2, "unit investors"),
        (2, "sizes, aggregated"),
        (3, "sizes, individual"),
        (2, "tiers"),
    ],
)
@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    ties=st.booleans(),
    parameters=st.fixed_dictionaries(
        {
            "drift": floats(-20.0, 20.0),
            "volatility": floats(0.0, 5.0),
            "volume_scale": floats(0.01, 10.0),
            "hedge_cost": floats(0.0, 10.0),
        }
    ),
)
def test_pnl_parts_sum_to_change_of_marked_wealth(makers, flow, x64, seed, ties, parameters):
    actions = np.random.default_rng(seed).uniform(-1.3, 1.3, (3, STEPS, PATHS, makers))
    if ties:
        actions = np.round(2 * actions) / 2
    with jax.enable_x64(x64):
        out = simulate(makers, flow, seed, actions, **parameters)
    epsilon = float(jnp.finfo(out[0][0].dtype).eps)
    assert epsilon == (2.0**-52 if x64 else 2.0**-23)
    (cash, inventory, mid), (cash_after, inventory_after, mid_after), transition = jax.tree.map(
        lambda leaf: np.asarray(leaf, float), out
    )
    mid, mid_after = mid[..., None], mid_after[..., None]

    change = (cash_after - cash) + (inventory_after * mid_after - inventory * mid)
    parts = transition.pnl.spread + transition.pnl.hedge + transition.pnl.inventory + transition.pnl.fees
    # Rounding errors of a dozen terms, none larger than these.
    traded = transition.bought + transition.sold + np.abs(inventory)
    largest = np.abs(cash) + np.abs(cash_after) + traded * mid + np.abs(inventory_after) * mid_after
    np.testing.assert_array_less(np.abs(change - parts), 4 * epsilon * largest + 1e-300)
    if x64:
        np.testing.assert_array_less(np.abs(change - parts), 1e-12 * largest + 1e-300)

    # Inventory changes by the volumes bought and sold and by the hedge.
    hedged = np.clip(actions[2], 0.0, 1.0) * inventory
    expected = inventory - hedged + transition.bought - transition.sold
    np.testing.assert_allclose(inventory_after, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(transition.inventory, inventory_after)

    # Makers without the best quote trade nothing, and each investor trades once.
    quotes = np.clip(actions[:2].astype(np.float64 if x64 else np.float32), -1.0, 1.0)
    best = quotes == quotes.min(-1, keepdims=True)
    assert (transition.bought[~best[0]] == 0).all() and (transition.sold[~best[1]] == 0).all()
    if flow == "unit investors":
        np.testing.assert_array_equal((transition.bought + transition.sold).sum(-1), 20)
    total_volume = (transition.bought + transition.sold).sum(-1, keepdims=True)
    np.testing.assert_allclose(transition.observation.market_volume, total_volume + 0 * cash, rtol=1e-5)


def test_equal_quotes_win_equal_volumes():
    # With equal quotes in every step the mean volumes of all seats are equal within 4 standard errors.
    actions = [np.full((STEPS, PATHS, 3), value) for value in (0.1, 0.1, 0.2)]
    *_, transition = simulate(3, "sizes, individual", 5, actions)
    volume = np.asarray(transition.bought + transition.sold, float).mean(0)
    for a, b in itertools.combinations(range(3), 2):
        difference = volume[:, a] - volume[:, b]
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(PATHS)
