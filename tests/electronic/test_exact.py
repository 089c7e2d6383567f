"""Exact answers for the electronic market: another derivation, enumeration, simulation, known limits, refusals."""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.optimum import NotExact
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.electronic.cells import CombinedCells, ImbalanceCells, InventoryCells
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import (
    best_table,
    bootstrapped_values,
    day_value,
    full_information,
    information_value,
    long_run_value,
    state_action_values,
    state_values,
    threshold_map,
)
from twosided.electronic.market import ElectronicMarket, TwoSidedElectronicMarket
from twosided.electronic.policies import ImbalanceTable, ThresholdPolicy
from twosided.learn.tables import FinitePolicy, TabularPolicy
from twosided.rewards import DeviationPenalty, SpreadPnL, WeightedReward

MARKET = ElectronicMarket()
CELLS = ImbalanceCells(2)
PRINTED = {1: -0.43658, 2: -0.53502, 3: -0.68557}
"""A step over a day of 150, the default parameters."""


@pytest.fixture(scope="module")
def chain():
    return electronic_chain(MARKET)


def by_recursion(threshold, steps, same_quote=False, limit=60):
    """What π_h earns a step, from a recursion over the law of (p* - p^m, imbalance) of its own."""
    d = np.arange(-limit, limit + 1)
    law = {0: (d == 0).astype(float)}
    earned = 0.0
    for _ in range(steps):
        after = {}
        for imbalance, mass in law.items():
            change = int(np.sign(imbalance)) * (abs(imbalance) >= threshold)
            order = np.sign(d - change * same_quote)
            # Uninformed buyers and sellers take and give the same.
            earned += 0.4 * mass @ (order * (change - d))
            kept = 0 if change else imbalance
            moves = [(0.2, 1, 0), (0.2, -1, 0), (0.1, 0, 1), (0.1, 0, -1)]
            moves += [(0.4 * (order == x), 0, x) for x in (-1, 0, 1)]
            for chance, move, x in moves:
                mass_there = np.roll(mass * chance, move - change)
                after[kept + x] = after.get(kept + x, 0.0) + mass_there
        law = after
    return earned / steps


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_threshold_policies_by_another_derivation(chain, threshold):
    found = day_value(chain, ThresholdPolicy(threshold))
    assert found.value == pytest.approx(PRINTED[threshold], abs=5e-6)
    assert found.value == pytest.approx(by_recursion(threshold, 150), abs=1e-12)
    assert found.error < 1e-9
    other = electronic_chain(ElectronicMarket(same_quote=True), horizon=40)
    assert day_value(other, ThresholdPolicy(threshold)).value == pytest.approx(
        by_recursion(threshold, 40, True), abs=1e-12
    )


def test_values_of_states_by_hand(chain):
    values = state_values(chain, ThresholdPolicy(2), CELLS)
    np.testing.assert_allclose(values, [-0.4215, -0.5612, -0.5493, -0.5612, -0.4215], atol=5e-5)
    assert np.isnan(state_values(chain, ThresholdPolicy(1), CELLS)[[0, 4]]).all()


class Everything(FinitePolicy):
    """Does all things alike."""

    @property
    def space(self):
        return ThresholdPolicy().space

    def probabilities(self, observation):
        return jnp.ones(3, observation.imbalance.dtype) / 3


def stories(policy, market, horizon):
    """Every course of a day: its probability and its steps (cell, action, reward), and the last observation's cell."""
    changes = [jax.tree.map(lambda leaf, a=a: leaf[a : a + 1], market.action_space.actions) for a in range(3)]
    shocks = {0.1: 0.2, 0.3: 0.2, 0.45: 0.1, 0.55: 0.1, 0.8: 0.4}
    tables, steps_from = {}, {}

    @jax.jit
    def jitted(state, action, shock):
        return market.step(state, action, shock)

    def step(state, action, shock):
        where = (*(float(np.squeeze(x)) for x in (state.price, state.bid, state.imbalance)), action, shock)
        if where not in steps_from:
            steps_from[where] = jax.device_get(jitted(state, changes[action], np.float32(shock)))
        return steps_from[where]

    def probabilities(seen):
        imbalance = float(seen.imbalance[0])
        if imbalance not in tables:
            tables[imbalance] = np.asarray(policy.probabilities(jax.tree.map(lambda x: x[0], seen)), float)
        return tables[imbalance]

    def go(state, seen, chance, steps):
        here = int(CELLS(jax.tree.map(lambda x: x[0], seen)))
        if len(steps) == horizon:
            yield chance, steps, here, probabilities(seen)
            return
        for action, (shock, probability) in product(range(3), shocks.items()):
            taken = chance * probability * probabilities(seen)[action]
            if taken > 0:
                after, transition = step(state, action, shock)
                lived = (here, action, float(transition.pnl.spread[0]), probabilities(seen))
                yield from go(after, transition.observation, taken, [*steps, lived])

    return list(go(*market.reset(jnp.float32(0)), 1.0, []))


@pytest.mark.parametrize(
    "policy", [Everything(), ThresholdPolicy(1, epsilon=0.3)], ids=["everything", "threshold"]
)
def test_values_of_pairs_by_enumeration(policy):
    horizon, discount, decay = 3, 0.8, 0.6
    market = electronic_chain(MARKET, horizon=horizon, mispricing_limit=8, imbalance_limit=4)
    told = stories(policy, MARKET, horizon)
    assert sum(chance for chance, *_ in told) == pytest.approx(1, abs=1e-6)
    found = bootstrapped_values(market, policy, CELLS, discount, decay)
    visits, returns, targets = (np.zeros((5, 3)) for _ in range(3))
    for chance, steps, last, ending in told:
        ahead, target = 0.0, 0.0
        following = (last, ending)
        for t, (cell, action, reward, _) in reversed(list(enumerate(steps))):
            ahead = reward + discount * ahead
            bootstrap = np.nansum(following[1] * found[following[0]])
            weight = 1.0 if t == horizon - 1 else 1 - decay
            target = reward + discount * (weight * bootstrap + (1 - weight) * target)
            visits[cell, action] += chance
            returns[cell, action] += chance * ahead
            targets[cell, action] += chance * target
            following = (cell, np.eye(3)[action])
    seen = visits > 0
    values = state_action_values(market, policy, CELLS, discount)
    assert (np.isnan(values) == ~seen).all()
    # The events' probabilities are float32's where policies are.
    np.testing.assert_allclose(values[seen], (returns[seen] / visits[seen]), atol=1e-6)
    np.testing.assert_allclose(found[seen], (targets[seen] / visits[seen]), atol=1e-6)


def test_without_discounting_ahead_all_tables_are_one(chain):
    policy = ThresholdPolicy(2, epsilon=0.1)
    one = state_action_values(chain, policy, CELLS)
    np.testing.assert_allclose(bootstrapped_values(chain, policy, CELLS), one, atol=1e-12)
    np.testing.assert_allclose(bootstrapped_values(chain, policy, CELLS, 0.0, 0.9), one, atol=1e-12)


def test_one_step_learning_cannot_tell_what_to_do_when_orders_balance(chain):
    # An informed order is decided on the quote before the change, so at I = 0, where p* is as likely above the quote
    # as below, the reward is the same on average whatever the change, and so is the next imbalance.
    for discount in (0.0, 0.9):
        row = bootstrapped_values(chain, ThresholdPolicy(1, 0.1), CELLS, discount)[2]
        assert np.ptp(row) < 1e-9
    # Looking further, leaving the quote is best; and at once where the order is decided on the new quote.
    assert bootstrapped_values(chain, ThresholdPolicy(1, 0.1), CELLS, 0.9, 0.9)[2].argmax() == 1
    fair = electronic_chain(ElectronicMarket(same_quote=True))
    assert bootstrapped_values(fair, ThresholdPolicy(1, 0.1), CELLS)[2].argmax() == 1


def test_the_best_of_all_tables():
    # Wide enough that policies which let the imbalance run are bounded too.
    chain = electronic_chain(MARKET, mispricing_limit=40, imbalance_limit=30)
    best = best_table(chain)
    assert best.value.value == pytest.approx(PRINTED[1], abs=5e-6)
    equal = best.values > best.value.value - 1e-9
    # Threshold 1 never sees |I| = 2: what a table has there makes no difference.
    np.testing.assert_array_equal(np.unique(best.tables[equal][:, 1:4], axis=0), [[-1, 0, 1]])
    assert equal.sum() == 9
    assert (best.values + best.errors)[~equal].max() < best.value.value
    assert day_value(chain, ImbalanceTable(best.changes)).value == pytest.approx(best.value.value, abs=1e-12)


def test_a_maker_that_sees_the_price_loses_nothing(chain):
    for after_event in (False, True):
        found = full_information(chain, after_event)
        assert abs(found.value) <= found.error + 1e-12
    wide = electronic_chain(MARKET, mispricing_limit=30, imbalance_limit=5)
    gap = information_value(wide, best_table(wide))
    assert gap.value == pytest.approx(-PRINTED[1], abs=1e-5)


def test_seeing_the_event_first_is_worth_something_where_the_price_outruns_the_quote():
    # p* moves by a tick at most, and so does the quote: only a maker with two quotes, held apart, is behind.
    market = TwoSidedElectronicMarket(min_spread=1.0, max_spread=3.0)
    chain = electronic_chain(market, mispricing_limit=12, imbalance_limit=1, horizon=20)
    before, after = full_information(chain), full_information(chain, after_event=True)
    assert after.value > before.value + before.error + after.error


def test_the_long_run_is_where_long_days_go(chain):
    policy = ThresholdPolicy(2)
    average = long_run_value(chain, policy)
    short, long = (chain.follow(policy).of_day(horizon).value for horizon in (1000, 2000))
    # The start is forgotten, so what is left of it falls as 1/T.
    assert long - average == pytest.approx((short - average) / 2, rel=1e-6)
    _, law = chain.follow(policy).long_run()
    np.testing.assert_allclose(chain.follow(policy).moves.T @ law, law, atol=1e-12)


@pytest.mark.parametrize("limits", [(3, 10), (6, 10), (60, 1)])
def test_what_is_cut_off_is_bounded(limits):
    small = electronic_chain(MARKET, mispricing_limit=limits[0], imbalance_limit=limits[1])
    found = day_value(small, ThresholdPolicy(2))
    assert found.error > 1e-6
    assert abs(found.value - by_recursion(2, 150)) <= found.error


SPREADS = CombinedCells()
CASES = {
    "noise": (
        ElectronicMarket(noise=0.4, informed=0.5, price_change=0.15),
        SpreadPnL(),
        ThresholdPolicy(2, 0.2),
    ),
    "two sides": (
        TwoSidedElectronicMarket(min_spread=1.0, max_spread=3.0, noise=0.2),
        WeightedReward(profit=1.0, quality=0.1),
        TabularPolicy(
            jnp.asarray(np.random.default_rng(1).dirichlet(np.ones(9), SPREADS.size), jnp.float32),
            SPREADS,
            TwoSidedElectronicMarket().action_space,
        ),
    ),
}


@pytest.mark.parametrize(("market", "reward", "policy"), CASES.values(), ids=CASES)
def test_simulation_agrees(market, reward, policy):
    exact = day_value(electronic_chain(market, reward, horizon=50), policy)
    records = evaluate(Scenario(market, (), reward, horizon=50), {"": policy}, steps=200_000)
    found = next(record for record in records if record.metric == "reward")
    assert exact.error < found.error / 2
    assert abs(found.value - exact.value) < 4 * found.error


class BothQuotes(FinitePolicy):
    """Threshold 2 for a maker of two quotes, which it moves together."""

    @property
    def space(self):
        return TwoSidedElectronicMarket().action_space

    def probabilities(self, observation):
        lower, stay, raise_ = ThresholdPolicy(2).probabilities(observation)
        return jnp.zeros(9).at[jnp.array([0, 4, 8])].set(jnp.stack([lower, stay, raise_]))


def test_two_quotes_without_a_spread_are_one():
    market = TwoSidedElectronicMarket(max_spread=0.0)
    assert day_value(electronic_chain(market), BothQuotes()).value == pytest.approx(
        by_recursion(2, 150), abs=1e-9
    )
    # And a spread that nobody crosses is paid by the uninformed alone: half of it, on each of their orders.
    wide = TwoSidedElectronicMarket(min_spread=1000.0, max_spread=1000.0)
    assert day_value(electronic_chain(wide), BothQuotes()).value == pytest.approx(0.2 * 500, rel=1e-6)


def test_the_map_of_thresholds():
    values = threshold_map([0.0, 0.1, 0.4], [0.4, 0.9], thresholds=(1, 2))
    assert np.isnan(values[2]).all()
    assert np.isnan(values[1, 1]).all()
    np.testing.assert_allclose(values[1, 0], [PRINTED[1], PRINTED[2]], atol=5e-6)
    # Where nearly all are informed, an order that is too late for a change of quote misleads the next change.
    assert values[0, 0].argmax() == 0
    assert values[0, 1].argmax() == 1


def test_the_inventory_part_of_a_total_is_nothing_on_average(chain):
    assert day_value(electronic_chain(MARKET, TotalPnL()), ThresholdPolicy(1)).value == pytest.approx(
        day_value(chain, ThresholdPolicy(1)).value
    )


def test_what_the_chain_does_not_say_is_refused(chain):
    leaning = TabularPolicy(jnp.eye(3), InventoryCells(1), ThresholdPolicy().space)
    with pytest.raises(NotExact, match="the action of TabularPolicy depends on the inventory"):
        day_value(chain, leaning)
    with pytest.raises(NotExact, match="the cell of InventoryCells depends on the inventory"):
        state_values(chain, ThresholdPolicy(1), InventoryCells(1))
    with pytest.raises(NotExact, match="DeviationPenalty has a state"):
        electronic_chain(MARKET, DeviationPenalty())
    with pytest.raises(NotExact, match="WeightedReward depends on the inventory"):
        electronic_chain(MARKET, WeightedReward(inventory=0.1))
    with pytest.raises(NotExact, match="one price"):
        best_table(electronic_chain(TwoSidedElectronicMarket(), mispricing_limit=3, imbalance_limit=2))
    with pytest.raises(ValueError, match="mispricing_limit must be at least 1"):
        electronic_chain(replace(MARKET), mispricing_limit=0)
