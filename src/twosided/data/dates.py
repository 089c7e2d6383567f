"""Parsing of dates and times, and conversion of local time to UTC."""

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
"""ISO 8601 and variants of it: the time of day and the offset from UTC are optional."""
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def parse_times(cells: pl.Series) -> tuple[pl.Series, bool] | None:
    """Parse strings as seconds since 1970. Return them, and whether they are in UTC.

    The cells are either all dates or all numbers, and either all dates have an offset from UTC or none has; otherwise
    the result is None. Dates without an offset are in local time, so the flag is False. Numbers are returned unchanged,
    and the flag is True. An empty cell is null.
    """
    cells = cells.str.strip_chars()
    cells = cells.set(cells == "", None)
    non_empty = cells.drop_nulls()
    if non_empty.is_empty() or non_empty.str.contains(_NUMBER).all():
        return cells.cast(pl.Float64, strict=False), True
    groups = cells.str.extract_groups(_DATE).struct.unnest()
    year, month, day, hour, minute, second, fraction, offset = (groups[str(i)] for i in range(1, 9))
    clock = [x.fill_null("00") for x in (hour, minute, second)]
    text = year + "-" + month + "-" + day + " " + clock[0] + ":" + clock[1] + ":" + clock[2]
    datetimes = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    has_offsets = offset.null_count() == cells.null_count()
    if datetimes.null_count() != cells.null_count() or not (has_offsets or offset.drop_nulls().is_empty()):
        return None
    offset = offset.str.replace("Z|UTC", "+00:00").str.replace(":", "")
    hours, minutes = offset.str.slice(1, 2).cast(pl.Float64), offset.str.slice(3, 2).cast(pl.Float64)
    offset_seconds = (60 * hours + minutes) * 60
    offset_seconds = pl.select(
        pl.when(offset.str.starts_with("-")).then(-offset_seconds).otherwise(offset_seconds).fill_null(0.0)
    ).to_series()
    fraction = fraction.cast(pl.Float64, strict=False).fill_null(0.0)
    return datetimes.dt.epoch("us") / 1e6 + fraction - offset_seconds, has_offsets


def local_to_utc(local: Float[ndarray, "n"], timezone: str) -> Float[ndarray, "n"]:
    """Convert seconds since 1970 in local time, in order, to seconds since 1970 UTC.

    Local times that are skipped when clocks go forward are NaN. An hour that is repeated when clocks go back is
    taken as its first occurrence, unless times would then decrease. Raises `Refusal` for an unknown time zone.
    """
    if timezone == "UTC":
        return local
    if timezone not in available_timezones():
        raise Refusal(
            f"timezone must be a name of the tz database, such as Europe/London, but got {timezone!r}"
        )
    naive = pl.Series(np.round(local * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
    earliest, latest = (
        naive.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null").dt.epoch("us").to_numpy()
        / 1e6
        for which in ("earliest", "latest")
    )
    times = earliest.astype(float)
    for i in np.flatnonzero(earliest != latest):
        if i and np.isfinite(times[i]) and times[i] <= times[i - 1]:
            times[i] = latest[i]
    return times
