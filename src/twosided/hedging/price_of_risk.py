"""Optimum of the price-of-risk reward (Bakshaev 2020, section 6, eq. 32): the client spread that it leads to, derived.

The reward of a step is -|P - H| plus inventory PnL, less a penalty on the position. P is the spread PnL and H the cost
of the hedge. Demand is inelastic, so a skew moves no trade, now or later, and is chosen for each step alone. The
penalty's slope, γ S_0 and more per unit, is far larger than the cost of hedging a unit, so the maker hedges as much as
it can, a = -clip(q, ± max_hedge), whatever the spread PnL. With the net trade n and the skew's size |s| on the side
that it tightens,

    P = |n| ν_c δ (1 - |s|) if n comes to that side, otherwise |n| ν_c δ,      H = |a(q)| ν_x δ_x

The optimal |s| given q minimises E[W |1 - |s| - H / W|] over the trades of that side, with W = |n| ν_c δ:

    1 - |s(q)| = min(1, the median of H / W given q, weighted by W)

on the side with the smaller minimum. It is a median, not a mean, and only one side is ever tightened. Therefore nothing
makes the mean client spread equal to that of the hedge. For normal trades of standard deviation σ, constant spreads and
k = ν_x / ν_c, the median is k |a| / (σ √(2 log 2)). The share of its spread that the maker quotes, as the mean of both
sides, with hedges that are not clipped and z = |a| / σ half-normal, is

    f(k) = 1/2 + 1/2 E[min(c z, 1)],   c = k / √(2 log 2),   E[min(c z, 1)] = c √(2/π) (1 - e^{-1/2c²}) + erfc(1 / c√2)

f(k) > k up to k = 0.74 and f(k) < k above: the client spread is above the hedge spread where hedges are cheap, and
below it where they are expensive. Inventory PnL does not enter: risk itself is not priced. Jumps, volatility clustering
and drift change the result only through the distributions of trades and spreads.

The cost of risk is given by `hurdle`: the client spread per unit at which the mean PnL of that hedger, less a risk
aversion times its inventory PnL squared, is zero.

The distributions of q, n and the spreads are sampled from the market itself, so the sampling error is the only error.
Units: currency and units of trade.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray, as_arrays
from twosided.core.optimum import NotExact
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.validation import check
from twosided.hedging.exact import HedgingTable
from twosided.hedging.hedgers import FullHedger
from twosided.hedging.market import HedgingMarket
from twosided.hedging.rewards import PriceOfRisk

Estimate = tuple[float, float]
"""A value and its standard error."""

MIN_STEPS = 30
"""Smallest number of sampled steps for a position to have its own skew; rarer positions use that of the nearest one."""


@dataclass(frozen=True, eq=False)
class PriceOfRiskOptimum:
    """Optimum of the price-of-risk reward, with standard errors."""

    client_spread: Estimate
    """Half-spread to clients after the skew, mean of both sides and of all steps; in currency."""
    unskewed_spread: float
    """Half-spread to clients before the skew; in currency."""
    exchange_spread: float
    """Half-spread of the exchange, mean of both sides; in currency."""
    mismatch: Estimate
    """E|spread PnL + hedge PnL| per step; in currency."""
    hedge_cost: Estimate
    """Cost of hedges per unit traded with clients; in currency."""
    inventory_loss: Estimate
    """Mean loss of inventory per unit traded with clients, in currency; 0 without drift."""
    inventory_square: Estimate
    """Mean inventory PnL squared per unit traded with clients; in currency squared."""
    positions: FloatArray
    """q, in whole units."""
    skew: FloatArray
    """Skew at each position; negative tightens the bid, positive the ask."""

    def hurdle(self, risk_aversion: float = 0.0) -> Estimate:
        """Return the client spread per unit that compensates for hedges, drift and risk, in currency.

        `risk_aversion` is per unit of currency. The standard error treats the three parts as independent.
        """
        square, error = self.inventory_square
        parts = (self.hedge_cost, self.inventory_loss, (risk_aversion * square, risk_aversion * error))
        return sum(value for value, _ in parts), math.hypot(*(error for _, error in parts))

    def policy(self, max_hedge: float) -> HedgingTable:
        """Return the optimal policy, with hedges within ± max_hedge."""
        return HedgingTable(
            min_position=jnp.asarray(self.positions[0], jnp.float32),
            volatility_edges=jnp.zeros(0),
            trend_edges=jnp.zeros((1, 0)),
            hedge=jnp.asarray(-np.clip(self.positions, -max_hedge, max_hedge)[None], jnp.float32),
            skew=jnp.asarray(self.skew[None], jnp.float32),
        )


def price_of_risk(scenario: Scenario, num_paths: int = 2000, seed: int = 0) -> PriceOfRiskOptimum:
    """Return the optimum of a hedging market with a price-of-risk reward, from a sample of `num_paths` episodes.

    Raises NotExact for other markets and rewards, gross flow, elastic demand, and a maker that cannot skew.
    """
    market, reward = scenario.market, scenario.reward
    check("num_paths", num_paths, "at least 2", num_paths >= 2)
    if not isinstance(market, HedgingMarket) or not isinstance(reward, PriceOfRisk):
        raise NotExact("the price of risk is derived for HedgingMarket and the reward PriceOfRisk")
    if market.gross or float(market.elasticity) != 0 or not market.allow_skew:
        raise NotExact("the price of risk is derived for a skew, netted clients and inelastic demand")
    sample = {
        name: np.asarray(values, float)
        for name, values in _sample(as_arrays(scenario), jax.random.key(seed), num_paths).items()
    }
    q, net, cost, bid, ask = (sample[name] for name in ("position", "net", "cost", "bid", "ask"))
    positions, index = _group_positions(q)
    skew = np.zeros(positions.size)
    order = np.argsort(index, axis=None, kind="stable")
    for i, steps in enumerate(np.split(order, np.cumsum(np.bincount(index.ravel()))[:-1])):
        n, h, sides = net.flat[steps], cost.flat[steps], (bid.flat[steps], ask.flat[steps])
        (bid_skew, bid_gain), (ask_skew, ask_gain) = (
            _best_skew(h[traded], np.abs(n)[traded] * side[traded])
            for traded, side in zip((n > 0, n < 0), sides, strict=True)
        )
        skew[i] = -bid_skew if bid_gain > ask_gain else ask_skew
    s = skew[index]
    spread_pnl = np.where(net > 0, net * bid * (1 - np.maximum(-s, 0)), -net * ask * (1 - np.maximum(s, 0)))
    trades = np.abs(net)
    return PriceOfRiskOptimum(
        client_spread=_mean((bid + ask) / 2 * (1 - np.abs(s) / 2)),
        unskewed_spread=float((bid + ask).mean() / 2),
        exchange_spread=float(sample["exchange"].mean()),
        mismatch=_mean(np.abs(spread_pnl - cost)),
        hedge_cost=_ratio(cost, trades),
        inventory_loss=_ratio(-sample["inventory"], trades),
        inventory_square=_ratio(sample["square"], trades),
        positions=positions,
        skew=skew,
    )


def spread_share(ratio: float) -> float:
    """Return f(k), the share of its spread that the maker quotes for normal trades, with k = `ratio` of the exchange's
    spread to the client spread."""
    check("ratio", ratio, "positive", ratio > 0)
    c = ratio / math.sqrt(2 * math.log(2))
    expected_min = c * math.sqrt(2 / math.pi) * -math.expm1(-1 / (2 * c * c)) + math.erfc(
        1 / (c * math.sqrt(2))
    )
    return (1 + expected_min) / 2


def weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """Return the smallest m such that values up to m have half of the weight, a minimiser of Σ weight |value - m|."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _best_skew(cost: FloatArray, unskewed: FloatArray) -> tuple[float, float]:
    """Return the optimal |s| of a side, given hedge costs and unskewed spread PnL in the steps with trades on that
    side, and the reduction of the total mismatch."""
    unskewed, cost = unskewed[unskewed > 0], cost[unskewed > 0]
    if not unskewed.size:
        return 0.0, 0.0
    share = min(weighted_median(cost / unskewed, unskewed), 1.0)
    return 1 - share, float((np.abs(unskewed - cost) - np.abs(share * unskewed - cost)).sum())


def _group_positions(q: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return the contiguous whole positions around 0 with enough steps, and the index of each step's position in
    them."""
    whole = np.rint(q).astype(int)
    values, counts = np.unique(whole, return_counts=True)
    frequent = values[counts >= MIN_STEPS]
    low, high = (int(frequent.min()), int(frequent.max())) if frequent.size else (0, 0)
    # The range ends before the first rare position on either side of 0.
    rare = np.setdiff1d(np.arange(low, high + 1), frequent)
    low = max(low, int(rare[rare < 0].max(initial=low - 1)) + 1)
    high = min(high, int(rare[rare > 0].min(initial=high + 1)) - 1)
    return np.arange(low, high + 1.0), np.clip(whole, low, high) - low


def _mean(x: FloatArray) -> Estimate:
    """Return the mean of (time, paths), with its standard error from independent paths."""
    by_path = x.mean(0)
    return float(by_path.mean()), float(by_path.std(ddof=1) / math.sqrt(by_path.size))


def _ratio(x: FloatArray, y: FloatArray) -> Estimate:
    """Return the ratio of two means, with its standard error by linearisation."""
    value = x.mean() / y.mean()
    return float(value), _mean((x - value * y) / y.mean())[1]


@eqx.filter_jit
def _sample(scenario: Scenario, key: jax.Array, num_paths: int) -> dict[str, jax.Array]:
    """Return the steps of a full hedger that does not skew; (time, paths)."""

    def record(observation: object, state: object, step: Step) -> dict[str, jax.Array]:
        transition, quotes = step.transition, step.transition.quotes
        return {
            "position": transition.held[0],
            "net": transition.bought[0] - transition.sold[0],
            "cost": -transition.pnl.hedge[0],
            "bid": (quotes.mid - quotes.bid)[0],
            "ask": (quotes.ask - quotes.mid)[0],
            "exchange": (quotes.exchange_ask - quotes.exchange_bid)[0] / 2,  # pyright: ignore[reportOperatorIssue]
            "inventory": transition.expected_inventory_pnl[0],
            "square": transition.extras.expected_inventory_square[0],
        }

    return episodes(scenario, FullHedger(), key, num_paths, record)
