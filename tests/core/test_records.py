"""Records: to tables and back, looking one up, and the mean over cases."""

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


def test_there_and_back():
    frame = to_frame(RECORDS)
    assert frame.height == len(RECORDS)
    assert frame.columns == ["case", "maker", "metric", "value", "error", "seed", "study"]
    assert from_frame(frame) == RECORDS


def test_no_records_are_a_table_all_the_same():
    frame = to_frame([])
    assert frame.height == 0
    assert frame.schema == to_frame(RECORDS).schema
    assert from_frame(frame) == []


def test_what_a_file_keeps(tmp_path):
    to_frame(RECORDS).write_parquet(tmp_path / "records.parquet")
    assert from_frame(pl.read_parquet(tmp_path / "records.parquet")) == RECORDS


def test_find():
    assert find(RECORDS, "a", "pnl_total", maker=1).value == -1.0
    assert find(RECORDS, "b", "pnl_total").value == 2.0
    for case, metric, maker in [("c", "pnl_total", 1), ("d", "pnl_total", 0), ("a", "sharpe", 0)]:
        with pytest.raises(KeyError, match=f"no record of {metric} for maker {maker} of {case}"):
            find(RECORDS, case, metric, maker)


def test_mean_of_cases_by_hand():
    mean = mean_of_cases(RECORDS, ["a", "b", "c"], "all")
    assert {(record.case, record.seed, record.study) for record in mean} == {("all", 3, "s")}
    own = find(mean, "all", "pnl_total")
    # Between cases: a variance of ((-2)² + (-1)² + 3²) / 2 = 7, so 7 / 3 of the mean; their own: 0.2, which
    # common chance does not average out.
    assert own.value == pytest.approx(3.0, rel=1e-15)
    assert own.error == pytest.approx(math.sqrt(7 / 3 + 0.2**2), rel=1e-15)
    other = find(mean, "all", "pnl_total", maker=1)
    assert other.value == pytest.approx(-1.05, rel=1e-15)
    assert other.error == pytest.approx(math.sqrt(0.05**2 + 0.6**2), rel=1e-14)


def test_extremes_stay_extremes():
    mean = mean_of_cases(RECORDS, ["a", "b"], "both")
    lowest, highest = find(mean, "both", "inventory_min"), find(mean, "both", "inventory_max")
    assert (lowest.value, lowest.error, highest.value, highest.error) == (-7.0, None, 9.0, None)


def test_other_cases_have_no_say():
    alone = mean_of_cases(RECORDS, ["b"], "b alone")
    assert find(alone, "b alone", "pnl_total").value == 2.0
    assert find(alone, "b alone", "pnl_total").error == 0.2
    assert mean_of_cases(RECORDS, [], "none") == []
