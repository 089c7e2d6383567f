"""`twosided calibrate heston --refit`: its rows are those of `rolling`, and what was stopped goes on."""

import json
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import polars as pl
import pytest

from twosided.cli.commands import calibrate_heston
from twosided.cli.main import main
from twosided.core.errors import Refusal
from twosided.data.bar_files import read_bars, write_bars
from twosided.heston.files import read_draws, read_refits, refit_row
from twosided.heston.fit import rolling
from twosided.heston.plots import figure_refits
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling
from twosided.prices.bars import simulate_bars

pytest.importorskip("numpyro")
pytestmark = pytest.mark.optimised
FEW = Sampling(chains=2, warmup=20, draws=20, depth=4)
WINDOW, EVERY, REST = 81, 25, 10
ENDS = [81, 106, 131]
HOW = {"sampling": FEW, "block": 4, "years_per_bar": 1 / 252, "points": 24}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Three windows and some bars more."""
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    truth = Heston(initial_variance=0.04, reversion=3.0, level=0.05, vol_of_vol=0.6, time_step=1 / 252)
    write_bars(path, simulate_bars(truth, ENDS[-1] + REST, substeps=1, seconds=86_400.0, seed=3)[0])
    return path


@pytest.fixture
def interrupting(monkeypatch):
    """Ctrl-C while the first window is fitted, for as long as the test does not undo it."""

    def interrupted(*args, **kwargs):
        for found in rolling(*args, **kwargs):
            signal.raise_signal(signal.SIGINT)
            yield found

    monkeypatch.setattr(calibrate_heston, "rolling", interrupted)
    return monkeypatch


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "heston", *map(str, words)])
    return ended.value.code


def asked(file, out, *more):
    words = [file, "--out", out, "--window", WINDOW, "--refit", EVERY, "--bars-per-year", 252, "--block", 4]
    words += ["--points", 24, "--sampling.chains", 2, "--sampling.warmup", 20, "--sampling.draws", 20]
    return [*words, "--sampling.depth", 4, *more]


def expected(file, begin, number):
    """Rows of so many windows, the first of them fitted from cold."""
    bars = read_bars(file)[REST:]
    fits = islice(rolling(bars, WINDOW, EVERY, **HOW, begin=begin), number)
    return [refit_row(bars[end - WINDOW : end], fit) for end, fit in fits]


def test_refits_stop_go_on_and_end_at_the_last_bar(file, tmp_path, interrupting, capsys):
    out = tmp_path / "out"
    assert run(*asked(file, out)) == 130
    said = capsys.readouterr().out
    assert "the oldest 10 bars are left out" in said
    assert "1 of 3 windows are kept" in said
    assert "the same command goes on" in said
    first = pl.read_parquet(out / "refits.parquet")
    assert first.to_dicts() == expected(file, ENDS[0], 1)
    assert not (out / "about.json").exists()

    interrupting.undo()
    code = run(*asked(file, out), "--json")
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert "1 of 3 windows are there already" in told.err
    assert "refit 2 of 3" in told.err
    refits = pl.read_parquet(out / "refits.parquet")
    assert refits[:1].equals(first)
    assert refits[1:].to_dicts() == expected(file, ENDS[1], 2)
    assert refits["time"][-1] == read_bars(file).time[-1]
    refused = refits["refused"].sum()
    assert told.err.count("is refused: R-hat") == refits[1:]["refused"].sum()
    assert found["refits"] == {"windows": 3, "refused": refused}
    # All else in the folder is of the last window.
    assert code == (1 if refits["refused"][-1] else 0)
    assert found["parameters"]["kappa"]["median"] == refits["kappa"][-1]
    assert found["variance_today"]["high"] == refits["variance_high"][-1]
    assert found["bars"] == WINDOW
    assert (out / "report.html").read_text().count("<h2>Refits</h2>") == 1

    # There is nothing left to do but the last fit, whose draws the page shows.
    run(*asked(file, out))
    assert f"3 refits, {pl.read_parquet(out / 'refits.parquet')['refused'].sum()} of them" in (
        capsys.readouterr().out
    )
    again = pl.read_parquet(out / "refits.parquet")
    assert again[:2].equals(refits[:2])
    assert again[2:].to_dicts() == expected(file, ENDS[2], 1)
    assert np.median(read_draws(out)["kappa"]) == again["kappa"][-1]


def test_a_folder_holds_refits_of_the_same_windows_with_the_same_settings(
    file, tmp_path, interrupting, capsys
):
    out, bars = tmp_path / "out", read_bars(file)[REST:]
    windows = [bars[end - WINDOW : end] for end in ENDS]
    assert not len(read_refits(out, windows))
    assert run(*asked(file, out)) == 130
    kept = read_refits(out, windows)
    assert len(kept) == 1
    assert read_refits(out, windows[:1]).equals(kept), "as if later bars had not been there"
    changed = replace(bars, price=replace(bars.price, close=bars.price.close * 1.01))
    for others in ([changed[end - WINDOW : end] for end in ENDS], windows[1:], []):
        with pytest.raises(Refusal, match=r"refits\.parquet is of other windows"):
            read_refits(out, others)
    capsys.readouterr()
    assert run(*asked(file, out, "--seed", 1)) == 2
    assert f"{out} holds a calibration with other settings; choose another --out" in capsys.readouterr().err
    assert run(file, "--out", out) == 2
    assert f"{out} holds refits; choose another --out, or remove it" in capsys.readouterr().err
    assert read_refits(out, windows).equals(kept)


def test_a_window_that_cannot_be_fitted_is_refused_before_the_first_is(file, tmp_path, capsys):
    bars, gapped = read_bars(file), tmp_path / "gapped.csv"
    # One return less, which the second window is short of: it would stop there again and again.
    write_bars(gapped, replace(bars, time=bars.time + 30 * 86_400 * (np.arange(len(bars)) >= REST + 100)))
    assert run(*asked(gapped, tmp_path / "out")) == 2
    assert "79 returns make 19 blocks of 4, where a calibration needs 20" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stop_before_the_first_window_keeps_none(file, tmp_path, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(calibrate_heston, "rolling", stopped)
    assert run(*asked(file, tmp_path / "out")) == 130
    assert "stopped; 0 of 3 windows are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--window", 1000], "bars.csv: 141 bars, fewer than the 1,000 of a window"),
        (["--window", "none"], "refit must be given together with --window, but got 25"),
        (["--refit", 0], "refit must be at least 1, but got 0"),
        (["--likelihood", "path"], "likelihood must be grid where there are refits, but got 'path'"),
        (["--block", 0], "block must be at least 1, but got 0"),
    ],
)
def test_refused_before_anything_is_written(file, tmp_path, capsys, more, sentence):
    assert run(*asked(file, tmp_path / "out", *more)) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_refused_windows_are_marked():
    rows = {"time": [1e9, 1.1e9], "kappa": [2.0, 3.0], "kappa_low": [1.0, 2.0], "kappa_high": [4.0, 5.0]}
    sound, doubtful = (
        figure_refits(pl.DataFrame(rows | {"refused": refused})) for refused in ([False] * 2, [False, True])
    )
    assert len(sound.data) == 2
    (marks,) = [trace for trace in doubtful.data if trace.mode == "markers"]
    assert list(marks.y) == [3.0]
    assert "refused" in doubtful.layout.annotations[0].text
    assert "refused" not in sound.layout.annotations[0].text
