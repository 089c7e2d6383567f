"""Tables read from files, and checks of their rows.

Files are read by `twosided.data.table_files`. The modules `twosided.data.order_books` and `twosided.data.bar_files`
choose and interpret the columns.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.data.content import DataError, format_value, printable

MAX_COLUMNS = 10_000
"""Largest number of columns of a file."""


MAX_NAME = 60
"""Largest number of characters of a column's name in messages."""


@dataclass(frozen=True)
class Column:
    """Column to read."""

    field: str
    """Name in the table."""
    position: int
    """Position in the file, from 0."""
    label: str
    """Name in error messages: that of the file, if it has one."""
    kind: Literal["number", "amount", "text"] = "number"
    """A number; an amount, which may be missing or abbreviated (12.5K); or text, such as a date."""
    divisor: float = 1.0
    """Divisor of the numbers of the file."""

    def __post_init__(self):
        if len(self.label) > MAX_NAME:
            object.__setattr__(self, "label", self.label[:MAX_NAME] + "…")


@dataclass(frozen=True)
class Sample:
    """Beginning of a file, from which its columns are chosen."""

    location: str
    """Name of the file and of the line of its header, for error messages."""
    header: list[str] | None
    """Names of the columns, or None if the file has no header."""
    rows: list[list[str]]
    """Cells of the first rows; none for Parquet."""
    width: int
    """Number of columns."""

    def divisor(self, position: int) -> float:
        """Return the divisor of a column of prices: 1e9 for the integers of Databento, otherwise 1."""
        cells = [row[position] for row in self.rows if row[position]]
        is_databento = {"rtype", "publisher_id"} <= {*(self.header or ())}
        return 1e9 if is_databento and cells and all(c.isdecimal() and len(c) >= 7 for c in cells) else 1.0


Choice = Callable[[Sample], list[Column]]
"""Chooses the columns to read of a file. Raises `DataError` for a file that it does not accept."""


@dataclass(frozen=True)
class Layout:
    """Layout of a file, as it was detected."""

    name: str
    """Path of the file, as given."""
    form: tuple[str, ...]
    """Compression, encoding, and separators."""
    columns: tuple[str, ...]
    """Names or numbers of the columns that were read, in order of their fields."""
    notes: tuple[str, ...] = ()
    """Forms of times, units, and order of the rows."""

    def __str__(self) -> str:
        shown = self.columns if len(self.columns) <= 12 else (*self.columns[:4], "...", self.columns[-1])
        return printable(f"{self.name}: {'; '.join([', '.join(self.form), ' '.join(shown), *self.notes])}")


@dataclass(frozen=True)
class Table:
    """Columns of a file, as numbers or text. Empty numbers are NaN; all others are finite."""

    name: str
    """Path of the file, as given."""
    labels: Mapping[str, str]
    """Name of each field in error messages."""
    numbers: Mapping[str, Float[ndarray, "rows"]]
    """Numeric columns by field."""
    texts: Mapping[str, pl.Series]
    """Other columns by field: text, or dates or numbers of a Parquet file."""
    num_rows: int
    layout: Layout
    has_header: bool = True
    first_row: int = 1
    """Number of the first row of values in the file; 2 below a header."""
    row_numbers: Int[ndarray, "rows"] | None = None
    """Number of each row, where they do not follow one another."""
    row_unit: str = "line"
    """Name of a row in error messages: "line" of a CSV file, "row" of a Parquet file."""
    problem: tuple[int, str] | None = None
    """First row that cannot be read, and an error message. It may follow the last row of the table."""

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, field: str) -> Float[ndarray, "rows"]:
        return self.numbers[field]

    def location(self, row: int) -> str:
        """Return the file and the line (or Parquet row) of a row of values, for error messages."""
        number = row + self.first_row if self.row_numbers is None else self.row_numbers[row]
        return f"{self.name}, {self.row_unit} {number}"

    def reversed(self) -> "Table":
        """Return the table with its rows in the opposite order."""
        numbers = np.arange(len(self)) + self.first_row if self.row_numbers is None else self.row_numbers
        return replace(
            self,
            numbers={field: x[::-1] for field, x in self.numbers.items()},
            texts={field: x.reverse() for field, x in self.texts.items()},
            row_numbers=numbers[::-1],
        )

    def noted(self, *notes: str) -> Layout:
        """Return the layout with more notes."""
        return replace(self.layout, notes=(*self.layout.notes, *notes))


class RowValidator:
    """Collect validity checks on the rows of a table, then raise an error for the first invalid row."""

    def __init__(self, table: Table):
        self.table = table
        self.row = len(table)
        self.message: Callable[[], str] | None = None
        self.check_problem(table.problem)

    def check(self, invalid: ndarray, message: Callable[..., str]) -> None:
        """Register a check.

        `invalid` has shape (rows,) or (rows, levels). `message` takes the indices of the first invalid entry, (row,) or
        (row, level), and returns the error text.
        """
        by_row: ndarray = invalid if invalid.ndim == 1 else np.any(invalid, axis=1)
        row = int(np.argmax(by_row))
        if by_row[row] and row < self.row:
            index = (row,) if invalid.ndim == 1 else (row, int(np.argmax(invalid[row])))
            self.row, self.message = row, lambda: message(*index)

    def check_problem(self, problem: tuple[int, str] | None) -> None:
        """Register a row that cannot be read, and its error message."""
        if problem is not None and (problem[0] < self.row or self.message is None):
            text = problem[1]
            self.row, self.message = problem[0], lambda: text

    def raise_first(self) -> None:
        """Raise `DataError` for the first invalid row, if there is one."""
        if self.message is not None:
            raise DataError(f"{self.table.location(self.row)}: {self.message()}")


def suggest(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message about a missing name: a suggestion of the most similar existing name, or
    ""."""
    matches = difflib.get_close_matches(name, names[:1000], n=1)
    return f"; did you mean {format_value(matches[0])}?" if matches else ""
