"""Exact optima of scenarios: values by market, and policies that earn them."""

import pytest

from twosided.core.evaluation import evaluate
from twosided.core.optimum import NotExact, optimum
from twosided.core.records import find
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.dealer.adaptive import AdaptiveQuoter
from twosided.dealer.exact.total_pnl import total_pnl_optimum
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.electronic.market import ElectronicMarket, TwoSidedElectronicMarket
from twosided.limit_orders.exact import limit_order_optimum
from twosided.limit_orders.market import LimitOrderMarket
from twosided.rewards import SpreadPnL, WeightedReward


def test_optimum_of_the_dealer_market_is_the_supremum_of_total_pnl():
    scenario = Scenario(DealerMarket(), (PersistentQuoter(epsilon_buy=0.0, epsilon_sell=-0.5),))
    found, best = optimum(scenario), total_pnl_optimum(scenario)
    assert (found.value, found.metric, found.attained) == (best.value, "pnl_total", False)
    assert found.metrics == {"epsilon_buy_mean": best.buy.epsilon, "epsilon_sell_mean": best.sell.epsilon}
    quotes = found.policy
    assert isinstance(quotes, PersistentQuoter)
    assert (quotes.epsilon_buy, quotes.epsilon_sell) == (best.buy.epsilon, best.sell.epsilon)
    assert "supremum is not attained" in found.source  # it must undercut


@pytest.mark.parametrize("reward", [SpreadPnL(), TotalPnL()], ids=["spread", "total"])
def test_optimum_of_the_electronic_market_is_the_best_table(reward):
    found = optimum(Scenario(ElectronicMarket(), (), reward, horizon=150))
    assert found.value == pytest.approx(-0.43658, abs=1e-5)  # threshold 1


def test_policy_of_the_optimum_of_a_session_earns_its_value():
    scenario = Scenario(LimitOrderMarket(session=20), (), TotalPnL(), horizon=25)
    found = optimum(scenario)
    assert found.value == limit_order_optimum(scenario).total / 25
    records = evaluate(scenario, {"best": found.policy}, seed=0, steps=500_000)
    reward = find(records, "best", found.metric)
    assert reward.error is not None and reward.error < 0.02 * found.value
    assert abs(reward.value - found.value) < 4 * reward.error


@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        (Scenario(TwoSidedElectronicMarket(), ()), "TwoSidedElectronicMarket"),
        (Scenario(ElectronicMarket(), (), WeightedReward(inventory=0.1)), "depends on the inventory"),
        (
            Scenario(DealerMarket(), (AdaptiveQuoter(),)),
            "AdaptiveQuoter does not quote from fixed distributions",
        ),
    ],
    ids=["two prices", "inventory", "adaptive"],
)
def test_scenarios_without_exact_optimum_raise_not_exact(scenario, why):
    with pytest.raises(NotExact, match=why):
        optimum(scenario)
