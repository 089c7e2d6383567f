"""Likelihood of returns with the variance integrated out, on a grid of volatilities that follows the data.

A point-mass filter (Bucy & Senne 1971). With α_t(j) the weight of grid point y_t(j) = √V after block t,

    α_{t+1}(i) ∝ Σ_j α_t(j) h p(y_{t+1}(i) | y_t(j)) p(block t + 1 | y_t(j), y_{t+1}(i))

with the densities of transition.py and h the spacing of the new grid. The points are the midpoints of their cells, so
that on a grid that starts at 0 the folded normal is integrated as an even function; such midpoint sums converge faster
than any power of h once h is below τ. The likelihood is deterministic and exact in the limit of a fine grid, and so is
its gradient. The likelihood of a particle filter is not smooth, and its derivative is biased.

Each step has its own grid, around the volatility that the filter expects, so that 48 points are enough. Where τ is
below 0.7 h, the sum would miss the density between points. Such a block is treated as one with a larger σ, by a smooth
transition that changes neither the mean of V' nor the variance of the return. The same is done where a return
determines y' too precisely for the grid. `grid_error` measures the resulting error.

The gradient is a hand-written backward pass of the same cost. With β_t(i) the derivative of the log likelihood with
respect to α_t(i), and K the kernel between two grids, the derivative with respect to a number that K_ij depends on is
Σ_i α(j) β(i) ∂K_ij. All of these are products of K, of its reflected part, or of K over the average variance, with β
times a power of y or V. Between the passes only α is stored (blocks by points). The parts of K that do not depend on
the parameters are stored with the grid.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.heston.blocks import Blocks, realized_variance
from twosided.heston.transition import (
    Parameters,
    ReturnDistribution,
    VolatilityDistribution,
    log_block_density,
    return_distribution,
    volatility_distribution,
)

DEFAULT_POINTS = 48
"""Default number of grid points."""
MIN_STD_IN_SPACINGS = 0.7
"""Smallest standard deviation of a kernel, in grid spacings, at which the sum over points is right to 1e-4."""
REFERENCE_POINTS = 192
"""Number of grid points at which the likelihood counts as exact."""
MIN_WEIGHT = 1e-36
"""Weight added to every grid point, so that parameters under which the data are nearly impossible do not give NaN."""
INITIAL_GRID_REACH = 2.65
"""Upper end of the initial grid over the realized volatility: seven times the realized variance."""
_matmul = functools.partial(jnp.matmul, precision="highest")
"""Matrix product in full single precision on every device; the default of a GPU has three digits."""


class Grid(eqx.Module):
    """Grid of volatilities at the end of each block, with the parts of the log density that depend on it alone.

    The points are the midpoints of equal cells between `low` and `high`.
    """

    low: Float[Array, "blocks"]
    """Lower end of the grid after each block."""
    high: Float[Array, "blocks"]
    """Upper end of the grid after each block."""
    inverse_average: Float[Array, "transitions points points"]
    """2 / (V + V') for each point after a block (V') and before it (V); without the first block, which starts at v0."""
    log_normalizer: Float[Array, "transitions points points"]
    """-n/2 log((V + V')/2), the normalizing term of a block's log density, less `max_log_density`."""
    max_log_density: Float[Array, "blocks"]
    """Maximum over the grid of the log density of a block's squared returns."""

    @classmethod
    def of(
        cls, blocks: Blocks, low: Float[Array, "blocks"], high: Float[Array, "blocks"], points: int
    ) -> "Grid":
        """Make a grid with the given ends and number of points."""
        total, number = blocks.total_squares, blocks.returns_per_block
        v = jnp.square(_midpoints(low, high, points))
        best = jnp.clip(total / number, v[:, 0], v[:, -1])
        max_log_density = -(number * jnp.log(best) + total / best) / 2
        twice_average = v[1:, :, None] + v[:-1, None, :]
        return cls(
            low,
            high,
            2 / twice_average,
            -number / 2 * jnp.log(twice_average / 2) - max_log_density[1:, None, None],
            max_log_density,
        )

    @property
    def points(self) -> int:
        """Number of points."""
        return self.inverse_average.shape[-1]

    @property
    def spacing(self) -> Float[Array, "blocks"]:
        """h, distance between neighbouring points after each block."""
        return (self.high - self.low) / self.points

    @property
    def y(self) -> Float[Array, "blocks points"]:
        """The grid points √V after each block."""
        return _midpoints(self.low, self.high, self.points)


def _midpoints(low: Array, high: Array, points: int) -> Float[Array, "blocks points"]:
    return low[:, None] + ((high - low) / points)[:, None] * (jnp.arange(points) + 0.5)


class FilteredVolatility(NamedTuple):
    """Moments of the volatility √V at the end of each block, given that block and those before it."""

    mean: Float[Array, "blocks"]
    """E[√V]."""
    std: Float[Array, "blocks"]
    """Standard deviation of √V."""
    expected_variance: Float[Array, "blocks"]
    """E[V]."""


def initial_grid(blocks: Blocks, points: int = DEFAULT_POINTS) -> Grid:
    """Return a grid from 0 to INITIAL_GRID_REACH times the realized volatility."""
    high = jnp.asarray(INITIAL_GRID_REACH * np.sqrt(realized_variance(blocks)))
    return Grid.of(blocks, jnp.zeros_like(high), high, points)


def adapted_grid(p: Parameters, blocks: Blocks, points: int = DEFAULT_POINTS, num_stds: float = 6.0) -> Grid:
    """Return a grid around the filter at the given parameters, `num_stds` standard deviations to either side."""
    grid = initial_grid(blocks, points)
    # A grid that misses a jump moves most of the way only; after three rounds the starting grid no longer matters.
    for _ in range(3):
        grid = recenter_grid(p, blocks, grid, num_stds)
    return grid


@eqx.filter_jit
def recenter_grid(p: Parameters, blocks: Blocks, grid: Grid, num_stds: float = 6.0) -> Grid:
    """Return a grid around the filter on another grid, with a margin of 5% of the volatility."""
    found = filter_volatility(p, blocks, grid)
    reach = num_stds * found.std + 0.05 * found.mean
    return Grid.of(blocks, jnp.maximum(found.mean - reach, 0.0), found.mean + reach, grid.points)


@eqx.filter_jit
def filter_volatility(p: Parameters, blocks: Blocks, grid: Grid) -> FilteredVolatility:
    """Return the filter's moments at the end of each block."""
    weights, y = _filter(p, blocks, grid)[1], grid.y
    mean = (weights * y).sum(1)
    variance = (weights * jnp.square(y - mean[:, None])).sum(1)
    return FilteredVolatility(mean, jnp.sqrt(variance), (weights * jnp.square(y)).sum(1))


def grid_error(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """Return the log likelihood on a grid less that on a finer grid adapted to the parameters.

    The finer grid has twice the points, but at most REFERENCE_POINTS unless the grid has more already. If the error
    differs between parameters, the grid is too coarse for some of them or too narrow for others.
    """
    fine = adapted_grid(p, blocks, max(grid.points, min(2 * grid.points, REFERENCE_POINTS)))
    return log_likelihood(p, blocks, grid) - log_likelihood(p, blocks, fine)


@eqx.filter_jit
def log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """Return the log likelihood of all blocks, up to a constant that does not depend on the parameters."""
    return relative_log_likelihood(p, blocks, grid) + grid.max_log_density.sum()


def relative_log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """Return the log likelihood less a constant of the grid, which keeps digits on long data in single precision."""
    return _filter(p, blocks, grid)[0]


def _filter(
    p: Parameters, blocks: Blocks, grid: Grid
) -> tuple[Float[Array, ""], Float[Array, "blocks points"]]:
    """Return the relative log likelihood, and α after each block."""
    first, weights = _first_block(p, blocks, grid)
    rest, later = _sum_over_paths(weights, *_kernel_terms(p, blocks, grid))
    return first + rest, jnp.concatenate([weights[None], later])


def _first_block(
    p: Parameters, blocks: Blocks, grid: Grid
) -> tuple[Float[Array, ""], Float[Array, "points"]]:
    """Return the log likelihood of the first block, which starts at v0 rather than on a grid, and α after it."""
    y = grid.y[0]
    volatility, returns = widened_distributions(p, p.v0, blocks.length, grid.spacing[0])
    direct, reflected = (-jnp.square((y + sign * volatility.mean) / volatility.std) / 2 for sign in (-1, 1))
    log_transition = jnp.logaddexp(direct, reflected) - jnp.log(
        volatility.std * jnp.sqrt(2 * jnp.pi) / grid.spacing[0]
    )
    log_density = log_block_density(
        returns,
        p.v0,
        jnp.square(y),
        blocks.scaled_return[0],
        blocks.sum_squares[0],
        blocks.degrees_of_freedom,
    )
    log_weights = log_transition + log_density - grid.max_log_density[0]
    total = jax.nn.logsumexp(log_weights)
    return total, jnp.exp(log_weights - total)


class _SourceTerms(NamedTuple):
    """Quantities of a kernel that depend on the source point y (the columns); blocks by points."""

    log_scale: Array
    """Logarithm of h / (τ √(2 π (1 - ρ²)))."""
    mean: Array
    """M."""
    log_std: Array
    """Logarithm of τ."""
    innovation: Array
    """Return over √δ less its terms without V'."""
    end_slope: Array
    """Coefficient of V' in the return."""
    residual: Array
    """1 - ρ²."""


class _TargetTerms(NamedTuple):
    """Quantities of a kernel that depend on the data and the grids alone."""

    y: Array
    """Target points y' (the rows), blocks by points."""
    half_squares: Array
    """Half of a block's sum of squares."""
    inverse_average: Array
    """2 / (V + V')."""
    log_normalizer: Array
    """Normalizing term of a block's log density."""


def _kernel_terms(p: Parameters, blocks: Blocks, grid: Grid) -> tuple[_SourceTerms, _TargetTerms]:
    """Return the terms of the kernels of all blocks but the first."""
    y, spacing = grid.y, grid.spacing[1:, None]
    v = jnp.square(y[:-1])
    volatility, returns = widened_distributions(p, v, blocks.length, spacing)
    source = _SourceTerms(
        log_scale=jnp.log(spacing / (volatility.std * jnp.sqrt(2 * jnp.pi))) - jnp.log(returns.residual) / 2,
        mean=volatility.mean,
        log_std=jnp.log(volatility.std),
        innovation=blocks.scaled_return[1:, None] - returns.intercept - returns.start_slope * v,
        end_slope=returns.end_slope,
        residual=returns.residual,
    )
    return source, _TargetTerms(y[1:], blocks.sum_squares[1:] / 2, grid.inverse_average, grid.log_normalizer)


def widened_distributions(
    p: Parameters, v: Array, length: Array, spacing: Array
) -> tuple[VolatilityDistribution, ReturnDistribution]:
    """Return the distributions of a block that starts at variance v, widened to what a grid of this spacing resolves.

    They are those of a larger σ where τ is below MIN_STD_IN_SPACINGS times the spacing; the mean of V' and the variance
    of the return do not change.
    """
    exact = volatility_distribution(p, v, length)
    std = _smooth_max(exact.std, MIN_STD_IN_SPACINGS * spacing)
    # Keeps E[V'] = M² + τ² to first order in the increase of τ², without the root of a difference that may be negative.
    increase, square = jnp.square(std) - jnp.square(exact.std), jnp.square(exact.mean)
    mean = square / jnp.sqrt(square + increase)
    # Given the return, y' has a standard deviation of τ √(1 - ρ²) / |ρ|.
    residual = _smooth_max(1 - jnp.square(p.rho), jnp.square(MIN_STD_IN_SPACINGS * p.rho * spacing / std))
    rho = p.rho / jnp.sqrt(jnp.square(p.rho) + residual)
    widened = p._replace(sigma=p.sigma * std / exact.std, rho=rho)
    return VolatilityDistribution(mean, std), return_distribution(widened, length)


def _smooth_max(x: Array, bound: Array) -> Array:
    """Return a smooth maximum of the two: an 8-norm, which hardly changes a larger x and is 9% above an equal one."""
    larger = jnp.maximum(x, bound)
    # The ratio of the smaller to the larger cannot overflow if the bound is 0, as it is for ρ = 0.
    ratio = jnp.square(jnp.square(jnp.square(jnp.minimum(x, bound) / larger)))
    return larger * jnp.sqrt(jnp.sqrt(jnp.sqrt(1 + ratio)))


@jax.custom_vjp
def _sum_over_paths(start, source: _SourceTerms, target: _TargetTerms):
    """Return log Σ over paths of Π_t scale_t K_t from initial weights, and the weights after each block.

    The derivative of the weights is not propagated.
    """
    value, weights, _ = _forward(start, source, target)
    return value, weights


class _Kernel(NamedTuple):
    """Factors of a block's kernel, by target point and by source point.

    (y' - M)² / 2 τ² and the square of the return's innovation are polynomials in y' and V'. They are computed as
    products of three powers with three coefficients, in half the time of an evaluation for every pair of points. Both
    polynomials are about the grid's centre, since y' and V' themselves would lose digits.
    """

    y: Array
    """Target points."""
    y_offset: Array
    """y' less its value at the grid's centre."""
    v_offset: Array
    """V' less its value at the grid's centre."""
    transition: Array
    """Coefficients of 1, y' and y'² in -(y' - M)² / 2 τ², three by points."""
    innovation: Array
    """Coefficients of 1, V' and V'² in half the square of the innovation over 1 - ρ², three by points."""
    reflection: Array
    """-2 M / τ², the exponent's coefficient of y' from the density at y' to that at -y'."""

    @classmethod
    def of(cls, source: _SourceTerms, target: _TargetTerms) -> "_Kernel":
        """Make the factors from the terms of all blocks but the first."""
        y, center, slope = target.y, _center(target), source.end_slope
        precision, shift = jnp.exp(-2 * source.log_std), source.mean - center
        innovation = source.innovation - slope * jnp.square(center)
        in_y = -jnp.square(shift), 2 * shift, -jnp.ones_like(shift)
        in_v = jnp.square(innovation), -2 * slope * innovation, jnp.square(slope)
        return cls(
            y=y,
            y_offset=y - center,
            v_offset=jnp.square(y) - jnp.square(center),
            transition=jnp.stack(in_y, axis=1) * precision[:, None] / 2,
            innovation=jnp.stack(in_v, axis=1) / (2 * source.residual)[:, None],
            reflection=-2 * source.mean * precision,
        )

    def matrices(self, target: _TargetTerms) -> tuple[Array, Array]:
        """Return the kernel and its reflected part, each target points by source points."""
        transition = _matmul(_powers(self.y_offset).T, self.transition)
        innovation = _matmul(_powers(self.v_offset).T, self.innovation)
        # A square that rounding makes negative would be an exponent without a bound.
        transition, squares = jnp.minimum(transition, 0.0), target.half_squares + jnp.maximum(innovation, 0.0)
        direct = jnp.exp(target.log_normalizer + transition - squares * target.inverse_average)
        reflected = direct * jnp.exp(_matmul(self.y[:, None], self.reflection[None, :]))
        return direct + reflected, reflected


def _powers(x: Float[Array, "points"]) -> Float[Array, "3 points"]:
    return jnp.stack([jnp.ones_like(x), x, jnp.square(x)])


def _center(target: _TargetTerms) -> Float[Array, "blocks 1"]:
    return target.y[:, target.y.shape[1] // 2, None]


def _forward(start, source: _SourceTerms, target: _TargetTerms):
    """Return the log likelihood, α after each block, and the normalizing constants."""
    ones = jnp.ones_like(start)

    def step(alpha, block):
        kernel, target, scale = block
        after = _matmul(kernel.matrices(target)[0], alpha * scale) + MIN_WEIGHT
        total = _matmul(after, ones)  # a product is one call, a sum two
        return after / total, (after / total, total)

    inputs = (_Kernel.of(source, target), target, jnp.exp(source.log_scale))
    _, (weights, totals) = jax.lax.scan(step, start, inputs)
    return jnp.log(totals).sum(), weights, totals


def _forward_pass(start, source: _SourceTerms, target: _TargetTerms):
    value, weights, totals = _forward(start, source, target)
    return (value, weights), (start, source, target, weights, totals)


def _backward_pass(residuals, cotangent):
    start, source, target, weights, totals = residuals
    cotangent, _ = cotangent
    scale = jnp.exp(source.log_scale)

    def step(beta, block):
        kernel, target, scale, total = block
        whole, reflected = kernel.matrices(target)
        beta = beta / total
        y_moments = _matmul(beta * _powers(kernel.y_offset), whole)
        reflected_moment = _matmul(beta * kernel.y, reflected)
        v_moments = _matmul(beta * _powers(kernel.v_offset), whole * target.inverse_average)
        return scale * y_moments[0], (y_moments, reflected_moment, v_moments)

    # Everything that the recursion does not need is computed after the loop for all blocks at once: each operation in
    # the loop's body costs a call per block.
    inputs = (_Kernel.of(source, target), target, scale, totals)
    beta, (y_moments, reflected_moment, v_moments) = jax.lax.scan(
        step, jnp.ones_like(start), inputs, reverse=True
    )
    alpha = jnp.concatenate([start[None], weights[:-1]])
    share, precision, center = cotangent * alpha * scale, jnp.exp(-2 * source.log_std), _center(target)
    y0, y1, y2 = jnp.moveaxis(y_moments, 1, 0)
    shift = source.mean - center
    by_mean = (y1 - shift * y0 - 2 * reflected_moment) * precision
    by_precision = y2 - 2 * shift * y1 + jnp.square(shift) * y0 + 4 * source.mean * reflected_moment
    v0, v1, v2 = jnp.moveaxis(v_moments, 1, 0)
    slope = source.end_slope
    innovation = source.innovation - slope * jnp.square(center)
    by_innovation = innovation * v0 - slope * v1
    by_residual = jnp.square(innovation) * v0 - 2 * innovation * slope * v1 + jnp.square(slope) * v2
    by_slope = jnp.square(center) * by_innovation + innovation * v1 - slope * v2
    by_source = _SourceTerms(
        log_scale=share * y0,
        mean=share * by_mean,
        log_std=share * by_precision * precision,
        innovation=-share * by_innovation / source.residual,
        end_slope=share * by_slope / source.residual,
        residual=share * by_residual / (2 * jnp.square(source.residual)),
    )
    # The target terms do not depend on the parameters; the compiler drops their zeros.
    return (
        cotangent * beta,
        by_source,
        jax.tree.map(jnp.zeros_like, target),
    )


_sum_over_paths.defvjp(_forward_pass, _backward_pass)
