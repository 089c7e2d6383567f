"""`twosided reproduce` on a toy paper."""

import io
import json
import shutil

import polars as pl
import pytest
from rich.console import Console
from support import toy_study
from support.command_line import call
from support.html import Page

from twosided.cli.commands import reproduce
from twosided.cli.terminal import StudyDisplay
from twosided.papers.runner import Event

pytestmark = pytest.mark.extended

TOY = "support.toy_study:STUDY"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "STUDIES", {"toy": TOY})
    return tmp_path


def test_without_arguments_it_lists_the_studies(capsys, here):
    code, out, _ = call(capsys, "reproduce")
    assert code == 0
    assert "Reproducing a toy" in out
    assert "figure-3" in out
    _, out, _ = call(capsys, "reproduce", "--json")
    assert json.loads(out) == {"toy": {item.name: item.title for item in toy_study.STUDY.items}}


def test_item_is_made_printed_and_written_to_the_page(capsys, here):
    code, out, err = call(capsys, "reproduce", "toy", "table-1", "--quick")
    assert code == 0, err
    assert "✓ holds" in out
    assert "✗ does not hold" in out
    assert "claims: 1 holds, 1 does not hold, 0 cannot be decided" in out
    assert "50.0" in out
    assert "±1.0" in out
    assert "report: runs/toy-quick/report.html" in out

    page = Page((here / "runs/toy-quick/report.html").read_text())
    assert "Reproducing a toy" in page.said
    assert "Nobody (1999), A toy, & more" in page.said
    assert "Good earns <nothing>." in page.said
    assert "twosided reproduce toy table-1 --quick" in page.said
    # The paper's, ours and the exact, which only the first column has.
    assert [cell for cell in page.rows if cell[0] == "persistent <0>"] == [
        ["persistent <0>", "76.2", "50.0± 1.0", "94.0", "76.2", "75.0± 1.0"]
    ]
    assert [cell for cell in page.rows if cell[0] == "nobody"] == [["nobody", "", "", "", "1.00", ""]]
    assert [
        "row",
        "paperpublished",
        "ours± s.e.",
        "exactor bound",
        "paperpublished",
        "ours± s.e.",
    ] in page.rows
    links = [attributes["href"] for attributes in page.tags("a")]
    assert links == ["#table-1", "#table-1"]
    assert "table-1" in [attributes.get("id") for attributes in page.tags("section")]
    assert any(row[0] == "better" and float(row[2].replace(",", "")) > 10 for row in page.rows)


def test_page_keeps_items_made_before(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    _, out, _ = call(capsys, "reproduce", "toy", "figure-3")
    assert "Slow earns one." in out
    assert "Better is better" not in out
    page = Page((here / "runs/toy/report.html").read_text())
    assert "Better is better than good." in page.said
    assert "Slow earns one." in page.said


def test_failed_case_is_reported_with_exit_code_1(capsys, here):
    code, out, _ = call(capsys, "reproduce", "toy", "figure-1", "table-1")
    assert code == 1
    assert "broken failed: ArithmeticError" in out
    assert "Figure 1: not shown: broken" in out
    page = Page((here / "runs/toy/report.html").read_text())
    assert "broken failed: ArithmeticError: the books <b>do not</b> balance" in page.said
    assert page.tags("b") and "Better is better than good." in page.said


def test_json_has_claims_and_records_with_parameters(capsys, here):
    code, out, err = call(capsys, "reproduce", "toy", "table-1", "--json", "--seeds", "3", "--seed", "1")
    assert code == 0
    found = json.loads(out)
    data = {"bars": [], "columns": [], "format": "", "timezone": "UTC"}
    assert found["budget"] == {"quick": False, "seeds": 3, "seed": 1, **data}
    assert [claim["decision"] for claim in found["claims"]] == ["holds", "does not hold"]
    assert found["claims"][0]["item"] == "table-1"
    assert {r["value"] for r in found["records"]["good"]} == {0.5, 1.5}
    assert {(r["case"], r["kind"], r["value"], r.get("policy")) for r in found["records"]["good"]} == {
        ("good", "instant", 0.5, None),
        ("good", "instant", 1.5, "maker"),
    }
    assert found["failures"] == {}
    assert "good with 3 seeds" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["toys"], "there is no study toys; did you mean toy?"),
        (["ganesh"], "there is no study ganesh; there are toy"),
        (["toy", "tabel-1"], "toy has no item tabel-1; did you mean table-1?"),
        (["toy", "zzz"], "toy has no item zzz; there are table-1, figure-1, figure-2, figure-4, figure-3"),
        (["toy", "--seeds", "0"], "seeds must be at least 1, but got 0"),
        (["toy", "--workers", "0"], "workers must be at least 1, but got 0"),
        (["toy", "--seed", "-1"], "seed"),
        (["toy", "--bars", "a.csv"], "no requested item of toy needs real bars; leave --bars out"),
        (["nowhere:STUDY"], "there is no study at nowhere:STUDY"),
    ],
)
def test_invalid_arguments_are_refused_in_one_sentence(capsys, here, words, sentence):
    code, out, err = call(capsys, "reproduce", *words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err
    assert not (here / "runs").exists()


def test_folder_of_another_budget_is_refused(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    code, _, err = call(capsys, "reproduce", "toy", "table-1", "--seeds", "4")
    assert code == 2
    assert "runs/toy holds toy (seeds 5, seed 0); choose another --out, or remove it" in err


def test_case_of_another_version_is_named(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    records = here / "runs/toy/cases/good/records.parquet"
    pl.read_parquet(records).with_columns(metric=pl.lit("wealth")).write_parquet(records)
    code, _, err = call(capsys, "reproduce", "toy", "table-1")
    assert code == 2
    assert err.endswith(
        "runs/toy/cases/good is of another version of toy, with no record of pnl_total for maker 0 "
        "with policy='maker'; remove it, and run the same command again\n"
    )
    shutil.rmtree(records.parent)
    assert call(capsys, "reproduce", "toy", "table-1")[0] == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_displayed(terminal):
    out = io.StringIO()
    with StudyDisplay(Console(file=out, force_terminal=terminal, width=100)) as display:
        # One of three was finished before.
        for kind, case, text, done in [
            ("started", "a", "", 1),
            ("progress", "a", "half [way]", 1),
            ("finished", "a", "took 1.0 s", 2),
            ("started", "b", "", 2),
            ("failed", "b", "ValueError: no", 3),
        ]:
            display(Event(kind, case, text, done, 3))
    text = out.getvalue()
    assert "2/3" in text
    assert "took 1.0 s  about 0 s left" in text
    assert "ValueError: no" in text
    if not terminal:  # a terminal redraws ten times a second and may skip lines of progress
        assert "a: half [way]" in text
        assert "failed: ValueError: no" in text.splitlines()[-1]
        assert len(text.splitlines()) == 3
