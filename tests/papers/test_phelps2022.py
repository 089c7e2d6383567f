"""The study of Phelps (2022): what the slides print, and all of its cases, items and claims on a few days."""

import numpy as np
import pytest

from twosided.papers.base import Budget, Figure, Outcomes, Table, judge
from twosided.papers.phelps2022 import EXPLORED, GREEDY, LEARNED, beyond, cases, slides
from twosided.papers.phelps2022.study import STUDY

FEW = Budget(quick=True, seeds=2, seed=0)


def test_every_case_belongs_to_an_item():
    assert {case.name for case in cases.CASES} == {case for item in STUDY.items for case in item.cases}


def test_the_printed_tables_are_their_printed_policies():
    assert tuple(int(np.argmax(row)) - 1 for row in LEARNED) == GREEDY
    # So is that of the exploring policy, though its signs are turned round: -2: -1, -1: -1, 0: 0, 1: 1, 2: 1.
    assert tuple(int(np.argmax(row)) - 1 for row in EXPLORED) == GREEDY


@pytest.fixture(scope="module")
def found():
    """All cases on few days and with few learners."""
    patch = pytest.MonkeyPatch()
    learners = {name: cases.LEARNERS[name] for name in ("SARSA, as in the slides", "SARSA(λ)")}
    for module in (cases, slides, beyond):
        patch.setattr(module, "SEEDS", 3)
    for module in (cases, beyond):
        patch.setattr(module, "LEARNERS", learners)
        patch.setattr(module, "INFORMED", (0.2, 0.5))
        patch.setattr(module, "QUALITIES", (0.0, 0.3))
    patch.setattr(cases, "_days", lambda budget, days: max(days // 1000, 20))
    patch.setattr(cases, "RATES", (0.05, 0.1, 0.15, 0.2))
    told = []
    outcomes = {case.name: case.run(FEW, told.append) for case in cases.CASES}
    assert told
    yield Outcomes(outcomes, FEW)
    patch.undo()


@pytest.mark.parametrize("item", STUDY.items, ids=lambda item: item.name)
def test_an_item_shows_tables_and_figures_and_judges_its_claims(found, item):
    content = item.content(found)
    assert content and all(isinstance(part, Table | Figure) for part in content)
    for claim in item.claims:
        finding = judge(claim, found)
        assert finding.evidence


def test_what_is_exact_does_not_depend_on_the_days(found):
    claims = {claim.text: judge(claim, found).verdict for item in STUDY.items for claim in item.claims}
    assert claims["Threshold 1 is the best of all tables."] == "holds"
    assert claims["Policies and values converge."] == "does not hold"
    assert claims["What the slides print for each state is the mean of the day."] == "holds"


def test_the_uninformed_day_sums_its_orders(found):
    orders = found.frame("day", "uninformed")["orders"].to_numpy()
    assert set(np.diff(orders)) <= {-1.0, 0.0, 1.0}
