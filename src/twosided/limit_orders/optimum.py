"""Exact optimum of a limit-order scenario: dynamic programming over inventory and time."""

from twosided.core.optimum import Optimum
from twosided.core.scenario import Scenario
from twosided.limit_orders.exact import limit_order_optimum


def exact_quotes(scenario: Scenario) -> Optimum:
    """Return the optimum of the reward over a session. Raises NotExact where the scenario has no exact answer."""
    best = limit_order_optimum(scenario)
    source = (
        "The optimum comes from dynamic programming over inventory, step by step as the market is simulated."
    )
    return Optimum(best.total / scenario.horizon, "reward", best.policy, source)
