"""What the last prices decide in a step of the hedging market, as a Markov chain of bins.

Volatility v = σ_roll / σ_mean says how many clients come and what spreads are. The trend w = (S - mean) / σ_roll, over
the same prices, says a little of the side of those who come next: a move that goes on widens σ_roll, and R with it, so
that R λ is not 0 on average. Their own chance is sampled, from the market's price alone, over whole episodes; all that
follows from it is averaged exactly:

    net trades     n ~ Skellam(R max(1 - λ, 0), R max(1 + λ, 0)), by its characteristic function for every sample
    spreads        E[ν δ] and E|·| over the log-normal part, by Gauss-Hermite quadrature

Bins are quantiles of v, and in each of these quantiles of w. That they are a chain is an approximation, since they
depend on the last ten prices: with one bin every step is new. Units: units of trade, currency, a step.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from twosided.core.optimum import NotExact
from twosided.hedging.market import HedgingAction, HedgingMarket
from twosided.hedging.spreads import RollingVolatility, StochasticSpread

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""E f(Z) = Σ weight f(node) for a standard normal Z."""
THINNED = 8
"""One of so many steps of the sample is in the laws of net trades."""


@dataclass(frozen=True, eq=False)
class PriceBins:
    """The chain, and what a step that ends in each bin brings; leading axes are bins."""

    volatility_edges: Array
    """Between the bins of v."""
    trend_edges: Array
    """[bin of v, ...]: between the bins of w."""
    moves: Array
    """[i, j]: the chance that a step from bin i ends in j."""
    first: Array
    """Of an episode's first step ending in each bin."""
    joint: Array
    """[i, j, ...]: law of n on -width..width in a step from bin i to j."""
    net: Array
    """[j, ...]: in any step that ends in j."""
    width: int
    client: Array
    """E[ν δ] of the client's side, currency."""
    exchange: Array
    """E[ν δ] of the exchange's."""
    client_nodes: Array
    """ν δ of the client's side at the quadrature's nodes, at the bin's mean volatility."""
    exchange_nodes: Array
    moved: Array
    """Units that a full skew moves."""
    sell: Array
    """E of what clients sell, units; of the gross flow."""
    buy: Array
    square: float
    """E[ΔP²], currency squared."""

    @property
    def units(self) -> Array:
        """-width..width."""
        return np.arange(-self.width, self.width + 1.0)

    @property
    def number(self) -> int:
        return len(self.moves)


def price_bins(
    market: HedgingMarket, horizon: int, volatilities: int, trends: int, paths: int, seed: int = 0
) -> PriceBins:
    """From a sample of so many episodes. Raises NotExact where the state is more than position and volatility."""
    if market.signal_correlation is not None:
        raise NotExact("with a signal the optimum depends on more than position and volatility")
    if market.clients.smoothing > 1:
        raise NotExact("where clients follow the mean of several returns the optimum depends on these")
    v, level, mean, trend, rate, imbalance, change, square = _sample(market, horizon, paths, seed)
    if abs(change.mean()) > 1e-9 * abs(level).mean():
        raise NotExact("the program over position is for a midprice without drift")
    bins = volatilities * trends
    volatility_edges = np.quantile(v, np.arange(1, volatilities) / volatilities)
    of_v = np.digitize(v, volatility_edges)
    between = np.arange(1, trends) / trends
    trend_edges = np.array([np.quantile(_those(trend, of_v == j), between) for j in range(volatilities)])
    bin_ = of_v * trends + (trend[..., None] >= trend_edges[of_v]).sum(-1)
    moves = np.zeros((bins, bins))
    np.add.at(moves, (bin_[:-1].ravel(), bin_[1:].ravel()), 1.0)
    moves[moves.sum(1) == 0] = 1.0  # a bin that is never left, since nothing is ever in it

    width = int(8 * np.sqrt((2 * rate + (2 * rate * imbalance) ** 2).mean())) + 60
    sell, buy = (rate * np.maximum(1 + sign * imbalance, 0) for sign in (-1, 1))
    # Steps that are close to each other are much alike: the laws take some of them.
    some = slice(1, None, THINNED)
    pair = bins * bin_[:-1:THINNED] + bin_[some]
    laws = np.zeros((bins**2, 2 * width + 1))
    for number in np.unique(pair):
        laws[number] = _skellam(sell[some][pair == number], buy[some][pair == number], width)
    joint = laws.reshape(bins, bins, -1)
    together = np.bincount(pair.ravel(), minlength=bins**2).reshape(bins, bins, 1)
    # A pair that is in the sample but in none of the steps that are taken: what the others that end there bring.
    net = (together * joint).sum(0) / np.maximum(together.sum(0), 1)
    joint = np.where(together > 0, joint, net)

    def by_bin(values: Array) -> Array:
        return np.array([_those(values, bin_ == j).mean() for j in range(bins)])

    sides = {}
    for name, spread in (("client", market.client_spread), ("exchange", market.exchange_spread)):
        nodes = _half(spread, level, mean)
        sides[name] = by_bin(nodes @ WEIGHTS)
        sides[f"{name}_nodes"] = np.stack([_those(nodes, bin_ == j).mean(0) for j in range(bins)])
    moved = float(market.elasticity) * float(market.max_hedge) / np.maximum(rate, 1e-6)
    return PriceBins(
        volatility_edges=volatility_edges,
        trend_edges=trend_edges,
        moves=moves / moves.sum(1, keepdims=True),
        first=np.bincount(bin_[0].ravel(), minlength=bins) / bin_[0].size,
        joint=joint,
        net=net,
        width=width,
        moved=by_bin(moved),
        sell=by_bin(sell),
        buy=by_bin(buy),
        square=float(square.mean()),
        **sides,
    )


def _sample(market: HedgingMarket, horizon: int, paths: int, seed: int) -> tuple[Array, ...]:
    """v, σ_roll, σ_mean, w, R, λ and the moments of the price's change; (time, paths)."""

    @jax.jit
    def sample(key: jax.Array) -> tuple[jax.Array, ...]:
        shocks = market.shocks(key, (horizon + 1, paths))
        state, _ = jax.vmap(market.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))
        idle = HedgingAction(jnp.zeros(1))

        def one(state, shock):
            change = market.price.change_moments(state.price)
            after, _ = market.step(state, idle, shock)
            deviation = jnp.sqrt(jnp.maximum(change.mean_square - change.mean**2, 0.0)) / state.price.mid
            imbalance = market.clients.imbalance(shock.clients[2], after.returns, deviation)
            volatility = after.volatility
            told = (
                volatility.relative,
                volatility.level,
                volatility.mean,
                volatility.trend,
                market.clients.rate(volatility),
                imbalance,
            )
            return after, (*told, change.mean, change.mean_square)

        return jax.lax.scan(jax.vmap(one), state, jax.tree.map(lambda leaf: leaf[1:], shocks))[1]

    return tuple(np.asarray(leaf, float) for leaf in sample(jax.random.key(seed)))


def _those(values: Array, chosen: NDArray[np.bool_]) -> Array:
    """The chosen ones; all where none is, as in the bins of a volatility that never changes."""
    return values[chosen] if chosen.any() else values.reshape(-1, *values.shape[chosen.ndim :])


def _half(spread: StochasticSpread, level: Array, mean: Array) -> Array:
    """ν δ at every node of the log-normal part, on a last axis; at a midprice of 100 where it grows with that."""
    volatility = RollingVolatility(*(jnp.asarray(x) for x in (level, level, level, mean, mean)))
    with jax.enable_x64(True):
        nodes = [
            spread.half(jnp.full((1,), node), jnp.full(level.shape, 100.0), volatility)[..., 0]
            for node in NODES
        ]
    return np.stack([np.asarray(node, float) for node in nodes], -1)


def _skellam(sell: Array, buy: Array, width: int) -> Array:
    """Mean law of sell - buy on -width..width; what is beyond is put on the ends by folding."""
    size = 2 ** int(np.ceil(np.log2(4 * width)))
    angle = 2 * np.pi * np.arange(size) / size
    total = np.zeros(size, complex)
    for block in np.array_split(np.arange(sell.size), max(1, sell.size // 2000)):
        exponent = sell[block, None] * np.expm1(1j * angle) + buy[block, None] * np.expm1(-1j * angle)
        total += np.exp(exponent).sum(0)
    law = np.fft.fft(total / sell.size).real / size
    law = np.maximum(np.concatenate([law[-width:], law[: width + 1]]), 0.0)
    return law / law.sum()
