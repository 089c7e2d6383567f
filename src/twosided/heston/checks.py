"""Checks of a calibration: posterior predictive checks, simulation-based calibration, parameter recovery.

Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari & Gelman 2018): if parameters are drawn from the prior
and data from the parameters, the rank of each parameter among its posterior draws is uniform. The data come from the
distribution of blocks in transition.py, which tests the computation, or from Heston's model in fine steps, which tests
the approximations of that distribution too.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray
from scipy import stats

from twosided.core.numeric import Scalar
from twosided.heston.blocks import Blocks, Sample, make_blocks
from twosided.heston.fit import HestonFit, fit_heston
from twosided.heston.priors import Prior, draw_prior
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling
from twosided.heston.transition import Parameters, return_distribution, volatility_distribution

STATISTICS = {
    "volatility": "annualized volatility",
    "kurtosis": "kurtosis",
    "skewness": "skewness",
    "clustering": "autocorrelation of squared returns, lag 1",
    "leverage": "correlation of return and next squared return",
    "largest": "largest absolute return, in standard deviations",
}
"""Statistics of the posterior predictive checks, with their titles."""


def statistics(returns: Float[ndarray, "n"], years_per_return: float) -> dict[str, float]:
    """Return the STATISTICS of log returns over intervals of `years_per_return` years."""
    std, squares = returns.std(), np.square(returns - returns.mean())
    return {
        "volatility": float(std / np.sqrt(years_per_return)),
        "kurtosis": float(stats.kurtosis(returns, fisher=False)),
        "skewness": float(stats.skew(returns)),
        "clustering": float(np.corrcoef(squares[:-1], squares[1:])[0, 1]),
        "leverage": float(np.corrcoef(returns[:-1], squares[1:])[0, 1]),
        "largest": float(np.abs(returns - returns.mean()).max() / std),
    }


def posterior_predictive(
    fit: HestonFit, number: int = 200, seed: int = 0
) -> dict[str, Float[ndarray, "number"]]:
    """Return the statistics of `number` data sets simulated from the posterior.

    Each is simulated at a random draw of the posterior and is as long as the data.
    """
    index = np.random.default_rng(seed).choice(next(iter(fit.draws.values())).size, number)
    chosen = {name: jnp.asarray(x.ravel()[index]) for name, x in fit.draws.items()}
    parameters = Parameters(**{"mu": jnp.zeros(number), **chosen})
    length, years = len(fit.sample.returns), fit.sample.years_per_bar
    keys = jax.random.split(jax.random.key(seed), number)
    # Batches bound the memory: a month of one-minute bars would take gigabytes.
    found = []
    for batch in np.array_split(np.arange(number), max(1, number * length // 2_000_000)):
        part = jax.tree.map(lambda leaf, batch=batch: leaf[batch], parameters)
        returns, _ = simulate_returns(part, keys[batch], length, years)
        found += [statistics(np.asarray(row, float), years) for row in returns]
    return {name: np.array([values[name] for values in found]) for name in STATISTICS}


@functools.partial(jax.jit, static_argnames=("length", "substeps"))
def simulate_returns(
    parameters: Parameters, keys: Array, length: int, years: Scalar, substeps: int = 1
) -> tuple[Float[Array, "sets length"], Float[Array, "sets"]]:
    """Simulate Heston's model at each set of parameters, in `substeps` steps per bar.

    Returns the log returns of `length` bars of `years` years each, and the variance at the end.
    """

    def simulate(p: Parameters, key: Array) -> tuple[Array, Array]:
        process = Heston(1.0, p.mu, p.v0, p.kappa, p.theta, p.sigma, p.rho, years / substeps)

        def bar(state, key):
            shocks = process.shocks(key, (substeps,))
            after, _ = jax.lax.scan(lambda s, shock: (process.step(s, shock), None), state, shocks)
            # The price restarts at 1 in each bar, so that its log return keeps its digits.
            return replace(after, mid=jnp.ones_like(after.mid)), jnp.log(after.mid)

        start = process.reset(process.shocks(key, ()))
        last, returns = jax.lax.scan(bar, start, jax.random.split(key, length))
        return returns, last.variance

    return jax.vmap(simulate)(parameters, keys)


@dataclass(frozen=True)
class Design:
    """Design of the data sets to simulate and fit."""

    returns: int = 200
    """Number of returns in a data set."""
    years_per_bar: float = 1 / 252
    """Length of a bar in years."""
    block: int = 1
    """Number of returns in a block."""
    source: Literal["blocks", "heston"] = "blocks"
    """Source of the data: the distribution of blocks in transition.py, or Heston's model."""
    substeps: int = 4
    """Steps of Heston's model in a bar."""


@dataclass(frozen=True)
class CheckResult:
    """True parameters of a simulated data set, compared with its posterior."""

    number: int
    """Number of the data set; it seeds the simulation and the fit."""
    truth: dict[str, float]
    """True parameters, and the variance `v` at the end of the data."""
    ranks: dict[str, float]
    """Share of the posterior's draws below the truth. For `v`, 0, 0.5 or 1: below, within or above the 90% interval."""
    rhat: float
    """Largest R-hat of the parameters."""
    effective_samples: float
    """Smallest effective sample size of the parameters."""
    std_ratios: dict[str, float]
    """Standard deviation of the posterior over that of the prior, of logarithms for positive parameters.

    It is 1 if the data add no information.
    """


def check_data_sets(
    prior: Prior,
    design: Design,
    sampling: Sampling,
    numbers: range,
    truth: Parameters | None = None,
    seed: int = 0,
) -> Iterator[CheckResult]:
    """Simulate and fit the data sets with the given numbers.

    Their parameters are `truth`, or drawn from the prior if it is None.
    """
    drawn = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(seed), 2000))
    prior_std = {
        name: _transformed_std(name, np.asarray(getattr(drawn, name), float)) for name in prior.names
    }
    for number in numbers:
        first, second = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        parameters = draw_prior(prior, first) if truth is None else truth
        sample, end = simulate_sample(parameters, second, design)
        fit = fit_heston(sample, prior, sampling, seed=number)
        ranks = {name: float(np.mean(x < float(getattr(parameters, name)))) for name, x in fit.draws.items()}
        low, high = fit.variance[-1, 1:]
        yield CheckResult(
            number=number,
            truth={name: float(getattr(parameters, name)) for name in prior.names} | {"v": end},
            ranks=ranks | {"v": 0.0 if end < low else 1.0 if end > high else 0.5},
            rhat=fit.rhat,
            effective_samples=fit.effective_samples,
            std_ratios={name: _transformed_std(name, x) / prior_std[name] for name, x in fit.draws.items()},
        )


def simulate_sample(p: Parameters, key: Array, design: Design) -> tuple[Sample, float]:
    """Simulate the blocks of a data set. Returns them with the variance at their end."""
    number, size, years = design.returns // design.block, design.block, design.years_per_bar
    if design.source == "heston":
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], p)
        returns, last = simulate_returns(batch, key[None], number * size, years, design.substeps)
        rows, end = np.asarray(returns[0], float).reshape(number, size), float(last[0])
        blocks = make_blocks(rows, years)
    else:
        blocks, end = _simulate_blocks(p, key, number, size, years)
        rows = np.asarray(blocks.scaled_return, float)[:, None]
    sample = Sample(
        blocks,
        size,
        years,
        np.arange(number, dtype=float),
        rows.ravel(),
        number * size + 1,
        0,
        0,
        ("simulated",),
    )
    return sample, end


def _simulate_blocks(p: Parameters, key: Array, number: int, size: int, years: float) -> tuple[Blocks, float]:
    """Draw blocks from the distribution in transition.py. Returns them with the variance at their end."""
    blocks = make_blocks(np.zeros((number, size)), years)
    scaled_return, sum_squares, path = _draw_blocks(
        p, jax.random.split(key, number), blocks.length, blocks.degrees_of_freedom
    )
    return replace(blocks, scaled_return=scaled_return, sum_squares=sum_squares), float(path[-1])


@jax.jit
def _draw_blocks(p: Parameters, keys: Array, length: Array, degrees_of_freedom: Array) -> tuple[Array, ...]:
    """Return the returns over √δ, the sums of squares and V at the end of one block for each key."""
    distribution = return_distribution(p, length)

    def block(v, key):
        variance_key, price_key, squares_key = jax.random.split(key, 3)
        volatility = volatility_distribution(p, v, length)
        v_end = jnp.square(volatility.mean + volatility.std * jax.random.normal(variance_key))
        average = (v + v_end) / 2
        scaled_return = distribution.intercept + distribution.end_slope * v_end + distribution.start_slope * v
        scaled_return += jnp.sqrt(distribution.residual * average) * jax.random.normal(price_key)
        chi_square = jax.random.chisquare(squares_key, jnp.maximum(degrees_of_freedom, 1e-6))
        return v_end, (scaled_return, average * chi_square * (degrees_of_freedom > 0), v_end)

    return jax.lax.scan(block, p.v0, keys)[1]


def _transformed_std(name: str, draws: ndarray) -> float:
    """Return the standard deviation of draws, or of their logarithms for a positive parameter."""
    return float(np.std(draws if name in ("rho", "mu") else np.log(draws)))
