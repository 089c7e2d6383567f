"""Exact optimum of a hedging scenario: dynamic programming over position, volatility and trend."""

from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket


def exact_hedging(scenario: Scenario) -> Optimum:
    """Return the optimum of the reward. Raises NotExact where the scenario has no exact answer."""
    best = hedging_optimum(scenario)
    source = "The optimum comes from dynamic programming over position, volatility and trend."
    extended = isinstance(scenario.market, HedgingMarket) and scenario.market.extended_observation
    return Optimum(best.value, "reward", best.extended_policy if extended else best.policy, source)
