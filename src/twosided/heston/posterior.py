"""Posterior of the Heston parameters: negative log density by either likelihood, its mode and the curvature there."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import optimize

from twosided.heston.blocks import Blocks
from twosided.heston.grid import Grid, adapted_grid, initial_grid, relative_log_likelihood
from twosided.heston.priors import Prior, constrain, initial_point, log_prior
from twosided.heston.sampler import Potential
from twosided.heston.transition import Parameters, joint_log_density

WIDENING_STDS = 1.5
"""Distance from the mode, in posterior standard deviations, up to which the grid is wide enough for the filter.

A much larger distance would make the grid too coarse for all parameters.
"""
MAX_WIDENING_RISE = 6.0
"""Largest rise of the potential, from the mode to a point at that distance, for which the grid is widened.

For a normal posterior the rise is 1.1. Beyond the bound the posterior density is negligible.
"""
MAX_START_RISE = 30.0
"""Largest rise of the potential from the mode to a chain's starting point.

For a normal posterior and starting points spread twice as widely, 99% of them are within it.
"""


@cache
def grid_potential(prior: Prior) -> Potential:
    """Return the negative log posterior density of the parameters by the grid likelihood, up to a constant."""

    def potential(z, data):
        blocks, grid = data
        return -log_prior(prior, z) - relative_log_likelihood(constrain(prior, z), blocks, grid)

    return potential


@cache
def path_potential(prior: Prior) -> Potential:
    """Return the joint negative log posterior density of the parameters and of the normals of the variance path.

    Its vector is the unconstrained parameters, then the normals.
    """
    number = len(prior.names)

    def potential(z, blocks):
        own, normals = z[:number], z[number:]
        log_density, _ = joint_log_density(constrain(prior, own), normals, blocks)
        return jnp.square(normals).sum() / 2 - log_prior(prior, own) - log_density

    return potential


@cache
def _value_and_gradient(prior: Prior) -> Any:
    return jax.jit(jax.value_and_grad(grid_potential(prior)))


def posterior_mode(prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """Return a grid around the filter near the posterior's mode, the mode, and the inverse Hessian there."""
    guess = _initial_guess(blocks)
    grid = initial_grid(blocks, points)
    z = np.asarray(initial_point(prior, guess), float)
    for _ in range(2):
        z = find_mode(prior, blocks, grid, z)
        grid = adapted_grid(constrain(prior, as_floats(z)), blocks, points)
    covariance = _inverse_hessian(prior, blocks, grid, z)
    return widen_grid(prior, blocks, grid, z, covariance), z, covariance


def widen_grid(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray, covariance: ndarray) -> Grid:
    """Return a grid that is also wide enough for the filter on either side of z along each axis of the posterior.

    If the data carry little information, the variance may hardly move at z, and the grid of z would be too narrow for
    draws at which it does move.
    """
    low, high = np.asarray(grid.low), np.asarray(grid.high)
    values, vectors = np.linalg.eigh(covariance)
    max_value = _potential_value(prior, blocks, grid, z) + MAX_WIDENING_RISE
    for offset in WIDENING_STDS * (np.sqrt(values) * vectors).T:
        for point in (z - offset, z + offset):
            own = adapted_grid(constrain(prior, as_floats(point)), blocks, grid.points, num_stds=4.0)
            if _potential_value(prior, blocks, own, point) < max_value:
                low, high = np.minimum(low, own.low), np.maximum(high, own.high)
    return Grid.of(blocks, as_floats(low), as_floats(high), grid.points)


def _initial_guess(blocks: Blocks) -> Parameters:
    """Return a guess from the changes of log realized variance between windows of at least 30 returns."""
    returns, total = float(blocks.returns_per_block), np.asarray(blocks.total_squares, float)
    width = max(1, round(30 / returns))
    number = len(total) // width
    realized = total[: number * width].reshape(number, width).mean(1) / returns
    logs, noise = np.log(np.maximum(realized, 0.02 * realized.mean())), 2 / (returns * width)
    step_variance = max(float(np.diff(logs).var()) - 2 * noise, 0.3 * noise)
    variance = max(float(logs.var()) - noise, 0.3 * noise)
    time = float(blocks.length) * width
    mean = float(realized.mean())
    kappa = np.clip(step_variance / (2 * variance), 1e-3, 1.0) / time
    return Parameters(
        kappa=jnp.asarray(kappa),
        theta=jnp.asarray(mean),
        sigma=jnp.asarray(float(np.sqrt(step_variance / time * mean))),
        rho=jnp.asarray(-0.1),
        v0=jnp.asarray(float(realized[0])),
        mu=jnp.zeros(()),
    )


def find_mode(
    prior: Prior, blocks: Blocks, grid: Grid, z: Float[ndarray, "dimensions"]
) -> Float[ndarray, "dimensions"]:
    """Return the posterior's mode on a grid, by L-BFGS-B from z."""

    def value_and_gradient(z):
        value, gradient = _value_and_gradient(prior)(as_floats(z), (blocks, grid))
        value, gradient = float(value), np.asarray(gradient, float)
        finite = np.isfinite(value) and np.all(np.isfinite(gradient))
        return (value, gradient) if finite else (1e10, np.zeros_like(z))

    # The first step is the gradient itself, within the bounds; divided by the scale, it moves no parameter by over 1.
    scale = max(1.0, float(np.abs(value_and_gradient(z)[1]).max()))
    found = optimize.minimize(
        lambda z: tuple(x / scale for x in value_and_gradient(z)),
        z,
        jac=True,
        method="L-BFGS-B",
        bounds=[(a - 6, a + 6) for a in z],
        # In single precision the value has no further digits.
        options={"maxiter": 60, "ftol": 1e-6},
    )
    return found.x


def pull_toward_mode(
    prior: Prior,
    blocks: Blocks,
    grid: Grid,
    z: Float[ndarray, "dimensions"],
    starts: Float[ndarray, "chains dimensions"],
) -> Float[ndarray, "chains dimensions"]:
    """Halve the distances of starting points from the mode z until their potential is low enough.

    It is low enough if it exceeds that of the mode by less than MAX_START_RISE. For a posterior far from normal,
    starting points drawn from the curvature at the mode may be so far away that a chain would not return during its
    warm-up.
    """

    max_value, starts = _potential_value(prior, blocks, grid, z) + MAX_START_RISE, starts.copy()
    for i in range(len(starts)):
        for _ in range(20):
            if _potential_value(prior, blocks, grid, starts[i]) < max_value:
                break
            starts[i] = (starts[i] + z) / 2
    return starts


def _potential_value(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray) -> float:
    """Return the potential with the grid's constant, which the sampler leaves out, so that grids can be compared."""
    value = float(_value_and_gradient(prior)(as_floats(z), (blocks, grid))[0])
    return value - float(np.sum(grid.max_log_density, dtype=float))


def _inverse_hessian(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray) -> ndarray:
    """Return the inverse of the potential's Hessian.

    The Hessian's eigenvalues are clipped to be positive, and large enough for the width of a prior.
    """
    step, rows = 0.03, []
    for unit in np.eye(len(z)):
        up, down = (
            np.asarray(_value_and_gradient(prior)(as_floats(z + s * step * unit), (blocks, grid))[1], float)
            for s in (1, -1)
        )
        rows.append((up - down) / (2 * step))
    hessian = np.nan_to_num((np.array(rows) + np.array(rows).T) / 2)
    values, vectors = np.linalg.eigh(hessian)
    return (vectors / np.clip(values, 0.3, 1e6)) @ vectors.T


def as_floats(x: Any) -> Any:
    """Return an array of JAX's default floating-point type."""
    return jnp.asarray(x, jnp.result_type(float))
