"""The best hedge and skew of a dealer in the hedging market, by dynamic programming over position and the last prices.

Before a step the maker holds q and has seen the bin i of the last prices, their volatility and trend (client_flow.py).
It chooses what to hold after its hedge, u, within max_hedge of q, and a skew s. Backwards from the end of an episode,
V_H = 0,

    V(q, i) = max over u, s of  S_i(s) - c_i |u - q| + Σ_j P_ij Σ_n K_ij(n) f(u - s m_i + n, j) - α q² E[ΔP²]

    f = V - penalty
    S_i(s)    E of what clients pay, each side's spread less its skew        c_i   E[ν δ] of the exchange
    m_i       units that a full skew moves                                   K_ij  the law of net trades

Beyond `breach` limits the market ends, with the reward's charge and nothing after it. For the price of risk
S_i(s) - c_i |u - q| stands in |·|, with a minus sign, its mean taken over n and both spreads.

What is not exact: the bins are taken for a chain; hedges are whole units, skews on a grid, V between positions on
lines; bins come from a sample. A policy that sees the position alone is the same program with one bin, judged in the
chain of all bins: what it loses is what seeing more is worth. What either is worth in the market itself is for
`evaluate` to say, and bounds the optimum from below.

Units: positions in units of trade, values in currency a step.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float
from numpy.typing import NDArray

from twosided.core.optimum import NotExact
from twosided.core.policy import StatelessPolicy
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.hedging.client_flow import WEIGHTS, Array, PriceBins, price_bins
from twosided.hedging.market import HedgingAction, HedgingMarket
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk


@dataclass(frozen=True, eq=False, kw_only=True)
class HedgingOptimum:
    """The optimum, and what a maker does that reaches it."""

    value: float
    """Mean reward a step of an episode from no position, seeing volatility and trend; in currency."""
    position_value: float
    """The same of the best policy found that sees the position alone."""
    refinement: float
    """By how much `value` changed with the last doubling of volatility's bins."""
    position: Array
    """q, in units."""
    hedge: Array
    """Units to buy at each position, seeing it alone."""
    skew: Array
    """At each position, seeing it alone; 0 where the maker cannot skew."""
    policy: "HedgingTable"
    """Sees the position alone."""
    informed: "HedgingTable"
    """Sees volatility and trend too; for a market that shows them."""


class HedgingTable(StatelessPolicy):
    """Hedges and skews by tables over position and, where there are several bins, volatility."""

    first: Float[JaxArray, ""]
    """The lowest position of the tables, in units; they go on in steps of 1."""
    volatility_edges: Float[JaxArray, "volatilities-1"]
    """Between bins of σ_roll / σ_mean."""
    trend_edges: Float[JaxArray, "volatilities trends-1"]
    """Between bins of the trend, for each of volatility."""
    hedge: Float[JaxArray, "bins positions"]
    """Units to buy."""
    skew: Float[JaxArray, "bins positions"] | None
    """None where the maker cannot skew."""

    def act(self, shock, memory, observation):
        row = self._row(observation)
        place = jnp.clip(observation.inventory - self.first, 0, self.hedge.shape[1] - 1)
        low = jnp.minimum(place.astype(jnp.int32), self.hedge.shape[1] - 2)

        def between(table):
            return table[row, low] + (place - low) * (table[row, low + 1] - table[row, low])

        dtype = observation.inventory.dtype
        skew = None if self.skew is None else between(self.skew).astype(dtype)
        return HedgingAction(between(self.hedge).astype(dtype), skew), memory

    def _row(self, observation):
        """The bin, from what is seen; with one bin nothing is looked at."""
        if self.hedge.shape[0] == 1:
            return 0
        of_v = (observation.volatility >= self.volatility_edges).sum()
        trends = self.trend_edges.shape[1] + 1
        return of_v * trends + (observation.trend >= self.trend_edges[of_v]).sum()


def hedging_optimum(
    scenario: Scenario,
    *,
    volatilities: int = 6,
    trends: int = 5,
    skews: int = 21,
    paths: int = 2048,
    seed: int = 0,
) -> HedgingOptimum:
    """The optimum of a hedging market for TotalPnL, PositionPenalty or PriceOfRisk. Raises NotExact.

    Volatility has so many bins, an even number, and each of them so many of the trend, from a sample of so many
    episodes; skews are tried on a grid.
    """
    check("volatilities", volatilities, "even and at least 2", volatilities >= 2 and volatilities % 2 == 0)
    check("trends", trends, "at least 1", trends >= 1)
    check("skews", skews, "odd and at least 3", skews >= 3 and skews % 2 == 1)
    market, reward, horizon = scenario.market, scenario.reward, scenario.horizon
    if not isinstance(market, HedgingMarket):
        raise NotExact(
            f"the program over position is for the hedging market, not for {type(market).__name__}"
        )
    grid = np.linspace(-1, 1, skews) if market.skews else np.zeros(1)
    programs = [
        _Program.of(market, reward, price_bins(market, horizon, *number, paths, seed), grid)
        for number in ((1, 1), (volatilities // 2, trends), (volatilities, trends))
    ]
    alone, coarse, fine = (program.solve(horizon) for program in programs)
    finest = programs[2]
    zero = finest.position.size // 2
    judged = finest.judge(
        horizon, *(np.broadcast_to(t, (finest.flow.number, t.shape[1])) for t in (alone.hedge, alone.skew))
    )
    first = finest.flow.first
    return HedgingOptimum(
        value=float(fine.value[:, zero] @ first / horizon),
        position_value=float(judged[:, zero] @ first / horizon),
        refinement=float(fine.value[:, zero] @ first - coarse.value[:, zero] @ programs[1].flow.first)
        / horizon,
        position=finest.position,
        hedge=alone.hedge[0],
        skew=alone.skew[0],
        policy=_table(programs[0], alone, market.skews),
        informed=_table(finest, fine, market.skews),
    )


@dataclass(frozen=True, eq=False)
class _Solution:
    """Tables over bins and positions."""

    value: Array
    """V_0: the whole of an episode."""
    hedge: Array
    """Of the first of many steps."""
    skew: Array


@dataclass(frozen=True, eq=False)
class _Program:
    """All that the recursion needs."""

    flow: PriceBins
    position: Array
    """Where the market goes on, in steps of 1."""
    beyond: Array
    """And where a step can lead from there."""
    penalty: Array
    """At `beyond`, the charge at a breach included."""
    alive: NDArray[np.bool_]
    """Where of `beyond` the market goes on."""
    square: Array
    """α q² E[ΔP²] at `position`."""
    most: int
    """Largest hedge, whole units."""
    skews: Array
    laws: NDArray[np.complex128]
    """[i, j, ...]: P_ij times the transform of K_ij turned round, for convolutions."""
    moved: Array
    """m_i."""
    cost: Array
    """c_i."""
    clients: Array
    """[i, s]: S_i(s)."""
    unequal: Array | None
    """[i, units hedged, s]: E|S - cost|, for the price of risk."""

    @classmethod
    def of(cls, market: HedgingMarket, reward: Reward, flow: PriceBins, skews: Array) -> "_Program":
        reach = int(float(market.breach) * float(market.max_position))
        pad = flow.width + int(np.ceil(flow.moved.max())) + 1
        position, beyond = (np.arange(-r, r + 1.0) for r in (reach, reach + pad))
        alive = np.abs(beyond) <= reach
        penalty, square = np.zeros(beyond.size), np.zeros(position.size)
        if isinstance(reward, PositionPenalty | PriceOfRisk):
            if reward.relative:
                raise NotExact(
                    "the program is of the whole penalty; leave `relative` off: the optimum is the same"
                )
            limit = float(reward.limit)
            penalty = float(reward.weight) * float(reward.price) * limit * np.expm1(np.abs(beyond) / limit)
            penalty = np.where(alive, penalty, penalty / (1 - float(reward.discount)))
            square = float(reward.variance) * flow.square * position**2
        elif not isinstance(reward, TotalPnL):
            raise NotExact(f"no optimum over position is known for the reward {type(reward).__name__}")
        most = int(float(market.max_hedge))
        unequal = _unequal(flow, skews, most) if isinstance(reward, PriceOfRisk) else None
        if unequal is not None and (market.gross or float(market.elasticity) != 0):
            raise NotExact("the price of risk is known for netted clients whose demand is not elastic")
        moved, cost = flow.moves @ flow.moved, flow.moves @ flow.exchange
        clients = _paid(flow, moved, skews, market.gross)
        laws = flow.moves[:, :, None] * np.fft.rfft(flow.joint[:, :, ::-1], _size(beyond))
        return cls(
            flow, position, beyond, penalty, alive, square, most, skews, laws, moved, cost, clients, unequal
        )

    def solve(self, horizon: int) -> _Solution:
        """Backwards; the actions are those of the first step."""
        value = np.zeros((self.flow.number, self.position.size))
        hedge = skew = value
        for step in range(horizon):
            value, hedge, skew = self._best(value, last=step == horizon - 1)
        return _Solution(value, hedge, skew)

    def judge(self, horizon: int, hedge: Array, skew: Array) -> Array:
        """V_0 of a policy that is given as tables over bins and positions."""
        flow, value = self.flow, np.zeros((self.flow.number, self.position.size))
        rows = range(flow.number)
        amount = np.abs(hedge)
        for _ in range(horizon):
            after = self._after(value)
            at = self.position + hedge - skew * self.moved[:, None]
            kept = np.stack([np.interp(at[i], self.position, after[i]) for i in rows])
            earned = np.stack([self._earned(i, amount[i], skew[i]) for i in rows])
            value = kept + earned - self.square
        return value

    def _earned(self, i: int, amount: Array, skew: Array) -> Array:
        """What is earned of clients and paid for hedges in a step from bin i."""
        place = np.interp(skew, self.skews, np.arange(self.skews.size))
        low = np.minimum(place.astype(int), max(self.skews.size - 2, 0))
        high, part = np.minimum(low + 1, self.skews.size - 1), place - low
        if self.unequal is None:
            table = self.clients[i]
            return table[low] + part * (table[high] - table[low]) - self.cost[i] * amount
        table, units = self.unequal[i], np.rint(amount).astype(int)
        return -(table[units, low] + part * (table[units, high] - table[units, low]))

    def _after(self, value: Array) -> Array:
        """[i, u]: Σ_j P_ij Σ_n K_ij(n) f(u + n, j) at `position`."""
        pad = (self.beyond.size - self.position.size) // 2
        worth = np.pad(value, ((0, 0), (pad, pad))) * self.alive - self.penalty
        size, first = _size(self.beyond), pad + self.flow.width
        mixed = np.einsum("ijk,jk->ik", self.laws, np.fft.rfft(worth, size))
        return np.fft.irfft(mixed, size)[:, first : first + self.position.size]

    def _best(self, value: Array, last: bool) -> tuple[Array, Array, Array]:
        """One step back; the actions only if asked for."""
        flow, after, size = self.flow, self._after(value), self.position.size
        best, hedge, skew = (np.zeros((flow.number, size)) for _ in range(3))
        kept = np.empty((self.skews.size, flow.number, size))
        for index, s in enumerate(self.skews):
            at = self.position - s * self.moved[:, None]
            kept[index] = np.stack([np.interp(x, self.position, y) for x, y in zip(at, after, strict=True)])
        if self.unequal is None:
            kept += self.clients.T[:, :, None]
            chosen = kept.argmax(0)
            kept = kept.max(0)[None]
            cost = (self.cost[:, None] * np.arange(self.most + 1.0))[None]
        else:
            chosen, cost = None, np.moveaxis(self.unequal, -1, 0)
        found = np.full((flow.number, size), -np.inf)
        for units in range(-self.most, self.most + 1):
            here = slice(max(0, -units), size - max(0, units))
            there = slice(max(0, units), size - max(0, -units))
            worth = kept[:, :, there] - cost[:, :, [abs(units)]]
            top = worth.max(0)
            better = top > found[:, here]
            found[:, here] = np.where(better, top, found[:, here])
            if last:
                hedge[:, here] = np.where(better, units, hedge[:, here])
                at = worth.argmax(0) if chosen is None else chosen[:, there]
                skew[:, here] = np.where(better, self.skews[at], skew[:, here])
        best = found - self.square
        return best, hedge, skew


def _size(beyond: Array) -> int:
    """Of the transforms: nothing that leaves one end of the positions comes in at the other."""
    return 2 ** int(np.ceil(np.log2(2 * beyond.size)))


def _paid(flow: PriceBins, moved: Array, skews: Array, gross: bool) -> Array:
    """[i, s]: E of what clients pay; spreads are independent of n given the bin that a step ends in."""
    out = np.empty((flow.number, skews.size))
    for i in range(flow.number):
        weight = flow.moves[i] * flow.client
        for index, s in enumerate(skews):
            bid, ask, joins = 1 - max(-s, 0.0), 1 - max(s, 0.0), s * moved[i]
            if gross:
                bought, sold = flow.sell + max(-joins, 0.0), flow.buy + max(joins, 0.0)
            else:
                net = flow.units - joins
                bought, sold = flow.joint[i] @ np.maximum(net, 0), flow.joint[i] @ np.maximum(-net, 0)
            out[i, index] = weight @ (bought * bid + sold * ask)
    return out


def _unequal(flow: PriceBins, skews: Array, most: int) -> Array:
    """[i, a, s]: E|what clients pay - |a| c|, demand not elastic."""
    out = np.empty((flow.number, most + 1, skews.size))
    cost_weight = WEIGHTS[:, None] * WEIGHTS
    for j in range(flow.number):
        cost = np.arange(most + 1.0)[:, None] * flow.exchange_nodes[j]
        some = flow.net[j] > 1e-9
        units, chance = flow.units[some], flow.net[j][some]
        for index, s in enumerate(skews):
            side = np.where(units > 0, 1 - max(-s, 0.0), 1 - max(s, 0.0))
            paid = (np.abs(units) * side)[:, None] * flow.client_nodes[j]
            apart = np.abs(paid[:, None, :, None] - cost[None, :, None, :])
            out[j, :, index] = np.einsum("n,nacd,cd->a", chance, apart, cost_weight)
    return np.einsum("ij,jas->ias", flow.moves, out)


def _table(program: _Program, solution: _Solution, skews: bool) -> HedgingTable:
    return HedgingTable(
        first=jnp.asarray(program.position[0], jnp.float32),
        volatility_edges=jnp.asarray(program.flow.volatility_edges, jnp.float32),
        trend_edges=jnp.asarray(program.flow.trend_edges, jnp.float32),
        hedge=jnp.asarray(solution.hedge, jnp.float32),
        skew=jnp.asarray(solution.skew, jnp.float32) if skews else None,
    )
