"""Optima that must not be beaten: brute force and other policies on small random cases, and cases that once failed."""

import importlib
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest

from twosided.core.optimum import NotExact
from twosided.core.scenario import Scenario
from twosided.limit_orders.best_offsets import StepProblem
from twosided.limit_orders.exact import (
    limit_order_optimum,
    limit_order_value,
    risk_averse_optimum,
    risk_averse_solution,
    short_step_optimum,
)
from twosided.limit_orders.fills import ExponentialFill
from twosided.limit_orders.log_exponential import log_exponentials
from twosided.limit_orders.market import LimitOrderMarket
from twosided.limit_orders.policies import FixedOffset
from twosided.prices import Bachelier
from twosided.rewards import InventoryPenalty

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FAST = ["quotes", "short-steps", "risk-averse", "best-response", "price-of-risk", "portfolio", "process"]
COMPILED = ["tiers", "penalty", "hedging", "electronic", "bars"]


@pytest.fixture
def optima(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("optima")


@pytest.mark.parametrize("name", FAST)
def test_no_competitor_beats_an_optimum_on_random_cases(optima, name):
    row, beyond = optima.attack(name, 4, seed=5)
    assert row["competitors"] > 0
    assert beyond < optima.LIMIT


@pytest.mark.extended
@pytest.mark.parametrize("name", COMPILED)
def test_no_competitor_beats_a_compiled_optimum_on_a_random_case(optima, name):
    row, beyond = optima.attack(name, 1, seed=5)
    assert row["competitors"] > 0
    assert beyond < optima.LIMIT


def test_every_attack_is_tested(optima):
    assert sorted(optima.ATTACKS) == sorted(FAST + COMPILED)


def test_attack_finds_quotes_that_are_not_optimal(optima, monkeypatch):
    solve = StepProblem.solve

    def one_side_wider(self, *states):
        best = solve(self, *states)
        best.bid[:] = np.minimum(best.bid + 0.1, self.high)
        return best

    monkeypatch.setattr(StepProblem, "solve", one_side_wider)
    assert optima.attack("quotes", 4, seed=5)[1] > 1e-4


def session(step, steps, reward, **parameters):
    market = LimitOrderMarket(price=Bachelier(volatility=2.0, time_step=step), session=steps, **parameters)
    return Scenario(market, (), reward, steps)


def test_long_steps_do_not_end_newton_early():
    # Newton's method stopped at 6.589.
    scenario = session(1.0, 2, InventoryPenalty())
    best = limit_order_optimum(scenario)
    assert best.total == pytest.approx(9.764336237376371, rel=1e-12)
    assert best.total > limit_order_value(scenario, FixedOffset(2.7, 2.7)).total > 9.762
    assert limit_order_value(scenario, best.policy).total == pytest.approx(best.total, rel=1e-6)


def test_offsets_far_beyond_the_midprice_do_not_overflow():
    # Overflow meant "no order": 53.15, below the quotes of short steps.
    scenario = session(
        0.005, 200, InventoryPenalty(running=0.2, final=1.0), min_offset=-6.0, max_inventory=30.0
    )
    best = limit_order_optimum(scenario)
    assert best.total == pytest.approx(57.876264989967, rel=1e-10)
    assert best.total > limit_order_value(scenario, short_step_optimum(scenario).policy).total > 57.41
    assert best.bound < 1e-6


def test_local_optimum_of_both_sides_is_not_taken():
    # Optimising one side after the other stopped at 6.563.
    scenario = session(
        0.05,
        20,
        InventoryPenalty(final=2.0),
        max_offset=2.0,
        fills=ExponentialFill(intensity=20.0),
    )
    best = limit_order_optimum(scenario)
    assert best.total == pytest.approx(6.568960888504, rel=1e-10)
    assert limit_order_value(scenario, best.policy).total == pytest.approx(best.total, rel=1e-6)


@pytest.mark.parametrize("interaction", [-300.0, -8.0, 0.0, 8.0, 300.0])
def test_pair_of_offsets_matches_brute_force_where_sides_interact(interaction):
    rng = np.random.default_rng(int(interaction + 1000))
    problem = StepProblem(log_rate=2.0, low=-3.0, high=4.0)
    gains = rng.normal(size=(2, 30)) - interaction / 2
    best = problem.solve(*gains, np.full(30, interaction), np.ones(30, bool), np.ones(30, bool))
    grid = np.append(np.linspace(-3.0, 4.0, 701), np.inf)

    def value(bid, ask, a, d):
        b, s = problem.fill_probability(bid), problem.fill_probability(ask)
        alone = np.where(b > 0, b * (np.minimum(bid, 99) + a), 0) + np.where(
            s > 0, s * (np.minimum(ask, 99) + d), 0
        )
        return alone + interaction * b * s

    for bid, ask, error, a, d in zip(best.bid, best.ask, best.error, *gains, strict=True):
        found = value(np.array([bid]), np.array([ask]), a, d)[0]
        brute = value(grid[:, None], grid[None, :], a, d).max()
        assert found >= brute - error
        # The grid is coarse: it misses less than the square of its spacing, times the curvature.
        assert found <= brute + 1e-4 * (10 + abs(interaction))


@pytest.mark.extended
def test_risk_averse_quotes_in_cents_are_finite():
    # With 200 steps 740 bids were not finite.
    market = LimitOrderMarket(
        price=Bachelier(volatility=2.0, time_step=0.125),
        fills=ExponentialFill(intensity=10.0, decay=100.0),
        max_inventory=100.0,
        session=8,
    )
    best = risk_averse_solution(market, 0.1, 1.0)
    assert np.isfinite(best.bid).all() and np.isfinite(best.ask).all()
    np.testing.assert_array_equal(best.policy.bid, risk_averse_optimum(market, 0.1, 1.0).bid)
    np.testing.assert_allclose(best.value, best.value[:, ::-1], atol=1e-9)
    # A maker that never trades has -γσ²q²(T - t)/2; trading adds to that, and most where the inventory is large.
    alone = -0.1 * best.inventory**2 / 2 * np.arange(8, -1, -1)[:, None] * 0.125
    assert (best.value[:-1] > alone[:-1]).all()
    assert (np.diff((best.value - alone)[:-1, 100:], axis=1) > 0).all()


@pytest.mark.extended
def test_short_step_quotes_with_a_steep_penalty_are_finite():
    # 112,000 quotes were not finite.
    scenario = session(
        0.5,
        20,
        InventoryPenalty(running=20.0),
        max_inventory=100.0,
        fills=ExponentialFill(decay=100.0),
    )
    best = short_step_optimum(scenario)
    assert np.isfinite(best.bid).all() and np.isfinite(best.value).all()
    # Without a penalty at the close, the value is at most what a maker without inventory earns.
    assert (best.value[:-1].argmax(1) == 100).all()
    # A maker with 100 units sells at a large discount, and does not buy.
    assert best.ask[0, -1] < -0.1 < 0.1 < best.bid[0, -2]


@pytest.mark.parametrize(
    ("slope", "log_off", "end"), [(0.5, 0.0, 0.0), (30.0, -3.0, 0.0), (60.0, 1.0, 0.0), (20.0, -2.0, 900.0)]
)
def test_log_exponential_matches_arithmetic_in_300_digits(slope, log_off, end):
    q = np.arange(-3.0, 4.0)
    diagonal, log_end = -slope * q**2, -end * q**2
    found = log_exponentials(diagonal, log_off, log_end, 2)
    with localcontext() as context:
        context.prec = 300
        off, shift = Decimal(log_off).exp(), Decimal(float(-diagonal.min()))
        raised = [Decimal(float(d)) + shift for d in diagonal]
        vector = [Decimal(float(x)).exp() for x in log_end]
        for row in (1, 0):
            term, total = vector, vector
            for m in range(1, 60 + 4 * int(float(shift + 2 * off))):
                beside = [(term[i - 1] if i else 0) + (term[i + 1] if i < 6 else 0) for i in range(7)]
                term = [(d * x + off * y) / m for d, x, y in zip(raised, term, beside, strict=True)]
                total = [a + b for a, b in zip(total, term, strict=True)]
            vector = [x * (-shift).exp() for x in total]
            exact = [float(x.ln()) for x in vector]
            np.testing.assert_allclose(found[row], exact, rtol=1e-12, atol=1e-10)


def test_numbers_that_overflow_are_refused_in_one_sentence():
    steep = session(0.5, 2, InventoryPenalty(running=1e308))
    for solve in (limit_order_optimum, short_step_optimum):
        with pytest.raises(NotExact, match="overflow"):
            solve(steep)
    with pytest.raises(
        NotExact, match="not resolved: penalty, inventory and fill rate of a step are too large"
    ):
        short_step_optimum(session(0.5, 2, InventoryPenalty(running=1e15)))
