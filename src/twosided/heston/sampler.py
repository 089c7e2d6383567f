"""Hamiltonian Monte Carlo with numpyro (NUTS or HMC with fixed trajectory length) on several chains, with diagnostics.

Each chain runs in a thread of its own. All chains share the compiled program, and no chain waits for the longest
trajectory of another. Warm-up adapts the step size (dual averaging) and the mass matrix in windows, as Stan does.

Diagnostics are those of Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021): R-hat is the larger of the
rank-normalized split R-hat of the values and of their distances from the median. Effective sample sizes are those of
the ranks (bulk) and of the 5% and 95% quantiles (tail).
"""

import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray
from scipy import stats

from twosided.core.validation import check, check_seed

CHUNK_SIZE = 50
"""Iterations of a chain between two reports of progress."""
MAX_POTENTIAL = 1e12
"""Potential from which on the density counts as 0: no chain may step there."""
Potential = Callable[[Float[Array, "dimensions"], Any], Float[Array, ""]]
"""Negative log density of z given data (a pytree), up to a constant."""


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampler."""

    sampler: Literal["nuts", "hmc"] = "nuts"
    """Algorithm: the No-U-Turn sampler, or Hamiltonian Monte Carlo with a fixed trajectory length."""
    num_chains: int = 4
    """Number of chains, run in parallel from starting points that are more dispersed than the posterior."""
    num_warmup: int = 300
    """Warm-up iterations of each chain; they adapt the sampler and are discarded."""
    num_samples: int = 400
    """Draws kept of each chain."""
    target_accept_prob: float = 0.85
    """Mean acceptance probability that the step size is adapted to."""
    max_tree_depth: int = 8
    """NUTS: maximum depth of the tree; a trajectory has at most 2 to this power steps."""
    trajectory_length: float = 2.0
    """HMC: length of a trajectory, in standard deviations of the posterior."""

    def __post_init__(self):
        check("num_chains", self.num_chains, "from 2 to 64", 2 <= self.num_chains <= 64)
        check("num_warmup", self.num_warmup, "at least 20", self.num_warmup >= 20)
        check("num_samples", self.num_samples, "at least 20", self.num_samples >= 20)
        check("target_accept_prob", self.target_accept_prob, "in (0, 1)", 0 < self.target_accept_prob < 1)
        check("max_tree_depth", self.max_tree_depth, "from 1 to 15", 1 <= self.max_tree_depth <= 15)
        check("trajectory_length", self.trajectory_length, "positive", self.trajectory_length > 0)


class Chains(NamedTuple):
    """Draws of all chains, with the sampler's statistics."""

    z: Float[ndarray, "chains draws dimensions"]
    """Draws."""
    energy: Float[ndarray, "chains draws"]
    """Potential plus kinetic energy."""
    diverging: Bool[ndarray, "chains draws"]
    """Whether the trajectory diverged."""
    num_steps: Float[ndarray, "chains draws"]
    """Leapfrog steps of the trajectory, one gradient each."""
    accept_prob: Float[ndarray, "chains draws"]
    """Mean acceptance probability over the trajectory."""
    sampling_seconds: float
    """Wall-clock time of warm-up and sampling, in seconds, without compilation."""
    compile_seconds: float
    """Wall-clock time of compilation, in seconds."""
    num_gradients: int
    """Gradients of all chains and iterations, warm-up included."""


def run_chains(
    potential: Potential,
    data: Any,
    start: Float[Array, "chains dimensions"],
    inverse_mass: Float[Array, "dimensions dimensions"] | Float[Array, "dimensions"],
    sampling: Sampling,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Chains:
    """Run the chains from their starting points.

    `inverse_mass` is the initial inverse mass matrix, an estimate of the posterior's covariance or of its diagonal.
    `progress` is called with the share of iterations done. Raises ValueError for a bad seed, and Refusal without
    numpyro.
    """
    check_seed(seed)
    begin = time.perf_counter()
    keys = jax.random.split(jax.random.PRNGKey(seed), sampling.num_chains)
    init, advance = _compiled(potential, sampling, start[0], keys[0], inverse_mass, data)
    compiled = time.perf_counter()
    num_chunks = -(-(sampling.num_warmup + sampling.num_samples) // CHUNK_SIZE)
    done, stopped = np.zeros(sampling.num_chains), threading.Event()

    def chain(number: int) -> list[Any]:
        state = init(start[number], keys[number], inverse_mass, data)
        parts = []
        for _ in range(num_chunks):
            if stopped.is_set():
                break
            state, part = advance(state, data)
            parts.append(jax.tree.map(np.asarray, part))
            done[number] += 1
            progress(float(done.mean()) / num_chunks)
        return parts

    with ThreadPoolExecutor(min(sampling.num_chains, os.cpu_count() or 1)) as threads:
        try:
            running = [threads.submit(chain, number) for number in range(sampling.num_chains)]
            # Ctrl-C reaches only this thread, and only when a wait ends: the signal handler of polars resumes an
            # interrupted wait. Hence the short waits.
            found = wait(running, 0.0)
            while found.not_done and not any(one.exception() for one in found.done):
                found = wait(running, 0.2, FIRST_EXCEPTION)
        finally:
            stopped.set()  # otherwise the executor would wait for all chains to finish
        by_chain = [one.result() for one in running]
    # Concatenate each field to chains by iterations.
    joined = [[np.concatenate(field) for field in zip(*parts, strict=True)] for parts in by_chain]
    fields = [np.stack(field) for field in zip(*joined, strict=True)]
    kept = slice(sampling.num_warmup, sampling.num_warmup + sampling.num_samples)
    z, energy, diverging, num_steps, accept_prob = (values[:, kept] for values in fields)
    ended = time.perf_counter()
    return Chains(
        z,
        energy,
        diverging,
        num_steps,
        accept_prob,
        ended - compiled,
        compiled - begin,
        int(fields[3].sum()),
    )


def _compiled(
    potential: Potential, sampling: Sampling, start: Any, key: Any, inverse_mass: Any, data: Any
) -> tuple[Any, Any]:
    """Return the programs for data of this shape, compiled before the threads start, as each would compile its own."""
    # The programs depend neither on the number of chains nor on the number of draws.
    shared = replace(sampling, num_chains=Sampling.num_chains, num_samples=Sampling.num_samples)
    init, advance, cache = _programs(potential, shared, inverse_mass.ndim == 2)
    shapes = tuple((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves((start, inverse_mass, data)))
    if shapes not in cache:
        compiled = init.lower(start, key, inverse_mass, data).compile()
        state = compiled(start, key, inverse_mass, data)
        cache[shapes] = compiled, advance.lower(state, data).compile()
    return cache[shapes]


def bounded_potential(potential: Float[Array, ""]) -> Float[Array, ""]:
    """Return the potential, or infinity from MAX_POTENTIAL on.

    There the gradient would give a momentum whose square overflows in single precision. If the terms of the kinetic
    energy differ in sign, it could be minus infinity, and the step would be accepted as a decrease of the energy.
    """
    return jnp.where(potential < MAX_POTENTIAL, potential, jnp.inf)


@functools.lru_cache(maxsize=8)
def _programs(potential: Potential, sampling: Sampling, dense: bool) -> tuple[Any, Any, dict[Any, Any]]:
    """Return the start of a chain, CHUNK_SIZE iterations of it, and a cache of their compiled forms by data shapes."""
    algorithm = "NUTS" if sampling.sampler == "nuts" else "HMC"
    from numpyro.infer.hmc import hmc

    init_kernel: Callable[..., Any]
    init_kernel, sample_kernel = hmc(
        potential_fn_gen=lambda data: lambda z: bounded_potential(potential(z, data)), algo=algorithm
    )

    # Each chain has a thread; several XLA threads per chain would only add overhead.
    options = {"xla_cpu_multi_thread_eigen": False} if jax.default_backend() == "cpu" else None

    @functools.partial(jax.jit, compiler_options=options)
    def init(start, key, inverse_mass, data):
        return init_kernel(
            start,
            num_warmup=sampling.num_warmup,
            step_size=0.3,
            inverse_mass_matrix=inverse_mass,
            dense_mass=dense,
            target_accept_prob=sampling.target_accept_prob,
            trajectory_length=None if algorithm == "NUTS" else sampling.trajectory_length,
            max_tree_depth=sampling.max_tree_depth,
            model_args=(data,),
            rng_key=key,
        )

    @functools.partial(jax.jit, compiler_options=options)
    def advance(state, data):
        def step(state, _):
            state = sample_kernel(state, (data,), {})
            return state, (state.z, state.energy, state.diverging, state.num_steps, state.accept_prob)

        return jax.lax.scan(step, state, None, length=CHUNK_SIZE)

    return init, advance, {}


# --- Convergence diagnostics ---


@dataclass(frozen=True)
class PosteriorSummary:
    """Posterior moments and quantiles of one quantity, with convergence diagnostics."""

    mean: float
    """Posterior mean."""
    std: float
    """Posterior standard deviation."""
    low: float
    """5% quantile."""
    median: float
    """Posterior median."""
    high: float
    """95% quantile."""
    rhat: float
    """Rank-normalized split R-hat, the larger of that of the values and of their distances from the median."""
    ess_bulk: float
    """Bulk effective sample size."""
    ess_tail: float
    """Tail effective sample size, the smaller of those of the 5% and 95% quantiles."""


def summarize(draws: Float[ndarray, "chains draws"]) -> PosteriorSummary:
    """Return the summary of the draws of one quantity."""
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95])
    folded = np.abs(draws - median)
    tails = [(draws <= low).astype(float), (draws <= high).astype(float)]
    return PosteriorSummary(
        mean=float(draws.mean()),
        std=float(draws.std()),
        low=float(low),
        median=float(median),
        high=float(high),
        rhat=max(_split_rhat(_rank_normalized(draws)), _split_rhat(_rank_normalized(folded))),
        ess_bulk=_effective_sample_size(_rank_normalized(draws)),
        ess_tail=min(map(_effective_sample_size, tails)),
    )


def e_bfmi(energy: Float[ndarray, "chains draws"]) -> float:
    """Return the smallest E-BFMI of the chains (Betancourt 2016).

    Below 0.3 the momentum draws alone do not reach all energies.
    """
    return float(np.min(np.square(np.diff(energy, axis=1)).mean(1) / energy.var(axis=1)))


def _rank_normalized(draws: ndarray) -> ndarray:
    """Return the normal scores of the ranks among the draws of all chains."""
    ranks = stats.rankdata(draws, method="average").reshape(draws.shape)
    return stats.norm.ppf((ranks - 0.375) / (draws.size + 0.25))


def _split_rhat(draws: ndarray) -> float:
    from numpyro.diagnostics import split_gelman_rubin

    return float(split_gelman_rubin(draws))


def _effective_sample_size(draws: ndarray) -> float:
    if np.ptp(draws) == 0:  # for instance where the quantile equals a bound of the parameter
        return float(draws.size)
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    from numpyro.diagnostics import effective_sample_size

    return float(effective_sample_size(split))
