"""Exact values in the electronic market: independent derivation, enumeration, simulation, limits, and refusals."""

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
from twosided.rewards import SpreadPnL, StdPenalty, WeightedReward

MARKET = ElectronicMarket()
CELLS = ImbalanceCells(2)
REFERENCE = {1: -0.43658, 2: -0.53502, 3: -0.68557}
"""Mean reward per step over a day of 150 steps by threshold, at the default parameters."""


@pytest.fixture(scope="module")
def chain():
    return electronic_chain(MARKET)


def by_recursion(threshold, steps, same_quote=False, limit=60):
    """Return the mean reward per step of π_h, from an independent recursion over the distribution of p* - p^m and the
    imbalance."""
    d = np.arange(-limit, limit + 1)
    distribution = {0: (d == 0).astype(float)}
    earned = 0.0
    for _ in range(steps):
        after = {}
        for imbalance, mass in distribution.items():
            change = int(np.sign(imbalance)) * (abs(imbalance) >= threshold)
            order = np.sign(d - change * same_quote)
            # Uninformed buyers and sellers have the same expected result, so they cancel.
            earned += 0.4 * mass @ (order * (change - d))
            kept = 0 if change else imbalance
            moves = [(0.2, 1, 0), (0.2, -1, 0), (0.1, 0, 1), (0.1, 0, -1)]
            moves += [(0.4 * (order == x), 0, x) for x in (-1, 0, 1)]
            for probability, move, x in moves:
                shifted = np.roll(mass * probability, move - change)
                after[kept + x] = after.get(kept + x, 0.0) + shifted
        distribution = after
    return earned / steps


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_values_of_threshold_policies_match_an_independent_recursion(chain, threshold):
    found = day_value(chain, ThresholdPolicy(threshold))
    assert found.value == pytest.approx(REFERENCE[threshold], abs=5e-6)
    assert found.value == pytest.approx(by_recursion(threshold, 150), abs=1e-12)
    assert found.error < 1e-9
    other = electronic_chain(ElectronicMarket(same_quote=True), horizon=40)
    assert day_value(other, ThresholdPolicy(threshold)).value == pytest.approx(
        by_recursion(threshold, 40, True), abs=1e-12
    )


def test_state_values_match_the_reference(chain):
    values = state_values(chain, ThresholdPolicy(2), CELLS)
    np.testing.assert_allclose(values, [-0.4215, -0.5612, -0.5493, -0.5612, -0.4215], atol=5e-5)
    assert np.isnan(state_values(chain, ThresholdPolicy(1), CELLS)[[0, 4]]).all()


class UniformPolicy(FinitePolicy):
    """Chooses all actions with equal probability."""

    @property
    def space(self):
        return ThresholdPolicy().space

    def probabilities(self, observation):
        return jnp.ones(3, observation.imbalance.dtype) / 3


def enumerate_paths(policy, market, horizon):
    """Return all paths of a day: probability, steps (cell, action, reward, action probabilities), and the cell and the
    action probabilities of the last observation."""
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

    def probabilities(observation):
        imbalance = float(observation.imbalance[0])
        if imbalance not in tables:
            tables[imbalance] = np.asarray(
                policy.probabilities(jax.tree.map(lambda x: jnp.asarray(x[0]), observation)), float
            )
        return tables[imbalance]

    def extend(state, observation, mass, steps):
        cell = int(CELLS(jax.tree.map(lambda x: x[0], observation)))
        if len(steps) == horizon:
            yield mass, steps, cell, probabilities(observation)
            return
        for action, (shock, probability) in product(range(3), shocks.items()):
            next_mass = mass * probability * probabilities(observation)[action]
            if next_mass > 0:
                after, transition = step(state, action, shock)
                taken = (cell, action, float(transition.pnl.spread[0]), probabilities(observation))
                yield from extend(after, transition.observation, next_mass, [*steps, taken])

    return list(extend(*market.reset(jnp.float32(0)), 1.0, []))


@pytest.mark.parametrize(
    "policy", [UniformPolicy(), ThresholdPolicy(1, epsilon=0.3)], ids=["uniform", "threshold"]
)
def test_state_action_values_match_enumeration(policy):
    horizon, discount, decay = 3, 0.8, 0.6
    market = electronic_chain(MARKET, horizon=horizon, mispricing_limit=8, imbalance_limit=4)
    paths = enumerate_paths(policy, MARKET, horizon)
    assert sum(mass for mass, *_ in paths) == pytest.approx(1, abs=1e-6)
    found = bootstrapped_values(market, policy, CELLS, discount, decay)
    visits, returns, targets = (np.zeros((5, 3)) for _ in range(3))
    for mass, steps, last, ending in paths:
        ahead, target = 0.0, 0.0
        following = (last, ending)
        for t, (cell, action, reward, _) in reversed(list(enumerate(steps))):
            ahead = reward + discount * ahead
            bootstrap = np.nansum(following[1] * found[following[0]])
            weight = 1.0 if t == horizon - 1 else 1 - decay
            target = reward + discount * (weight * bootstrap + (1 - weight) * target)
            visits[cell, action] += mass
            returns[cell, action] += mass * ahead
            targets[cell, action] += mass * target
            following = (cell, np.eye(3)[action])
    visited = visits > 0
    values = state_action_values(market, policy, CELLS, discount)
    assert (np.isnan(values) == ~visited).all()
    # Probabilities of policies are in float32.
    np.testing.assert_allclose(values[visited], (returns[visited] / visits[visited]), atol=1e-6)
    np.testing.assert_allclose(found[visited], (targets[visited] / visits[visited]), atol=1e-6)


def test_values_without_discount_do_not_depend_on_bootstrapping(chain):
    policy = ThresholdPolicy(2, epsilon=0.1)
    one = state_action_values(chain, policy, CELLS)
    np.testing.assert_allclose(bootstrapped_values(chain, policy, CELLS), one, atol=1e-12)
    np.testing.assert_allclose(bootstrapped_values(chain, policy, CELLS, 0.0, 0.9), one, atol=1e-12)


def test_one_step_values_are_equal_at_balanced_orders(chain):
    # An informed order is decided on the quote before the change. At I = 0, p* is above and below the quote with equal
    # probability, so neither the expected reward nor the next imbalance depends on the change.
    for discount in (0.0, 0.9):
        row = bootstrapped_values(chain, ThresholdPolicy(1, 0.1), CELLS, discount)[2]
        assert np.ptp(row) < 1e-9
    # With eligibility traces, keeping the quote is best; so it is in one step if the order is decided on the new quote.
    assert bootstrapped_values(chain, ThresholdPolicy(1, 0.1), CELLS, 0.9, 0.9)[2].argmax() == 1
    fair = electronic_chain(ElectronicMarket(same_quote=True))
    assert bootstrapped_values(fair, ThresholdPolicy(1, 0.1), CELLS)[2].argmax() == 1


def test_best_table_is_threshold_one():
    # The limits are wide enough to bound policies under which the imbalance grows.
    chain = electronic_chain(MARKET, mispricing_limit=40, imbalance_limit=30)
    best = best_table(chain)
    assert best.value.value == pytest.approx(REFERENCE[1], abs=5e-6)
    equal = best.values > best.value.value - 1e-9
    # |I| = 2 does not occur with threshold 1, so the entries of a table there do not matter.
    np.testing.assert_array_equal(np.unique(best.tables[equal][:, 1:4], axis=0), [[-1, 0, 1]])
    assert equal.sum() == 9
    assert (best.values + best.errors)[~equal].max() < best.value.value
    assert day_value(chain, ImbalanceTable(best.changes)).value == pytest.approx(best.value.value, abs=1e-12)


def test_maker_with_full_information_has_no_loss(chain):
    for after_event in (False, True):
        found = full_information(chain, after_event)
        assert abs(found.value) <= found.error + 1e-12
    wide = electronic_chain(MARKET, mispricing_limit=30, imbalance_limit=5)
    gap = information_value(wide, best_table(wide))
    assert gap.value == pytest.approx(-REFERENCE[1], abs=1e-5)


def test_observing_the_event_first_has_value_with_two_quotes():
    # p* and quotes move by one tick at most, so only a maker with two quotes apart can lag behind p*.
    market = TwoSidedElectronicMarket(min_spread=1.0, max_spread=3.0)
    chain = electronic_chain(market, mispricing_limit=12, imbalance_limit=1, horizon=20)
    before, after = full_information(chain), full_information(chain, after_event=True)
    assert after.value > before.value + before.error + after.error


def test_long_run_value_is_the_limit_of_long_days(chain):
    policy = ThresholdPolicy(2)
    average = long_run_value(chain, policy)
    short, long = (chain.follow(policy).of_day(horizon).value for horizon in (1000, 2000))
    # The effect of the start decreases as 1/T.
    assert long - average == pytest.approx((short - average) / 2, rel=1e-6)
    _, stationary = chain.follow(policy).long_run()
    np.testing.assert_allclose(chain.follow(policy).moves.T @ stationary, stationary, atol=1e-12)


@pytest.mark.parametrize("limits", [(3, 10), (6, 10), (60, 1)])
def test_truncation_error_is_within_its_bound(limits):
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
def test_exact_values_match_simulation(market, reward, policy):
    exact = day_value(electronic_chain(market, reward, horizon=50), policy)
    records = evaluate(Scenario(market, (), reward, horizon=50), {"": policy}, steps=200_000)
    found = next(record for record in records if record.metric == "reward")
    assert exact.error < found.error / 2
    assert abs(found.value - exact.value) < 4 * found.error


class BothQuotes(FinitePolicy):
    """Threshold 2 for a maker that moves its two quotes together."""

    @property
    def space(self):
        return TwoSidedElectronicMarket().action_space

    def probabilities(self, observation):
        lower, stay, raise_ = ThresholdPolicy(2).probabilities(observation)
        return jnp.zeros(9).at[jnp.array([0, 4, 8])].set(jnp.stack([lower, stay, raise_]))


def test_two_quotes_without_a_spread_match_the_market_of_one_price():
    market = TwoSidedElectronicMarket(max_spread=0.0)
    assert day_value(electronic_chain(market), BothQuotes()).value == pytest.approx(
        by_recursion(2, 150), abs=1e-9
    )
    # Informed traders do not cross a wide spread, so only uninformed orders trade, each paying half of it.
    wide = TwoSidedElectronicMarket(min_spread=1000.0, max_spread=1000.0)
    assert day_value(electronic_chain(wide), BothQuotes()).value == pytest.approx(0.2 * 500, rel=1e-6)


def test_threshold_map_matches_the_reference():
    values = threshold_map([0.0, 0.1, 0.4], [0.4, 0.9], thresholds=(1, 2))
    assert np.isnan(values[2]).all()
    assert np.isnan(values[1, 1]).all()
    np.testing.assert_allclose(values[1, 0], [REFERENCE[1], REFERENCE[2]], atol=5e-6)
    # When nearly all traders are informed, an order decided on the old quote misleads the next change.
    assert values[0, 0].argmax() == 0
    assert values[0, 1].argmax() == 1


def test_total_pnl_has_the_mean_of_spread_pnl(chain):
    assert day_value(electronic_chain(MARKET, TotalPnL()), ThresholdPolicy(1)).value == pytest.approx(
        day_value(chain, ThresholdPolicy(1)).value
    )


def test_unsupported_policies_rewards_and_markets_raise(chain):
    by_inventory = TabularPolicy(jnp.eye(3), InventoryCells(1), ThresholdPolicy().space)
    with pytest.raises(NotExact, match="the action of TabularPolicy depends on the inventory"):
        day_value(chain, by_inventory)
    with pytest.raises(NotExact, match="the cell of InventoryCells depends on the inventory"):
        state_values(chain, ThresholdPolicy(1), InventoryCells(1))
    with pytest.raises(NotExact, match="StdPenalty has a state"):
        electronic_chain(MARKET, StdPenalty())
    with pytest.raises(NotExact, match="WeightedReward depends on the inventory"):
        electronic_chain(MARKET, WeightedReward(inventory=0.1))
    with pytest.raises(NotExact, match="one price"):
        best_table(electronic_chain(TwoSidedElectronicMarket(), mispricing_limit=3, imbalance_limit=2))
    with pytest.raises(ValueError, match="mispricing_limit must be at least 1"):
        electronic_chain(replace(MARKET), mispricing_limit=0)
