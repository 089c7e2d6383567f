"""The adaptive maker: its table and costs by hand, and what the paper says of it in the market."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.dealer.adaptive import HEDGE_GRID, AdaptiveQuoter, Responses, filled
from twosided.dealer.market import DealerMarket, DealerObservation
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter, SplitPolicy

GRID = np.linspace(-0.8, 1.0, 10)


def observation(bought=0.0, sold=0.0, market=20.0, inventory=0.0, spread=1e-4, mid=100.0):
    """What one maker sees; every level of the book holds a tenth of a unit, so S_ref(1) = s_0 / 2 + 4.5 ticks."""
    numbers = [bought, sold, market, inventory, 0.0, mid, spread]
    return DealerObservation(*(jnp.float32(x) for x in numbers), jnp.full(10, 0.1))


def cell(epsilon):
    return int(np.argmin(np.abs(GRID - epsilon)))


def learned(maker, *lessons):
    """Its memory after it was told, one by one, what quotes won: (ε_b, ε_s, bought, sold)."""
    memory = eqx.tree_at(lambda m: m.market_volume, maker.init(), jnp.float32(20.0))
    for buy, sell, bought, sold in lessons:
        memory = eqx.tree_at(lambda m: m.quoted, memory, jnp.array([cell(buy), cell(sell)]))
        memory = maker._learn(memory, observation(bought, sold))
    return memory


def test_the_prior_falls_from_all_of_a_side_to_nothing():
    mean, square = filled(AdaptiveQuoter().init().table)
    np.testing.assert_allclose(mean, np.tile((1 - GRID) / 4, (2, 1)), atol=1e-6)
    np.testing.assert_allclose(square, np.square(mean) + 0.01, atol=1e-6)


def test_a_quoted_cell_forgets_and_its_neighbours_lie_between():
    memory = learned(AdaptiveQuoter(forgetting=0.25), (0.0, 0.4, 12.0, 2.0), (0.0, 0.4, 4.0, 2.0))
    mean, square = (np.asarray(x) for x in filled(memory.table))
    first = 0.75 * 0.25 + 0.25 * 12 / 20
    assert mean[0, cell(0.0)] == pytest.approx(0.75 * first + 0.25 * 4 / 20, rel=1e-5)
    first = 0.75 * (0.25**2 + 0.01) + 0.25 * (12 / 20) ** 2
    assert square[0, cell(0.0)] == pytest.approx(0.75 * first + 0.25 * (4 / 20) ** 2, rel=1e-5)
    # A cell that was never quoted: half way between 0.0 (or 0.4, for sales) and the end at 1.0, which wins nothing.
    assert mean[0, cell(0.4)] == pytest.approx(mean[0, cell(0.0)] * 0.6, rel=1e-5)
    assert mean[1, cell(0.8)] == pytest.approx(mean[1, cell(0.4)] / 3, rel=1e-5)
    assert mean[1, cell(-0.2)] == pytest.approx((mean[1, 0] + mean[1, cell(0.4)]) / 2, rel=1e-5)


def test_a_step_without_trades_teaches_nothing_of_quotes():
    maker = AdaptiveQuoter()
    before = learned(maker, (0.0, 0.0, 12.0, 2.0))
    after = maker._learn(before, observation(market=0.0))
    for old, new in zip(jax.tree.leaves(before.table), jax.tree.leaves(after.table), strict=True):
        np.testing.assert_array_equal(old, new)
    assert after.market_volume == 20.0


def test_moments_of_the_ratio_are_of_all_books():
    maker, memory = AdaptiveQuoter(), AdaptiveQuoter().init()
    spreads = [0.5e-4, 1e-4, 2e-4]
    for spread in spreads:
        memory = maker._learn(memory, observation(spread=spread))
    ratios = np.array([(spread / 2 + 4.5e-4) / (spread / 2) for spread in spreads])
    assert float(memory.ratio) == pytest.approx(ratios.mean(), rel=1e-5)
    assert float(memory.ratio_square) == pytest.approx((ratios**2).mean(), rel=1e-5)


def test_step_1_takes_the_largest_epsilon_within_the_tolerance():
    share = jnp.array([1.0, 0.9, 0.8, 0.62, 0.5, 0.46, 0.44, 0.2, 0.1, 0.0])
    # Against a target of 0.5 the costs of cells 4, 5, 6 are 0, 0.04 and 0.06.
    assert AdaptiveQuoter(share_target=0.5)._aim(share) == 5
    assert AdaptiveQuoter(share_target=0.5, share_tolerance=0.0)._aim(share) == 4
    assert AdaptiveQuoter(share_target=0.5, share_tolerance=0.07)._aim(share) == 6
    assert AdaptiveQuoter(share_target=1.0)._aim(share) == 0


@pytest.mark.parametrize("inventory", [-7.0, 0.0, 7.0])
@pytest.mark.parametrize("risk_aversion", [0.0, 1.5])
def test_both_steps_and_the_hedge_against_the_formulas(inventory, risk_aversion):
    maker = AdaptiveQuoter(share_target=0.5, risk_aversion=risk_aversion)
    lessons = [(0.0, 0.0, 6.0, 3.0), (-0.4, -0.6, 9.0, 11.0), (0.2, 0.2, 1.0, 2.0)]
    memory = learned(maker, *lessons)
    seen = observation(bought=4.0, sold=3.0, inventory=inventory, spread=0.8e-4)
    action, after = maker.act(None, memory, seen)

    mean, square = (np.asarray(x, float) for x in filled(after.table))
    cost_1 = np.abs(0.5 - mean.sum(0))
    target = np.flatnonzero(cost_1 - cost_1.min() <= 0.05).max()
    mean, square = 20 * mean, 400 * square
    variance = square - mean**2
    half, deviation = 100 * 0.4e-4, 0.1 * np.sqrt(1 / 6552) * 100
    ratio, ratio_square = float(after.ratio), float(after.ratio_square)

    def cost_2(buy, sell):
        a, b = 1 + GRID[buy], 1 + GRID[sell]
        earned = a * mean[0, buy] + b * mean[1, sell]
        of_square = a**2 * variance[0, buy] + b**2 * variance[1, sell] + earned**2
        spread_variance = ratio_square * of_square - (ratio * earned) ** 2
        left = (inventory + mean[0, buy] - mean[1, sell]) ** 2 + variance[0, buy] + variance[1, sell]
        total = half**2 * spread_variance + deviation**2 * left
        return -half * ratio * earned + risk_aversion * np.sqrt(total)

    cells = [target, target]
    if inventory:
        side = 0 if inventory < 0 else 1
        options = [[k, target] if side == 0 else [target, k] for k in range(target + 1)]
        cells = min(options, key=lambda pair: cost_2(*pair))
    assert [cell(action.epsilon_buy), cell(action.epsilon_sell)] == cells
    np.testing.assert_array_equal(after.quoted, cells)

    fractions = np.linspace(0, 1, HEDGE_GRID)
    size = fractions * abs(inventory)
    levels = 0.4e-4 + 1e-4 * np.arange(10)
    filled_levels = np.clip(size[:, None] - 0.1 * np.arange(10), 0, np.append(np.full(9, 0.1), np.inf))
    flow = mean[0, cells[0]] - mean[1, cells[1]]
    left = (inventory * (1 - fractions) + flow) ** 2 + variance[0, cells[0]] + variance[1, cells[1]]
    cost = 100 * filled_levels @ levels + risk_aversion * deviation * np.sqrt(left)
    assert float(action.hedge_fraction) == pytest.approx(fractions[np.argmin(cost)], abs=1e-6)


def test_ignoring_internalisation_hedges_more():
    # Long 8, and its quotes bring sales of 8: in truth there is nothing left to hedge.
    lessons = [(1.0, 0.0, 0.0, 8.0)] * 20
    seen = observation(bought=0.0, sold=8.0, inventory=8.0)
    hedges = []
    for internalises in (True, False):
        maker = AdaptiveQuoter(share_target=0.25, risk_aversion=1.0, internalises=internalises)
        hedges.append(float(maker.act(None, learned(maker, *lessons), seen)[0].hedge_fraction))
    assert hedges[0] < 0.2 < 0.9 < hedges[1]


@eqx.filter_jit
def _lived(scenario, policy, key):
    def record(observation, memory, step):
        mine = jax.tree.map(lambda leaf: leaf[0], (step.action, step.observed.inventory))
        transition = step.transition
        return *mine, (transition.bought + transition.sold)[0], (transition.bought + transition.sold).sum()

    return episodes(scenario, policy, key, 32, record)


def lived(maker, competitor, settled=50):
    """Its action, the inventory before it, the volume won and the market's, each step after it has settled."""
    scenario = Scenario(DealerMarket(), (competitor,))
    leaves = _lived(as_arrays(scenario), as_arrays(maker), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.asarray(leaf, float)[settled:], leaves)


FIGURE_13 = PersistentQuoter(epsilon_buy=-0.5, epsilon_sell=0.0)
"""Section 7.5: at ε = 0 on both sides the maker ties one side and loses the other, 25% of the market."""


def most_common(values):
    values, counts = np.unique(np.round(values, 1), return_counts=True)
    return values[np.argmax(counts)], counts.max() / counts.sum()


@pytest.mark.parametrize(
    ("risk_aversion", "buy", "sell", "share"), [(0.0, -0.6, -0.2, 0.95), (2.0, -0.8, -0.8, 0.5)]
)
def test_figures_13_and_14(risk_aversion, buy, sell, share):
    action, _, _, _ = lived(AdaptiveQuoter(share_target=0.25, risk_aversion=risk_aversion), FIGURE_13)
    highest = np.maximum(action.epsilon_buy, action.epsilon_sell)
    assert most_common(highest)[0] == 0.0
    assert most_common(highest)[1] > 0.95
    for epsilon, lower, expected in (
        (action.epsilon_buy, action.epsilon_buy < action.epsilon_sell, buy),
        (action.epsilon_sell, action.epsilon_sell < action.epsilon_buy, sell),
    ):
        quote, part = most_common(epsilon[lower])
        assert quote == expected
        assert part > share


def test_it_tightens_only_the_side_that_sheds_inventory():
    for risk_aversion in (0.0, 2.0):
        action, inventory, _, _ = lived(
            AdaptiveQuoter(share_target=0.25, risk_aversion=risk_aversion), FIGURE_13
        )
        skew = action.epsilon_buy - action.epsilon_sell
        assert (skew[inventory < 0] <= 0).all()
        assert (skew[inventory > 0] >= 0).all()
        assert (skew[inventory == 0] == 0).all()
        assert (skew != 0).mean() > 0.3


@eqx.filter_jit
def _settled(maker, key):
    """The memories of 64 makers after an episode, as figure 13 has it."""
    scenario = as_arrays(Scenario(DealerMarket(), (FIGURE_13,)))
    return episodes(scenario, maker, key, 64, lambda observation, memory, step: memory)


@pytest.mark.parametrize("inventory", [-12.0, 12.0])
def test_it_tightens_more_with_more_risk_aversion(inventory):
    # The same 64 tables and the same inventory, more than a step's flow can shed, for every aversion.
    memories = jax.tree.map(
        lambda leaf: leaf[-1], _settled(as_arrays(AdaptiveQuoter(share_target=0.25)), jax.random.key(1))
    )
    seen = observation(bought=0.0, sold=0.0, market=0.0, inventory=inventory)
    quotes = []
    for risk_aversion in (0.0, 0.5, 1.0, 2.0, 4.0):
        maker = AdaptiveQuoter(share_target=0.25, risk_aversion=risk_aversion)
        action = jax.vmap(lambda memory, maker=maker: maker.act(None, memory, seen)[0])(memories)
        quotes.append(np.asarray(action.epsilon_buy if inventory < 0 else action.epsilon_sell).mean())
    assert (np.diff(quotes) <= 1e-6).all()
    assert quotes[0] - quotes[-1] > 0.1


@pytest.mark.parametrize(
    ("competitor", "target"),
    [(PersistentQuoter(epsilon_buy=0.0, epsilon_sell=0.0), 0.5), (FIGURE_13, 0.25), (FIGURE_13, 0.75)],
)
def test_it_aims_at_a_share_that_it_would_have(competitor, target):
    # Step 1 alone: the share of a maker that quotes the unskewed ε on both sides, which is exact against a
    # persistent competitor. 0.75 cannot be had: 0.5 and 1 are as near, and the tolerance takes the higher ε.
    action, _, _, _ = lived(AdaptiveQuoter(share_target=target, risk_aversion=0.0), competitor)
    aim = most_common(np.maximum(action.epsilon_buy, action.epsilon_sell))[0]
    sides = [float(competitor.epsilon_buy), float(competitor.epsilon_sell)]
    share = np.mean([1.0 if aim < side - 1e-6 else 0.5 if abs(aim - side) < 1e-6 else 0.0 for side in sides])
    grid = [
        np.mean([1.0 if e < s - 1e-6 else 0.5 if abs(e - s) < 1e-6 else 0.0 for s in sides]) for e in GRID
    ]
    assert abs(share - target) <= min(abs(np.array(grid) - target)) + 0.05


def test_the_memory_outlives_an_episode():
    scenario = Scenario(DealerMarket(), (AdaptiveQuoter(),), horizon=4)
    shocks = scenario.shocks(jax.random.key(0), (2,))
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], shocks) for i in range(2))
    state, _ = scenario.reset(first)
    state, _ = scenario.step(state, PersistentQuoter().act(None, None, observation())[0], second)
    again, _ = scenario.restart(state, second)
    for old, new in zip(jax.tree.leaves(state.memories), jax.tree.leaves(again.memories), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_split_maker_quotes_by_one_and_hedges_by_the_other():
    pricing, hedging = PersistentQuoter(0.1, 0.2, 0.3), RandomQuoter(hedge_low=0.6, hedge_high=0.6)
    maker = SplitPolicy(pricing, hedging)
    shock = jax.tree.map(lambda leaf: leaf[0], maker.shocks(jax.random.key(0), (1,)))
    action, _ = maker.act(shock, maker.init(), observation())
    quotes = [float(x) for x in (action.epsilon_buy, action.epsilon_sell, action.hedge_fraction)]
    assert quotes == pytest.approx([0.1, 0.2, 0.6])


def test_responses_are_known_only_at_the_ends_at_first():
    table = AdaptiveQuoter(grid=5).init().table
    assert isinstance(table, Responses)
    np.testing.assert_array_equal(table.known, [[True, False, False, False, True]] * 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share_target", 1.5),
        ("share_tolerance", -0.1),
        ("forgetting", 0.0),
        ("risk_aversion", float("nan")),
        ("volatility", -1.0),
        ("time_step", 0.0),
        ("tick", float("inf")),
        ("low", -1.5),
        ("high", -0.9),
        ("grid", 1),
    ],
)
def test_what_no_maker_can_be_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, but got"):
        AdaptiveQuoter(**{name: value})
