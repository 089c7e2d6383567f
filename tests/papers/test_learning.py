"""Policies trained and judged for a study: one a seed, each on a drawing of chance of its own that others share."""

import pytest

from twosided.core.evaluation import evaluate
from twosided.core.records import find
from twosided.core.scenario import Scenario
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.learn.temporal_difference import SARSA
from twosided.papers.base import Budget, Outcome, Outcomes
from twosided.papers.learning import difference, drawing, drawings, exact, fit, judge_in_turn, over_drawings
from twosided.rewards import SpreadPnL

BUDGET = Budget(quick=True, seeds=2, seed=5)
SCENARIO = Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=30)
STEPS = 3000


@pytest.fixture(scope="module")
def judged():
    told = []
    learned = {"learned": (ThresholdPolicy(1), ThresholdPolicy(2))}
    records = judge_in_turn(SCENARIO, learned, {"fixed": ThresholdPolicy(1)}, BUDGET, told.append, STEPS)
    assert len(told) == 2
    return Outcomes({"case": Outcome(records)}, BUDGET)


def test_seed_i_is_judged_on_drawing_i_beside_the_others(judged):
    for i, policy in enumerate((ThresholdPolicy(1), ThresholdPolicy(2))):
        alone = find(evaluate(SCENARIO, {"": policy}, BUDGET.seed + i, STEPS), "", "reward")
        assert judged.record("case", drawing("learned", i), "reward").value == alone.value
    first, second = drawings(judged, "case", "fixed", "reward")
    assert first != second


def test_differences_are_taken_pair_by_pair(judged):
    ours, fixed = (drawings(judged, "case", name, "reward") for name in ("learned", "fixed"))
    # The first seed's policy is the fixed one, so on common chance nothing is between them.
    assert ours[0] == fixed[0] and ours[1] < fixed[1]
    apart = difference(judged, "case", "learned", "fixed", "reward")
    assert apart.value == pytest.approx((ours[1] - fixed[1]) / 2)
    assert apart.error == pytest.approx(abs(ours[1] - fixed[1]) / 2)
    assert apart.freedom == 1
    assert over_drawings(judged, "case", "learned", "reward").value == pytest.approx(sum(ours) / 2)


def test_training_leaves_a_policy_a_seed_and_a_curve():
    seen, told = [], []
    policies, curve = fit(SCENARIO, SARSA(steps=9000), BUDGET, told.append, chunks=3, look=seen.append)
    assert len(policies) == 2 and len(seen) == 3
    assert curve["seed"].to_list() == [0, 1] * 3
    assert curve.filter(seed=0)["steps"].is_sorted() and curve["steps"].max() == 9000
    assert told[-1].startswith("100% trained, score ")


def test_what_has_no_error_is_a_record_each():
    records = exact("x", a=1, b=2.5)
    assert [(r.case, r.metric, r.value, r.error) for r in records] == [
        ("x", "a", 1.0, None),
        ("x", "b", 2.5, None),
    ]
