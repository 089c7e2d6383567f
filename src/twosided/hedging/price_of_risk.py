"""Where the price-of-risk reward puts the client spread (Bakshaev 2020, section 6, eq. 32), derived.

A step is paid -|P - H| and inventory PnL, less a penalty on the position: P is what clients pay over the midprice, H
what the hedge costs. Demand is not elastic, so a skew moves no trade, now or later: it is chosen for each step alone.
The penalty's slope, γ S_0 and more a unit, is far above what a unit's hedge costs, so all is hedged that can be,
a = -clip(q, ±most), whatever is earned. That leaves, with n the net trade and |s| the skew of the side it tightens,

    P = |n| ν_c δ (1 - |s|) where n comes to that side, else |n| ν_c δ,      H = |a(q)| ν_x δ_x

and the best |s| given q is the least of E[W |1 - |s| - H / W|] over the trades of that side, W = |n| ν_c δ:

    1 - |s(q)| = min(1, the median of H / W given q, weighted by W)

on the side whose least is smaller. It is a median, not a mean, and only one side is ever tightened. So nothing makes
the mean client spread that of the hedge. For normal trades of deviation σ, spreads that stand still and k = ν_x / ν_c
the median is k |a| / (σ √(2 log 2)), and the share of its spread that the maker asks for, mean of both sides, hedges
not cut and z = |a| / σ half-normal, is

    f(k) = 1/2 + 1/2 E[min(c z, 1)],   c = k / √(2 log 2),   E[min(c z, 1)] = c √(2/π) (1 - e^{-1/2c²}) + erfc(1 / c√2)

f(k) > k up to k = 0.74 and f(k) < k above: the client's spread is above the hedge's where hedges are cheap, and below
it where they are not. Inventory PnL has no part in any of it: risk itself is not priced. Jumps, volatility that
clusters and drift change the answer only as far as they change the law of trades and spreads.

What risk would cost is `hurdle`: what clients must pay a unit for the PnL of that hedger, less an aversion times its
inventory PnL squared, to be nothing.

The laws of q, n and the spreads are sampled in the market itself, which is exact but for the sample. Units: currency
and units of trade.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from twosided.core.numeric import as_arrays
from twosided.core.optimum import NotExact
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario, Step
from twosided.core.validation import check
from twosided.hedging.exact import HedgingTable
from twosided.hedging.hedgers import FullHedger
from twosided.hedging.market import HedgingMarket
from twosided.hedging.rewards import PriceOfRisk

Array = NDArray[np.float64]
Estimate = tuple[float, float]
"""A value and its standard error."""

FEWEST = 30
"""Sampled steps that a position needs to have a skew of its own; rarer ones take the nearest position's."""


@dataclass(frozen=True, eq=False)
class RiskPrice:
    """The optimum of a price-of-risk reward."""

    asked: Estimate
    """The maker's half-spread to clients after its skew, mean of both sides and of all steps."""
    unskewed: float
    """And before it."""
    exchange: float
    """The exchange's half-spread, mean of both sides."""
    missed: Estimate
    """E|client PnL + hedge PnL| of a step."""
    cost: Estimate
    """What hedges cost, a unit that is traded with clients."""
    loss: Estimate
    """What inventory loses on average, a unit likewise; 0 without drift."""
    square: Estimate
    """E of inventory PnL squared, a unit likewise; in currency squared."""
    positions: Array
    """q, in whole units."""
    skew: Array
    """At each; below 0 the bid is tightened, above 0 the ask."""

    def hurdle(self, risk_aversion: float = 0.0) -> Estimate:
        """What clients must pay a unit; errors as if of independent parts. `aversion` is per unit of currency."""
        parts = (self.cost, self.loss, (risk_aversion * self.square[0], risk_aversion * self.square[1]))
        return sum(value for value, _ in parts), math.hypot(*(error for _, error in parts))

    def policy(self, most: float) -> HedgingTable:
        """The maker that plays it, its hedges within ± most."""
        return HedgingTable(
            first=jnp.asarray(self.positions[0], jnp.float32),
            volatility_edges=jnp.zeros(0),
            trend_edges=jnp.zeros((1, 0)),
            hedge=jnp.asarray(-np.clip(self.positions, -most, most)[None], jnp.float32),
            skew=jnp.asarray(self.skew[None], jnp.float32),
        )


def price_of_risk(scenario: Scenario, paths: int = 2000, seed: int = 0) -> RiskPrice:
    """The optimum of a hedging market with a price-of-risk reward, from so many episodes. Raises NotExact."""
    market, reward = scenario.market, scenario.reward
    check("paths", paths, "at least 2", paths >= 2)
    if not isinstance(market, HedgingMarket) or not isinstance(reward, PriceOfRisk):
        raise NotExact("the price of risk is derived for the hedging market and its own reward")
    if market.gross or float(market.elasticity) != 0 or not market.skews:
        raise NotExact(
            "the price of risk is derived for a skew, netted clients and demand that is not elastic"
        )
    sample = {
        name: np.asarray(values, float)
        for name, values in _sample(as_arrays(scenario), jax.random.key(seed), paths).items()
    }
    q, net, cost, bid, ask = (sample[name] for name in ("position", "net", "cost", "bid", "ask"))
    positions, place = _positions(q)
    skew = np.zeros(positions.size)
    order = np.argsort(place, axis=None, kind="stable")
    for index, steps in enumerate(np.split(order, np.cumsum(np.bincount(place.ravel()))[:-1])):
        n, h, sides = net.flat[steps], cost.flat[steps], (bid.flat[steps], ask.flat[steps])
        below, above = (
            _tightened(h[hit], np.abs(n)[hit] * side[hit])
            for hit, side in zip((n > 0, n < 0), sides, strict=True)
        )
        skew[index] = -below[0] if below[1] > above[1] else above[0]
    s = skew[place]
    paid = np.where(net > 0, net * bid * (1 - np.maximum(-s, 0)), -net * ask * (1 - np.maximum(s, 0)))
    trades = np.abs(net)
    return RiskPrice(
        asked=_mean((bid + ask) / 2 * (1 - np.abs(s) / 2)),
        unskewed=float((bid + ask).mean() / 2),
        exchange=float(sample["exchange"].mean()),
        missed=_mean(np.abs(paid - cost)),
        cost=_ratio(cost, trades),
        loss=_ratio(-sample["inventory"], trades),
        square=_ratio(sample["square"], trades),
        positions=positions,
        skew=skew,
    )


def share_asked(ratio: float) -> float:
    """f(k) of normal trades: what the maker asks for, over its spread; `ratio` is that of the exchange's to it."""
    check("ratio", ratio, "positive", ratio > 0)
    c = ratio / math.sqrt(2 * math.log(2))
    cut = c * math.sqrt(2 / math.pi) * -math.expm1(-1 / (2 * c * c)) + math.erfc(1 / (c * math.sqrt(2)))
    return (1 + cut) / 2


def weighted_median(values: Array, weights: Array) -> float:
    """The least m at which values up to it have half of the weight: the minimiser of Σ weight |value - m|."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _tightened(cost: Array, unskewed: Array) -> tuple[float, float]:
    """|s| of a side, from the steps on which trades come to it, and how much less is missed with it than without."""
    unskewed, cost = unskewed[unskewed > 0], cost[unskewed > 0]
    if not unskewed.size:
        return 0.0, 0.0
    left = min(weighted_median(cost / unskewed, unskewed), 1.0)
    return 1 - left, float((np.abs(unskewed - cost) - np.abs(left * unskewed - cost)).sum())


def _positions(q: Array) -> tuple[Array, NDArray[np.intp]]:
    """Whole positions without a gap, as far as there are steps enough, and the place of every step's among them."""
    whole = np.rint(q).astype(int)
    values, counts = np.unique(whole, return_counts=True)
    often = values[counts >= FEWEST]
    low, high = (int(often.min()), int(often.max())) if often.size else (0, 0)
    # As far as from 0 on no position is rare.
    rare = np.setdiff1d(np.arange(low, high + 1), often)
    low = max(low, int(rare[rare < 0].max(initial=low - 1)) + 1)
    high = min(high, int(rare[rare > 0].min(initial=high + 1)) - 1)
    return np.arange(low, high + 1.0), np.clip(whole, low, high) - low


def _mean(x: Array) -> Estimate:
    """Of (time, paths), by the spread of independent paths."""
    paths = x.mean(0)
    return float(paths.mean()), float(paths.std(ddof=1) / math.sqrt(paths.size))


def _ratio(x: Array, y: Array) -> Estimate:
    value = x.mean() / y.mean()
    return float(value), _mean((x - value * y) / y.mean())[1]


@eqx.filter_jit
def _sample(scenario: Scenario, key: jax.Array, paths: int) -> dict[str, jax.Array]:
    """Of the hedger that hedges all that it sees, without a skew: (time, paths)."""

    def record(observation: object, memory: object, step: Step) -> dict[str, jax.Array]:
        told, quotes = step.transition, step.transition.quotes
        return {
            "position": told.held[0],
            "net": told.bought[0] - told.sold[0],
            "cost": -told.pnl.hedge[0],
            "bid": (quotes.mid - quotes.bid)[0],
            "ask": (quotes.ask - quotes.mid)[0],
            "exchange": (quotes.exchange_ask - quotes.exchange_bid)[0] / 2,  # pyright: ignore[reportOperatorIssue]
            "inventory": told.expected_inventory_pnl[0],
            "square": told.extras.expected_inventory_square[0],
        }

    return episodes(scenario, FullHedger(), key, paths, record)
