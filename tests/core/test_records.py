"""Records: conversion to tables and back, look-up, and means over cases."""

import math

import polars as pl
import pytest

from twosided.core.records import Record, find, from_frame, mean_of_cases, to_frame

RECORDS = [
    Record("a", 0, "pnl_total", 1.0, 0.1, seed=3, study="s"),
    Record("b", 0, "pnl_total", 2.0, 0.2, seed=3, study="s"),
    Record("c", 0, "pnl_total", 6.0, 0.3, seed=3, study="s"),
    Record("a", 1, "pnl_total", -1.0, 0.5, seed=3, study="s"),
    Record("b", 1, "pnl_total", -1.1, 0.7, seed=3, study="s"),
    Record("a", 0, "inventory_min", -4.0, seed=3, study="s"),
    Record("b", 0, "inventory_min", -7.0, seed=3, study="s"),
    Record("a", 0, "inventory_max", 4.0, seed=3, study="s"),
    Record("b", 0, "inventory_max", 9.0, seed=3, study="s"),
]


def test_frame_of_records_is_read_back_unchanged():
    frame = to_frame(RECORDS)
    assert frame.height == len(RECORDS)
    assert frame.columns == [
        "case",
        "maker",
        "metric",
        "value",
        "error",
        "seed",
        "study",
        "dof",
        "error_over",
        "data",
    ]
    assert from_frame(frame) == RECORDS


def test_frame_of_no_records_has_the_same_columns():
    frame = to_frame([])
    assert frame.height == 0
    assert frame.schema == to_frame(RECORDS).schema
    assert from_frame(frame) == []


def test_file_of_records_is_read_back_unchanged(tmp_path):
    to_frame(RECORDS).write_parquet(tmp_path / "records.parquet")
    assert from_frame(pl.read_parquet(tmp_path / "records.parquet")) == RECORDS


MAKERS = [
    Record(
        "a", 0, "pnl", 1.0, 0.1, parameters={"share": 0.5, "replication": 0, "policy": "SAC", "skews": True}
    ),
    Record("a", 0, "pnl", 2.0, parameters={"share": 1, "policy": "optimum"}),
    Record("a", 0, "pnl", 3.0),
]


def test_parameters_are_columns_of_the_frame():
    frame = to_frame(MAKERS)
    own = {"share": pl.Float64, "replication": pl.Int64, "policy": pl.String, "skews": pl.Boolean}
    assert dict(frame.schema.items()) == dict(to_frame([]).schema.items()) | own
    assert frame["share"].to_list() == [0.5, 1.0, None]
    assert frame["skews"].to_list() == [True, None, None]


def test_parameters_are_read_back_and_absent_if_null(tmp_path):
    to_frame(MAKERS).write_parquet(tmp_path / "records.parquet")
    found = from_frame(pl.read_parquet(tmp_path / "records.parquet"))
    assert found == MAKERS
    assert found[2].parameters == {}
    assert isinstance(found[0].parameters["replication"], int) and found[0].parameters["skews"] is True


def test_row_of_a_record_is_flat():
    fields = {"case": "a", "maker": 0, "metric": "pnl", "value": 2.0, "error": None, "seed": 0, "study": ""}
    fields |= {"dof": None, "error_over": "", "data": ""}
    assert MAKERS[1].row() == fields | {"share": 1, "policy": "optimum"}


def test_parameter_with_the_name_of_a_column_is_refused():
    with pytest.raises(ValueError, match="must not be named like a column of records, but got 'seed'"):
        Record("a", 0, "pnl", 1.0, parameters={"seed": 1})


def test_parameter_with_values_of_several_types_is_refused():
    mixed = [Record("a", 0, "pnl", 1.0, parameters={"share": value}) for value in (0.5, "half")]
    with pytest.raises(
        ValueError, match="the parameter share must be all bool, int, float or str, but got float, str"
    ):
        to_frame(mixed)


def test_find_filters_by_parameters():
    assert find(MAKERS, "a", "pnl").value == 1.0
    assert find(MAKERS, "a", "pnl", share=1.0).value == 2.0
    assert find(MAKERS, "a", "pnl", policy="SAC", skews=True).value == 1.0
    with pytest.raises(KeyError, match=r"no record of pnl for maker 0 of a, policy optimum, share 0\.5"):
        find(MAKERS, "a", "pnl", policy="optimum", share=0.5)


def test_find_returns_the_record_of_case_metric_and_maker():
    assert find(RECORDS, "a", "pnl_total", maker=1).value == -1.0
    assert find(RECORDS, "b", "pnl_total").value == 2.0
    for case, metric, maker in [("c", "pnl_total", 1), ("d", "pnl_total", 0), ("a", "sharpe", 0)]:
        with pytest.raises(KeyError, match=f"no record of {metric} for maker {maker} of {case}"):
            find(RECORDS, case, metric, maker)


def test_mean_of_cases_matches_hand_calculation():
    mean = mean_of_cases(RECORDS, ["a", "b", "c"], "all")
    assert {(record.case, record.seed, record.study) for record in mean} == {("all", 3, "s")}
    own = find(mean, "all", "pnl_total")
    # Between cases: a variance of ((-2)² + (-1)² + 3²) / 2 = 7, so 7 / 3 of the mean; their own: 0.2, which
    # common random numbers do not average out.
    assert own.value == pytest.approx(3.0, rel=1e-15)
    assert own.error == pytest.approx(math.sqrt(7 / 3 + 0.2**2), rel=1e-15)
    other = find(mean, "all", "pnl_total", maker=1)
    assert other.value == pytest.approx(-1.05, rel=1e-15)
    assert other.error == pytest.approx(math.sqrt(0.05**2 + 0.6**2), rel=1e-14)
    # Degrees of freedom: (7/3 + 0.2²)² / ((7/3)² / 2) = 2.07 for three cases, (0.05² + 0.6²)² / 0.05⁴ for two.
    assert (own.dof, other.dof) == (2, pytest.approx(21025, abs=1))


def test_mean_of_cases_combines_degrees_of_freedom_and_keeps_unknown_errors_unknown():
    cases = [
        Record(name, 0, "pnl", value, 1.0, dof=19, error_over="20 blocks of one history")
        for name, value in (("a", 0.0), ("b", 2.0), ("c", 4.0))
    ]
    (mean,) = mean_of_cases(cases, ["a", "b", "c"], "all")
    # Squared errors of 1 with 19 degrees of freedom, and of 4 / 3 with 2.
    assert mean.error == pytest.approx(math.sqrt(7 / 3), rel=1e-15)
    assert mean.dof == math.floor((7 / 3) ** 2 / (1 / 19 + (4 / 3) ** 2 / 2))
    assert mean.error_over == "20 blocks of one history and 3 seeds"
    unknown = Record("d", 0, "pnl", 2.0, error_over="no error: the history is too short")
    (mean,) = mean_of_cases([*cases, unknown], ["a", "d"], "two")
    assert (mean.value, mean.error, mean.dof, mean.error_over) == (1.0, None, None, unknown.error_over)


def test_mean_of_cases_keeps_extremes():
    mean = mean_of_cases(RECORDS, ["a", "b"], "both")
    lowest, highest = find(mean, "both", "inventory_min"), find(mean, "both", "inventory_max")
    assert (lowest.value, lowest.error, highest.value, highest.error) == (-7.0, None, 9.0, None)


def test_mean_of_cases_ignores_other_cases():
    alone = mean_of_cases(RECORDS, ["b"], "b alone")
    assert find(alone, "b alone", "pnl_total").value == 2.0
    assert find(alone, "b alone", "pnl_total").error == 0.2
    assert mean_of_cases(RECORDS, [], "none") == []
