"""The likelihood of returns with the variance integrated out, on a grid of volatilities that moves with the data.

A point-mass filter (Bucy & Senne 1971): with α_t(j) the weight of grid point y_t(j) = √V after block t,

    α_{t+1}(i) ∝ Σ_j α_t(j) h p(y_{t+1}(i) | y_t(j)) p(block t + 1 | y_t(j), y_{t+1}(i))

with the laws of law.py and h the new grid's spacing. Points stand in the middle of their cells, so that a grid from 0
on sees the folded normal as an even function; sums of such converge faster than any power of h once h is below τ.
Exact in the limit and with nothing random about it, it has a gradient that is both too; a particle filter's likelihood
is neither smooth nor, differentiated, unbiased.

Each step's grid is its own, around where the filter is expected, so that 48 points do. Where τ is smaller than 0.7 h a
sum would see spikes, and the block counts as one of a larger σ (smoothly), which moves neither the mean of V' nor the
variance of the return; so it is where a return holds y' too narrowly. `misjudged` says what that costs.

The gradient is a backward pass of the same cost. With β_t(i) the derivative of the log likelihood by α_t(i) and K the
kernel between two grids, the derivative by a number that K_ij depends on is Σ_i α(j) β(i) ∂K_ij, and all of those are
products of K, of its mirrored part and of K over the variance held with β times a power of y or V. What is kept between
passes is α (blocks by points); the parts of K that no parameter changes are kept with the grid.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.heston.blocks import Blocks, variance_path
from twosided.heston.law import Parameters, ReturnLaw, VolatilityLaw, log_seen, return_law, volatility_law

POINTS = 48
NARROWEST = 0.7
"""Of a kernel's deviation, in spacings: the sum over points is then right to 1e-4."""
FINE = 192
"""Points that are taken for exact."""
LEAST = 1e-36
"""Added to every weight, so that parameters under which the data are all but impossible are that, and not NaN."""
FIRST_REACH = 2.65
"""The end of the first grid, in rough volatilities, before a filter has said where it is needed: seven variances."""
_product = functools.partial(jnp.matmul, precision="highest")
"""In single precision on all devices: a GPU's default has three digits."""


class Grid(eqx.Module):
    """Volatilities at the end of each block, middles of equal cells between two ends, and what data say of pairs."""

    low: Float[Array, "blocks"]
    high: Float[Array, "blocks"]
    held: Float[Array, "blocks-1 points points"]
    """2 / (V + V') for the points after a block, and before: all but the first, which begins at v0."""
    seen: Float[Array, "blocks-1 points points"]
    """What a block's degrees of freedom make of its log density: -n/2 log of the variance held, less `highest`."""
    highest: Float[Array, "blocks"]
    """The log density of a block's squares where it is highest on the grid."""

    @classmethod
    def of(
        cls, blocks: Blocks, low: Float[Array, "blocks"], high: Float[Array, "blocks"], points: int
    ) -> "Grid":
        total, number = blocks.total, blocks.number
        v = jnp.square(_middles(low, high, points))
        likeliest = jnp.clip(total / number, v[:, 0], v[:, -1])
        highest = -(number * jnp.log(likeliest) + total / likeliest) / 2
        twice = v[1:, :, None] + v[:-1, None, :]
        return cls(low, high, 2 / twice, -number / 2 * jnp.log(twice / 2) - highest[1:, None, None], highest)

    @property
    def points(self) -> int:
        return self.held.shape[-1]

    @property
    def spacing(self) -> Float[Array, "blocks"]:
        return (self.high - self.low) / self.points

    @property
    def y(self) -> Float[Array, "blocks points"]:
        return _middles(self.low, self.high, self.points)


def _middles(low: Array, high: Array, points: int) -> Float[Array, "blocks points"]:
    return low[:, None] + ((high - low) / points)[:, None] * (jnp.arange(points) + 0.5)


class Filtered(NamedTuple):
    """What the filter knows of the volatility √V at the end of each block, from that block and those before it."""

    mean: Float[Array, "blocks"]
    deviation: Float[Array, "blocks"]
    variance: Float[Array, "blocks"]
    """E[V]."""


def first_grid(blocks: Blocks, points: int = POINTS) -> Grid:
    """From 0 to beyond a rough volatility."""
    high = jnp.asarray(FIRST_REACH * np.sqrt(variance_path(blocks)))
    return Grid.of(blocks, jnp.zeros_like(high), high, points)


def own_grid(p: Parameters, blocks: Blocks, points: int = POINTS, deviations: float = 6.0) -> Grid:
    """Around where the filter is at some parameters."""
    grid = first_grid(blocks, points)
    # One that missed a jump moves most of the way only; after three, none knows where it began.
    for _ in range(3):
        grid = better_grid(p, blocks, grid, deviations)
    return grid


@eqx.filter_jit
def better_grid(p: Parameters, blocks: Blocks, grid: Grid, deviations: float = 6.0) -> Grid:
    """Around where the filter is on another grid, as wide as it needs there and a little wider."""
    found = filtered(p, blocks, grid)
    reach = deviations * found.deviation + 0.05 * found.mean
    return Grid.of(blocks, jnp.maximum(found.mean - reach, 0.0), found.mean + reach, grid.points)


@eqx.filter_jit
def filtered(p: Parameters, blocks: Blocks, grid: Grid) -> Filtered:
    """The filter's moments at the end of each block."""
    weights, y = _filter(p, blocks, grid)[1], grid.y
    mean = (weights * y).sum(1)
    spread = (weights * jnp.square(y - mean[:, None])).sum(1)
    return Filtered(mean, jnp.sqrt(spread), (weights * jnp.square(y)).sum(1))


def misjudged(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """The log likelihood on a grid less that on the parameters' own, of twice the points, or of FINE if that is fewer.

    Where it differs between parameters, the grid is too coarse for some or too narrow for others.
    """
    own = own_grid(p, blocks, max(grid.points, min(2 * grid.points, FINE)))
    return log_likelihood(p, blocks, grid) - log_likelihood(p, blocks, own)


@eqx.filter_jit
def log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """Of all blocks, but for what the parameters do not change."""
    return relative_log_likelihood(p, blocks, grid) + grid.highest.sum()


def relative_log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """The same less a constant of the grid, so that long data leave it digits in single precision."""
    return _filter(p, blocks, grid)[0]


def _filter(
    p: Parameters, blocks: Blocks, grid: Grid
) -> tuple[Float[Array, ""], Float[Array, "blocks points"]]:
    """The log likelihood, relative; and α after each block."""
    first, weights = _begin(p, blocks, grid)
    rest, later = _sum_over_paths(weights, *_terms(p, blocks, grid))
    return first + rest, jnp.concatenate([weights[None], later])


def _begin(p: Parameters, blocks: Blocks, grid: Grid) -> tuple[Float[Array, ""], Float[Array, "points"]]:
    """The first block, which begins at v0 and not on a grid."""
    y = grid.y[0]
    law, returns = _resolved(p, p.v0, blocks.length, grid.spacing[0])
    near, far = (-jnp.square((y + sign * law.mean) / law.deviation) / 2 for sign in (-1, 1))
    moved = jnp.logaddexp(near, far) - jnp.log(law.deviation * jnp.sqrt(2 * jnp.pi) / grid.spacing[0])
    seen = log_seen(returns, p.v0, jnp.square(y), blocks.move[0], blocks.squares[0], blocks.freedom)
    log_weights = moved + seen - grid.highest[0]
    total = jax.nn.logsumexp(log_weights)
    return total, jnp.exp(log_weights - total)


class _Columns(NamedTuple):
    """What a kernel depends on by the point that it leaves; blocks by points."""

    log_scale: Array
    mean: Array
    log_width: Array
    surprise: Array
    """The return over √δ less all that the variance ahead has no part in."""
    ahead: Array
    """The return's slope in the variance ahead."""
    free: Array


class _Rows(NamedTuple):
    """What it depends on beside, of the data and the grids alone."""

    y: Array
    """Of the point that it reaches, blocks by points."""
    squares: Array
    """Half of a block's sum of squares."""
    held: Array
    seen: Array


def _terms(p: Parameters, blocks: Blocks, grid: Grid) -> tuple[_Columns, _Rows]:
    """Of all blocks but the first."""
    y, spacing = grid.y, grid.spacing[1:, None]
    before = jnp.square(y[:-1])
    law, returns = _resolved(p, before, blocks.length, spacing)
    columns = _Columns(
        log_scale=jnp.log(spacing / (law.deviation * jnp.sqrt(2 * jnp.pi))) - jnp.log(returns.free) / 2,
        mean=law.mean,
        log_width=jnp.log(law.deviation),
        surprise=blocks.move[1:, None] - returns.drift - returns.behind * before,
        ahead=returns.ahead,
        free=returns.free,
    )
    return columns, _Rows(y[1:], blocks.squares[1:] / 2, grid.held, grid.seen)


def _resolved(p: Parameters, before: Array, length: Array, spacing: Array) -> tuple[VolatilityLaw, ReturnLaw]:
    """The laws of a block that begins at some variances, as a grid of such spacing can show them."""
    law = volatility_law(p, before, length)
    width = _wide(law.deviation, NARROWEST * spacing)
    # E[V'] = M² + τ² to first order in what τ² has grown by, and M is no root of what may be below 0.
    grown, square = jnp.square(width) - jnp.square(law.deviation), jnp.square(law.mean)
    mean = square / jnp.sqrt(square + grown)
    # How narrowly a return holds y' is τ √(1 - ρ²) / |ρ|.
    free = _wide(1 - jnp.square(p.rho), jnp.square(NARROWEST * p.rho * spacing / width))
    rho = p.rho / jnp.sqrt(jnp.square(p.rho) + free)
    shown = p._replace(sigma=p.sigma * width / law.deviation, rho=rho)
    return VolatilityLaw(mean, width), return_law(shown, length)


def _wide(width: Array, least: Array) -> Array:
    """The larger of the two, smoothly: the eighth power keeps what is wide enough as it is, where equal it adds 9%."""
    larger = jnp.maximum(width, least)
    # Of the smaller over the larger, which is no overflow where the least is 0, as it is where ρ is.
    ratio = jnp.square(jnp.square(jnp.square(jnp.minimum(width, least) / larger)))
    return larger * jnp.sqrt(jnp.sqrt(jnp.sqrt(1 + ratio)))


@jax.custom_vjp
def _sum_over_paths(start, columns: _Columns, rows: _Rows):
    """log Σ over paths of Π_t scale_t K_t, from weights; and the weights after each block, which have no derivative."""
    value, weights, _ = _forward(start, columns, rows)
    return value, weights


class _Kernel(NamedTuple):
    """What the kernels of a block are made of, by the point that is reached, by the point that is left.

    (y - M)² / 2 τ² and the square of the return's surprise are polynomials in y and V, so products of three powers with
    three columns, which takes half the time of writing them out for every pair of points. Both are about the grid's
    middle, which keeps digits that y and V themselves would lose.
    """

    y: Array
    away: Array
    """y less the middle's."""
    risen: Array
    """V less the middle's."""
    moved: Array
    """Coefficients of 1, y and y² in -(y - M)² / 2 τ², three by points."""
    risked: Array
    """The same in V, in half the square of what the variance does not explain of the return."""
    mirror: Array
    """-2 M / τ²."""

    @classmethod
    def of(cls, columns: _Columns, rows: _Rows) -> "_Kernel":
        y, middle, ahead = rows.y, _middle(rows), columns.ahead
        precision, shift = jnp.exp(-2 * columns.log_width), columns.mean - middle
        surprise = columns.surprise - ahead * jnp.square(middle)
        moved = -jnp.square(shift), 2 * shift, -jnp.ones_like(shift)
        risked = jnp.square(surprise), -2 * ahead * surprise, jnp.square(ahead)
        return cls(
            y=y,
            away=y - middle,
            risen=jnp.square(y) - jnp.square(middle),
            moved=jnp.stack(moved, axis=1) * precision[:, None] / 2,
            risked=jnp.stack(risked, axis=1) / (2 * columns.free)[:, None],
            mirror=-2 * columns.mean * precision,
        )

    def matrices(self, rows: _Rows) -> tuple[Array, Array]:
        """The whole, and its mirrored part."""
        moved = _product(_powers(self.away).T, self.moved)
        risked = _product(_powers(self.risen).T, self.risked)
        # Squares that rounding has made negative would be exponents without a bound.
        moved, risked = jnp.minimum(moved, 0.0), rows.squares + jnp.maximum(risked, 0.0)
        near = jnp.exp(rows.seen + moved - risked * rows.held)
        far = near * jnp.exp(_product(self.y[:, None], self.mirror[None, :]))
        return near + far, far


def _powers(x: Float[Array, "points"]) -> Float[Array, "3 points"]:
    return jnp.stack([jnp.ones_like(x), x, jnp.square(x)])


def _middle(rows: _Rows) -> Float[Array, "blocks 1"]:
    return rows.y[:, rows.y.shape[1] // 2, None]


def _forward(start, columns: _Columns, rows: _Rows):
    """The log likelihood; α after each block; normalisers."""
    ones = jnp.ones_like(start)

    def one(weight, row):
        kernel, rows, scale = row
        after = _product(kernel.matrices(rows)[0], weight * scale) + LEAST
        total = _product(after, ones)  # a product is one call, where a sum is two
        return after / total, (after / total, total)

    across = (_Kernel.of(columns, rows), rows, jnp.exp(columns.log_scale))
    _, (weights, totals) = jax.lax.scan(one, start, across)
    return jnp.log(totals).sum(), weights, totals


def _keep(start, columns: _Columns, rows: _Rows):
    value, weights, totals = _forward(start, columns, rows)
    return (value, weights), (start, columns, rows, weights, totals)


def _backward(kept, cotangent):
    start, columns, rows, weights, totals = kept
    cotangent, _ = cotangent
    scale = jnp.exp(columns.log_scale)

    def one(beta, row):
        kernel, rows, scale, total = row
        both, far = kernel.matrices(rows)
        beta = beta / total
        moved = _product(beta * _powers(kernel.away), both)
        mirrored = _product(beta * kernel.y, far)
        risked = _product(beta * _powers(kernel.risen), both * rows.held)
        return scale * moved[0], (moved, mirrored, risked)

    # What does not go round the loop is left to after it, for all blocks at once: a loop's body is paid by the call.
    across = (_Kernel.of(columns, rows), rows, scale, totals)
    beta, (moved, mirrored, risked) = jax.lax.scan(one, jnp.ones_like(start), across, reverse=True)
    before = jnp.concatenate([start[None], weights[:-1]])
    share, precision, middle = cotangent * before * scale, jnp.exp(-2 * columns.log_width), _middle(rows)
    total, first, second = jnp.moveaxis(moved, 1, 0)
    shift = columns.mean - middle
    by_mean = (first - shift * total - 2 * mirrored) * precision
    square = second - 2 * shift * first + jnp.square(shift) * total + 4 * columns.mean * mirrored
    held, once, twice = jnp.moveaxis(risked, 1, 0)
    ahead = columns.ahead
    surprise = columns.surprise - ahead * jnp.square(middle)
    surprised = surprise * held - ahead * once
    squared = jnp.square(surprise) * held - 2 * surprise * ahead * once + jnp.square(ahead) * twice
    by_ahead = jnp.square(middle) * surprised + surprise * once - ahead * twice
    by_columns = _Columns(
        log_scale=share * total,
        mean=share * by_mean,
        log_width=share * square * precision,
        surprise=-share * surprised / columns.free,
        ahead=share * by_ahead / columns.free,
        free=share * squared / (2 * jnp.square(columns.free)),
    )
    # The rows are no function of the parameters: their zeros are dropped by the compiler.
    return (
        cotangent * beta,
        by_columns,
        jax.tree.map(jnp.zeros_like, rows),
    )


_sum_over_paths.defvjp(_keep, _backward)
