"""Exact quotes on simulated bars of a Brownian price, by dynamic programming over inventory.

A maker quotes two offsets, for one unit on each side (`BarsMarket` with `sizes` off), on bars of a price without drift
with independent changes, so past bars have no information on future ones. With n steps to go and h_0 = 0, the optimum
solves

    h_n(q) = max over δ_b, δ_a of  E[ fills' (C δ - fees) + (q' - q) ΔC ] - φ E[q'²] + E[h_{n-1}(q')]

    q' = q + bid fills - ask fills

with C the close and ΔC its change over the bar. Offsets are on a grid. Expectations over a bar are means over draws of
the market's own step, so its fill rules and fees are implemented once. Approximation: money is proportional to the
price, which is kept at its initial value; the error is of the order of the variance of the relative price change in an
episode.

All pairs of offsets of the grid are compared, so the optimum over these is proven for the means over the draws. Offsets
between those of the grid are not searched; `refinement` is what the last doubling of the grid gained.

The maximum of noisy means is biased upwards. The quotes are therefore chosen on one set of draws and valued on another:
`value` is unbiased for these quotes, and its expectation is at most the optimum; `maximum` comes from the first set.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from twosided.bars.market import BarsMarket
from twosided.bars.source import SimulatedBars
from twosided.core.numeric import as_arrays
from twosided.core.optimum import NotExact, require_finite
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.limit_orders.orders import LimitOrders
from twosided.limit_orders.policies import QuoteTable
from twosided.prices.brownian import Brownian
from twosided.rewards import InventoryPenalty

BATCH = 2**14
"""Draws held in memory at a time."""
MAX_INVENTORY_RANGE = 1000
"""Largest difference of the bounds on inventory that the dynamic program accepts, in units."""


@dataclass(frozen=True, eq=False)
class BarsOptimum:
    """Optimal quotes in the first step of an episode, and the value of the optimal policy."""

    value: float
    """Mean reward per step on draws independent of those that the quotes were chosen on, in currency."""
    maximum: float
    """Mean reward per step on the draws that the quotes were chosen on, in currency; biased upwards."""
    refinement: float
    """Gain of `maximum` over that of every other offset of the grid, an estimate of the gain from a finer one."""
    inventory: Float[ndarray, "inventories"]
    """q, in units."""
    bid: Float[ndarray, "inventories"]
    """δ_b at each inventory, as fractions of the close; `max_offset` for no order."""
    ask: Float[ndarray, "inventories"]
    """δ_a at each inventory, as fractions of the close; `max_offset` for no order."""

    @property
    def policy(self) -> QuoteTable:
        """Policy with these quotes in every step."""
        first, bid, ask = (jnp.asarray(x, jnp.float32) for x in (self.inventory[0], self.bid, self.ask))
        return QuoteTable(first, jnp.ones(()), bid[None], ask[None])


def bars_optimum(
    scenario: Scenario, *, offsets: int = 25, draws: int = 400_000, seed: int = 0
) -> BarsOptimum:
    """Return the optimal quotes on a grid of `offsets` offsets from `min_offset` to `max_offset`, with means over
    `draws` draws of a bar.

    Raises NotExact where the scenario has no exact answer, and ValueError for a grid or a number of draws out of range.
    """
    check("offsets", offsets, "at least 2", offsets >= 2)
    check("draws", draws, "at least 1", draws >= 1)
    market, penalty = _market_and_penalty(scenario)
    inventory = np.arange(float(market.min_inventory), float(market.max_inventory) + 0.5)
    grid = np.linspace(float(market.min_offset), float(market.max_offset), offsets)
    keys = jax.random.split(jax.random.key(seed), 2)
    choice, valuation = (_BarMoments.estimate(market, grid, -(-draws // BATCH), key) for key in keys)
    maximum = value = np.zeros(inventory.size)
    quotes = np.zeros((2, inventory.size), int)
    rows = np.arange(inventory.size)
    for _ in range(scenario.horizon):
        pair_values = choice.pair_values(maximum, inventory, penalty)
        best = pair_values.reshape(inventory.size, -1).argmax(1)
        quotes = np.stack(np.unravel_index(best, pair_values.shape[1:]))
        maximum = pair_values[rows, *quotes]
        value = valuation.pair_values(value, inventory, penalty)[rows, *quotes]
    coarse, every_other = np.zeros(inventory.size), choice.every_other()
    for _ in range(scenario.horizon):
        coarse = every_other.pair_values(coarse, inventory, penalty).max((1, 2))
    require_finite("the optimum of quotes on bars", value, maximum)
    first = round(float(market.initial_inventory) - inventory[0])
    return BarsOptimum(
        value=float(value[first]) / scenario.horizon,
        maximum=float(maximum[first]) / scenario.horizon,
        refinement=float(maximum[first] - coarse[first]) / scenario.horizon,
        inventory=inventory,
        bid=grid[quotes[0]],
        ask=grid[quotes[1]],
    )


@dataclass(frozen=True, eq=False)
class _BarMoments:
    """Expected results in one bar of orders at the offsets of the grid."""

    bid_earnings: Float[ndarray, "offsets"]
    """E[spread PnL - fees + inventory PnL of the bar] of a bid alone, in currency."""
    ask_earnings: Float[ndarray, "offsets"]
    """The same of an ask alone."""
    bid_fills: Float[ndarray, "offsets"]
    """Fill probability of a bid."""
    ask_fills: Float[ndarray, "offsets"]
    """Fill probability of an ask."""
    both_fill: Float[ndarray, "bids asks"]
    """Probability that both fill."""

    @classmethod
    def estimate(
        cls, market: BarsMarket, grid: Float[ndarray, "offsets"], batches: int, key: Any
    ) -> "_BarMoments":
        """Return means over draws of the market's step."""
        found = _means(as_arrays(market), jnp.asarray(grid, float), jax.random.split(key, batches))
        return cls(*(np.asarray(x, float) for x in found))

    def every_other(self) -> "_BarMoments":
        """Return the moments for every other offset, the last one included."""
        kept = np.unique(np.append(np.arange(0, self.bid_fills.size, 2), self.bid_fills.size - 1))
        return _BarMoments(
            self.bid_earnings[kept],
            self.ask_earnings[kept],
            self.bid_fills[kept],
            self.ask_fills[kept],
            self.both_fill[np.ix_(kept, kept)],
        )

    def pair_values(
        self,
        following: Float[ndarray, "inventories"],
        inventory: Float[ndarray, "inventories"],
        penalty: float,
    ) -> Float[ndarray, "inventories bids asks"]:
        """Return the value of each pair of quotes: the expected reward of the step and the value that follows it."""
        held = following - penalty * np.square(inventory)
        up, down = np.append(np.diff(held), 0.0), np.append(0.0, -np.diff(held))
        values = held[:, None, None] - (up + down)[:, None, None] * self.both_fill
        values += (self.bid_earnings + np.outer(up, self.bid_fills))[:, :, None]
        values += (self.ask_earnings + np.outer(down, self.ask_fills))[:, None, :]
        # At a bound of inventory the only order is the one away from it; the last offset places no order.
        values[-1, :-1], values[0, :, :-1] = -np.inf, -np.inf
        return values


@eqx.filter_jit
def _means(market: BarsMarket, grid: Float[Array, "offsets"], keys: Any) -> tuple[Array, ...]:
    """Return the fields of `_BarMoments`, from one batch of draws for each key."""

    def one_bar(shock: Any, bid: Any, ask: Any) -> tuple[Array, Array]:
        """Return the filled volume and the PnL of a bar that starts without inventory."""
        state, _ = market.reset(shock)
        state = eqx.tree_at(lambda s: s.inventory, state, jnp.zeros_like(state.inventory))
        _, transition = market.step(state, LimitOrders(bid, ask), shock)
        return (transition.bought + transition.sold)[0], transition.pnl.total[0]

    over_draws = jax.vmap(jax.vmap(one_bar, (0, None, None)), (None, 0, 0))
    no_order = jnp.full_like(grid, market.max_offset)

    def batch(key: Any) -> tuple[Array, ...]:
        shocks = market.shocks(key, (BATCH,))
        (bids, bid_earnings), (asks, ask_earnings) = (
            over_draws(shocks, grid, no_order),
            over_draws(shocks, no_order, grid),
        )
        return bid_earnings.mean(1), ask_earnings.mean(1), bids.mean(1), asks.mean(1), bids @ asks.T / BATCH

    return tuple(x.mean(0) for x in jax.lax.map(batch, keys))


def _market_and_penalty(scenario: Scenario) -> tuple[BarsMarket, float]:
    """Return the market and φ. Raises NotExact."""
    market, reward = scenario.market, scenario.reward
    if not (isinstance(market, BarsMarket) and isinstance(market.source, SimulatedBars)):
        raise NotExact("exact quotes on bars need bars that are simulated from a price process")
    if market.sizes or market.min_cash is not None:
        raise NotExact(
            "exact quotes on bars need makers that choose two offsets alone (sizes off), without a bound on cash"
        )
    price = market.source.price
    if not isinstance(price, Brownian) or float(price.drift):
        raise NotExact("exact quotes on bars need a Brownian price without drift")
    if isinstance(reward, InventoryPenalty):
        # The market does not close, so the penalty at the close is never due.
        penalty = float(reward.running)
    elif isinstance(reward, TotalPnL):
        penalty = 0.0
    else:
        raise NotExact(f"exact quotes on bars are not known for the reward {type(reward).__name__}")
    low, high = float(market.min_inventory), float(market.max_inventory)
    if float(market.size) != 1 or any(x != round(x) for x in (low, high, float(market.initial_inventory))):
        raise NotExact("exact quotes on bars need orders of one unit and inventories in whole units")
    if not low < 0 < high or high - low > MAX_INVENTORY_RANGE:
        raise NotExact(
            "exact quotes on bars need bounds on inventory on both sides of 0, at most "
            f"{MAX_INVENTORY_RANGE} units apart"
        )
    return market, penalty
