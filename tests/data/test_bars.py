"""Files of bars: exact values of small files, every error with its location, time zones, gaps, and fuzzing."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.files import check_mutations, replace_cell, write

from twosided.core.errors import Refusal
from twosided.data import bar_files
from twosided.data.bar_files import read_bars, write_bars
from twosided.data.bars import OHLC, Bars
from twosided.data.content import DataError
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


def error_of(*paths: Path, **options) -> str:
    with pytest.raises(DataError) as error:
        read_bars(*paths, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Valid files ---


def test_csv_values_are_read_exactly(tmp_path):
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
    assert bars.contiguous.tolist() == [False] + 29 * [True]
    assert dict(bars.summary())["gaps"] == "none"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_write_and_read_round_trip(tmp_path, suffix):
    simulated, states = simulate_bars(
        Heston(time_step=1e-4), 50, substeps=3, seconds=300.0, half_spread=0.01, seed=4
    )
    assert states.variance.shape == (50,)
    write_bars(tmp_path / f"x.{suffix}", simulated)
    bars = read_bars(tmp_path / f"x.{suffix}")
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(bars.price, name), getattr(simulated.price, name), rtol=1e-12)
    np.testing.assert_array_equal(bars.time, simulated.time)
    np.testing.assert_allclose(bars.half_spread, 0.01, rtol=1e-9)
    assert bars.seconds == 300
    # Each bar opens at the close of the previous bar.
    np.testing.assert_array_equal(simulated.price.open[1:], simulated.price.close[:-1])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_bid_and_ask_files_are_paired_in_either_order(tmp_path, order):
    files = [write(tmp_path / "bid.csv", BID), write(tmp_path / "ask.csv.gz", [*ASK[:5], *ASK[6:]])]
    bars = read_bars(*(files[i] for i in order))
    assert (len(bars), bars.num_unpaired, bars.num_crossed) == (19, 1, 0)
    assert bars.sources == tuple(map(str, files))
    np.testing.assert_allclose(bars.half_spread, 0.25)
    np.testing.assert_allclose(bars.price.close, bars.bid.close + 0.25)
    assert bars.contiguous.sum() == 17, "the first bar and the bar after the gap are not contiguous"


@pytest.mark.parametrize(
    ("text", "seconds"),
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
def test_times_are_parsed_from_dates_and_numbers(tmp_path, text, seconds):
    rows = [
        f"{text},1,1,1,1",
        f"{text.replace('2012', '2013').replace('1328', '1329').replace('1.328', '1.329')},1,1,1,1",
    ]
    bars = read_bars(write(tmp_path / "t.csv", ["Date,Open,HIGH,low,close", *rows]))
    assert bars.time[0] == pytest.approx(seconds, abs=1e-5)
    frame = pl.DataFrame(
        {"date": [row.split(",")[0] for row in rows]}
        | {n: [1.0, 1.0] for n in ("open", "high", "low", "close")}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_bars(tmp_path / "t.parquet").time[0] == pytest.approx(seconds, abs=1e-5)


def test_local_times_are_converted_to_utc(tmp_path):
    """In London, clocks went back at 02:00 on 28 October 2012, and forward at 01:00 on 25 March."""
    hours = ["2012-10-28 00:30", "2012-10-28 01:30", "2012-10-28 01:30", "2012-10-28 02:30"]
    path = write(tmp_path / "l.csv", ["time,open,high,low,close", *(f"{t},1,1,1,1" for t in hours)])
    bars = read_bars(path, timezone="Europe/London")
    assert np.diff(bars.time).tolist() == [3600, 3600, 3600]
    assert bars.time[0] == 1351380600, "23:30 UTC on the day before"
    assert (
        error_of(path)
        == f"{path}, line 4: time 2012-10-28 01:30:00 UTC is the same as the time of the row above"
    )
    skipped = write(
        tmp_path / "m.csv", ["time,open,high,low,close", *(f"2012-03-25 0{h}:30,1,1,1,1" for h in range(3))]
    )
    assert (
        error_of(skipped, timezone="Europe/London")
        == f"{skipped}, line 3: time does not exist in Europe/London, because clocks are put forward"
    )
    with pytest.raises(
        Refusal, match="timezone must be a name of the tz database, such as Europe/London, but got 'Mars'"
    ):
        read_bars(path, timezone="Mars")
    utc = pl.DataFrame({"time": pl.Series([1351380600, 1351384200]) * 1_000_000}).with_columns(
        pl.col("time").cast(pl.Datetime("us", "UTC")),
        *(pl.lit(1.0).alias(n) for n in ("open", "high", "low", "close")),
    )
    utc.write_parquet(tmp_path / "z.parquet")
    assert read_bars(tmp_path / "z.parquet", timezone="Europe/London").time[0] == 1351380600


def test_gaps_and_sessions_are_detected(tmp_path):
    minutes = [0, 1, 2, 5, 6, 500, 501, 2000]
    path = write(tmp_path / "g.csv", ["time,open,high,low,close", *(f"{60 * m},1,1,1,1" for m in minutes)])
    bars = read_bars(path)
    assert bars.contiguous.tolist() == [False, True, True, False, True, False, True, False]
    assert [(s.start, s.stop) for s in bars.sessions] == [(0, 5), (5, 7), (7, 8)]
    assert dict(bars.summary())["gaps"] == "3, the longest of 1.041 days"
    with pytest.raises(
        Refusal, match="less than a week of trading, so that the number of bars per year is unknown"
    ):
        _ = bars.years_per_bar
    assert dict(bars.summary())["bars per year"] == "unknown, from less than a week"
    # In daily bars a long weekend is not a gap, but a fortnight is.
    days = [0, 1, 4, 5, 20]
    path = write(tmp_path / "d.csv", ["time,open,high,low,close", *(f"{86400 * d},1,1,1,1" for d in days)])
    assert read_bars(path).contiguous.tolist() == [False, True, True, True, False]


def bars_at(time, seconds) -> Bars:
    price = np.ones(len(time))
    return Bars(np.asarray(time, float), OHLC(price, price, price, price), seconds)


SESSION = 14.5 * 3600 + 300 * np.arange(78)
"""Five-minute bars from 09:30 to 16:00 in New York, in winter."""


def test_bars_per_day_counts_complete_dates():
    session = 9.5 * 3600 + 60 * np.arange(390)
    assert (
        bars_at(np.concatenate([86_400 * day + session for day in range(4)])[100:-50], 60.0).bars_per_day
        == 390
    )
    assert bars_at(40_000 + 60 * np.arange(1200), 60.0).bars_per_day == 1440
    assert bars_at(86_400 * np.arange(30), 86_400.0).bars_per_day == 1
    assert bars_at(7 * 86_400 * np.arange(30), 7 * 86_400.0).bars_per_day == pytest.approx(1 / 7)
    with pytest.raises(Refusal, match="have no complete day, so that the number of bars per day is unknown"):
        _ = bars_at(SESSION, 300.0).bars_per_day


def sessions(days) -> np.ndarray:
    """Return the times of sessions on days counted from a Monday."""
    return np.concatenate([1_678_060_800 + 86_400 * day + SESSION for day in days])


def test_year_is_inferred_from_whole_weeks():
    week = np.arange(5)
    one_session = bars_at(sessions([0]), 300.0)
    for days in ([0], week, [0, 8]):
        with pytest.raises(
            Refusal, match=r"state it with `bars_per_year`, such as 252 times the bars of a day"
        ):
            _ = bars_at(sessions(days), 300.0).years_per_bar
    weekly = 5 * 78 * 365.25 / 7
    for days in ([*week, 7], [2, 3, 4, 7, 8, 9], [*week, *(week + 7)], [*week, 7, 8, 9, 10, 14, 15]):
        counted = 1 / bars_at(sessions(days), 300.0).years_per_bar
        assert counted == pytest.approx(weekly * (4.5 if 14 in days else 5) / 5)
    days = np.concatenate([week + 7 * k for k in range(60)])
    year = bars_at(sessions(days), 300.0)
    assert year.years_per_bar == (year.time[-1] - year.time[0]) / (365.25 * 86_400) / (len(year) - 1)
    # A part that is too short has the year of all, and bars without a gap that of the clock.
    assert year[:78].years_per_bar == year.years_per_bar
    assert year[: 78 * 10].years_per_bar == pytest.approx(1 / weekly)
    assert bars_at(60 * np.arange(20_000), 60.0).years_per_bar == pytest.approx(1 / 525_960)
    daily = bars_at(86_400 * np.concatenate([week, week + 7]), 86_400.0)
    assert 1 / daily.years_per_bar == pytest.approx(365.25 / 7 * 5)
    assert one_session[:10].known_years_per_bar is None


def test_simulated_bars_know_the_length_of_their_year():
    simulated, _ = simulate_bars(Heston(time_step=1e-4), 20, substeps=3, seconds=300.0)
    assert simulated.years_per_bar == pytest.approx(300 / (365.25 * 86_400))


def test_columns_can_be_renamed(tmp_path):
    path = write(tmp_path / "n.csv", ["t,o,high,low,last", "0,1,2,1,2", "60,2,2,1,1"])
    bars = read_bars(path, columns={"time": "t", "open": "o", "close": "last"})
    assert bars.price.close.tolist() == [2, 1]
    assert (
        error_of(path)
        == f"{path}, line 1: no column time; give the name of its column with `columns`: time=NAME"
    )
    assert error_of(path, columns={"time": "t", "open": "oo"}).startswith(f"{path}, line 1: no column oo")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_renamed_columns_take_precedence_over_default_names(tmp_path, suffix):
    data = {"time": [1, 2], "timestamp": [60, 120], "open": [1, 2], "high": [2, 2], "low": [1, 1]}
    data |= {"close": [2, 1], "last": [1, 2], "volume": [3, 4], "lots": [5, 6]}
    path = tmp_path / f"n.{suffix}"
    write_table(path, data)
    bars = read_bars(path, columns={"time": "timestamp", "close": "last", "volume": "lots"})
    assert bars.time.tolist() == [60, 120]
    assert bars.price.close.tolist() == [1, 2]
    assert bars.volume.tolist() == [5, 6]
    assert read_bars(path, columns={"time": "time"}).time.tolist() == [1, 2]
    location = f"{path}, line 1" if suffix == "csv" else str(path)
    assert error_of(path) == (
        f"{location}: two columns for time, 'time' and 'timestamp'; give the name of its column with `columns`:"
        " time=timestamp"
    )
    for kind, name in (("close", "price"), ("volume", "units")):
        assert error_of(path, columns={"time": "time", kind: name}) == f"{location}: no column {name}"
    conflict = error_of(path, columns={"time": "time", "close": "open"})
    assert conflict == f"{location}: column open cannot be both open and close"


def write_table(path: Path, data: dict[str, list[int]]) -> None:
    frame = pl.DataFrame(data)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)


# --- Invalid files ---


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (1, "", "time is empty"),
        (1, "2012-02-30 00:00", "time must be a date (2012-02-01 09:30) or a number, but is '2012-02-30 00:00'"),
        (1, "2012-02-01 00:14", "time 2012-02-01 00:14:00 UTC is the same as the time of the row above"),
        (1, "2012-02-01 00:03", "time 2012-02-01 00:03:00 UTC is before 2012-02-01 00:14:00 UTC, the time of the row above"),  # noqa: E501
        (2, "0", "open must be positive, but is 0"),
        (2, "", "open is empty"),
        (2, "nan", "open must be a finite number, but is 'nan'"),
        (2, "105", "open 105 is not between low 100 and high 101.5"),
        (3, "50", "high 50 is below low 100"),
        (4, "-1", "low must be positive, but is -1"),
        (5, "1e13", "close must be at most 1e+12, but is 1e+13"),
        (5, "x", "close must be a finite number, but is 'x'"),
        (5, "1,1", "7 columns, but the first line has 6"),
        (6, "-3", "volume must be at least 0, but is -3"),
        (6, "many", "volume must be a number such as 1200 or 12.5K, or empty, but is 'many'"),
    ],
)  # fmt: skip
def test_invalid_cell_raises_in_csv_and_parquet(tmp_path, column, cell, message):
    path = write(tmp_path / "b.csv", replace_cell(LINES, 17, column, cell))
    assert error_of(path) == f"{path}, line 17: {message}"
    if "," in cell or cell in ("x", "many"):
        return
    kinds = dict.fromkeys(LINES[0].split(",")[1:], pl.Float64)
    parquet = tmp_path / "b.parquet"
    pl.read_csv(path, schema_overrides={"time": pl.String} | kinds).write_parquet(parquet)
    assert error_of(tmp_path / "b.parquet") == f"{parquet}, row 16: " + message.replace("'nan'", "nan")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("time,open,high,low", "no column close; give the name of its column with `columns`: close=NAME"),
        ("time,open,high,low,clos", "no column close; did you mean 'clos'?"),
        (
            "time,date,open,high,low,close",
            "two columns for time, 'time' and 'date'; give the name of its column with `columns`: time=date",
        ),
        ("time,bid_open,bid_high,bid_low,bid_close", "no column ask_open; did you mean 'bid_open'?"),
        ("1,2,3,4,5", "high 3 is below low 4"),
        (
            "1,2,3,4",
            "must be a header with the names of columns (time, open, high, low, close), or a row of these values; or"
            " give numbers of columns with `columns`, such as time=1",
        ),
        ("time,open,high,low,close", "no rows follow the header"),
    ],
)
def test_invalid_header_raises(tmp_path, header, message):
    path = write(tmp_path / "h.csv", [header])
    assert error_of(path) == f"{path}, line 1: {message}"


def test_files_that_do_not_belong_together_raise(tmp_path):
    bid, ask = write(tmp_path / "bid.csv", BID), write(tmp_path / "ask.csv", ASK)
    assert error_of() == "bars must be one file, or one file of bid bars and one of ask bars, but got 0 files"
    later = write(tmp_path / "later.csv", [ASK[0], *(f"{9e6 + i * 60},1,1,1,1" for i in range(20))])
    assert error_of(bid, later) == (
        f"{later}: must be the other side of {bid}, but only 0 of its 20 bars have the time of a bar there"
    )
    crossed = write(tmp_path / "crossed.csv", [*BID[:8], *(ASK[i].replace(".5", ".9") for i in range(8, 21))])
    assert "the bid is above the ask in 7 of 20 bars" in error_of(crossed, ask)
    write_bars(tmp_path / "both.csv", read_bars(bid, ask))
    assert error_of(tmp_path / "both.csv", ask).startswith(f"{tmp_path / 'both.csv'}: has both bid and ask")
    one = write(tmp_path / "one.csv", BID[:2])
    assert error_of(one) == f"{one}: at least two bars are needed to determine their length, but there is one"


# --- Fuzzing ---


def assert_valid(bars: Bars) -> None:
    assert len(bars) >= 2
    assert np.all(np.diff(bars.time) > 0)
    assert bars.seconds > 0
    assert len(bars.contiguous) == len(bars)
    for quotes in (bars.price, bars.bid, bars.ask):
        if quotes is not None:
            assert np.all((quotes.low > 0) & (quotes.high < 2e12))
            assert np.all(quotes.low <= np.minimum(quotes.open, quotes.close))
            assert np.all(quotes.high >= np.maximum(quotes.open, quotes.close))
    assert sum(s.stop - s.start for s in bars.sessions) == len(bars)
    assert all(isinstance(line, str) for pair in bars.summary() for line in pair)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("originals")
    named, parquet = write(folder / "n.csv", LINES), folder / "n.parquet"
    pl.read_csv(named, try_parse_dates=True).write_parquet(parquet)
    return {
        "named": [named],
        "parquet": [parquet],
        "pair": [write(folder / "bid.csv", BID), write(folder / "ask.csv", ASK)],
        "gzipped": [write(folder / "ask.csv.gz", ASK), write(folder / "bid2.csv", BID)],
    }


@pytest.mark.parametrize("kind", ["named", "parquet", "pair", "gzipped"])
def test_mutated_files_give_valid_bars_or_one_line_errors(originals, kind, tmp_path_factory):
    check_mutations(
        originals[kind], tmp_path_factory.mktemp(kind), lambda paths: assert_valid(read_bars(*paths))
    )


def test_invalid_line_of_long_file_is_found_in_one_pass(tmp_path, monkeypatch):
    lines = [
        "time,open,high,low,close",
        *(f"2012-02-01 {i:02d}:{j:02d},1,1,1,1" for i in range(24) for j in range(60)),
    ]
    lines[1001] = lines[1001].replace("2012-02", "2012-13")
    parse, calls = bar_files.parse_times, []
    monkeypatch.setattr(bar_files, "parse_times", lambda *words: calls.append(len(words[1])) or parse(*words))
    message = error_of(write(tmp_path / "b.csv", lines))
    assert "line 1002: time must be a date" in message and message.endswith("is '2012-13-01 16:40'")
    assert calls == [1440]
    lines[1001] = "2012-02-01 16:40Z,1,1,1,1"
    assert error_of(write(tmp_path / "b.csv", lines)).endswith(
        "line 1002: time must be written like those above it, with or without an offset from UTC, but is"
        " '2012-02-01 16:40Z'"
    )
    # The first invalid line is reported, whichever its fault.
    lines[1001] = "2012-02-01 16:40,1,1,1,x"
    lines[801] = lines[801].replace("13:20", "13:99")
    lines[1201] += ",1"
    assert "line 802: time must be a date" in error_of(write(tmp_path / "b.csv", lines))
    lines[801] = lines[801].replace("13:99", "13:20")
    assert "line 1002: close must be a finite number" in error_of(write(tmp_path / "b.csv", lines))


def test_truncated_gzip_raises(tmp_path):
    path = tmp_path / "b.csv.gz"
    path.write_bytes(gzip.compress("\n".join(LINES).encode())[:-20])
    assert error_of(path).endswith("the gzip file is truncated here")
