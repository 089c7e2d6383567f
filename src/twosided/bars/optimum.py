"""Exact optimum on bars of a Brownian price: dynamic programming over inventory."""

from twosided.bars.exact import bars_optimum
from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario


def exact_offsets(scenario: Scenario) -> Optimum:
    """Return the optimum of the reward over an episode. Raises NotExact where the scenario has no exact answer."""
    best = bars_optimum(scenario)
    source = "The optimum comes from dynamic programming over inventory, with bars drawn from the market"
    if best.value:
        bound, coarser = (100 * abs(x / best.value) for x in (best.maximum - best.value, best.refinement))
        source += f", within {bound:.1g}%; half as many offsets to choose from would earn {coarser:.1g}% less"
    source += "."
    return Optimum(best.value, "reward", best.policy, source)
