"""Markov chain of price bins for the dynamic program of the hedging market, with the client flow and spreads in each
bin.

Volatility v = σ_roll / σ_mean determines the clients' rate and the spreads. The trend w = (S - mean) / σ_roll, over the
same prices, predicts the net flow a little: a move that continues increases σ_roll, and R with it, so that the mean of
R λ is not 0. The bins are sampled from the market's price over whole episodes. Everything that follows from them is
averaged exactly:

    net trades     n ~ Skellam(R max(1 - λ, 0), R max(1 + λ, 0)), by its characteristic function for every sample
    spreads        E[ν δ] and E|·| over the log-normal noise, by Gauss-Hermite quadrature

Bins are quantiles of v, and within each of these, quantiles of w. That the bins form a Markov chain is an
approximation, because v and w depend on the last ten prices; with one bin, steps are independent. Units: units of
trade, currency, steps.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray
from twosided.core.optimum import NotExact
from twosided.hedging.market import HedgingAction, HedgingMarket
from twosided.hedging.spreads import RollingVolatility, StochasticSpread

NODES, _gauss_weights = np.polynomial.hermite_e.hermegauss(15)
WEIGHTS = _gauss_weights / _gauss_weights.sum()
"""E f(Z) = Σ weight f(node) for a standard normal Z."""
SAMPLE_STRIDE = 8
"""Every so many steps of the sample enter the distributions of net trades."""


@dataclass(frozen=True, eq=False)
class PriceBins:
    """Markov chain of bins, with the client flow and spreads of a step that ends in each bin; leading axes are bins."""

    volatility_edges: FloatArray
    """Edges between the bins of v."""
    trend_edges: FloatArray
    """[bin of v, ...]: edges between the bins of w."""
    transition: FloatArray
    """[i, j]: probability that a step from bin i ends in bin j."""
    initial: FloatArray
    """Probability that the first step of an episode ends in each bin."""
    net_trades: FloatArray
    """[i, j, ...]: probabilities of n = -max_net..max_net in a step from bin i to bin j."""
    net_trades_by_end: FloatArray
    """[j, ...]: the same in any step that ends in bin j."""
    max_net: int
    """Largest net trade that is represented, in units."""
    client_spread: FloatArray
    """E[ν δ] of clients, in currency."""
    exchange_spread: FloatArray
    """E[ν δ] of the exchange, in currency."""
    client_spread_nodes: FloatArray
    """ν δ of clients at the quadrature nodes, averaged over the bin, in currency."""
    exchange_spread_nodes: FloatArray
    """ν δ of the exchange at the quadrature nodes, averaged over the bin, in currency."""
    skew_volume: FloatArray
    """Units of client trades that a full skew moves."""
    sales: FloatArray
    """Expected units that clients sell, of the gross flow."""
    purchases: FloatArray
    """Expected units that clients buy, of the gross flow."""
    mean_square_change: float
    """E[ΔP²], in currency squared."""

    @property
    def net_units(self) -> FloatArray:
        """Values of the net trade, -max_net..max_net."""
        return np.arange(-self.max_net, self.max_net + 1.0)

    @property
    def num_bins(self) -> int:
        """Number of bins."""
        return len(self.transition)


def price_bins(
    market: HedgingMarket, horizon: int, num_volatilities: int, num_trends: int, num_paths: int, seed: int = 0
) -> PriceBins:
    """Return the chain with `num_volatilities` bins of v and `num_trends` bins of w in each, from a sample of
    `num_paths` episodes.

    Raises NotExact if the optimal action depends on more than position and volatility, or if the midprice has a drift.
    """
    if market.signal_correlation is not None:
        raise NotExact("with a signal the optimum depends on more than position and volatility")
    if market.clients.return_window > 1:
        raise NotExact("with a return_window above 1 the optimum depends on the last returns")
    v, rolling, mean, trend, rate, imbalance, change, square = _sample(market, horizon, num_paths, seed)
    if abs(change.mean()) > 1e-9 * abs(rolling).mean():
        raise NotExact("the dynamic program over position needs a midprice without drift")
    num_bins = num_volatilities * num_trends
    volatility_edges = np.quantile(v, np.arange(1, num_volatilities) / num_volatilities)
    volatility_bin = np.digitize(v, volatility_edges)
    levels = np.arange(1, num_trends) / num_trends
    trend_edges = np.array(
        [np.quantile(_select_or_all(trend, volatility_bin == j), levels) for j in range(num_volatilities)]
    )
    price_bin = volatility_bin * num_trends + (trend[..., None] >= trend_edges[volatility_bin]).sum(-1)
    transitions = np.zeros((num_bins, num_bins))
    np.add.at(transitions, (price_bin[:-1].ravel(), price_bin[1:].ravel()), 1.0)
    transitions[transitions.sum(1) == 0] = 1.0  # empty bins, which are never reached

    max_net = int(8 * np.sqrt((2 * rate + (2 * rate * imbalance) ** 2).mean())) + 60
    sales, purchases = (rate * np.maximum(1 + sign * imbalance, 0) for sign in (-1, 1))
    # Neighbouring steps are similar, so a subsample of steps is enough for the distributions.
    subsample = slice(1, None, SAMPLE_STRIDE)
    pair = num_bins * price_bin[:-1:SAMPLE_STRIDE] + price_bin[subsample]
    net_trades = np.zeros((num_bins**2, 2 * max_net + 1))
    for index in np.unique(pair):
        net_trades[index] = skellam_pmf(
            sales[subsample][pair == index], purchases[subsample][pair == index], max_net
        )
    net_trades = net_trades.reshape(num_bins, num_bins, -1)
    counts = np.bincount(pair.ravel(), minlength=num_bins**2).reshape(num_bins, num_bins, 1)
    # A pair of bins without steps in the subsample has the distribution of all steps that end in the same bin.
    net_trades_by_end = (counts * net_trades).sum(0) / np.maximum(counts.sum(0), 1)
    net_trades = np.where(counts > 0, net_trades, net_trades_by_end)

    def by_bin(values: FloatArray) -> FloatArray:
        return np.array([_select_or_all(values, price_bin == j).mean() for j in range(num_bins)])

    spreads = {}
    for name, spread in (("client", market.client_spread), ("exchange", market.exchange_spread)):
        nodes = _half_spread_at_nodes(spread, rolling, mean)
        spreads[f"{name}_spread"] = by_bin(nodes @ WEIGHTS)
        spreads[f"{name}_spread_nodes"] = np.stack(
            [_select_or_all(nodes, price_bin == j).mean(0) for j in range(num_bins)]
        )
    skew_volume = float(market.elasticity) * float(market.max_hedge) / np.maximum(rate, 1e-6)
    return PriceBins(
        volatility_edges=volatility_edges,
        trend_edges=trend_edges,
        transition=transitions / transitions.sum(1, keepdims=True),
        initial=np.bincount(price_bin[0].ravel(), minlength=num_bins) / price_bin[0].size,
        net_trades=net_trades,
        net_trades_by_end=net_trades_by_end,
        max_net=max_net,
        skew_volume=by_bin(skew_volume),
        sales=by_bin(sales),
        purchases=by_bin(purchases),
        mean_square_change=float(square.mean()),
        **spreads,
    )


def _sample(market: HedgingMarket, horizon: int, num_paths: int, seed: int) -> tuple[FloatArray, ...]:
    """Return v, σ_roll, σ_mean, w, R, λ, and the mean and mean square of the next price change; (time, paths)."""

    @jax.jit
    def sample(key: jax.Array) -> tuple[jax.Array, ...]:
        shocks = market.shocks(key, (horizon + 1, num_paths))
        state, _ = jax.vmap(market.reset)(jax.tree.map(lambda leaf: leaf[0], shocks))
        no_hedge = HedgingAction(jnp.zeros(1))

        def scan_step(state, shock):
            change = market.price.change_moments(state.price)
            after, _ = market.step(state, no_hedge, shock)
            return_std = jnp.sqrt(jnp.maximum(change.mean_square - change.mean**2, 0.0)) / state.price.mid
            imbalance = market.clients.imbalance(shock.clients[2], after.returns, return_std)
            volatility = after.volatility
            record = (
                volatility.relative,
                volatility.rolling,
                volatility.mean,
                volatility.trend,
                market.clients.rate(volatility),
                imbalance,
            )
            return after, (*record, change.mean, change.mean_square)

        return jax.lax.scan(jax.vmap(scan_step), state, jax.tree.map(lambda leaf: leaf[1:], shocks))[1]

    return tuple(np.asarray(leaf, float) for leaf in sample(jax.random.key(seed)))


def _select_or_all(values: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
    """Return the masked values, or all values if the mask is empty, as in the bins of a constant volatility."""
    return values[mask] if mask.any() else values.reshape(-1, *values.shape[mask.ndim :])


def _half_spread_at_nodes(spread: StochasticSpread, rolling: FloatArray, mean: FloatArray) -> FloatArray:
    """Return ν δ at every quadrature node of the noise, on a last axis.

    If the noise scales with the midprice, the midprice is taken to be 100.
    """
    volatility = RollingVolatility(*(jnp.asarray(x) for x in (rolling, rolling, rolling, mean, mean)))
    with jax.enable_x64(True):
        nodes = [
            spread.half_spread(jnp.full((1,), node), jnp.full(rolling.shape, 100.0), volatility)[..., 0]
            for node in NODES
        ]
    return np.stack([np.asarray(node, float) for node in nodes], -1)


def skellam_pmf(sales: FloatArray, purchases: FloatArray, max_net: int) -> FloatArray:
    """Return the mean over pairs of rates of the probabilities of sales - purchases on -max_net..max_net.

    The distribution of the difference of two Poisson counts is computed by a Fourier transform of its characteristic
    function, normalised to the range.
    """
    size = 2 ** int(np.ceil(np.log2(4 * max_net)))
    angle = 2 * np.pi * np.arange(size) / size
    total = np.zeros(size, complex)
    for block in np.array_split(np.arange(sales.size), max(1, sales.size // 2000)):
        exponent = sales[block, None] * np.expm1(1j * angle) + purchases[block, None] * np.expm1(-1j * angle)
        total += np.exp(exponent).sum(0)
    pmf = np.fft.fft(total / sales.size).real / size
    pmf = np.maximum(np.concatenate([pmf[-max_net:], pmf[: max_net + 1]]), 0.0)
    return pmf / pmf.sum()
