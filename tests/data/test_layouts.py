# ruff: noqa: E501  (lines of files are not wrapped)
"""Layouts of exports: bars of several vendors, dates, numbers and units are read right, or refused in one sentence."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.files import write

from twosided.core.errors import Refusal
from twosided.data.bar_files import read_bars, write_bars
from twosided.data.bars import Bars
from twosided.data.content import DataError

START = 1678095000
"""2023-03-06 09:30:00 UTC, a Monday."""
PRICES = [(1.3066, 1.3068, 1.3064, 1.3065), (1.3065, 1.307, 1.3065, 1.3069), (1.3069, 1.3069, 1.306, 1.3061)]
CLOCKS = ("09:30", "09:31", "09:32")
COMPACT = ("093000", "093100", "093200")


def rows(template: str, times=CLOCKS) -> list[str]:
    """Return three lines: {t} is the time, {o}, {h}, {l} and {c} are the prices, {v} is the volume."""
    lines = []
    for i, (t, (o, h, low, c)) in enumerate(zip(times, PRICES, strict=True)):
        lines.append(template.format(t=t, o=o, h=h, l=low, c=c, v=10 + i, i=i))
    return lines


def error_of(path: Path, **options) -> str:
    with pytest.raises(DataError) as error:
        read_bars(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_three_minutes(bars: Bars, volume=(10, 11, 12), start: float = START) -> None:
    np.testing.assert_array_equal(bars.time, start + 60.0 * np.arange(3))
    assert bars.seconds == 60
    for i, name in enumerate(("open", "high", "low", "close")):
        np.testing.assert_array_equal(getattr(bars.price, name), [row[i] for row in PRICES])
    if volume is None:
        assert bars.volume is None
    else:
        np.testing.assert_array_equal(bars.volume, volume)
    assert len(bars.layouts) == 1 and "\n" not in bars.layouts[0]


MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
BINANCE = "{t},{o},{h},{l},{c},{v},{t},13.1,7,5.0,6.5,0"
VENDORS = {
    "MetaTrader 5": ([MT5, *rows("2023.03.06\t{t}:00\t{o}\t{h}\t{l}\t{c}\t{v}\t0\t25")], {}),
    "MetaTrader 5, real volume": ([MT5, *rows("2023.03.06\t{t}:00\t{o}\t{h}\t{l}\t{c}\t7\t{v}\t25")], {}),
    "MetaTrader 4": (rows("2023.03.06,{t},{o},{h},{l},{c},{v}"), {}),
    "HistData": (rows("20230306 {t};{o};{h};{l};{c};{v}", COMPACT), {}),
    "Binance, ms": (rows(BINANCE, [f"{START + 60 * i}000" for i in range(3)]), {}),
    "Binance, us": (rows(BINANCE, [f"{START + 60 * i}000000" for i in range(3)]), {}),
    "Binance, ms then us": (rows(BINANCE, [f"{START}000", f"{START + 60}000000", f"{START + 120}000000"]), {}),
    "Kraken": (rows("{t},{o},{h},{l},{c},{v},7", [START + 60 * i for i in range(3)]), {}),
    "Dukascopy": (["Gmt time,Open,High,Low,Close,Volume", *rows("06.03.2023 {t}:00.000,{o},{h},{l},{c},{v}")], {}),
    "Dukascopy, local": (
        ["Local time,Open,High,Low,Close,Volume", *rows("06.03.2023 1{t}:00.000 GMT+0100,{o},{h},{l},{c},{v}", ("0:30", "0:31", "0:32"))],
        {},
    ),
    "quoted": (['"time","open","high","low","close","volume"', *rows('"2023-03-06 {t}","{o}","{h}","{l}","{c}","{v}"')], {}),
    "US dates": (["Date,Open,High,Low,Close,Volume", *rows("03/16/2023 9:{t} AM,{o},{h},{l},{c},{v}", ("30", "31", "32"))], {"days": 10}),
    "afternoon": (["Date,Open,High,Low,Close,Volume", *rows("16/03/2023 {t} p.m.,{o},{h},{l},{c},{v}", ("9:30", "9:31", "9:32"))], {"days": 10.5}),
    "date and time": (["Date,Time,Open,High,Low,Close,Volume", *rows("2023-03-06,{t},{o},{h},{l},{c},{v}")], {}),
    "date and time, US": (["Date,Time,Open,High,Low,Close,Volume", *rows("3/16/2023,{t} AM,{o},{h},{l},{c},{v}", ("9:30", "9:31", "9:32"))], {"days": 10}),
    "Stooq": (
        ["<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", *rows("EURUSD,1,20230306,{t},{o},{h},{l},{c},{v}", COMPACT)],
        {},
    ),
    "times without zeros": (["date,time,open,high,low,close,vol", *rows("20230306,{t},{o},{h},{l},{c},{v}", (930, 931, 932))], {}),
    "pandas index": ([",open,high,low,close,volume", *rows("2023-03-06 {t}:00+00:00,{o},{h},{l},{c},{v}")], {}),
    "pandas row numbers": ([",time,open,high,low,close,volume", *rows("{i},2023-03-06 {t},{o},{h},{l},{c},{v}")], {}),
    "index without a name": (["open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},{v}")], {}),
    "newest first": (["time,open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},{v}")[::-1]], {}),
    "trailing comma": (["time,open,high,low,close,volume,", *rows("2023-03-06 {t},{o},{h},{l},{c},{v},")], {}),
    "trailing comma in rows": (["time,open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},{v},")], {}),
    "trailing comma in header": (["time,open,high,low,close,volume,", *rows("2023-03-06 {t},{o},{h},{l},{c},{v}")], {}),
    "spaces": (["time, open , high, low, close, volume", *rows("2023-03-06 {t} , {o} , {h}, {l},  {c}, {v} ")], {}),
    "separated by spaces": (["date time open high low close volume", *rows("2023-03-06  {t} {o}  {h} {l} {c}   {v}")], {}),
    "comments": (
        ["# exported", "", "time,open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},{v}\n# a comment")],
        {},
    ),
    "header in a comment": (["#time,open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},{v}")], {}),
    "a line above the header": (
        ["https://www.example.com", "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
         *rows("1,2023-03-06 {t}:00,BTC/USD,{o},{h},{l},{c},{v},99")[::-1]],
        {},
    ),
    "yfinance": (
        ["Price,Close,High,Low,Open,Volume", "Ticker,A,A,A,A,A", "Datetime,,,,,", *rows("2023-03-06 {t}:00+00:00,{c},{h},{l},{o},{v}")],
        {},
    ),
    "short names": (["t,o,h,l,c,v", *rows("2023-03-06T{t}:00Z,{o},{h},{l},{c},{v}")], {}),
    "currency": (["Date,Close/Last,Volume,Open,High,Low", *rows("03/16/2023 {t},${c},{v},${o},${h},${l}")], {"days": 10}),
    "calendar stamps": (["time,open,high,low,close,volume", *rows("20230306{t},{o},{h},{l},{c},{v}", COMPACT)], {}),
    "milliseconds in stamps": (rows("20230306{t}000,{o},{h},{l},{c},{v}", COMPACT), {}),
    "nanoseconds": (["ts_event,open,high,low,close,volume", *rows("{t},{o},{h},{l},{c},{v}", [f"{START + 60 * i}000000000" for i in range(3)])], {}),
    "Databento": (
        ["ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol",
         *[f"{START + 60 * i}000000000,33,1,2,{','.join(str(round(1e9 * x)) for x in PRICES[i])},{10 + i},ES" for i in range(3)]],
        {},
    ),
    "decimal comma": (
        ["Datum;time;open;high;low;close;volume", *[row.replace(".", ",") for row in rows("x;2023-03-06 {t};{o};{h};{l};{c};{v}")]],
        {},
    ),
    "decimal comma, no header": ([row.replace(".", ",") for row in rows("20230306 {t};{o};{h};{l};{c};{v}", COMPACT)], {}),
    "sep": (["sep=;", "time;open;high;low;close;volume", *rows("2023-03-06 {t};{o};{h};{l};{c};{v}")], {}),
    "vertical bars": (["time|open|high|low|close|volume", *rows("2023-03-06 {t}|{o}|{h}|{l}|{c}|{v}")], {}),
    "names of months": (['Date,Open,High,Low,Close,Vol.', *rows('"Mar 06, 2023 {t}",{o},{h},{l},{c},{v}')], {}),
    "months in the middle": (["Date,Open,High,Low,Close,Volume", *rows("06-Mar-2023 {t}:00,{o},{h},{l},{c},{v}")], {}),
    "no volume in some rows": (["time,open,high,low,close,volume", *rows("2023-03-06 {t},{o},{h},{l},{c},-")], {"volume": None}),
    "abbreviated volume": (["time,open,high,low,close,Vol.", *rows('2023-03-06 {t},{o},{h},{l},{c},"{v}.5K"')], {"volume": (10_500, 11_500, 12_500)}),
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
def test_exports_are_read_exactly(tmp_path, vendor):
    lines, expected = VENDORS[vendor]
    path = write(tmp_path / "x.csv", lines)
    bars = read_bars(path)
    volume = expected.get("volume", (10, 11, 12))
    start = START + 86_400 * expected.get("days", 0)
    assert_three_minutes(bars, volume, start)
    # The same file as it comes from Windows, in other encodings, and compressed.
    content = path.read_bytes().replace(b"\n", b"\r\n")
    for name, data in {
        "a.csv": content.decode().encode("utf-16"),
        "b.csv": content.decode().encode("utf-16-le"),
        "c.csv": b"\xef\xbb\xbf" + content + b"\r\n\r\n",
        "d.csv.gz": gzip.compress(content),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert_three_minutes(read_bars(tmp_path / name), volume, start)


def test_detected_layout_is_described_in_one_line(tmp_path):
    lines, _ = VENDORS["MetaTrader 5"]
    path = tmp_path / "EURUSD_M1.csv"
    path.write_bytes("\r\n".join(lines).encode("utf-16"))
    (layout,) = read_bars(path, timezone="EET").layouts
    assert layout.startswith(f"{path}: UTF-16, separated by tabs; <DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> ")
    assert layout.endswith(
        "dates YYYY.MM.DD, the time of day in a column of its own, in EET; volume from <TICKVOL>"
    )
    lines, _ = VENDORS["Binance, ms then us"]
    (layout,) = read_bars(write(path, lines[::-1])).layouts
    assert "no header; time open high low close volume" in layout
    assert "milliseconds and microseconds since 1970, in UTC; newest first" in layout


def test_named_time_zone_of_a_column_overrides_the_option(tmp_path):
    lines, _ = VENDORS["Dukascopy"]
    bars = read_bars(write(tmp_path / "x.csv", lines), timezone="America/New_York")
    assert bars.time[0] == START and "in UTC" in bars.layouts[0]
    lines, _ = VENDORS["HistData"]
    assert read_bars(write(tmp_path / "h.csv", lines), timezone="EST").time[0] == START + 5 * 3600


def test_newest_first_bars_in_local_time_pass_the_repeated_hour(tmp_path):
    hours = ["2012-10-28 00:30", "2012-10-28 01:30", "2012-10-28 01:30", "2012-10-28 02:30"][::-1]
    path = write(tmp_path / "l.csv", ["time,open,high,low,close", *(f"{t},1,1,1,1" for t in hours)])
    assert np.diff(read_bars(path, timezone="Europe/London").time).tolist() == [3600, 3600, 3600]
    assert error_of(path).startswith(
        f"{path}, line 3: time 2012-10-28 01:30:00 UTC is the same as the time of the row below"
    )


# --- Dates and units ---


def lines_at(*times: object) -> list[str]:
    return ["time,open,high,low,close", *(f"{t},1,1,1,1" for t in times)]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (("20230306", "20230307", "20230308"), 86_400),
        (("20230306.0", "20230307.0"), 86_400),
        (("202303060930", "202303060931"), 60),
        (("2023030609", "2023030610"), 3600),
        (("2023-3-6 9:30", "2023-3-6 9:31"), 60),
        (('"2023/03/06 09:30:00,500"', '"2023/03/06 09:30:01,500"'), 1),
        (("20230306T093000Z", "20230306T093100Z"), 60),
        (("19991231", "20000103"), 3 * 86_400),
        (("18991230", "18991231"), 86_400),
    ],
)
def test_calendar_stamps_are_dates(tmp_path, times, seconds):
    path = write(tmp_path / "t.csv", lines_at(*times))
    bars = read_bars(path)
    assert bars.seconds == seconds
    if times[0].startswith("2023"):
        assert START - 34_200 <= bars.time[0] <= START + 1
    if not times[0].isdigit():
        return
    pl.DataFrame(
        {"time": [int(t) for t in times], **{n: [1.0] * len(times) for n in ("open", "high", "low", "close")}}
    ).write_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(read_bars(tmp_path / "t.parquet").time, bars.time)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (("03/04/2023 09:30", "03/04/2023 09:31"), "time such as '03/04/2023' may be day, month, year or month, day, year; state which with `format`: dmy or mdy"),
        (("3/4/23", "3/5/23"), "state which with `format`: dmy or mdy or ymd"),
        (("230306", "230307", "230308"), "time such as 230306 may be dates YYMMDD or seconds since 1970; state which with `format`: %y%m%d or s"),
        (("20231503", "20231603"), "line 2: time must be a date YYYYMMDD like others of its column, but is '20231503'"),
        (("2021", "2022", "2023"), "time from 2021 to 2023 may be seconds since 1970 or years"),
        (("44991", "44992", "44993"), "may be seconds since 1970 or days of a spreadsheet"),
        (("13/04/2023", "14/04/2023", "04/15/2023"), "line 4: time must be a date (2012-02-01 09:30) or a number, but is '04/15/2023'"),
        (("20230306", "20230345"), "line 3: time must be a date YYYYMMDD like others of its column, but is '20230345'"),
        (("20230306093000", "1678095060"), "line 3: time must be a date YYYYMMDDHHMMSS like others of its column, but is '1678095060'"),
        (("0", "1678095060000"), "line 2: time must be a date, or a time since 1970 in a year up to 2100, but is '0'"),
        (("16780950000", "16780950060"), "line 2: time must be a date, or a time since 1970 in a year up to 2100, but is '16780950000'"),
        (("1678095000.00", "1678095000.06", "1678095000.12"), "times read as seconds since 1970 make bars of 0.06 seconds; if that is right, state their unit with `format`: s, ms, us or ns"),
        (("2023-03-06", "1678147200"), "line 3: time must be a date"),
        (("0203-03-06", "0203-03-07"), "line 2: time must be in a year from 1700 to 2199, but is 0203-03-06 00:00:00 UTC"),
        (("1923-03-06", "2023-03-07"), "make bars of 3.653e+04 days"),
    ],
)  # fmt: skip
def test_ambiguous_and_absurd_times_raise(tmp_path, times, message):
    path = write(tmp_path / "t.csv", lines_at(*times))
    text = error_of(path)
    assert text.startswith(str(path)) and message in text


@pytest.mark.parametrize(
    ("times", "format", "first"),
    [
        (("03/04/2023 09:30", "03/04/2023 09:31"), "dmy", "2023-04-03T09:30"),
        (("03/04/2023 09:30", "03/04/2023 09:31"), "mdy", "2023-03-04T09:30"),
        (("03/04/2023 09:30", "03/04/2023 09:31"), "%d/%m/%Y %H:%M", "2023-04-03T09:30"),
        (("3/4/23", "3/5/23"), "mdy", "2023-03-04"),
        (("230306", "230307"), "%y%m%d", "2023-03-06"),
        (("2023030609", "2023030610"), "%Y%m%d%H", "2023-03-06T09:00"),
        (("20230306", "20230366"), "s", "1970-08-23T03:31:46"),
        (("1678095000.00", "1678095000.06"), "s", "2023-03-06T09:30"),
        (("0", "60000"), "ms", "1970-01-01"),
        (("2023-03-06 09:30:00.5 +0100", "2023-03-06 09:31:00.5 +0100"), "%Y-%m-%d %H:%M:%S.%f %z", "2023-03-06T08:30:00.5"),
    ],
)  # fmt: skip
def test_format_states_the_form_of_times(tmp_path, times, format, first):
    bars = read_bars(write(tmp_path / "t.csv", lines_at(*times)), format=format)
    assert bars.time[0] == np.datetime64(first, "us").astype(np.int64) / 1e6


def test_seconds_of_a_day_are_read(tmp_path):
    bars = read_bars(write(tmp_path / "t.csv", lines_at(34_200, 34_260, 34_320)))
    assert bars.time[0] == 34_200 and "seconds since 1970" in bars.layouts[0]


def test_invalid_formats_and_columns_raise(tmp_path):
    path = write(tmp_path / "t.csv", lines_at("2023-03-06", "2023-03-07"))
    for format, message in {
        "american": "format must be of the words dmy, mdy, ymd, s, ms, us, ns",
        "dmy,ms": "format must be only one of an order of dates, a unit of numbers and a pattern",
    }.items():
        with pytest.raises(Refusal, match=message):
            read_bars(path, format=format)
    with pytest.raises(Refusal, match=r"columns must be of the fields time, date, open, .* but got 'opne'"):
        read_bars(path, columns={"opne": "open"})
    assert error_of(path, format="%d/%m/%Y").endswith(
        "line 2: time must be a date of the format %d/%m/%Y, but is '2023-03-06'"
    )


def test_columns_of_a_file_without_header_are_given_by_number(tmp_path):
    path = write(tmp_path / "c.csv", rows("{t},{l},{h},{o},{c},{v}", [START + 60 * i for i in range(3)]))
    assert "line 1: " in error_of(path)
    bars = read_bars(path, columns={"low": "2", "open": "4"})
    assert_three_minutes(bars)
    assert error_of(path, columns={"low": "low"}) == (
        f"{path}, line 1: columns of a file without a header are given by their numbers from 1 to 6, but low is 'low'"
    )


def test_date_and_time_columns_can_be_named(tmp_path):
    lines = ["day of trade,at,open,high,low,close", *rows("06/03/2023,{t},{o},{h},{l},{c}")]
    path = write(tmp_path / "d.csv", lines)
    bars = read_bars(path, columns={"date": "day of trade", "time": "at"}, format="dmy")
    assert_three_minutes(bars, None)
    assert error_of(path).endswith(
        "line 1: no column time; give the name of its column with `columns`: time=NAME"
    )


# --- Numbers ---


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ('"1,234.5"', None, 1234.5),
        ('"1,234,567"', None, 1234567.0),
        ('"1.234,5"', None, 1234.5),
        ('"1234,25"', None, 1234.25),
        ('"1,234"', "decimal-comma", 1.234),
        ('"1,234"', "decimal-point", 1234.0),
        ("$1234.5", None, 1234.5),
        ("1'234'567.5", None, 1234567.5),
        ("1.5e3", None, 1500.0),
    ],
)
def test_numbers_are_read_in_other_notations(tmp_path, cell, decimal, value):
    path = write(
        tmp_path / "n.csv",
        ["time,open,high,low,close", *(f"2023-03-0{d},{cell},{cell},{cell},{cell}" for d in (6, 7))],
    )
    bars = read_bars(path, format=decimal or "")
    assert bars.price.close.tolist() == [value, value]


def test_comma_that_may_separate_decimals_or_thousands_raises(tmp_path):
    path = write(
        tmp_path / "n.csv",
        ["time,open,high,low,close", *(f'2023-03-0{d},"1,234","1,234","1,234","1,234"' for d in (6, 7))],
    )
    assert error_of(path) == (
        f"{path}: the comma of numbers such as '1,234' may separate decimals or thousands; state which with `format`:"
        " decimal-comma or decimal-point"
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_missing_volume_is_nan_and_survives_writing(tmp_path, suffix):
    volumes = ("", "12.5K", "-", "1.2M", "7")
    lines = [
        "time,open,high,low,close,volume",
        *(f"2023-03-0{d},1,1,1,1,{v}" for d, v in enumerate(volumes, 1)),
    ]
    bars = read_bars(write(tmp_path / "v.csv", lines))
    expected = [np.nan, 12_500, np.nan, 1_200_000, 7]
    np.testing.assert_array_equal(bars.volume, expected)
    write_bars(tmp_path / f"w.{suffix}", bars)
    np.testing.assert_array_equal(read_bars(tmp_path / f"w.{suffix}").volume, expected)
    pl.DataFrame(
        {
            "time": [f"2023-03-0{d}" for d in range(1, 6)],
            "volume": list(volumes),
            **{n: [1.0] * 5 for n in ("open", "high", "low", "close")},
        }
    ).write_parquet(tmp_path / "s.parquet")
    np.testing.assert_array_equal(read_bars(tmp_path / "s.parquet").volume, expected)
    lines[3] = lines[3].replace("-", "many").replace("2023many03many03", "2023-03-03")
    assert error_of(write(tmp_path / "v.csv", lines)).endswith(
        "line 4: volume must be a number such as 1200 or 12.5K, or empty, but is 'many'"
    )


# --- Archives ---


def test_zip_archive_of_one_table_is_read(tmp_path):
    lines, _ = VENDORS["HistData"]
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DAT_ASCII.csv", "\n".join(lines))
        archive.writestr("DAT_ASCII.txt", "a report")
        archive.writestr("__MACOSX/._DAT_ASCII.csv", "x")
    bars = read_bars(path)
    assert_three_minutes(bars)
    assert "'DAT_ASCII.csv' in a zip archive" in bars.layouts[0]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.csv", "x")
    assert error_of(path) == (
        f"{path}: must be an archive of one table, but holds 3 files ('DAT_ASCII.csv', 'DAT_ASCII.txt', 'other.csv');"
        " extract the table"
    )
    path.write_bytes(path.read_bytes()[:-30])
    assert error_of(path) == f"{path}: not a readable zip archive"
