"""The exact optimum of a scenario, whatever its market, where one is known here.

| market | the optimum of | from |
| --- | --- | --- |
| dealer market | own total PnL against makers that quote from fixed laws | Theorem 1 of Ganesh et al. (2019) |
| dealer market | own total PnL less a penalty on inventory | dynamic programming over inventory |
| electronic market of one price | tables of the imbalance, clipped | the market's Markov chain, every table tried |
| hedging market | the reward, seeing position, volatility and trend | dynamic programming over position |
| limit-order market | the reward, over a session | dynamic programming over inventory |
| bars of a Brownian price, offsets alone | the reward, over an episode | dynamic programming over inventory |
"""

from dataclasses import dataclass
from typing import Literal

from twosided.bars.exact import bars_optimum
from twosided.dealer.exact.best_response import Optimum
from twosided.dealer.exact.total_pnl import optimum
from twosided.dealer.exact.dynamic_programming import penalised_optimum
from twosided.electronic.exact import best_table
from twosided.electronic.chain import electronic_chain
from twosided.hedging.exact import hedging_optimum
from twosided.limit_orders.exact import limit_order_optimum
from twosided.core.optimum import NotExact
from twosided.bars.market import BarsMarket
from twosided.core.scenario import Scenario
from twosided.dealer.market import DealerMarket
from twosided.electronic.market import ElectronicMarket
from twosided.hedging.market import HedgingMarket
from twosided.limit_orders.market import LimitOrderMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.electronic.policies import Table
from twosided.rewards import AsymmetricPenalty, SpreadPnL, SquarePenalty
from twosided.core.reward import TotalPnL
from twosided.core.policy import Policy


@dataclass(frozen=True)
class Known:
    """An optimum, and who reaches it."""

    value: float
    """The most that can be had a step, on average."""
    metric: Literal["pnl_total", "reward"]
    """Of what the value is: of what the learner is paid, or of own PnL whatever it is paid."""
    sentence: str
    """Where it is from, for a reader."""
    policy: Policy
    """What reaches it, or comes as near as one likes."""
    case: str = "exact optimum"
    """What that is called."""
    response: Optimum | None = None
    """Theorem 1's quotes."""


def known_optimum(scenario: Scenario) -> Known:
    """The exact optimum. Raises NotExact with the reason why none is known."""
    for kind, solve in _SOLVERS.items():
        if isinstance(scenario.market, kind):
            return solve(scenario)
    raise NotExact(f"no exact optimum is known for {type(scenario.market).__name__}")


def _dealer(scenario: Scenario) -> Known:
    if isinstance(scenario.reward, SquarePenalty | AsymmetricPenalty):
        best = penalised_optimum(scenario)
        return Known(
            best.value,
            "reward",
            "The best possible is that of dynamic programming over inventory, within "
            f"{100 * best.errors.bound / abs(best.value):.1g}%.",
            best.policy,
        )
    best = optimum(scenario)
    if best.value <= 0:
        raise NotExact("no maker can earn anything in this market, so there is nothing to be a part of")
    sentence = (
        "The best possible follows from Theorem 1 of Ganesh et al. (2019): the best spread PnL on both sides, with no "
        "hedging."
    )
    if not (best.buy.attained and best.sell.attained):
        sentence += " No maker earns exactly that much, but one can come as near to it as it likes."
    quotes = PersistentQuoter(epsilon_buy=best.buy.epsilon, epsilon_sell=best.sell.epsilon, hedge=0.0)
    return Known(best.value, "pnl_total", sentence, quotes, "best response", best)


def _electronic(scenario: Scenario) -> Known:
    market = scenario.market
    assert isinstance(market, ElectronicMarket)
    # The fundamental price has no drift, so inventory earns nothing on average: total PnL is spread PnL.
    reward = SpreadPnL() if isinstance(scenario.reward, TotalPnL) else scenario.reward
    best = best_table(electronic_chain(market, reward, scenario.horizon))
    sentence = (
        "The best is that of all tables of the imbalance clipped to ±2, from the market’s Markov chain."
    )
    return Known(best.value.value, "reward", sentence, Table(best.changes))


def _hedging(scenario: Scenario) -> Known:
    best = hedging_optimum(scenario)
    market = scenario.market
    assert isinstance(market, HedgingMarket)
    sentence = "The best possible is that of dynamic programming over position, volatility and trend."
    return Known(best.value, "reward", sentence, best.informed if market.informed else best.policy)


def _limit_order(scenario: Scenario) -> Known:
    best = limit_order_optimum(scenario)
    sentence = "The best possible is that of dynamic programming over inventory, step by step as simulated."
    return Known(best.total / scenario.horizon, "reward", sentence, best.policy)


def _bars(scenario: Scenario) -> Known:
    best = bars_optimum(scenario)
    sentence = (
        "The best possible is that of dynamic programming over inventory, bars as drawn from the market, "
        f"within {100 * abs(best.maximum / best.value - 1):.1g}%."
    )
    return Known(best.value, "reward", sentence, best.policy)


_SOLVERS = {
    BarsMarket: _bars,
    DealerMarket: _dealer,
    ElectronicMarket: _electronic,
    HedgingMarket: _hedging,
    LimitOrderMarket: _limit_order,
}
