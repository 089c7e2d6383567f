"""Probability distributions on the real line for which the exact results are computed: mixtures of atoms and uniforms.

    X ~ Σ_i p_i δ(value_i) + Σ_j q_j Uniform[low_j, high_j],    Σ p_i + Σ q_j = 1

Uniform, PointMass and Empirical are such mixtures, and so is any mixture of them. Every probability below is a finite
sum in float64; nothing is sampled or integrated numerically. In the dealer market they are the distributions from which
a maker draws ε_b, ε_s or the hedge fraction x, independently in each step.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from twosided.core.numeric import FloatArray, FloatValues
from twosided.core.validation import check

EMPTY = np.zeros(0)


class Distribution(abc.ABC):
    """Probability distribution on the real line: a finite mixture of point masses (atoms) and uniforms."""

    @abc.abstractmethod
    def parts(self) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray]]:
        """Return the mixture, in any order: atoms (values, weights) and uniforms (lows, highs, weights)."""

    @cached_property
    def atoms(self) -> tuple[FloatArray, FloatArray]:
        """Values with positive probability, distinct and ascending, and their probabilities."""
        values, weights = self.parts()[0]
        values, weights = values[weights > 0], weights[weights > 0]
        distinct, position = np.unique(values, return_inverse=True)
        merged = np.zeros(distinct.size)
        np.add.at(merged, position, weights)
        return distinct, merged

    @cached_property
    def uniforms(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Lower ends, upper ends and probabilities of the uniforms, which may overlap."""
        lows, highs, weights = self.parts()[1]
        return lows[weights > 0], highs[weights > 0], weights[weights > 0]

    @cached_property
    def breakpoints(self) -> FloatArray:
        """Points where the cdf jumps or changes slope, ascending; the cdf is linear between them."""
        return np.unique(np.concatenate([self.atoms[0], *self.uniforms[:2]]))

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.breakpoints[0]), float(self.breakpoints[-1])

    @property
    def mean(self) -> float:
        """E[X]."""
        (values, weights), (lows, highs, uniform_weights) = self.atoms, self.uniforms
        return float(values @ weights + (lows + highs) / 2 @ uniform_weights)

    def cdf(self, x: ArrayLike) -> FloatValues:
        """Cumulative distribution function, P[X <= x]."""
        return self._atoms_below(x, "right") + self._uniforms_below(x)

    def cdf_left(self, x: ArrayLike) -> FloatValues:
        """Left limit of the cdf, P[X < x]."""
        return self._atoms_below(x, "left") + self._uniforms_below(x)

    def survival(self, x: ArrayLike) -> FloatValues:
        """Survival function, P[X > x]; summed from above, so that it is exactly 0 beyond the support."""
        x = np.asarray(x, float)
        values, weights = self.atoms
        tails = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        lows, highs, uniform_weights = self.uniforms
        share = np.clip((highs - x[..., None]) / (highs - lows), 0.0, 1.0)
        return tails[np.searchsorted(values, x, "right")] + share @ uniform_weights

    def mass(self, x: ArrayLike) -> FloatValues:
        """Probability mass, P[X = x]."""
        x = np.asarray(x, float)
        values, weights = self.atoms
        position = np.searchsorted(values, x)
        found = np.append(values, np.nan)[position] == x
        return np.where(found, np.append(weights, 0.0)[position], 0.0)

    def density(self, x: ArrayLike) -> FloatValues:
        """Density of the uniforms, at points that are not breakpoints."""
        x = np.asarray(x, float)[..., None]
        lows, highs, weights = self.uniforms
        return ((lows < x) & (x < highs)) @ (weights / (highs - lows))

    def sample(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Draw independent samples."""
        (values, weights), (lows, highs, uniform_weights) = self.atoms, self.uniforms
        low, high = np.append(values, lows), np.append(values, highs)
        probabilities = np.append(weights, uniform_weights)
        component = rng.choice(probabilities.size, size, p=probabilities / probabilities.sum())
        return low[component] + (high[component] - low[component]) * rng.random(size)

    def _atoms_below(self, x: ArrayLike, side) -> FloatValues:
        values, weights = self.atoms
        return np.append(0.0, np.cumsum(weights))[np.searchsorted(values, np.asarray(x, float), side)]

    def _uniforms_below(self, x: ArrayLike) -> FloatValues:
        lows, highs, weights = self.uniforms
        return np.clip((np.asarray(x, float)[..., None] - lows) / (highs - lows), 0.0, 1.0) @ weights


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform distribution on [low, high]."""

    low: float
    """Lower end."""
    high: float
    """Upper end, above low."""

    def __post_init__(self):
        check("low", self.low, "finite", lambda: np.isfinite(self.low))
        above = f"finite and above low ({self.low}; a single value is a PointMass)"
        check("high", self.high, above, lambda: np.isfinite(self.high) and self.high > self.low)

    def parts(self):
        return (EMPTY, EMPTY), (np.array([float(self.low)]), np.array([float(self.high)]), np.ones(1))


@dataclass(frozen=True)
class PointMass(Distribution):
    """Point mass: a constant."""

    value: float
    """The value."""

    def __post_init__(self):
        check("value", self.value, "finite", lambda: np.isfinite(self.value))

    def parts(self):
        return (np.array([float(self.value)]), np.ones(1)), (EMPTY, EMPTY, EMPTY)


@dataclass(frozen=True)
class Mixture(Distribution):
    """Mixture of distributions, Σ_k w_k F_k."""

    components: Sequence[Distribution]
    """Distributions F_k, one or more."""
    weights: Sequence[float]
    """Weights proportional to w_k, one per component, at least 0."""

    def __post_init__(self):
        object.__setattr__(self, "components", tuple(self.components))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        count = len(self.components)
        check("components", count, "one or more distributions", count > 0)
        _check_weights(self.weights, count, "component")

    def parts(self):
        shares = np.array(self.weights) / sum(self.weights)
        values, weights, lows, highs, uniform_weights = [], [], [], [], []
        for component, share in zip(self.components, shares, strict=True):
            values.append(component.atoms[0])
            weights.append(share * component.atoms[1])
            lows.append(component.uniforms[0])
            highs.append(component.uniforms[1])
            uniform_weights.append(share * component.uniforms[2])
        joined = [np.concatenate(arrays) for arrays in (values, weights, lows, highs, uniform_weights)]
        return (joined[0], joined[1]), (joined[2], joined[3], joined[4])


@dataclass(frozen=True, eq=False)
class Empirical(Distribution):
    """Empirical distribution of a sample, such as the quotes of an adaptive maker after convergence."""

    samples: ArrayLike
    """Observed values, one or more."""
    weights: ArrayLike | None = None
    """Weights proportional to the probabilities, one per value, at least 0; None for equal weights."""

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
        return (np.asarray(self.samples), weights / weights.sum()), (EMPTY, EMPTY, EMPTY)


def _check_weights(weights: ArrayLike | Sequence[float], count: int, what: str) -> None:
    weights = np.asarray(weights)
    check("weights", weights.size, f"one per {what} ({count})", weights.size == count)
    bad = weights[~(np.isfinite(weights) & (weights >= 0))]
    check("weights", bad[:1], "finite and at least 0", bad.size == 0)
    check("weights", float(weights.sum()), "numbers with a positive sum", weights.sum() > 0)
