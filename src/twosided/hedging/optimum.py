"""Exact optimum of a hedging scenario: dynamic programming over position, volatility and trend."""

from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.hedging.exact import hedging_optimum


def exact_hedging(scenario: Scenario) -> Optimum:
    """Return the optimum of the reward. Raises NotExact where the scenario has no exact answer."""
    best = hedging_optimum(scenario)
    source = "The optimum comes from dynamic programming over position, volatility and trend."
    policy = best.informed if scenario.market.informed else best.policy
    return Optimum(best.value, "reward", policy, source)
