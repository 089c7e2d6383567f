"""`twosided calibrate heston --refit`: same rows as `rolling_fits`, and a stopped command resumes."""

import json
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import polars as pl
import pytest

from twosided.cli import heston_refits
from twosided.cli.main import main
from twosided.core.errors import Refusal
from twosided.data.bar_files import read_bars, write_bars
from twosided.heston.files import read_draws, read_refits, refit_row
from twosided.heston.fit import rolling_fits
from twosided.heston.plots import figure_refits
from twosided.heston.process import Heston
from twosided.heston.sampler import Sampling
from twosided.prices.bars import simulate_bars

pytestmark = [pytest.mark.extended, pytest.mark.optimised]
SHORT = Sampling(num_chains=2, num_warmup=20, num_samples=20, max_tree_depth=4)
WINDOW, EVERY, REST = 81, 25, 10
ENDS = [81, 106, 131]
SETTINGS = {"sampling": SHORT, "block": 4, "years_per_bar": 1 / 252, "points": 24}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file with three windows of bars and REST more."""
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    truth = Heston(
        initial_variance=0.04, mean_reversion=3.0, long_run_variance=0.05, vol_of_vol=0.6, time_step=1 / 252
    )
    write_bars(path, simulate_bars(truth, ENDS[-1] + REST, substeps=1, seconds=86_400.0, seed=3)[0])
    return path


@pytest.fixture
def interrupting(monkeypatch):
    """Raise Ctrl-C while the first window is fitted, until the test undoes it."""

    def interrupted(*args, **kwargs):
        for fit in rolling_fits(*args, **kwargs):
            signal.raise_signal(signal.SIGINT)
            yield fit

    monkeypatch.setattr(heston_refits, "rolling_fits", interrupted)
    return monkeypatch


def run(*arguments):
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        main(["calibrate", "heston", *map(str, arguments)])
    return exit_.value.code


def refit_arguments(file, out, *more):
    arguments = [
        file,
        "--out",
        out,
        "--window",
        WINDOW,
        "--refit",
        EVERY,
        "--bars-per-year",
        252,
        "--block",
        4,
    ]
    arguments += [
        "--points",
        24,
        "--sampling.num-chains",
        2,
        "--sampling.num-warmup",
        20,
        "--sampling.num-samples",
        20,
    ]
    return [*arguments, "--sampling.max-tree-depth", 4, *more]


def expected_rows(file, first_end, number):
    """Rows of `number` windows, the first of them without a warm start."""
    bars = read_bars(file)[REST:]
    fits = islice(rolling_fits(bars, WINDOW, EVERY, **SETTINGS, first_end=first_end), number)
    return [refit_row(bars[end - WINDOW : end], fit) for end, fit in fits]


def test_stopped_refits_resume_and_end_at_the_last_bar(file, tmp_path, interrupting, capsys):
    out = tmp_path / "out"
    assert run(*refit_arguments(file, out)) == 130
    printed = capsys.readouterr().out
    assert "the oldest 10 bars are left out" in printed
    assert "1 of 3 windows are kept" in printed
    assert "the same command resumes" in printed
    first = pl.read_parquet(out / "refits.parquet")
    assert first.to_dicts() == expected_rows(file, ENDS[0], 1)
    assert not (out / "about.json").exists()

    interrupting.undo()
    code = run(*refit_arguments(file, out), "--json")
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert "1 of 3 windows are already fitted" in printed.err
    assert "refit 2 of 3" in printed.err
    refits = pl.read_parquet(out / "refits.parquet")
    assert refits[:1].equals(first)
    assert refits[1:].to_dicts() == expected_rows(file, ENDS[1], 2)
    assert refits["time"][-1] == read_bars(file).time[-1]
    rejected = refits["rejected"].sum()
    assert printed.err.count("is rejected: R-hat") == refits[1:]["rejected"].sum()
    assert found["refits"] == {"windows": 3, "rejected": rejected}
    # All other files in the folder are of the last window.
    assert code == (1 if refits["rejected"][-1] else 0)
    assert found["parameters"]["kappa"]["median"] == refits["kappa"][-1]
    assert found["variance_today"]["high"] == refits["variance_high"][-1]
    assert found["bars"] == WINDOW
    assert (out / "report.html").read_text().count("<h2>Refits</h2>") == 1

    # Only the last fit is repeated, since the page shows its draws.
    run(*refit_arguments(file, out))
    assert f"3 refits, {pl.read_parquet(out / 'refits.parquet')['rejected'].sum()} of them" in (
        capsys.readouterr().out
    )
    again = pl.read_parquet(out / "refits.parquet")
    assert again[:2].equals(refits[:2])
    assert again[2:].to_dicts() == expected_rows(file, ENDS[2], 1)
    assert np.median(read_draws(out)["kappa"]) == again["kappa"][-1]


def test_refits_of_other_windows_or_settings_in_the_folder_are_refused(file, tmp_path, interrupting, capsys):
    out, bars = tmp_path / "out", read_bars(file)[REST:]
    windows = [bars[end - WINDOW : end] for end in ENDS]
    assert not len(read_refits(out, windows))
    assert run(*refit_arguments(file, out)) == 130
    kept = read_refits(out, windows)
    assert len(kept) == 1
    assert read_refits(out, windows[:1]).equals(kept), "refits stay valid if the file has grown"
    changed = replace(bars, price=replace(bars.price, close=bars.price.close * 1.01))
    for other_windows in ([changed[end - WINDOW : end] for end in ENDS], windows[1:], []):
        with pytest.raises(Refusal, match=r"refits\.parquet holds refits of other windows"):
            read_refits(out, other_windows)
    capsys.readouterr()
    assert run(*refit_arguments(file, out, "--seed", 1)) == 2
    assert f"{out} holds a calibration with other settings; choose another --out" in capsys.readouterr().err
    assert run(file, "--out", out) == 2
    assert f"{out} holds refits; choose another --out, or remove it" in capsys.readouterr().err
    assert read_refits(out, windows).equals(kept)


def test_window_with_too_few_blocks_is_refused_before_any_fit(file, tmp_path, capsys):
    bars, gapped = read_bars(file), tmp_path / "gapped.csv"
    # The gap leaves the second window one return short: without the check, every run would stop there.
    write_bars(gapped, replace(bars, time=bars.time + 30 * 86_400 * (np.arange(len(bars)) >= REST + 100)))
    assert run(*refit_arguments(gapped, tmp_path / "out")) == 2
    assert "79 returns make 19 blocks of 4, but a calibration needs at least 20" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_stop_before_the_first_fit_keeps_no_window(file, tmp_path, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(heston_refits, "rolling_fits", stopped)
    assert run(*refit_arguments(file, tmp_path / "out")) == 130
    assert "stopped; 0 of 3 windows are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--window", 1000], "bars.csv: 141 bars, fewer than the 1,000 of a window"),
        (["--window", "none"], "refit must be given together with --window, but got 25"),
        (["--refit", 0], "refit must be at least 1, but got 0"),
        (["--likelihood", "path"], "likelihood must be grid where there are refits, but got 'path'"),
        (["--block", 0], "block must be at least 1, but got 0"),
    ],
)
def test_bad_arguments_are_refused_before_any_file_is_written(file, tmp_path, capsys, more, message):
    assert run(*refit_arguments(file, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_figure_marks_rejected_windows():
    rows = {"time": [1e9, 1.1e9], "kappa": [2.0, 3.0], "kappa_low": [1.0, 2.0], "kappa_high": [4.0, 5.0]}
    sound, doubtful = (
        figure_refits(pl.DataFrame(rows | {"rejected": rejected}))
        for rejected in ([False] * 2, [False, True])
    )
    assert len(sound.data) == 2
    (marks,) = [trace for trace in doubtful.data if trace.mode == "markers"]
    assert list(marks.y) == [3.0]
    assert "rejected" in doubtful.layout.annotations[0].text
    assert "rejected" not in sound.layout.annotations[0].text
