"""Calibration of the Heston model to bars, and rolling refits that start from the previous fit.

The likelihood integrates the variance out on a grid (grid.py), or the variance path is sampled jointly with the
parameters (transition.py). Both use the same distribution of a block, so that the two posteriors must agree.

A fit first finds the posterior's mode by gradient, on a wide grid, and moves the grid to where the filter is at the
mode. The chains start around the mode, with twice the standard deviation that the curvature there implies (nearer where
the potential would be too high), and the inverse of the curvature is the initial inverse mass matrix.
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
from twosided.heston.blocks import Blocks, Sample, make_sample, realized_variance
from twosided.heston.grid import (
    DEFAULT_POINTS,
    FilteredVolatility,
    Grid,
    adapted_grid,
    filter_volatility,
    grid_error,
)
from twosided.heston.posterior import (
    as_floats,
    grid_potential,
    path_potential,
    posterior_mode,
    pull_toward_mode,
    widen_grid,
)
from twosided.heston.priors import Prior, WeakPrior, constrain, initial_point
from twosided.heston.process import Heston
from twosided.heston.sampler import Chains, PosteriorSummary, Sampling, e_bfmi, run_chains, summarize
from twosided.heston.transition import Parameters

CONVERGED_RHAT, REJECTED_RHAT = 1.01, 1.05
"""R-hat up to which chains count as converged (Vehtari et al. 2021), and from which on a fit is rejected."""
MAX_DIVERGENT_SHARE = 0.02
"""Share of divergent draws above which a fit is rejected."""
MAX_GRID_ERROR = 0.5
"""Bound of a fit's grid error, in log likelihood.

Importance weights that correct an error of this size would leave three quarters of the effective sample size.
"""
Likelihood = Literal["grid", "path"]


@dataclass(frozen=True)
class HestonFit:
    """Posterior of the Heston parameters given bars: draws, diagnostics and filtered variance."""

    sample: Sample
    """Blocks of returns that were fitted."""
    prior: Prior
    """Prior of the parameters."""
    sampling: Sampling
    """Settings of the sampler."""
    likelihood: Likelihood
    """Likelihood: the variance integrated out on a grid, or its path sampled."""
    draws: dict[str, Float[ndarray, "chains draws"]]
    """Draws of each parameter that is not fixed, per year."""
    chains: Chains
    """Unconstrained draws and the sampler's statistics."""
    summaries: dict[str, PosteriorSummary]
    """Posterior summary of each parameter."""
    grid: Grid
    """Grid of the likelihood."""
    grid_error: float
    """Standard deviation over draws of the log likelihood on the grid less that on a fine grid of each draw's own."""
    variance: Float[ndarray, "blocks 3"]
    """Filtered V at the end of each block, per year: mean, 5% and 95% quantile, with the parameters' uncertainty."""

    @property
    def rhat(self) -> float:
        """Largest R-hat of the parameters; NaN if one is NaN, as for chains that do not move."""
        return float(np.max([s.rhat for s in self.summaries.values()]))

    @property
    def effective_samples(self) -> float:
        """Smallest effective sample size of the parameters, of bulk and tail."""
        return min(min(s.ess_bulk, s.ess_tail) for s in self.summaries.values())

    @property
    def e_bfmi(self) -> float:
        """Smallest E-BFMI of the chains (Betancourt 2016)."""
        return e_bfmi(self.chains.energy)

    @property
    def diverging(self) -> int:
        """Number of divergent draws."""
        return int(self.chains.diverging.sum())

    @property
    def warnings(self) -> list[str]:
        """Reasons not to trust the fit, a sentence each; empty if there are none."""
        found = []
        if not self.rhat <= CONVERGED_RHAT:
            worst = list(self.summaries)[int(np.argmax([s.rhat for s in self.summaries.values()]))]
            found.append(
                f"The chains have not converged: R-hat of {worst} is {self.rhat:.3f} and should be at most"
                f" {CONVERGED_RHAT}."
            )
        if self.effective_samples < 100 * self.sampling.num_chains and self.sampling.num_samples >= 200:
            found.append(
                f"The smallest effective sample size is {self.effective_samples:.0f}: increase num_samples."
            )
        if self.diverging:
            found.append(f"{self.diverging} draws diverged: the chains may not reach parts of the posterior.")
        if self.e_bfmi < 0.3:
            found.append(
                f"E-BFMI is {self.e_bfmi:.2f}, below 0.3: the energy changes too little between draws."
            )
        if not self.grid_error < MAX_GRID_ERROR:
            found.append(
                f"The grid's log-likelihood error has a standard deviation of {self.grid_error:.2g}: increase points."
            )
        time = float(np.median(self.draws["kappa"])) * float(self.sample.blocks.length)
        if time > 0.5:
            found.append(
                f"A block is {time:.2g} times as long as the variance's mean-reversion time 1/κ: use smaller blocks."
            )
        return found

    @property
    def rejected(self) -> bool:
        """Whether the draws must not be used: R-hat is too large, or too many draws diverged."""
        return (
            not self.rhat < REJECTED_RHAT or self.diverging > MAX_DIVERGENT_SHARE * self.chains.diverging.size
        )

    def parameters(self, chain: int, draw: int) -> Parameters:
        """Return the parameters of one draw."""
        values = {name: jnp.asarray(x[chain, draw]) for name, x in self.draws.items()}
        return Parameters(**{"mu": jnp.zeros(()), **values})

    def process(self, *, time_step: float | None = None, initial: float = 100.0) -> Heston:
        """Return the price process at the posterior medians, starting from the variance at the end of the data.

        `time_step` is in years, and a bar by default.
        """
        median = {name: float(np.median(x)) for name, x in self.draws.items()}
        return Heston(
            initial=initial,
            drift=median.get("mu", 0.0),
            initial_variance=float(self.variance[-1, 0]),
            mean_reversion=median["kappa"],
            long_run_variance=median["theta"],
            vol_of_vol=median["sigma"],
            correlation=median["rho"],
            time_step=self.sample.years_per_bar if time_step is None else time_step,
        )


def fit_heston(
    sample: Sample,
    prior: Prior | None = None,
    sampling: Sampling | None = None,
    *,
    likelihood: Likelihood = "grid",
    points: int = DEFAULT_POINTS,
    start: HestonFit | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> HestonFit:
    """Sample the posterior of the Heston parameters given blocks of returns.

    `start` is a fit of other bars of the same market: it replaces the search for the mode and reduces the warm-up to a
    third. A rejected one is ignored. `points` is the number of grid points, and `progress` is called with the share of
    iterations done.
    """
    prior, sampling = prior or WeakPrior(), sampling or Sampling()
    blocks = sample.blocks
    start = None if start is not None and start.rejected else start
    if start is None:
        grid, z, covariance = posterior_mode(prior, blocks, points)
    else:
        grid, z, covariance = _warm_start(start, prior, blocks, points)
        sampling = replace(sampling, num_warmup=max(20, sampling.num_warmup // 3))
    rng = np.random.default_rng(seed)
    dispersion = 2.0 if start is None else 1.0
    root = np.linalg.cholesky(covariance)
    starts = z + dispersion * rng.normal(size=(sampling.num_chains, len(z))) @ root.T
    starts = pull_toward_mode(prior, blocks, grid, z, starts)
    if likelihood == "grid":
        chains = run_chains(
            grid_potential(prior),
            (blocks, grid),
            as_floats(starts),
            as_floats(covariance),
            sampling,
            seed,
            progress,
        )
    else:
        # The normals of the path have unit scale; they start near 0, the path without innovations.
        starts = np.concatenate([starts, 0.1 * rng.normal(size=(sampling.num_chains, len(blocks)))], axis=1)
        inverse_mass = np.concatenate([np.diag(covariance), np.ones(len(blocks))])
        chains = run_chains(
            path_potential(prior),
            blocks,
            as_floats(starts),
            as_floats(inverse_mass),
            sampling,
            seed,
            progress,
        )
    number = len(prior.names)
    chains = chains._replace(z=chains.z[..., :number])
    parameters = _constrain_all(prior, jnp.asarray(chains.z.reshape(-1, number)))
    draws = {
        name: np.asarray(getattr(parameters, name), float).reshape(chains.z.shape[:2]) for name in prior.names
    }
    return HestonFit(
        sample=sample,
        prior=prior,
        sampling=sampling,
        likelihood=likelihood,
        draws=draws,
        chains=chains,
        summaries={name: summarize(x) for name, x in draws.items()},
        grid=grid,
        grid_error=_grid_error(parameters, blocks, grid, seed),
        variance=_posterior_variance(parameters, blocks, grid, seed),
    )


def rolling_fits(
    bars: Bars,
    window: int,
    every: int,
    prior: Prior | None = None,
    sampling: Sampling | None = None,
    *,
    block: int = 1,
    years_per_bar: float | None = None,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
    first_end: int | None = None,
) -> Iterator[tuple[int, HestonFit]]:
    """Fit windows of `window` bars, one every `every` bars.

    Each fit starts from the previous one unless that was rejected.
    Yields pairs of the index of the bar after the window and the fit. A fit uses no bar from that index on; the length
    of a year, if it is not given, comes from the first window. The first window is the first `window` bars, or the one
    that ends before bar `first_end`. Windows of one length share the compiled programs.
    """
    years = bars[:window].years_per_bar if years_per_bar is None else years_per_bar
    fit = None
    for end in range(window if first_end is None else first_end, len(bars) + 1, every):
        sample = make_sample(bars[end - window : end], size=block, years_per_bar=years)
        fit = fit_heston(sample, prior, sampling, points=points, start=fit, seed=(seed + end) % 2**31)
        yield end, fit


def filter_variance(
    parameters: Parameters, sample: Sample, points: int = DEFAULT_POINTS
) -> Float[ndarray, "blocks"]:
    """Return E[V | bars so far] at the end of each block, for given parameters."""
    arrays = jax.tree.map(jnp.asarray, parameters)
    return np.asarray(filter_blocks(arrays, sample.blocks, points).expected_variance, float)


def filter_blocks(parameters: Parameters, blocks: Blocks, points: int = DEFAULT_POINTS) -> FilteredVolatility:
    """Return the filter's moments of √V at the end of each block, for given parameters."""
    return filter_volatility(parameters, blocks, adapted_grid(parameters, blocks, points))


@cache
def _constrainer(prior: Prior) -> Any:
    return jax.jit(jax.vmap(lambda z: constrain(prior, z)))


def _constrain_all(prior: Prior, z: Any) -> Parameters:
    return _constrainer(prior)(z)


def _warm_start(fit: HestonFit, prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """Return a grid, a centre and a covariance as `posterior_mode` does, but from a fit of other blocks.

    v0 comes from the new blocks.
    """
    z = fit.chains.z.reshape(-1, fit.chains.z.shape[-1])
    center, covariance = np.median(z, axis=0), np.cov(z.T) + 1e-6 * np.eye(z.shape[1])
    v0 = jnp.asarray(float(realized_variance(blocks)[0]))
    median = constrain(prior, as_floats(center))._replace(v0=v0)
    z = np.asarray(initial_point(prior, median), float)
    return widen_grid(prior, blocks, adapted_grid(median, blocks, points), z, covariance), z, covariance


def _posterior_variance(
    parameters: Parameters, blocks: Blocks, grid: Grid, seed: int, draws: int = 50
) -> ndarray:
    """Return mean, 5% and 95% quantile of V at the end of each block, by sampling √V given some of the draws."""
    rng = np.random.default_rng(seed)
    volatilities = []
    for p in _random_draws(parameters, draws, rng):
        found = filter_volatility(p, blocks, grid)
        mean, std = np.asarray(found.mean, float), np.asarray(found.std, float)
        volatilities.append(mean + std * rng.normal(size=(20, len(mean))))
    v = np.square(np.concatenate(volatilities))
    return np.stack([v.mean(0), *np.quantile(v, [0.05, 0.95], axis=0)], axis=1)


def _grid_error(parameters: Parameters, blocks: Blocks, grid: Grid, seed: int, draws: int = 20) -> float:
    rng = np.random.default_rng(seed)
    return float(np.std([grid_error(p, blocks, grid) for p in _random_draws(parameters, draws, rng)]))


def _random_draws(parameters: Parameters, number: int, rng: np.random.Generator) -> Iterator[Parameters]:
    """Return random draws of the posterior, with replacement."""
    for i in rng.choice(len(parameters.kappa), size=number):
        yield Parameters(*(jnp.asarray(a)[i] if jnp.ndim(a) else a for a in parameters))
