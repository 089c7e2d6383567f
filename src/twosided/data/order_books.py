"""Readers of files of order books; those of bars are read by `twosided.data.bar_files`.

Order-book snapshots come as

    a LOBSTER pair     message CSV and orderbook CSV, no header, prices × 10,000, a row for each event;
                       the orderbook alone will do
    named columns      CSV or Parquet with ask_price_1, ask_size_1, bid_price_1, bid_size_1, ask_price_2, ...
                       and, where there is one, time; prices in currency; other columns are ignored

CSV may be gzipped. Whatever is wrong is refused by `DataError`, one sentence that names the file and the
line (the row of a Parquet file).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from twosided.data.tables import DataError, FirstBad, Table, nearest, read_table, show

LOBSTER_PRICE_UNIT = 10_000
"""LOBSTER writes prices in units of 1/10,000 of the currency."""

ABSENT_PRICE = 9_999_999_999
"""LOBSTER's price, up to its sign, for a level that the book does not have; its size is 0."""

LARGEST = 1e15
"""No price or size is larger; whole numbers up to here are exact in double precision."""

TOLERATED_MISMATCHES = 0.01
"""Share of events whose size may disagree with the book: a real pair has the odd one, strangers have many."""

_MESSAGE_COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
_BOOK_COLUMN = re.compile(r"(?:ask|bid)_(?:price|size)_([1-9][0-9]{0,3})")
_SUBMISSION, _CANCELLATION, _DELETION, _EXECUTION, _HIDDEN_EXECUTION, _HALT = 1, 2, 3, 4, 5, 7
_EVENTS = {1: "submission", 2: "cancellation", 3: "deletion", 4: "execution"}


@dataclass(frozen=True)
class BookSnapshots:
    """Books one after the other, best level first; a level that is not there has price NaN and size 0."""

    ask_price: Float[ndarray, "snapshots levels"]
    """In currency."""
    ask_size: Float[ndarray, "snapshots levels"]
    bid_price: Float[ndarray, "snapshots levels"]
    """In currency."""
    bid_size: Float[ndarray, "snapshots levels"]
    time: Float[ndarray, "snapshots"] | None
    """As in the file (LOBSTER: seconds after midnight); None where it has none."""
    rows_read: int
    """Rows of the file, those of trading halts included."""
    rows_halted: int
    """Rows within trading halts, which are left out above: a halted book may be crossed."""
    sources: tuple[str, ...]
    """The files, as they were named."""

    def __len__(self) -> int:
        return len(self.ask_price)

    @property
    def num_levels(self) -> int:
        return self.ask_price.shape[1]


def read_snapshots(*paths: str | Path) -> BookSnapshots:
    """Read order-book snapshots from one file, or from a LOBSTER pair in either order; raises DataError."""
    if not 1 <= len(paths) <= 2:
        raise DataError(f"a file of snapshots or a LOBSTER pair is one or two files, but got {len(paths)}")
    tables = [read_table(Path(path), _choose_columns, _lobster_columns) for path in paths]
    books = [table for table in tables if table.columns != _MESSAGE_COLUMNS]
    messages = [table for table in tables if table.columns == _MESSAGE_COLUMNS]
    if not books:
        raise DataError(f"{messages[0].name}: LOBSTER messages come with an orderbook file, which is missing")
    if len(books) == 2:
        raise DataError(f"{books[1].name}: a second book beside {books[0].name}, where one is read at a time")
    book = books[0]
    # LOBSTER's files have no header, so that their first row is line 1.
    lobster = book.first == 1 and book.unit == "line"
    if not messages:
        return _snapshots(book, lobster, halted=np.zeros(len(book), dtype=bool))
    message = messages[0]
    if not lobster:
        raise DataError(
            f"{message.name}: LOBSTER messages need a LOBSTER orderbook, which {book.name} is not"
        )
    _check_messages(message)
    if len(message) != len(book):
        short, long = sorted((message, book), key=len)
        raise DataError(
            f"{short.where(len(short) - 1)}: the file ends here, but {long.name} goes on to row {len(long)},"
            " and messages and their book have a row for each event"
        )
    halted = _halted(message)
    snapshots = _snapshots(book, lobster, halted, message)
    _check_pair(message, book, halted)
    return snapshots


def _choose_columns(where: str, header: list[str]) -> list[str]:
    """The columns to read of a file that names them: four for each level, then time; refuses gaps."""
    levels = max((int(match[1]) for match in map(_BOOK_COLUMN.fullmatch, header) if match), default=1)
    wanted = _book_columns(min(levels, len(header)))
    for column in wanted:
        if column not in header:
            raise DataError(
                f"{where}: no column {column}{nearest(column, sorted(set(header) - set(wanted)))}"
            )
    wanted += ["time"] * ("time" in header)
    for column in wanted:
        if header.count(column) > 1:
            raise DataError(f"{where}: two columns are named {column}")
    return wanted


def _lobster_columns(where: str, width: int) -> list[str]:
    """The columns of a file without a header: 6 or 7 are messages, four for each level a book."""
    if width in (6, 7):  # the seventh, in newer files, is about the market participant
        return [*_MESSAGE_COLUMNS, ""][:width]
    if width % 4 == 0:
        return _book_columns(width // 4)
    raise DataError(
        f"{where}: {width} column{'s' * (width > 1)}, but commas separate 6 in a LOBSTER message file and"
        " 4 for each level in an orderbook file"
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
    table: Table, lobster: bool, halted: Bool[ndarray, "rows"], message: Table | None = None
) -> BookSnapshots:
    """The books of a table, each of them checked, without the halted ones."""
    finder = FirstBad(table)
    for column in table.columns:
        too_large = np.abs(table[column]) > LARGEST
        finder.add(too_large, lambda i, column=column: f"{column} {show(table[column][i])} is too large")
        if lobster:
            finder.add(*_not_whole(table, column))
    (ask, ask_size), (bid, bid_size) = _side(table, "ask", lobster), _side(table, "bid", lobster)
    for name, price, size, away in (("ask", ask, ask_size, 1), ("bid", bid, bid_size, -1)):
        _add_side_checks(finder, name, price, size, away, halted)
    crossed = (bid[:, 0] >= ask[:, 0]) & ~halted
    finder.add(crossed, lambda i: f"bid {show(bid[i, 0])} is not below ask {show(ask[i, 0])}")
    time = message["time"] if message is not None else None
    if "time" in table.columns:
        time = table["time"]
        finder.add(np.isnan(time), lambda i: "time is empty")
        finder.add(*_out_of_order(time))
    finder.refuse()
    if halted.all():
        raise DataError(f"{table.name}: all of its rows are within a trading halt")
    kept = ~halted
    return BookSnapshots(
        ask_price=ask[kept],
        ask_size=ask_size[kept],
        bid_price=bid[kept],
        bid_size=bid_size[kept],
        time=None if time is None else time[kept],
        rows_read=len(table),
        rows_halted=int(halted.sum()),
        sources=(table.name,) if message is None else (message.name, table.name),
    )


def _side(table: Table, side: str, lobster: bool) -> tuple[ndarray, ndarray]:
    """Prices in currency and sizes of one side, (rows, levels); levels that are not there NaN and 0."""
    levels = range(1, 1 + sum(column.startswith("ask_price_") for column in table.columns))
    price = np.stack([table[f"{side}_price_{level}"] for level in levels], axis=1)
    size = np.stack([table[f"{side}_size_{level}"] for level in levels], axis=1)
    if lobster:
        price /= LOBSTER_PRICE_UNIT
    # A file converted to currency keeps LOBSTER's mark, divided like any other price.
    marked = np.isclose(np.abs(price), ABSENT_PRICE / LOBSTER_PRICE_UNIT, rtol=1e-12, atol=0)
    price[marked & ~(size > 0)] = np.nan
    size[np.isnan(price) & np.isnan(size)] = 0
    return price, size


def _add_side_checks(
    finder: FirstBad, side: str, price: ndarray, size: ndarray, away: int, halted: ndarray
) -> None:
    """What every row of one side must meet; `away` is the direction of worse prices."""
    finder.add(size < 0, lambda i, k: f"{side}_size_{k + 1} is negative, {show(size[i, k])}")
    finder.add(np.isnan(size), lambda i, k: f"{side}_price_{k + 1} has no size")
    finder.add(np.isnan(price) & (size > 0), lambda i, k: f"{side}_size_{k + 1} has no price")
    finder.add(price <= 0, lambda i, k: f"{side}_price_{k + 1} is not positive, {show(price[i, k])}")
    gap = np.isnan(price[:, :-1]) & ~np.isnan(price[:, 1:])
    finder.add(gap, lambda i, k: f"{side} level {k + 2} follows level {k + 1}, which is empty")
    disorder = (np.diff(price, axis=1) * away <= 0) & ~halted[:, None]
    beyond = "above" if away > 0 else "below"
    finder.add(
        disorder,
        lambda i, k: (
            f"{side}_price_{k + 2} {show(price[i, k + 1])} is not {beyond} {side}_price_{k + 1}"
            f" {show(price[i, k])}"
        ),
    )


def _not_whole(table: Table, column: str):
    x = table[column]
    return x != np.round(x), lambda i: f"{column} {show(x[i])} is not a whole number, as LOBSTER's are"


def _out_of_order(time: ndarray):
    earlier = np.append(False, np.diff(time) < 0)
    return earlier, lambda i: f"time {show(time[i])} is before the {show(time[i - 1])} of the row above"


# --- LOBSTER messages ---


def _check_messages(message: Table) -> None:
    """Refuse the first row that LOBSTER cannot have written, whatever its book."""
    finder = FirstBad(message)
    time, kind, size, price, direction = (
        message[column] for column in ("time", "type", "size", "price", "direction")
    )
    for column in _MESSAGE_COLUMNS[1:]:
        finder.add(*_not_whole(message, column))
        too_large = np.abs(message[column]) > LARGEST
        finder.add(too_large, lambda i, column=column: f"{column} {show(message[column][i])} is too large")
    order = (kind >= _SUBMISSION) & (kind <= _HIDDEN_EXECUTION)
    finder.add((kind < 1) | (kind > 7), lambda i: f"type {show(kind[i])} is not one of LOBSTER's, 1 to 7")
    finder.add((time < 0) | (time > 86_400), lambda i: f"time {show(time[i])} is not a second of a day")
    finder.add(*_out_of_order(time))
    finder.add((size < 0) | (order & (size == 0)), lambda i: f"size {show(size[i])} is not positive")
    finder.add(order & (price <= 0), lambda i: f"price {show(price[i])} is not positive")
    finder.add(
        order & (np.abs(direction) != 1), lambda i: f"direction {show(direction[i])} is neither 1 nor -1"
    )
    finder.refuse()


def _halted(message: Table) -> Bool[ndarray, "rows"]:
    """Rows from a halt of trading (price -1; 0 when quotes resume) until trading resumes (price 1)."""
    switch = message["type"] == _HALT
    last_switch = np.maximum.accumulate(np.where(switch, np.arange(len(message)), -1))
    return (last_switch >= 0) & (message["price"][last_switch] != 1)


def _check_pair(message: Table, book: Table, halted: Bool[ndarray, "rows"]) -> None:
    """Refuse messages that do not lead from each row of the book to the next.

    Every row must pass what is certain: the price of an order, where the book's levels reach that far, is in
    the book after its submission, and in the one before its cancellation or deletion. The size at the price
    of an order must change by the order's too, but real files have the odd exception (an execution at
    another price than the order's), so a small share may fail.
    """
    kind, size, price = message["type"], message["size"], message["price"] / LOBSTER_PRICE_UNIT
    buy = message["direction"] == 1
    (ask, ask_size), (bid, bid_size) = _side(book, "ask", True), _side(book, "bid", True)
    prices, sizes = np.where(buy[:, None], bid, ask), np.where(buy[:, None], bid_size, ask_size)

    def look_up(prices: ndarray, sizes: ndarray) -> tuple[ndarray, ndarray]:
        """Whether each book reaches its message's price on its side, and the size that it has there."""
        last = prices[:, -1]
        reached = np.isnan(last) | np.where(buy, price >= last, price <= last)
        return reached, np.sum(sizes, axis=1, where=prices == price[:, None])

    reached_after, size_after = look_up(prices, sizes)
    previous = np.maximum(np.arange(len(book)) - 1, 0)
    reached_before, size_before = look_up(
        np.where(buy[:, None], bid[previous], ask[previous]),
        np.where(buy[:, None], bid_size[previous], ask_size[previous]),
    )
    has_previous = ~halted & ~halted[previous]
    has_previous[0] = False
    submitted = kind == _SUBMISSION
    removed = (kind == _CANCELLATION) | (kind == _DELETION)

    def event(i: int) -> str:
        side = "bid" if buy[i] else "ask"
        return f"the {_EVENTS[int(kind[i])]} of {show(size[i])} at {side} {show(price[i])}"

    finder = FirstBad(message)
    finder.add(
        ~halted & submitted & reached_after & (size_after == 0),
        lambda i: f"{event(i)} is not in the book of {book.where(i)}",
    )
    finder.add(
        has_previous & removed & reached_before & (size_before == 0),
        lambda i: f"{event(i)} finds nothing there in the book of {book.where(i - 1)}",
    )
    finder.refuse()
    checked = has_previous & reached_after & reached_before & (submitted | removed | (kind == _EXECUTION))
    wrong = checked & (size_after - size_before != np.where(submitted, size, -size))
    if wrong.sum() > TOLERATED_MISMATCHES * checked.sum():
        i = int(np.argmax(wrong))
        raise DataError(
            f"{message.where(i)}: {event(i)} is not what turns the {show(size_before[i])} there into"
            f" {show(size_after[i])} in {book.where(i)} (nor do {wrong.sum() - 1} other events fit the book)"
        )
