"""Bias of the Heston schemes in the three benchmark cases of Andersen (2008), against exact prices; their speed.

    python benchmarks/heston.py

Calls at strikes 70, 100 and 140 on a price of 100, without rates. The bias is that of the simulated price, with the
simulated forward as a control; the order of convergence is the slope of log |bias| against log Δ over those step
sizes whose bias, pooled over the cases and strikes in quadrature, is at least three standard errors. The floor of the
time is that of drawing the same normals and adding them up in the same compiled shape.
"""

import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
from measure import Row, aim, arguments, in_turn, report

from twosided.heston.moments import call_price
from twosided.heston.process import Heston, HestonEuler, HestonProcess

CASES = {
    "I": ({"mean_reversion": 0.5, "long_run_variance": 0.04, "vol_of_vol": 1.0, "correlation": -0.9}, 10),
    "II": ({"mean_reversion": 0.3, "long_run_variance": 0.04, "vol_of_vol": 0.9, "correlation": -0.5}, 15),
    "III": ({"mean_reversion": 1.0, "long_run_variance": 0.09, "vol_of_vol": 1.0, "correlation": -0.3}, 5),
}
"""Parameters, and years; the variance starts at its level."""
STRIKES = (70.0, 100.0, 140.0)
SCHEMES: dict[str, type[HestonProcess]] = {"quadratic-exponential": Heston, "Euler": HestonEuler}
BATCH = 8192


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--paths", type=int, default=1_000_000, help="of each case (%(default)s)")
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 2, 4, 8, 16], help="a year (%(default)s)")
    options = parser.parse_args()

    rows: list[Row] = []
    orders, errors = {}, {}
    for name, scheme in SCHEMES.items():
        pooled = []
        for steps in options.steps:
            found = [
                _biases(scheme, parameters, years, steps, options.paths, options.seed)
                for parameters, years in CASES.values()
            ]
            bias, error = (np.concatenate(x) for x in zip(*found, strict=True))
            pooled.append((np.sqrt(np.mean(bias**2)), np.sqrt(np.mean(error**2))))
            for case, (own, own_error) in zip(CASES, found, strict=True):
                cells = {
                    f"bias at {strike:g}": f"{b:+.3f} ± {e:.3f}"
                    for strike, b, e in zip(STRIKES, own, own_error, strict=True)
                }
                rows.append({"scheme": name, "steps a year": steps, "case": case, **cells})
        seen = [
            (steps, bias)
            for steps, (bias, error) in zip(options.steps, pooled, strict=True)
            if bias > 3 * error
        ]
        slope = (
            np.polyfit(np.log([1 / s for s, _ in seen]), np.log([b for _, b in seen]), 1)[0]
            if len(seen) > 1
            else np.nan
        )
        orders[name], errors[name] = (
            float(slope),
            dict(zip(options.steps, (b for b, _ in pooled), strict=True)),
        )
    ratio = _cost(options.repeats, options.seed)
    common = options.steps[-2] if len(options.steps) > 1 else options.steps[-1]
    better = float(errors["quadratic-exponential"][common] / errors["Euler"][common])
    aims = [
        aim(
            f"bias (root mean square), quadratic-exponential over Euler, {common} steps a year",
            better,
            "below 0.2",
            better < 0.2,
        ),
        *(
            aim(f"order of convergence, {name}", order, "above 0.5", bool(order > 0.5))
            for name, order in orders.items()
        ),
        *(
            aim(f"time over that of the normals alone, {name}", value, "at most 3", value <= 3)
            for name, value in ratio.items()
        ),
    ]
    report("Heston schemes", rows, aims, options, "jax", "jaxlib")


def _biases(
    scheme, parameters, years: int, steps: int, paths: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the calls at the strikes, and their standard errors, in currency."""
    process = scheme(initial_variance=parameters["long_run_variance"], time_step=1 / steps, **parameters)
    exact = np.array([call_price(process, strike, years) for strike in STRIKES])
    keys = jax.random.split(jax.random.key(seed), max(paths // BATCH, 2))
    last = np.concatenate([np.asarray(_last(process, key, years * steps), float) for key in keys])
    payoffs = np.maximum(last[:, None] - np.array(STRIKES), 0.0)
    # Euler's forward is exact only in the mean, as is that of a martingale: the control has a known mean.
    control = last - 100.0
    slope = (control @ (payoffs - payoffs.mean(0))) / (control @ control)
    residual = payoffs - np.outer(control, slope)
    return residual.mean(0) - exact, residual.std(0) / np.sqrt(len(last))


@functools.partial(jax.jit, static_argnums=2)
def _last(process, key, steps: int):
    """Prices after the steps; a step's normals are drawn as it is taken."""

    def one(state, key):
        return jax.vmap(process.step)(state, process.shocks(key, (BATCH,))), None

    start = jax.vmap(process.reset)(process.shocks(key, (BATCH,)))
    return jax.lax.scan(one, start, jax.random.split(key, steps))[0].mid


def _cost(repeats: int, seed: int) -> dict[str, float]:
    """Seconds of 64 steps over those of their normals, by scheme."""

    @jax.jit
    def normals(key):
        def one(total, key):
            drawn = jax.random.normal(key, (2, BATCH))
            return total + drawn[0] * drawn[1], None

        return jax.lax.scan(one, jnp.zeros(BATCH), jax.random.split(key, 64))[0]

    key = jax.random.key(seed)
    runs = {"normals": lambda: jax.block_until_ready(normals(key))}
    for name, scheme in SCHEMES.items():
        process = scheme(time_step=1 / 252)
        runs[name] = lambda process=process: jax.block_until_ready(_last(process, key, 64))
    seconds = in_turn(runs, repeats)
    pairs = {
        name: [a / b for a, b in zip(seconds[name], seconds["normals"], strict=True)] for name in SCHEMES
    }
    return {name: statistics.median(values) for name, values in pairs.items()}


if __name__ == "__main__":
    main()
