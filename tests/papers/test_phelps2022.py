"""Study of Phelps (2022): the printed tables, and all cases, items and claims on a few days."""

import numpy as np
import pytest

from twosided.papers.base import Budget, Figure, Outcomes, Table, evaluate_claim
from twosided.papers.phelps2022 import EXPLORED, GREEDY, LEARNED, cases, extensions, slides
from twosided.papers.phelps2022.study import STUDY

pytestmark = pytest.mark.extended

FEW = Budget(quick=True, seeds=2, seed=0)


def test_cases_are_those_of_the_items():
    assert {case.name for case in cases.CASES} == {case for item in STUDY.items for case in item.cases}


def test_printed_tables_have_the_printed_greedy_policy():
    assert tuple(int(np.argmax(row)) - 1 for row in LEARNED) == GREEDY
    # So has that of the exploring policy, though its signs are reversed: -2: -1, -1: -1, 0: 0, 1: 1, 2: 1.
    assert tuple(int(np.argmax(row)) - 1 for row in EXPLORED) == GREEDY


@pytest.fixture(scope="module")
def found():
    """All cases on few days and with few learners."""
    patch = pytest.MonkeyPatch()
    learners = {name: cases.LEARNERS[name] for name in ("sarsa-listing", "sarsa-lambda")}
    for module in (cases, slides, extensions):
        patch.setattr(module, "SEEDS", 3)
    for module in (cases, extensions):
        patch.setattr(module, "LEARNERS", learners)
        patch.setattr(module, "INFORMED", (0.2, 0.5))
        patch.setattr(module, "QUALITIES", (0.0, 0.3))
    patch.setattr(cases, "_days", lambda budget, days: max(days // 1000, 20))
    patch.setattr(cases, "RATES", (0.05, 0.1, 0.15, 0.2))
    lines = []
    outcomes = {case.name: case.outcome(FEW, lines.append) for case in cases.CASES}
    assert lines
    yield Outcomes(outcomes, FEW)
    patch.undo()


@pytest.mark.parametrize("item", STUDY.items, ids=lambda item: item.name)
def test_item_has_tables_and_figures_and_decides_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        finding = evaluate_claim(claim, found)
        assert finding.evidence


def test_claims_on_exact_values_do_not_depend_on_the_days(found):
    claims = {
        claim.text: evaluate_claim(claim, found).decision for item in STUDY.items for claim in item.claims
    }
    assert claims["Threshold 1 is optimal among all tables."] == "holds"
    assert claims["Policies and values converge."] == "does not hold"
    assert claims["The values printed for each state are the mean of the day."] == "holds"


def test_table_entries_are_found_by_imbalance_and_change(found):
    exact = {"policy": "exploring", "method": "exact"}
    own = {
        (r.parameters["imbalance"], r.parameters["change"]): r.value
        for r in found["pairs"].records
        if exact.items() <= r.parameters.items()
    }
    assert set(own) == {(imbalance, change) for imbalance in range(-2, 3) for change in (-1, 0, 1)}
    record = found.record("pairs", "action_value", **exact, imbalance=-2, change=1)
    assert record.value == own[-2, 1] != own[2, -1]


def test_orders_of_the_uninformed_day_are_summed(found):
    orders = found.frame("day", "uninformed")["orders"].to_numpy()
    assert set(np.diff(orders)) <= {-1.0, 0.0, 1.0}
