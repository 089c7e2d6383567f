"""Parsing of dates and times, and conversion of local time to UTC."""

import re
from dataclasses import dataclass
from datetime import date
from zoneinfo import available_timezones

import numpy as np
import polars as pl
from jaxtyping import Float
from numpy import ndarray

from twosided.core.errors import Refusal
from twosided.data.content import format_value
from twosided.data.formats import ORDERS, UNITS, Format

_DATE = (
    r"^([0-9]{4})[-/.]?([0-9]{2})[-/.]?([0-9]{2})"
    r"(?:[ T]([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,9})?)?)?"
    r" ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?$"
)
"""ISO 8601 and variants of it: the time of day and the offset from UTC are optional."""
_DAY = (
    r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{8}"
    r"|[0-9]{1,2}[- ][A-Za-z]{3,9}\.?,?[- ][0-9]{2,4}|[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4}"
)
_CLOCK = (
    r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,:][0-9]{1,9})?)?(?: ?[AaPp]\.?[Mm]\.?)?|[0-9]{1,2} ?[AaPp]\.?[Mm]\.?"
    r"|[0-9]{4}|[0-9]{6}|[0-9]{9}"
)
_OFFSET = r"Z|(?:UTC|GMT)?[+-][0-9]{1,2}:?(?:[0-9]{2})?|UTC|GMT"
_DAY_AND_CLOCK = rf"^({_DAY})(?:(?:[T]|,? +)({_CLOCK}))? *({_OFFSET})?$"
"""Dates in any order of day, month and year, with or without a time of day and an offset from UTC."""
_CLOCK_PARTS = (
    r"^([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2})(?:[.,:]([0-9]{1,9}))?)?)?(?: ?([AaPp])\.?[Mm]\.?)?$"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_STAMPS = {8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM", 14: "YYYYMMDDHHMMSS", 17: "YYYYMMDDHHMMSSmmm"}
"""Calendar stamps written as a number, by the number of their digits."""
_AMBIGUOUS = (10, 12)
"""Numbers of digits of stamps that times since 1970 have too: seconds after 2030, and milliseconds before 2002."""
_CENTURIES = {width: "19|2[01]" if width in _AMBIGUOUS else "1[789]|2[01]" for width in _STAMPS}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_FIRST_SECOND, _LAST_SECOND = 1e8, 4.2e9
"""Numbers of seconds since 1970 of March 1973 and of 2103. A number of milliseconds, microseconds or nanoseconds is
recognised between these times, and a number of seconds up to the second one."""


@dataclass(frozen=True)
class Times:
    """Column of times."""

    seconds: Float[ndarray, "rows"]
    """Seconds since 1970; NaN where a cell is empty or no time."""
    is_utc: bool
    """Whether the times are in UTC. Otherwise they are in local time."""
    form: str
    """Description of how they are written."""
    problem: tuple[int, str] | None = None
    """First row whose cell is neither empty nor a time, and an error message."""
    are_numbers: bool = False
    """Whether the times are numbers whose unit was inferred."""


def parse_times(
    label: str,
    cells: pl.Series,
    clock: pl.Series | None = None,
    format: Format = Format(),
    *,
    keep_numbers: bool = False,
) -> Times:
    """Parse a column of times: dates of one form, or numbers. `label` is its name, for error messages.

    The cells are either all dates or all numbers, and either all dates have an offset from UTC or none has. A `clock`
    holds the times of day, where `cells` holds dates without. The unit of each number is inferred from its size, and
    numbers that are calendar stamps (20230306093000) are dates. With `keep_numbers`, numbers are kept as they are if
    none is a time since 1970 in milliseconds, microseconds or nanoseconds, and times of day need no date.

    Raises Refusal, without a location, if the order of day and month or the unit remains ambiguous.
    """
    if clock is not None:
        return _from_parts(label, _clean(cells.cast(pl.String)), _clean(clock.cast(pl.String)), format)
    if isinstance(cells.dtype, (pl.Datetime, pl.Date)):
        microseconds = cells.cast(pl.Datetime("us", getattr(cells.dtype, "time_zone", None)))
        seconds = microseconds.dt.epoch("us").cast(pl.Float64).to_numpy() / 1e6
        return Times(seconds, getattr(cells.dtype, "time_zone", None) is not None, "timestamps")
    if cells.dtype.is_numeric():
        return _from_numbers(label, cells, format, keep_numbers)
    cells = _clean(cells)
    if format.pattern is not None:
        return _from_pattern(label, cells, format.pattern)
    non_empty = cells.drop_nulls()
    # The first cell decides for most files whether all need to be compared.
    if non_empty[:1].str.contains(_NUMBER).all() and non_empty.str.contains(_NUMBER).all():
        return _from_numbers(label, cells, format, keep_numbers)
    if keep_numbers and non_empty.str.contains(rf"^(?:{_CLOCK})$").all():
        return Times(_to_numpy(_seconds_of_day(cells)), False, "times of day, in seconds after midnight")
    return _iso(cells) or _from_dates(label, cells, format)


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


def _clean(cells: pl.Series) -> pl.Series:
    """Return cells without spaces around them; empty ones are null."""
    cells = cells.str.strip_chars()
    return cells.set(cells == "", None)


def _first(invalid: pl.Series | ndarray) -> int | None:
    """Return the index of the first true entry, if there is one."""
    array = np.asarray(invalid)
    return int(np.argmax(array)) if array.any() else None


def _problem(
    label: str, cells: pl.Series, invalid: pl.Series | ndarray, expected: str = ""
) -> tuple[int, str] | None:
    row = _first(invalid)
    if row is None:
        return None
    expected = expected or "a date (2012-02-01 09:30) or a number"
    return row, f"{label} must be {expected}, but is {format_value(cells[row])}"


def _to_numpy(values: pl.Series) -> Float[ndarray, "rows"]:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()


# --- Dates ---


def _iso(cells: pl.Series) -> Times | None:
    """Parse dates whose year comes first, or return None if not all of the cells are such dates."""
    groups = cells.str.extract_groups(_DATE).struct.unnest()
    year, month, day, hour, minute, second, fraction, offset = (groups[str(i)] for i in range(1, 9))
    if year.null_count() != cells.null_count():
        return None
    clock = [x.fill_null("00") for x in (hour, minute, second)]
    text = year + "-" + month + "-" + day + " " + clock[0] + ":" + clock[1] + ":" + clock[2]
    datetimes = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    has_offsets = offset.null_count() == cells.null_count()
    if datetimes.null_count() != cells.null_count() or not (has_offsets or offset.drop_nulls().is_empty()):
        return None
    seconds = datetimes.dt.epoch("us") / 1e6
    if fraction.null_count() < len(cells):
        seconds = seconds + fraction.cast(pl.Float64, strict=False).fill_null(0.0)
    if has_offsets:
        seconds = seconds - _offset_seconds(offset)
    first = str(next((cell for cell in cells if cell is not None), ""))
    separator = first[4] if not first[4:5].isdigit() else ""
    form = f"dates YYYY{separator}MM{separator}DD"
    return Times(_to_numpy(seconds), has_offsets, form + " with offsets from UTC" * has_offsets)


def _offset_seconds(offset: pl.Series) -> pl.Series:
    """Return the seconds of offsets such as Z, +01:00 or GMT-0530; 0 for null."""
    parts = offset.str.extract_groups(r"([+-])([0-9]{1,2}):?([0-9]{2})?$").struct.unnest()
    hours, minutes = (parts[i].cast(pl.Float64).fill_null(0.0) for i in ("2", "3"))
    seconds = (60 * hours + minutes) * 60
    return pl.select(pl.when(parts["1"] == "-").then(-seconds).otherwise(seconds)).to_series()


def _from_dates(label: str, cells: pl.Series, format: Format) -> Times:
    """Parse dates of any form, of which some may be invalid."""
    groups = cells.str.extract_groups(_DAY_AND_CLOCK).struct.unnest()
    day, clock, offset = (groups[name] for name in ("1", "2", "3"))
    days, form = _days(label, day, format.order)
    seconds = _seconds_of_day(clock)
    total = days * 86_400 + seconds.fill_null(0.0)
    invalid = cells.is_not_null() & (days.is_null() | (clock.is_not_null() & seconds.is_null()))
    problem = _problem(label, cells, invalid)
    dated = cells.is_not_null() & day.is_not_null()
    has_offset = dated & offset.is_not_null()
    is_utc = bool(has_offset.any())
    if is_utc and (row := _first(dated & (has_offset != has_offset.filter(dated)[0]))) is not None:
        text = f"{label} must be written like those above it, with or without an offset from UTC, but is"
        mixed = row, f"{text} {format_value(cells[row])}"
        problem = mixed if problem is None or row < problem[0] else problem
    return Times(_to_numpy(total - _offset_seconds(offset)), is_utc, form, problem)


def _from_parts(label: str, dates: pl.Series, clock: pl.Series, format: Format) -> Times:
    """Parse a column of dates and one of times of day."""
    if format.pattern is not None:
        return _from_pattern(label, dates + " " + clock, format.pattern)
    stamps = dates.drop_nulls()
    if not stamps.is_empty() and stamps.str.contains(r"^(19|20|21)[0-9]{6}$").all():
        dates = dates.str.slice(0, 4) + "-" + dates.str.slice(4, 2) + "-" + dates.str.slice(6, 2)
    groups = clock.str.extract_groups(rf"^({_CLOCK}|[0-9]{{1,9}}) *({_OFFSET})?$").struct.unnest()
    time, offset = groups["1"], groups["2"]
    # Digits alone lack their leading zeros in some files: 93000 is 09:30:00, and 930 is 09:30.
    digits = time.str.contains(r"^[0-9]+$")
    longest = int(time.filter(digits.fill_null(False)).str.len_chars().cast(pl.Int64).max() or 0)  # pyright: ignore[reportArgumentType]
    width = next((n for n in (4, 6, 9) if longest <= n), 9)
    time = pl.select(pl.when(digits).then(time.str.zfill(width)).otherwise(time)).to_series()
    days, form = _days(label, dates.str.replace(r"[ T]00:00(:00)?(\.0+)?$", ""), format.order)
    seconds = _seconds_of_day(time)
    invalid_day = dates.is_not_null() & days.is_null()
    invalid_time = clock.is_not_null() & seconds.is_null()
    problem = _problem(label, dates, invalid_day, "a date (2012-02-01)")
    other = _problem("the time of day", clock, invalid_time, "a time such as 09:30 or 093000")
    problem = min((p for p in (problem, other) if p is not None), default=None)
    is_utc = not offset.drop_nulls().is_empty()
    total = days * 86_400 + seconds - _offset_seconds(offset)
    return Times(_to_numpy(total), is_utc, f"{form}, the time of day in a column of its own", problem)


def _days(label: str, cells: pl.Series, order: str | None) -> tuple[pl.Series, str]:
    """Return days since 1970 of dates, null where they are invalid, and a description of their form."""
    texts = cells.drop_nulls().unique(maintain_order=True).to_list()
    read = {text: _parts(text) for text in texts}
    known = {text: parts for text, parts in read.items() if parts is not None}
    orders = (order,) if order else ORDERS
    valid = {o: sum(parts.day(o) is not None for parts in known.values()) for o in orders}
    best = [o for o, count in valid.items() if 0 < count == max(valid.values())]
    loose = {text for text, parts in known.items() if len(parts.orders) > 1}
    if len(best) > 1 and loose:
        example = next(text for text in texts if text in loose)
        four_digits = all(len(known[text].numbers[2]) == 4 for text in loose)
        if "." in example and four_digits:
            best = ["dmy"]  # dates with dots have the day first everywhere
        else:
            names = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
            raise Refusal(
                f"{label} such as {format_value(example)} may be {' or '.join(names[o] for o in best)};"
                f" state which with `format`: {' or '.join(best)}"
            )
    chosen = best[0] if best else (order or "ymd")
    table = {text: parts.day(chosen) for text, parts in known.items()}
    days = cells.replace_strict(list(table), list(table.values()), default=None, return_dtype=pl.Float64)
    example = next((known[text] for text in texts if text in known), None)
    separator = example.separator if example else "-"
    names = {"d": "DD", "m": "MM", "y": "YYYY" if example is None or example.has_century else "YY"}
    return days, "dates " + separator.join(names[letter] for letter in chosen)


@dataclass(frozen=True)
class _Parts:
    """Three numbers of a date, as written, and the orders that their numbers of digits allow."""

    numbers: tuple[str, str, str]
    separator: str
    orders: set[str]

    @property
    def has_century(self) -> bool:
        return any(len(number) == 4 for number in self.numbers)

    def day(self, order: str) -> int | None:
        """Return days since 1970, or None if there is no such date."""
        if order not in self.orders:
            return None
        named = dict(zip(order, self.numbers, strict=True))
        year = int(named["y"])
        if len(named["y"]) != 4:
            year += 2000 if year < 69 else 1900
        try:
            return date(year, int(named["m"]), int(named["d"])).toordinal() - date(1970, 1, 1).toordinal()
        except ValueError:
            return None


def _parts(text: str) -> _Parts | None:
    """Read the parts of a date."""
    if re.fullmatch(r"[0-9]{8}", text):
        return _Parts((text[:4], text[4:6], text[6:]), "", {"ymd"})
    if match := re.fullmatch(r"([0-9]{1,2})[- ]([A-Za-z]+)\.?,?[- ]([0-9]{2,4})", text):
        first, month, year = match.groups()
        order, numbers = "dmy", (first, _month(month), year)
    elif match := re.fullmatch(r"([A-Za-z]+)\.? ([0-9]{1,2}),? ([0-9]{4})", text):
        month, second, year = match.groups()
        order, numbers = "mdy", (_month(month), second, year)
    else:
        match = re.fullmatch(r"([0-9]+)([-/.])([0-9]+)[-/.]([0-9]+)", text)
        if not match:
            return None
        first, separator, second, third = match.groups()
        lengths = len(first), len(second), len(third)
        if lengths[0] == 4 and lengths[2] <= 2:
            orders = {"ymd"}
        elif lengths[0] <= 2 and lengths[2] in (2, 4):
            orders = {"dmy", "mdy"} if lengths[2] == 4 else {"dmy", "mdy", "ymd"}
        else:
            return None
        return _Parts((first, second, third), separator, orders)
    if not numbers[1] or not numbers[0] or len(numbers[2]) == 3:
        return None
    return _Parts(numbers, " ", {order})


def _month(name: str) -> str:
    """Return the number of a month from the beginning of its English name, or ""."""
    name = name.lower()
    return str(_MONTHS.index(name[:3]) + 1) if name[:3] in _MONTHS else ""


def _seconds_of_day(clock: pl.Series) -> pl.Series:
    """Return seconds after midnight of times such as 09:30, 9:30:00.5 PM or 093000; null where there is none."""
    compact = clock.str.contains(r"^[0-9]{4}([0-9]{2}([0-9]{3})?)?$")
    spread = (
        clock.str.slice(0, 2) + ":" + clock.str.slice(2, 2) + ":" + clock.str.slice(4, 2).str.pad_end(2, "0")
        + "." + clock.str.slice(6).str.pad_end(1, "0")
    )  # fmt: skip
    clock = pl.select(pl.when(compact).then(spread).otherwise(clock)).to_series()
    parts = clock.str.extract_groups(_CLOCK_PARTS).struct.unnest()
    hour, minute, second = (parts[i].cast(pl.Float64) for i in ("1", "2", "3"))
    fraction = ("0." + parts["4"]).cast(pl.Float64).fill_null(0.0)
    half = parts["5"].str.to_lowercase()
    is_twelve = half.is_not_null()
    valid = (
        (minute.fill_null(0.0) < 60)
        & (second.fill_null(0.0) < 60)
        & ((~is_twelve & (hour < 24)) | (is_twelve & (hour >= 1) & (hour <= 12)))
    )
    hour24 = pl.select(
        pl.when(is_twelve).then(hour % 12 + 12 * (half == "p").cast(pl.Float64)).otherwise(hour)
    )
    seconds = (hour24.to_series() * 60 + minute.fill_null(0.0)) * 60 + second.fill_null(0.0) + fraction
    return pl.select(pl.when(valid).then(seconds).otherwise(None)).to_series()


def _from_pattern(label: str, cells: pl.Series, pattern: str) -> Times:
    """Parse dates that are written in a stated pattern."""
    plain = pattern.replace(".%f", "%.f")
    try:
        if "%H" in plain and "%M" not in plain:  # polars needs minutes beside hours
            parsed = (cells + "00").str.to_datetime(plain + "%M", strict=False, time_unit="us")
        else:
            parsed = cells.str.to_datetime(plain, strict=False, time_unit="us")
    except pl.exceptions.PolarsError:
        raise Refusal(
            f"format must be a pattern of a date such as %d/%m/%Y %H:%M, but got {pattern!r}"
        ) from None
    is_utc = getattr(parsed.dtype, "time_zone", None) is not None
    problem = _problem(
        label, cells, cells.is_not_null() & parsed.is_null(), f"a date of the format {pattern}"
    )
    return Times(_to_numpy(parsed.dt.epoch("us") / 1e6), is_utc, f"dates {pattern}", problem)


# --- Numbers ---


def _from_numbers(label: str, cells: pl.Series, format: Format, keep: bool) -> Times:
    """Parse numbers: calendar stamps, or times since 1970 whose units are inferred one by one."""
    x = _to_numpy(cells.cast(pl.Float64, strict=False))
    if format.unit is not None:
        return Times(x / UNITS[format.unit], True, f"{_UNIT_NAMES[format.unit]} since 1970")
    if format.pattern is not None:
        return _from_pattern(label, cells.cast(pl.String), format.pattern)
    stamps = _stamps(label, cells, x)
    if stamps is not None:
        return stamps
    if not keep:
        _refuse_other_calendars(label, x[np.isfinite(x)])
    size = np.abs(np.nan_to_num(x))
    divisors = np.zeros(len(x))
    divisors[size <= _LAST_SECOND] = 1.0
    for unit in (1e3, 1e6, 1e9):
        divisors[(size >= _FIRST_SECOND * unit) & (size <= _LAST_SECOND * unit)] = unit
    if keep and not (divisors > 1).any():
        return Times(x, False, "numbers as in the file", are_numbers=True)
    used = [name for name, unit in UNITS.items() if (divisors[np.isfinite(x)] == unit).any()]
    # A small number is no time in seconds beside numbers in other units.
    invalid = np.isfinite(x) & ((divisors == 0) | ((len(used) > 1) & (size < _FIRST_SECOND)))
    problem = _problem(label, cells, invalid, "a date, or a time since 1970 in a year up to 2100")
    if problem is not None:
        problem = problem[0], f"{problem[1]}; state its unit with `format` if it has one: s, ms, us or ns"
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = np.where(divisors > 0, x / divisors, np.nan)
    form = f"{' and '.join(_UNIT_NAMES[name] for name in used)} since 1970"
    return Times(seconds, True, form, problem, are_numbers=True)


def _stamps(label: str, cells: pl.Series, x: Float[ndarray, "rows"]) -> Times | None:
    """Parse numbers that are calendar stamps such as 20230306, or return None if they are not.

    Numbers are stamps if all are valid stamps of the same number of digits. For 8, 14 and 17 digits the first one
    decides: times since 1970 of recent years have other numbers of digits.
    """
    finite = x[np.isfinite(x)]
    if not finite.size or not _may_be_stamps(float(finite[0])):
        return None
    if cells.dtype != pl.String:
        cells = cells.cast(pl.Int64, strict=False).cast(pl.String)
    texts = cells.str.replace(r"\.0*$", "")
    width = len(texts.drop_nulls()[0])
    form = _STAMPS.get(width)
    if form is None:
        return None
    clock = [texts.str.slice(8 + 2 * i, 2).str.pad_end(2, "0") for i in range(3)]
    day = texts.str.slice(0, 4) + "-" + texts.str.slice(4, 2) + "-" + texts.str.slice(6, 2)
    text = day + " " + clock[0] + ":" + clock[1] + ":" + clock[2]
    parsed = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    fraction = ("0." + texts.str.slice(14).str.pad_end(1, "0")).cast(pl.Float64, strict=False)
    right = texts.str.contains(rf"^(?:{_CENTURIES[width]})[0-9]{{{width - 2}}}$")
    invalid = (texts.is_not_null() & (parsed.is_null() | ~right)).to_numpy()
    if invalid.any() and width in _AMBIGUOUS:
        return None
    problem = _problem(label, cells, invalid, f"a date {form} like others of its column")
    seconds = _to_numpy(parsed.dt.epoch("us") / 1e6 + fraction)
    return Times(np.where(invalid, np.nan, seconds), False, f"dates {form}", problem)


def _may_be_stamps(x: float) -> bool:
    """Whether a number begins with a year and has as many digits as a calendar stamp."""
    return x % 1 == 0 and any(
        1.7e3 + 200 * (width in _AMBIGUOUS) <= x / 10 ** (width - 4) < 2.2e3 for width in _STAMPS
    )


def _refuse_other_calendars(label: str, x: Float[ndarray, "rows"]) -> None:
    """Raise Refusal for numbers that may be years, dates YYMMDD, or days of a spreadsheet."""
    step = np.median(np.abs(np.diff(x))) if len(x) > 1 else np.inf
    extent = f"{label} from {format_value(x[0])} to {format_value(x[-1])}" if len(x) else label
    # Bars of years are a year apart, and those of days some days; seconds of a day have the same size.
    if step < 32 and ((x >= 1700) & (x < 2200)).all():
        raise Refusal(
            f"{extent} may be seconds since 1970 or years; write dates, or state seconds with `format`: s"
        )
    if step < 32 and ((x >= 20_000) & (x <= 70_000)).all():
        raise Refusal(
            f"{extent} may be seconds since 1970 or days of a spreadsheet; write dates, or state seconds with"
            " `format`: s"
        )
    if len(x) and ((x >= 100_000) & (x < 1_000_000) & (x == np.floor(x))).all():
        month, day = x // 100 % 100, x % 100
        if ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            raise Refusal(
                f"{label} such as {format_value(x[0])} may be dates YYMMDD or seconds since 1970; state which with"
                " `format`: %y%m%d or s"
            )
