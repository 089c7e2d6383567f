"""`twosided reproduce` as a person uses it, on a toy paper."""

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

TOY = "support.toy_study:STUDY"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "STUDIES", {"toy": TOY})
    return tmp_path


def test_without_words_it_lists_what_there_is(capsys, here):
    code, out, _ = call(capsys, "reproduce")
    assert code == 0
    assert "A toy, made again" in out
    assert "figure-3" in out
    _, out, _ = call(capsys, "reproduce", "--json")
    assert json.loads(out) == {"toy": {item.name: item.title for item in toy_study.STUDY.items}}


def test_an_item_is_made_shown_and_written(capsys, here):
    code, out, err = call(capsys, "reproduce", "toy", "table-1", "--quick")
    assert code == 0, err
    assert "✓ holds" in out
    assert "✗ does not hold" in out
    assert "claims: 1 holds, 1 does not hold, 0 cannot be decided" in out
    assert "50.0" in out
    assert "±1.0" in out
    assert "the page: runs/toy-quick/report.html" in out

    page = Page((here / "runs/toy-quick/report.html").read_text())
    assert "A toy, made again" in page.said
    assert "Nobody (1999), A toy, & more" in page.said
    assert "Good earns <nothing>." in page.said
    assert "twosided reproduce toy table-1 --quick" in page.said
    # The paper's, ours and the exact, which only the first column has.
    assert [cell for cell in page.rows if cell[0] == "persistent <0>"] == [
        ["persistent <0>", "76.2", "50.0± 1.0", "94.0", "76.2", "75.0± 1.0"]
    ]
    assert [cell for cell in page.rows if cell[0] == "nobody"] == [["nobody", "", "", "", "1.00", ""]]
    assert ["row", "papertheirs", "ours± s.e.", "exactor bound", "papertheirs", "ours± s.e."] in page.rows
    links = [attributes["href"] for attributes in page.tags("a")]
    assert links == ["#table-1", "#table-1"]
    assert "table-1" in [attributes.get("id") for attributes in page.tags("section")]
    assert any(row[0] == "better" and float(row[2].replace(",", "")) > 10 for row in page.rows)


def test_the_page_keeps_what_was_made_before(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    _, out, _ = call(capsys, "reproduce", "toy", "figure-3")
    assert "Slow earns one." in out
    assert "Better is better" not in out
    page = Page((here / "runs/toy/report.html").read_text())
    assert "Better is better than good." in page.said
    assert "Slow earns one." in page.said


def test_a_case_that_fails_leaves_a_gap_and_a_code(capsys, here):
    code, out, _ = call(capsys, "reproduce", "toy", "figure-1", "table-1")
    assert code == 1
    assert "broken failed: ArithmeticError" in out
    assert "Figure 1: not drawn: broken" in out
    page = Page((here / "runs/toy/report.html").read_text())
    assert "broken failed: ArithmeticError: the books <b>do not</b> balance" in page.said
    assert page.tags("b") and "Better is better than good." in page.said


def test_a_program_reads_claims_and_records(capsys, here):
    code, out, err = call(capsys, "reproduce", "toy", "table-1", "--json", "--seeds", "3", "--seed", "1")
    assert code == 0
    found = json.loads(out)
    assert found["budget"] == {"quick": False, "seeds": 3, "seed": 1, "bars": []}
    assert [claim["verdict"] for claim in found["claims"]] == ["holds", "does not hold"]
    assert found["claims"][0]["item"] == "table-1"
    assert {r["value"] for r in found["records"]["good"]} == {0.5, 1.5}
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
        (["toy", "--bars", "a.csv"], "nothing that is asked of toy is about real bars"),
        (["nowhere:STUDY"], "no study is found at nowhere:STUDY"),
    ],
)
def test_what_is_wrong_is_refused_in_one_sentence(capsys, here, words, sentence):
    code, out, err = call(capsys, "reproduce", *words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err
    assert not (here / "runs").exists()


def test_another_budget_in_the_same_folder_is_refused(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    code, _, err = call(capsys, "reproduce", "toy", "table-1", "--seeds", "4")
    assert code == 2
    assert "runs/toy holds toy (seeds 5, seed 0); choose another --out, or remove it" in err


def test_a_case_of_another_version_is_named(capsys, here):
    call(capsys, "reproduce", "toy", "table-1")
    records = here / "runs/toy/cases/good/records.parquet"
    pl.read_parquet(records).with_columns(metric=pl.lit("wealth")).write_parquet(records)
    code, _, err = call(capsys, "reproduce", "toy", "table-1")
    assert code == 2
    assert err.endswith(
        "runs/toy/cases/good is of another version of toy, with no record of pnl_total for maker 0 of maker; "
        "remove it, and the same command makes it again\n"
    )
    shutil.rmtree(records.parent)
    assert call(capsys, "reproduce", "toy", "table-1")[0] == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_told(terminal):
    out = io.StringIO()
    with StudyDisplay(Console(file=out, force_terminal=terminal, width=100)) as display:
        # One of three was finished before.
        for kind, case, text, done in [
            ("begins", "a", "", 1),
            ("tells", "a", "half [way]", 1),
            ("finished", "a", "took 1.0 s", 2),
            ("begins", "b", "", 2),
            ("failed", "b", "ValueError: no", 3),
        ]:
            display(Event(kind, case, text, done, 3))
    told = out.getvalue()
    assert "2/3" in told
    assert "took 1.0 s  about 0 s left" in told
    assert "ValueError: no" in told
    if not terminal:  # where bars are drawn ten times a second, of what passes sooner only lines remain
        assert "a: half [way]" in told
        assert "failed: ValueError: no" in told.splitlines()[-1]
        assert len(told.splitlines()) == 3
