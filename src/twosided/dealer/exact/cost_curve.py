"""The expected cost of taking a size from a random book, C(v) = E[v S_ref(v)].

The expectation over books is taken by randomised quasi-Monte Carlo: independently scrambled sets of Sobol'
points go through the book's own snapshot and cost in float64, and the scatter of the sets' means gives the
standard error. Every set's mean is a convex, increasing function of v, so what is known at a few sizes bounds
it between them: chords lie above, and the chords of the two cells next door, prolonged, lie below.

Units: sizes in units of trade, C in units times fraction of the mid, marginal prices in fractions of the mid.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from twosided.core.numeric import Array
from twosided.core.validation import check
from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot, gamma_from_normal


@dataclass(frozen=True, eq=False)
class CostCurve:
    """C(v) between bounds: convex, increasing, C(0) = 0."""

    sizes: Array
    """Sizes at which the costs are known, ascending from 0, in units of trade."""
    costs: Array
    """C at the sizes, a fraction of the mid times units; one row an independent estimate."""
    slopes: tuple[float, float]
    """Marginal price at size 0 and at infinity, fractions of the mid."""

    @classmethod
    def from_book(
        cls, book: ReferenceBook, *, points: int = 1024, replicates: int = 16, seed: int = 0
    ) -> "CostCurve":
        """The curve of a book's law; the points of one replicate are a power of two."""
        # Spacing 1/64 at small sizes, where the levels of the book bend the curve, later 1/64 of the size.
        sizes = np.sinh(np.arange(0.0, np.arcsinh(4096.0), 1 / 64))
        with jax.enable_x64(True):
            snapshots = sampled_books(book, points, replicates, seed)
            costs, levels = _mean_costs(snapshots, sizes), snapshots.level_prices
            slopes = float(levels[..., 0].mean()), float(levels[..., -1].mean())
        return cls(sizes=sizes, costs=costs, slopes=slopes)

    def __post_init__(self):
        sizes, costs = np.array(self.sizes, float), np.atleast_2d(np.array(self.costs, float))
        ascending = sizes.size >= 2 and sizes[0] == 0 and (np.diff(sizes) > 0).all()
        check("sizes", sizes, "two or more, ascending from 0", ascending)
        check("costs", costs.shape[-1], f"one column a size ({sizes.size})", costs.shape[-1] == sizes.size)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "costs", costs)
        check("costs", costs[:, 0], "0 at size 0", costs[:, 0] == 0)
        bend = float(np.diff(self._marginal).min())
        rounding = 1e-9 * self.slopes[1]
        check("costs", bend, "convex between the slopes (smallest bend at least 0)", bend >= -rounding)

    def above(self, volume: Array) -> Array:
        """An upper bound of C: its chords."""
        beyond = self.slopes[1] * np.maximum(volume - self.sizes[-1], 0.0)
        return np.interp(volume, self.sizes, self._mean) + beyond

    def below(self, volume: Array) -> Array:
        """A lower bound of C: the prolonged chords of the cells next door."""
        sizes, mean, marginal = self.sizes, self._mean, self._marginal
        cell = np.clip(np.searchsorted(sizes, volume, "right") - 1, 0, sizes.size - 2)
        from_left = mean[cell] + marginal[cell] * (volume - sizes[cell])
        from_right = mean[cell + 1] - marginal[cell + 2] * (sizes[cell + 1] - volume)
        beyond = mean[-1] + marginal[-2] * (volume - sizes[-1])
        return np.where(volume > sizes[-1], beyond, np.maximum(from_left, from_right))

    def standard_error(self, volume: Array, weights: Array) -> float:
        """Of Σ weight C(volume), from the scatter of the replicates; 0 if there is only one."""
        if len(self.costs) == 1:
            return 0.0
        each = [np.interp(volume, self.sizes, row) @ weights for row in self.costs]
        return float(np.std(each, ddof=1) / np.sqrt(len(each)))

    @cached_property
    def _mean(self) -> Array:
        return self.costs.mean(0)

    @cached_property
    def _marginal(self) -> Array:
        """Slope before the first size, of each chord, and after the last size."""
        chords = np.diff(self._mean) / np.diff(self.sizes)
        return np.concatenate([self.slopes[:1], chords, self.slopes[1:]])


def expected_costs(
    book: ReferenceBook, sizes: ArrayLike, *, points: int = 1024, replicates: int = 16, seed: int = 0
) -> Array:
    """E[v S_ref(v)] at each size, one independent estimate a row (replicates × sizes).

    Their mean over rows is the estimate and its standard error their deviation over √replicates; at size 1 it
    is E[S_ref(1)], what a unit order at ε = 0 is worth.
    """
    with jax.enable_x64(True):
        return _mean_costs(sampled_books(book, points, replicates, seed), np.asarray(sizes, float))


@jax.jit
def _cost_of_each(snapshots: Snapshot, sizes: jax.Array) -> jax.Array:
    def mean_cost(size):
        return snapshots.cost(jnp.full_like(snapshots.spread, size)).mean(-1)

    return jax.lax.map(mean_cost, sizes)


def _mean_costs(snapshots: Snapshot, sizes: Array) -> Array:
    return np.asarray(_cost_of_each(snapshots, jnp.asarray(sizes)), float).T


def sampled_books(book: ReferenceBook, points: int, replicates: int, seed: int) -> Snapshot:
    """Books of shape (replicates, points), each replicate from its own scrambled Sobol' points."""
    from scipy.stats import qmc  # here, because it takes most of a second to import

    check("points", points, "a power of two", points > 0 and points & (points - 1) == 0)
    check("replicates", replicates, "at least 1", replicates >= 1)
    seeds = np.random.SeedSequence(seed).spawn(replicates)
    uniform = np.stack([qmc.Sobol(4, rng=np.random.default_rng(each)).random(points) for each in seeds])
    normal = jnp.asarray(ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)))
    best_volume = gamma_from_normal(book.best_volume_shape, normal[..., 1])
    return book.snapshot(BookShock(spread=normal[..., 0], best_volume=best_volume, shape=normal[..., 2:]))
