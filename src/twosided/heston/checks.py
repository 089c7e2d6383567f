"""Whether a calibration is right: posterior predictive checks, simulation-based calibration, recovery.

Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari & Gelman 2018): where parameters are drawn from the
prior and data from the parameters, the rank of each among its posterior draws is uniform. Data come from the law of
blocks itself, which tests the computation, or from Heston's model in fine steps, which tests the law too.
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

from twosided.heston.blocks import Blocks, Sample, make_blocks
from twosided.heston.fit import HestonFit, fit_heston
from twosided.heston.law import Parameters, return_law, volatility_law
from twosided.heston.priors import Prior, draw_prior
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling

STATISTICS = {
    "volatility": "volatility a year",
    "kurtosis": "kurtosis",
    "skewness": "skewness",
    "clustering": "correlation of neighbouring squares",
    "leverage": "correlation of a return with the next square",
    "largest": "largest move over the deviation",
}
"""What posterior predictive checks look at, in words."""


def statistics(returns: Float[ndarray, "n"], years: float) -> dict[str, float]:
    """Of log returns of intervals of so many years."""
    deviation, squares = returns.std(), np.square(returns - returns.mean())
    return {
        "volatility": float(deviation / np.sqrt(years)),
        "kurtosis": float(stats.kurtosis(returns, fisher=False)),
        "skewness": float(stats.skew(returns)),
        "clustering": float(np.corrcoef(squares[:-1], squares[1:])[0, 1]),
        "leverage": float(np.corrcoef(returns[:-1], squares[1:])[0, 1]),
        "largest": float(np.abs(returns - returns.mean()).max() / deviation),
    }


def predictive(fit: HestonFit, number: int = 200, seed: int = 0) -> dict[str, Float[ndarray, "number"]]:
    """The statistics of data sets simulated from as many draws of a posterior, each as long as the data."""
    some = np.random.default_rng(seed).choice(next(iter(fit.draws.values())).size, number)
    picked = {name: jnp.asarray(x.ravel()[some]) for name, x in fit.draws.items()}
    parameters = Parameters(**{"mu": jnp.zeros(number), **picked})
    length, years = len(fit.sample.returns), fit.sample.years_per_bar
    keys = jax.random.split(jax.random.key(seed), number)
    # In batches, so that a month of minutes does not take gigabytes.
    found = []
    for batch in np.array_split(np.arange(number), max(1, number * length // 2_000_000)):
        part = jax.tree.map(lambda leaf, batch=batch: leaf[batch], parameters)
        returns, _ = simulate_returns(part, keys[batch], length, years)
        found += [statistics(np.asarray(row, float), years) for row in returns]
    return {name: np.array([one[name] for one in found]) for name in STATISTICS}


@functools.partial(jax.jit, static_argnames=("length", "substeps"))
def simulate_returns(
    parameters: Parameters, keys: Array, length: int, years: float, substeps: int = 1
) -> tuple[Float[Array, "sets length"], Float[Array, "sets"]]:
    """Log returns of Heston's model at each set of parameters, a bar in so many steps; the variance at the end."""

    def one(p: Parameters, key: Array) -> tuple[Array, Array]:
        process = Heston(1.0, p.mu, p.v0, p.kappa, p.theta, p.sigma, p.rho, years / substeps)

        def bar(state, key):
            shocks = process.shocks(key, (substeps,))
            after, _ = jax.lax.scan(lambda s, shock: (process.step(s, shock), None), state, shocks)
            # From 1 again, so that no digits are lost to a price that has moved far.
            return replace(after, mid=jnp.ones_like(after.mid)), jnp.log(after.mid)

        start = process.reset(process.shocks(key, ()))
        last, returns = jax.lax.scan(bar, start, jax.random.split(key, length))
        return returns, last.variance

    return jax.vmap(one)(parameters, keys)


@dataclass(frozen=True)
class Design:
    """Data sets to simulate and fit."""

    returns: int = 200
    """In a data set."""
    years_per_bar: float = 1 / 252
    """Of a return."""
    block: int = 1
    """Returns in a block."""
    source: Literal["law", "heston"] = "law"
    """What data come from: the law of blocks, or Heston's model."""
    substeps: int = 4
    """Of Heston's model in a bar."""


@dataclass(frozen=True)
class Checked:
    """One data set: the truth, and where it stands in its posterior."""

    number: int
    truth: dict[str, float]
    ranks: dict[str, float]
    """Share of the posterior's draws below the truth; `v` is of the variance where the data end."""
    rhat: float
    effective: float
    widths: dict[str, float]
    """Deviation of the posterior over that of the prior, by logarithms where positive: 1 if nothing was learned."""


def check_sets(
    prior: Prior,
    design: Design,
    sampling: Sampling,
    numbers: range,
    truth: Parameters | None = None,
    seed: int = 0,
) -> Iterator[Checked]:
    """Simulate and fit data sets; their truth is drawn from the prior unless one is given."""
    wide = jax.vmap(lambda key: draw_prior(prior, key))(jax.random.split(jax.random.key(seed), 2000))
    spread = {name: _scale(name, np.asarray(getattr(wide, name), float)) for name in prior.names}
    for number in numbers:
        first, second = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        own = draw_prior(prior, first) if truth is None else truth
        sample, end = simulated_sample(own, second, design)
        fit = fit_heston(sample, prior, sampling, seed=number)
        inside = {name: float(np.mean(x < float(getattr(own, name)))) for name, x in fit.draws.items()}
        low, high = fit.variance[-1, 1:]
        yield Checked(
            number=number,
            truth={name: float(getattr(own, name)) for name in prior.names} | {"v": end},
            ranks=inside | {"v": 0.0 if end < low else 1.0 if end > high else 0.5},
            rhat=fit.rhat,
            effective=fit.effective,
            widths={name: _scale(name, x) / spread[name] for name, x in fit.draws.items()},
        )


def simulated_sample(p: Parameters, key: Array, design: Design) -> tuple[Sample, float]:
    """Blocks of a simulated data set, and the variance where it ends."""
    number, size, years = design.returns // design.block, design.block, design.years_per_bar
    if design.source == "heston":
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], p)
        returns, last = simulate_returns(one, key[None], number * size, years, design.substeps)
        rows, end = np.asarray(returns[0], float).reshape(number, size), float(last[0])
        blocks = make_blocks(rows, years)
    else:
        blocks, end = _law_path(p, key, number, size, years)
        rows = np.asarray(blocks.move, float)[:, None]
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


def _law_path(p: Parameters, key: Array, number: int, size: int, years: float) -> tuple[Blocks, float]:
    """Blocks drawn from the law that the likelihoods are of."""
    blocks = make_blocks(np.zeros((number, size)), years)
    move, squares, path = _drawn(p, jax.random.split(key, number), blocks.length, blocks.freedom)
    return replace(blocks, move=move, squares=squares), float(path[-1])


@jax.jit
def _drawn(p: Parameters, keys: Array, length: Array, freedom: Array) -> tuple[Array, ...]:
    """Returns over √δ, sums of squares, and V at the end, of a block for each key."""
    law = return_law(p, length)

    def one(v, key):
        own, price, squared = jax.random.split(key, 3)
        volatility = volatility_law(p, v, length)
        after = jnp.square(volatility.mean + volatility.deviation * jax.random.normal(own))
        held = (v + after) / 2
        move = law.drift + law.ahead * after + law.behind * v
        move += jnp.sqrt(law.free * held) * jax.random.normal(price)
        squares = held * jax.random.chisquare(squared, jnp.maximum(freedom, 1e-6)) * (freedom > 0)
        return after, (move, squares, after)

    return jax.lax.scan(one, p.v0, keys)[1]


def _scale(name: str, draws: ndarray) -> float:
    return float(np.std(draws if name in ("rho", "mu") else np.log(draws)))
