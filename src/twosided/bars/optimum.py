"""Exact optimum on bars of a Brownian price: dynamic programming over inventory."""

from twosided.bars.exact import bars_optimum
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario


def exact_offsets(scenario: Scenario) -> Optimum:
    """Return the optimum of the reward over an episode. Raises NotExact where the scenario has no exact answer."""
    best = bars_optimum(scenario)
    bound = 100 * abs(best.maximum / best.value - 1)
    source = (
        "The optimum comes from dynamic programming over inventory, with bars drawn from the market, within "
        f"{bound:.1g}%."
    )
    return Optimum(best.value, "reward", best.policy, source)
