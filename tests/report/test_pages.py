"""Pages are self-contained, show every number, escape all text from outside, and do without missing parts."""

import json
import re

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from support.html import Page
from support.results import make_curves, make_records, make_trace

from twosided.core.dashboard import Dashboard, PolicyTable
from twosided.core.metrics import standard_groups
from twosided.core.optimum import StoredOptimum
from twosided.core.records import MEAN, Record, mean_of_cases
from twosided.dealer.market import DealerMarket
from twosided.electronic.dashboard import ElectronicDashboard
from twosided.report.pages import Provenance, Published, figure_page, results_page
from twosided.report.results import Results, groups

SEEDS = ["seed 0", "seed 1"]
MARKET = DealerMarket()
CATALOGUE, DASHBOARD = MARKET.metrics(), MARKET.dashboard()


def all_records(best="best response"):
    records = [*make_records("seed 0"), *make_records("seed 1", pnl_total=0.85, optimality_gap=9.5)]
    records += mean_of_cases(records, SEEDS, MEAN)
    return records + make_records(best, pnl_total=0.94, optimality_gap=0.01)


def make_optimum(value=0.94, metric="pnl_total", source="Theorem 1.", **metrics):
    return StoredOptimum(
        value=value, metric=metric, source=source, name="best response", attained=True, metrics=metrics
    )


def page(title, records, catalogue=CATALOGUE, dashboard=DASHBOARD, **parts):
    return results_page(title, records, catalogue, dashboard, **parts)


FULL = {
    "summary": "Two makers.",
    "compared": ["best response"],
    "curves": make_curves(),
    "trace": make_trace(),
    "traced": "seed 0",
    "optimum": make_optimum(epsilon_buy_mean=-0.001, epsilon_sell_mean=-0.002),
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


def test_page_is_well_formed_and_has_all_its_parts(html, parsed):
    assert html.startswith("<!doctype html>")
    assert len(parsed.figures) == 5
    for text in ("A maker", "Two makers.", "twosided demo", "2 cores", 'kind = "dealer"', "Theorem 1."):
        assert text in parsed.said
    assert parsed.tags("html")[0]["lang"] == "en"


def test_page_makes_no_request(html, parsed):
    for tag, attrs in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attrs.get(name, "data:").startswith("data:"), (tag, attrs)
    assert html.count(get_plotlyjs()) == 1, "plotly.js is included once"
    ours = html.replace(get_plotlyjs(), "")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", ours)
    assert set(re.findall(r"https?://[^'\" <)]+", ours)) <= {"http://www.w3.org/2000/svg"}, (
        "a namespace, not an address"
    )


def test_content_security_policy_forbids_the_network(parsed):
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


def test_table_shows_every_number_of_every_case(parsed):
    results = Results(all_records())
    head, *rows = parsed.rows
    assert head == ["metric", MEAN, "optimumexact", "published", "seed 0", "seed 1", "best response"]
    rows = [row for row in rows if len(row) > 1]
    expected = [metric for group in groups(results, CATALOGUE) for metric in group.metrics]
    assert len(rows) == len(expected)
    cases = {1: MEAN, 4: "seed 0", 5: "seed 1", 6: "best response"}
    for shown, metric in zip(rows, expected, strict=True):
        assert shown[0] == f"{metric.label} {metric.unit}".strip()
        for column, case in cases.items():
            value, error = results.text(case, metric)
            assert shown[column] == value + (f"± {error}" if error else "")


def test_optimum_and_published_values_are_shown_beside_the_mean_of_seeds(parsed):
    rows = {row[0]: row for row in parsed.rows if len(row) > 1}
    assert rows["optimality gap %"][1:3] == ["8.50± 1.01", "0.00"], (
        "the error of a mean includes the spread between seeds"
    )
    assert rows["ε of the bid, mean"][2:4] == ["−0.001", "−0.220"]
    assert rows["total PnL bp per step"][2:4] == ["94.00", ""]
    assert rows["excess total PnL bp per step"][2:4] == ["", "76.20"]
    assert "as printed in Ganesh et al. (2019), not measured here" in parsed.said


def test_most_important_results_are_at_the_top(parsed):
    assert "Optimality gap8.50% 95% interval −4.39 to 21.39. 0 is optimal." in parsed.said
    assert "86.0bp per step 95% interval" in parsed.said
    assert "On average over its seeds, the trained maker earns 86.0 bp per step" in parsed.said
    assert (
        "the exact optimum is 94.0. By source: spread PnL 91.2, hedge PnL −4.21, inventory PnL −0.04."
        in parsed.said
    )
    assert "Published: 76.2." in parsed.said


def test_figures_are_strict_json(parsed):
    def refuse(constant):
        raise AssertionError(constant)

    twins = parsed.json[-1]
    for text in parsed.json:
        json.loads(text, parse_constant=refuse)
    assert len(parsed.json) == 6 and "#0072b2" in twins


def test_size_of_the_page_does_not_grow_with_the_trace():
    """A page holds histograms and one episode, even of 200 episodes of 200 steps and two makers."""
    small = page("t", all_records(), **FULL)
    large = page("t", all_records(), **FULL | {"trace": make_trace(paths=200, steps=200)})
    assert len(large) - len(small) < 60_000
    assert len(large) - len(get_plotlyjs()) < 200_000


def test_all_text_from_outside_is_escaped(parsed):
    told = page(
        HOSTILE,
        all_records(best=HOSTILE),
        summary=HOSTILE,
        compared=[HOSTILE],
        curves=make_curves(),
        trace=make_trace(),
        traced=HOSTILE,
        optimum=make_optimum(source=HOSTILE),
        published=Published(HOSTILE, {"excess_total_over_1": 0.7}),
        provenance=Provenance(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
    )
    hostile = Page(told)
    assert len(hostile.tags("script")) == len(parsed.tags("script"))
    assert not hostile.tags("img")
    assert not any(name.startswith("on") for _, attrs in hostile.elements for name in attrs)
    # Title twice, summary, three figures' titles, sentence, column, citation, command, settings, a fact's two.
    assert hostile.said.count(" ".join(HOSTILE.split())) == 13


def test_single_hostile_case_is_escaped():
    hostile = Page(page("t", make_records(HOSTILE)))
    assert f"“{HOSTILE}” earns" in hostile.said
    assert not hostile.tags("img")


@pytest.mark.parametrize("missing", [*FULL, "records"])
def test_page_does_without_any_part(missing):
    arguments = {name: value for name, value in FULL.items() if name != missing}
    records = [] if missing == "records" else all_records()
    if missing == "optimum":
        records = [record for record in records if record.metric != "optimality_gap"]
        arguments["no_optimum"] = "The price has a drift."
    parsed = Page(page("A maker", records, **arguments))
    figures = {"curves": 4, "trace": 2, "records": 4}
    assert len(parsed.figures) == figures.get(missing, 5)
    assert ("exact optimum is" in parsed.said) == (missing not in ("optimum", "records"))
    assert ("The price has a drift." in parsed.said) == (missing == "optimum")
    assert ("Published" in parsed.said) == (missing not in ("published", "records"))
    assert ("Provenance" in parsed.said) == (missing != "provenance")


def test_page_without_records_is_valid():
    parsed = Page(page("Nothing", []))
    assert parsed.said.startswith("Nothing twosided Nothing The figures are drawn by a script")
    assert not parsed.figures and not parsed.rows


def test_empty_curves_and_traces_have_no_figure():
    parsed = Page(page("t", make_records(), curves=make_curves().clear(), trace=make_trace().clear()))
    assert len(parsed.figures) == 1


def test_figure_page_has_one_figure():
    figure = go.Figure(go.Scatter(y=[1, 2], name="</script><b>")).update_layout(height=321)
    parsed = Page(figure_page(figure, "The <book>", "Look & see."))
    assert "The <book>" in parsed.said and "Look & see." in parsed.said
    (box,) = parsed.figures
    assert box["style"] == "height:321px;min-width:640px"
    assert json.loads(parsed.json[0])["data"][0]["name"] == "</script><b>"


def test_optimum_of_the_reward_is_compared_with_the_reward_and_not_with_pnl():
    records = [Record("seed 0", 0, "pnl_total", -0.43), Record("seed 0", 0, "reward", -0.4424)]
    said = Page(page("A maker", records, optimum=make_optimum(-0.4366, "reward", "By its chain."))).said
    assert "The reward is −0.4424 per step; the exact optimum is −0.4366." in said
    assert "earns −43.0 bp per step." in said


@pytest.mark.parametrize(
    ("dashboard", "values", "text"),
    [
        (Dashboard(), (-1.0, 1.0), "Probability of each action"),
        (ElectronicDashboard(), (-1.0, 1.0), "An arrow up raises"),
        (ElectronicDashboard(), None, "Probability of each action"),
    ],
)
def test_tabular_policy_has_a_figure_of_its_market_or_the_generic_one(dashboard, values, text):
    table = PolicyTable(("−1", "0", "1"), ("lower", "raise"), ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0)), values)
    parts = {"catalogue": standard_groups(), "dashboard": dashboard, "trace": make_trace()}
    without, shown = (
        Page(page("A maker", make_records(), **parts, **more)) for more in ({}, {"table": table})
    )
    assert text in shown.said
    assert len(shown.figures) == 1 + len(without.figures)


def test_figures_of_the_policy_come_from_the_dashboard():
    """A market without figures of its own has PnL and one episode; the dealer market has epsilon and skew too."""
    plain = Page(page("A maker", make_records(), standard_groups(), Dashboard(), trace=make_trace()))
    assert len(plain.figures) == 2 and "ε" not in plain.said
    dealer = Page(page("A maker", make_records(), trace=make_trace()))
    assert len(dealer.figures) == 4 and "Skew against inventory" in dealer.said


def test_makers_side_by_side_are_drawn_together_and_one_by_one():
    traces = {"<a>": make_trace(), "b": make_trace(seed=1)}
    parts = {"catalogue": standard_groups(), "dashboard": Dashboard(), "side_by_side": traces}
    parsed = Page(page("Makers", make_records(), **parts))
    assert "One episode, side by side" in parsed.said
    assert "One episode (<a>)" in parsed.said and "One episode (b)" in parsed.said
    assert len(parsed.figures) == 4
    assert not parsed.tags("a")


def test_small_amounts_of_money_keep_their_digits():
    records = [Record("seed 0", 0, "pnl_total", 3.2e-4, 4e-6), Record("seed 0", 0, "pnl_inventory", -2e-9)]
    said = Page(page("A maker", records, standard_groups(), Dashboard())).said
    assert "0.0003200± 0.0000040" in said
    assert "earns 0.000320 units of currency per step. By source: inventory PnL −2.0e−09." in said
