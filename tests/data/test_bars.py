"""Bars from files: exact small files, every refusal with its place, clocks and gaps, a thousand mutations of each."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.files import changed, survive_mutations, write

from twosided.core.errors import Refusal
from twosided.data import tables
from twosided.data.bar_files import read_bars, write_bars
from twosided.data.bars import Bars, Quotes
from twosided.data.tables import DataError
from twosided.heston.process import Heston
from twosided.prices.bars import simulate_bars

LINES = ["time,open,high,low,close,volume"]
LINES += [
    f"2012-02-01 00:{i:02d}:00,{100 + i % 3},{101 + i % 3}.5,{99 + i % 2},{100 + (i + 1) % 3},{10 * i}"
    for i in range(30)
]
BID = ["timestamp,open,high,low,close", *(f"{i * 60},{9 + i},{10 + i},{8 + i},{9 + i}" for i in range(20))]
ASK = [
    "timestamp,open,high,low,close",
    *(f"{i * 60},{9.5 + i},{10.5 + i},{8.5 + i},{9.5 + i}" for i in range(20)),
]


def refusal(*paths: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        read_bars(*paths, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What is accepted ---


def test_bars_exactly(tmp_path):
    bars = read_bars(write(tmp_path / "b.csv", LINES))
    assert len(bars) == 30
    assert bars.seconds == 60
    assert bars.time[0] == 1328054400
    assert [bars.price.open[4], bars.price.high[4], bars.price.low[4], bars.price.close[4]] == [
        101,
        102.5,
        99,
        102,
    ]
    np.testing.assert_array_equal(bars.volume, 10.0 * np.arange(30))
    assert bars.half_spread is None
    assert bars.follows.tolist() == [False] + 29 * [True]
    assert dict(bars.report())["gaps"] == "none"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_is_written_is_read_again(tmp_path, ending):
    made, states = simulate_bars(
        Heston(time_step=1e-4), 50, substeps=3, seconds=300.0, half_spread=0.01, seed=4
    )
    assert states.variance.shape == (50,)
    write_bars(tmp_path / f"x.{ending}", made)
    bars = read_bars(tmp_path / f"x.{ending}")
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(bars.price, name), getattr(made.price, name), rtol=1e-12)
    np.testing.assert_array_equal(bars.time, made.time)
    np.testing.assert_allclose(bars.half_spread, 0.01, rtol=1e-9)
    assert bars.seconds == 300
    # A bar opens where the one before closes.
    np.testing.assert_array_equal(made.price.open[1:], made.price.close[:-1])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_bid_and_ask_of_two_files_in_either_order(tmp_path, order):
    files = [write(tmp_path / "bid.csv", BID), write(tmp_path / "ask.csv.gz", [*ASK[:5], *ASK[6:]])]
    bars = read_bars(*(files[i] for i in order))
    assert (len(bars), bars.unpaired, bars.crossed) == (19, 1, 0)
    assert bars.sources == tuple(map(str, files))
    np.testing.assert_allclose(bars.half_spread, 0.25)
    np.testing.assert_allclose(bars.price.close, bars.bid.close + 0.25)
    assert bars.follows.sum() == 17, "the first bar and the one after the hole follow none"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2012-02-01T00:00:00Z", 1328054400),
        ("2012-02-01 00:00:00.25+00:00", 1328054400.25),
        ("2012-02-01 02:30+0230", 1328054400),
        ("2012-01-31 19:00:00-05:00", 1328054400),
        ("2012.02.01", 1328054400),
        ("20120201 00:00", 1328054400),
        ("1328054400", 1328054400),
        ("1328054400000", 1328054400),
        ("1328054400000000", 1328054400),
        ("1.3280544e18", 1328054400),
        ("1328054400.5", 1328054400.5),
    ],
)
def test_dates_and_numbers_as_times(tmp_path, written, seconds):
    rows = [
        f"{written},1,1,1,1",
        f"{written.replace('2012', '2013').replace('1328', '1329').replace('1.328', '1.329')},1,1,1,1",
    ]
    bars = read_bars(write(tmp_path / "t.csv", ["Date,Open,HIGH,low,close", *rows]))
    assert bars.time[0] == pytest.approx(seconds, abs=1e-5)
    frame = pl.DataFrame(
        {"date": [row.split(",")[0] for row in rows]}
        | {n: [1.0, 1.0] for n in ("open", "high", "low", "close")}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_bars(tmp_path / "t.parquet").time[0] == pytest.approx(seconds, abs=1e-5)


def test_clocks_of_time_zones(tmp_path):
    """London put its clock back at 02:00 on 28 October 2012, and forward at 01:00 on 25 March."""
    hours = ["2012-10-28 00:30", "2012-10-28 01:30", "2012-10-28 01:30", "2012-10-28 02:30"]
    path = write(tmp_path / "l.csv", ["time,open,high,low,close", *(f"{t},1,1,1,1" for t in hours)])
    bars = read_bars(path, timezone="Europe/London")
    assert np.diff(bars.time).tolist() == [3600, 3600, 3600]
    assert bars.time[0] == 1351380600, "half past eleven in the evening, UTC"
    assert refusal(path) == f"{path}, line 4: time 2012-10-28 01:30:00 UTC is also that of the row above"
    lost = write(
        tmp_path / "m.csv", ["time,open,high,low,close", *(f"2012-03-25 0{h}:30,1,1,1,1" for h in range(3))]
    )
    assert (
        refusal(lost, timezone="Europe/London")
        == f"{lost}, line 3: the clock of Europe/London never showed this time"
    )
    with pytest.raises(
        Refusal, match="timezone must be one of the tz database, such as Europe/London, but got 'Mars'"
    ):
        read_bars(path, timezone="Mars")
    zoned = pl.DataFrame({"time": pl.Series([1351380600, 1351384200]) * 1_000_000}).with_columns(
        pl.col("time").cast(pl.Datetime("us", "UTC")),
        *(pl.lit(1.0).alias(n) for n in ("open", "high", "low", "close")),
    )
    zoned.write_parquet(tmp_path / "z.parquet")
    assert read_bars(tmp_path / "z.parquet", timezone="Europe/London").time[0] == 1351380600


def test_gaps_and_sessions(tmp_path):
    minutes = [0, 1, 2, 5, 6, 500, 501, 2000]
    path = write(tmp_path / "g.csv", ["time,open,high,low,close", *(f"{60 * m},1,1,1,1" for m in minutes)])
    bars = read_bars(path)
    assert bars.follows.tolist() == [False, True, True, False, True, False, True, False]
    assert [(s.start, s.stop) for s in bars.sessions] == [(0, 5), (5, 7), (7, 8)]
    assert dict(bars.report())["gaps"] == "3, the longest of 1.041 days"
    assert bars.years_per_bar == pytest.approx(2000 / 7 / 525_960)
    # A weekend is no gap of daily bars, a fortnight is.
    days = [0, 1, 4, 5, 20]
    path = write(tmp_path / "d.csv", ["time,open,high,low,close", *(f"{86400 * d},1,1,1,1" for d in days)])
    assert read_bars(path).follows.tolist() == [False, True, True, True, False]


def test_a_day_has_the_bars_of_whole_dates():
    def bars_at(time, seconds):
        price = np.ones(len(time))
        return Bars(np.asarray(time, float), Quotes(price, price, price, price), seconds)

    session = 9.5 * 3600 + 60 * np.arange(390)
    assert (
        bars_at(np.concatenate([86_400 * day + session for day in range(4)])[100:-50], 60.0).bars_per_day
        == 390
    )
    assert bars_at(40_000 + 60 * np.arange(1200), 60.0).bars_per_day == 1440
    assert bars_at(86_400 * np.arange(30), 86_400.0).bars_per_day == 1
    assert bars_at(7 * 86_400 * np.arange(30), 7 * 86_400.0).bars_per_day == pytest.approx(1 / 7)


def test_other_names(tmp_path):
    path = write(tmp_path / "n.csv", ["t,o,high,low,last", "0,1,2,1,2", "60,2,2,1,1"])
    bars = read_bars(path, names={"time": "t", "open": "o", "close": "last"})
    assert bars.price.close.tolist() == [2, 1]
    assert refusal(path) == f"{path}, line 1: no column time"
    assert refusal(path, names={"time": "t", "open": "oo"}).startswith(f"{path}, line 1: no column oo")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_chosen_name_wins_over_a_usual_one(tmp_path, ending):
    columns = {"time": [1, 2], "timestamp": [60, 120], "open": [1, 2], "high": [2, 2], "low": [1, 1]}
    columns |= {"close": [2, 1], "last": [1, 2], "volume": [3, 4], "lots": [5, 6]}
    path = tmp_path / f"n.{ending}"
    write_bars_table(path, columns)
    bars = read_bars(path, names={"time": "timestamp", "close": "last", "volume": "lots"})
    assert bars.time.tolist() == [60, 120]
    assert bars.price.close.tolist() == [1, 2]
    assert bars.volume.tolist() == [5, 6]
    assert read_bars(path, names={"time": "time"}).time.tolist() == [1, 2]
    place = f"{path}, line 1" if ending == "csv" else str(path)
    assert refusal(path) == f"{place}: two columns of time, 'time' and 'timestamp'"
    for kind, name in (("close", "price"), ("volume", "units")):
        assert refusal(path, names={"time": "time", kind: name}) == f"{place}: no column {name}"
    taken = refusal(path, names={"time": "time", "close": "open"})
    assert taken == f"{place}: column open cannot be both open and close"


def write_bars_table(path: Path, columns: dict[str, list[int]]) -> None:
    frame = pl.DataFrame(columns)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)


# --- What is refused ---


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        (1, "", "time is empty"),
        (1, "2012-02-30 00:00", "time is '2012-02-30 00:00', neither a date (2012-02-01 09:30) nor a number"),
        (1, "2012-02-01 00:14", "time 2012-02-01 00:14:00 UTC is also that of the row above"),
        (1, "2012-02-01 00:03", "time 2012-02-01 00:03:00 UTC is before the 2012-02-01 00:14:00 UTC of the row above"),
        (2, "0", "open is not positive, 0"),
        (2, "", "open is empty"),
        (2, "nan", "open is 'nan', not a finite number"),
        (2, "105", "open 105 is not between low 100 and high 101.5"),
        (3, "50", "high 50 is below low 100"),
        (4, "-1", "low is not positive, -1"),
        (5, "1e13", "close 1e+13 is too large"),
        (5, "x", "close is 'x', not a finite number"),
        (5, "1,1", "7 columns, where the first line has 6"),
        (6, "-3", "volume is negative, -3"),
        (6, "", "volume is empty"),
    ],
)  # fmt: skip
def test_a_bad_cell_is_refused_in_csv_and_parquet(tmp_path, column, cell, sentence):
    path = write(tmp_path / "b.csv", changed(LINES, 17, column, cell))
    assert refusal(path) == f"{path}, line 17: {sentence}"
    if "," in cell or cell == "x":
        return
    kinds = dict.fromkeys(LINES[0].split(",")[1:], pl.Float64)
    parquet = tmp_path / "b.parquet"
    pl.read_csv(path, schema_overrides={"time": pl.String} | kinds).write_parquet(parquet)
    assert refusal(tmp_path / "b.parquet") == f"{parquet}, row 16: " + sentence.replace("'nan'", "nan")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("time,open,high,low", "no column close"),
        ("time,open,high,low,clos", "no column close; is 'clos' meant?"),
        ("time,date,open,high,low,close", "two columns of time, 'time' and 'date'"),
        ("time,bid_open,bid_high,bid_low,bid_close", "no column ask_open; is 'bid_open' meant?"),
        ("1,2,3,4,5", "numbers, where the names of columns should be (time, open, high, low, close)"),
        ("time,open,high,low,close", "no rows follow the header"),
    ],
)
def test_a_bad_first_line_is_refused(tmp_path, header, sentence):
    path = write(tmp_path / "h.csv", [header])
    assert refusal(path) == f"{path}, line 1: {sentence}"


def test_wrong_sets_of_files_are_refused(tmp_path):
    bid, ask = write(tmp_path / "bid.csv", BID), write(tmp_path / "ask.csv", ASK)
    assert refusal() == "bars are in one file, or bid and ask in two, but got 0"
    later = write(tmp_path / "later.csv", [ASK[0], *(f"{9e6 + i * 60},1,1,1,1" for i in range(20))])
    assert refusal(bid, later).startswith(f"{later}: 0 of its 20 bars have the time of one in {bid}")
    mixed = write(tmp_path / "mixed.csv", [*BID[:8], *(ASK[i].replace(".5", ".9") for i in range(8, 21))])
    assert "the bid is above the ask in 7 of 20 bars" in refusal(mixed, ask)
    write_bars(tmp_path / "both.csv", read_bars(bid, ask))
    assert refusal(tmp_path / "both.csv", ask).startswith(f"{tmp_path / 'both.csv'}: has bid and ask already")
    one = write(tmp_path / "one.csv", BID[:2])
    assert refusal(one) == f"{one}: one bar, where bars need two to have a length"


# --- A thousand mutations of each kind of file ---


def assert_sane(bars: Bars) -> None:
    assert len(bars) >= 2
    assert np.all(np.diff(bars.time) > 0)
    assert bars.seconds > 0
    assert len(bars.follows) == len(bars)
    for quotes in (bars.price, bars.bid, bars.ask):
        if quotes is not None:
            assert np.all((quotes.low > 0) & (quotes.high < 2e12))
            assert np.all(quotes.low <= np.minimum(quotes.open, quotes.close))
            assert np.all(quotes.high >= np.maximum(quotes.open, quotes.close))
    assert sum(s.stop - s.start for s in bars.sessions) == len(bars)
    assert all(isinstance(line, str) for pair in bars.report() for line in pair)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("originals")
    named, parquet = write(folder / "n.csv", LINES), folder / "n.parquet"
    pl.read_csv(named, try_parse_dates=True).write_parquet(parquet)
    return {
        "named": [named],
        "parquet": [parquet],
        "pair": [write(folder / "bid.csv", BID), write(folder / "ask.csv", ASK)],
        "zipped": [write(folder / "ask.csv.gz", ASK), write(folder / "bid2.csv", BID)],
    }


@pytest.mark.parametrize("kind", ["named", "parquet", "pair", "zipped"])
def test_a_thousand_mutations_are_accepted_with_sane_numbers_or_refused_in_a_sentence(
    originals, kind, tmp_path_factory
):
    survive_mutations(
        originals[kind], tmp_path_factory.mktemp(kind), lambda paths: assert_sane(read_bars(*paths))
    )


def test_a_bad_line_is_found_by_halves(tmp_path, monkeypatch):
    """Not line by line, which took a minute of a file of 300,000."""
    lines = [
        "time,open,high,low,close",
        *(f"2012-02-01 {i:02d}:{j:02d},1,1,1,1" for i in range(24) for j in range(60)),
    ]
    lines[1001] = lines[1001].replace("2012-02", "2012-13")
    read, calls = tables.seconds_of, []
    monkeypatch.setattr(tables, "seconds_of", lambda cells: calls.append(len(cells)) or read(cells))
    assert "line 1002: time is '2012-13-01 16:40', neither a date" in refusal(
        write(tmp_path / "b.csv", lines)
    )
    assert len(calls) < 20 and sum(calls) < 3 * len(lines)
    lines[1001] = "2012-02-01 16:40Z,1,1,1,1"
    assert refusal(write(tmp_path / "b.csv", lines)).endswith("with offsets from UTC, without, or as numbers")


def test_broken_gzip_is_refused(tmp_path):
    path = tmp_path / "b.csv.gz"
    path.write_bytes(gzip.compress("\n".join(LINES).encode())[:-20])
    assert refusal(path).endswith("the gzip file is truncated here")
