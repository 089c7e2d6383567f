"""`calibrate fills` and markets on files of bars: commands give the results of the functions."""

import json

import numpy as np
import pytest
from support.files import write as write_lines

from twosided.bars.history import FileBars
from twosided.bars.source import RecordedBars
from twosided.cli.main import main
from twosided.data.bar_files import read_bars, write_bars
from twosided.limit_orders.calibration import fit_fills
from twosided.prices import Bachelier
from twosided.prices.bars import simulate_bars


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """File with 300 minutes of bid and ask prices."""
    bars, _ = simulate_bars(Bachelier(volatility=1.0, time_step=1e-3), 300, half_spread=0.01)
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    write_bars(path, bars)
    return path


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


def test_command_prints_the_results_of_the_function(path, capsys):
    fit = fit_fills(read_bars(path), side="bid")
    code, out, _ = call(capsys, "calibrate", "fills", str(path), "--side", "bid", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["decay"] == fit.decay and found["robust_errors"] == fit.robust_errors
    np.testing.assert_array_equal(found["offsets"], fit.offsets)
    code, out, _ = call(capsys, "calibrate", "fills", str(path), "--rule", "touch-fill")
    assert code == 0 and "k, decay" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["{path}", "--offsets", "0.5,0.6,0.7"], "nearly all bars reach the same offsets"),
        (["{path}", "--offsets", "0.1"], "at least three increasing fractions"),
        (["{path}", "--block", "0"], "block must be at least 1"),
    ],
)
def test_invalid_options_give_a_one_line_error(path, capsys, words, sentence):
    words = [word.format(path=path) for word in words]
    code, _, err = call(capsys, "calibrate", "fills", *words)
    assert code == 2
    assert sentence in err and err.count("\n") == 1


def test_file_without_price_changes_gives_a_one_line_error(tmp_path, capsys):
    flat = write_lines(
        tmp_path / "flat.csv", ["time,open,high,low,close", *(f"{60 * i},9,9,9,9" for i in range(50))]
    )
    code, _, err = call(capsys, "calibrate", "fills", str(flat))
    assert code == 2
    assert "suggests 1 (0)" in err and "offsets must" not in err and err.count("\n") == 1


def test_file_bars_match_recorded_bars_of_the_file(path):
    source, given = FileBars((path,), window=50), RecordedBars.of(read_bars(path), 50)
    for name in ("high", "low", "close"):
        np.testing.assert_array_equal(getattr(source.history.bars.mid, name), getattr(given.bars.mid, name))
    assert source.history.window == 50
    assert float(source.bar(source.step(3, None)).half_spread) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(ValueError, match="window must be from 1 to 298"):
        FileBars((path,), window=299)


def test_policies_are_evaluated_on_a_file(path, capsys):
    words = "--market bars-market --market.source file-bars --market.source.files {path} --market.source.window 20 "
    words += "--horizon 20 --competitor none --steps 200 --policy do-nothing --json"
    code, out, err = call(capsys, "evaluate", *words.format(path=path).split())
    assert code == 0, err
    found = {record["metric"]: record["value"] for record in json.loads(out)}
    assert found["pnl_total"] == 0.0 and found["termination_rate"] == 0.0
