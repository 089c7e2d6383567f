"""One step of a maker that is averse to risk, as a function of its inventory: what a dynamic program repeats.

The maker sees its inventory z and the exchange's book, chooses what to keep, u between z and 0, and two quotes, and
buys B and sells S of N unit orders; z' = u + B - S is then revalued. With the midprice held at its start P_0 the
Bellman operator is

    (T V)(z) = E_book max_u { max_quotes [ s m + Σ_o p_o E_o f(u + B - S) ] - c P_0 C(|z - u|) },    f = φ + V

    s           P_0 S_ref(1), what an order is worth at ε = 0                 C(v) = v S_ref(v) in this book
    m           (1 + ε_b) E B + (1 + ε_s) E S
    o           which side is won alone, tied (each order won with probability 1/2) or lost: nine outcomes
    φ(z)        the penalty and its sign: -square z² + long max(z, 0) + short min(z, 0)

An order is the maker's to buy or to sell with probability 1/2, so B and S are not independent: each order moves the
inventory by +1, -1 or 0.

Quotes. Only ε at which a competitor's law has an atom, just below and above these, and a grid on its uniform parts can
be best: between them the winning probability is constant, and a larger ε earns more. What loses for certain is
written as ε = 1.

Units: inventory in units of trade, on a grid of 1 / refinement; values in currency.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from twosided.core.numeric import Array
from twosided.dealer.distributions import Distribution
from twosided.dealer.exact.cost_curve import sampled_books
from twosided.dealer.reference_book import ReferenceBook, Snapshot

UNDERCUT = 1e-6
"""How far below or above an atom a quote is shown and played that is meant to be next to it."""
SHARES = np.array([1.0, 0.5, 0.0])
"""Of the orders on a side, for a maker that wins, ties or loses it."""
FEW_QUOTES = 16
"""So many pairs of quotes are tried in every book; of more, those that are best at NODES prices of an order."""
NODES = 17
"""Of the law of an order's price over books: quantiles at equal distances."""


@dataclass(frozen=True)
class Risk:
    """φ(z) = -square z² + long max(z, 0) + short min(z, 0), concave and largest at 0: what holding z costs a step."""

    square: float = 0.0
    """α E[ΔP²], currency per unit²."""
    long: float = 0.0
    """α E[min(ΔP, 0)], at most 0, currency per unit."""
    short: float = 0.0
    """α E[max(ΔP, 0)], at least 0, currency per unit."""

    def __call__(self, z: Array) -> Array:
        return -self.square * z**2 + self.long * np.maximum(z, 0.0) + self.short * np.minimum(z, 0.0)


@dataclass(frozen=True, eq=False)
class Quotes:
    """Pairs of quotes that can be best, one a row."""

    epsilon: Array
    """ε_b and ε_s."""
    chance: Array
    """p_o of the nine outcomes: win, tie, lose on the side that buys, each with the three where it sells."""
    margin: Array
    """m, per unit order of the N: (1 + ε_b) P[buys] + (1 + ε_s) P[sells]."""
    limit: NDArray[np.bool_]
    """Whether one of the two is only approached."""
    coarseness: tuple[float, float]
    """Of the grids, with spacings δ on uniform parts of densities d: δ_b² d_b + δ_s² d_s and δ_b d_b δ_s d_s."""

    @classmethod
    def against(cls, buy: Distribution, sell: Distribution, cells: int) -> "Quotes":
        """Against one competitor's laws, independent of each other; a uniform part is cut into so many cells."""
        one, other = _Side.against(buy, cells), _Side.against(sell, cells)
        i, j = (index.ravel() for index in np.indices([one.epsilon.size, other.epsilon.size]))
        return cls(
            epsilon=np.stack([one.epsilon[i], other.epsilon[j]], -1),
            chance=(one.chance[i][:, :, None] * other.chance[j][:, None, :]).reshape(-1, 9),
            margin=((one.price * (one.chance @ SHARES))[i] + (other.price * (other.chance @ SHARES))[j]) / 2,
            limit=one.limit[i] | other.limit[j],
            coarseness=(
                one.spacing**2 * one.density + other.spacing**2 * other.density,
                one.spacing * one.density * other.spacing * other.density,
            ),
        )


@dataclass(frozen=True, eq=False)
class _Side:
    """The quotes of one side that can be best."""

    epsilon: Array
    price: Array
    """1 + ε, of the limit where it is one."""
    chance: Array
    """Of win, tie, lose."""
    limit: NDArray[np.bool_]
    spacing: float
    """Largest distance δ of quotes on a uniform part."""
    density: float
    """Largest density d of the competitor's law."""

    @classmethod
    def against(cls, law: Distribution, cells: int) -> "_Side":
        cuts = np.unique(np.concatenate([[-1.0, 1.0], law.breakpoints]))
        density = law.density((cuts[1:] + cuts[:-1]) / 2)
        low, high = cuts[:-1][density > 0], cuts[1:][density > 0]
        at = np.unique(np.append(cuts, np.linspace(low, high, cells + 1)))
        atoms = law.atoms[0]
        below, above = atoms[atoms > -1], atoms[atoms < 1]

        win = np.concatenate([law.survival(at), law.survival(below) + law.mass(below), law.survival(above)])
        tie = np.concatenate([law.mass(at), np.zeros(below.size + above.size)])
        price = 1 + np.concatenate([at, below, above])
        epsilon = np.concatenate([at, below - UNDERCUT, above + UNDERCUT])
        limit = np.repeat([False, True, True], [at.size, below.size, above.size])
        # Of quotes that win alike the dearest, and of these one that is no limit.
        order = np.lexsort([~limit, price, tie, win])
        last = np.append((np.diff(win[order]) != 0) | (np.diff(tie[order]) != 0), True)
        best = order[last]
        return cls(
            epsilon=epsilon[best],
            price=price[best],
            chance=np.stack([win, tie, 1 - win - tie], -1)[best],
            limit=limit[best],
            spacing=float((high - low).max(initial=0.0)) / cells,
            density=float(density.max()),
        )


@dataclass(frozen=True, eq=False)
class Books:
    """What a sample of books says of orders and hedges: an axis of replicates, then one of books, the deepest first."""

    order: Array
    """P_0 S_ref(1), currency."""
    sizes: Array
    """0, 1, 2, ... steps of the inventory's grid, in units, up to the largest hedge."""
    hedge: Array
    """c P_0 v S_ref(v) at the sizes, currency; a last axis of sizes."""
    slope: Array
    """c P_0 times the last level's price, currency a unit: what all beyond the last level costs."""
    depth: Array
    """Volume up to the last level, in units."""

    @classmethod
    def sample(
        cls, book: ReferenceBook, scale: float, multiplier: float, sizes: Array, points: int, replicates: int
    ) -> "Books":
        """`scale` is P_0 and the multiplier c; the points of one replicate are a power of two."""
        with jax.enable_x64(True):
            priced = _priced(sampled_books(book, points, replicates, 0), jnp.asarray(sizes))
        order, hedge, slope, depth = (np.asarray(x) for x in priced)
        rank = np.argsort(-depth, axis=-1)
        order, slope, depth = (np.take_along_axis(x, rank, -1) for x in (order, slope, depth))
        hedge = np.take_along_axis(hedge, rank[..., None], 1)
        price = scale * multiplier
        return cls(scale * order, sizes, price * hedge, price * slope, depth)

    def every_other_size(self) -> "Books":
        """For a grid of half the refinement."""
        return replace(self, sizes=self.sizes[::2], hedge=self.hedge[..., ::2])


@dataclass(frozen=True, eq=False)
class Game:
    """All that the operator needs."""

    quotes: Quotes
    books: Books
    risk: Risk
    orders: int
    """N."""
    reach: int
    """Inventories from -reach to reach are followed; at least N."""
    refinement: int
    """Steps of the grid in a unit."""

    @property
    def inventory(self) -> Array:
        """The grid."""
        return self._grid(self.reach)

    @property
    def beyond(self) -> Array:
        """The grid and where one step can lead from it."""
        return self._grid(self.reach + self.orders)

    def step(self, future: Array) -> tuple[Array, float]:
        """(T V)(z) on the grid, V given on the grid and beyond; and how far quotes between those tried may raise it.

        `future` and the answer have a first axis of replicates; the error, in currency, is their mean.
        """
        outcomes = self.outcomes(future)
        kept, missed = self._quoted(self.expected(outcomes))
        zero = self.reach * self.refinement
        value = np.empty((len(future), self.inventory.size))
        value[:, zero:] = hedged(kept[:, :, zero:], self.books).mean(1)
        value[:, zero::-1] = hedged(kept[:, :, zero::-1], self.books).mean(1)
        # Where both ε are inside cells the best is within half a cell of the grid, and there the gradient is 0: half
        # the second derivatives, -2 d s N / 2 on a side and d_b d_s times the interaction of the two, bound the rest.
        same, apart = outcomes[..., 0] + outcomes[..., 8], outcomes[..., 2] + outcomes[..., 6]
        own, both = self.quotes.coarseness
        worth = self.orders / 2 * self.books.order.mean(-1)
        return value, float((missed + (own * worth + both * np.abs(same - apart).max(-1)) / 4).mean())

    def ceiling(self) -> Array:
        """What no step can earn more than, from any inventory; one a replicate."""
        nothing = np.zeros((len(self.books.order), self.beyond.size))
        return self._quoted(self.expected(self.outcomes(nothing)))[0].max(-1).mean(-1)

    def outcomes(self, future: Array) -> Array:
        """E_o f(u + B - S) on the grid, the nine outcomes on the last axis."""
        worth = self.risk(self.beyond) + future
        windows = sliding_window_view(worth, 2 * self.orders * self.refinement + 1, axis=-1)
        return windows[..., :: self.refinement] @ self.flows.T

    def expected(self, outcomes: Array) -> Array:
        """Σ_o p_o E_o f of every pair of quotes, on the last axis."""
        return outcomes @ self.quotes.chance.T

    @cached_property
    def flows(self) -> Array:
        """The law of B - S on -N..N in each of the nine outcomes."""
        laws = np.zeros((9, 2 * self.orders + 1))
        for outcome, (buys, sells) in enumerate(product(SHARES, SHARES)):
            one_order, all_orders = np.array([sells / 2, 1 - buys / 2 - sells / 2, buys / 2]), np.ones(1)
            for _ in range(self.orders):
                all_orders = np.convolve(all_orders, one_order)
            laws[outcome] = all_orders
        return laws

    def _quoted(self, expected: Array) -> tuple[Array, Array]:
        """The best quotes' worth for each replicate, book and u; and how much better a pair left out may be.

        As a function of s the worth of the best pair is convex.
        """
        s = self.books.order
        margin = self.orders * self.quotes.margin
        if margin.size <= FEW_QUOTES:
            earned = np.full((*s.shape, expected.shape[1]), -np.inf)
            for pair, each in enumerate(margin):
                np.maximum(earned, (each * s)[..., None] + expected[:, None, :, pair], out=earned)
            return earned, np.zeros(len(s))
        nodes = np.quantile(s, np.linspace(0, 1, NODES))
        best = [(expected + node * margin).argmax(-1) for node in nodes]
        margins = np.stack([margin[pair] for pair in best], 1)
        worth = np.stack([np.take_along_axis(expected, pair[..., None], -1)[..., 0] for pair in best], 1)
        left = np.clip(np.searchsorted(nodes, s, "right") - 1, 0, NODES - 2)
        rows = np.arange(len(s))[:, None]
        earned = worth[rows, left] + s[..., None] * margins[rows, left]
        np.maximum(earned, worth[rows, left + 1] + s[..., None] * margins[rows, left + 1], out=earned)
        # A convex function is at most this far above its tangents at the ends of an interval.
        gap = np.diff(nodes)[:, None] * np.diff(margins, axis=1) / 4
        share = np.stack([(left == k).mean(-1) for k in range(NODES - 1)], -1)
        return earned, np.einsum("rk,rku->ru", share, gap).max(-1)

    def _grid(self, reach: int) -> Array:
        return np.arange(-reach * self.refinement, reach * self.refinement + 1) / self.refinement


def hedged(kept: Array, books: Books) -> Array:
    """max over u of kept(u) - cost(|z| - u), 0 <= u <= |z|, along the last axis, which is the distance from 0.

    Sizes beyond a book's last level are all found at once: there the cost is linear.
    """
    best = kept.copy()
    for k in range(1, books.sizes.size):
        deep = int((books.depth > books.sizes[k - 1]).sum(-1).max())
        if deep == 0:
            break
        after = kept[:, :deep, :-k] - books.hedge[:, :deep, k, None]
        np.maximum(best[:, :deep, k:], after, out=best[:, :deep, k:])
    linear = books.slope[..., None] * books.sizes
    best += linear
    np.maximum.accumulate(best, axis=-1, out=best)
    best -= linear
    return best


@jax.jit
def _priced(books: Snapshot, sizes: jax.Array) -> tuple[jax.Array, ...]:
    """S_ref(1), the costs of the sizes, the last level's price, and the volume before it."""
    cost = jax.vmap(books.cost, out_axes=-1)(
        jnp.broadcast_to(sizes[:, None, None], (sizes.size, *books.spread.shape))
    )
    unit = books.spread_curve(jnp.ones_like(books.spread))
    return unit, cost, books.level_prices[..., -1], books.volumes[..., :-1].sum(-1)
