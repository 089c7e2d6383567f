"""Claims are decided by numbers that can be checked by hand; a study that does not fit together is refused."""

import math
import subprocess
import sys

import pytest

from twosided.core.records import MEAN, Record
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Finding,
    Item,
    Lacking,
    Outcome,
    Outcomes,
    Row,
    Study,
    Table,
    all_of,
    greater,
    judge,
    mean,
    within,
)

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"


@pytest.mark.parametrize(
    ("a", "b", "margin", "verdict"),
    [
        # Errors of 0.3 and 0.4 make one of 0.5 in the difference, whose interval is ± 0.98.
        (Estimate(1.99, 0.3), Estimate(1.0, 0.4), 0.0, HOLDS),
        (Estimate(1.97, 0.3), Estimate(1.0, 0.4), 0.0, OPEN),
        (Estimate(1.0, 0.4), Estimate(1.97, 0.3), 0.0, OPEN),
        (Estimate(1.0, 0.4), Estimate(1.99, 0.3), 0.0, FAILS),
        (Estimate(1.99, 0.3), Estimate(1.0, 0.4), 0.1, OPEN),
        (Estimate(2.0), Estimate(1.0), 0.5, HOLDS),
        (Estimate(2.0), Estimate(1.0), 1.0, FAILS),
        (Estimate(2.0), Estimate(2.0), 0.0, FAILS),
        (Estimate(math.nan, 0.1), Estimate(2.0), 0.0, OPEN),
        (Estimate(2.0, math.nan), Estimate(1.0), 0.0, OPEN),
    ],
)
def test_greater_is_decided_by_the_interval_of_the_difference(a, b, margin, verdict):
    assert greater(a, b, margin).verdict == verdict


def test_a_paired_difference_takes_the_place_of_an_independent_one():
    a, b = Estimate(1.1, 0.3), Estimate(1.0, 0.3)
    assert greater(a, b).verdict == OPEN
    assert greater(a, b, difference=Estimate(0.1, 0.01)).verdict == HOLDS


def test_the_evidence_names_the_numbers():
    evidence = greater(
        Estimate(1.5, 0.3), Estimate(-1.0, 0.4), 1.0, names=("ours", "theirs"), digits=1
    ).evidence
    assert evidence == (
        "ours 1.5 ± 0.3, theirs −1.0 ± 0.4; the difference is 2.5 (95% interval 1.5 to 3.5), "
        "and more than 1.0 is claimed"
    )


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(None, 1.95996), (4, 2.77645), (1, 12.7062), (0, math.inf)]
)
def test_few_seeds_take_students_quantile(freedom, quantile):
    low, high = Estimate(5.0, 1.0, freedom).interval
    assert high - 5.0 == 5.0 - low == pytest.approx(quantile, abs=1e-4)


def test_the_mean_of_seeds_by_hand():
    # Deviations -2, 0, 2: variance 4, error 2/√3.
    assert mean([1.0, 3.0, 5.0]) == Estimate(3.0, pytest.approx(2 / math.sqrt(3)), 2)
    assert mean([1.0]).interval == (-math.inf, math.inf)


def test_a_difference_has_welchs_degrees_of_freedom():
    # Equal errors and n degrees each: 2n. One exact: those of the other. One seed: none.
    equal = Estimate(2.0, 0.5, 4).minus(Estimate(1.0, 0.5, 4))
    assert equal == Estimate(1.0, pytest.approx(math.sqrt(0.5)), 8)
    assert Estimate(2.0, 0.5, 4).minus(Estimate(1.0)) == Estimate(1.0, 0.5, 4)
    assert Estimate(2.0, 0.5, 0).minus(Estimate(1.0, 0.1)).interval[0] == -math.inf
    assert Estimate(2.0, 0.5).minus(Estimate(1.0, 0.1)).freedom is None
    assert Estimate(2.0, 0.5, 3).times(-2) == Estimate(-4.0, 1.0, 3)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (10.0, HOLDS),
        (10.79, HOLDS),
        (10.81, OPEN),
        (11.19, OPEN),
        (11.21, FAILS),
        (8.79, FAILS),
        (8.81, OPEN),
    ],
)
def test_within_is_decided_by_the_whole_interval(value, verdict):
    # An error of 0.1 makes ± 0.196; the tolerance is 1.
    assert within(Estimate(value, 0.1), 10.0, 1.0).verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [([HOLDS, HOLDS], HOLDS), ([HOLDS, OPEN], OPEN), ([OPEN, FAILS, HOLDS], FAILS), ([FAILS], FAILS)],
)
def test_all_of_is_as_strong_as_its_weakest(verdicts, whole):
    found = all_of(Finding(verdict, f"number {i}") for i, verdict in enumerate(verdicts))
    assert found.verdict == whole
    deciding = [f"number {i}" for i, verdict in enumerate(verdicts) if verdict == whole]
    assert found.evidence == "; ".join(deciding)


def test_all_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        all_of([])


def outcomes(seeds=5):
    records = [Record("maker", 0, "pnl", 0.5, 0.1), Record(MEAN, 1, "pnl", 0.25, 0.1)]
    return Outcomes({"case": Outcome(records)}, Budget(False, seeds, 0))


def test_outcomes_know_which_errors_come_from_few_seeds():
    found = outcomes(seeds=3)
    assert found.record("case", "maker", "pnl").value == 0.5
    assert found.estimate("case", "maker", "pnl", scale=100) == Estimate(50.0, 10.0)
    assert found.estimate("case", MEAN, "pnl", maker=1) == Estimate(0.25, 0.1, 2)
    assert list(found) == ["case"]
    assert "other" not in found


def test_a_claim_on_a_case_that_was_not_run_cannot_be_decided():
    claim = Claim("here", "this", lambda found: within(found.estimate("other", "maker", "pnl"), 0, 1))
    assert judge(claim, outcomes()) == Finding(OPEN, "the case other has not been run")
    # A record that a finished case lacks is a mistake in the study, and not to be passed over.
    wrong = Claim("here", "this", lambda found: within(found.estimate("case", "maker", "no"), 0, 1))
    with pytest.raises(Lacking, match="no record of no for maker 0 of maker"):
        judge(wrong, outcomes())
    with pytest.raises(Lacking, match="no table curve"):
        outcomes().frame("case", "curve")


def study(cases=("a", "b"), items=(("x", ("a",)),), name="toy"):
    return Study(
        name,
        "",
        "",
        tuple(Case(case, lambda budget, tell: Outcome([])) for case in cases),
        tuple(Item(item, "", "", needs, lambda found: []) for item, needs in items),
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cases": ("a", "a")}, "names of cases must be unique, but 'a' stands there 2 times"),
        ({"items": (("x", ("a",)), ("x", ("b",)))}, "names of items must be unique"),
        ({"items": (("x", ("c",)),)}, "item 'x' names the case 'c', which there is not"),
        ({"cases": ("a", "B/../c")}, "lower-case words with dashes"),
        ({"name": ""}, "lower-case words with dashes"),
    ],
)
def test_a_study_that_does_not_fit_together_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        study(**wrong)


@pytest.mark.parametrize(
    ("name", "label"),
    [("table-1", "Table 1"), ("figure-14", "Figure 14"), ("table-of-all", ""), ("duel", "")],
)
def test_an_item_has_the_papers_name_for_it(name, label):
    assert Item(name, "A title", "", (), lambda found: []).label == label


def test_a_name_that_ends_in_a_number_is_kept_apart_from_its_own():
    said = greater(Estimate(1.0, 0.1), Estimate(0.0), names=("γ = 1", "nothing")).evidence
    assert said.startswith("γ = 1: 1.00 ± 0.10, nothing 0.00;")


def test_items_share_cases_which_keep_their_order():
    made = study(("a", "b", "c"), (("x", ("c", "a")), ("y", ("a",))))
    assert [case.name for case in made.cases_of(made.items)] == ["a", "c"]


def test_a_table_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="rows must have 2 cells, but 'short' has 1"):
        Table(("one", "two"), (Row("short", (Cell(None),)),))


def test_what_describes_a_study_needs_neither_jax_nor_plotly():
    probe = "import sys, twosided.papers.base; print(sorted({'jax', 'plotly', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
