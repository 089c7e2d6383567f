"""Read and write files of bars.

The format is CSV (plain or gzipped) or Parquet with named columns, in upper or lower case:

    time      or timestamp, datetime, date, open_time: a date, or seconds, milliseconds, ... since 1970 UTC
    open, high, low, close                          of one price; volume is optional
    bid_open, ..., bid_close, ask_open, ...         of bid and ask in one file; or one file each, in either order

Dates without an offset are in local time of `timezone`. Bars of two files are matched by time. With bid and ask, the
price of a bar is their midprice. (For highs and lows this is an approximation, because bid and ask need not peak at the
same time.) Invalid content raises `DataError`, one sentence that names the file and the line (the row of a Parquet
file). Irregularities such as missing bars, crossed quotes and bars off the time grid are accepted and counted.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided.core import store
from twosided.data.bars import OHLC, OHLC_FIELDS, Bars, format_time
from twosided.data.dates import local_to_utc
from twosided.data.tables import DataError, RowValidator, Table, format_value, read_table, suggest

TIME_COLUMNS = ("time", "timestamp", "datetime", "date", "open_time")
MAX_PRICE = 1e12
"""Largest accepted price."""
MAX_CROSSED_SHARE = 0.25
"""Largest accepted share of bars whose bid is above the ask. Real pairs of files have about 1%; files that do not
belong together have many."""


def read_bars(*paths: str | Path, timezone: str = "UTC", columns: Mapping[str, str] | None = None) -> Bars:
    """Read bars from one file, or bid bars and ask bars from two files in either order. Raises `DataError`.

    `timezone` is a name of the tz database, used for dates without an offset. `columns` gives the names of columns
    that are called otherwise in the file: with {"close": "last"} the column `last` is read as the close, and a column
    `close` is ignored.
    """
    if not 1 <= len(paths) <= 2:
        raise DataError(
            f"bars must be one file, or one file of bid bars and one of ask bars, but got {len(paths)} files"
        )
    files = [_read(Path(path), timezone, columns or {}) for path in paths]
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
        columns["volume"] = bars.volume
    frame, path = pl.DataFrame(columns), Path(path)
    if path.suffix in (".parquet", ".pq"):
        store.write_frame(path, frame)
    else:
        store.write(path, frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S%.f+00:00"))


def _read(path: Path, timezone: str, renamed: Mapping[str, str]) -> Bars:
    def select(location: str, header: list[str]) -> list[str]:
        return _select_columns(location, header, renamed)

    table = read_table(path, select, _refuse_no_header, is_date=lambda column: _is_time(column, renamed))
    values = {_field(column, renamed): table[column] for column in table.columns}
    time = _to_seconds(table, values["time"], timezone)
    rows = RowValidator(table)
    rows.check(np.isnan(values["time"]), lambda i: "time is empty")
    rows.check(np.isnan(time), lambda i: f"time does not exist in {timezone}, because clocks are put forward")
    rows.check(
        np.append(False, np.diff(time) <= 0),
        lambda i: (
            f"time {format_time(time[i])} is "
            + ("the same as" if time[i] == time[i - 1] else f"before {format_time(time[i - 1])},")
            + " the time of the row above"
        ),
    )
    prices = {side: _prices(rows, values, side) for side in ("bid_", "ask_", "") if f"{side}close" in values}
    volume = values.get("volume")
    if volume is not None:
        rows.check(np.isnan(volume), lambda i: "volume is empty")
        rows.check(volume < 0, lambda i: f"volume must be at least 0, but is {format_value(volume[i])}")
    rows.raise_first()
    if len(time) < 2:
        raise DataError(
            f"{table.name}: at least two bars are needed to determine their length, but there is one"
        )
    bid, ask = prices.get("bid_"), prices.get("ask_")
    price = prices[""] if bid is None or ask is None else _mid(bid, ask)
    bars = Bars(time, price, _bar_length(time), bid, ask, volume, sources=(table.name,))
    _refuse_crossed(bars)
    return bars


def _select_columns(location: str, header: list[str], renamed: Mapping[str, str]) -> list[str]:
    """Return the columns to read of a file with the given header."""
    found = [_field(column, renamed) for column in header]
    has_sides = any(field.startswith(("bid_", "ask_")) for field in found)
    prices = (
        [f"{side}_{name}" for side in ("bid", "ask") for name in OHLC_FIELDS] if has_sides else [*OHLC_FIELDS]
    )
    for field in ("time", *prices, *(["volume"] if "volume" in renamed else [])):
        if field not in found:
            column = renamed.get(field, field)
            if column in header:
                other = found[header.index(column)]
                raise DataError(f"{location}: column {column} cannot be both {field} and {other}")
            raise DataError(f"{location}: no column {column}{suggest(column, header)}")
        if found.count(field) > 1:
            first, second = [column for column, name in zip(header, found, strict=True) if name == field][:2]
            raise DataError(
                f"{location}: two columns for {field}, {format_value(first)} and {format_value(second)}"
            )
    selected = ["time", *prices] + ["volume"] * (found.count("volume") == 1)
    return [header[found.index(field)] for field in selected]


def _field(column: str, renamed: Mapping[str, str]) -> str:
    """Return the field that a column holds: time, open, bid_open, volume or, for other columns, its name in lower case.

    The result is "" if `renamed` names another column for the field.
    """
    for field, name in renamed.items():
        if column == name:
            return field
    plain = column.strip().lower()
    field = "time" if plain in TIME_COLUMNS else plain
    return "" if field in renamed else field


def _is_time(column: str, renamed: Mapping[str, str]) -> bool:
    return _field(column, renamed) == "time"


def _refuse_no_header(location: str, width: int) -> list[str]:
    raise DataError(f"{location}: must be a header with the names of columns (time, open, high, low, close)")


def _to_seconds(table: Table, values: ndarray, timezone: str) -> Float[ndarray, "bars"]:
    """Convert times to seconds since 1970 UTC. The unit of numeric times is inferred from their size: seconds, milli-,
    micro- or nanoseconds."""
    if not table.is_utc:
        # Empty cells stay NaN; the caller refuses them.
        return np.where(np.isnan(values), np.nan, local_to_utc(np.nan_to_num(values), timezone))
    largest = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 0.0
    unit = next((unit for unit in (1.0, 1e3, 1e6) if largest < 1e11 * unit), 1e9)
    return values / unit


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
