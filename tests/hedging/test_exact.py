"""The best hedge over position: against brute force on a tiny market, limits, and what its policy earns at play."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from twosided.core.evaluation import evaluate
from twosided.core.optimum import NotExact
from twosided.core.reward import TotalPnL
from twosided.core.scenario import Scenario
from twosided.dealer.market import DealerMarket
from twosided.dealer.quoters import PersistentQuoter
from twosided.hedging.client_flow import _skellam, price_bins
from twosided.hedging.clients import PoissonClients
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import GeometricBrownian
from twosided.rewards import ExcessPnL

SMALL = {"volatilities": 2, "trends": 1, "skews": 5, "paths": 16}


def spread(multiplier):
    """The same whatever chance and volatility: σ_mean times the multiplier, and σ_mean is what prices make it."""
    return StochasticSpread(multiplier=multiplier, noise=0.0, clamp=False)


# A price that stands still: σ_roll = 0, so a rate of `scale` on each side and spreads of ν for certain.
STILL = HedgingMarket(
    price=GeometricBrownian(volatility=0.0, time_step=1 / 512),
    clients=PoissonClients(scale=0.8),
    client_spread=spread(0.5),
    exchange_spread=spread(0.2),
    max_hedge=3.0,
    max_position=8.0,
    breach=1.5,
    elasticity=1.0,
)


def test_net_trades_are_skellam():
    law = _skellam(np.array([3.0, 7.0]), np.array([5.0, 1.0]), 60)
    expected = (stats.skellam.pmf(np.arange(-60, 61), 3, 5) + stats.skellam.pmf(np.arange(-60, 61), 7, 1)) / 2
    np.testing.assert_allclose(law, expected, atol=1e-14)


@pytest.mark.parametrize("skews", [False, True])
def test_the_program_is_a_brute_force_on_a_tiny_market(skews):
    market = dataclasses.replace(STILL, skews=skews)
    reward, horizon = PositionPenalty(weight=0.01, price=10.0, limit=8.0, discount=0.9), 4
    found = hedging_optimum(Scenario(market, (), reward, horizon), **SMALL)

    law, units = stats.skellam.pmf(np.arange(-30, 31), 0.8, 0.8), np.arange(-30, 31)
    tried = np.linspace(-1, 1, 5) if skews else [0.0]
    value = dict.fromkeys(range(-12, 13), 0.0)
    for _ in range(horizon):
        f = {}
        for q in range(-50, 51):
            penalty = 0.01 * 10 * 8 * np.expm1(abs(q) / 8)
            f[q] = value[q] - penalty if abs(q) <= 12 else -penalty / 0.1
        kept = {u: law @ [f[u + n] for n in units] for u in range(-12, 13)}
        new, act = {}, {}
        for q in value:
            options = []
            for a in range(-3, 4):
                for s in tried:
                    moved = s * 1.0 * 3.0 / 0.8
                    at = q + a - moved
                    if abs(q + a) > 12:
                        continue
                    earned = (
                        0.5
                        * law
                        @ (
                            np.maximum(units - moved, 0) * (1 - max(-s, 0))
                            + np.maximum(moved - units, 0) * (1 - max(s, 0))
                        )
                    )
                    worth = np.interp(at, list(kept), list(kept.values()))
                    options.append((earned - 0.2 * abs(a) + worth, a, s))
            new[q], *act[q] = max(options)
        value = new
    assert found.value == pytest.approx(value[0] / horizon, rel=1e-7)
    # A policy that does on every step what is best in the first loses a little in the last.
    assert 0.95 * found.value < found.position_value <= found.value
    assert found.refinement == pytest.approx(0.0, abs=1e-9)
    inside = np.abs(found.position) <= 12
    np.testing.assert_array_equal(found.hedge[inside], [act[int(q)][0] for q in found.position[inside]])


def test_nothing_is_hedged_where_only_pnl_counts_and_no_breach_is_near():
    market = dataclasses.replace(STILL, max_position=60.0)
    found = hedging_optimum(Scenario(market, (), TotalPnL(), horizon=5), **SMALL)
    middle = np.abs(found.position) < 40
    np.testing.assert_array_equal(found.hedge[middle], 0.0)
    # Clients pay ν E|n| a step, n the difference of two Poisson counts.
    paid = 0.5 * stats.skellam.pmf(np.arange(-40, 41), 0.8, 0.8) @ np.abs(np.arange(-40, 41))
    assert found.value == pytest.approx(paid, rel=1e-6)
    assert found.position_value == pytest.approx(paid, rel=1e-6)


def test_at_the_papers_weight_all_is_hedged_that_can_be():
    scenario = Scenario(HedgingMarket(), (), PositionPenalty(), horizon=20)
    found = hedging_optimum(scenario, **SMALL | {"paths": 4000})
    near = np.abs(found.position) <= 100
    # To a unit: of what the sample brings, the mean is not quite 0.
    np.testing.assert_allclose(found.hedge[near], -np.clip(found.position[near], -32, 32), atol=1)


def test_at_play_the_policy_earns_what_the_program_says():
    market = HedgingMarket(informed=True)
    scenario = Scenario(market, (), PositionPenalty(weight=1e-3), horizon=60)
    found = hedging_optimum(scenario, volatilities=4, trends=3, paths=2000)
    records = evaluate(scenario, {"position": found.policy, "all": found.informed}, steps=300_000)
    value = {r.case: (r.value, r.error) for r in records if r.metric == "reward"}
    for case, said in (("position", found.position_value), ("all", found.value)):
        # The bins are taken for a chain: a hundredth of the value, beside the error of both samples.
        assert value[case][0] == pytest.approx(said, abs=0.015 * said + 4 * value[case][1])
    assert value["all"][0] > value["position"][0]


def test_the_price_of_risk_is_a_weighted_median():
    # One trade of one size: with n = ±1 for certain in size, |n| ν (1 - s) = |a| c is met exactly on the skewed side.
    market = dataclasses.replace(
        STILL,
        elasticity=0.0,
        skews=True,
        clients=PoissonClients(scale=30.0),
        max_hedge=8.0,
        max_position=60.0,
    )
    reward = PriceOfRisk(weight=1.0, price=100.0, limit=60.0)
    found = hedging_optimum(
        Scenario(market, (), reward, horizon=4), volatilities=2, trends=1, skews=41, paths=16
    )
    law, units = stats.skellam.pmf(np.arange(-90, 91), 30, 30), np.arange(-90, 91)
    for q in (2, 5, 8):
        place = int(np.flatnonzero(found.position == q)[0])
        amount = abs(found.hedge[place])

        def missed(skew, amount=amount):
            paid = 0.5 * np.abs(units) * np.where(units > 0, 1.0, 1 - skew)
            return law @ np.abs(paid - 0.2 * amount)

        tried = np.linspace(0, 1, 21)
        best = tried[np.argmin([missed(s) for s in tried])]
        assert abs(found.skew[place]) == pytest.approx(best, abs=1e-9)
        # Weighted by what clients pay, half of the skewed side's trades would pay more than the hedge costs.
        ratio = 0.2 * amount / (0.5 * np.maximum(np.abs(units), 1e-9))
        weight = law * np.abs(units)
        order = np.argsort(ratio)
        median = ratio[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)]
        assert abs(found.skew[place]) == pytest.approx(max(1 - median, 0.0), abs=0.06)


def test_bins_hold_equal_shares_and_follow_each_other():
    flow = price_bins(HedgingMarket(), 50, 3, 3, 200)
    share = np.full(9, 1 / 9)
    np.testing.assert_allclose(flow.moves.sum(1), 1.0)
    np.testing.assert_allclose(share @ flow.moves, share, atol=0.02)
    np.testing.assert_allclose(flow.joint.sum(-1), 1.0)
    # Who has seen the price rise expects clients to go on buying: the maker sells.
    expected = (flow.moves[:, :, None] * flow.joint).sum(1) @ flow.units
    assert (expected[[0, 3, 6]] > 0).all()
    assert (expected[[2, 5, 8]] < 0).all()


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        (Scenario(DealerMarket(), (PersistentQuoter(),)), "is for the hedging market, not for DealerMarket"),
        (Scenario(HedgingMarket(signal_correlation=0.5), ()), "with a signal"),
        (Scenario(HedgingMarket(clients=PoissonClients(smoothing=3)), ()), "mean of several returns"),
        (Scenario(HedgingMarket(price=GeometricBrownian(drift=0.5)), ()), "without drift"),
        (Scenario(HedgingMarket(), (), ExcessPnL()), "for the reward ExcessPnL"),
        (Scenario(HedgingMarket(skews=True), (), PriceOfRisk()), "demand is not elastic"),
        (Scenario(HedgingMarket(), (), PositionPenalty(relative=True)), "leave `relative` off"),
    ],
)
def test_what_has_no_program_is_refused(scenario, sentence):
    with pytest.raises(NotExact, match=sentence):
        hedging_optimum(dataclasses.replace(scenario, horizon=3), **SMALL)
