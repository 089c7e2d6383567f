"""Dates as texts to seconds, and clocks of time zones to UTC."""

from zoneinfo import available_timezones

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided.core.errors import Refusal

_DATE = (
    r"^([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})"
    r"(?:[ T]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,9})?)?)?"
    r" ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?$"
)
"""ISO 8601 and the like: with a time of day or without, with an offset from UTC or without."""
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def seconds_of(cells: pl.Series) -> tuple[pl.Series, bool] | None:
    """Seconds since 1970 of texts, all of them dates or all of them numbers; None where they are not.

    And whether the dates say their offset from UTC, all or none of them; without, the seconds are on their own clock.
    An empty cell is null. Numbers are left as they are, and zoned.
    """
    cells = cells.str.strip_chars()
    cells = cells.set(cells == "", None)
    there = cells.drop_nulls()
    if there.is_empty() or there.str.contains(_NUMBER).all():
        return cells.cast(pl.Float64, strict=False), True
    parts = cells.str.extract_groups(_DATE).struct.unnest()
    year, month, day, hour, minute, second, fraction, offset = (parts[str(i)] for i in range(1, 9))
    clock = [x.fill_null("00") for x in (hour, minute, second)]
    written = year + "-" + month + "-" + day + " " + clock[0] + ":" + clock[1] + ":" + clock[2]
    moments = written.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    zoned = offset.null_count() == cells.null_count()
    if moments.null_count() != cells.null_count() or not (zoned or offset.drop_nulls().is_empty()):
        return None
    east = offset.str.replace("Z|UTC", "+00:00").str.replace(":", "")
    hours, minutes = east.str.slice(1, 2).cast(pl.Float64), east.str.slice(3, 2).cast(pl.Float64)
    ahead = (60 * hours + minutes) * 60
    ahead = pl.select(
        pl.when(east.str.starts_with("-")).then(-ahead).otherwise(ahead).fill_null(0.0)
    ).to_series()
    part = fraction.cast(pl.Float64, strict=False).fill_null(0.0)
    return moments.dt.epoch("us") / 1e6 + part - ahead, zoned


def utc_of(clock: Float[ndarray, "n"], timezone: str) -> Float[ndarray, "n"]:
    """Seconds since 1970 UTC of a zone's own clock, in order; NaN for times that the clock never showed.

    Where the clock is put back it shows an hour twice: times are of the first unless they would then go backwards.
    """
    if timezone == "UTC":
        return clock
    if timezone not in available_timezones():
        raise Refusal(f"timezone must be one of the tz database, such as Europe/London, but got {timezone!r}")
    naive = pl.Series(np.round(clock * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    first, second = (
        naive.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null").dt.epoch("us").to_numpy()
        / 1e6
        for which in ("earliest", "latest")
    )
    times = first.astype(float)
    for i in np.flatnonzero(first != second):
        if i and np.isfinite(times[i]) and times[i] <= times[i - 1]:
            times[i] = second[i]
    return times
