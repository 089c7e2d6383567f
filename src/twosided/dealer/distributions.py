"""Laws of a real number that exact results can be computed from: finite mixtures of points and uniforms.

    X ~ Σ_i p_i δ(value_i) + Σ_j q_j Uniform[low_j, high_j],    Σ p_i + Σ q_j = 1

Uniform, PointMass and Empirical are such mixtures and so is any mixture of them, so every probability below
is a sum in float64: nothing is sampled or integrated numerically. In a market they describe what a maker
draws anew on every step: its epsilon on one side, or the fraction of its inventory that it hedges.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from twosided.core.numeric import Array
from twosided.core.validation import check

NONE = np.zeros(0)


class Distribution(abc.ABC):
    """The law of a real number: a finite mixture of point masses (atoms) and uniforms (slabs)."""

    @abc.abstractmethod
    def parts(self) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        """The mixture, in any order: atoms (values, weights) and slabs (lows, highs, weights)."""

    @cached_property
    def atoms(self) -> tuple[Array, Array]:
        """Values of positive probability, ascending and distinct, and their probabilities."""
        values, weights = self.parts()[0]
        values, weights = values[weights > 0], weights[weights > 0]
        distinct, position = np.unique(values, return_inverse=True)
        merged = np.zeros(distinct.size)
        np.add.at(merged, position, weights)
        return distinct, merged

    @cached_property
    def slabs(self) -> tuple[Array, Array, Array]:
        """Lows, highs and probabilities of the uniforms; they may overlap."""
        lows, highs, weights = self.parts()[1]
        return lows[weights > 0], highs[weights > 0], weights[weights > 0]

    @cached_property
    def breakpoints(self) -> Array:
        """Where the cdf jumps or its slope changes, ascending: it is linear in between."""
        return np.unique(np.concatenate([self.atoms[0], *self.slabs[:2]]))

    @property
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return float(self.breakpoints[0]), float(self.breakpoints[-1])

    @property
    def mean(self) -> float:
        (values, weights), (lows, highs, slab_weights) = self.atoms, self.slabs
        return float(values @ weights + (lows + highs) / 2 @ slab_weights)

    def cdf(self, x: ArrayLike) -> Array:
        """P[X <= x]."""
        return self._atoms_below(x, "right") + self._slabs_below(x)

    def cdf_left(self, x: ArrayLike) -> Array:
        """P[X < x]."""
        return self._atoms_below(x, "left") + self._slabs_below(x)

    def survival(self, x: ArrayLike) -> Array:
        """P[X > x], summed from above so that it is exactly 0 beyond the support."""
        x = np.asarray(x, float)
        values, weights = self.atoms
        tails = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        lows, highs, slab_weights = self.slabs
        share = np.clip((highs - x[..., None]) / (highs - lows), 0.0, 1.0)
        return tails[np.searchsorted(values, x, "right")] + share @ slab_weights

    def mass(self, x: ArrayLike) -> Array:
        """P[X = x]."""
        x = np.asarray(x, float)
        values, weights = self.atoms
        position = np.searchsorted(values, x)
        found = np.append(values, np.nan)[position] == x
        return np.where(found, np.append(weights, 0.0)[position], 0.0)

    def density(self, x: ArrayLike) -> Array:
        """The density of the uniforms, at points that are no breakpoints."""
        x = np.asarray(x, float)[..., None]
        lows, highs, weights = self.slabs
        return ((lows < x) & (x < highs)) @ (weights / (highs - lows))

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Independent draws."""
        (values, weights), (lows, highs, slab_weights) = self.atoms, self.slabs
        low, high = np.append(values, lows), np.append(values, highs)
        chance = np.append(weights, slab_weights)
        part = rng.choice(chance.size, size, p=chance / chance.sum())
        return low[part] + (high[part] - low[part]) * rng.random(size)

    def _atoms_below(self, x: ArrayLike, side) -> Array:
        values, weights = self.atoms
        return np.append(0.0, np.cumsum(weights))[np.searchsorted(values, np.asarray(x, float), side)]

    def _slabs_below(self, x: ArrayLike) -> Array:
        lows, highs, weights = self.slabs
        return np.clip((np.asarray(x, float)[..., None] - lows) / (highs - lows), 0.0, 1.0) @ weights


@dataclass(frozen=True)
class Uniform(Distribution):
    """Every value of an interval alike."""

    low: float
    """Smallest value."""
    high: float
    """Largest value, above low."""

    def __post_init__(self):
        check("low", self.low, "finite", lambda: np.isfinite(self.low))
        above = f"finite and above low ({self.low}; a single value is a PointMass)"
        check("high", self.high, above, lambda: np.isfinite(self.high) and self.high > self.low)

    def parts(self):
        return (NONE, NONE), (np.array([float(self.low)]), np.array([float(self.high)]), np.ones(1))


@dataclass(frozen=True)
class PointMass(Distribution):
    """One value with certainty."""

    value: float
    """The value."""

    def __post_init__(self):
        check("value", self.value, "finite", lambda: np.isfinite(self.value))

    def parts(self):
        return (np.array([float(self.value)]), np.ones(1)), (NONE, NONE, NONE)


@dataclass(frozen=True)
class Mixture(Distribution):
    """A component drawn by its weight, then a value from it."""

    components: Sequence[Distribution]
    """The laws that are mixed, one or more."""
    weights: Sequence[float]
    """One a component, at least 0, in proportion to its probability."""

    def __post_init__(self):
        object.__setattr__(self, "components", tuple(self.components))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        count = len(self.components)
        check("components", count, "one or more laws", count > 0)
        _check_weights(self.weights, count, "component")

    def parts(self):
        shares = np.array(self.weights) / sum(self.weights)
        values, weights, lows, highs, slab_weights = [], [], [], [], []
        for component, share in zip(self.components, shares, strict=True):
            values.append(component.atoms[0])
            weights.append(share * component.atoms[1])
            lows.append(component.slabs[0])
            highs.append(component.slabs[1])
            slab_weights.append(share * component.slabs[2])
        joined = [np.concatenate(part) for part in (values, weights, lows, highs, slab_weights)]
        return (joined[0], joined[1]), (joined[2], joined[3], joined[4])


@dataclass(frozen=True, eq=False)
class Empirical(Distribution):
    """The law of observed samples, such as an adaptive maker's quotes after it has settled."""

    samples: ArrayLike
    """What was observed, one or more values."""
    weights: ArrayLike | None = None
    """One a sample, at least 0, in proportion to its probability; all alike if None."""

    def __post_init__(self):
        samples = np.array(self.samples, float).ravel()
        check("samples", samples.size, "one or more values", samples.size > 0)
        bad = samples[~np.isfinite(samples)]
        check("samples", bad[:1], "finite", bad.size == 0)
        weights = np.ones(samples.size) if self.weights is None else np.array(self.weights, float).ravel()
        _check_weights(weights, samples.size, "sample")
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "weights", weights)

    def parts(self):
        weights = np.asarray(self.weights)
        return (np.asarray(self.samples), weights / weights.sum()), (NONE, NONE, NONE)


def _check_weights(weights: ArrayLike, count: int, what: str) -> None:
    weights = np.asarray(weights)
    check("weights", weights.size, f"one a {what} ({count})", weights.size == count)
    bad = weights[~(np.isfinite(weights) & (weights >= 0))]
    check("weights", bad[:1], "finite and at least 0", bad.size == 0)
    check("weights", float(weights.sum()), "of a positive sum", weights.sum() > 0)
