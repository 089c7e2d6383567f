"""Read CSV, gzipped CSV and Parquet files as tables of finite numbers, or refuse them at their first invalid line.

CSV is parsed by polars. The first invalid line is located only when a file fails to parse. The modules
`twosided.data.order_books` and `twosided.data.bar_files` interpret the columns.
"""

import difflib
import gzip
import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray
from pyarrow import parquet

from twosided.core.errors import Refusal
from twosided.data.dates import parse_times

_NUMBER = re.compile(rb" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class DataError(Refusal):
    """Error about the content of a file: one sentence that names the file and, where possible, the line."""


@dataclass(frozen=True)
class Table:
    """Named numeric columns of a file. Empty cells are NaN; all other values are finite."""

    name: str
    """Path of the file, as given."""
    columns: tuple[str, ...]
    values: Float[ndarray, "rows columns"]
    first_row: int = 1
    """Number of the first row of values in the file; 2 below a header."""
    row_unit: str = "line"
    """Name of a row in error messages: "line" of a CSV file, "row" of a Parquet file."""
    is_utc: bool = False
    """Whether times are seconds since 1970 UTC, because dates have an offset or times are numbers. Otherwise times are
    seconds since 1970 in local time."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, column: str) -> Float[ndarray, "rows"]:
        return self.values[:, self.columns.index(column)]

    def location(self, row: int) -> str:
        """Return the file and the line (or Parquet row) of a row of values, for error messages."""
        return f"{self.name}, {self.row_unit} {row + self.first_row}"


class RowValidator:
    """Collect validity checks on the rows of a table, then raise an error for the first invalid row."""

    def __init__(self, table: Table):
        self.table = table
        self.row = len(table)
        self.message: Callable[[], str] | None = None

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

    def raise_first(self) -> None:
        """Raise `DataError` for the first invalid row, if there is one."""
        if self.message is not None:
            raise DataError(f"{self.table.location(self.row)}: {self.message()}")


def read_table(
    path: Path,
    select_columns: Callable[[str, list[str]], list[str]],
    default_columns: Callable[[str, int], list[str]],
    is_date: Callable[[str], bool] = lambda column: False,
) -> Table:
    """Read a CSV, gzipped CSV or Parquet file. The format is detected from the content.

    `select_columns(location, header)` returns the columns to read from a file with a header. `default_columns(location,
    width)` returns the column names of a CSV file without a header, with "" for a column to skip. Both raise
    `DataError` for a file that they do not accept. Columns for which `is_date` holds may contain dates. Empty cells are
    allowed only in files with a header. Raises `DataError` for anything that is not such a table.
    """
    name = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except ValueError:  # a NUL character in the path
        raise DataError(f"{name!r}: not a valid file name") from None
    if path.suffix in (".parquet", ".pq") or raw.startswith(b"PAR1"):
        return _read_parquet(name, raw, select_columns, is_date)
    if path.suffix == ".gz" or raw.startswith(b"\x1f\x8b"):
        raw = _decompress(name, raw)
    raw = raw.removeprefix(b"\xef\xbb\xbf").rstrip()
    if not raw:
        raise DataError(f"{name}: the file is empty")
    location = f"{name}, line 1"
    first_line, _, rest = raw.partition(b"\n")
    cells = first_line.strip().split(b",")
    if len(cells) == 1:
        text = format_value(first_line.decode(errors="replace").strip())
        raise DataError(f"{location}: columns must be separated by commas, but the line is {text}")
    # Half of the cells suffice: a file without a header is recognised despite a damaged number in its first line.
    if 2 * sum(_NUMBER.fullmatch(cell) is not None for cell in cells) >= len(cells):
        header = default_columns(location, len(cells))
        selected = [column for column in header if column]
        values, _ = _CsvRows(name, header, selected, first_row=1, allow_empty=False).parse(raw)
        return Table(name, tuple(selected), values)
    if not _is_utf8(first_line):
        raise DataError(f"{location}: not UTF-8 text")
    header = [cell.decode().strip().strip('"') for cell in cells]
    selected = select_columns(location, header)
    if not rest:
        raise DataError(f"{location}: no rows follow the header")
    rows = _CsvRows(
        name, header, selected, first_row=2, allow_empty=True, dates=frozenset(filter(is_date, selected))
    )
    values, is_utc = rows.parse(rest)
    return Table(name, tuple(selected), values, first_row=2, is_utc=is_utc)


def suggest(name: str, names: Sequence[str]) -> str:
    """Return the end of an error message about a missing name: a suggestion of the most similar existing name, or
    ""."""
    matches = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {format_value(matches[0])}?" if matches else ""


def format_value(value: object) -> str:
    """Format a value for an error message: a number to ten digits, or a quoted string of one line, shortened to 40
    characters."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.10g}"
    text = str(value)
    return repr(text if len(text) <= 40 else text[:40] + "…")


# --- CSV ---


@dataclass(frozen=True)
class _CsvRows:
    """Parser of the lines of a CSV file below its header, if it has one."""

    name: str
    header: Sequence[str]
    selected: Sequence[str]
    first_row: int
    """Number of the first of these lines in the file."""
    allow_empty: bool
    """Whether cells may be empty."""
    dates: frozenset[str] = frozenset()
    """Columns that may contain dates."""

    def parse(self, text: bytes) -> tuple[Float[ndarray, "rows columns"], bool]:
        """Return the selected columns, and whether their times are in UTC. Raises `DataError` for the first line that
        is not a row of numbers."""
        parsed = self._try_parse(text)
        if parsed is not None:
            return parsed
        # Bisect to the first invalid line: all attempts together parse about as much text as the whole file.
        breaks = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
        starts, ends = [0, *(breaks + 1)], [*breaks, len(text)]
        low, high = 0, len(starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self._try_parse(text[starts[low] : ends[middle - 1]]) is None:
                high = middle
            else:
                low = middle
        self._raise_for_line(text[starts[low] : ends[low]], self.first_row + low)
        raise DataError(
            f"{self.name}: not a table of numbers, or its dates are not all written in one way: with offsets from UTC,"
            " without, or as numbers"
        )

    def _try_parse(self, text: bytes) -> tuple[Float[ndarray, "rows columns"], bool] | None:
        """Return the selected columns, and whether their times are in UTC, or None if the text is not a table of
        numbers."""
        num_rows = text.count(b"\n") + 1
        # Columns are addressed by position, because names of columns that are not selected may repeat.
        numeric = set(self.selected) - self.dates
        dtypes = (pl.Float64 if column in numeric else pl.String for column in self.header)
        schema = {str(position): dtype for position, dtype in enumerate(dtypes)}
        positions = [str(self.header.index(column)) for column in self.selected]
        try:
            frame = pl.read_csv(text, has_header=False, schema=schema, quote_char=None).select(positions)
        except pl.exceptions.PolarsError:
            return None
        is_utc = False
        for position, column in zip(positions, self.selected, strict=True):
            if column in self.dates:
                times = parse_times(frame[position])
                if times is None:
                    return None
                frame, is_utc = frame.with_columns(times[0].alias(position)), times[1]
        # polars fills short and empty lines with nulls, and reads "nan" and "inf" as numbers.
        num_empty = sum(frame[position].null_count() for position in positions)
        values = frame.to_numpy()
        complete = frame.height == num_rows and text.count(b",") == num_rows * (len(self.header) - 1)
        finite = np.isfinite(values).sum() + num_empty == values.size
        return (values, is_utc) if complete and finite and (self.allow_empty or not num_empty) else None

    def _raise_for_line(self, line: bytes, number: int) -> None:
        """Raise `DataError` if the line is not a row of numbers."""
        location = f"{self.name}, line {number}"
        line = line.rstrip(b"\r")
        if not line.strip():
            raise DataError(f"{location}: the line is empty")
        cells = line.split(b",")
        if len(cells) != len(self.header):
            raise DataError(f"{location}: {len(cells)} columns, but the first line has {len(self.header)}")
        for column, cell in zip(self.header, cells, strict=True):
            if column not in self.selected or (self.allow_empty and not cell):
                continue
            if column in self.dates:
                self._raise_for_date(location, column, cell)
                continue
            if not _NUMBER.fullmatch(cell) or not np.isfinite(float(cell)):
                value = format_value(cell.decode(errors="replace")) if cell else "empty"
                raise DataError(f"{location}: {column} must be a finite number, but is {value}")
        if not _is_utf8(line):
            raise DataError(f"{location}: not UTF-8 text")

    def _raise_for_date(self, location: str, column: str, cell: bytes) -> None:
        """Raise `DataError` if the cell is neither a date nor a number."""
        text = cell.decode(errors="replace")
        if parse_times(pl.Series([text])) is None:
            raise DataError(f"{location}: {_not_a_date(column, text)}")


def _not_a_date(column: str, text: str) -> str:
    return f"{column} must be a date (2012-02-01 09:30) or a number, but is {format_value(text)}"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decompress(name: str, raw: bytes) -> bytes:
    """Decompress a gzip file. Raises `DataError` with the line at which a truncated or damaged file ends."""
    parts = []
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while part := file.read(1 << 20):
                parts.append(part)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        line = sum(part.count(b"\n") for part in parts) + 1
        state = "truncated" if isinstance(error, EOFError) else "damaged"
        raise DataError(f"{name}, line {line}: the gzip file is {state} here") from None
    return b"".join(parts)


# --- Parquet ---


def _read_parquet(
    name: str,
    raw: bytes,
    select_columns: Callable[[str, list[str]], list[str]],
    is_date: Callable[[str], bool],
) -> Table:
    """Read the selected columns of a Parquet file; nulls are empty cells.

    Reads with pyarrow, because some damaged files crash the process in polars.
    """
    if not raw:
        raise DataError(f"{name}: the file is empty")
    selected = select_columns(
        name, _call_arrow(name, lambda: parquet.read_schema(pa.BufferReader(raw)).names)
    )
    table = _call_arrow(name, lambda: parquet.read_table(pa.BufferReader(raw), columns=selected))
    if table.num_rows == 0:
        raise DataError(f"{name}: the file has no rows")
    columns, nulls, is_utc = [], [], False
    for column in map(table.column, selected):
        dtype = column.type
        if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
            microseconds = _call_arrow(
                name, lambda column=column: column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            )
            columns.append(microseconds.to_numpy() / 1e6)
            is_utc |= pa.types.is_timestamp(dtype) and dtype.tz is not None
        elif is_date(selected[len(columns)]) and (
            pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
        ):
            texts = pl.Series(_call_arrow(name, column.to_pylist), dtype=pl.String)
            times = parse_times(texts)
            if times is None:
                bad = next(
                    i for i, text in enumerate(texts) if text and parse_times(pl.Series([text])) is None
                )
                raise DataError(f"{name}, row {bad + 1}: {_not_a_date(selected[len(columns)], texts[bad])}")
            columns.append(times[0].to_numpy())
            is_utc |= times[1]
        elif pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
            columns.append(
                _call_arrow(name, lambda column=column: column.cast(pa.float64(), safe=False)).to_numpy()
            )
            is_utc |= is_date(selected[len(columns) - 1])
        else:
            raise DataError(
                f"{name}: column {selected[len(columns)]} must be numeric, but has the type {dtype}"
            )
        nulls.append(column.is_null().to_numpy())
    values, null = np.stack(columns, axis=1), np.stack(nulls, axis=1)
    result = Table(name, tuple(selected), np.where(null, np.nan, values), row_unit="row", is_utc=is_utc)
    rows = RowValidator(result)
    rows.check(
        ~np.isfinite(values) & ~null,
        lambda i, k: f"{selected[k]} must be a finite number, but is {format_value(values[i, k])}",
    )
    rows.raise_first()
    return result


def _call_arrow(name: str, call: Callable[[], Any]) -> Any:
    """Return the result of a pyarrow call. Raises `DataError` in place of pyarrow's errors."""
    try:
        return call()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{name}: not a readable Parquet file ({reason})") from None
