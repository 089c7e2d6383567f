"""The page stands alone, says every number, escapes what it is told, and does without what is missing."""

import json
import re

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from support.html import Page
from support.results import make_curves, make_records, make_trace

from twosided.core.records import MEAN, Record, mean_of_cases
from twosided.report.page import KnownOptimum, LearnedTable, Provenance, Published, figure_page, page
from twosided.report.verdict import Results, groups

SEEDS = ["seed 0", "seed 1"]


def all_records(best="best response"):
    records = [*make_records("seed 0"), *make_records("seed 1", pnl_total=0.85, optimality_gap=9.5)]
    records += mean_of_cases(records, SEEDS, MEAN)
    return records + make_records(best, pnl_total=0.94, optimality_gap=0.01)


FULL = {
    "summary": "Two makers.",
    "compared": ["best response"],
    "curves": make_curves(),
    "trace": make_trace(),
    "traced": "seed 0",
    "optimum": KnownOptimum(0.94, "pnl_total", -0.001, -0.002, "Theorem 1."),
    "published": Published("Ganesh et al. (2019)", {"excess_total_over_1": 0.762, "epsilon_buy_mean": -0.22}),
    "provenance": Provenance("twosided demo", 'seed = 0\n[market]\nkind = "dealer"', {"machine": "2 cores"}),
}


@pytest.fixture(scope="module")
def html():
    return page("A maker", all_records(), **FULL)


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'&amp; ${title} $title"


@pytest.fixture(scope="module")
def parsed(html):
    return Page(html)


def test_the_page_is_well_formed_and_has_all_its_parts(html, parsed):
    assert html.startswith("<!doctype html>")
    assert len(parsed.figures) == 5
    for text in ("A maker", "Two makers.", "twosided demo", "2 cores", 'kind = "dealer"', "Theorem 1."):
        assert text in parsed.said
    assert parsed.tags("html")[0]["lang"] == "en"


def test_the_page_asks_nothing_of_the_network(html, parsed):
    for tag, attrs in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
    assert html.count(get_plotlyjs()) == 1, "plotly.js is inside, once"
    ours = html.replace(get_plotlyjs(), "")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", ours)
    assert set(re.findall(r"https?://[^'\" <)]+", ours)) <= {"http://www.w3.org/2000/svg"}, (
        "a name, not a place"
    )


def test_the_content_security_policy_forbids_the_network(parsed):
    (policy,) = [
        a["content"] for a in parsed.tags("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert all(
        source in ("'none'", "'unsafe-inline'", "data:", "blob:")
        for r in rules.values()
        for source in r.split()
    )


def test_the_table_says_every_number_of_every_case(parsed):
    results = Results(all_records())
    head, *rows = parsed.rows
    assert head == ["metric", MEAN, "optimumexact", "papertheirs", "seed 0", "seed 1", "best response"]
    rows = [row for row in rows if len(row) > 1]
    expected = [row for group in groups(results) for row in group.rows]
    assert len(rows) == len(expected)
    cases = {1: MEAN, 4: "seed 0", 5: "seed 1", 6: "best response"}
    for shown, row in zip(rows, expected, strict=True):
        assert shown[0] == row.label
        for column, case in cases.items():
            value, spread = results.shown(case, row)
            assert shown[column] == value + (f"± {spread}" if spread else "")


def test_the_optimum_and_the_paper_stand_beside_ours(parsed):
    rows = {row[0]: row for row in parsed.rows if len(row) > 1}
    assert rows["optimality gap, %"][1:3] == ["8.50± 1.01", "0.00"], (
        "the error of a mean is between its seeds"
    )
    assert rows["ε on the bid, mean"][2:4] == ["−0.001", "−0.220"]
    totals = [row for row in parsed.rows if row[0] == "total"]
    assert [row[2:4] for row in totals] == [["94.00", ""], ["", "76.20"]]
    assert "not measured here: Ganesh et al. (2019)." in parsed.said


def test_the_verdict_in_short(parsed):
    assert "8.5% 95% interval 6.5 to 10.5; 0 is perfect" in parsed.said.replace("8.5%95%", "8.5% 95%")
    assert "earns 86.0 a step of the 94.0 that the best possible maker would" in parsed.said
    assert "91.2 from the spread, −4.2 from hedging and 0.0 from inventory" in parsed.said
    assert "the paper’s agent: 76.2" in parsed.said


def test_figures_are_strict_json(parsed):
    def refuse(constant):
        raise AssertionError(constant)

    twins = parsed.json[-1]
    for text in parsed.json:
        json.loads(text, parse_constant=refuse)
    assert len(parsed.json) == 6 and "#0072b2" in twins


def test_the_page_stays_small_however_long_the_trace():
    """200 episodes of 200 steps and two makers: histograms and one episode, not samples."""
    small = page("t", all_records(), **FULL)
    large = page("t", all_records(), **FULL | {"trace": make_trace(paths=200, steps=200)})
    assert len(large) - len(small) < 60_000
    assert len(large) - len(get_plotlyjs()) < 200_000


def test_everything_told_is_escaped(parsed):
    told = page(
        HOSTILE,
        all_records(best=HOSTILE),
        summary=HOSTILE,
        compared=[HOSTILE],
        curves=make_curves(),
        trace=make_trace(),
        traced=HOSTILE,
        optimum=KnownOptimum(0.94, sentence=HOSTILE),
        published=Published(HOSTILE, {"excess_total_over_1": 0.7}),
        provenance=Provenance(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
    )
    hostile = Page(told)
    assert len(hostile.tags("script")) == len(parsed.tags("script"))
    assert not hostile.tags("img")
    assert not any(name.startswith("on") for _, attrs in hostile.elements for name in attrs)
    # Title twice, summary, three figures' titles, sentence, column, citation, command, settings, a fact's two.
    assert hostile.said.count(" ".join(HOSTILE.split())) == 13


def test_a_hostile_case_alone_speaks_for_itself():
    hostile = Page(page("t", make_records(HOSTILE)))
    assert f"“{HOSTILE}” earns" in hostile.said
    assert not hostile.tags("img")


@pytest.mark.parametrize("missing", [*FULL, "records"])
def test_the_page_does_without_any_part(missing):
    arguments = {name: value for name, value in FULL.items() if name != missing}
    records = [] if missing == "records" else all_records()
    if missing == "optimum":
        records = [record for record in records if record.metric != "optimality_gap"]
        arguments["why_no_optimum"] = "The price has a drift."
    parsed = Page(page("A maker", records, **arguments))
    figures = {"curves": 4, "trace": 2, "records": 4}
    assert len(parsed.figures) == figures.get(missing, 5)
    assert ("best possible" in parsed.said) == (missing not in ("optimum", "records"))
    assert ("The price has a drift." in parsed.said) == (missing == "optimum")
    assert ("Paper" in parsed.said) == (missing not in ("published", "records"))
    assert ("How this was made" in parsed.said) == (missing != "provenance")


def test_an_empty_page_is_still_a_page():
    parsed = Page(page("Nothing", []))
    assert parsed.said.startswith("Nothing twosidedNothing The figures are drawn by a script")
    assert not parsed.figures and not parsed.rows


def test_empty_tables_draw_nothing():
    parsed = Page(page("t", make_records(), curves=make_curves().clear(), trace=make_trace().clear()))
    assert len(parsed.figures) == 1


def test_a_figure_has_a_page_of_its_own():
    figure = go.Figure(go.Scatter(y=[1, 2], name="</script><b>")).update_layout(height=321)
    parsed = Page(figure_page(figure, "The <book>", "Look & see."))
    assert "The <book>" in parsed.said and "Look & see." in parsed.said
    (box,) = parsed.figures
    assert box["style"] == "height:321px;min-width:640px"
    assert json.loads(parsed.json[0])["data"][0]["name"] == "</script><b>"


def test_an_optimum_of_the_reward_stands_beside_what_is_paid_and_not_beside_pnl():
    records = [Record("seed 0", 0, "pnl_total", -0.43), Record("seed 0", 0, "reward", -0.4424)]
    said = Page(
        page("A maker", records, optimum=KnownOptimum(-0.4366, "reward", sentence="By its chain."))
    ).said
    assert "It is paid −0.4424 a step, where the best possible is −0.4366." in said
    assert "that the best possible maker would" not in said


def test_a_learned_table_is_shown_as_arrows_where_there_is_one_quote_and_else_as_shares():
    cells, shares = ("−1", "0", "1"), ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    for changes, text in (((-1.0, 1.0), "an arrow up raises"), (None, "How often it takes each action")):
        table = LearnedTable(cells, ("lower", "raise"), shares, changes)
        shown = Page(page("A maker", make_records(), trace=make_trace(), table=table))
        assert text in shown.said
        assert len(shown.figures) == 1 + len(
            Page(page("A maker", make_records(), trace=make_trace())).figures
        )
