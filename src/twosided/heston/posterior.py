"""The posterior of the Heston parameters: minus its logarithm by either likelihood, and where it is highest."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import optimize

from twosided.heston.blocks import Blocks
from twosided.heston.grid import Grid, first_grid, own_grid, relative_log_likelihood
from twosided.heston.law import Parameters, joint_log_density
from twosided.heston.priors import Prior, constrain, log_prior, start_at
from twosided.heston.sampler import Potential

ASIDE = 1.5
"""Deviations of the posterior within which the grid suits the filter: further, it soon is too coarse for all."""
STEEPEST = 6.0
"""From the mode's potential to one so far aside, where a normal posterior's is 1.1; beyond, nothing is to be seen."""
FURTHEST = 30.0
"""From the mode's potential to a start's. Of a normal posterior's starts, twice as wide as it is, 99% are nearer."""


@cache
def grid_potential(prior: Prior) -> Potential:
    """Of the parameters alone."""

    def potential(z, data):
        blocks, grid = data
        return -log_prior(prior, z) - relative_log_likelihood(constrain(prior, z), blocks, grid)

    return potential


@cache
def path_potential(prior: Prior) -> Potential:
    """Of the parameters, then of the path's normals."""
    number = len(prior.names)

    def potential(z, blocks):
        own, normals = z[:number], z[number:]
        seen, _ = joint_log_density(constrain(prior, own), normals, blocks)
        return jnp.square(normals).sum() / 2 - log_prior(prior, own) - seen

    return potential


@cache
def _slope(prior: Prior) -> Any:
    return jax.jit(jax.value_and_grad(grid_potential(prior)))


def posterior_mode(prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """A grid around the filter near the posterior's mode, the mode, and the inverse of the curvature there."""
    guess = _guess(blocks)
    grid = first_grid(blocks, points)
    z = np.asarray(start_at(prior, guess), float)
    for _ in range(2):
        z = descend(prior, blocks, grid, z)
        grid = own_grid(constrain(prior, as_floats(z)), blocks, points)
    covariance = _curvature(prior, blocks, grid, z)
    return wide_grid(prior, blocks, grid, z, covariance), z, covariance


def wide_grid(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray, covariance: ndarray) -> Grid:
    """A grid that is wide enough for the filter on either side of z too, along each axis of the posterior.

    Where the data say little, z may have a variance that hardly moves, and draws that let it move would leave the grid.
    """
    low, high = np.asarray(grid.low), np.asarray(grid.high)
    values, vectors = np.linalg.eigh(covariance)
    most = _value(prior, blocks, grid, z) + STEEPEST
    for away in ASIDE * (np.sqrt(values) * vectors).T:
        for other in (z - away, z + away):
            own = own_grid(constrain(prior, as_floats(other)), blocks, grid.points, deviations=4.0)
            if _value(prior, blocks, own, other) < most:
                low, high = np.minimum(low, own.low), np.maximum(high, own.high)
    return Grid.of(blocks, as_floats(low), as_floats(high), grid.points)


def _guess(blocks: Blocks) -> Parameters:
    """From how the logarithm of realised variance moves between windows of 30 returns or more."""
    returns, total = float(blocks.number), np.asarray(blocks.total, float)
    width = max(1, round(30 / returns))
    number = len(total) // width
    realised = total[: number * width].reshape(number, width).mean(1) / returns
    logs, noise = np.log(np.maximum(realised, 0.02 * realised.mean())), 2 / (returns * width)
    step = max(float(np.diff(logs).var()) - 2 * noise, 0.3 * noise)
    spread = max(float(logs.var()) - noise, 0.3 * noise)
    time = float(blocks.length) * width
    mean = float(realised.mean())
    kappa = np.clip(step / (2 * spread), 1e-3, 1.0) / time
    return Parameters(
        kappa=jnp.asarray(kappa),
        theta=jnp.asarray(mean),
        sigma=jnp.asarray(float(np.sqrt(step / time * mean))),
        rho=jnp.asarray(-0.1),
        v0=jnp.asarray(float(realised[0])),
        mu=jnp.zeros(()),
    )


def descend(
    prior: Prior, blocks: Blocks, grid: Grid, z: Float[ndarray, "dimensions"]
) -> Float[ndarray, "dimensions"]:
    """The posterior's mode, downhill from z."""

    def value_and_slope(z):
        value, slope = _slope(prior)(as_floats(z), (blocks, grid))
        value, slope = float(value), np.asarray(slope, float)
        good = np.isfinite(value) and np.all(np.isfinite(slope))
        return (value, slope) if good else (1e10, np.zeros_like(z))

    # The first step is the slope itself, as far as the bounds: by its scale, no parameter moves by more than 1.
    steep = max(1.0, float(np.abs(value_and_slope(z)[1]).max()))
    found = optimize.minimize(
        lambda z: tuple(x / steep for x in value_and_slope(z)),
        z,
        jac=True,
        method="L-BFGS-B",
        bounds=[(a - 6, a + 6) for a in z],
        # Beyond this the value has no digits left, in single precision.
        options={"maxiter": 60, "ftol": 1e-6},
    )
    return found.x


def brought_near(
    prior: Prior,
    blocks: Blocks,
    grid: Grid,
    z: Float[ndarray, "dimensions"],
    starts: Float[ndarray, "chains dimensions"],
) -> Float[ndarray, "chains dimensions"]:
    """Starts of chains, moved halfway to z as often as it takes until none is more than FURTHEST above it.

    Where the posterior is anything but normal, its curvature at the mode sends some to where a chain would need
    more than its warm-up to come back from.
    """

    highest, starts = _value(prior, blocks, grid, z) + FURTHEST, starts.copy()
    for i in range(len(starts)):
        for _ in range(20):
            if _value(prior, blocks, grid, starts[i]) < highest:
                break
            starts[i] = (starts[i] + z) / 2
    return starts


def _value(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray) -> float:
    """The potential, less what the sampler leaves out of it, so that grids can be compared."""
    return float(_slope(prior)(as_floats(z), (blocks, grid))[0]) - float(np.sum(grid.highest, dtype=float))


def _curvature(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray) -> ndarray:
    """The inverse of the potential's second derivatives, kept positive and within what priors allow."""
    step, rows = 0.03, []
    for unit in np.eye(len(z)):
        up, down = (
            np.asarray(_slope(prior)(as_floats(z + s * step * unit), (blocks, grid))[1], float)
            for s in (1, -1)
        )
        rows.append((up - down) / (2 * step))
    hessian = np.nan_to_num((np.array(rows) + np.array(rows).T) / 2)
    values, vectors = np.linalg.eigh(hessian)
    return (vectors / np.clip(values, 0.3, 1e6)) @ vectors.T


def as_floats(x: Any) -> Any:
    """An array in the precision that JAX is set to."""
    return jnp.asarray(x, jnp.result_type(float))
