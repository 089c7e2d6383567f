"""Hamiltonian Monte Carlo by numpyro, NUTS or with a fixed path, on several chains; and whether the chains agree.

A chain is a thread of its own: what XLA compiles for one is used by all, and chains do not wait for the longest path of
any. Warm-up adapts the step size (dual averaging) and the mass matrix in windows, as Stan's does.

Diagnostics are those of Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021): R-hat on ranks, of values and of their
distances from the median, the larger of the two; effective sample sizes of ranks (bulk) and of the 5% and 95%
quantiles (tail).
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

from twosided.core.errors import Refusal
from twosided.core.validation import check, check_seed

CHUNK = 50
"""Iterations between two looks at the clock."""
IMPOSSIBLE = 1e12
"""A potential that no chain is to be at: a density of e to minus this."""
Potential = Callable[[Float[Array, "dimensions"], Any], Float[Array, ""]]
"""Minus the log density of z given data (a pytree), up to a constant."""


@dataclass(frozen=True)
class Sampling:
    """How to sample."""

    sampler: Literal["nuts", "hmc"] = "nuts"
    """The No-U-Turn sampler, or Hamiltonian Monte Carlo with paths of one length."""
    chains: int = 4
    """Side by side, from starts that are wider apart than the posterior."""
    warmup: int = 300
    """Iterations of each chain that adapt and are thrown away."""
    draws: int = 400
    """Iterations of each chain that are kept."""
    acceptance: float = 0.85
    """Of paths' ends, which the step size aims at."""
    depth: int = 8
    """NUTS: at most 2 to this power steps in a path."""
    path: float = 2.0
    """HMC: length of a path, in deviations of the posterior."""

    def __post_init__(self):
        check("chains", self.chains, "from 2 to 64", 2 <= self.chains <= 64)
        check("warmup", self.warmup, "at least 20", self.warmup >= 20)
        check("draws", self.draws, "at least 20", self.draws >= 20)
        check("acceptance", self.acceptance, "in (0, 1)", 0 < self.acceptance < 1)
        check("depth", self.depth, "from 1 to 15", 1 <= self.depth <= 15)
        check("path", self.path, "positive", self.path > 0)


class Chains(NamedTuple):
    """Draws, each array chains by draws."""

    z: Float[ndarray, "chains draws dimensions"]
    energy: Float[ndarray, "chains draws"]
    diverging: Bool[ndarray, "chains draws"]
    steps: Float[ndarray, "chains draws"]
    """Gradients that a draw took."""
    acceptance: Float[ndarray, "chains draws"]
    seconds: float
    """Of wall clock, compiling apart."""
    compiling: float
    gradients: int
    """Of all iterations, warm-up included."""


def sample(
    potential: Potential,
    data: Any,
    start: Float[Array, "chains dimensions"],
    mass: Float[Array, "dimensions dimensions"] | Float[Array, "dimensions"],
    sampling: Sampling,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Chains:
    """Chains from their starts; `mass` is the posterior's covariance as far as it is known, or its diagonal."""
    check_seed(seed)
    begin = time.perf_counter()
    keys = jax.random.split(jax.random.PRNGKey(seed), sampling.chains)
    init, advance = _compiled(potential, sampling, start[0], keys[0], mass, data)
    compiled = time.perf_counter()
    chunks = -(-(sampling.warmup + sampling.draws) // CHUNK)
    done, stopped = np.zeros(sampling.chains), threading.Event()

    def chain(number: int) -> list[Any]:
        state = init(start[number], keys[number], mass, data)
        parts = []
        for _ in range(chunks):
            if stopped.is_set():
                break
            state, part = advance(state, data)
            parts.append(jax.tree.map(np.asarray, part))
            done[number] += 1
            progress(float(done.mean()) / chunks)
        return parts

    with ThreadPoolExecutor(min(sampling.chains, os.cpu_count() or 1)) as threads:
        try:
            running = [threads.submit(chain, number) for number in range(sampling.chains)]
            # Ctrl-C comes to this thread alone, and only when a wait ends: polars' handler resumes what it interrupts.
            found = wait(running, 0.0)
            while found.not_done and not any(one.exception() for one in found.done):
                found = wait(running, 0.2, FIRST_EXCEPTION)
        finally:
            stopped.set()  # or leaving would wait for the chains to their ends
        by_chain = [one.result() for one in running]
    # By field, chains by iterations.
    joined = [[np.concatenate(field) for field in zip(*parts, strict=True)] for parts in by_chain]
    every = [np.stack(field) for field in zip(*joined, strict=True)]
    kept = slice(sampling.warmup, sampling.warmup + sampling.draws)
    z, energy, diverging, steps, acceptance = (values[:, kept] for values in every)
    ended = time.perf_counter()
    return Chains(
        z, energy, diverging, steps, acceptance, ended - compiled, compiled - begin, int(every[3].sum())
    )


def _compiled(
    potential: Potential, sampling: Sampling, start: Any, key: Any, mass: Any, data: Any
) -> tuple[Any, Any]:
    """The programs for data of this shape, compiled ahead of the threads, which would compile one each."""
    # They know neither how many chains there are, nor how many draws are kept.
    alike = replace(sampling, chains=Sampling.chains, draws=Sampling.draws)
    init, advance, known = _programs(potential, alike, mass.ndim == 2)
    shapes = tuple((leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves((start, mass, data)))
    if shapes not in known:
        first = init.lower(start, key, mass, data).compile()
        state = first(start, key, mass, data)
        known[shapes] = first, advance.lower(state, data).compile()
    return known[shapes]


def bounded(potential: Float[Array, ""]) -> Float[Array, ""]:
    """The potential, and infinity where no chain has a place: beyond IMPOSSIBLE.

    Its slope would make a momentum there whose square is too large for single precision; where its terms differ in
    sign, the kinetic energy could then be minus infinity, and the step would be taken as if it were downhill.
    """
    return jnp.where(potential < IMPOSSIBLE, potential, jnp.inf)


@functools.lru_cache(maxsize=8)
def _programs(potential: Potential, sampling: Sampling, dense: bool) -> tuple[Any, Any, dict[Any, Any]]:
    """A chain's start, and CHUNK of its iterations; and what has been compiled of them, by the data's shapes."""
    algorithm = "NUTS" if sampling.sampler == "nuts" else "HMC"
    init_kernel, sample_kernel = numpyro().infer.hmc.hmc(
        potential_fn_gen=lambda data: lambda z: bounded(potential(z, data)), algo=algorithm
    )

    # One chain to a thread: XLA's own threads would only hand work to each other.
    options = {"xla_cpu_multi_thread_eigen": False} if jax.default_backend() == "cpu" else None

    @functools.partial(jax.jit, compiler_options=options)
    def init(start, key, mass, data):
        return init_kernel(
            start,
            num_warmup=sampling.warmup,
            step_size=0.3,
            inverse_mass_matrix=mass,
            dense_mass=dense,
            target_accept_prob=sampling.acceptance,
            trajectory_length=None if algorithm == "NUTS" else sampling.path,
            max_tree_depth=sampling.depth,
            model_args=(data,),
            rng_key=key,
        )

    @functools.partial(jax.jit, compiler_options=options)
    def advance(state, data):
        def one(state, _):
            state = sample_kernel(state, (data,), {})
            return state, (state.z, state.energy, state.diverging, state.num_steps, state.accept_prob)

        return jax.lax.scan(one, state, None, length=CHUNK)

    return init, advance, {}


# --- Whether chains agree ---


@dataclass(frozen=True)
class Diagnosis:
    """Of one quantity."""

    mean: float
    deviation: float
    low: float
    """5% quantile."""
    median: float
    high: float
    """95% quantile."""
    rhat: float
    bulk: float
    """Effective sample size."""
    tail: float


def diagnose(draws: Float[ndarray, "chains draws"]) -> Diagnosis:
    """Of the draws of one quantity."""
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95])
    folded = np.abs(draws - median)
    extremes = [(draws <= low).astype(float), (draws <= high).astype(float)]
    return Diagnosis(
        mean=float(draws.mean()),
        deviation=float(draws.std()),
        low=float(low),
        median=float(median),
        high=float(high),
        rhat=max(_split_rhat(_ranked(draws)), _split_rhat(_ranked(folded))),
        bulk=_effective(_ranked(draws)),
        tail=min(map(_effective, extremes)),
    )


def energy_share(energy: Float[ndarray, "chains draws"]) -> float:
    """The smallest chain's E-BFMI (Betancourt 2016): below 0.3 momenta alone do not reach all energies."""
    return float(np.min(np.square(np.diff(energy, axis=1)).mean(1) / energy.var(axis=1)))


def _ranked(draws: ndarray) -> ndarray:
    """Normal scores of the ranks among all chains' draws."""
    ranks = stats.rankdata(draws, method="average").reshape(draws.shape)
    return stats.norm.ppf((ranks - 0.375) / (draws.size + 0.25))


def _split_rhat(draws: ndarray) -> float:
    return float(numpyro().diagnostics.split_gelman_rubin(draws))


def _effective(draws: ndarray) -> float:
    if np.ptp(draws) == 0:  # as where the quantile is the parameter's bound
        return float(draws.size)
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    return float(numpyro().diagnostics.effective_sample_size(split))


def numpyro() -> Any:
    """The library, which an extra brings. Raises Refusal."""
    try:
        import numpyro as library
        import numpyro.diagnostics
        import numpyro.distributions
        import numpyro.infer.hmc
    except ImportError:
        raise Refusal("the calibration of Heston needs numpyro: pip install 'twosided[heston]'") from None
    return library
