"""Training and evaluation for studies: one policy per seed, evaluated in replications on common random numbers."""

import polars as pl
import pytest

from twosided.core.evaluation import evaluate
from twosided.core.records import MEAN, find, mean_of_cases
from twosided.core.scenario import Scenario
from twosided.electronic.market import ElectronicMarket
from twosided.electronic.policies import ThresholdPolicy
from twosided.learn.temporal_difference import SARSA
from twosided.papers.base import Budget, Outcome, Outcomes
from twosided.papers.learning import (
    difference,
    evaluate_replications,
    evaluate_seeds,
    labelled,
    over_replications,
    replications,
    train_policies,
)
from twosided.rewards import SpreadPnL

BUDGET = Budget(quick=True, seeds=2, seed=5)
SCENARIO = Scenario(ElectronicMarket(), (), SpreadPnL(), horizon=30)
STEPS = 3000


@pytest.fixture(scope="module")
def evaluated():
    lines = []
    learned = [({"policy": "learned"}, (ThresholdPolicy(1), ThresholdPolicy(2)))]
    others = [({"policy": "fixed", "threshold": 1}, ThresholdPolicy(1))]
    records = evaluate_replications(SCENARIO, learned, others, BUDGET, lines.append, STEPS)
    assert len(lines) == 2
    return Outcomes({"case": Outcome(records)}, BUDGET)


def test_replication_evaluates_the_policy_of_its_seed(evaluated):
    for i, policy in enumerate((ThresholdPolicy(1), ThresholdPolicy(2))):
        alone = find(evaluate(SCENARIO, {"": policy}, BUDGET.seed + i, STEPS), "", "reward")
        record = evaluated.record("case", "reward", policy="learned", replication=i)
        assert (record.value, record.error, record.seed) == (alone.value, alone.error, alone.seed)
    first, second = replications(evaluated, "case", "reward", threshold=1)
    assert first != second


def test_differences_are_paired_by_replication(evaluated):
    ours, fixed = (replications(evaluated, "case", "reward", policy=name) for name in ("learned", "fixed"))
    # The first seed's policy is the fixed one, so on common random numbers they are equal.
    assert ours[0] == fixed[0] and ours[1] < fixed[1]
    found = difference(evaluated, "case", "reward", {"policy": "learned"}, {"policy": "fixed"})
    assert found.value == pytest.approx((ours[1] - fixed[1]) / 2)
    assert found.error == pytest.approx(abs(ours[1] - fixed[1]) / 2)
    assert found.dof == 1
    mean = over_replications(evaluated, "case", "reward", policy="learned")
    assert mean.value == pytest.approx(sum(ours) / 2)


def test_mean_over_seeds_is_that_of_their_cases():
    policies = (ThresholdPolicy(1), ThresholdPolicy(2))
    learned = {"policy": "learned", "share": 0.5}
    others = [({"policy": "fixed", "share": 0.5}, ThresholdPolicy(3))]
    records = evaluate_seeds(SCENARIO, (learned, policies), others, BUDGET.seed, STEPS)
    found = Outcomes({"case": Outcome(records)}, BUDGET)
    named = evaluate(SCENARIO, {"a": policies[0], "b": policies[1]}, BUDGET.seed, STEPS)
    for expected in mean_of_cases(named, ["a", "b"], MEAN):
        mean = found.mean("case", expected.metric, **learned, maker=expected.maker)
        assert (mean.value, mean.error, mean.dof) == (expected.value, expected.error, expected.dof or 1)
    assert found.record("case", "reward", policy="learned", replication=1).value == (
        find(named, "b", "reward").value
    )
    assert found.record("case", "reward", policy="fixed").parameters == {"policy": "fixed", "share": 0.5}


def test_training_returns_one_policy_per_seed_and_the_curve():
    seen, lines = [], []
    policies, curve = train_policies(
        SCENARIO, SARSA(total_timesteps=9000), BUDGET, lines.append, chunks=3, look=seen.append
    )
    assert len(policies) == 2 and len(seen) == 3
    assert curve["seed"].to_list() == [0, 1] * 3
    assert curve.filter(seed=0)["timesteps"].is_sorted() and curve["timesteps"].max() == 9000
    assert lines[-1].startswith("100% trained, PnL ")


def test_labels_are_made_from_columns():
    frame = pl.DataFrame({"skews": [True, False], "beta": [0.5, 2.0], "y": [1.0, 2.0]})
    series = labelled(
        frame, lambda skews, beta: f"{'with' if skews else 'without'}, {beta:g}", "skews", "beta"
    )
    assert series["series"].to_list() == ["with, 0.5", "without, 2"]
    assert series.drop("series").equals(frame)
