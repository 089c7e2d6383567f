"""Environment steps a second of the hedging market, beside the 19,000 that the code of Bakshaev (2020) does.

    python benchmarks/hedging.py

Theirs was measured on two cores of the kind that this was made on, ours is measured here: a ratio of the two is of the
order of magnitude. The policy hedges half of its position; everything a learner gets is written out at every step.
"""

import statistics

import equinox as eqx
import jax
from measure import Row, aim, arguments, in_turn, report

from twosided import FractionalHedger, HedgingMarket, PortfolioMarket, Scenario, rollout, start
from twosided.core.market import Market
from twosided.core.numeric import as_arrays
from twosided.core.policy import Policy
from twosided.core.scenario import Step
from twosided.hedging.hedgers import PortfolioHedger
from twosided.prices.assets import EqualCorrelation

THEIRS = 19_000
"""Steps a second of theirs, one market, two cores."""
MARKETS: dict[str, tuple[Market, Policy]] = {
    "hedging": (HedgingMarket(), FractionalHedger()),
    "hedging with skew": (HedgingMarket(allow_skew=True), FractionalHedger()),
    "portfolio of 2": (PortfolioMarket(), PortfolioHedger()),
    "portfolio of 10": (PortfolioMarket(EqualCorrelation(num_assets=10)), PortfolioHedger()),
    "portfolio of 100": (PortfolioMarket(EqualCorrelation(num_assets=100)), PortfolioHedger()),
}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], repeats=11)
    parser.add_argument("--markets", type=int, default=1024, help="markets side by side (%(default)s)")
    parser.add_argument("--steps", type=int, default=64, help="steps in a call (%(default)s)")
    parser.add_argument("--which", nargs="+", choices=MARKETS, default=list(MARKETS), help="(all)")
    options = parser.parse_args()

    rows: list[Row] = []
    for name in options.which:
        market, policy = MARKETS[name]
        run = _run(market, policy, options.markets, options.steps, options.seed)
        seconds = statistics.median(in_turn({name: run}, options.repeats)[name])
        rate = options.markets * options.steps / seconds
        rows.append({"market": name, "million steps a second": rate / 1e6, "times theirs": rate / THEIRS})
    first = float(rows[0]["times theirs"])
    aims = [aim(f"{rows[0]['market']}, times theirs", first, "at least 100", first >= 100)]
    report(f"Hedging markets, {options.markets} side by side", rows, aims, options, "jax", "jaxlib")


def _run(market: Market, policy: Policy, markets: int, steps: int, seed: int):
    scenario, policy = as_arrays((Scenario(market, (), horizon=511), policy))
    key_start, key = jax.random.split(jax.random.key(seed))
    carry = eqx.filter_jit(start)(scenario, policy, key_start, markets)
    return lambda: jax.block_until_ready(_live(scenario, policy, carry, key, steps))


@eqx.filter_jit
def _live(scenario, policy, carry, key, steps: int):
    def record(observation, policy_state, step: Step):
        return step.observation, step.reward, step.terminated, step.truncated

    return rollout(scenario, policy, carry, key, steps, record)


if __name__ == "__main__":
    main()
