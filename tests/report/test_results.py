"""Results as rows of a page, and as a table on the terminal."""

import io

import pytest
from rich.console import Console
from support.results import make_records

from twosided.core.metrics import Metric, standard_groups
from twosided.core.records import MEAN, Record, mean_of_cases
from twosided.dealer.market import DealerMarket
from twosided.report.results import Results, groups, results_table

CATALOGUE = DealerMarket().metrics()


def rows(records, catalogue=CATALOGUE):
    shown = groups(Results(records), catalogue)
    return {group.title: [metric.name for metric in group.metrics] for group in shown}


def test_every_metric_is_shown_once_in_its_group():
    assert rows(make_records()) == {
        "Distance from the optimum": ["optimality_gap"],
        "PnL by source": ["pnl_total", "pnl_spread", "pnl_hedge", "pnl_inventory"],
        "Reward and efficiency": ["sharpe", "market_share"],
        "Excess over the competitor": ["excess_total_over_1"],
        "Inventory": ["inventory_mean", "inventory_std", "inventory_min", "inventory_max"],
        "Episodes": ["episode_pnl_total"],
        "Quotes and hedges": ["epsilon_buy_mean", "epsilon_buy_std"],
    }


def test_fees_are_shown_if_a_maker_pays_them():
    assert "pnl_fees" not in rows(make_records())["PnL by source"]
    assert "pnl_fees" in rows(make_records(pnl_fees=-0.01))["PnL by source"]


def test_excess_is_shown_over_each_competitor():
    shown = rows(make_records(excess_total_over_2=0.5), standard_groups(competitors=2))
    assert shown["Excess over competitor 1"] == ["excess_total_over_1"]
    assert shown["Excess over competitor 2"] == ["excess_total_over_2"]


def test_metrics_that_no_catalogue_lists_are_shown_under_other():
    shown = groups(Results(make_records(shortfall=1.0)), standard_groups(competitors=1))
    assert shown[-1].title == "Other"
    assert [metric.label for metric in shown[-1].metrics] == [
        "epsilon buy mean",
        "epsilon buy std",
        "shortfall",
    ]


def test_market_share_of_a_single_maker_is_left_out():
    alone = [Record("seed 0", 0, "market_share", 1.0), Record("seed 0", 0, "pnl_total", 1.0)]
    assert rows(alone, standard_groups()) == {"PnL by source": ["pnl_total"]}


def test_results_are_of_the_evaluated_maker():
    results = Results([*make_records(), *make_records(maker=1, pnl_total=0.1)])
    assert results.of["seed 0", "pnl_total"].value == 0.8695
    assert results.text("seed 0", Metric("pnl_total", "", scale=100.0, digits=2)) == ("86.95", "1.74")
    assert results.text("seed 0", Metric("nothing", "")) == ("", "")


def test_mean_of_seeds_is_the_headline():
    records = [*make_records("seed 0"), *make_records("seed 1")]
    assert Results(records).headline == "seed 0"
    assert Results(records + mean_of_cases(records, ["seed 0", "seed 1"], MEAN)).headline == MEAN
    assert Results([]).headline is None


def printed(records, catalogue=CATALOGUE, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(results_table(records, catalogue))
    return console.file.getvalue()


def test_table_fits_a_terminal_of_80_columns_with_nothing_cut():
    records = make_records("best response", pnl_inventory=-12.345, pnl_hedge=-9.876, optimality_gap=1234.56)
    text = printed([*make_records("seed 0"), *records])
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    for value in ("7.50 ± 0.15", "87.0 ± 1.7", "91.2", "−4.21", "−0.04", "97.1", "1,235 ± 25", "−1,234"):
        assert value in text
    assert "bp per step" in text


@pytest.mark.parametrize("competitors", [0, 1])
def test_table_shows_the_sharpe_ratio_of_a_single_maker_and_the_market_share_of_several(competitors):
    records = [r for r in make_records() if competitors or not r.metric.startswith("excess")]
    text = printed(records, standard_groups(competitors=competitors))
    assert ("Sharpe" in text, "share %" in text) == (competitors == 0, competitors == 1)


def test_table_without_an_optimum_has_no_gap():
    records = [record for record in make_records() if record.metric != "optimality_gap"]
    assert "gap" not in printed(records)
    assert "87.0" in printed(records)


def test_case_is_never_markup():
    assert "[red]a[/]" in printed(make_records("[red]a[/]"))


def test_table_of_no_records_is_empty():
    assert "policy" in printed([])
