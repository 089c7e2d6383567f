"""A calibration from beginning to end, refits that start from the last one, and its files.

The likelihood is the grid's (grid.py) or that of the variance's path, sampled jointly with the parameters (law.py): the
same law twice, so that the two must agree. A fit begins with the posterior's mode, found on a wide grid by gradient;
the grid then moves to where the filter is at the mode, chains start around it, twice as wide as its curvature says, and
the curvature is the first mass matrix.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray
from scipy import optimize

from twosided import store
from twosided.bars import Bars
from twosided.calibrate.heston.blocks import Blocks, Sample, blocks_of, variance_path
from twosided.calibrate.heston.grid import (
    POINTS,
    Filtered,
    Grid,
    better_grid,
    filtered,
    first_grid,
    relative_log_likelihood,
    resolution,
)
from twosided.calibrate.heston.law import Parameters, joint_log_density
from twosided.calibrate.heston.priors import Prior, Weak, constrain, log_prior, unconstrain
from twosided.calibrate.heston.sampler import (
    Chains,
    Diagnosis,
    Potential,
    Sampling,
    diagnose,
    energy_share,
    sample,
)
from twosided.prices.heston import Heston

AGREED, APART = 1.01, 1.05
"""R-hat: below the first chains agree (Vehtari et al. 2021), above the second they are not to be used."""
MOST_DIVERGING = 0.02
"""Share of draws."""
DRAWS, ABOUT, PROCESS, VARIANCE = "draws.parquet", "about.json", "heston.toml", "variance.parquet"
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
    coarse: float
    """Share of steps that the grid is too coarse for, at the posterior's median."""
    edge: float
    """The largest weight that the filter puts on the grid's ends, at the posterior's median."""
    variance: Float[ndarray, "blocks 3"]
    """V at the end of each block, per year: mean and 5% and 95% quantiles, the parameters' uncertainty included."""

    @property
    def rhat(self) -> float:
        return max(d.rhat for d in self.diagnoses.values())

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
        worst = max(self.diagnoses, key=lambda name: self.diagnoses[name].rhat)
        if self.rhat > AGREED:
            said.append(
                f"The chains disagree: R-hat of {worst} is {self.rhat:.3f}, and below {AGREED} they would agree."
            )
        if self.effective < 100 * self.sampling.chains and self.sampling.draws >= 200:
            said.append(f"Some parameter has only {self.effective:.0f} effective samples: take more draws.")
        if self.diverging:
            said.append(f"{self.diverging} draws diverged: parts of the posterior may be out of reach.")
        if self.energy_share < 0.3:
            said.append(f"The energy moves too little from draw to draw (E-BFMI {self.energy_share:.2f}).")
        if self.coarse > 0.05:
            said.append(f"The grid is too coarse for {self.coarse:.0%} of the steps: take more points.")
        if self.edge > 0.02:
            said.append(
                f"The grid is too narrow: its ends hold up to {self.edge:.0%} of the filter's weight."
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
    """Draws from the posterior; `start` is a fit of other bars of the same market, which saves most of the warm-up."""
    prior, sampling = prior or Weak(), sampling or Sampling()
    blocks = sample_.blocks
    if start is None:
        grid, z, covariance = _mode(prior, blocks, points)
    else:
        grid, z, covariance = _from(start, prior, blocks, points)
        sampling = replace(sampling, warmup=max(20, sampling.warmup // 3))
    rng = np.random.default_rng(seed)
    wide = 2.0 if start is None else 1.0
    root = np.linalg.cholesky(covariance)
    starts = z + wide * rng.normal(size=(sampling.chains, len(z))) @ root.T
    if likelihood == "grid":
        found = sample(
            grid_potential(prior), (blocks, grid), _f(starts), _f(covariance), sampling, seed, progress
        )
    else:
        # Around the mode's parameters, on the path that has no surprises, the normals' own scale is 1.
        starts = np.concatenate([starts, 0.1 * rng.normal(size=(sampling.chains, len(blocks)))], axis=1)
        mass = np.concatenate([np.diag(covariance), np.ones(len(blocks))])
        found = sample(path_potential(prior), blocks, _f(starts), _f(mass), sampling, seed, progress)
    number = len(prior.names)
    found = found._replace(z=found.z[..., :number])
    parameters = _constrain_all(prior, jnp.asarray(found.z.reshape(-1, number)))
    draws = {
        name: np.asarray(getattr(parameters, name), float).reshape(found.z.shape[:2]) for name in prior.names
    }
    median = constrain(prior, jnp.asarray(np.median(found.z, axis=(0, 1))))
    checked = filtered(median, blocks, grid)
    return HestonFit(
        sample=sample_,
        prior=prior,
        sampling=sampling,
        likelihood=likelihood,
        draws=draws,
        chains=found,
        diagnoses={name: diagnose(x) for name, x in draws.items()},
        grid=grid,
        coarse=float(resolution(median, blocks, grid)),
        edge=float(checked.edge.max()),
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
) -> Iterator[tuple[int, HestonFit]]:
    """Fits of the last `window` bars at every `every`-th of them, each started from the one before.

    Gives the number of the bar after the window and the fit, which knows no bar from there on. Windows of one length
    share what was compiled.
    """
    years = bars.years_per_bar if years_per_bar is None else years_per_bar
    fit = None
    for end in range(window, len(bars) + 1, every):
        part = blocks_of(bars[end - window : end], size=block, years_per_bar=years)
        fit = fit_heston(part, prior, sampling, points=points, start=fit, seed=seed + end)
        yield end, fit


def filter_variance(
    parameters: Parameters, sample_: Sample, points: int = POINTS
) -> Float[ndarray, "blocks"]:
    """E[V | bars so far] at the end of each block, with known parameters."""
    return np.asarray(filter_blocks(parameters, sample_, points).variance, float)


def filter_blocks(parameters: Parameters, sample_: Sample, points: int = POINTS) -> Filtered:
    """What the filter knows of √V at the end of each block, with known parameters."""
    grid = first_grid(sample_.blocks, points)
    for _ in range(2):
        grid = better_grid(parameters, sample_.blocks, grid)
    return filtered(parameters, sample_.blocks, grid)


# --- Potentials ---


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


@cache
def _constrainer(prior: Prior) -> Any:
    return jax.jit(jax.vmap(lambda z: constrain(prior, z)))


def _constrain_all(prior: Prior, z: Any) -> Parameters:
    return _constrainer(prior)(z)


# --- Where to start ---


def _mode(prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """A grid around the filter at the posterior's mode, the mode, and the inverse of the curvature there."""
    guess = _guess(blocks)
    grid = first_grid(blocks, points)
    z = np.asarray(unconstrain(prior, guess), float)
    for _ in range(2):
        z = descend(prior, blocks, grid, z)
        # Twice: a grid that missed a jump moves most of the way only.
        for _ in range(2):
            grid = better_grid(constrain(prior, _f(z)), blocks, grid)
    return grid, z, _curvature(prior, blocks, grid, z)


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
        value, slope = _slope(prior)(_f(z), (blocks, grid))
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


def _curvature(prior: Prior, blocks: Blocks, grid: Grid, z: ndarray) -> ndarray:
    """The inverse of the potential's second derivatives, kept positive and within what priors allow."""
    step, rows = 0.03, []
    for unit in np.eye(len(z)):
        up, down = (
            np.asarray(_slope(prior)(_f(z + s * step * unit), (blocks, grid))[1], float) for s in (1, -1)
        )
        rows.append((up - down) / (2 * step))
    hessian = np.nan_to_num((np.array(rows) + np.array(rows).T) / 2)
    values, vectors = np.linalg.eigh(hessian)
    return (vectors / np.clip(values, 0.3, 1e6)) @ vectors.T


def _from(fit: HestonFit, prior: Prior, blocks: Blocks, points: int) -> tuple[Grid, ndarray, ndarray]:
    """The same from a fit of other blocks; its v0 is not theirs."""
    z = fit.chains.z.reshape(-1, fit.chains.z.shape[-1])
    centre, covariance = np.median(z, axis=0), np.cov(z.T) + 1e-6 * np.eye(z.shape[1])
    median = constrain(prior, _f(centre))._replace(v0=jnp.asarray(float(variance_path(blocks)[0])))
    grid = first_grid(blocks, points)
    for _ in range(2):
        grid = better_grid(median, blocks, grid)
    return grid, np.asarray(unconstrain(prior, median), float), covariance


def _variance(parameters: Parameters, blocks: Blocks, grid: Grid, seed: int, draws: int = 50) -> ndarray:
    """V at the end of each block over some of the draws: a mixture of squared normals, by drawing from it."""
    rng = np.random.default_rng(seed)
    some = rng.choice(len(parameters.kappa), size=draws)
    roots = []
    for i in some:
        found = filtered(
            Parameters(*(jnp.asarray(a)[i] if jnp.ndim(a) else a for a in parameters)), blocks, grid
        )
        mean, deviation = np.asarray(found.mean, float), np.asarray(found.deviation, float)
        roots.append(mean + deviation * rng.normal(size=(20, len(mean))))
    v = np.square(np.concatenate(roots))
    return np.stack([v.mean(0), *np.quantile(v, [0.05, 0.95], axis=0)], axis=1)


def _f(x: Any) -> Any:
    return jnp.asarray(x, jnp.result_type(float))


# --- Files ---


def write_fit(folder: Path, fit: HestonFit) -> None:
    """draws.parquet, variance.parquet, about.json, and heston.toml for --market.price unless the draws are refused."""
    chains, draws = next(iter(fit.draws.values())).shape
    frame = {
        "chain": np.repeat(np.arange(chains), draws),
        "draw": np.tile(np.arange(draws), chains),
        **{name: x.ravel() for name, x in fit.draws.items()},
        "energy": fit.chains.energy.ravel(),
        "diverging": fit.chains.diverging.ravel(),
        "steps": fit.chains.steps.ravel(),
    }
    store.write_frame(folder / DRAWS, pl.DataFrame(frame))
    columns = dict(zip(("mean", "low", "high"), fit.variance.T, strict=True))
    store.write_frame(folder / VARIANCE, pl.DataFrame({"time": fit.sample.time, **columns}))
    if fit.refused:
        store.remove(folder / PROCESS)
    else:
        store.write(folder / PROCESS, _process_file(fit))
    store.write(folder / ABOUT, json.dumps(about(fit), indent=1))


def read_draws(folder: Path) -> dict[str, Float[ndarray, "draws"]]:
    """The parameters' draws, all chains one after the other. Raises StoreError."""
    frame = store.read_frame(folder / DRAWS)
    kept = [name for name in frame.columns if name in Parameters._fields]
    return {name: frame[name].to_numpy() for name in kept}


def about(fit: HestonFit) -> dict[str, Any]:
    """What a program may want to know of a fit."""
    return {
        "sources": list(fit.sample.sources),
        "bars": fit.sample.bars,
        "returns": len(fit.sample.returns),
        "gaps": fit.sample.gaps,
        "block": fit.sample.size,
        "blocks": len(fit.sample.blocks),
        "years_per_bar": fit.sample.years_per_bar,
        "prior": fit.prior.name,
        "likelihood": fit.likelihood,
        "sampling": asdict(fit.sampling),
        "parameters": {name: asdict(d) for name, d in fit.diagnoses.items()},
        "variance_today": dict(zip(("mean", "low", "high"), map(float, fit.variance[-1]), strict=True)),
        "rhat": fit.rhat,
        "effective": fit.effective,
        "effective_a_second": fit.effective / fit.chains.seconds,
        "diverging": fit.diverging,
        "energy_share": fit.energy_share,
        "seconds": fit.chains.seconds,
        "seconds_compiling": fit.chains.compiling,
        "gradients": fit.chains.gradients,
        "complaints": fit.complaints,
        "refused": fit.refused,
    }


def _process_file(fit: HestonFit) -> str:
    """The process as settings take it, with intervals as comments."""
    process, out = fit.process(), io.StringIO()
    sources = "".join(c if c.isprintable() else "?" for c in " and ".join(fit.sample.sources))
    out.write(
        f"# The Heston model at the posterior's medians; years. From {len(fit.sample.returns)} returns of {sources}.\n"
    )
    out.write('kind = "heston"\n')
    of = {"reversion": "kappa", "level": "theta", "vol_of_vol": "sigma", "correlation": "rho", "drift": "mu"}
    for name in (
        "initial",
        "drift",
        "initial_variance",
        "reversion",
        "level",
        "vol_of_vol",
        "correlation",
        "time_step",
    ):
        out.write(f"{name} = {float(getattr(process, name))!r}")
        if of.get(name) in fit.diagnoses:
            d = fit.diagnoses[of[name]]
            out.write(f"  # 90% from {d.low:.4g} to {d.high:.4g}")
        if name == "initial_variance":
            out.write(f"  # today's; 90% from {fit.variance[-1, 1]:.4g} to {fit.variance[-1, 2]:.4g}")
        out.write("\n")
    return out.getvalue()
