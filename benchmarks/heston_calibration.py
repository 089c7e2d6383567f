"""Whether the calibration of Heston is right, and how fast: simulation-based calibration, recovery, speed.

    python benchmarks/heston_calibration.py sbc          ranks over 200 data sets drawn from the prior
    python benchmarks/heston_calibration.py daily        90% intervals over 100 sets of 5,000 daily bars
    python benchmarks/heston_calibration.py minute       the same of 5,000 one-minute bars
    python benchmarks/heston_calibration.py speed        30,000 one-minute bars; gradients over their floor

A line of JSON for each data set goes to --log as it is done, and a second start goes on from there. With --workers,
data sets are fitted by so many processes; what comes out does not depend on how many.
"""

import functools
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, aim, arguments, median_ratio, report
from scipy import stats

from twosided.heston.checks import CheckResult, Design, check_data_sets, simulate_sample
from twosided.heston.fit import fit_heston
from twosided.heston.grid import adapted_grid, log_likelihood
from twosided.heston.priors import WeakPrior
from twosided.heston.sampler import Sampling
from twosided.heston.transition import Parameters

MINUTE = 1 / (365.25 * 24 * 60)
THEIRS = 133
"""Samples a second a chain of the code that this takes after, with no information in them."""
DESIGNS = {
    # Of 250 single returns a variance so rough comes out that 48 points cannot tell one that hardly moves.
    "sbc": (Design(returns=2000, block=10, source="blocks"), 200),
    "daily": (Design(returns=5000, block=5, source="heston", years_per_bar=1 / 252, substeps=8), 100),
    # A hundred blocks: in 50 minutes the variance moves by an eighth of what their returns can tell of it.
    "minute": (Design(returns=5000, block=50, source="heston", years_per_bar=MINUTE, substeps=2), 100),
    "speed": (Design(returns=30_000, block=60, source="heston", years_per_bar=MINUTE, substeps=2), 1),
}
"""Data sets, and how many."""
ENOUGH = Sampling(num_chains=2, num_warmup=75, num_samples=150)
"""To tell where 5% and 95% are: what is judged is all data sets together."""
SAMPLING = {
    "sbc": ENOUGH,
    "daily": ENOUGH,
    # A posterior with tails as long as the prior's takes longer to find one's way in.
    "minute": Sampling(num_chains=2, num_warmup=200, num_samples=200),
    # What `twosided calibrate heston` takes.
    "speed": Sampling(),
}
TRUTH = Parameters(*(jnp.asarray(x) for x in (4.0, 0.05, 0.6, -0.6, 0.04, 0.0)))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("what", choices=DESIGNS)
    parser.add_argument("--sets", type=int, help="data sets (200, 100, 100)")
    parser.add_argument("--returns", type=int, help="in a data set")
    parser.add_argument("--block", type=int, help="returns in a block")
    parser.add_argument("--num-chains", type=int, help="(2; speed 4)")
    parser.add_argument("--num-warmup", type=int, help="(75; minute 200; speed 300)")
    parser.add_argument("--num-samples", type=int, help="(150; minute 200; speed 400)")
    parser.add_argument("--workers", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--log", type=Path, help="where data sets are noted; heston-WHAT.jsonl")
    options = parser.parse_args()
    design, sets = DESIGNS[options.what]
    given = {name: getattr(options, name) for name in ("returns", "block") if getattr(options, name)}
    design = replace(design, **given)
    given = {
        name: getattr(options, name)
        for name in ("num_chains", "num_warmup", "num_samples")
        if getattr(options, name)
    }
    sampling = replace(SAMPLING[options.what], **given)
    if options.what == "speed":
        rows, aims = _speed(design, sampling, options.seed, options.repeats)
    else:
        log = options.log or Path(f"heston-{options.what}.jsonl")
        asked = (options.what, design, sampling, options.seed)
        done = _logged(*asked, options.sets or sets, log, options.workers)
        rows, aims = _judged(options.what, done)
    report(f"Calibration of Heston: {options.what}", rows, aims, options, "jax", "numpyro")


def _fitted(what: str, design: Design, sampling: Sampling, seed: int, number: int) -> CheckResult:
    truth = None if what == "sbc" else TRUTH
    (one,) = check_data_sets(WeakPrior(), design, sampling, range(number, number + 1), truth, seed)
    return one


def _logged(
    what: str, design: Design, sampling: Sampling, seed: int, sets: int, log: Path, workers: int
) -> list[dict]:
    """Outcomes of data sets 0 to sets - 1: those that the log has, and the others, which are added to it."""
    # Lines of another design are not ours.
    head = json.dumps({"design": asdict(design), "sampling": asdict(sampling), "seed": seed})
    lines = log.read_text().splitlines() if log.exists() else []
    if not lines or lines[0] != head:
        lines = [head]
        log.write_text(head + "\n")
    done = {found["number"]: found for found in map(json.loads, lines[1:])}
    missing = [number for number in range(sets) if number not in done]
    one = functools.partial(_fitted, what, design, sampling, seed)
    spawn = multiprocessing.get_context("spawn")
    with log.open("a") as file, ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for future in as_completed([pool.submit(one, number) for number in missing]):
            found = asdict(future.result())
            done[found["number"]] = found
            file.write(json.dumps(found) + "\n")
            file.flush()
    return [done[number] for number in range(sets)]


def _judged(what: str, done: list[dict]) -> tuple[list[Row], list[Row]]:
    rows, aims = [], []
    for name in done[0]["ranks"]:
        ranks = np.array([one["ranks"][name] for one in done])
        covered = float(np.mean((ranks > 0.05) & (ranks < 0.95)))
        row: Row = {"parameter": name, "covered by 90%": f"{covered:.0%}"}
        if name != "v":
            row["ranks: p-value"] = float(stats.kstest(ranks, "uniform").pvalue)
            row["deviation over the prior’s"] = statistics.median(one["std_ratios"][name] for one in done)
        else:
            row["ranks: p-value"] = row["deviation over the prior’s"] = ""
        rows.append(row)
        if what == "sbc" and name != "v":
            p = float(row["ranks: p-value"])
            aims.append(aim(f"ranks of {name} are uniform: p-value", p, "above 0.002", p > 0.002))
        elif (what == "daily" and name in ("kappa", "theta", "sigma", "rho")) or (
            what == "minute" and name in ("v0", "v")
        ):
            aims.append(aim(f"90% intervals cover {name}", covered, "0.82 to 0.97", 0.82 <= covered <= 0.97))
    good = float(np.mean([one["rhat"] < 1.05 for one in done]))
    aims.append(aim("data sets whose R-hat is below 1.05", good, "at least 0.95", good >= 0.95))
    return rows, aims


def _speed(design: Design, sampling: Sampling, seed: int, repeats: int) -> tuple[list[Row], list[Row]]:
    sample, _ = simulate_sample(TRUTH, jax.random.key(seed), design)
    begin = time.perf_counter()
    fit = fit_heston(sample, WeakPrior(), sampling, seed=seed)
    whole = time.perf_counter() - begin
    rate = fit.effective_samples / fit.chains.sampling_seconds
    value, gradient = _over_floor(sample.blocks, repeats)
    rows: list[Row] = [
        {"what": "bars, in blocks", "measured": f"{design.returns} in {len(sample.blocks)}"},
        {
            "what": "chains x (warm-up + draws)",
            "measured": f"{sampling.num_chains} x ({sampling.num_warmup} + {sampling.num_samples})",
        },
        {"what": "seconds, from bars to diagnoses", "measured": whole},
        {"what": "of which sampling", "measured": fit.chains.sampling_seconds},
        {"what": "of which compiling", "measured": fit.chains.compile_seconds},
        {"what": "gradients", "measured": float(fit.chains.num_gradients)},
        {
            "what": "effective samples, least of all parameters, bulk and tail",
            "measured": fit.effective_samples,
        },
        {"what": "the same a second of sampling", "measured": rate},
        {"what": "draws a second a chain", "measured": sampling.num_samples / fit.chains.sampling_seconds},
        {"what": "theirs: samples a second a chain, with no information", "measured": float(THEIRS)},
        {"what": "likelihood, time over its floor", "measured": value},
        {"what": "its gradient, time over the same floor", "measured": gradient},
    ]
    aims = [
        aim("R-hat", fit.rhat, "below 1.01", fit.rhat < 1.01),
        aim("seconds, from bars to diagnoses", whole, "at most 300", whole <= 300),
    ]
    return rows, aims


def _over_floor(blocks, repeats: int) -> tuple[float, float]:
    """Times of the likelihood and of its gradient over that of their matrices: an exponential for each entry, and the
    product with a vector, in the same loop. CPU time, in turn."""
    grid = adapted_grid(TRUTH, blocks)
    options = {"xla_cpu_multi_thread_eigen": False} if jax.default_backend() == "cpu" else None

    def floor(x):
        def one(weight, x):
            kernel = jnp.exp(-jnp.square(x[:, None] - weight[None, :]) / 2)
            return kernel @ weight / x.shape[0], None

        return jax.lax.scan(one, x[0], x)[0]

    def program(function, *arguments):
        run = jax.jit(function, compiler_options=options)
        jax.block_until_ready(run(*arguments))
        return lambda: jax.block_until_ready(run(*arguments))

    runs = {
        "floor": program(floor, grid.y),
        "value": program(log_likelihood, TRUTH, blocks, grid),
        "gradient": program(jax.grad(log_likelihood), TRUTH, blocks, grid),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(max(repeats, 3)):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    return median_ratio(seconds["value"], seconds["floor"]), median_ratio(
        seconds["gradient"], seconds["floor"]
    )


if __name__ == "__main__":
    main()
