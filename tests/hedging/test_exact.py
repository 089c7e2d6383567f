"""Optimal hedges: against brute force on a tiny market, in limits, and the rewards of the policies in the market."""

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
from twosided.hedging.client_flow import price_bins, skellam_pmf
from twosided.hedging.clients import PoissonClients
from twosided.hedging.exact import hedging_optimum
from twosided.hedging.market import HedgingMarket
from twosided.hedging.rewards import PositionPenalty, PriceOfRisk
from twosided.hedging.spreads import StochasticSpread
from twosided.prices import GeometricBrownian
from twosided.rewards import ExcessPnL

pytestmark = pytest.mark.extended

SMALL = {"num_volatilities": 2, "num_trends": 1, "num_skews": 5, "num_paths": 16}


def spread(multiplier):
    """Return a spread without noise and clamp: σ_roll + 1, times the multiplier."""
    return StochasticSpread(multiplier=multiplier, noise_std=0.0, clamp=False)


# A constant price: σ_roll = 0, so the rate is `scale` on each side and spreads are ν.
CONSTANT = HedgingMarket(
    price=GeometricBrownian(volatility=0.0, time_step=1 / 512),
    clients=PoissonClients(scale=0.8),
    client_spread=spread(0.5),
    exchange_spread=spread(0.2),
    max_hedge=3.0,
    max_position=8.0,
    breach_multiple=1.5,
    elasticity=1.0,
)


def test_skellam_pmf_matches_scipy():
    pmf = skellam_pmf(np.array([3.0, 7.0]), np.array([5.0, 1.0]), 60)
    expected = (stats.skellam.pmf(np.arange(-60, 61), 3, 5) + stats.skellam.pmf(np.arange(-60, 61), 7, 1)) / 2
    np.testing.assert_allclose(pmf, expected, atol=1e-14)


@pytest.mark.parametrize("allow_skew", [False, True])
def test_optimum_matches_brute_force_on_a_tiny_market(allow_skew):
    market = dataclasses.replace(CONSTANT, allow_skew=allow_skew)
    reward, horizon = PositionPenalty(weight=0.001, max_position=8.0, discount=0.9), 4
    found = hedging_optimum(Scenario(market, (), reward, horizon), **SMALL)

    pmf, units = stats.skellam.pmf(np.arange(-30, 31), 0.8, 0.8), np.arange(-30, 31)
    skews = np.linspace(-1, 1, 5) if allow_skew else [0.0]
    value = dict.fromkeys(range(-12, 13), 0.0)
    for _ in range(horizon):
        f = {}
        for q in range(-50, 51):
            penalty = 0.001 * 100 * 8 * np.expm1(abs(q) / 8)
            f[q] = value[q] - penalty if abs(q) <= 12 else -penalty / 0.1
        continuation = {u: pmf @ [f[u + n] for n in units] for u in range(-12, 13)}
        new, actions = {}, {}
        for q in value:
            options = []
            for a in range(-3, 4):
                for s in skews:
                    moved = s * 1.0 * 3.0 / 0.8
                    target = q + a - moved
                    if abs(q + a) > 12:
                        continue
                    pnl = (
                        0.5
                        * pmf
                        @ (
                            np.maximum(units - moved, 0) * (1 - max(-s, 0))
                            + np.maximum(moved - units, 0) * (1 - max(s, 0))
                        )
                    )
                    future = np.interp(target, list(continuation), list(continuation.values()))
                    options.append((pnl - 0.2 * abs(a) + future, a, s))
            new[q], *actions[q] = max(options)
        value = new
    assert found.value == pytest.approx(value[0] / horizon, rel=1e-7)
    # A policy that repeats the optimal actions of the first step loses a little in the last steps.
    assert 0.95 * found.value < found.position_value <= found.value
    assert found.refinement == pytest.approx(0.0, abs=1e-9)
    inside = np.abs(found.position) <= 12
    np.testing.assert_array_equal(found.hedge[inside], [actions[int(q)][0] for q in found.position[inside]])


def test_optimum_does_not_hedge_for_total_pnl_far_from_a_breach():
    market = dataclasses.replace(CONSTANT, max_position=60.0)
    found = hedging_optimum(Scenario(market, (), TotalPnL(), horizon=5), **SMALL)
    middle = np.abs(found.position) < 40
    np.testing.assert_array_equal(found.hedge[middle], 0.0)
    # Clients pay ν E|n| per step, with n the difference of two Poisson counts.
    spread_pnl = 0.5 * stats.skellam.pmf(np.arange(-40, 41), 0.8, 0.8) @ np.abs(np.arange(-40, 41))
    assert found.value == pytest.approx(spread_pnl, rel=1e-6)
    assert found.position_value == pytest.approx(spread_pnl, rel=1e-6)


def test_at_the_papers_weight_hedges_are_as_large_as_possible():
    scenario = Scenario(HedgingMarket(), (), PositionPenalty(), horizon=20)
    found = hedging_optimum(scenario, **SMALL | {"num_paths": 4000})
    near = np.abs(found.position) <= 100
    # To one unit, because the mean net trade of the sample is not exactly 0.
    np.testing.assert_allclose(found.hedge[near], -np.clip(found.position[near], -32, 32), atol=1)


def test_policies_attain_the_values_of_the_program_in_the_market():
    market = HedgingMarket(extended_observation=True)
    scenario = Scenario(market, (), PositionPenalty(weight=1e-3), horizon=60)
    found = hedging_optimum(scenario, num_volatilities=4, num_trends=3, num_paths=2000)
    records = evaluate(scenario, {"position": found.policy, "extended": found.extended_policy}, steps=300_000)
    value = {r.case: (r.value, r.error) for r in records if r.metric == "reward"}
    for case, expected in (("position", found.position_value), ("extended", found.value)):
        # The Markov approximation of the bins has an error of about 1% of the value, beside the errors of both samples.
        assert value[case][0] == pytest.approx(expected, abs=0.015 * expected + 4 * value[case][1])
    assert value["extended"][0] > value["position"][0]


def test_skew_for_price_of_risk_is_a_weighted_median():
    market = dataclasses.replace(
        CONSTANT,
        elasticity=0.0,
        allow_skew=True,
        clients=PoissonClients(scale=30.0),
        max_hedge=8.0,
        max_position=60.0,
    )
    reward = PriceOfRisk(weight=1.0, max_position=60.0)
    found = hedging_optimum(
        Scenario(market, (), reward, horizon=4), num_volatilities=2, num_trends=1, num_skews=41, num_paths=16
    )
    pmf, units = stats.skellam.pmf(np.arange(-90, 91), 30, 30), np.arange(-90, 91)
    for q in (2, 5, 8):
        index = int(np.flatnonzero(found.position == q)[0])
        amount = abs(found.hedge[index])

        def mismatch(skew, amount=amount):
            spread_pnl = 0.5 * np.abs(units) * np.where(units > 0, 1.0, 1 - skew)
            return pmf @ np.abs(spread_pnl - 0.2 * amount)

        grid = np.linspace(0, 1, 21)
        best = grid[np.argmin([mismatch(s) for s in grid])]
        assert abs(found.skew[index]) == pytest.approx(best, abs=1e-9)
        # In half of the skewed side's trades, weighted by their spread PnL, it exceeds the hedge cost.
        ratio = 0.2 * amount / (0.5 * np.maximum(np.abs(units), 1e-9))
        weight = pmf * np.abs(units)
        order = np.argsort(ratio)
        median = ratio[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)]
        assert abs(found.skew[index]) == pytest.approx(max(1 - median, 0.0), abs=0.06)


def test_bins_have_equal_probabilities_and_predict_net_trades():
    bins = price_bins(HedgingMarket(), 50, 3, 3, 200)
    share = np.full(9, 1 / 9)
    np.testing.assert_allclose(bins.transition.sum(1), 1.0)
    np.testing.assert_allclose(share @ bins.transition, share, atol=0.02)
    np.testing.assert_allclose(bins.net_trades.sum(-1), 1.0)
    # After a rise of the price clients are expected to buy more, so the maker sells, and after a fall they sell.
    expected = (bins.transition[:, :, None] * bins.net_trades).sum(1) @ bins.net_units
    assert (expected[[0, 3, 6]] > 0).all()
    assert (expected[[2, 5, 8]] < 0).all()


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (Scenario(DealerMarket(), (PersistentQuoter(),)), "needs a HedgingMarket, but got DealerMarket"),
        (Scenario(HedgingMarket(signal_correlation=0.5), ()), "with a signal"),
        (Scenario(HedgingMarket(clients=PoissonClients(return_window=3)), ()), "return_window above 1"),
        (Scenario(HedgingMarket(price=GeometricBrownian(drift=0.5)), ()), "without drift"),
        (Scenario(HedgingMarket(), (), ExcessPnL()), "for the reward ExcessPnL"),
        (Scenario(HedgingMarket(allow_skew=True), (), PriceOfRisk()), "inelastic demand"),
        (
            Scenario(HedgingMarket(), (), PositionPenalty(subtract_baseline=True)),
            "turn off `subtract_baseline`",
        ),
    ],
)
def test_unsupported_scenario_raises_not_exact(scenario, message):
    with pytest.raises(NotExact, match=message):
        hedging_optimum(dataclasses.replace(scenario, horizon=3), **SMALL)
