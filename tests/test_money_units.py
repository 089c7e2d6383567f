"""Results do not depend on the unit of currency: with money in units of 2^k, training is the same to the bit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.bars.market import BarsMarket
from twosided.bars.source import SimulatedBars
from twosided.core.numeric import as_arrays
from twosided.core.scenario import Scenario
from twosided.dealer.adaptive import AdaptiveQuoter
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.hedging.market import HedgingMarket
from twosided.hedging.portfolio import PortfolioMarket
from twosided.hedging.rewards import PositionPenalty
from twosided.hedging.spreads import StochasticSpread
from twosided.learn.ppo import PPO
from twosided.learn.sac import SAC
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.market import LimitOrderMarket
from twosided.prices.assets import EqualCorrelation
from twosided.prices.brownian import Bachelier, GeometricBrownian
from twosided.rewards.inventory import InventoryPenalty

pytestmark = pytest.mark.extended

PPO_LEARNER = PPO(
    total_timesteps=1024, num_envs=8, num_steps=16, num_epochs=2, num_minibatches=2, hidden_sizes=(8,)
)
SAC_LEARNER = SAC(
    total_timesteps=512,
    num_envs=4,
    num_steps=4,
    gradient_steps=2,
    batch_size=16,
    buffer_size=256,
    learning_starts=64,
    hidden_sizes=(8,),
)
PRICE = GeometricBrownian(initial=100.0, volatility=0.15, time_step=1 / 512)


def dealer(unit, competitor):
    price = GeometricBrownian(initial=100.0 * unit)
    return Scenario(DealerMarket(price), (competitor,), horizon=20)


def spreads(unit):
    # The noise of eq. 13 is in currency as printed; its median is a parameter.
    return {
        "client_spread": StochasticSpread(multiplier=0.18, noise_median=1.0 * unit),
        "exchange_spread": StochasticSpread(multiplier=0.07, noise_median=1.0 * unit),
    }


def hedging(unit):
    market = HedgingMarket(price=eqx.tree_at(lambda p: p.initial, PRICE, 100.0 * unit), **spreads(unit))
    return Scenario(market, (), PositionPenalty(), horizon=20)


def portfolio(unit):
    market = PortfolioMarket(prices=EqualCorrelation(num_assets=2, initial=100.0 * unit), **spreads(unit))
    return Scenario(market, (), PositionPenalty(), horizon=20)


def limit_orders(unit):
    market = LimitOrderMarket(
        price=Bachelier(initial=100.0 * unit, volatility=2.0 * unit, time_step=0.005),
        fills=ExponentialFill(decay=1.5 / unit),
        max_offset=4.0 * unit,
        fee=0.01 * unit,
        session=20,
    )
    return Scenario(market, (), InventoryPenalty(running=0.2 * unit, final=0.1 * unit), horizon=20)


def bars(unit):
    price = GeometricBrownian(initial=100.0 * unit, volatility=0.5, time_step=1 / 5_256_000)
    market = BarsMarket(
        source=SimulatedBars(price=price),
        maker_fee=0.001 * unit,
        taker_fee=0.002 * unit,
        initial_cash=1000.0 * unit,
    )
    return Scenario(market, (), horizon=20)


SCENARIOS = {
    "dealer, persistent": lambda unit: dealer(unit, PersistentQuoter()),
    "dealer, adaptive": lambda unit: dealer(unit, AdaptiveQuoter()),
    "hedging": hedging,
    "portfolio": portfolio,
    "limit orders": limit_orders,
    "bars": bars,
}


@pytest.mark.parametrize("learner", [PPO_LEARNER, SAC_LEARNER], ids=["PPO", "SAC"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_training_does_not_depend_on_the_unit_of_currency(name, learner):
    @eqx.filter_jit
    def trained(scenario):
        state = learner.init(scenario, jax.random.key(0))
        state, metrics = learner.train_chunk(scenario, state, jnp.asarray(4))
        scales = (
            state.agents.observation_normalizer,
            state.agents.return_normalizer,
            state.agents.running_return,
        )
        parts = [id(leaf) for leaf in jax.tree.leaves(scales)]
        return [leaf for leaf in jax.tree.leaves(state.agents) if id(leaf) not in parts], metrics["reward"]

    ours = trained(as_arrays(SCENARIOS[name](1.0)))
    for unit in (2.0**-24, 2.0**20):
        networks, reward = trained(as_arrays(SCENARIOS[name](unit)))
        assert reward == unit * ours[1]
        for a, b in zip(jax.tree.leaves(networks), jax.tree.leaves(ours[0]), strict=True):
            np.testing.assert_array_equal(a, b)
