"""Expected cost of trading a size on the exchange, C(v) = E[v S_ref(v)], over random books.

The expectation is computed by randomised quasi-Monte Carlo: independently scrambled sets of Sobol' points are mapped to
snapshots of the book in float64, and the standard error is that of the mean over sets (replicates). The mean of every
set is a convex, increasing function of v, so the values at a few sizes bound the function between them: chords are an
upper bound, and the chords of the two adjacent cells, extended, are a lower bound.

Units: sizes in units of trade, C in units times fraction of the mid, marginal prices in fractions of the mid.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from twosided.core.numeric import FloatArray, FloatValues
from twosided.core.validation import check
from twosided.dealer.reference_book import BookShock, ReferenceBook, Snapshot, gamma_from_normal


@dataclass(frozen=True, eq=False)
class CostCurve:
    """Upper and lower bounds of C(v), which is convex and increasing with C(0) = 0."""

    sizes: FloatArray
    """Sizes at which C is computed, ascending from 0, in units of trade."""
    costs: FloatArray
    """C at the sizes, as a fraction of the mid times units; one row per independent replicate."""
    slopes: tuple[float, float]
    """Marginal price at size 0 and in the limit of large sizes, as fractions of the mid."""

    @classmethod
    def from_book(
        cls, book: ReferenceBook, *, points: int = 1024, replicates: int = 16, seed: int = 0
    ) -> "CostCurve":
        """Compute the curve of a reference book; `points`, the number of snapshots per replicate, is a power of two."""
        # Spacing 1/64 at small sizes, where the levels of the book bend the curve, and 1/64 of the size at large ones.
        sizes = np.sinh(np.arange(0.0, np.arcsinh(4096.0), 1 / 64))
        with jax.enable_x64(True):
            snapshots = sampled_books(book, points, replicates, seed)
            costs, prices = _mean_costs(snapshots, sizes), snapshots.level_prices
            slopes = float(prices[..., 0].mean()), float(prices[..., -1].mean())
        return cls(sizes=sizes, costs=costs, slopes=slopes)

    def __post_init__(self):
        sizes, costs = np.array(self.sizes, float), np.atleast_2d(np.array(self.costs, float))
        ascending = sizes.size >= 2 and sizes[0] == 0 and (np.diff(sizes) > 0).all()
        check("sizes", sizes, "two or more, ascending from 0", ascending)
        check("costs", costs.shape[-1], f"one column per size ({sizes.size})", costs.shape[-1] == sizes.size)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "costs", costs)
        check("costs", costs[:, 0], "0 at size 0", costs[:, 0] == 0)
        bend = float(np.diff(self._marginal).min())
        rounding = 1e-9 * self.slopes[1]
        check("costs", bend, "convex between the slopes (smallest bend at least 0)", bend >= -rounding)

    def above(self, volume: FloatValues) -> FloatValues:
        """Return an upper bound of C, by chords."""
        beyond = self.slopes[1] * np.maximum(volume - self.sizes[-1], 0.0)
        return np.interp(volume, self.sizes, self._mean) + beyond

    def below(self, volume: FloatValues) -> FloatValues:
        """Return a lower bound of C, by the extended chords of the adjacent cells."""
        sizes, mean, marginal = self.sizes, self._mean, self._marginal
        cell = np.clip(np.searchsorted(sizes, volume, "right") - 1, 0, sizes.size - 2)
        from_left = mean[cell] + marginal[cell] * (volume - sizes[cell])
        from_right = mean[cell + 1] - marginal[cell + 2] * (sizes[cell + 1] - volume)
        beyond = mean[-1] + marginal[-2] * (volume - sizes[-1])
        return np.where(volume > sizes[-1], beyond, np.maximum(from_left, from_right))

    def standard_error(self, volume: FloatValues, weights: FloatArray) -> float:
        """Return the standard error of Σ weight C(volume) over replicates; 0 if there is only one."""
        if len(self.costs) == 1:
            return 0.0
        each = [np.interp(volume, self.sizes, row) @ weights for row in self.costs]
        return float(np.std(each, ddof=1) / np.sqrt(len(each)))

    @cached_property
    def _mean(self) -> FloatArray:
        return self.costs.mean(0)

    @cached_property
    def _marginal(self) -> FloatArray:
        """Slopes before the first size, of each chord, and after the last size."""
        chords = np.diff(self._mean) / np.diff(self.sizes)
        return np.concatenate([self.slopes[:1], chords, self.slopes[1:]])


def expected_costs(
    book: ReferenceBook, sizes: ArrayLike, *, points: int = 1024, replicates: int = 16, seed: int = 0
) -> FloatArray:
    """Return estimates of E[v S_ref(v)] of shape (replicates, sizes), one row per independent replicate.

    The estimate is the mean over rows, and its standard error the standard deviation over rows divided by √replicates.
    At size 1 it is E[S_ref(1)], the value of a unit order at ε = 0. `points`, the number of snapshots per replicate, is
    a power of two.
    """
    with jax.enable_x64(True):
        return _mean_costs(sampled_books(book, points, replicates, seed), np.asarray(sizes, float))


@jax.jit
def _replicate_costs(snapshots: Snapshot, sizes: jax.Array) -> jax.Array:
    def mean_cost(size):
        return snapshots.cost(jnp.full_like(snapshots.spread, size)).mean(-1)

    return jax.lax.map(mean_cost, sizes)


def _mean_costs(snapshots: Snapshot, sizes: FloatArray) -> FloatArray:
    return np.asarray(_replicate_costs(snapshots, jnp.asarray(sizes)), float).T


def sampled_books(book: ReferenceBook, points: int, replicates: int, seed: int) -> Snapshot:
    """Return snapshots of shape (replicates, points); each replicate has its own scrambled Sobol' points."""
    from scipy.stats import qmc  # imported here because it takes most of a second

    check("points", points, "a power of two", points > 0 and points & (points - 1) == 0)
    check("replicates", replicates, "at least 1", replicates >= 1)
    seeds = np.random.SeedSequence(seed).spawn(replicates)
    uniform = np.stack([qmc.Sobol(4, rng=np.random.default_rng(each)).random(points) for each in seeds])
    normal = jnp.asarray(ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)))
    best_volume = gamma_from_normal(book.best_volume_shape, normal[..., 1])
    return book.snapshot(BookShock(spread=normal[..., 0], best_volume=best_volume, shape=normal[..., 2:]))
