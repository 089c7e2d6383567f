"""Exact optimum of a dealer-market scenario: Theorem 1 of Ganesh et al. (2019), or dynamic programming."""

from twosided.core.optimum import NotExact, Optimum, require_finite
from twosided.core.scenario import Scenario
from twosided.dealer.exact.dynamic_programming import penalized_optimum
from twosided.dealer.exact.total_pnl import total_pnl_optimum
from twosided.dealer.quoters import PersistentQuoter
from twosided.rewards import AsymmetricPenalty, SquarePenalty


def dealer_optimum(scenario: Scenario) -> Optimum:
    """Return the optimum of own total PnL, or of the reward if that is a penalty on inventory PnL.

    Raises NotExact if no exact optimum is known.
    """
    if isinstance(scenario.reward, SquarePenalty | AsymmetricPenalty):
        best = penalized_optimum(scenario)
        require_finite("the optimum over inventory", best.value, best.errors.bound)
        source = "The optimum comes from dynamic programming over inventory"
        source += f", within {100 * best.errors.bound / abs(best.value):.1g}%." if best.value else "."
        return Optimum(best.value, "reward", best.policy, source)
    best = total_pnl_optimum(scenario)
    if best.value <= 0:
        raise NotExact("no maker can earn anything in this market, so a gap to the optimum is undefined")
    attained = best.buy.attained and best.sell.attained
    source = (
        "The optimum follows from Theorem 1 of Ganesh et al. (2019): the best spread PnL on both sides, "
        "without hedging."
    )
    if not attained:
        source += " The supremum is not attained; a maker can come arbitrarily close."
    return Optimum(
        best.value,
        "pnl_total",
        PersistentQuoter(epsilon_buy=best.buy.epsilon, epsilon_sell=best.sell.epsilon, hedge=0.0),
        source,
        name="best response",
        attained=attained,
        metrics={"epsilon_buy_mean": best.buy.epsilon, "epsilon_sell_mean": best.sell.epsilon},
    )
