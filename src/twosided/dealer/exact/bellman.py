"""Bellman operator of a risk-averse market maker, as a function of its inventory.

In each step the maker observes its inventory z and the exchange's book. It chooses the inventory u to keep, between z
and 0, and a pair of quotes. It then buys B and sells S of N unit orders, and z' = u + B - S is revalued. With the
midprice held at its initial value P_0 the Bellman operator is

    (T V)(z) = E_book max_u { max_quotes [ s m + Σ_o p_o E_o f(u + B - S) ] - c P_0 C(|z - u|) },    f = φ + V

    s           P_0 S_ref(1), the value of an order at ε = 0                 C(v) = v S_ref(v) in this book
    m           (1 + ε_b) E B + (1 + ε_s) E S
    o           outcome: on each side the maker wins alone, ties (and wins each order with probability 1/2) or loses;
                nine outcomes
    φ(z)        the risk penalty with its sign: -quadratic z² + long max(z, 0) + short min(z, 0)

An order is a buy or a sell of the maker with probability 1/2, so B and S are not independent: each order changes the
inventory by +1, -1 or 0.

Quotes. An optimal ε is at an atom of the competitor's distribution, just below or just above an atom, or inside a
uniform part, which is covered by a grid: elsewhere the win probability is constant and a larger ε earns more. A quote
that loses with certainty is represented by ε = 1.

Units: inventory in units of trade, on a grid of step 1 / refinement; values in currency.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from twosided.core.numeric import FloatArray
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.cost_curve import sampled_books
from twosided.dealer.reference_book import ReferenceBook, Snapshot

UNDERCUT = 1e-6
"""Distance from an atom of a quote that stands for the limit at the atom."""
WIN_SHARES = np.array([1.0, 0.5, 0.0])
"""Share of the orders of a side won by a maker that wins alone, ties or loses."""
MAX_EXACT_PAIRS = 16
"""Largest number of quote pairs evaluated in every book; of more, those optimal at NUM_NODES order values are."""
NUM_NODES = 17
"""Number of evenly spaced quantiles of the value of an order over books."""


@dataclass(frozen=True)
class RiskPenalty:
    """Penalty per step, φ(z) = -quadratic z² + long max(z, 0) + short min(z, 0); concave, with maximum φ(0) = 0."""

    quadratic: float = 0.0
    """α E[ΔP²], currency per unit²; at least 0."""
    long: float = 0.0
    """α E[min(ΔP, 0)], currency per unit; at most 0."""
    short: float = 0.0
    """α E[max(ΔP, 0)], currency per unit; at least 0."""

    def __call__(self, z: FloatArray) -> FloatArray:
        return -self.quadratic * z**2 + self.long * np.maximum(z, 0.0) + self.short * np.minimum(z, 0.0)


@dataclass(frozen=True, eq=False)
class QuotePairs:
    """Candidate pairs of quotes, one per row."""

    epsilon: FloatArray
    """ε_b and ε_s."""
    probabilities: FloatArray
    """p_o of the nine outcomes: win, tie, lose on the buy side, each with win, tie, lose on the sell side."""
    margin: FloatArray
    """m / N, per unit order: (1 + ε_b) P[buy] + (1 + ε_s) P[sell]."""
    is_limit: NDArray[np.bool_]
    """Whether one of the two quotes is a limit that is only approached."""
    grid_error: tuple[float, float]
    """Coefficients δ_b² d_b + δ_s² d_s and δ_b d_b δ_s d_s of the error bound of the grids, with spacings δ on uniform
    parts of density d."""

    @classmethod
    def against(cls, buy: Distribution, sell: Distribution, cells: int) -> "QuotePairs":
        """Return the candidates against one competitor with independent sides; `cells` is per uniform part."""
        one, other = _SideQuotes.against(buy, cells), _SideQuotes.against(sell, cells)
        i, j = (index.ravel() for index in np.indices([one.epsilon.size, other.epsilon.size]))
        return cls(
            epsilon=np.stack([one.epsilon[i], other.epsilon[j]], -1),
            probabilities=(one.probabilities[i][:, :, None] * other.probabilities[j][:, None, :]).reshape(
                -1, 9
            ),
            margin=(
                (one.price * (one.probabilities @ WIN_SHARES))[i]
                + (other.price * (other.probabilities @ WIN_SHARES))[j]
            )
            / 2,
            is_limit=one.is_limit[i] | other.is_limit[j],
            grid_error=(
                one.spacing**2 * one.density + other.spacing**2 * other.density,
                one.spacing * one.density * other.spacing * other.density,
            ),
        )


@dataclass(frozen=True, eq=False)
class _SideQuotes:
    """Candidate quotes of one side."""

    epsilon: FloatArray
    price: FloatArray
    """1 + ε; for a limit, the value of the limit."""
    probabilities: FloatArray
    """Probabilities of win, tie, lose."""
    is_limit: NDArray[np.bool_]
    spacing: float
    """Largest distance δ of neighbouring quotes on a uniform part."""
    density: float
    """Largest density d of the competitor's distribution."""

    @classmethod
    def against(cls, competitor: Distribution, cells: int) -> "_SideQuotes":
        cuts = np.unique(np.concatenate([[-1.0, 1.0], competitor.breakpoints]))
        density = competitor.density((cuts[1:] + cuts[:-1]) / 2)
        low, high = cuts[:-1][density > 0], cuts[1:][density > 0]
        at = np.unique(np.append(cuts, np.linspace(low, high, cells + 1)))
        atoms = competitor.atoms[0]
        below, above = atoms[atoms > -1], atoms[atoms < 1]

        win = np.concatenate(
            [
                competitor.survival(at),
                competitor.survival(below) + competitor.mass(below),
                competitor.survival(above),
            ]
        )
        tie = np.concatenate([competitor.mass(at), np.zeros(below.size + above.size)])
        price = 1 + np.concatenate([at, below, above])
        epsilon = np.concatenate([at, below - UNDERCUT, above + UNDERCUT])
        is_limit = np.repeat([False, True, True], [at.size, below.size, above.size])
        # Among quotes with equal probabilities keep the largest ε, and among these one that is not a limit.
        order = np.lexsort([~is_limit, price, tie, win])
        last = np.append((np.diff(win[order]) != 0) | (np.diff(tie[order]) != 0), True)
        best = order[last]
        return cls(
            epsilon=epsilon[best],
            price=price[best],
            probabilities=np.stack([win, tie, 1 - win - tie], -1)[best],
            is_limit=is_limit[best],
            spacing=float((high - low).max(initial=0.0)) / cells,
            density=float(density.max()),
        )


@dataclass(frozen=True, eq=False)
class BookSample:
    """Order values and hedge costs in a sample of books; the axes are replicates and books, the deepest book first."""

    order_value: FloatArray
    """s = P_0 S_ref(1), in currency."""
    sizes: FloatArray
    """Hedge sizes 0, 1, 2, ... grid steps, in units, up to the largest hedge."""
    hedge_cost: FloatArray
    """c P_0 v S_ref(v) in currency; the last axis is `sizes`."""
    last_price: FloatArray
    """c P_0 times the price of the last level, in currency per unit: the marginal cost beyond the last level."""
    depth: FloatArray
    """Volume before the last level, in units."""

    @classmethod
    def sample(
        cls,
        book: ReferenceBook,
        mid: float,
        multiplier: float,
        sizes: FloatArray,
        points: int,
        replicates: int,
    ) -> "BookSample":
        """Sample books; `mid` is P_0, `multiplier` is c, and `points`, the books per replicate, is a power of two."""
        with jax.enable_x64(True):
            priced = _priced(sampled_books(book, points, replicates, 0), jnp.asarray(sizes))
        order_value, hedge_cost, last_price, depth = (np.asarray(x) for x in priced)
        rank = np.argsort(-depth, axis=-1)
        order_value, last_price, depth = (
            np.take_along_axis(x, rank, -1) for x in (order_value, last_price, depth)
        )
        hedge_cost = np.take_along_axis(hedge_cost, rank[..., None], 1)
        price = mid * multiplier
        return cls(mid * order_value, sizes, price * hedge_cost, price * last_price, depth)

    def every_other_size(self) -> "BookSample":
        """Return the sample for a grid of half the refinement."""
        return replace(self, sizes=self.sizes[::2], hedge_cost=self.hedge_cost[..., ::2])


@dataclass(frozen=True, eq=False)
class BellmanOperator:
    """The Bellman operator T on an inventory grid."""

    quotes: QuotePairs
    """Candidate pairs of quotes."""
    books: BookSample
    """Sample of books."""
    penalty: RiskPenalty
    """φ."""
    num_orders: int
    """N, number of unit orders per step."""
    max_inventory: int
    """The grid covers inventories from -max_inventory to max_inventory; at least N."""
    refinement: int
    """Grid steps per unit."""

    @property
    def grid(self) -> FloatArray:
        """Inventory grid, in units."""
        return self._grid(self.max_inventory)

    @property
    def extended_grid(self) -> FloatArray:
        """Inventory grid, extended by the inventories that one step can reach from it."""
        return self._grid(self.max_inventory + self.num_orders)

    def apply(self, value: FloatArray) -> tuple[FloatArray, float]:
        """Return (T V)(z) on the grid, and a bound on the gain from quotes between the candidates, in currency.

        `value` is V on the extended grid. It and the result have a first axis of replicates; the bound is the mean over
        replicates.
        """
        outcomes = self.outcome_values(value)
        kept, tangent_error = self._best_quotes(self.pair_values(outcomes))
        zero = self.max_inventory * self.refinement
        result = np.empty((len(value), self.grid.size))
        result[:, zero:] = best_hedge(kept[:, :, zero:], self.books).mean(1)
        result[:, zero::-1] = best_hedge(kept[:, :, zero::-1], self.books).mean(1)
        # If both ε are inside cells, the optimum is within half a cell of the grid, with gradient 0. Half the second
        # derivatives bound the error: -2 d s N / 2 on each side, and d_b d_s times the interaction of the sides.
        same, opposite = outcomes[..., 0] + outcomes[..., 8], outcomes[..., 2] + outcomes[..., 6]
        own, cross = self.quotes.grid_error
        worth = self.num_orders / 2 * self.books.order_value.mean(-1)
        grid_error = (own * worth + cross * np.abs(same - opposite).max(-1)) / 4
        return result, float((tangent_error + grid_error).mean())

    def max_reward(self) -> FloatArray:
        """Return an upper bound of the reward of a step from any inventory, one per replicate."""
        zero = np.zeros((len(self.books.order_value), self.extended_grid.size))
        return self._best_quotes(self.pair_values(self.outcome_values(zero)))[0].max(-1).mean(-1)

    def outcome_values(self, value: FloatArray) -> FloatArray:
        """Return E_o f(u + B - S) for u on the grid; the last axis is the nine outcomes."""
        f = self.penalty(self.extended_grid) + value
        windows = sliding_window_view(f, 2 * self.num_orders * self.refinement + 1, axis=-1)
        return windows[..., :: self.refinement] @ self.net_flow_distributions.T

    def pair_values(self, outcomes: FloatArray) -> FloatArray:
        """Return Σ_o p_o E_o f of every pair of quotes, on the last axis."""
        return outcomes @ self.quotes.probabilities.T

    @cached_property
    def net_flow_distributions(self) -> FloatArray:
        """Distribution of B - S on -N..N in each of the nine outcomes."""
        distributions = np.zeros((9, 2 * self.num_orders + 1))
        for outcome, (buys, sells) in enumerate(product(WIN_SHARES, WIN_SHARES)):
            one_order, all_orders = np.array([sells / 2, 1 - buys / 2 - sells / 2, buys / 2]), np.ones(1)
            for _ in range(self.num_orders):
                all_orders = np.convolve(all_orders, one_order)
            distributions[outcome] = all_orders
        return distributions

    def _best_quotes(self, pair_values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return max_quotes [...] for each replicate, book and u, and a bound on the gain from pairs not evaluated.

        The maximum over pairs is a convex function of s.
        """
        s = self.books.order_value
        margin = self.num_orders * self.quotes.margin
        if margin.size <= MAX_EXACT_PAIRS:
            best = np.full((*s.shape, pair_values.shape[1]), -np.inf)
            for pair, each in enumerate(margin):
                np.maximum(best, (each * s)[..., None] + pair_values[:, None, :, pair], out=best)
            return best, np.zeros(len(s))
        nodes = np.quantile(s, np.linspace(0, 1, NUM_NODES))
        pairs = [(pair_values + node * margin).argmax(-1) for node in nodes]
        slopes = np.stack([margin[pair] for pair in pairs], 1)
        intercepts = np.stack(
            [np.take_along_axis(pair_values, pair[..., None], -1)[..., 0] for pair in pairs], 1
        )
        left = np.clip(np.searchsorted(nodes, s, "right") - 1, 0, NUM_NODES - 2)
        rows = np.arange(len(s))[:, None]
        best = intercepts[rows, left] + s[..., None] * slopes[rows, left]
        np.maximum(best, intercepts[rows, left + 1] + s[..., None] * slopes[rows, left + 1], out=best)
        # Bound on the distance of a convex function from its tangents at the ends of an interval.
        gap = np.diff(nodes)[:, None] * np.diff(slopes, axis=1) / 4
        share = np.stack([(left == k).mean(-1) for k in range(NUM_NODES - 1)], -1)
        return best, np.einsum("rk,rku->ru", share, gap).max(-1)

    def _grid(self, max_inventory: int) -> FloatArray:
        return (
            np.arange(-max_inventory * self.refinement, max_inventory * self.refinement + 1) / self.refinement
        )


def best_hedge(kept: FloatArray, books: BookSample) -> FloatArray:
    """Return max over u of kept(u) - cost(|z| - u), 0 <= u <= |z|; the last axis is |z| or u in grid steps.

    Sizes beyond the last level of a book are maximised together, because the cost is linear there.
    """
    best = kept.copy()
    for k in range(1, books.sizes.size):
        deep = int((books.depth > books.sizes[k - 1]).sum(-1).max())
        if deep == 0:
            break
        after = kept[:, :deep, :-k] - books.hedge_cost[:, :deep, k, None]
        np.maximum(best[:, :deep, k:], after, out=best[:, :deep, k:])
    linear = books.last_price[..., None] * books.sizes
    best += linear
    np.maximum.accumulate(best, axis=-1, out=best)
    best -= linear
    return best


@jax.jit
def _priced(books: Snapshot, sizes: jax.Array) -> tuple[jax.Array, ...]:
    """Return S_ref(1), the costs of the sizes, the price of the last level, and the volume before it."""
    cost = jax.vmap(books.cost, out_axes=-1)(
        jnp.broadcast_to(sizes[:, None, None], (sizes.size, *books.spread.shape))
    )
    unit = books.spread_curve(jnp.ones_like(books.spread))
    return unit, cost, books.level_prices[..., -1], books.volumes[..., :-1].sum(-1)
