"""Exact optimum of an electronic-market scenario: the best table of the imbalance, from the market's Markov chain."""

from twosided.core.optimum import Optimum, require_finite
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.electronic.chain import electronic_chain
from twosided.electronic.exact import best_table, full_information
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ImbalanceTable
from twosided.rewards import SpreadPnL


def electronic_optimum(scenario: Scenario) -> Optimum:
    """Return the optimum over tables of the clipped imbalance. Raises NotExact for a market with two prices.

    A policy that uses more than the clipped imbalance, or draws random numbers, can earn more. No policy earns more
    than one that observes p*, whose optimum `source` states.
    """
    # The fundamental price has no drift, so inventory earns nothing in expectation: total PnL is spread PnL.
    reward = SpreadPnL() if isinstance(scenario.reward, TotalPnL) else scenario.reward
    market = scenario.market
    assert isinstance(market, ElectronicMarket)
    chain = electronic_chain(market, reward, scenario.horizon)
    best, informed = best_table(chain), full_information(chain)
    require_finite("the optimum of tables", best.value.value, informed.value)
    source = (
        "The optimum is over all tables of the imbalance clipped to ±2, from the market’s Markov chain. No maker "
        f"can earn more than {informed.value + informed.error:.5g} per step, the optimum of one that observes p*."
    )
    return Optimum(best.value.value, "reward", ImbalanceTable(best.changes), source)
