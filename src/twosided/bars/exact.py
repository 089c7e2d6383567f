"""The best quotes on simulated bars of a Brownian price, by dynamic programming over inventory.

A maker quotes two offsets, for one lot a side (`BarsMarket` with `sizes` off), on bars of a price without drift whose
moves are independent: nothing seen before a bar says anything of it. The best of all makers solves, with n steps to go
and h_0 = 0,

    h_n(q) = max over δ_b, δ_a of  E[ fills' (C δ - fees) + (q' - q) ΔC ] - φ E[q'²] + E[h_{n-1}(q')]

    q' = q + lot · (bid fills) - lot · (ask fills)

Offsets are tried on a grid. What a bar does to a pair of orders is a mean over draws of the market's own step, so that
its rules of filling and its fees stand nowhere twice. Money scales with the price, which is kept at its first: what it
moves by in an episode is left out, a share of the order of its variance.

A maximum over noisy means is too high. So the quotes are chosen on one set of draws and `value` is what they earn on
another: it is unbiased for them, and no more than the optimum; `maximum` is the first set's own word.
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
from twosided.core.optimum import NotExact
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.limit_orders.orders import LimitOrders
from twosided.limit_orders.policies import QuoteTable
from twosided.prices.brownian import Brownian
from twosided.rewards import InventoryPenalty

BATCH = 2**14
"""Draws that are held in memory at a time."""


@dataclass(frozen=True, eq=False)
class BarsOptimum:
    """The best quotes with an episode to go, and what they earn; currency."""

    value: float
    """A step, on draws that they were not chosen by."""
    maximum: float
    """A step, on the draws that they were chosen by."""
    inventory: Float[ndarray, "inventories"]
    """q, in units."""
    bid: Float[ndarray, "inventories"]
    """δ_b, fractions of the close; `max_offset` is no order."""
    ask: Float[ndarray, "inventories"]
    """δ_a."""

    @property
    def policy(self) -> QuoteTable:
        """Plays them."""
        first, bid, ask = (jnp.asarray(x, jnp.float32) for x in (self.inventory[0], self.bid, self.ask))
        return QuoteTable(first, jnp.ones(()), bid[None], ask[None])


def bars_optimum(
    scenario: Scenario, *, offsets: int = 25, draws: int = 400_000, seed: int = 0
) -> BarsOptimum:
    """The best quotes. Raises NotExact, and ValueError for a bad grid."""
    check("offsets", offsets, "at least 2", offsets >= 2)
    check("draws", draws, "at least 1", draws >= 1)
    market, penalty = _asked(scenario)
    inventory = np.arange(float(market.min_inventory), float(market.max_inventory) + 0.5)
    grid = np.linspace(float(market.min_offset), float(market.max_offset), offsets)
    keys = jax.random.split(jax.random.key(seed), 2)
    chosen_by, fresh = (_Bar.drawn(market, grid, -(-draws // BATCH), key) for key in keys)
    best = value = np.zeros(inventory.size)
    quotes = np.zeros((2, inventory.size), int)
    each = np.arange(inventory.size)
    for _ in range(scenario.horizon):
        worth = chosen_by.worth(best, inventory, penalty)
        quotes = np.stack(np.unravel_index(worth.reshape(inventory.size, -1).argmax(1), worth.shape[1:]))
        best = worth[each, *quotes]
        value = fresh.worth(value, inventory, penalty)[each, *quotes]
    first = round(float(market.initial_inventory) - inventory[0])
    return BarsOptimum(
        value=float(value[first]) / scenario.horizon,
        maximum=float(best[first]) / scenario.horizon,
        inventory=inventory,
        bid=grid[quotes[0]],
        ask=grid[quotes[1]],
    )


@dataclass(frozen=True, eq=False)
class _Bar:
    """What a bar does to orders at the offsets of the grid."""

    bid_earns: Float[ndarray, "offsets"]
    """E of spread, fees and what the lot then gains in the bar, in currency."""
    ask_earns: Float[ndarray, "offsets"]
    bid_fills: Float[ndarray, "offsets"]
    """Probability."""
    ask_fills: Float[ndarray, "offsets"]
    both_fill: Float[ndarray, "bids asks"]

    @classmethod
    def drawn(cls, market: BarsMarket, grid: Float[ndarray, "offsets"], batches: int, key: Any) -> "_Bar":
        """Means over draws of the market."""
        found = _means(as_arrays(market), jnp.asarray(grid, float), jax.random.split(key, batches))
        return cls(*(np.asarray(x, float) for x in found))

    def worth(
        self,
        following: Float[ndarray, "inventories"],
        inventory: Float[ndarray, "inventories"],
        penalty: float,
    ) -> Float[ndarray, "inventories bids asks"]:
        """Of each pair of quotes: what a step earns and what follows it."""
        held = following - penalty * np.square(inventory)
        up, down = np.append(np.diff(held), 0.0), np.append(0.0, -np.diff(held))
        worth = held[:, None, None] - (up + down)[:, None, None] * self.both_fill
        worth += (self.bid_earns + np.outer(up, self.bid_fills))[:, :, None]
        worth += (self.ask_earns + np.outer(down, self.ask_fills))[:, None, :]
        # At a bound there is only the order that leads away from it; the last offset is no order.
        worth[-1, :-1], worth[0, :, :-1] = -np.inf, -np.inf
        return worth


@eqx.filter_jit
def _means(market: BarsMarket, grid: Float[Array, "offsets"], keys: Any) -> tuple[Array, ...]:
    """The fields of `_Bar`, from as many batches of draws as keys."""

    def one(shock: Any, bid: Any, ask: Any) -> tuple[Array, Array]:
        """Whether anything fills, and what it earns, from no inventory."""
        state, _ = market.reset(shock)
        state = eqx.tree_at(lambda s: s.inventory, state, jnp.zeros_like(state.inventory))
        _, transition = market.step(state, LimitOrders(bid, ask), shock)
        return (transition.bought + transition.sold)[0], transition.pnl.total[0]

    over = jax.vmap(jax.vmap(one, (0, None, None)), (None, 0, 0))
    none = jnp.full_like(grid, market.max_offset)

    def batch(key: Any) -> tuple[Array, ...]:
        shocks = market.shocks(key, (BATCH,))
        (bids, bid_earns), (asks, ask_earns) = over(shocks, grid, none), over(shocks, none, grid)
        return bid_earns.mean(1), ask_earns.mean(1), bids.mean(1), asks.mean(1), bids @ asks.T / BATCH

    return tuple(x.mean(0) for x in jax.lax.map(batch, keys))


def _asked(scenario: Scenario) -> tuple[BarsMarket, float]:
    """The market and φ. Raises NotExact."""
    market, reward = scenario.market, scenario.reward
    if not (isinstance(market, BarsMarket) and isinstance(market.source, SimulatedBars)):
        raise NotExact("the best quotes on bars are known where bars are simulated")
    if market.sizes or market.min_cash is not None:
        raise NotExact("the best quotes on bars are known for makers of two offsets, without a bound on cash")
    price = market.source.price
    if not isinstance(price, Brownian) or float(price.drift):
        raise NotExact("the best quotes on bars are known for Brownian prices without drift")
    if isinstance(reward, InventoryPenalty):
        # Bars do not close, so that what is due at a close is never paid.
        penalty = float(reward.running * reward.time_step)
    elif isinstance(reward, TotalPnL):
        penalty = 0.0
    else:
        raise NotExact(f"the best quotes on bars are not known for a {type(reward).__name__}")
    low, high = float(market.min_inventory), float(market.max_inventory)
    if float(market.size) != 1 or any(x != round(x) for x in (low, high, float(market.initial_inventory))):
        raise NotExact("the best quotes on bars are known for lots of one unit and inventories of whole ones")
    if not low < 0 < high or high - low > MOST:
        raise NotExact(f"the best quotes on bars are known for bounds around 0, at most {MOST} units apart")
    return market, penalty


MOST = 1000
"""Units that the program goes over at most."""
