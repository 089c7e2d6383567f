"""Readers of order-book snapshots. Bars are read by `twosided.data.bar_files`.

Two formats are supported:

    LOBSTER            message CSV and orderbook CSV without headers, prices × 10,000, one row per event;
                       the orderbook file may be given alone
    named columns      CSV or Parquet with ask_price_1, ask_size_1, bid_price_1, bid_size_1, ask_price_2, ...
                       and optionally time; prices in currency; other columns are ignored. Levels may be numbered from
                       0, and names may have another form, such as asks[0].price and asks[0].amount (Tardis) or
                       ask_px_00 and ask_sz_00 (Databento)

CSV files may be gzipped or zipped. Any invalid content raises `DataError`, one sentence that names the file and the
line (the row of a Parquet file).
"""

import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from twosided.core.errors import Refusal
from twosided.data.content import DataError, format_value
from twosided.data.dates import Times, parse_times
from twosided.data.formats import Format, check_columns
from twosided.data.table_files import read_table
from twosided.data.tables import Column, RowValidator, Sample, Table, suggest

_LOG = logging.getLogger(__name__)

LOBSTER_PRICE_UNIT = 10_000
"""LOBSTER price units in one unit of currency."""

LOBSTER_DUMMY_PRICE = 9_999_999_999
"""LOBSTER's price of an unoccupied level, negative on the bid side; its size is 0."""

DATABENTO_DUMMY_PRICE = (2**63 - 1) / 1e9
"""Databento's price of an unoccupied level, in currency; its size is 0."""

MAX_VALUE = 1e15
"""Largest accepted price or size; integers up to this value are exact in double precision."""

MAX_MISMATCH_SHARE = 0.01
"""Largest accepted share of events whose size disagrees with the book. Real pairs have occasional mismatches; files
that do not belong together have many."""

_MESSAGE_COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
_PRICE, _SIZE = "price|px|prc", "size|sz|amount|amt|qty|quantity|volume|vol"
_BOOK_COLUMN = re.compile(
    rf"(?P<side>ask|bid)s?_?(?:(?P<name>{_PRICE}|{_SIZE})s?_?(?P<level>[0-9]{{1,4}})"
    rf"|(?P<level_first>[0-9]{{1,4}})_?(?P<name_last>{_PRICE}|{_SIZE}))"
)
_TIME_COLUMNS = (
    "timestamp", "datetime", "date_time", "ts_event", "exchange_timestamp", "event_time", "ts", "date",
    "local_timestamp", "received_time", "receipt_timestamp", "ts_recv",
)  # fmt: skip
"""Names of the time, in order, where no column is called time. Such a column is left out if it is no time that does not
decrease."""
FIELDS = ("time", "date", "ask_price_*", "ask_size_*", "bid_price_*", "bid_size_*")
"""Fields that `columns` may name; levels are counted from 1. With both of them, `date` is the date and `time` the time
of day."""
_SUBMISSION, _CANCELLATION, _DELETION, _EXECUTION, _HIDDEN_EXECUTION, _HALT = 1, 2, 3, 4, 5, 7
_EVENTS = {1: "submission", 2: "cancellation", 3: "deletion", 4: "execution"}


@dataclass(frozen=True)
class BookSnapshots:
    """Sequence of order-book snapshots, best level first. An unoccupied level has price NaN and size 0."""

    ask_price: Float[ndarray, "snapshots levels"]
    """Ask prices, in currency."""
    ask_size: Float[ndarray, "snapshots levels"]
    """Ask sizes, in the unit of the file."""
    bid_price: Float[ndarray, "snapshots levels"]
    """Bid prices, in currency."""
    bid_size: Float[ndarray, "snapshots levels"]
    """Bid sizes, in the unit of the file."""
    time: Float[ndarray, "snapshots"] | None
    """Times, or None if the file has none: seconds since 1970 for dates and for numbers of milliseconds, microseconds
    or nanoseconds since then; otherwise as in the file (LOBSTER: seconds after midnight)."""
    rows_read: int
    """Number of rows in the file, including those within trading halts."""
    rows_halted: int
    """Number of rows within trading halts. They are left out of the arrays, because the book may be crossed there."""
    sources: tuple[str, ...]
    """Paths of the files, as given."""
    layouts: tuple[str, ...] = ()
    """Descriptions of the layouts of the files, as they were detected."""

    def __len__(self) -> int:
        return len(self.ask_price)

    @property
    def num_levels(self) -> int:
        """Number of levels per side."""
        return self.ask_price.shape[1]


def read_snapshots(
    *paths: str | Path, columns: Mapping[str, str] | None = None, format: str = ""
) -> BookSnapshots:
    """Read order-book snapshots from one file, or from a LOBSTER pair of files in either order. Raises `DataError`.

    `columns` gives the names of columns that are not recognised, such as {"time": "local_timestamp"}, with levels
    counted from 1. `format` states the form of times and numbers that cannot be detected, as in `read_bars`. The
    detected layouts are in `layouts` of the result, and logged.
    """
    if not 1 <= len(paths) <= 2:
        raise DataError(
            f"order-book snapshots must be one file, or the two files of a LOBSTER pair, but got {len(paths)} files"
        )
    check_columns(columns or {}, FIELDS)
    stated = Format.parse(format)
    tables = [read_table(Path(path), lambda sample: _choose(sample, columns or {}), stated) for path in paths]
    books = [table for table in tables if tuple(table.labels) != _MESSAGE_COLUMNS]
    messages = [table for table in tables if tuple(table.labels) == _MESSAGE_COLUMNS]
    if not books:
        raise DataError(
            f"{messages[0].name}: a LOBSTER message file needs its orderbook file, which is missing"
        )
    if len(books) == 2:
        raise DataError(
            f"{books[1].name}: a second book beside {books[0].name}, but only one can be read at a time"
        )
    book = books[0]
    is_lobster = not book.has_header
    if not messages:
        return _snapshots(book, is_lobster, np.zeros(len(book), dtype=bool), stated)
    message = messages[0]
    if not is_lobster:
        raise DataError(
            f"{message.name}: LOBSTER messages need a LOBSTER orderbook file, but {book.name} has named columns"
        )
    _validate_messages(message)
    if book.problem is None and len(message) != len(book):
        short, long = sorted((message, book), key=len)
        raise DataError(
            f"{short.location(len(short) - 1)}: the file ends here, but {long.name} has {len(long)} rows, and both"
            " files of a LOBSTER pair must have one row per event"
        )
    halted = _halted(message)
    if book.problem is not None:  # the book ends before that row
        halted = np.append(halted, np.zeros(len(book), dtype=bool))[: len(book)]
    snapshots = _snapshots(book, is_lobster, halted, stated, message)
    _validate_pair(message, book, halted)
    return snapshots


def _choose(sample: Sample, renamed: Mapping[str, str]) -> list[Column]:
    """Return the columns to read: those of LOBSTER without a header, otherwise four per level, then the time."""
    if sample.header is None:
        if renamed:
            raise DataError(f"{sample.location}: has no header, so `columns` cannot name its columns")
        names = _lobster_columns(sample.location, sample.width)
        return [Column(name, i, name) for i, name in enumerate(names) if name]
    location, header = sample.location, sample.header
    positions: dict[str, list[int]] = {}
    first = min((found[2] for found in map(_parse_name, header) if found), default=1)
    first = min(first, 1)
    for i, name in enumerate(header):
        if (found := _parse_name(name)) and name not in renamed.values():
            side, quantity, level = found
            positions.setdefault(f"{side}_{quantity}_{level - first + 1}", []).append(i)
    times = {field: renamed[field] for field in ("time", "date") if field in renamed}
    for field, name in renamed.items():
        found = [i for i, other in enumerate(header) if other == name]
        if not found:
            raise DataError(f"{location}: no column {name}{suggest(name, header)}")
        if field not in times:
            positions[field] = found
    levels = max((int(name.rsplit("_", 1)[1]) for name in positions), default=1)
    wanted = _book_columns(min(levels, len(header)))
    columns: list[Column] = []
    for name in wanted:
        found = positions.get(name, [])
        if not found:
            side_and_quantity, level = name.rsplit("_", 1)
            name = f"{side_and_quantity}_{int(level) - 1 + first}"
            taken = {i for others in positions.values() for i in others}
            rest = sorted({other for i, other in enumerate(header) if i not in taken})
            raise DataError(f"{location}: no column {name}{suggest(name, rest)}")
        if len(found) > 1:
            one, two = (header[i] for i in found[:2])
            text = (
                f"are named {one}"
                if one == two
                else f"for {name}, {format_value(one)} and {format_value(two)}"
            )
            raise DataError(f"{location}: two columns {text}")
        divisor = sample.divisor(found[0]) if "price" in name else 1.0
        columns.append(Column(name, found[0], header[found[0]], divisor=divisor))
    return columns + _time_columns(sample, times)


def _time_columns(sample: Sample, named: Mapping[str, str]) -> list[Column]:
    """Return the columns of the time: the only one, or those that may be tried."""
    header = sample.header or []
    if "date" in named and "time" not in named:
        named = {"time": named["date"]}
    if not named and "time" in header:
        named = {"time": "time"}
        position, date = (
            header.index("time"),
            next((i for i, x in enumerate(header) if x.lower() == "date"), None),
        )
        cells = [row[position] for row in sample.rows if row[position]]
        if date is not None and cells and all(re.fullmatch(r"[0-9]{1,2}:[0-9]{2}.*", cell) for cell in cells):
            named = {"time": "time", "date": header[date]}
    for name in named.values():
        if header.count(name) > 1:
            raise DataError(f"{sample.location}: two columns are named {name}")
    if "date" in named:
        date, clock = named["date"], named["time"]
        return [
            Column("time", header.index(date), date, "text"),
            Column("clock", header.index(clock), clock, "text"),
        ]
    if named:
        return [Column("time", header.index(named["time"]), named["time"], "text")]
    plain = [_plain(name) for name in header]
    found = [plain.index(name) for name in _TIME_COLUMNS if plain.count(name) == 1]
    return [Column(f"time {n}", i, header[i], "text") for n, i in enumerate(found[:3])]


def _plain(name: str) -> str:
    """Return a name in lower case, with underscores in place of all that is neither a letter nor a digit."""
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_")


def _parse_name(name: str) -> tuple[str, str, int] | None:
    """Return the side, the quantity and the level of a column of a book."""
    match = _BOOK_COLUMN.fullmatch(_plain(name)) if len(name) <= 40 else None
    if match is None:
        return None
    quantity = match["name"] or match["name_last"]
    level = int(match["level"] or match["level_first"])
    return match["side"], "price" if re.fullmatch(_PRICE, quantity) else "size", level


def _lobster_columns(location: str, width: int) -> list[str]:
    """Return the columns of a file without a header: 6 or 7 for messages, 4 per level for a book."""
    if width in (6, 7):  # the seventh, in newer files, identifies the market participant
        return [*_MESSAGE_COLUMNS, ""][:width]
    if width % 4 == 0:
        return _book_columns(width // 4)
    raise DataError(
        f"{location}: a LOBSTER message file must have 6 columns, and an orderbook file 4 per level, but got {width}"
    )


def _book_columns(levels: int) -> list[str]:
    return [
        f"{side}_{quantity}_{level}"
        for level in range(1, levels + 1)
        for side in ("ask", "bid")
        for quantity in ("price", "size")
    ]


# --- Books ---


def _snapshots(
    table: Table,
    is_lobster: bool,
    halted: Bool[ndarray, "rows"],
    format: Format,
    message: Table | None = None,
) -> BookSnapshots:
    """Validate the books of a table, and return those outside of trading halts."""
    rows = RowValidator(table)
    for column in table.numbers:
        rows.check(*_too_large(table, column))
        if is_lobster:
            rows.check(*_not_integer(table, column))
    (ask, ask_size), (bid, bid_size) = _side(table, "ask", is_lobster), _side(table, "bid", is_lobster)
    for name, price, size, direction in (("ask", ask, ask_size, 1), ("bid", bid, bid_size, -1)):
        _check_side(rows, name, price, size, direction, halted, table.labels)
    crossed = (bid[:, 0] >= ask[:, 0]) & ~halted
    rows.check(crossed, lambda i: f"bid {format_value(bid[i, 0])} is not below ask {format_value(ask[i, 0])}")
    time, note = _times(rows, table, format) if message is None else (message["time"], "")
    rows.raise_first()
    layouts = [str(table.noted(*filter(None, [note])))]
    if is_lobster:
        tables = [table] if message is None else [message, table]
        names = [f"LOBSTER {'book' if t is table else 'messages'}" for t in tables]
        layouts = [
            f"{t.name}: {', '.join(t.layout.form)}; {name}" for t, name in zip(tables, names, strict=True)
        ]
    if halted.all():
        raise DataError(f"{table.name}: all rows are within a trading halt")
    kept = ~halted
    for layout in layouts:
        _LOG.info(layout)
    return BookSnapshots(
        ask_price=ask[kept],
        ask_size=ask_size[kept],
        bid_price=bid[kept],
        bid_size=bid_size[kept],
        time=None if time is None else time[kept],
        rows_read=len(table),
        rows_halted=int(halted.sum()),
        sources=(table.name,) if message is None else (message.name, table.name),
        layouts=tuple(layouts),
    )


def _times(rows: RowValidator, table: Table, format: Format) -> tuple[Float[ndarray, "rows"] | None, str]:
    """Return the times of a table with a header, or None, and a description of them; register their checks."""

    def parse(field: str) -> Times:
        try:
            label, clock = table.labels[field], table.texts.get("clock")
            return parse_times(label, table.texts[field], clock, format, keep_numbers=True)
        except Refusal as error:
            raise DataError(f"{table.name}: {error}") from None

    if "time" in table.texts:
        times = parse("time")
        rows.check_problem(times.problem)
        rows.check(np.isnan(times.seconds), lambda i: "time is empty")
        rows.check(*_decreasing(times.seconds))
        return times.seconds, times.form
    unused: list[str] = []
    for field in table.texts:
        with contextlib.suppress(DataError):
            times = parse(field)
            if np.isfinite(times.seconds).all() and not (np.diff(times.seconds) < 0).any():
                return times.seconds, f"times from {table.labels[field]}: {times.form}"
        unused.append(table.labels[field])
    return None, f"{' and '.join(unused)} left out, being no times in order" if unused else ""


def _side(table: Table, side: str, is_lobster: bool) -> tuple[ndarray, ndarray]:
    """Return the prices, in currency, and the sizes of one side, (rows, levels); NaN and 0 at unoccupied levels."""
    levels = range(1, 1 + sum(column.startswith("ask_price_") for column in table.numbers))
    price = np.stack([table[f"{side}_price_{level}"] for level in levels], axis=1)
    size = np.stack([table[f"{side}_size_{level}"] for level in levels], axis=1)
    if is_lobster:
        price /= LOBSTER_PRICE_UNIT
    # A file converted to currency keeps LOBSTER's dummy price, divided like any other price.
    is_dummy = np.isclose(np.abs(price), LOBSTER_DUMMY_PRICE / LOBSTER_PRICE_UNIT, rtol=1e-12, atol=0)
    is_dummy |= np.isclose(price, DATABENTO_DUMMY_PRICE, rtol=1e-12, atol=0) | (price == 0)
    price[is_dummy & ~(size > 0)] = np.nan
    size[np.isnan(price) & np.isnan(size)] = 0
    return price, size


def _check_side(
    rows: RowValidator,
    side: str,
    price: ndarray,
    size: ndarray,
    direction: int,
    halted: ndarray,
    labels: Mapping[str, str],
) -> None:
    """Register the checks of one side of the book; prices get worse in `direction`, 1 (upwards) or -1."""
    prices, sizes = (
        [labels[f"{side}_{x}_{k}"] for k in range(1, price.shape[1] + 1)] for x in ("price", "size")
    )
    rows.check(size < 0, lambda i, k: f"{sizes[k]} must be at least 0, but is {format_value(size[i, k])}")
    rows.check(np.isnan(size), lambda i, k: f"{prices[k]} has no size")
    rows.check(np.isnan(price) & (size > 0), lambda i, k: f"{sizes[k]} has no price")
    rows.check(price <= 0, lambda i, k: f"{prices[k]} must be positive, but is {format_value(price[i, k])}")
    gap = np.isnan(price[:, :-1]) & ~np.isnan(price[:, 1:])
    rows.check(gap, lambda i, k: f"{side} level {k + 2} is occupied, but level {k + 1} is empty")
    unsorted = (np.diff(price, axis=1) * direction <= 0) & ~halted[:, None]
    relation = "above" if direction > 0 else "below"
    rows.check(
        unsorted,
        lambda i, k: (
            f"{prices[k + 1]} {format_value(price[i, k + 1])} is not {relation} {prices[k]} {format_value(price[i, k])}"
        ),
    )


def _too_large(table: Table, column: str):
    x, label = table[column], table.labels[column]
    return (
        np.abs(x) > MAX_VALUE,
        lambda i: (
            f"{label} must be at most {format_value(MAX_VALUE)} in absolute value, but is {format_value(x[i])}"
        ),
    )


def _not_integer(table: Table, column: str):
    x = table[column]
    return (
        x != np.round(x),
        lambda i: f"{column} must be an integer in a LOBSTER file, but is {format_value(x[i])}",
    )


def _decreasing(time: ndarray):
    return (
        np.append(False, np.diff(time) < 0),
        lambda i: (
            f"time {format_value(time[i])} is before {format_value(time[i - 1])}, the time of the row above"
        ),
    )


# --- LOBSTER messages ---


def _validate_messages(message: Table) -> None:
    """Raise `DataError` for the first row that is not a valid LOBSTER message, whatever the book."""
    rows = RowValidator(message)
    time, kind, size, price, direction = (
        message[column] for column in ("time", "type", "size", "price", "direction")
    )
    for column in _MESSAGE_COLUMNS[1:]:
        rows.check(*_not_integer(message, column))
        rows.check(*_too_large(message, column))
    is_order = (kind >= _SUBMISSION) & (kind <= _HIDDEN_EXECUTION)
    rows.check(
        (kind < 1) | (kind > 7),
        lambda i: f"type must be a LOBSTER event type from 1 to 7, but is {format_value(kind[i])}",
    )
    rows.check(
        (time < 0) | (time > 86_400),
        lambda i: f"time must be from 0 to 86400 seconds after midnight, but is {format_value(time[i])}",
    )
    rows.check(*_decreasing(time))
    rows.check(
        (size < 0) | (is_order & (size == 0)),
        lambda i: f"size must be positive, but is {format_value(size[i])}",
    )
    rows.check(is_order & (price <= 0), lambda i: f"price must be positive, but is {format_value(price[i])}")
    rows.check(
        is_order & (np.abs(direction) != 1),
        lambda i: f"direction must be 1 or -1, but is {format_value(direction[i])}",
    )
    rows.raise_first()


def _halted(message: Table) -> Bool[ndarray, "rows"]:
    """Return which rows are within a trading halt, from its start (price -1; 0 when quotes resume) until trading
    resumes (price 1). A file whose first such message is not a start begins within a halt."""
    is_halt_message = message["type"] == _HALT
    last_halt_message = np.maximum.accumulate(np.where(is_halt_message, np.arange(len(message)), -1))
    begins_halted = is_halt_message.any() and message["price"][int(np.argmax(is_halt_message))] in (0, 1)
    within = message["price"][last_halt_message] != 1
    return np.where(last_halt_message >= 0, within, begins_halted)


def _validate_pair(message: Table, book: Table, halted: Bool[ndarray, "rows"]) -> None:
    """Raise `DataError` if the messages do not explain the changes of the book from row to row.

    Two checks hold in every row: the price of an order, if within the levels of the book, is in the book after its
    submission, and in the book before its cancellation or deletion. In addition, the size at that price must change by
    the size of the order. Real files have exceptions (executions at another price than the order's), so a share of
    `MAX_MISMATCH_SHARE` may fail the last check.
    """
    kind, size, price = message["type"], message["size"], message["price"] / LOBSTER_PRICE_UNIT
    is_buy = message["direction"] == 1
    (ask, ask_size), (bid, bid_size) = _side(book, "ask", True), _side(book, "bid", True)
    prices, sizes = np.where(is_buy[:, None], bid, ask), np.where(is_buy[:, None], bid_size, ask_size)

    def look_up(prices: ndarray, sizes: ndarray) -> tuple[ndarray, ndarray]:
        """Return whether the price of each message is within the levels of the book, and the size at that price."""
        last = prices[:, -1]
        in_range = np.isnan(last) | np.where(is_buy, price >= last, price <= last)
        return in_range, np.sum(sizes, axis=1, where=prices == price[:, None])

    in_range_after, size_after = look_up(prices, sizes)
    previous = np.maximum(np.arange(len(book)) - 1, 0)
    in_range_before, size_before = look_up(
        np.where(is_buy[:, None], bid[previous], ask[previous]),
        np.where(is_buy[:, None], bid_size[previous], ask_size[previous]),
    )
    has_previous = ~halted & ~halted[previous]
    has_previous[0] = False
    is_submission = kind == _SUBMISSION
    is_removal = (kind == _CANCELLATION) | (kind == _DELETION)

    def event(i: int) -> str:
        side = "bid" if is_buy[i] else "ask"
        return f"the {_EVENTS[int(kind[i])]} of {format_value(size[i])} at {side} {format_value(price[i])}"

    rows = RowValidator(message)
    rows.check(
        ~halted & is_submission & in_range_after & (size_after == 0),
        lambda i: f"{event(i)} is not in the book after it, {book.location(i)}",
    )
    rows.check(
        has_previous & is_removal & in_range_before & (size_before == 0),
        lambda i: f"{event(i)} has no order in the book before it, {book.location(i - 1)}",
    )
    rows.raise_first()
    checked = (
        has_previous & in_range_after & in_range_before & (is_submission | is_removal | (kind == _EXECUTION))
    )
    mismatch = checked & (size_after - size_before != np.where(is_submission, size, -size))
    if mismatch.sum() > MAX_MISMATCH_SHARE * checked.sum():
        i = int(np.argmax(mismatch))
        raise DataError(
            f"{message.location(i)}: {event(i)} does not explain the change of the size at this price from"
            f" {format_value(size_before[i])} to {format_value(size_after[i])} in {book.location(i)}"
            f" ({mismatch.sum() - 1} other events do not match the book either)"
        )
