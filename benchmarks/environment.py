"""Environment steps a second of the dealer market, against its random numbers alone and against NumPy.

    python benchmarks/environment.py

Three things are timed in turn, each on the same number of markets and steps, with the same policies in both seats:

    random numbers   drawing all the chance of the market and of both policies, by the same calls, and adding it
                     up in a scan of the same shape, so that the compiler cannot drop any of it
    environment      the project's `rollout`: the same draws, then the policies, trades, prices, books,
                     observations and new episodes; everything a learner gets is written out at every step
    NumPy            the same market in numpy_dealer.py

With `fixed` makers both always quote the exchange's spread, so every order is a tie; with `random` ones both draw
their quotes and hedges on every step.
"""

import statistics

import equinox as eqx
import jax
import jax.numpy as jnp
from measure import Row, aim, arguments, in_turn, median_ratio, report
from numpy_dealer import NumpyDealer

from twosided import (
    DealerMarket,
    PersistentQuoter,
    Policy,
    RandomQuoter,
    Scenario,
    UnitInvestors,
    rollout,
    start,
)
from twosided.core.numeric import as_arrays
from twosided.core.rollout import Carry
from twosided.core.scenario import Step

MAKERS = {"fixed": (PersistentQuoter(), PersistentQuoter()), "random": (RandomQuoter(), RandomQuoter())}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=31)
    parser.add_argument("--markets", type=int, default=4096, help="markets side by side (%(default)s)")
    parser.add_argument("--steps", type=int, default=64, help="steps in a call (%(default)s)")
    parser.add_argument("--investors", type=int, default=20, help="investors in a market (%(default)s)")
    parser.add_argument("--makers", nargs="+", choices=MAKERS, default=list(MAKERS), help="(all)")
    options = parser.parse_args()

    rows: list[Row] = []
    worst = 0.0
    for name in options.makers:
        runs = contestants(MAKERS[name], options.markets, options.steps, options.investors, options.seed)
        seconds = in_turn(runs, options.repeats)
        over_chance = median_ratio(seconds["environment"], seconds["random numbers"])
        over_numpy = median_ratio(seconds["NumPy"], seconds["environment"])
        worst = max(worst, over_chance)
        number = options.markets * options.steps
        row: Row = {"makers": name}
        for run, times in seconds.items():
            row[f"{run}, ns a step"] = 1e9 * statistics.median(times) / number
        row["million steps a second"] = number / statistics.median(seconds["environment"]) / 1e6
        row["environment / random numbers"] = over_chance
        row["NumPy / environment"] = over_numpy
        rows.append(row)
    aims = [aim("environment / random numbers, the larger", worst, "at most 3", worst <= 3)]
    title = f"Dealer market, 2 makers, {options.investors} investors, {options.markets} markets"
    report(title, rows, aims, options, "jax", "jaxlib", "numpy")


def contestants(makers: tuple, markets: int, steps: int, investors: int, seed: int) -> dict:
    """What is timed, each a function of no arguments that comes back when its work is done."""
    market = DealerMarket(flow=UnitInvestors(count=investors))
    scenario, policy = as_arrays((Scenario(market, makers[1:]), makers[0]))
    key_start, key = jax.random.split(jax.random.key(seed))
    carry = eqx.filter_jit(start)(scenario, policy, key_start, markets)
    peer = NumpyDealer(market, makers, markets, scenario.horizon, seed)

    def numpy_steps() -> None:
        for _ in range(steps):
            peer.step()
            peer.observation()

    return {
        "random numbers": lambda: jax.block_until_ready(_chance(scenario, policy, key, markets, steps)),
        "environment": lambda: jax.block_until_ready(_live(scenario, policy, carry, key, steps)),
        "NumPy": numpy_steps,
    }


@eqx.filter_jit
def _live(scenario: Scenario, policy: Policy, carry: Carry, key, steps: int):
    def record(observation, policy_state, step: Step):
        return step.observation, step.reward, step.terminated, step.truncated

    return rollout(scenario, policy, carry, key, steps, record)


@eqx.filter_jit
def _chance(scenario: Scenario, policy: Policy, key, markets: int, steps: int):
    key_scenario, key_policy = jax.random.split(key)
    shocks = scenario.shocks(key_scenario, (steps, markets)), policy.shocks(key_policy, (steps, markets))

    def one(total, shock):
        return total + sum(leaf.astype(total.dtype).sum() for leaf in jax.tree.leaves(shock))

    def step(totals, shock):
        return jax.vmap(one)(totals, shock), None

    return jax.lax.scan(step, jnp.zeros(markets), shocks)[0]


if __name__ == "__main__":
    main()
