"""Files of bars, read and written.

CSV (plain or gzipped) and Parquet with named columns, in any case:

    time      also timestamp, datetime, date or open_time: a date, or seconds, milliseconds, ... since 1970 UTC
    open, high, low, close                          of one price; volume where there is one
    bid_open, ..., bid_close, ask_open, ...         of both sides in one file; or in two files, in either order

A date without an offset is on the clock of `timezone`. Bars of two files are joined on their times. Where both sides
are given, the price of a bar is the mid of its sides' (for highs and lows an approximation: sides need not peak
together). Whatever is wrong is refused by `DataError`, one sentence that names the file and the line (the row of a
Parquet file); what is merely odd (bars left out, crossed quotes, bars off the grid) is counted.
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
from twosided.data.bars import QUOTES, Bars, Quotes, moment
from twosided.data.dates import utc_of
from twosided.data.tables import DataError, FirstBad, Table, nearest, read_table, show

TIMES = ("time", "timestamp", "datetime", "date", "open_time")
LARGEST = 1e12
"""No price is larger."""
MOST_CROSSED = 0.25
"""Share of bars whose bid may be above the ask; real files have a percent, strangers have many."""


def read_bars(*paths: str | Path, timezone: str = "UTC", names: Mapping[str, str] | None = None) -> Bars:
    """Read bars from one file, or bid and ask bars from two in either order; raises DataError.

    `names` says what columns are called that have other names: {"close": "last"}; a `close` beside it is not read.
    """
    if not 1 <= len(paths) <= 2:
        raise DataError(f"bars are in one file, or bid and ask in two, but got {len(paths)}")
    read = [_read(Path(path), timezone, names or {}) for path in paths]
    if len(read) == 1:
        return read[0]
    for one in read:
        if one.bid is not None:
            raise DataError(f"{one.sources[0]}: has bid and ask already, so that no second file is needed")
    return _paired(*read)


def write_bars(path: str | Path, bars: Bars) -> None:
    """Write bars as Parquet or, by the name's ending, CSV: a whole file or none."""
    columns: dict[str, Any] = {
        "time": pl.Series(np.round(bars.time * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
    }
    if bars.bid is not None and bars.ask is not None:
        for side, quotes in (("bid", bars.bid), ("ask", bars.ask)):
            columns |= {f"{side}_{name}": getattr(quotes, name) for name in QUOTES}
    else:
        columns |= {name: getattr(bars.price, name) for name in QUOTES}
    if bars.volume is not None:
        columns["volume"] = bars.volume
    frame, path = pl.DataFrame(columns), Path(path)
    if path.suffix in (".parquet", ".pq"):
        store.write_frame(path, frame)
    else:
        store.write(path, frame.write_csv(datetime_format="%Y-%m-%d %H:%M:%S%.f+00:00"))


def _read(path: Path, timezone: str, names: Mapping[str, str]) -> Bars:
    def choose(where: str, header: list[str]) -> list[str]:
        return _choose(where, header, names)

    table = read_table(path, choose, _no_header, dates=lambda column: _is_time(column, names))
    kind = dict(zip(table.columns, (_kind(column, names) for column in table.columns), strict=True))
    values = {kind[column]: table[column] for column in table.columns}
    time = _seconds(table, values["time"], timezone)
    finder = FirstBad(table)
    finder.add(np.isnan(values["time"]), lambda i: "time is empty")
    finder.add(np.isnan(time), lambda i: f"the clock of {timezone} never showed this time")
    disorder = np.append(False, np.diff(time) <= 0)
    finder.add(
        disorder,
        lambda i: (
            f"time {moment(time[i])} is "
            + ("also that" if time[i] == time[i - 1] else f"before the {moment(time[i - 1])}")
            + " of the row above"
        ),
    )
    sides = {side: _quotes(finder, values, side) for side in ("bid_", "ask_", "") if f"{side}close" in values}
    volume = values.get("volume")
    if volume is not None:
        finder.add(np.isnan(volume), lambda i: "volume is empty")
        finder.add(volume < 0, lambda i: f"volume is negative, {show(volume[i])}")
    finder.refuse()
    if len(time) < 2:
        raise DataError(f"{table.name}: one bar, where bars need two to have a length")
    bid, ask = sides.get("bid_"), sides.get("ask_")
    price = sides[""] if bid is None or ask is None else _mid(bid, ask)
    bars = Bars(time, price, _length(time), bid, ask, volume, sources=(table.name,))
    _refuse_crossed(bars)
    return bars


def _choose(where: str, header: list[str], names: Mapping[str, str]) -> list[str]:
    """The columns to read of a file that names them."""
    kinds = [_kind(column, names) for column in header]
    both = any(kind.startswith(("bid_", "ask_")) for kind in kinds)
    quotes = [f"{side}_{name}" for side in ("bid", "ask") for name in QUOTES] if both else list(QUOTES)
    for kind in ("time", *quotes, *(["volume"] if "volume" in names else [])):
        if kind not in kinds:
            meant = names.get(kind, kind)
            if meant in header:
                other = kinds[header.index(meant)]
                raise DataError(f"{where}: column {meant} cannot be both {kind} and {other}")
            raise DataError(f"{where}: no column {meant}{nearest(meant, header)}")
        if kinds.count(kind) > 1:
            first, second = [column for column, own in zip(header, kinds, strict=True) if own == kind][:2]
            raise DataError(f"{where}: two columns of {kind}, {show(first)} and {show(second)}")
    wanted = ["time", *quotes] + ["volume"] * (kinds.count("volume") == 1)
    return [header[kinds.index(kind)] for kind in wanted]


def _kind(column: str, names: Mapping[str, str]) -> str:
    """What a column holds, by its name: open, bid_open, time, volume, or itself; "" where another one is chosen."""
    for kind, own in names.items():
        if column == own:
            return kind
    plain = column.strip().lower()
    kind = "time" if plain in TIMES else plain
    return "" if kind in names else kind


def _is_time(column: str, names: Mapping[str, str]) -> bool:
    return _kind(column, names) == "time"


def _no_header(where: str, width: int) -> list[str]:
    raise DataError(f"{where}: numbers, where the names of columns should be (time, open, high, low, close)")


def _seconds(table: Table, values: ndarray, timezone: str) -> Float[ndarray, "bars"]:
    """Seconds since 1970 UTC: numbers may count milliseconds, micro- or nanoseconds instead."""
    if not table.zoned:
        # An empty cell is refused by the caller.
        return np.where(np.isnan(values), np.nan, utc_of(np.nan_to_num(values), timezone))
    largest = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 0.0
    unit = next((unit for unit in (1.0, 1e3, 1e6) if largest < 1e11 * unit), 1e9)
    return values / unit


def _quotes(finder: FirstBad, values: Mapping[str, ndarray], side: str) -> Quotes:
    """One side's prices, with what every row of them must meet."""
    quotes = Quotes(*(values[f"{side}{name}"] for name in QUOTES))
    for name in QUOTES:
        x = getattr(quotes, name)
        finder.add(np.isnan(x), lambda i, name=name: f"{side}{name} is empty")
        finder.add(x <= 0, lambda i, name=name, x=x: f"{side}{name} is not positive, {show(x[i])}")
        finder.add(x > LARGEST, lambda i, name=name, x=x: f"{side}{name} {show(x[i])} is too large")
    high, low = quotes.high, quotes.low
    finder.add(high < low, lambda i: f"{side}high {show(high[i])} is below {side}low {show(low[i])}")
    for name in ("open", "close"):
        x = getattr(quotes, name)
        finder.add(
            (x > high) | (x < low),
            lambda i, name=name, x=x: (
                f"{side}{name} {show(x[i])} is not between {side}low {show(low[i])} and {side}high {show(high[i])}"
            ),
        )
    return quotes


def _paired(one: Bars, other: Bars) -> Bars:
    """Bid and ask bars, joined on their times; the lower one is the bid."""
    _, left, right = np.intersect1d(one.time, other.time, assume_unique=True, return_indices=True)
    names = one.sources[0], other.sources[0]
    if len(left) < 2 or len(left) < 0.5 * min(len(one), len(other)):
        raise DataError(
            f"{names[1]}: {len(left)} of its {len(other)} bars have the time of one in {names[0]}, so that they are"
            " not bid and ask of the same"
        )
    a, b = one[left], other[right]
    bid, ask = (a, b) if np.median(a.price.close - b.price.close) <= 0 else (b, a)
    volumes = [side.volume for side in (bid, ask) if side.volume is not None]
    bars = Bars(
        time=bid.time,
        price=_mid(bid.price, ask.price),
        seconds=_length(bid.time),
        bid=bid.price,
        ask=ask.price,
        volume=np.sum(volumes, axis=0) if volumes else None,
        unpaired=len(one) + len(other) - 2 * len(left),
        sources=(bid.sources[0], ask.sources[0]),
    )
    _refuse_crossed(bars)
    return bars


def _refuse_crossed(bars: Bars) -> None:
    if bars.crossed > MOST_CROSSED * len(bars):
        named = " and ".join(bars.sources)
        raise DataError(
            f"{named}: the bid is above the ask in {bars.crossed} of {len(bars)} bars, so that they are not sides of"
            " one price"
        )


def _mid(bid: Quotes, ask: Quotes) -> Quotes:
    return Quotes(*((getattr(bid, field.name) + getattr(ask, field.name)) / 2 for field in fields(Quotes)))


def _length(time: Float[ndarray, "bars"]) -> float:
    """The most frequent distance, to the millisecond."""
    steps, counts = np.unique(np.round(np.diff(time), 3), return_counts=True)
    return float(max(steps[np.argmax(counts)], 1e-3))
