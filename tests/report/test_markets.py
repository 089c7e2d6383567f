"""The metric catalogue and the dashboard of every market fit what the market reports."""

import dataclasses

import numpy as np
import pytest
from support.figures import check_colors, check_json, titles

from twosided.bars.market import BarsMarket
from twosided.core.dashboard import PolicyTable
from twosided.core.evaluation import trace
from twosided.core.metrics import by_name
from twosided.core.scenario import Scenario
from twosided.core.spaces import Box
from twosided.dealer.investors import Tiers
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter, RandomQuoter
from twosided.electronic.market import ElectronicMarket, TwoSidedElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.hedging.hedgers import FullHedger, PortfolioHedger
from twosided.hedging.market import HedgingMarket
from twosided.hedging.portfolio import PortfolioMarket
from twosided.limit_orders.market import LimitOrderMarket
from twosided.limit_orders.policies import FixedOffset
from twosided.prices import GeometricBrownian

MARKETS = {
    "dealer": DealerMarket(),
    "dealer, quotes by tier": DealerMarket(flow=Tiers(), by_tier=True),
    "hedging": HedgingMarket(),
    "hedging with skew": HedgingMarket(allow_skew=True),
    "portfolio": PortfolioMarket(),
    "portfolio, convex": PortfolioMarket(convex=True),
    "electronic": ElectronicMarket(),
    "electronic, two sides": TwoSidedElectronicMarket(),
    "limit orders": LimitOrderMarket(),
    "bars": BarsMarket(),
}
# A market, a policy for it, and the titles of the figures that its dashboard adds.
PLAYED = {
    "dealer": (DealerMarket(), RandomQuoter(), ["Quotes", "Skew against inventory"]),
    "hedging": (HedgingMarket(), FullHedger(), ["Hedge by position"]),
    "portfolio": (PortfolioMarket(), PortfolioHedger((0.5, 0.5)), []),
    "electronic": (ElectronicMarket(), ThresholdPolicy(), []),
    "limit orders": (LimitOrderMarket(), FixedOffset(0.5, 4.0), ["Offsets by inventory"]),
    "bars": (BarsMarket(sizes=False), FixedOffset(0.0005, 0.001), ["Offsets by inventory"]),
}


@pytest.mark.parametrize("name", MARKETS)
def test_catalogue_lists_every_part_of_the_action(name):
    market = MARKETS[name]
    space = market.action_space
    action, shape = (space.low, ()) if isinstance(space, Box) else (space.actions, (space.size,))
    listed = by_name(market.metrics())
    for part, leaf in dataclasses.asdict(action).items():
        if leaf is None:
            continue
        several = int(np.prod(np.shape(leaf)[len(shape) :]))
        names = [part, *(f"{part}_{i}" for i in range(several) if np.ndim(leaf) > len(shape))]
        for metric in (f"{each}_{moment}" for each in names for moment in ("mean", "std")):
            assert metric in listed
            assert listed[metric].label


@pytest.mark.parametrize("name", MARKETS)
def test_catalogue_lists_each_metric_once_with_the_standard_ones(name):
    names = [metric.name for group in MARKETS[name].metrics() for metric in group.metrics]
    assert len(set(names)) == len(names)
    standard = {"pnl_total", "pnl_spread", "pnl_hedge", "pnl_inventory", "pnl_fees", "reward", "sharpe"}
    assert standard | {"optimality_gap", "inventory_std", "termination_rate"} <= set(names)


def test_money_of_the_dealer_market_is_in_basis_points_of_the_initial_midprice():
    market = DealerMarket(price=GeometricBrownian(initial=50.0), num_makers=3)
    listed = by_name(market.metrics())
    for name in ("pnl_total", "pnl_hedge", "excess_total_over_1", "excess_total_over_2", "inventory_pnl_std"):
        assert (listed[name].scale, listed[name].unit) == (200.0, "bp per step")
    assert by_name(DealerMarket().metrics())["pnl_total"].text(0.8695) == ("86.95", "")


def test_money_of_the_electronic_market_is_in_ticks():
    assert by_name(ElectronicMarket().metrics())["pnl_total"].unit == "ticks per step"


@pytest.fixture(scope="module", params=PLAYED)
def played(request):
    """A dashboard, a trace of its market, and the titles that it should have."""
    market, policy, added = PLAYED[request.param]
    competitors = (PersistentQuoter(),) * (market.num_makers - 1)
    steps = trace(Scenario(market, competitors, horizon=12), policy, paths=4)
    return market.dashboard(), steps, added


def test_figures_of_a_dashboard_are_valid(played):
    dashboard, steps, added = played
    sections = dashboard.policy(steps)
    assert [section.title for section in sections] == added
    assert dashboard.introduction
    sections += [dashboard.episode(steps), dashboard.side_by_side({"a": steps, "b": steps})]
    for section in filter(None, sections):
        assert section.sentence
        check_json(section.figure)
        check_colors(section.figure)


def test_dealer_dashboard_marks_the_optimal_epsilon():
    market, policy, _ = PLAYED["dealer"]
    steps = trace(Scenario(market, (PersistentQuoter(),), horizon=12), policy, paths=4)
    known = {"epsilon_buy_mean": -0.01, "epsilon_sell_mean": -0.02}
    for metrics, marked in ((known, True), ({}, False), (None, False)):
        sections = market.dashboard().policy(steps, metrics)
        assert [("optimal" in titles(section.figure)) for section in sections] == [marked] * 2
        assert ("dashed line" in sections[0].sentence) == marked


def test_offsets_leave_out_orders_that_are_not_placed():
    market, policy, _ = PLAYED["limit orders"]
    steps = trace(Scenario(market, (), horizon=12), policy, paths=4)
    (section,) = market.dashboard().policy(steps)
    drawn = {line.name: len(line.x) for line in section.figure.data if line.name}
    assert drawn["bid"] > 0 and drawn["ask"] == 0


def test_electronic_dashboard_draws_a_table_of_one_quote_as_arrows():
    table = PolicyTable(("−1", "1"), ("lower", "raise"), ((1.0, 0.0), (0.0, 1.0)), (-1.0, 1.0))
    assert ElectronicMarket().dashboard().table(table).title == "Policy"
    several = dataclasses.replace(table, values=None)
    assert ElectronicMarket().dashboard().table(several) is None
    assert HedgingMarket().dashboard().table(table) is None
