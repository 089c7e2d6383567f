"""Recorded bars split by time: learners train on the first part and are evaluated on the last."""

import json

import numpy as np
import pytest

from twosided.bars.history import FileBars
from twosided.bars.market import BarsMarket
from twosided.cli.main import main
from twosided.core.formatting import interval
from twosided.core.records import IN_SAMPLE, UNSEEN, Record, find
from twosided.data.bar_files import write_bars
from twosided.data.bars import OHLC, Bars
from twosided.report.results import Results
from twosided.runs.results import read_results
from twosided.runs.settings import RunError, TrainSettings

NUMBER, HORIZON = 600, 10


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """File of bars of a driftless walk, one a day from 2020-01-01."""
    price = 100 * np.exp(
        0.01 * np.random.default_rng(0).standard_normal((NUMBER, 5)).cumsum().reshape(NUMBER, 5)
    )
    open = np.append(100.0, price[:-1, -1])
    every = np.column_stack([open, price])
    prices = OHLC(open, every.max(1), every.min(1), price[:, -1])
    begin = np.datetime64("2020-01-01", "s").astype(float)
    path = tmp_path_factory.mktemp("bars") / "walk.csv"
    write_bars(path, Bars(begin + 86_400.0 * np.arange(NUMBER), prices, 86_400.0))
    return path


def settings(path, **source):
    return TrainSettings(BarsMarket(source=FileBars((path,), window=HORIZON, **source)), (), horizon=HORIZON)


def closes(scenario):
    return np.asarray(scenario.market.source.history.bars.mid.close)


@pytest.mark.parametrize(
    ("source", "split"),
    [({}, 420), ({"test_fraction": 0.5}, 300), ({"test_from": "2020-12-31"}, 365)],
)
def test_training_and_test_have_successive_bars(path, source, split):
    asked = settings(path, **source)
    whole = np.asarray(asked.market.source.history.bars.mid.close)
    assert whole.size == NUMBER
    np.testing.assert_array_equal(closes(asked.scenario), whole[:split])
    np.testing.assert_array_equal(closes(asked.test_scenario), whole[split:])
    assert asked.data == UNSEEN


def test_makers_are_evaluated_in_sample_where_no_bars_are_held_out(path):
    asked = settings(path, test_fraction=0.0)
    np.testing.assert_array_equal(closes(asked.scenario), closes(asked.test_scenario))
    assert asked.data == IN_SAMPLE
    (warning,) = Results([Record("a", 0, "pnl_total", 1.0, data=IN_SAMPLE)]).data
    assert warning.startswith("Warning: in sample")


def test_simulated_data_have_no_parts():
    asked = TrainSettings()
    assert asked.market.part("train") is asked.market and asked.data == ""


def test_part_that_is_too_short_for_an_episode_is_refused(path):
    with pytest.raises(RunError, match="at least 12, but 594 are for training and 6 for testing; change"):
        _ = settings(path, test_fraction=0.01).test_scenario
    with pytest.raises(ValueError, match="test_from must be a date, such as 2024-03-01, but got 'spring'"):
        _ = settings(path, test_from="spring").data


def command(*words):
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    assert done.value.code == 0


@pytest.mark.extended
def test_trained_maker_earns_nothing_on_unseen_bars_of_a_driftless_walk(path, tmp_path, capsys):
    out = tmp_path / "run"
    words = "train --market bars-market --market.source file-bars --market.source.window 10 --horizon 10 --seeds 1"
    words += " --market.min-offset 0.89 --market.max-offset 0.9 --market.whole-units false --chunks 1"
    words += " --evaluation-steps 20000 --learner ppo --learner.num-envs 16 --learner.num-steps 32"
    words += " --learner.total-timesteps 4096 --market.source.files"
    command(*words.split(), path, "--out", out)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Data: test, unseen (the last part of the history, held out of training)." in printed
    assert "over 8 blocks of one history" in printed
    records = read_results(out).records
    assert {record.data for record in records} == {UNSEEN}
    # Limit orders at 0.9 of the close never fill; market orders trade at the open, which is the last close.
    low, high = interval(find(records, "seed 0", "pnl_total"))
    assert low < 0 < high
    assert "held out of training" in (out / "report.html").read_text()
    command("evaluate", "--run", out, "--steps", "20000", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert {row["data"] for row in rows} == {UNSEEN}
