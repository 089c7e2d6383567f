"""The portfolio market: a step by hand, blends, convex actions, over-hedges, and sizes up to a hundred assets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.core.rollout import rollout, start
from twosided.core.scenario import Scenario
from twosided.hedging.clients import PoissonClients
from twosided.hedging.hedgers import PortfolioHedger
from twosided.hedging.portfolio import ConvexAction, PortfolioAction, PortfolioMarket, PortfolioShock
from twosided.hedging.spreads import StochasticSpread
from twosided.prices.assets import EqualCorrelation

PLAIN = PortfolioMarket(
    EqualCorrelation(num_assets=2, volatility=0.02, time_step=1.0),
    weights=(0.75, 0.25),
    clients=PoissonClients(sensitivity=0.0),
    client_spread=StochasticSpread(multiplier=0.9, noise=0.0, clamp=False),
    exchange_spread=StochasticSpread(multiplier=0.3, noise=0.0, clamp=False),
    informed=True,
)


def shock(moves, sellers=(0.0, 0.0)):
    clients = jnp.zeros((2, 3)).at[:, 0].set(jnp.asarray(sellers))
    return PortfolioShock(jnp.asarray(moves), jnp.zeros((2, 4)), clients, None)


def action(*hedge):
    return PortfolioAction(jnp.array([hedge]))


def lived(market, *steps):
    state, _ = market.reset(shock((0.0, 0.0)))
    for act, happening in steps:
        state, transition = market.step(state, act, happening)
    return state, transition


def test_a_step_by_hand():
    first, second = (
        (action(-8.0, 3.0), shock((1.0, -0.5), (1.5, 0.0))),
        (action(0.0, 0.0), shock((-2.0, 1.0))),
    )
    _, transition = lived(PLAIN, first)
    mids = 100 * np.exp(0.02 * np.array([1.0, -0.5]) - 0.0002)
    levels = np.abs(mids - 100) / np.sqrt(2)
    client, exchange = 0.9 * (levels + 1), 0.3 * (levels + 1)
    weights, net = np.array([0.75, 0.25]), 0.75 * 15.0
    # All is 100 of each side but the first asset's sellers, 115 at 1.5 deviations.
    pnl = [float(leaf[0]) for leaf in jax.tree.leaves(transition.pnl)]
    np.testing.assert_allclose(pnl, [net * weights @ client, -exchange @ [8.0, 3.0], 0.0, 0.0], rtol=1e-5)
    assert float(transition.quotes.mid[0]) == pytest.approx(weights @ mids)
    value = net * weights @ mids + mids @ [-8.0, 3.0]
    assert float(transition.inventory[0]) == pytest.approx(value / 100, rel=1e-5)
    seen = transition.observation
    np.testing.assert_allclose(seen.hedge_values[0], mids * [-8.0, 3.0] / 1000, rtol=1e-5)
    assert float(seen.net_value[0]) == pytest.approx(value / 1000, rel=1e-4)
    # The second hedge has the client position's sign; the first offsets a part of it.
    assert float(transition.extras.overhedge[0]) == pytest.approx(
        (3 * mids[1] + net * weights @ mids) / 100, rel=1e-5
    )
    after, transition = lived(PLAIN, first, second)
    exposure = weights * net + [-8.0, 3.0]
    moved = np.asarray(after.price.mid) - mids
    assert float(transition.pnl.inventory[0]) == pytest.approx(exposure @ moved, rel=1e-4)
    assert float(transition.held[0]) == pytest.approx(value / 100, rel=1e-5)


@pytest.mark.parametrize(
    ("hedges", "over"),
    [((-4.0, -5.0), 0.0), ((-12.0, 0.0), 2.0), ((-12.0, 3.0), 15.0), ((-10.0, -10.0), 0.0)],
)
def test_too_much_of_a_hedge_is_what_exceeds_the_position_or_adds_to_it(hedges, over):
    # Ten units of the blend at prices of 100, and nothing moves.
    state, _ = PLAIN.reset(shock((0.0, 0.0)))
    calm = PortfolioMarket(
        EqualCorrelation(volatility=0.0), weights=(1.0, 0.0), clients=PoissonClients(scale=0.0)
    )
    hedged = jax.tree.map(lambda leaf: leaf, state)
    hedged = type(state)(**{**vars(hedged), "client_position": jnp.asarray(10.0)})
    _, transition = calm.step(hedged, action(*hedges), shock((0.0, 0.0)))
    assert float(transition.extras.overhedge[0]) == pytest.approx(over)


def test_convex_actions_are_an_amount_and_its_division():
    two = PortfolioMarket(convex=True)
    hedges = two._hedges(ConvexAction(jnp.array([10.0]), jnp.array([[0.3]])))
    np.testing.assert_allclose(hedges, [3.0, 7.0], rtol=1e-6)
    four = PortfolioMarket(EqualCorrelation(num_assets=4), convex=True)
    hedges = four._hedges(ConvexAction(jnp.array([99.0]), jnp.array([[0.5, 0.5, 2.0]])))
    np.testing.assert_allclose(hedges, [32.0, 16.0, 16.0, 0.0], rtol=1e-6)


def test_pnl_is_the_change_of_wealth():
    market = PortfolioMarket(EqualCorrelation(num_assets=5, correlation=0.3))
    with jax.enable_x64(True):
        shocks = jax.tree.map(lambda leaf: leaf.astype(float), market.shocks(jax.random.key(0), (30,)))
        state, _ = market.reset(jax.tree.map(lambda leaf: leaf[0], shocks))
        wealth, step = 0.0, jax.jit(market.step)
        for time in range(1, 30):
            hedge = jnp.sin(jnp.arange(5.0) + time)[None] * 10
            state, t = step(
                state, PortfolioAction(hedge), jax.tree.map(lambda leaf, time=time: leaf[time], shocks)
            )
            now = state.cash + t.inventory[0] * 100
            assert float(now - wealth) == pytest.approx(float(t.pnl.total[0]), abs=1e-8)
            wealth = now


@pytest.mark.parametrize("assets", [1, 2, 10, 100])
def test_any_number_of_assets_runs_and_its_hedge_is_exact(assets):
    market = PortfolioMarket(
        EqualCorrelation(num_assets=assets, correlation=0.2 if assets > 1 else 0.0),
        informed=True,
        max_hedge=1e3,
    )
    scenario, policy = Scenario(market, (), horizon=20), PortfolioHedger(weights=market.weights)

    @jax.jit
    def live(key):
        carry = start(scenario, policy, key, 3)

        def record(observation, memory, step):
            return step.transition.inventory, step.transition.bought - step.transition.sold

        return rollout(scenario, policy, carry, key, 20, record)[1]

    inventory, net = live(jax.random.key(0))
    # Every step's hedge takes away all that was there before it, so only the step's own trades are left.
    np.testing.assert_allclose(inventory, net, rtol=0.2, atol=0.5)
    assert np.abs(net).max() > 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"weights": (1.0,)},
            "weights must be one of each of the 2 assets, at least 0, summing to 1, but got 1",
        ),
        (
            {"weights": (0.7, 0.7)},
            "weights must be one of each of the 2 assets, at least 0, summing to 1, but got",
        ),
        (
            {"weights": (1.5, -0.5)},
            "weights must be one of each of the 2 assets, at least 0, summing to 1, but got",
        ),
        (
            {"num_makers": 2},
            r"num_makers must be 1 \(nobody competes here: choose no competitors\), but got 2",
        ),
        ({"max_hedge": 0.0}, "max_hedge must be positive and finite, but got 0.0"),
    ],
)
def test_bad_input(arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        PortfolioMarket(**arguments)
