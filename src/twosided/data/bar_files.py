"""Read and write files of bars.

The format is CSV (plain, gzipped or zipped) or Parquet, with named columns in upper or lower case:

    time      or timestamp, datetime, date, open_time: a date, or seconds, milliseconds, ... since 1970 UTC;
              or a column of dates and one of times of day
    open, high, low, close                          of one price; volume is optional
    bid_open, ..., bid_close, ask_open, ...         of bid and ask in one file; or one file each, in either order

CSV without a header must have the columns time (or date and time of day), open, high, low, close and possibly volume,
in this order. The layouts of MetaTrader, HistData, Dukascopy, Binance, Kraken and others are recognised in this way.
Rows may be in order of time or in the opposite order.

Dates without an offset are in local time of `timezone`. Bars of two files are matched by time. With bid and ask, the
price of a bar is their midprice. (For highs and lows this is an approximation, because bid and ask need not peak at the
same time.) Invalid content raises `DataError`, one sentence that names the file and the line (the row of a Parquet
file). Irregularities such as missing bars, crossed quotes and bars off the time grid are accepted and counted.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided.core import store
from twosided.core.errors import Refusal
from twosided.data.bars import DAY, OHLC, OHLC_FIELDS, Bars, format_duration, format_time
from twosided.data.content import DataError, format_value
from twosided.data.dates import Times, local_to_utc, parse_times
from twosided.data.formats import Format, check_columns
from twosided.data.numbers import to_numbers
from twosided.data.table_files import read_table
from twosided.data.tables import Column, RowValidator, Sample, Table, suggest

_LOG = logging.getLogger(__name__)

SIDES = ("bid", "ask")
SIDE_FIELDS = tuple(f"{side}_{name}" for side in SIDES for name in OHLC_FIELDS)
FIELDS = ("time", "date", *OHLC_FIELDS, *SIDE_FIELDS, "volume")
"""Fields that `columns` may name. With both of them, `date` is the date and `time` the time of day."""
TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "open_time")
MAX_PRICE = 1e12
"""Largest accepted price."""
MAX_CROSSED_SHARE = 0.25
"""Largest accepted share of bars whose bid is above the ask. Real pairs of files have about 1%; files that do not
belong together have many."""
MIN_BAR, MAX_BAR = 0.1, 400 * DAY
"""Shortest length of bars whose times are numbers of unknown unit, and longest length of bars, in seconds."""
FIRST_YEAR, LAST_YEAR = 1700, 2200
"""Years of times, the last one excluded."""

_ZONE = "utc|gmt|local|eet|est|edt|cet|server"
_TIME_NAME = re.compile(
    rf"(?:(?:{_ZONE})_)?(?:time|timestamp|datetime|date|date_time|open_?time|open_timestamp)(?:_(?:{_ZONE}))?"
)
"""Usual names of the time."""
_WEAK_TIME_NAMES = (
    "unix", "unix_timestamp", "unix_time", "epoch", "ts", "ts_event", "start_time", "start", "window_start",
    "begin", "period", "day", "trade_date", "index", "index_level_0", "dt", "",
)  # fmt: skip
"""Names of the time, in order, where no column has a usual one; "" is the index of pandas."""
_DATE_NAMES, _CLOCK_NAMES = ("date", "day", "trade_date", "dt"), ("time", "hour", "clock", "time_of_day")
_CLOSE_NAMES = ("close_last", "closing_price", "last", "price")
_VOLUME_NAMES = (
    "volume", "vol", "real_volume", "total_volume", "totalvolume", "tickvol", "tick_volume", "tickvolume", "totalticks",
)  # fmt: skip
"""Names of the volume, in order. MetaTrader has a volume, often 0, and a number of ticks."""
_SIDE_NAMES = {
    form.format(side=side, name=name, letter=name[0]): f"{side}_{name}"
    for side in SIDES
    for name in OHLC_FIELDS
    for form in ("{side}_{name}", "{side}{name}", "{name}_{side}", "{name}{side}", "{side}_{letter}")
}
_KINDS: dict[str, Literal["text"]] = {"time": "text", "clock": "text"}
_CLOCK = re.compile(
    r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp]\.?[Mm]\.?)?([ ]?(Z|UTC|[+-][0-9:]+))?"
)
_CLOCK_OR_DIGITS = re.compile(rf"{_CLOCK.pattern}|[0-9]{{1,6}}|[0-9]{{9}}|[0-9]{{1,2}} ?[AaPp][Mm]")
_DAY = re.compile(
    r"[0-9]{8}|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T]00:00(:00)?)?|[^:]*[A-Za-z]{3}[^:]*"
)
_DATE_OR_NUMBER = re.compile(
    r"[0-9]+(\.[0-9]*)?|[0-9]{8}[ T][0-9]{4,9}|[0-9]+[-/.][0-9]+[-/.][0-9].*|[0-9]{1,2}[- ][A-Za-z]{3}.*[0-9].*"
    r"|[A-Za-z]{3,9}\.? [0-9].*"
)


def read_bars(
    *paths: str | Path, timezone: str = "UTC", columns: Mapping[str, str] | None = None, format: str = ""
) -> Bars:
    """Read bars from one file, or bid bars and ask bars from two files in either order. Raises `DataError`.

    `timezone` is a name of the tz database, used for dates without an offset. `columns` gives the names of columns
    that are called otherwise in the file, or their numbers from 1 if it has no header: with {"close": "last"} the
    column `last` is read as the close, and a column `close` is ignored. `format` states the form of times and numbers
    that cannot be detected: dmy, mdy or ymd (the order of dates), s, ms, us or ns (the unit of times since 1970),
    decimal-comma or decimal-point, separated by commas; or a pattern such as %d/%m/%Y %H:%M. The detected layout is in
    `layouts` of the result, and logged.
    """
    if not 1 <= len(paths) <= 2:
        raise DataError(
            f"bars must be one file, or one file of bid bars and one of ask bars, but got {len(paths)} files"
        )
    check_columns(columns or {}, FIELDS)
    stated = Format.parse(format)
    files = [_read(Path(path), timezone, columns or {}, stated) for path in paths]
    if len(files) == 1:
        return files[0]
    for bars in files:
        if bars.bid is not None:
            raise DataError(
                f"{bars.sources[0]}: has both bid and ask, so it must be given without a second file"
            )
    return _pair(*files)


def write_bars(path: str | Path, bars: Bars) -> None:
    """Write bars atomically, as Parquet if the file name ends in .parquet or .pq, otherwise as CSV."""
    columns: dict[str, Any] = {
        "time": pl.Series(np.round(bars.time * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
    }
    if bars.bid is not None and bars.ask is not None:
        for side, prices in (("bid", bars.bid), ("ask", bars.ask)):
            columns |= {f"{side}_{name}": getattr(prices, name) for name in OHLC_FIELDS}
    else:
        columns |= {name: getattr(bars.price, name) for name in OHLC_FIELDS}
    if bars.volume is not None:
        columns["volume"] = pl.Series(bars.volume, nan_to_null=True)
    frame, path = pl.DataFrame(columns), Path(path)
    if path.suffix in (".parquet", ".pq"):
        store.write_frame(path, frame)
    else:
        store.write(path, frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S%.f+00:00"))


def _read(path: Path, timezone: str, renamed: Mapping[str, str], format: Format) -> Bars:
    table = read_table(path, lambda sample: _choose(sample, renamed), format)
    table, times, time = _ordered_times(table, timezone, format)
    rows = RowValidator(table)
    rows.check_problem(times.problem)
    rows.check(np.isnan(times.seconds), lambda i: "time is empty")
    rows.check(np.isnan(time), lambda i: f"time does not exist in {timezone}, because clocks are put forward")
    first, last = (np.datetime64(str(year), "s").astype(float) for year in (FIRST_YEAR, LAST_YEAR))
    rows.check(
        (time < first) | (time >= last),
        lambda i: (
            f"time must be in a year from {FIRST_YEAR} to {LAST_YEAR - 1}, but is {format_time(time[i])}"
        ),
    )
    numbers = table.row_numbers
    is_reversed = numbers is not None and bool(numbers[0] > numbers[-1])
    rows.check(
        np.append(False, np.diff(time) <= 0),
        lambda i: (
            f"time {format_time(time[i])} is "
            + ("the same as" if time[i] == time[i - 1] else f"before {format_time(time[i - 1])},")
            + f" the time of the row {'below' if is_reversed else 'above'}"
        ),
    )
    values = table.numbers
    prices = {side: _prices(rows, values, side) for side in ("bid_", "ask_", "") if f"{side}close" in values}
    volume, volume_column = _volume(rows, table)
    rows.raise_first()
    if len(time) < 2:
        raise DataError(
            f"{table.name}: at least two bars are needed to determine their length, but there is one"
        )
    seconds = _bar_length(time)
    _check_length(table, times, seconds)
    bid, ask = prices.get("bid_"), prices.get("ask_")
    price = prices[""] if bid is None or ask is None else _mid(bid, ask)
    zone = "UTC" if times.is_utc else timezone
    notes = [f"{times.form}, in {zone}", *(["newest first"] if is_reversed else [])]
    if volume_column is not None:
        notes.append("volume" + (f" from {volume_column}" if volume is not None else ": none given"))
    layout = str(table.noted(*notes))
    bars = Bars(time, price, seconds, bid, ask, volume, sources=(table.name,), layouts=(layout,))
    _refuse_crossed(bars)
    _LOG.info(layout)
    return bars


def _ordered_times(
    table: Table, timezone: str, format: Format
) -> tuple[Table, Times, Float[ndarray, "bars"]]:
    """Return the table with its rows in order of time, its times, and these in seconds since 1970 UTC."""
    label, cells = table.labels["time"], table.texts["time"]
    try:
        times = parse_times(label, cells, table.texts.get("clock"), format)
    except Refusal as error:
        raise DataError(f"{table.name}: {error}") from None
    if {"utc", "gmt"} & set(_plain(label).split("_")):
        times = replace(times, is_utc=True)
    steps = np.diff(times.seconds)
    if np.sum(steps < 0) > np.sum(steps > 0):
        rows = RowValidator(table)
        rows.check_problem(times.problem)
        rows.raise_first()
        table, times = table.reversed(), replace(times, seconds=times.seconds[::-1])
    if times.is_utc:
        return table, times, times.seconds
    # Empty cells stay NaN; the caller refuses them.
    seconds = local_to_utc(np.nan_to_num(times.seconds), timezone)
    return table, times, np.where(np.isnan(times.seconds), np.nan, seconds)


def _check_length(table: Table, times: Times, seconds: float) -> None:
    """Raise `DataError` for bars of an absurd length."""
    if seconds > MAX_BAR:
        raise DataError(
            f"{table.name}: times read as {times.form} make bars of {format_duration(seconds)}; if they are something"
            " else, state it with `format`"
        )
    if times.are_numbers and seconds < MIN_BAR:
        raise DataError(
            f"{table.name}: times read as {times.form} make bars of {format_duration(seconds)}; if that is right, state"
            " their unit with `format`: s, ms, us or ns"
        )


def _volume(rows: RowValidator, table: Table) -> tuple[Float[ndarray, "bars"] | None, str | None]:
    """Return the volume, or None without one, and the name of its column. The first of several columns with a positive
    number is chosen."""
    volume, label = None, None
    for field in (name for name in table.labels if name.startswith("volume")):
        if field in table.texts:  # a Parquet file
            cells = table.texts[field].cast(pl.String)
            x, invalid = to_numbers(cells, ".", True)
            rows.check(
                invalid, lambda i, cells=cells: f"volume must be a number, but is {format_value(cells[i])}"
            )
        else:
            x = table.numbers[field]
        rows.check(x < 0, lambda i, x=x: f"volume must be at least 0, but is {format_value(x[i])}")
        if label is None or (x > 0).any():
            volume, label = x, table.labels[field]
        if (x > 0).any():
            break
    return (None if volume is None or np.isnan(volume).all() else volume), label


# --- Columns ---


def _choose(sample: Sample, renamed: Mapping[str, str]) -> list[Column]:
    """Return the columns to read of a file."""
    named = dict(renamed)
    if "date" in named:
        # With both, the time is the time of day.
        if "time" in named:
            named["clock"] = named["time"]
        named["time"] = named.pop("date")
    header = sample.header
    if header is None:
        positions = _without_header(sample, named)
        header = [""] * sample.width
    else:
        positions = _with_header(sample.location, header, sample.rows, named)
    fields = [field for field in ("time", "clock", *OHLC_FIELDS, *SIDE_FIELDS) if field in positions]
    columns = [
        Column(
            field,
            positions[field],
            header[positions[field]] or field,
            _KINDS.get(field, "number"),
            1.0 if field in _KINDS else sample.divisor(positions[field]),
        )
        for field in fields
    ]
    volumes = [(field, i) for field, i in positions.items() if field.startswith("volume")]
    return columns + [Column(field, i, header[i] or "volume", "amount") for field, i in volumes]


def _with_header(
    location: str, header: list[str], rows: list[list[str]], named: Mapping[str, str]
) -> dict[str, int]:
    """Return the positions of columns by field."""
    positions: dict[str, int] = {}
    for field, column in named.items():
        found = [i for i, name in enumerate(header) if name == column]
        if not found:
            raise DataError(f"{location}: no column {column}{suggest(column, header)}")
        if len(found) > 1:
            raise DataError(f"{location}: two columns are named {format_value(column)}")
        if found[0] in positions.values():
            other = next(name for name, i in positions.items() if i == found[0])
            raise DataError(f"{location}: column {column} cannot be both {other} and {field}")
        positions[field] = found[0]
    plain = [_plain(name) for name in header]
    free = [i for i in range(len(header)) if i not in positions.values()]
    has_sides = any(
        field in SIDE_FIELDS for field in (*positions, *(_SIDE_NAMES.get(plain[i]) for i in free))
    )
    prices = SIDE_FIELDS if has_sides else OHLC_FIELDS
    if "time" not in positions:
        positions |= _time_columns(location, header, rows, plain, free)
    for field in ("time", *prices):
        if field in positions:
            continue
        found = [] if field == "time" else _price_columns(field, plain, free)
        if len(found) > 1:
            raise DataError(
                f"{location}: two columns for {field}, {_two(header, found)}{_advice(field, header[found[0]])}"
            )
        if found:
            positions[field] = found[0]
        elif field in header:
            other = next(name for name, i in positions.items() if i == header.index(field))
            raise DataError(f"{location}: column {field} cannot be both {field} and {other}")
        else:
            hint = suggest(field, [name for name in header if name]) or _advice(field)
            raise DataError(f"{location}: no column {field}{hint}")
    if "volume" not in positions:
        positions |= {f"volume {n}": i for n, i in enumerate(_volume_columns(plain, free))}
    return positions


def _without_header(sample: Sample, named: Mapping[str, str]) -> dict[str, int]:
    """Return the positions of columns by field, of a file whose columns have numbers only."""
    positions: dict[str, int] = {}
    first = [row[0] for row in sample.rows]
    if sample.width >= 5 and all(map(_DATE_OR_NUMBER.fullmatch, first)):
        positions["time"] = 0
        second = [row[1] for row in sample.rows]
        if all(map(_DAY.fullmatch, first)) and all(map(_CLOCK.fullmatch, second)):
            positions["clock"] = 1
        start = len(positions)
        positions |= {name: start + i for i, name in enumerate((*OHLC_FIELDS, "volume"))}
        positions = {name: i for name, i in positions.items() if i < sample.width}
    for field, column in named.items():
        if not (column.isdecimal() and 1 <= int(column[:6]) <= sample.width):
            raise DataError(
                f"{sample.location}: columns of a file without a header are given by their numbers from 1 to"
                f" {sample.width}, but {field} is {format_value(column)}"
            )
        positions[field] = int(column) - 1
    if named and "time" in named and "clock" not in named:
        positions.pop("clock", None)
    missing = [field for field in ("time", *OHLC_FIELDS) if field not in positions]
    if missing:
        raise DataError(
            f"{sample.location}: must be a header with the names of columns (time, open, high, low, close), or a row of"
            f" these values; or give numbers of columns with `columns`, such as {missing[0]}=1"
        )
    return positions


def _time_columns(
    location: str, header: list[str], rows: list[list[str]], plain: list[str], free: list[int]
) -> dict[str, int]:
    """Return the position of the column of times, or of those of dates and times of day; nothing if there is none."""
    usual = [i for i in free if _TIME_NAME.fullmatch(plain[i])]
    dates = [i for i in free if plain[i] in _DATE_NAMES and _all(_DAY, rows, i)]
    clocks = [i for i in free if plain[i] in _CLOCK_NAMES and _all(_CLOCK_OR_DIGITS, rows, i)]
    if len(dates) == len(clocks) == 1 and {*usual} <= {*dates, *clocks}:
        return {"time": dates[0], "clock": clocks[0]}
    if len(usual) > 1:
        raise DataError(
            f"{location}: two columns for time, {_two(header, usual)}{_advice('time', header[usual[-1]])}"
        )
    if usual:
        return {"time": usual[0]}
    for name in _WEAK_TIME_NAMES:
        for i in free:
            if plain[i] == name and (name or (not header[i] and _all(_DATE_OR_NUMBER, rows, i, r"[-/.:]"))):
                return {"time": i}
    if _has_letters(plain) and "t" in plain:
        return {"time": plain.index("t")}
    return {}


def _all(pattern: re.Pattern[str], rows: list[list[str]], i: int, part: str = "") -> bool:
    """Whether cells of the first rows match a pattern, and each has the part."""
    cells = [row[i] for row in rows if row[i]]
    return bool(cells) and all(pattern.fullmatch(cell) and re.search(part, cell) for cell in cells)


def _price_columns(field: str, plain: list[str], free: list[int]) -> list[int]:
    """Return the positions of columns for a price."""
    if field in SIDE_FIELDS:
        return [i for i in free if _SIDE_NAMES.get(plain[i]) == field]
    names = [{field}, {f"{field}_price", f"price_{field}"} | {f"{n}_{field}" for n in range(1, 6)}]
    if _has_letters(plain):
        names.append({field[0]})
    if field == "close":
        names += [{name} for name in _CLOSE_NAMES]
    for group in names:
        found = [i for i in free if plain[i] in group]
        if found:
            return found
    return []


def _has_letters(plain: list[str]) -> bool:
    """Whether prices have names of one letter."""
    return all(plain.count(letter) == 1 for letter in "ohlc")


def _volume_columns(plain: list[str], free: list[int]) -> list[int]:
    """Return the positions of up to two columns for the volume, the likelier one first."""
    found = [[i for i in free if plain[i] == name] for name in _VOLUME_NAMES]
    found.append([i for i in free if plain[i].startswith("volume_")][:1])
    if _has_letters(plain):
        found.append([i for i in free if plain[i] == "v"])
    return [matches[0] for matches in found if len(matches) == 1][:2]


def _plain(name: str) -> str:
    """Return a name in lower case, with underscores in place of all that is neither a letter nor a digit."""
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _two(header: list[str], positions: Sequence[int]) -> str:
    return " and ".join(format_value(header[i]) for i in positions[:2])


def _advice(field: str, name: str = "NAME") -> str:
    """Return the end of an error message about a column that cannot be chosen."""
    return f"; give the name of its column with `columns`: {field}={name}"


def _prices(rows: RowValidator, values: Mapping[str, ndarray], side: str) -> OHLC:
    """Return the prices of a side ("bid_", "ask_", or "" for a single price), and register their checks."""
    prices = OHLC(*(values[f"{side}{name}"] for name in OHLC_FIELDS))
    for name in OHLC_FIELDS:
        x = getattr(prices, name)
        rows.check(np.isnan(x), lambda i, name=name: f"{side}{name} is empty")
        rows.check(
            x <= 0, lambda i, name=name, x=x: f"{side}{name} must be positive, but is {format_value(x[i])}"
        )
        rows.check(
            x > MAX_PRICE,
            lambda i, name=name, x=x: (
                f"{side}{name} must be at most {format_value(MAX_PRICE)}, but is {format_value(x[i])}"
            ),
        )
    high, low = prices.high, prices.low
    rows.check(
        high < low, lambda i: f"{side}high {format_value(high[i])} is below {side}low {format_value(low[i])}"
    )
    for name in ("open", "close"):
        x = getattr(prices, name)
        rows.check(
            (x > high) | (x < low),
            lambda i, name=name, x=x: (
                f"{side}{name} {format_value(x[i])} is not between {side}low {format_value(low[i])} and"
                f" {side}high {format_value(high[i])}"
            ),
        )
    return prices


def _pair(one: Bars, other: Bars) -> Bars:
    """Match the bars of two files by time. The file with the lower prices is the bid."""
    _, left, right = np.intersect1d(one.time, other.time, assume_unique=True, return_indices=True)
    names = one.sources[0], other.sources[0]
    if len(left) < 2 or len(left) < 0.5 * min(len(one), len(other)):
        raise DataError(
            f"{names[1]}: must be the other side of {names[0]}, but only {len(left)} of its {len(other)} bars have the"
            " time of a bar there"
        )
    a, b = one[left], other[right]
    bid, ask = (a, b) if np.median(a.price.close - b.price.close) <= 0 else (b, a)
    volumes = [side.volume for side in (bid, ask) if side.volume is not None]
    bars = Bars(
        time=bid.time,
        price=_mid(bid.price, ask.price),
        seconds=_bar_length(bid.time),
        bid=bid.price,
        ask=ask.price,
        volume=np.sum(volumes, axis=0) if volumes else None,
        num_unpaired=len(one) + len(other) - 2 * len(left),
        sources=(bid.sources[0], ask.sources[0]),
        layouts=bid.layouts + ask.layouts,
    )
    _refuse_crossed(bars)
    return bars


def _refuse_crossed(bars: Bars) -> None:
    if bars.num_crossed > MAX_CROSSED_SHARE * len(bars):
        names = " and ".join(bars.sources)
        raise DataError(
            f"{names}: must be bid and ask of the same price, but the bid is above the ask in {bars.num_crossed} of"
            f" {len(bars)} bars"
        )


def _mid(bid: OHLC, ask: OHLC) -> OHLC:
    return OHLC(*((getattr(bid, field.name) + getattr(ask, field.name)) / 2 for field in fields(OHLC)))


def _bar_length(time: Float[ndarray, "bars"]) -> float:
    """Return the most frequent difference between consecutive times, in seconds, to the millisecond."""
    steps, counts = np.unique(np.round(np.diff(time), 3), return_counts=True)
    return float(max(steps[np.argmax(counts)], 1e-3))
