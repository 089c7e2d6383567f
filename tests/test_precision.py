"""Single against double precision over 10,000 steps on the same shocks: PnL attribution, and no drift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hedging.hedgers import PortfolioHedger
from twosided.hedging.market import HedgingAction, HedgingMarket
from twosided.hedging.portfolio import PortfolioMarket
from twosided.prices.assets import EqualCorrelation

pytestmark = pytest.mark.extended

STEPS = 10_000


def hedged(seen):
    """Hedge half of the position, and skew against it."""
    return HedgingAction(-0.5 * seen.inventory, -0.01 * seen.inventory)


def hedged_each(seen):
    """Hedge as PortfolioHedger does."""
    action, _ = PortfolioHedger().act(None, None, jax.tree.map(lambda leaf: leaf[0], seen))
    return jax.tree.map(lambda leaf: leaf[None], action)


def simulated(market, act, shocks):
    """Return total PnL, wealth, position and client position after every step."""

    @jax.jit
    def simulate(shocks):
        def one(carry, shock):
            state, seen = carry
            after, t = market.step(state, act(seen), shock)
            held = state_value(after)
            return (after, t.observation), (
                t.pnl.total[0],
                after.cash + held,
                t.inventory[0],
                after.client_position,
            )

        first = market.reset(jax.tree.map(lambda leaf: leaf[0], shocks))
        return jax.lax.scan(one, first, jax.tree.map(lambda leaf: leaf[1:], shocks))[1]

    def state_value(state):
        if isinstance(market, PortfolioMarket):
            mid = state.price.mid
            return state.client_position * mid.mean() + (state.hedge_positions * mid).sum()
        return (state.client_position + state.hedge_position) * state.price.mid

    return [np.asarray(x) for x in simulate(shocks)]


@pytest.mark.parametrize(
    ("market", "act"),
    [
        (HedgingMarket(allow_skew=True, max_position=1e6), hedged),
        (
            PortfolioMarket(EqualCorrelation(num_assets=3, correlation=0.3), extended_observation=True),
            hedged_each,
        ),
    ],
    ids=["hedging", "portfolio"],
)
def test_single_precision_does_not_drift_from_double(market, act):
    single = jax.jit(lambda key: market.shocks(key, (STEPS + 1,)))(jax.random.key(0))
    total, wealth, position, client = simulated(market, act, single)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), float), single)
        exact_total, exact_wealth, exact_position, exact_client = simulated(market, act, double)
    assert (total.dtype, exact_total.dtype) == (np.float32, np.float64)
    earned = exact_total.sum()
    assert earned > 10_000
    # The change of wealth is computed from cash and positions, independently of the parts of PnL.
    assert abs(wealth[-1] - total.astype(float).sum()) < 3e-4 * earned
    assert abs(exact_wealth[-1] - earned) < 1e-11 * earned
    # The two do not diverge at any step.
    assert np.abs(total.astype(float).cumsum() - exact_total.cumsum()).max() < 3e-4 * earned
    assert np.abs(wealth - exact_wealth).max() < 3e-4 * earned
    # Numbers of trades are quantiles, which rounding occasionally changes by one.
    assert np.abs(position - exact_position).max() < 2
    assert np.abs(client - exact_client).max() < 5
    assert np.abs(exact_client).max() > 1000
