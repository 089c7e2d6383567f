"""Optimal hedge and skew in the hedging market, by dynamic programming over position, volatility and trend.

Before a step the maker holds the position q and has observed the bin i of volatility and trend (client_flow.py). It
chooses the position after its hedge, u, within max_hedge of q, and a skew s. Backward induction from the end of an
episode, V_H = 0, gives

    V(q, i) = max over u, s of  S_i(s) - c_i |u - q| + Σ_j P_ij Σ_n K_ij(n) f(u - s m_i + n, j) - α q² E[ΔP²]

    f = V - penalty
    S_i(s)    expected spread PnL, each side's spread less its skew      c_i   E[ν δ] of the exchange
    m_i       units of client trades that a full skew moves              K_ij  distribution of net trades

Beyond breach_multiple · max_position the market terminates, with the reward's charge for a breach. For the price of
risk, S_i(s) - c_i |u - q| is replaced by the expectation of -|spread PnL - hedge cost| over n and both spreads.

Approximations: the bins are taken to be a Markov chain; hedges are whole units, skews are on a grid, and V is linear
between positions; bins come from a sample. A policy that observes the position alone is optimised by the same program
with one bin, and evaluated in the chain of all bins; its shortfall is the value of observing volatility and trend. The
values that either policy attains in the market itself are measured by `evaluate`, and bound the optimum from below. In
the chain of bins, all whole hedges and all skews of the grid are compared, so the optimum over these is proven; in the
market itself it is an approximation, and hedges of fractions of a unit are not searched.

Units: positions in units of trade, values in currency per step.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact, require_finite
from twosided.core.policy import StatelessPolicy
from twosided.core.reward import Reward, TotalPnL
from twosided.core.scenario import Scenario
from twosided.core.validation import check
from twosided.hedging.client_flow import WEIGHTS, PriceBins, price_bins
from twosided.hedging.market import HedgingAction, HedgingMarket
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk

MAX_ROUNDING = 1e-6
"""Largest rounding error of a step, relative to the optimum."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HedgingOptimum:
    """Optimum of a hedging scenario, and policies that attain it."""

    value: float
    """Mean reward per step of an episode from position 0, with volatility and trend observed; in currency."""
    position_value: float
    """Mean reward per step of the best policy found that observes the position alone; in currency."""
    refinement: float
    """Change of `value` by the last doubling of the number of volatility bins."""
    position: FloatArray
    """q, in units."""
    hedge: FloatArray
    """Units to buy at each position, with the position alone observed."""
    skew: FloatArray
    """Skew at each position, with the position alone observed; 0 if the maker cannot skew."""
    policy: "HedgingTable"
    """Policy that observes the position alone."""
    extended_policy: "HedgingTable"
    """Policy that observes volatility and trend too, for a market with `extended_observation`."""


class HedgingTable(StatelessPolicy):
    """Policy given by tables of hedges and skews over position and, with several bins, volatility and trend."""

    min_position: Float[Array, ""]
    """Lowest position of the tables, in units; positions are in steps of 1."""
    volatility_edges: Float[Array, "volatility_edges"]
    """Edges between bins of σ_roll / σ_mean."""
    trend_edges: Float[Array, "volatilities trend_edges"]
    """Edges between bins of the trend, for each bin of volatility."""
    hedge: Float[Array, "bins positions"]
    """Units to buy."""
    skew: Float[Array, "bins positions"] | None
    """Skew in [-1, 1]; None if the maker cannot skew."""

    def act(self, shock, state, observation):
        row = self._row(observation)
        column = jnp.clip(observation.inventory - self.min_position, 0, self.hedge.shape[1] - 1)
        low = jnp.minimum(column.astype(jnp.int32), self.hedge.shape[1] - 2)

        def interpolate(table):
            return table[row, low] + (column - low) * (table[row, low + 1] - table[row, low])

        dtype = observation.inventory.dtype
        skew = None if self.skew is None else interpolate(self.skew).astype(dtype)
        return HedgingAction(interpolate(self.hedge).astype(dtype), skew), state

    def _row(self, observation):
        """Return the bin of the observation. With one bin, only the position is used."""
        if self.hedge.shape[0] == 1:
            return 0
        volatility_bin = (observation.volatility >= self.volatility_edges).sum()
        num_trends = self.trend_edges.shape[1] + 1
        return volatility_bin * num_trends + (observation.trend >= self.trend_edges[volatility_bin]).sum()


def hedging_optimum(
    scenario: Scenario,
    *,
    num_volatilities: int = 6,
    num_trends: int = 5,
    num_skews: int = 21,
    num_paths: int = 2048,
    seed: int = 0,
) -> HedgingOptimum:
    """Return the optimum of a hedging market for the rewards TotalPnL, PositionPenalty and PriceOfRisk.

    `num_volatilities` is the number of volatility bins, which must be even, and `num_trends` the number of trend bins
    in each of them. The bins come from a sample of `num_paths` episodes. `num_skews` is the size of the grid of skews.
    Raises NotExact for other markets, rewards and parameters for which the program does not hold.
    """
    check(
        "num_volatilities",
        num_volatilities,
        "even and at least 2",
        num_volatilities >= 2 and num_volatilities % 2 == 0,
    )
    check("num_trends", num_trends, "at least 1", num_trends >= 1)
    check("num_skews", num_skews, "odd and at least 3", num_skews >= 3 and num_skews % 2 == 1)
    market, reward, horizon = scenario.market, scenario.reward, scenario.horizon
    if not isinstance(market, HedgingMarket):
        raise NotExact(
            f"the dynamic program over position needs a HedgingMarket, but got {type(market).__name__}"
        )
    skews = np.linspace(-1, 1, num_skews) if market.allow_skew else np.zeros(1)
    programs = [
        _Program.build(market, reward, price_bins(market, horizon, *shape, num_paths, seed), skews)
        for shape in ((1, 1), (num_volatilities // 2, num_trends), (num_volatilities, num_trends))
    ]
    position_only, coarse, fine = (program.solve(horizon) for program in programs)
    finest = programs[2]
    zero = finest.position.size // 2
    position_values = finest.evaluate(
        horizon,
        *(
            np.broadcast_to(table, (finest.bins.num_bins, table.shape[1]))
            for table in (position_only.hedge, position_only.skew)
        ),
    )
    initial = finest.bins.initial
    value = float(fine.value[:, zero] @ initial / horizon)
    _require_resolved(value, position_values, finest.penalty)
    return HedgingOptimum(
        value=value,
        position_value=float(position_values[:, zero] @ initial / horizon),
        refinement=float(fine.value[:, zero] @ initial - coarse.value[:, zero] @ programs[1].bins.initial)
        / horizon,
        position=finest.position,
        hedge=position_only.hedge[0],
        skew=position_only.skew[0],
        policy=_policy(programs[0], position_only, market.allow_skew),
        extended_policy=_policy(finest, fine, market.allow_skew),
    )


def _require_resolved(value: float, position_values: FloatArray, penalty: FloatArray) -> None:
    """Raise NotExact if the penalty is so steep that rounding exceeds MAX_ROUNDING.

    Probabilities of rare client trades, and the convolutions with them, have absolute errors of the rounding of
    float64, which count as much as the largest penalty that a step can reach.
    """
    require_finite("the optimal hedge", value, position_values)
    rounding = float(np.finfo(float).eps) * float(np.abs(penalty).max())
    if rounding > MAX_ROUNDING * abs(value):
        raise NotExact(
            "the dynamic program over position is not resolved: the penalty of the positions that one step can reach "
            f"is {float(np.abs(penalty).max()):.2g}, against an optimum of {value:.2g} per step"
        )


@dataclass(frozen=True, eq=False)
class _Solution:
    """Solution of the dynamic program; tables over bins and positions."""

    value: FloatArray
    """V_0, the total reward of an episode."""
    hedge: FloatArray
    """Hedge in the first step of the episode, in units."""
    skew: FloatArray
    """Skew in the first step of the episode."""


@dataclass(frozen=True, eq=False)
class _Program:
    """Inputs of the dynamic program, and the recursion."""

    bins: PriceBins
    position: FloatArray
    """Positions at which the market continues, in steps of 1."""
    reachable: FloatArray
    """Positions that one step can reach from these."""
    penalty: FloatArray
    """Penalty at the reachable positions, including the charge for a breach."""
    active: NDArray[np.bool_]
    """Whether the market continues at each reachable position."""
    variance_penalty: FloatArray
    """α q² E[ΔP²] at `position`."""
    max_hedge: int
    """Largest hedge, in whole units."""
    skews: FloatArray
    """Grid of skews."""
    kernels: NDArray[np.complex128]
    """[i, j, ...]: P_ij times the Fourier transform of the reversed K_ij, for convolutions."""
    skew_volume: FloatArray
    """m_i."""
    hedge_cost: FloatArray
    """c_i."""
    spread_pnl: FloatArray
    """[i, s]: S_i(s)."""
    mismatch: FloatArray | None
    """[i, units hedged, s]: E|spread PnL - hedge cost|, for the price of risk."""

    @classmethod
    def build(cls, market: HedgingMarket, reward: Reward, bins: PriceBins, skews: FloatArray) -> "_Program":
        """Compute the inputs of the program. Raises NotExact if it does not hold for the market or the reward."""
        limit = int(float(market.breach_multiple) * float(market.max_position))
        padding = bins.max_net + int(np.ceil(bins.skew_volume.max())) + 1
        position, reachable = (np.arange(-r, r + 1.0) for r in (limit, limit + padding))
        active = np.abs(reachable) <= limit
        penalty, variance_penalty = np.zeros(reachable.size), np.zeros(position.size)
        if isinstance(reward, PositionPenalty | PriceOfRisk):
            if reward.subtract_baseline:
                raise NotExact(
                    "the dynamic program needs the whole penalty: turn off `subtract_baseline`, which does not change"
                    " the optimum"
                )
            scale = float(market.max_position if reward.max_position is None else reward.max_position)
            with np.errstate(over="ignore"):
                growth = np.expm1(np.abs(reachable) / scale)
            penalty = float(reward.weight) * float(market.price.initial) * scale * growth
            require_finite("the penalty of the positions that one step can reach", penalty)
            penalty = np.where(active, penalty, penalty / (1 - float(reward.discount)))
            variance_penalty = float(reward.variance_weight) * bins.mean_square_change * position**2
        elif not isinstance(reward, TotalPnL):
            raise NotExact(f"no optimum over position is known for the reward {type(reward).__name__}")
        max_hedge = int(float(market.max_hedge))
        mismatch = _mismatch(bins, skews, max_hedge) if isinstance(reward, PriceOfRisk) else None
        if mismatch is not None and (market.gross or float(market.elasticity) != 0):
            raise NotExact("the price of risk is known for netted clients with inelastic demand")
        skew_volume = bins.transition @ bins.skew_volume
        hedge_cost = bins.transition @ bins.exchange_spread
        spread_pnl = _spread_pnl(bins, skew_volume, skews, market.gross)
        kernels = bins.transition[:, :, None] * np.fft.rfft(
            bins.net_trades[:, :, ::-1], _transform_size(reachable)
        )
        return cls(
            bins,
            position,
            reachable,
            penalty,
            active,
            variance_penalty,
            max_hedge,
            skews,
            kernels,
            skew_volume,
            hedge_cost,
            spread_pnl,
            mismatch,
        )

    def solve(self, horizon: int) -> _Solution:
        """Solve by backward induction. The actions are those of the first step."""
        value = np.zeros((self.bins.num_bins, self.position.size))
        hedge = skew = value
        for step in range(horizon):
            value, hedge, skew = self._bellman_step(value, with_actions=step == horizon - 1)
        return _Solution(value, hedge, skew)

    def evaluate(self, horizon: int, hedge: FloatArray, skew: FloatArray) -> FloatArray:
        """Return V_0 of a policy given by tables over bins and positions."""
        bins, value = self.bins, np.zeros((self.bins.num_bins, self.position.size))
        rows = range(bins.num_bins)
        amount = np.abs(hedge)
        for _ in range(horizon):
            continuation = self._continuation(value)
            target = self.position + hedge - skew * self.skew_volume[:, None]
            continued = np.stack([np.interp(target[i], self.position, continuation[i]) for i in rows])
            pnl = np.stack([self._step_pnl(i, amount[i], skew[i]) for i in rows])
            value = continued + pnl - self.variance_penalty
        return value

    def _step_pnl(self, i: int, amount: FloatArray, skew: FloatArray) -> FloatArray:
        """Return the expected spread PnL less hedge cost of a step from bin i (for the price of risk, minus the
        mismatch)."""
        index = np.interp(skew, self.skews, np.arange(self.skews.size))
        low = np.minimum(index.astype(int), max(self.skews.size - 2, 0))
        high, fraction = np.minimum(low + 1, self.skews.size - 1), index - low
        if self.mismatch is None:
            table = self.spread_pnl[i]
            return table[low] + fraction * (table[high] - table[low]) - self.hedge_cost[i] * amount
        table, units = self.mismatch[i], np.rint(amount).astype(int)
        return -(table[units, low] + fraction * (table[units, high] - table[units, low]))

    def _continuation(self, value: FloatArray) -> FloatArray:
        """Return [i, u]: Σ_j P_ij Σ_n K_ij(n) f(u + n, j) at `position`."""
        padding = (self.reachable.size - self.position.size) // 2
        f = np.pad(value, ((0, 0), (padding, padding))) * self.active - self.penalty
        size, start = _transform_size(self.reachable), padding + self.bins.max_net
        transform = np.einsum("ijk,jk->ik", self.kernels, np.fft.rfft(f, size))
        return np.fft.irfft(transform, size)[:, start : start + self.position.size]

    def _bellman_step(
        self, value: FloatArray, with_actions: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the value one step earlier, and with `with_actions` the optimal hedges and skews, otherwise zeros."""
        bins, continuation, size = self.bins, self._continuation(value), self.position.size
        hedge, skew = (np.zeros((bins.num_bins, size)) for _ in range(2))
        by_skew = np.empty((self.skews.size, bins.num_bins, size))
        for index, s in enumerate(self.skews):
            target = self.position - s * self.skew_volume[:, None]
            by_skew[index] = np.stack(
                [np.interp(x, self.position, y) for x, y in zip(target, continuation, strict=True)]
            )
        if self.mismatch is None:
            by_skew += self.spread_pnl.T[:, :, None]
            best_skew = by_skew.argmax(0)
            by_skew = by_skew.max(0)[None]
            cost = (self.hedge_cost[:, None] * np.arange(self.max_hedge + 1.0))[None]
        else:
            best_skew, cost = None, np.moveaxis(self.mismatch, -1, 0)
        best = np.full((bins.num_bins, size), -np.inf)
        for units in range(-self.max_hedge, self.max_hedge + 1):
            before = slice(max(0, -units), size - max(0, units))
            after = slice(max(0, units), size - max(0, -units))
            candidates = by_skew[:, :, after] - cost[:, :, [abs(units)]]
            top = candidates.max(0)
            better = top > best[:, before]
            best[:, before] = np.where(better, top, best[:, before])
            if with_actions:
                hedge[:, before] = np.where(better, units, hedge[:, before])
                index = candidates.argmax(0) if best_skew is None else best_skew[:, after]
                skew[:, before] = np.where(better, self.skews[index], skew[:, before])
        return best - self.variance_penalty, hedge, skew


def _transform_size(reachable: FloatArray) -> int:
    """Return the length of the Fourier transforms, which avoids wrap-around between the ends of the positions."""
    return 2 ** int(np.ceil(np.log2(2 * reachable.size)))


def _spread_pnl(bins: PriceBins, skew_volume: FloatArray, skews: FloatArray, gross: bool) -> FloatArray:
    """Return [i, s]: expected spread PnL. Spreads are independent of n given the bin in which a step ends."""
    out = np.empty((bins.num_bins, skews.size))
    for i in range(bins.num_bins):
        weight = bins.transition[i] * bins.client_spread
        for index, s in enumerate(skews):
            bid, ask, moved = 1 - max(-s, 0.0), 1 - max(s, 0.0), s * skew_volume[i]
            if gross:
                bought, sold = bins.sales + max(-moved, 0.0), bins.purchases + max(moved, 0.0)
            else:
                net = bins.net_units - moved
                bought = bins.net_trades[i] @ np.maximum(net, 0)
                sold = bins.net_trades[i] @ np.maximum(-net, 0)
            out[i, index] = weight @ (bought * bid + sold * ask)
    return out


def _mismatch(bins: PriceBins, skews: FloatArray, max_hedge: int) -> FloatArray:
    """Return [i, a, s]: E|spread PnL - |a| c| for inelastic demand."""
    out = np.empty((bins.num_bins, max_hedge + 1, skews.size))
    cost_weight = WEIGHTS[:, None] * WEIGHTS
    for j in range(bins.num_bins):
        cost = np.arange(max_hedge + 1.0)[:, None] * bins.exchange_spread_nodes[j]
        likely = bins.net_trades_by_end[j] > 1e-9
        units, probability = bins.net_units[likely], bins.net_trades_by_end[j][likely]
        for index, s in enumerate(skews):
            side = np.where(units > 0, 1 - max(-s, 0.0), 1 - max(s, 0.0))
            spread_pnl = (np.abs(units) * side)[:, None] * bins.client_spread_nodes[j]
            difference = np.abs(spread_pnl[:, None, :, None] - cost[None, :, None, :])
            out[j, :, index] = np.einsum("n,nacd,cd->a", probability, difference, cost_weight)
    return np.einsum("ij,jas->ias", bins.transition, out)


def _policy(program: _Program, solution: _Solution, allow_skew: bool) -> HedgingTable:
    return HedgingTable(
        min_position=jnp.asarray(program.position[0], jnp.float32),
        volatility_edges=jnp.asarray(program.bins.volatility_edges, jnp.float32),
        trend_edges=jnp.asarray(program.bins.trend_edges, jnp.float32),
        hedge=jnp.asarray(solution.hedge, jnp.float32),
        skew=jnp.asarray(solution.skew, jnp.float32) if allow_skew else None,
    )
