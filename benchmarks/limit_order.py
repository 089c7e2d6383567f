"""Steps a second of the limit-order market of Avellaneda and Stoikov, against its random numbers alone.

    python benchmarks/limit_order.py

Two things are timed in turn, each on the same number of paths and steps:

    random numbers   drawing all the chance of the market, by the same calls, and adding it up in a scan of the same
                     shape, so that the compiler cannot drop any of it
    environment      the project's `rollout`: the same draws, then Avellaneda and Stoikov's quotes, fills, price, PnL,
                     the reward, observations and new sessions; what a learner gets (observation, reward, ends) is
                     written out at every step

Every call draws the chance of all its steps before the first of them; more than some millions would not stay in the
caches. A session has 200 steps, whatever is in a call.
"""

import statistics

import equinox as eqx
import jax
import jax.numpy as jnp
from measure import Row, aim, arguments, in_turn, median_ratio, report

from twosided import AvellanedaStoikov, LimitOrderMarket, Scenario, rollout, start
from twosided.core.numeric import as_arrays
from twosided.core.rollout import Carry
from twosided.core.scenario import Step


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=31)
    parser.add_argument(
        "--paths", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="(%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=200, help="most steps in a call (%(default)s)")
    parser.add_argument(
        "--most", type=int, default=2_000_000, help="most steps of all its paths (%(default)s)"
    )
    parser.add_argument(
        "--keys", choices=["threefry2x32", "rbg"], default="threefry2x32", help="(%(default)s)"
    )
    options = parser.parse_args()

    rows: list[Row] = []
    worst = 0.0
    for paths in options.paths:
        steps = max(1, min(options.steps, options.most // paths))
        runs = contestants(paths, steps, options.seed, options.keys)
        seconds = in_turn(runs, options.repeats)
        ratio = median_ratio(seconds["environment"], seconds["random numbers"])
        worst = max(worst, ratio)
        number = paths * steps
        row: Row = {"paths": f"{paths:,}", "steps in a call": str(steps)}
        for run, times in seconds.items():
            row[f"{run}, ns a step"] = 1e9 * statistics.median(times) / number
        row["million steps a second"] = number / statistics.median(seconds["environment"]) / 1e6
        row["environment / random numbers"] = ratio
        rows.append(row)
    aims = [aim("environment / random numbers, the largest", worst, "at most 1.5", worst <= 1.5)]
    report(f"Limit-order market, {options.keys} keys", rows, aims, options, "jax", "jaxlib", "numpy")


def contestants(paths: int, steps: int, seed: int, keys: str) -> dict:
    """What is timed, each a function of no arguments that comes back when its work is done."""
    scenario, policy = as_arrays((Scenario(LimitOrderMarket(), ()), AvellanedaStoikov()))
    key_start, key = jax.random.split(jax.random.key(seed, impl=keys))
    carry = eqx.filter_jit(start)(scenario, policy, key_start, paths)
    return {
        "random numbers": lambda: jax.block_until_ready(_chance(scenario, key, paths, steps)),
        "environment": lambda: jax.block_until_ready(_live(scenario, policy, carry, key, steps)),
    }


@eqx.filter_jit
def _live(scenario: Scenario, policy: AvellanedaStoikov, carry: Carry, key, steps: int):
    def record(observation, policy_state, step: Step):
        return step.observation, step.reward, step.terminated, step.truncated

    return rollout(scenario, policy, carry, key, steps, record)


@eqx.filter_jit
def _chance(scenario: Scenario, key, paths: int, steps: int):
    shocks = scenario.shocks(jax.random.split(key)[0], (steps, paths))

    def step(totals, shock):
        return totals + sum(jax.tree.leaves(shock)), None

    return jax.lax.scan(step, jnp.zeros(paths), shocks)[0]


if __name__ == "__main__":
    main()
