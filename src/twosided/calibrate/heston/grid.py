"""The likelihood of returns with the variance integrated out, on a grid of log variances that moves with the data.

A point-mass filter (Bucy & Senne 1971): with α_t(i) the weight of grid point x_t(i) before block t is seen,

    α_{t+1}(j) ∝ Σ_i α_t(i) p(block t | x_t(i)) h N(x_{t+1}(j); M_t(i), τ_t(i)²) p(late squares | x_{t+1}(j))

with M and τ those of the law given the block's return (law.py), and h the grid's spacing. Sums over a uniform grid
converge faster than any power of h once h is below τ, so that it is exact in the limit; nothing about it is random, so
that its gradient is one too. A particle filter's likelihood is neither smooth nor, differentiated, unbiased.

Each step's grid is its own, around where the filter is expected, so that 64 points do. Where τ is smaller than 0.7 h it
counts as that (smoothly), because a sum would otherwise see spikes; `resolution` says how often.

The gradient is a backward pass of the same cost: with β_t(i) the derivative of the log likelihood by α_t(i),

    ∂/∂log p(block t | x_t(i)) = α_t(i) β_t(i),     ∂/∂M, ∂/∂log τ: first and second moments under the kernel

so that what is kept between passes is α (blocks by points) and no matrix.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from twosided.calibrate.heston.blocks import Blocks, variance_path
from twosided.calibrate.heston.law import Parameters, block_law, given_return, squares

POINTS = 64
NARROWEST = 0.7
"""Of a kernel's deviation, in spacings: the sum over points is then right to 1e-4."""
LEAST = 1e-36
"""Added to every weight, so that parameters under which the data are all but impossible are that, and not NaN."""
FIRST_REACH = 2.0
"""Half the width of the first grid, before a filter has said where it is needed: a factor of 7 either way."""


class Grid(eqx.Module):
    """Log variances at the end of each block: uniform, around a centre."""

    centre: Float[Array, "blocks"]
    reach: Float[Array, "blocks"]
    """Half of the width."""
    points: int = eqx.field(static=True, default=POINTS)

    @property
    def spacing(self) -> Float[Array, "blocks"]:
        return 2 * self.reach / (self.points - 1)

    @property
    def x(self) -> Float[Array, "blocks points"]:
        unit = jnp.linspace(-1.0, 1.0, self.points)
        return self.centre[:, None] + self.reach[:, None] * unit


class Filtered(NamedTuple):
    """What the filter knows of log V at the end of each block, from that block and those before it."""

    mean: Float[Array, "blocks"]
    deviation: Float[Array, "blocks"]
    variance: Float[Array, "blocks"]
    """E[V]."""
    edge: Float[Array, "blocks"]
    """Weight of the grid's outermost points."""


def first_grid(blocks: Blocks, points: int = POINTS) -> Grid:
    """Around a rough variance, wide."""
    centre = jnp.asarray(np.log(variance_path(blocks)))
    return Grid(centre, jnp.full_like(centre, FIRST_REACH), points)


def better_grid(p: Parameters, blocks: Blocks, grid: Grid, deviations: float = 7.0) -> Grid:
    """Around where the filter is at some parameters, as wide as it needs there and a little wider."""
    found = filtered(p, blocks, grid)
    return Grid(found.mean, deviations * found.deviation + 0.1, grid.points)


@eqx.filter_jit
def filtered(p: Parameters, blocks: Blocks, grid: Grid) -> Filtered:
    """The filter's moments at the end of each block."""
    weights = _forward(grid.x, *_terms(p, blocks, grid))[1][1:]
    x = grid.x
    mean = (weights * x).sum(1)
    spread = (weights * jnp.square(x - mean[:, None])).sum(1)
    edge = weights[:, :2].sum(1) + weights[:, -2:].sum(1)
    return Filtered(mean, jnp.sqrt(spread), (weights * jnp.exp(x)).sum(1), edge)


@eqx.filter_jit
def resolution(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """The share of steps whose kernel is narrower than the grid can show, where the variance is expected."""
    found = _forward(grid.x, *_terms(p, blocks, grid))[1][1:]
    expected = (found[:-1] * grid.x[:-1]).sum(1)
    given = given_return(
        block_law(p, expected, blocks.length), expected, blocks.move[1:], jnp.zeros(()), jnp.zeros(())
    )
    return jnp.mean(given.deviation < NARROWEST * grid.spacing[1:])


def log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """Of all blocks, but for what the parameters do not change."""
    return relative_log_likelihood(p, blocks, grid) + _reference(blocks, grid).sum()


def relative_log_likelihood(p: Parameters, blocks: Blocks, grid: Grid) -> Float[Array, ""]:
    """The same less a constant of the grid, so that long data leave it digits in single precision."""
    early, late = _reference(blocks, grid)
    seen, mean, log_width, squared = _terms(p, blocks, grid)
    return _sum_over_paths(grid.x, seen - early[:, None], mean, log_width, squared - late[:, None])


def _reference(blocks: Blocks, grid: Grid) -> Float[Array, "2 blocks"]:
    """Log densities of the sums of squares at the grid's centre."""
    totals = jnp.stack([blocks.early, blocks.late])
    return squares(grid.centre, totals, blocks.freedom[:, None])


def _terms(p: Parameters, blocks: Blocks, grid: Grid) -> tuple[Array, Array, Array, Array]:
    """(seen, M, log τ, late), each blocks by points; at the start all points are v0."""
    start = jnp.full((1, grid.points), jnp.log(p.v0))
    x = jnp.concatenate([start, grid.x[:-1]])
    move, early, late = (a[:, None] for a in (blocks.move, blocks.early, blocks.late))
    given = given_return(block_law(p, x, blocks.length), x, move, early, blocks.freedom[0])
    spacing = grid.spacing[:, None]
    # The eighth power keeps what is wide enough as it is: at τ = h it adds 0.7%.
    ratio = jnp.square(jnp.square(jnp.square(given.deviation / spacing)))
    width = jnp.sqrt(jnp.sqrt(jnp.sqrt(ratio + NARROWEST**8)))
    seen = given.seen - jnp.log(width * jnp.sqrt(2 * jnp.pi))
    return seen, given.mean, jnp.log(width * spacing), squares(grid.x, late, blocks.freedom[1])


@jax.custom_vjp
def _sum_over_paths(x, seen, mean, log_width, late):
    """log Σ over paths of Π_t exp(seen_t) K_t exp(late_t), from equal weights."""
    return _forward(x, seen, mean, log_width, late)[0]


def _forward(x, seen, mean, log_width, late):
    """The log likelihood; α before each block and after the last, (blocks + 1, points); normalisers."""
    seen_most, late_most = seen.max(1, keepdims=True), late.max(1, keepdims=True)
    rows = (x, jnp.exp(seen - seen_most), mean, _narrowness(log_width), jnp.exp(late - late_most))
    ones = jnp.ones_like(seen[0])

    def one(weight, row):
        x, seen, mean, narrowness, late = row
        # A matrix times a vector, rows of what is summed: four times as fast on a CPU as the other way round.
        kernel = _kernel((x[:, None] - mean[None, :]) * narrowness[None, :])
        after = kernel @ (weight * seen) * late + LEAST
        total = after @ ones  # a product is one call, where a sum is two
        return after / total, (after / total, total)

    start = jnp.full_like(seen[0], 1 / seen.shape[1])
    _, (weights, totals) = jax.lax.scan(one, start, rows)
    value = (jnp.log(totals) + seen_most[:, 0] + late_most[:, 0]).sum()
    return value, jnp.concatenate([start[None], weights]), totals


def _keep(x, seen, mean, log_width, late):
    value, weights, totals = _forward(x, seen, mean, log_width, late)
    return value, (x, seen, mean, log_width, late, weights, totals)


def _backward(kept, cotangent):
    x, seen, mean, log_width, late, weights, totals = kept
    seen = jnp.exp(seen - seen.max(1, keepdims=True))
    late = jnp.exp(late - late.max(1, keepdims=True)) / totals[:, None]
    # Moments of the kernel about the grid's centre, which keeps digits that x itself would lose.
    centre = x[:, x.shape[1] // 2, None]
    away, shift = x - centre, mean - centre

    def one(beta, row):
        away, shift, seen, narrowness, late = row
        kernel = _kernel((away[None, :] - shift[:, None]) * narrowness[:, None])
        ahead = late * beta
        moments = kernel @ jnp.stack([ahead, ahead * away, ahead * jnp.square(away)], axis=1)
        return seen * moments[:, 0], (beta, moments)

    # What does not go round the loop is left to after it, for all blocks at once: a loop's body is paid by the call.
    rows = (away, shift, seen, _narrowness(log_width), late)
    _, (beta, moments) = jax.lax.scan(one, jnp.ones_like(x[0]), rows, reverse=True)
    total, first, second = jnp.moveaxis(moments, -1, 0)
    precision, share = jnp.exp(-2 * log_width), cotangent * weights[:-1] * seen
    by_mean = share * (first - shift * total) * precision
    by_width = share * (second - 2 * shift * first + jnp.square(shift) * total) * precision
    return jnp.zeros_like(x), share * total, by_mean, by_width, cotangent * weights[1:] * beta


def _narrowness(log_width):
    """1 / (√2 τ)."""
    return jnp.exp(-log_width) * np.float32(np.sqrt(0.5))


def _kernel(away):
    return jnp.exp(-away * away)


_sum_over_paths.defvjp(_keep, _backward)
