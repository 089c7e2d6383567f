"""Conformance suite: the same tests for every market."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars.market import BarsMarket
from twosided.bars.source import SimulatedBars
from twosided.core.spaces import Discrete
from twosided.dealer.investors import Investors, Tiers, UnitInvestors
from twosided.dealer.market import DealerMarket
from twosided.electronic.market import ElectronicMarket, TwoSidedElectronicMarket
from twosided.hedging.market import HedgingMarket
from twosided.hedging.portfolio import PortfolioMarket
from twosided.heston.process import Heston
from twosided.limit_orders.fills import ProbabilisticFill
from twosided.limit_orders.market import LimitOrderMarket
from twosided.prices import Bachelier, Garch, GeometricBrownian
from twosided.prices.assets import EqualCorrelation

pytestmark = [pytest.mark.extended, pytest.mark.optimised]

MARKETS = {
    "dealer": DealerMarket(),
    "dealer of three makers": DealerMarket(
        price=Bachelier(drift=5.0), flow=Investors(size_variation=0.5), num_makers=3
    ),
    "dealer, investors informed of the next step": DealerMarket(flow=UnitInvestors(informed=7)),
    "dealer, investors informed of three steps": DealerMarket(
        price=Bachelier(drift=5.0), flow=Investors(count=8, informed=5, foresight=3), num_makers=3
    ),
    "dealer, quotes by tier": DealerMarket(
        flow=Tiers((UnitInvestors(count=7), UnitInvestors(count=5, informed=5, foresight=2))), by_tier=True
    ),
    "dealer, one quote for all tiers": DealerMarket(flow=Tiers()),
    "electronic": ElectronicMarket(full_information=True),
    "electronic, two sides": TwoSidedElectronicMarket(noise=0.3, same_quote=True),
    "hedging": HedgingMarket(),
    "hedging, all options": HedgingMarket(
        price=Garch(), allow_skew=True, gross=True, extended_observation=True, signal_correlation=0.5
    ),
    "limit orders": LimitOrderMarket(),
    "limit orders, never closing": LimitOrderMarket(price=Garch(), max_inventory=3.0, fee=-0.1, session=0),
    "bars": BarsMarket(
        source=SimulatedBars(GeometricBrownian(volatility=0.3, time_step=1e-3)), max_offset=0.1
    ),
    "bars, all options": BarsMarket(
        source=SimulatedBars(Heston(time_step=1e-3), substeps=3, relative_half_spread=1e-3),
        fills=ProbabilisticFill(),
        whole_units=False,
        max_offset=0.02,
        maker_fee=-0.01,
        taker_rate=0.001,
        initial_cash=500.0,
        min_cash=0.0,
    ),
    "portfolio": PortfolioMarket(),
    "portfolio of ten, convex": PortfolioMarket(
        EqualCorrelation(num_assets=10, correlation=0.5), convex=True, extended_observation=True
    ),
}
STEPS, PATHS = 12, 4


@pytest.fixture(scope="module", params=MARKETS.values(), ids=MARKETS)
def market(request):
    return request.param


def actions_of(market, shape, seed=0):
    """Return uniform random actions of all makers, with the given leading axes."""
    space, shape = market.action_space, (*shape, market.num_makers)
    rng = np.random.default_rng(seed)
    if isinstance(space, Discrete):
        chosen = rng.integers(space.size, size=shape)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], space.actions)

    def uniform(low, high):
        return jnp.asarray(rng.uniform(low, high, (*shape, *np.shape(low))))

    return jax.tree.map(uniform, space.low, space.high)


def simulate(market, shocks, actions):
    """Return the first observations, the last states and all transitions, with leading axes (time, paths)."""
    first, observation = jax.vmap(market.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))
    last, transitions = jax.lax.scan(lambda s, x: jax.vmap(market.step)(s, *x), first, (actions, shocks))
    return observation, last, transitions


compiled = jax.jit(simulate)
drawn = jax.jit(lambda market, key: market.shocks(key, (STEPS, PATHS)))


@pytest.fixture(scope="module")
def simulation(market):
    """Shocks, actions and the resulting simulation."""
    shocks, actions = drawn(market, jax.random.key(0)), actions_of(market, (STEPS, PATHS))
    return shocks, actions, compiled(market, shocks, actions)


def at(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# Compiled programs fuse and reorder operations: errors of 2⁻²⁴ each in float32, some dozens of them in 12 steps.
ROUNDING = 1e-5


def assert_close(actual, expected, money):
    """Compare to rounding of the largest value of each leaf; for revaluations, of the position's value."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(expected)]
    for name, a, b in zip(paths, jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, float), np.asarray(b, float)
        scale = np.abs(b).max(initial=0.0)
        if re.search("inventory_(pnl|loss)|pnl.inventory", name):
            scale = money
        elif "inventory_square" in name:
            scale = np.sqrt(scale) * money
        np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING * scale, err_msg=name)


def money_at_stake(outcome):
    """Return the value of the largest position at the largest price."""
    _, _, transitions = outcome
    return float(np.abs(transitions.quotes.mid).max() * np.abs(transitions.inventory).max())


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_compiled_batch_matches_an_uncompiled_loop(market, simulation):
    shocks, actions, outcome = simulation
    observation, last, transitions = outcome
    money, path = money_at_stake(outcome), 1
    with jax.disable_jit():
        state, seen = market.reset(at(shocks, 0, path))
        assert_close(seen, at(observation, path), money)
        for time in range(STEPS):
            state, transition = market.step(state, at(actions, time, path), at(shocks, time, path))
            assert_close(transition, at(transitions, time, path), money)
    assert_close(state, at(last, path), money)


def test_results_are_reproducible_from_the_seed(market, simulation):
    shocks, actions, outcome = simulation
    again = drawn(market, jax.random.key(0))
    same = again, compiled(market, again, actions)
    for a, b in zip(jax.tree.leaves((shocks, outcome)), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(shocks), jax.tree.leaves(drawn(market, jax.random.key(1))), strict=True):
        assert (np.asarray(a) != np.asarray(b)).any()


def test_shocks_differ_between_steps_and_paths(market, simulation):
    for leaf in jax.tree.leaves(simulation[0]):
        rows = np.asarray(leaf).reshape(STEPS * PATHS, -1)
        if rows.dtype != bool:
            assert len(np.unique(rows, axis=0)) == STEPS * PATHS


def test_shapes_and_dtypes_are_constant(market, simulation):
    shocks, actions, _ = simulation
    state, observation = jax.eval_shape(market.reset, at(shocks, 0, 0))
    for time in range(2):
        after, transition = jax.eval_shape(market.step, state, at(actions, time, 0), at(shocks, time, 0))
        assert shapes(after) == shapes(state)
        assert shapes(transition.observation) == shapes(observation)
        state = after
    # Observations, PnL and quotes have an entry for every maker.
    pnl, quotes = transition.pnl, transition.quotes
    volumes = transition.held, transition.inventory, transition.bought, transition.sold
    for leaf in jax.tree.leaves((observation, quotes, pnl, transition.expected_inventory_pnl, volumes)):
        assert leaf.shape[0] == market.num_makers
        assert leaf.dtype == jnp.float32
    assert (transition.terminated.shape, transition.terminated.dtype) == ((), jnp.bool_)


def test_double_precision_agrees(market, simulation):
    shocks, actions, outcome = simulation

    def doubled(tree):
        floats = jax.tree.map(lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating), tree)
        return jax.tree.map(lambda leaf, real: leaf.astype(float) if real else leaf, tree, floats)

    with jax.enable_x64(True):
        precise = compiled(market, doubled(shocks), doubled(actions))
        for leaf in jax.tree.leaves(precise):
            assert leaf.dtype != jnp.float32
    assert_close(outcome, precise, money_at_stake(outcome))


def test_extreme_actions_give_finite_results(market, simulation):
    shocks, _, _ = simulation
    space = market.action_space
    ends = (
        [at(space.actions, i) for i in (0, space.size - 1)]
        if isinstance(space, Discrete)
        else [space.low, space.high]
    )
    for end in ends:
        everyone = jax.tree.map(
            lambda leaf: jnp.broadcast_to(
                jnp.float32(leaf), (STEPS, PATHS, market.num_makers, *np.shape(leaf))
            ),
            end,
        )
        for leaf in jax.tree.leaves(compiled(market, shocks, everyone)):
            assert np.isfinite(leaf).all()


def test_actions_change_pnl_but_not_the_price(market, simulation):
    # The price depends on the shocks alone.
    shocks, _, (_, last, transitions) = simulation
    other = actions_of(market, (STEPS, PATHS), seed=1)
    _, other_last, other_transitions = compiled(market, shocks, other)
    for a, b in zip(jax.tree.leaves(last.price), jax.tree.leaves(other_last.price), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (np.asarray(transitions.pnl.total) != np.asarray(other_transitions.pnl.total)).any()
