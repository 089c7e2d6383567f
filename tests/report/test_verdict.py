"""Numbers as people read them, and the table of the terminal."""

import io
import math

import pytest
from rich.console import Console
from support.results import make_records

from twosided.core.formatting import interval, number
from twosided.core.records import MEAN, Record, mean_of_cases
from twosided.report.verdict import Results, Row, error, groups, verdict_table


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.5, 1, "−0.5"),
        (-0.04, 1, "0.0"),
        (0.0, 2, "0.00"),
        (-1234.5678, 2, "−1,234.57"),
        (-0.4, 0, "0"),
        (12, 0, "12"),
        (math.nan, 2, "–"),
    ],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("spread", "scale", "digits", "text"),
    [
        (0.004, 100.0, 2, "0.40"),
        (0.004, 1.0, 2, ""),
        (None, 1.0, 2, ""),
        (0.0, 1.0, 2, ""),
        (math.nan, 1.0, 2, ""),
        (20.0, 1.0, 0, "20"),
    ],
)
def test_errors_smaller_than_the_last_digit_are_left_out(spread, scale, digits, text):
    assert error(Record("case", 0, "x", 1.0, spread), Row("x", "x", scale, digits)) == text


def test_the_interval_is_that_of_a_normal():
    low, high = interval(Record("case", 0, "x", 10.0, 2.0))
    assert (low, high) == (pytest.approx(6.080072), pytest.approx(13.919928))
    assert interval(Record("case", 0, "x", 10.0)) == (10, 10)


def test_every_metric_is_shown_once_in_its_group():
    shown = {group.title: [row.metric for row in group.rows] for group in groups(Results(make_records()))}
    assert shown == {
        "Distance from the best": ["optimality_gap"],
        "What it earns, and from what": [
            "pnl_total",
            "pnl_spread",
            "pnl_hedge",
            "pnl_inventory",
            "market_share",
            "sharpe",
        ],
        "More than the competitor": ["excess_total_over_1"],
        "How much it holds": ["inventory_mean", "inventory_std", "inventory_min", "inventory_max"],
        "How it quotes": ["epsilon_buy_mean", "epsilon_buy_std"],
    }


def test_fees_that_are_paid_other_metrics_and_several_competitors_are_shown():
    records = make_records(pnl_fees=-0.01, excess_total_over_2=0.5, shortfall=1.0)
    shown = {group.title: [row.metric for row in group.rows] for group in groups(Results(records))}
    assert "pnl_fees" in shown["What it earns, and from what"]
    assert shown["More than competitor 1"] == ["excess_total_over_1"]
    assert shown["More than competitor 2"] == ["excess_total_over_2"]
    assert shown["Other"] == ["shortfall"]


def test_results_are_of_the_judged_maker():
    results = Results([*make_records(), *make_records(maker=1, pnl_total=0.1)])
    assert results.of["seed 0", "pnl_total"].value == 0.8695
    assert results.shown("seed 0", Row("pnl_total", "", 100.0)) == ("86.95", "1.74")
    assert results.shown("seed 0", Row("nothing", "")) == ("", "")


def test_the_mean_of_seeds_speaks_for_all():
    records = [*make_records("seed 0"), *make_records("seed 1")]
    assert Results(records).headline == "seed 0"
    assert Results(records + mean_of_cases(records, ["seed 0", "seed 1"], MEAN)).headline == MEAN
    assert Results([]).headline is None


def printed(records, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(verdict_table(records))
    return console.file.getvalue()


def test_the_table_fits_a_terminal_of_80_columns_with_nothing_cut():
    records = make_records("best response", pnl_inventory=-12.345, pnl_hedge=-9.876, optimality_gap=1234.56)
    text = printed([*make_records("seed 0"), *records])
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    for value in ("7.5 ± 0.1", "87.0 ± 1.7", "91.2", "−4.2", "0.0", "97.1", "1,234.6 ± 24.7", "−1,234.5"):
        assert value in text


def test_the_table_without_an_optimum_has_no_gap():
    records = [record for record in make_records() if record.metric != "optimality_gap"]
    assert "gap" not in printed(records)
    assert "87.0" in printed(records)


def test_a_case_is_never_markup():
    assert "[red]a[/]" in printed(make_records("[red]a[/]"))


def test_a_table_of_nothing_is_empty():
    assert "policy" in printed([])
