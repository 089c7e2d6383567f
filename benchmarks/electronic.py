"""How fast the electronic market is simulated and learned, against Phelps's listing (2022) in plain NumPy.

    python benchmarks/electronic.py [--learners 64] [--days 1000000]

The listing simulated 446 days of 150 steps a second, and 5,000 days of its SARSA took it 32 s, on the machine on which
both were measured for this project. Here: a million days under a threshold policy, SARSA by a single learner alone
(a few days, scaled up), and by many side by side, one learner's share of the time. Compiling is not counted.
"""

import statistics

import equinox as eqx
import jax
import jax.numpy as jnp
from measure import aim, arguments, in_turn, report

from twosided.core.numeric import as_arrays
from twosided.core.rollout import episodes
from twosided.core.scenario import Scenario
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.learn.temporal_difference import SARSA
from twosided.rewards import SpreadPnL

HORIZON = 150
LISTING_DAYS, LISTING_SECONDS = 446, 32.0
"""Days simulated a second; seconds for 5,000 days of SARSA, the faster of its runs."""
SARSA_DAYS = 5000


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=3)
    parser.add_argument("--days", type=int, default=1_000_000, help="days simulated (%(default)s)")
    parser.add_argument("--learners", type=int, default=64, help="learners side by side (%(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.2, help="part of the 5,000 days measured (%(default)s)"
    )
    options = parser.parse_args()

    scenario = as_arrays(Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=HORIZON))
    policy, learner = as_arrays((ThresholdPolicy(1), SARSA()))
    iterations = max(1, round(options.share * learner.iterations))
    measured = iterations * learner.num_steps / HORIZON
    key = jax.random.key(options.seed)
    batches = jax.random.split(key, -(-options.days // 2000))

    def learning(learners: int):
        keys = jax.random.split(key, learners)
        return lambda: jax.block_until_ready(_learned(scenario, learner, keys, jnp.asarray(iterations)))

    runs = {
        "simulated": lambda: jax.block_until_ready(_simulated(scenario, policy, batches)),
        "SARSA, one learner": learning(1),
        "SARSA, side by side": learning(options.learners),
    }
    seconds = {name: statistics.median(times) for name, times in in_turn(runs, options.repeats).items()}
    days = 2000 * len(batches)
    a_second = days / seconds["simulated"]
    alone = seconds["SARSA, one learner"] * SARSA_DAYS / measured
    share = seconds["SARSA, side by side"] * SARSA_DAYS / measured / options.learners
    rows = [
        {"run": f"{days:,} days simulated", "seconds": seconds["simulated"], "days a second": a_second},
        {"run": "5,000 days of SARSA, one learner", "seconds": alone, "days a second": SARSA_DAYS / alone},
        {
            "run": f"5,000 days of SARSA, one of {options.learners} learners",
            "seconds": share,
            "days a second": SARSA_DAYS / share,
        },
    ]
    times = {
        "simulation over the listing's": (a_second / LISTING_DAYS, 100),
        "SARSA, one learner, over the listing's": (LISTING_SECONDS / alone, 10),
        "SARSA, one's share, over the listing's": (LISTING_SECONDS / share, 100),
    }
    aims = [aim(what, value, f"at least {least}", value >= least) for what, (value, least) in times.items()]
    report("Electronic market, days of 150 events", rows, aims, options, "jax", "jaxlib")


@eqx.filter_jit
def _simulated(scenario, policy, keys):
    def batch(key):
        return episodes(
            scenario, policy, key, 2000, lambda observation, policy_state, step: step.reward
        ).mean()

    return jax.lax.map(batch, keys).mean()


@eqx.filter_jit
def _learned(scenario, learner, keys, iterations):
    def one(key):
        return learner.train_chunk(scenario, learner.init(scenario, key), iterations)

    return jax.vmap(one)(keys)


if __name__ == "__main__":
    main()
