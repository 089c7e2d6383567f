"""A calibration from beginning to end, and refits that start from the last one.

The likelihood is the grid's (grid.py) or that of the variance's path, sampled jointly with the parameters (law.py): the
same law twice, so that the two must agree. A fit begins with the posterior's mode, found on a wide grid by gradient;
the grid then moves to where the filter is at the mode, chains start around it, twice as wide as its curvature says
(nearer where that is too steep), and the curvature is the first mass matrix.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from twosided.data.bars import Bars
from twosided.heston.blocks import Blocks, Sample, blocks_of, variance_path
from twosided.heston.grid import POINTS, Filtered, Grid, filtered, misjudged, own_grid
from twosided.heston.law import Parameters
from twosided.heston.posterior import (
    as_floats,
    brought_near,
    grid_potential,
    path_potential,
    posterior_mode,
    wide_grid,
)
from twosided.heston.priors import Prior, WeakPrior, constrain, start_at
from twosided.heston.process import Heston
from twosided.heston.sampler import Chains, Diagnosis, Sampling, diagnose, energy_share, sample

AGREED, APART = 1.01, 1.05
"""R-hat: below the first chains agree (Vehtari et al. 2021), above the second they are not to be used."""
MOST_DIVERGING = 0.02
"""Share of draws."""
MOST_MISJUDGED = 0.5
"""Of log likelihood: weights that put such an error right would leave three quarters of the effective draws."""
Likelihood = Literal["grid", "path"]


@dataclass(frozen=True)
class HestonFit:
    """What bars say of the Heston model."""

    sample: Sample
    prior: Prior
    sampling: Sampling
    likelihood: Likelihood
    draws: dict[str, Float[ndarray, "chains draws"]]
    """Of the parameters, per year."""
    chains: Chains
    diagnoses: dict[str, Diagnosis]
    grid: Grid
    misjudged: float
    """Deviation over draws of what the grid makes of their log likelihood less what a fine one of their own does."""
    variance: Float[ndarray, "blocks 3"]
    """V at the end of each block, per year: mean and 5% and 95% quantiles, the parameters' uncertainty included."""

    @property
    def rhat(self) -> float:
        """The largest; NaN if one is, as that of chains that do not move."""
        return float(np.max([d.rhat for d in self.diagnoses.values()]))

    @property
    def effective(self) -> float:
        """Samples, of the parameter that has fewest."""
        return min(min(d.bulk, d.tail) for d in self.diagnoses.values())

    @property
    def energy_share(self) -> float:
        return energy_share(self.chains.energy)

    @property
    def diverging(self) -> int:
        return int(self.chains.diverging.sum())

    @property
    def complaints(self) -> list[str]:
        """Why it is not to be trusted, in sentences; none if it is."""
        said = []
        if not self.rhat <= AGREED:
            worst = list(self.diagnoses)[int(np.argmax([d.rhat for d in self.diagnoses.values()]))]
            said.append(
                f"The chains disagree: R-hat of {worst} is {self.rhat:.3f}, and below {AGREED} they would agree."
            )
        if self.effective < 100 * self.sampling.chains and self.sampling.draws >= 200:
            said.append(f"Some parameter has only {self.effective:.0f} effective samples: take more draws.")
        if self.diverging:
            said.append(f"{self.diverging} draws diverged: parts of the posterior may be out of reach.")
        if self.energy_share < 0.3:
            said.append(f"The energy moves too little from draw to draw (E-BFMI {self.energy_share:.2f}).")
        if not self.misjudged < MOST_MISJUDGED:
            said.append(
                f"The grid misses the draws' log likelihoods by {self.misjudged:.2g} (a deviation): take more points."
            )
        time = float(np.median(self.draws["kappa"])) * float(self.sample.blocks.length)
        if time > 0.5:
            said.append(
                f"A block is {time:.2g} times as long as the variance's memory 1/κ: take smaller blocks."
            )
        return said

    @property
    def refused(self) -> bool:
        """Whether the draws are not to be used at all."""
        return not self.rhat < APART or self.diverging > MOST_DIVERGING * self.chains.diverging.size

    def parameters(self, chain: int, draw: int) -> Parameters:
        """One draw."""
        values = {name: jnp.asarray(x[chain, draw]) for name, x in self.draws.items()}
        return Parameters(**{"mu": jnp.zeros(()), **values})

    def process(self, *, time_step: float | None = None, initial: float = 100.0) -> Heston:
        """The process at the posterior's medians, from today's variance; steps of a bar unless others are given."""
        median = {name: float(np.median(x)) for name, x in self.draws.items()}
        return Heston(
            initial=initial,
            drift=median.get("mu", 0.0),
            initial_variance=float(self.variance[-1, 0]),
            reversion=median["kappa"],
            level=median["theta"],
            vol_of_vol=median["sigma"],
            correlation=median["rho"],
            time_step=self.sample.years_per_bar if time_step is None else time_step,
        )


def fit_heston(
    sample_: Sample,
    prior: Prior | None = None,
    sampling: Sampling | None = None,
    *,
    likelihood: Likelihood = "grid",
    points: int = POINTS,
    start: HestonFit | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> HestonFit:
    """Draws from the posterior.

    `start` is a fit of other bars of the same market, which saves most of the warm-up; one that was refused saves none.
    """
    prior, sampling = prior or WeakPrior(), sampling or Sampling()
    blocks = sample_.blocks
    start = None if start is not None and start.refused else start
    if start is None:
        grid, z, covariance = posterior_mode(prior, blocks, points)
    else:
        grid, z, covariance = _from(start, prior, blocks, points)
        sampling = replace(sampling, warmup=max(20, sampling.warmup // 3))
    rng = np.random.default_rng(seed)
    wide = 2.0 if start is None else 1.0
    root = np.linalg.cholesky(covariance)
    starts = z + wide * rng.normal(size=(sampling.chains, len(z))) @ root.T
    starts = brought_near(prior, blocks, grid, z, starts)
    if likelihood == "grid":
        found = sample(
            grid_potential(prior),
            (blocks, grid),
            as_floats(starts),
            as_floats(covariance),
            sampling,
            seed,
            progress,
        )
    else:
        # Around the mode's parameters, on the path that has no surprises, the normals' own scale is 1.
        starts = np.concatenate([starts, 0.1 * rng.normal(size=(sampling.chains, len(blocks)))], axis=1)
        mass = np.concatenate([np.diag(covariance), np.ones(len(blocks))])
        found = sample(
            path_potential(prior), blocks, as_floats(starts), as_floats(mass), sampling, seed, progress
        )
    number = len(prior.names)
    found = found._replace(z=found.z[..., :number])
    parameters = _constrain_all(prior, jnp.asarray(found.z.reshape(-1, number)))
    draws = {
        name: np.asarray(getattr(parameters, name), float).reshape(found.z.shape[:2]) for name in prior.names
    }
    return HestonFit(
        sample=sample_,
        prior=prior,
        sampling=sampling,
        likelihood=likelihood,
        draws=draws,
        chains=found,
        diagnoses={name: diagnose(x) for name, x in draws.items()},
        grid=grid,
        misjudged=_misjudged(parameters, blocks, grid, seed),
        variance=_variance(parameters, blocks, grid, seed),
    )


def rolling(
    bars: Bars,
    window: int,
    every: int,
    prior: Prior | None = None,
    sampling: Sampling | None = None,
    *,
    block: int = 1,
    years_per_bar: float | None = None,
    points: int = POINTS,
    seed: int = 0,
    begin: int | None = None,
) -> Iterator[tuple[int, HestonFit]]:
    """Fits of the last `window` bars at every `every`-th of them, each started from the one before, if it was sound.

    Gives the number of the bar after the window and the fit, which knows no bar from there on: years are those of the
    first window's bars too, unless they are given. The first window is the first that there is, or ends before bar
    `begin`. Windows of one length share what was compiled.
    """
    years = bars[:window].years_per_bar if years_per_bar is None else years_per_bar
    fit = None
    for end in range(window if begin is None else begin, len(bars) + 1, every):
        part = blocks_of(bars[end - window : end], size=block, years_per_bar=years)
        fit = fit_heston(part, prior, sampling, points=points, start=fit, seed=(seed + end) % 2**31)
        yield end, fit


def filter_variance(
    parameters: Parameters, sample_: Sample, points: int = POINTS
) -> Float[ndarray, "blocks"]:
    """E[V | bars so far] at the end of each block, with known parameters."""
    return np.asarray(filter_blocks(parameters, sample_.blocks, points).variance, float)


def filter_blocks(parameters: Parameters, blocks: Blocks, points: int = POINTS) -> Filtered:
    """What the filter knows of √V at the end of each block, with known parameters."""
    return filtered(parameters, blocks, own_grid(parameters, blocks, points))


@cache
def _constrainer(prior: Prior) -> Any:
    return jax.jit(jax.vmap(lambda z: constrain(prior, z)))


def _constrain_all(prior: Prior, z: Any) -> Parameters:
    return _constrainer(prior)(z)


def _from(fit: HestonFit, prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """What `posterior_mode` gives, from a fit of other blocks; its v0 is not theirs."""
    z = fit.chains.z.reshape(-1, fit.chains.z.shape[-1])
    centre, covariance = np.median(z, axis=0), np.cov(z.T) + 1e-6 * np.eye(z.shape[1])
    median = constrain(prior, as_floats(centre))._replace(v0=jnp.asarray(float(variance_path(blocks)[0])))
    z = np.asarray(start_at(prior, median), float)
    return wide_grid(prior, blocks, own_grid(median, blocks, points), z, covariance), z, covariance


def _variance(parameters: Parameters, blocks: Blocks, grid: Grid, seed: int, draws: int = 50) -> ndarray:
    """V at the end of each block over some of the draws: a mixture of squared normals, by drawing from it."""
    rng = np.random.default_rng(seed)
    roots = []
    for p in _some(parameters, draws, rng):
        found = filtered(p, blocks, grid)
        mean, deviation = np.asarray(found.mean, float), np.asarray(found.deviation, float)
        roots.append(mean + deviation * rng.normal(size=(20, len(mean))))
    v = np.square(np.concatenate(roots))
    return np.stack([v.mean(0), *np.quantile(v, [0.05, 0.95], axis=0)], axis=1)


def _misjudged(parameters: Parameters, blocks: Blocks, grid: Grid, seed: int, draws: int = 20) -> float:
    rng = np.random.default_rng(seed)
    return float(np.std([misjudged(p, blocks, grid) for p in _some(parameters, draws, rng)]))


def _some(parameters: Parameters, number: int, rng: np.random.Generator) -> Iterator[Parameters]:
    """Draws, taken at random."""
    for i in rng.choice(len(parameters.kappa), size=number):
        yield Parameters(*(jnp.asarray(a)[i] if jnp.ndim(a) else a for a in parameters))
