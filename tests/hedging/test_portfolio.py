"""The portfolio market: a step by hand, blends, convex actions, overhedges, and up to a hundred assets."""

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

MARKET = PortfolioMarket(
    EqualCorrelation(num_assets=2, volatility=0.02, time_step=1.0),
    weights=(0.75, 0.25),
    clients=PoissonClients(sensitivity=0.0),
    client_spread=StochasticSpread(multiplier=0.9, noise_std=0.0, clamp=False),
    exchange_spread=StochasticSpread(multiplier=0.3, noise_std=0.0, clamp=False),
    extended_observation=True,
)


def shock(moves, sellers=(0.0, 0.0)):
    clients = jnp.zeros((2, 3)).at[:, 0].set(jnp.asarray(sellers))
    return PortfolioShock(jnp.asarray(moves), jnp.zeros((2, 4)), clients, None)


def action(*hedge):
    return PortfolioAction(jnp.array([hedge]))


def run_steps(market, *steps):
    state, _ = market.reset(shock((0.0, 0.0)))
    for act, inputs in steps:
        state, transition = market.step(state, act, inputs)
    return state, transition


def test_step_matches_hand_calculation():
    first, second = (
        (action(-8.0, 3.0), shock((1.0, -0.5), (1.5, 0.0))),
        (action(0.0, 0.0), shock((-2.0, 1.0))),
    )
    _, transition = run_steps(MARKET, first)
    mids = 100 * np.exp(0.02 * np.array([1.0, -0.5]) - 0.0002)
    rolling = np.abs(mids - 100) / np.sqrt(2)
    client, exchange = 0.9 * (rolling + 1), 0.3 * (rolling + 1)
    weights, net = np.array([0.75, 0.25]), 0.75 * 15.0
    # Each side trades 100 units, except for sales of the first asset: 115, the quantile at 1.5 standard deviations.
    pnl = [float(leaf[0]) for leaf in jax.tree.leaves(transition.pnl)]
    np.testing.assert_allclose(pnl, [net * weights @ client, -exchange @ [8.0, 3.0], 0.0, 0.0], rtol=1e-5)
    assert float(transition.quotes.mid[0]) == pytest.approx(weights @ mids)
    value = net * weights @ mids + mids @ [-8.0, 3.0]
    assert float(transition.inventory[0]) == pytest.approx(value / 100, rel=1e-5)
    observation = transition.observation
    np.testing.assert_allclose(observation.hedge_values[0], mids * [-8.0, 3.0] / 1000, rtol=1e-5)
    assert float(observation.net_value[0]) == pytest.approx(value / 1000, rel=1e-4)
    # The second hedge has the sign of the client position; the first offsets part of it.
    assert float(transition.extras.overhedge[0]) == pytest.approx(
        (3 * mids[1] + net * weights @ mids) / 100, rel=1e-5
    )
    after, transition = run_steps(MARKET, first, second)
    exposure = weights * net + [-8.0, 3.0]
    change = np.asarray(after.price.mid) - mids
    assert float(transition.pnl.inventory[0]) == pytest.approx(exposure @ change, rel=1e-4)
    assert float(transition.held[0]) == pytest.approx(value / 100, rel=1e-5)


@pytest.mark.parametrize(
    ("hedges", "overhedge"),
    [((-4.0, -5.0), 0.0), ((-12.0, 0.0), 2.0), ((-12.0, 3.0), 15.0), ((-10.0, -10.0), 0.0)],
)
def test_overhedge_is_the_excess_over_or_addition_to_the_client_position(hedges, overhedge):
    # Ten units of the blend at constant prices of 100.
    state, _ = MARKET.reset(shock((0.0, 0.0)))
    constant = PortfolioMarket(
        EqualCorrelation(volatility=0.0), weights=(1.0, 0.0), clients=PoissonClients(scale=0.0)
    )
    state = type(state)(**{**vars(state), "client_position": jnp.asarray(10.0)})
    _, transition = constant.step(state, action(*hedges), shock((0.0, 0.0)))
    assert float(transition.extras.overhedge[0]) == pytest.approx(overhedge)


def test_convex_action_divides_the_amount_among_assets():
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


@pytest.mark.parametrize("num_assets", [1, 2, 10, 100])
def test_portfolio_hedger_removes_the_exposure_for_any_number_of_assets(num_assets):
    market = PortfolioMarket(
        EqualCorrelation(num_assets=num_assets, correlation=0.2 if num_assets > 1 else 0.0),
        extended_observation=True,
        max_hedge=1e3,
    )
    scenario, policy = Scenario(market, (), horizon=20), PortfolioHedger(weights=market.weights)

    @jax.jit
    def simulate(key):
        carry = start(scenario, policy, key, 3)

        def record(observation, state, step):
            return step.transition.inventory, step.transition.bought - step.transition.sold

        return rollout(scenario, policy, carry, key, 20, record)[1]

    inventory, net = simulate(jax.random.key(0))
    # The hedge of each step removes the position before it, so only the step's own client trades remain.
    np.testing.assert_allclose(inventory, net, rtol=0.2, atol=0.5)
    assert np.abs(net).max() > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"weights": (1.0,)},
            "weights must be one for each of the 2 assets, at least 0, summing to 1, but got 1",
        ),
        (
            {"weights": (0.7, 0.7)},
            "weights must be one for each of the 2 assets, at least 0, summing to 1, but got",
        ),
        (
            {"weights": (1.5, -0.5)},
            "weights must be one for each of the 2 assets, at least 0, summing to 1, but got",
        ),
        (
            {"num_makers": 2},
            r"num_makers must be 1 \(the market has no competitors: choose none\), but got 2",
        ),
        ({"max_hedge": 0.0}, "max_hedge must be positive and finite, but got 0.0"),
    ],
)
def test_invalid_parameters_raise(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        PortfolioMarket(**arguments)
