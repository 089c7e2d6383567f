"""Studies: claims decided by numbers checked by hand, look-up by parameters, and refusal of inconsistent studies."""

import math
import re
import subprocess
import sys

import pytest

from twosided.core.records import Record
from twosided.papers.base import (
    Budget,
    Case,
    Cell,
    Claim,
    Estimate,
    Finding,
    Item,
    MissingResult,
    Outcome,
    Outcomes,
    Row,
    Study,
    Table,
    all_of,
    dash_case,
    evaluate_claim,
    greater,
    mean,
    record_of,
    records_of,
    select,
    select_one,
    within,
)

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"


@pytest.mark.parametrize(
    ("a", "b", "margin", "decision"),
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
def test_greater_is_decided_by_the_interval_of_the_difference(a, b, margin, decision):
    assert greater(a, b, margin).decision == decision


def test_paired_difference_replaces_the_independent_one():
    a, b = Estimate(1.1, 0.3), Estimate(1.0, 0.3)
    assert greater(a, b).decision == OPEN
    assert greater(a, b, difference=Estimate(0.1, 0.01)).decision == HOLDS


def test_evidence_contains_names_and_numbers():
    evidence = greater(
        Estimate(1.5, 0.3), Estimate(-1.0, 0.4), 1.0, names=("ours", "theirs"), digits=1
    ).evidence
    assert evidence == (
        "ours 1.5 ± 0.3, theirs −1.0 ± 0.4; the difference is 2.5 (95% interval 1.5 to 3.5); "
        "claimed: more than 1.0"
    )


@pytest.mark.parametrize(("dof", "quantile"), [(None, 1.95996), (4, 2.77645), (1, 12.7062), (0, math.inf)])
def test_interval_has_students_quantile(dof, quantile):
    low, high = Estimate(5.0, 1.0, dof).interval
    assert high - 5.0 == 5.0 - low == pytest.approx(quantile, abs=1e-4)


def test_mean_matches_hand_calculation():
    # Deviations -2, 0, 2: variance 4, error 2/√3.
    found = mean([1.0, 3.0, 5.0])
    assert (found.value, found.error, found.dof) == (3.0, pytest.approx(2 / math.sqrt(3)), 2)
    assert mean([1.0]).interval == (-math.inf, math.inf)


def test_difference_has_welchs_degrees_of_freedom():
    # Equal errors and n degrees each: 2n. One exact: those of the other. One seed: none.
    equal = Estimate(2.0, 0.5, 4).minus(Estimate(1.0, 0.5, 4))
    assert (equal.value, equal.error, equal.dof) == (1.0, pytest.approx(math.sqrt(0.5)), 8)
    assert Estimate(2.0, 0.5, 4).minus(Estimate(1.0)) == Estimate(1.0, 0.5, 4)
    assert Estimate(2.0, 0.5, 0).minus(Estimate(1.0, 0.1)).interval[0] == -math.inf
    assert Estimate(2.0, 0.5).minus(Estimate(1.0, 0.1)).dof is None
    assert Estimate(2.0, 0.5, 3).times(-2) == Estimate(-4.0, 1.0, 3)


@pytest.mark.parametrize(
    ("value", "decision"),
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
def test_within_is_decided_by_the_whole_interval(value, decision):
    # An error of 0.1 makes ± 0.196; the tolerance is 1.
    assert within(Estimate(value, 0.1), 10.0, 1.0).decision == decision


@pytest.mark.parametrize(
    ("decisions", "whole"),
    [([HOLDS, HOLDS], HOLDS), ([HOLDS, OPEN], OPEN), ([OPEN, FAILS, HOLDS], FAILS), ([FAILS], FAILS)],
)
def test_all_of_is_decided_by_its_weakest_finding(decisions, whole):
    found = all_of(Finding(decision, f"number {i}") for i, decision in enumerate(decisions))
    assert found.decision == whole
    deciding = [f"number {i}" for i, decision in enumerate(decisions) if decision == whole]
    assert found.evidence == "; ".join(deciding)


def test_all_of_no_findings_is_refused():
    with pytest.raises(ValueError, match="at least one finding"):
        all_of([])


def outcomes(seeds=5):
    """Two makers of different shares, each seed's and their means."""
    records = [
        record_of({"policy": "maker", "share": share, "replication": i}, "pnl", share + i, 0.1)
        for share in (0.25, 0.5)
        for i in range(seeds)
    ]
    means = {"policy": "maker", "replications": seeds}
    records += [record_of({**means, "share": share}, "pnl", 2 * share, 0.1) for share in (0.25, 0.5)]
    records.append(Record("", 1, "pnl", 7.0, 0.2, parameters={"policy": "competitor"}))
    return Outcomes({"case": Outcome(records)}, Budget(False, seeds, 0))


def test_records_are_found_by_their_parameters():
    found = outcomes()
    assert found.record("case", "pnl", share=0.5, replication=1).value == 1.5
    assert found.estimate("case", "pnl", share=0.25, replication=0) == Estimate(0.25, 0.1)
    assert found.record("case", "pnl", maker=1).value == 7.0
    assert list(found) == ["case"]
    assert "other" not in found


def test_mean_over_seeds_has_their_degrees_of_freedom():
    found = outcomes(seeds=3)
    assert found.mean("case", "pnl", policy="maker", share=0.5) == Estimate(1.0, 0.1, 2)
    assert found.estimate("case", "pnl", share=0.5, replications=3) == Estimate(1.0, 0.1, 2)


@pytest.mark.parametrize(
    ("metric", "parameters", "sentence"),
    [
        ("no", {}, "no record of no for maker 0$"),
        ("pnl", {"share": 0.75}, "no record of pnl for maker 0 with share=0.75"),
        ("pnl", {"share": 0.5}, "6 records of pnl for maker 0 with share=0.5"),
        ("pnl", {"risk_aversion": 1.0}, "no record of pnl for maker 0 with risk_aversion=1.0"),
    ],
)
def test_look_up_of_none_or_several_records_is_refused(metric, parameters, sentence):
    with pytest.raises(MissingResult) as error:
        outcomes().record("case", metric, **parameters)
    case, lacks = error.value.args
    assert case == "case"
    assert re.match(sentence, lacks)


def test_claim_on_a_case_that_was_not_run_cannot_be_decided():
    claim = Claim("here", "this", lambda found: within(found.estimate("other", "pnl"), 0, 1))
    assert evaluate_claim(claim, outcomes()) == Finding(OPEN, "the case other has not been run")


def test_claim_on_a_missing_record_of_a_finished_case_is_an_error():
    wrong = Claim("here", "this", lambda found: within(found.estimate("case", "no"), 0, 1))
    with pytest.raises(MissingResult, match="no record of no for maker 0"):
        evaluate_claim(wrong, outcomes())
    with pytest.raises(MissingResult, match="no table curve"):
        outcomes().frame("case", "curve")


def test_records_of_a_case_carry_its_name_and_parameters():
    def run(budget, report):
        return Outcome(records_of({"replication": 1}, pnl=2, reward=3.0))

    outcome = Case("drift-0-1", run, {"drift": 0.1}).outcome(Budget(True, 2, 0), print)
    assert outcome.records == [
        Record("drift-0-1", 0, "pnl", 2.0, parameters={"drift": 0.1, "replication": 1}),
        Record("drift-0-1", 0, "reward", 3.0, parameters={"drift": 0.1, "replication": 1}),
    ]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("drift", -0.01), "drift-minus-0-01"),
        (("penalty", "InvPnL Stdev"), "penalty-invpnl-stdev"),
        (("adaptive", 0.5, 2.0, "own"), "adaptive-0-5-2-own"),
    ],
)
def test_dash_case_makes_names_of_words_and_numbers(parts, name):
    assert dash_case(*parts) == name


def test_case_with_a_parameter_named_like_a_column_is_refused():
    with pytest.raises(ValueError, match="must not be named like a column of records, but got 'value'"):
        Case("a", lambda budget, report: Outcome([]), {"value": 1.0})


def test_cases_are_selected_by_parameters():
    cases = [
        Case(
            dash_case("case", share, kind), lambda budget, report: Outcome([]), {"share": share, "kind": kind}
        )
        for share in (0.25, 0.5)
        for kind in ("own", "excess")
    ]
    assert select(cases, share=0.5) == ("case-0-5-own", "case-0-5-excess")
    assert select_one(cases, share=0.25, kind="own") == "case-0-25-own"
    with pytest.raises(LookupError, match=r"no case has the parameters share=0\.75"):
        select(cases, share=0.75)
    with pytest.raises(
        LookupError, match="2 cases have the parameters kind='own': case-0-25-own, case-0-5-own"
    ):
        select_one(cases, kind="own")


def study(cases=("a", "b"), items=(("x", ("a",)),), name="toy"):
    return Study(
        name,
        "",
        "",
        tuple(Case(case, lambda budget, report: Outcome([])) for case in cases),
        tuple(Item(item, "", "", needs, lambda found: []) for item, needs in items),
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cases": ("a", "a")}, "names of cases must be unique, but 'a' occurs 2 times"),
        ({"items": (("x", ("a",)), ("x", ("b",)))}, "names of items must be unique"),
        ({"items": (("x", ("c",)),)}, "item 'x' names the case 'c', which does not exist"),
        ({"cases": ("a", "B/../c")}, "lower-case words with dashes"),
        ({"name": ""}, "lower-case words with dashes"),
    ],
)
def test_inconsistent_study_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        study(**wrong)


@pytest.mark.parametrize(
    ("name", "label"),
    [("table-1", "Table 1"), ("figure-14", "Figure 14"), ("table-of-all", ""), ("duel", "")],
)
def test_label_of_an_item_is_the_papers_name(name, label):
    assert Item(name, "A title", "", (), lambda found: []).label == label


def test_evidence_separates_a_name_that_ends_in_a_number_from_the_value():
    evidence = greater(Estimate(1.0, 0.1), Estimate(0.0), names=("γ = 1", "nothing")).evidence
    assert evidence.startswith("γ = 1: 1.00 ± 0.10, nothing 0.00;")


def test_cases_of_items_are_unique_and_in_order():
    made = study(("a", "b", "c"), (("x", ("c", "a")), ("y", ("a",))))
    assert [case.name for case in made.cases_of(made.items)] == ["a", "c"]


def test_table_row_with_a_missing_cell_is_refused():
    with pytest.raises(ValueError, match="rows must have 2 cells, but 'short' has 1"):
        Table(("one", "two"), (Row("short", (Cell(None),)),))


def test_base_module_imports_neither_jax_nor_plotly():
    probe = "import sys, twosided.papers.base; print(sorted({'jax', 'plotly', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
