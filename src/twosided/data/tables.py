"""Files to tables of finite numbers: CSV, gzipped CSV and Parquet, refused at their first bad line.

The fast path of CSV is polars; a line is looked for only once something is wrong. What the numbers mean is
for `twosided.data.order_books` and `twosided.data.bar_files` to know.
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
from twosided.data.dates import seconds_of

_NUMBER = re.compile(rb" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class DataError(Refusal):
    """A file that cannot be used: one sentence that names it and, where there is one, the line."""


@dataclass(frozen=True)
class Table:
    """Named columns of numbers from a file; an empty cell is NaN, every other number is finite."""

    name: str
    columns: tuple[str, ...]
    values: Float[ndarray, "rows columns"]
    first: int = 1
    """Number of the first row in the file."""
    unit: str = "line"
    zoned: bool = False
    """Whether its dates say their offset from UTC; they are seconds since 1970 there, or else on their own clock."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, column: str) -> Float[ndarray, "rows"]:
        return self.values[:, self.columns.index(column)]

    def where(self, row: int) -> str:
        return f"{self.name}, {self.unit} {row + self.first}"


class FirstBad:
    """Collects conditions that no row of a table may meet, then refuses the first row that meets one."""

    def __init__(self, table: Table):
        self.table = table
        self.row = len(table)
        self.sentence: Callable[[], str] | None = None

    def add(self, bad: ndarray, sentence: Callable[..., str]) -> None:
        """`bad` is (rows,) or (rows, levels); `sentence` takes the bad place, (row,) or (row, level)."""
        by_row: ndarray = bad if bad.ndim == 1 else np.any(bad, axis=1)
        row = int(np.argmax(by_row))
        if by_row[row] and row < self.row:
            place = (row,) if bad.ndim == 1 else (row, int(np.argmax(bad[row])))
            self.row, self.sentence = row, lambda: sentence(*place)

    def refuse(self) -> None:
        if self.sentence is not None:
            raise DataError(f"{self.table.where(self.row)}: {self.sentence()}")


def read_table(
    path: Path,
    choose: Callable[[str, list[str]], list[str]],
    columns_of: Callable[[str, int], list[str]],
    dates: Callable[[str], bool] = lambda column: False,
) -> Table:
    """Read a file, told apart by its content: Parquet's magic, a header of names, or numbers at once.

    `choose(where, header)` gives the columns to read of a file that names them, and `columns_of(where,
    width)` the names of those of a file that does not ("" for one to skip); both refuse by DataError. Empty
    cells are allowed in files with a header only. Columns for which `dates` holds may be written as dates.
    """
    name = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except ValueError:  # a NUL character in the path
        raise DataError(f"{name!r}: not the name of a file") from None
    if path.suffix in (".parquet", ".pq") or raw.startswith(b"PAR1"):
        return _read_parquet(name, raw, choose, dates)
    if path.suffix == ".gz" or raw.startswith(b"\x1f\x8b"):
        raw = _decompress(name, raw)
    raw = raw.removeprefix(b"\xef\xbb\xbf").rstrip()
    if not raw:
        raise DataError(f"{name}: the file is empty")
    where = f"{name}, line 1"
    first_line, _, rest = raw.partition(b"\n")
    cells = first_line.strip().split(b",")
    if len(cells) == 1:
        found = show(first_line.decode(errors="replace").strip())
        raise DataError(f"{where}: no columns separated by commas, but {found}")
    # Half of the cells, so that a headerless file with a damaged number in its first line stays one.
    if 2 * sum(_NUMBER.fullmatch(cell) is not None for cell in cells) >= len(cells):
        header = columns_of(where, len(cells))
        wanted = [column for column in header if column]
        values, _ = _Rows(name, header, wanted, first=1, empty_cells=False).parse(raw)
        return Table(name, tuple(wanted), values)
    if not _is_text(first_line):
        raise DataError(f"{where}: not UTF-8 text")
    header = [cell.decode().strip().strip('"') for cell in cells]
    wanted = choose(where, header)
    if not rest:
        raise DataError(f"{where}: no rows follow the header")
    rows = _Rows(name, header, wanted, first=2, empty_cells=True, dates=frozenset(filter(dates, wanted)))
    values, zoned = rows.parse(rest)
    return Table(name, tuple(wanted), values, first=2, zoned=zoned)


def nearest(name: str, names: Sequence[str]) -> str:
    """The end of a sentence that misses a name: the most similar one of those there are."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"; is {show(near[0])} meant?" if near else ""


def show(value: object) -> str:
    """A number in ten digits, or a text quoted, on one line and not too long."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.10g}"
    text = str(value)
    return repr(text if len(text) <= 40 else text[:40] + "…")


# --- Comma-separated text ---


@dataclass(frozen=True)
class _Rows:
    """How to read the lines of comma-separated text that follow the header, if there is one."""

    name: str
    header: Sequence[str]
    wanted: Sequence[str]
    first: int
    """Number of the first of these lines in the file."""
    empty_cells: bool
    """Whether cells may be empty."""
    dates: frozenset[str] = frozenset()
    """Columns that may be written as dates."""

    def parse(self, text: bytes) -> tuple[Float[ndarray, "rows columns"], bool]:
        """The wanted columns, and whether dates say their offsets; refuses the first line that is not a row of
        numbers."""
        values = self._numbers(text)
        if values is not None:
            return values
        # The half that is bad is halved again, down to its first bad line: together that is one more reading.
        breaks = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
        starts, ends = [0, *(breaks + 1)], [*breaks, len(text)]
        low, high = 0, len(starts)
        while high - low > 1:
            middle = (low + high) // 2
            if self._numbers(text[starts[low] : ends[middle - 1]]) is None:
                high = middle
            else:
                low = middle
        self._refuse_line(text[starts[low] : ends[low]], self.first + low)
        raise DataError(
            f"{self.name}: not a table of numbers and of dates that are written in one way: with offsets from UTC, "
            "without, or as numbers"
        )

    def _numbers(self, text: bytes) -> tuple[Float[ndarray, "rows columns"], bool] | None:
        """The wanted columns, and whether dates say their offsets; None if the text is not a table of numbers."""
        rows = text.count(b"\n") + 1
        # Columns go by their place: two that nobody wants may have the same name.
        numbers = set(self.wanted) - self.dates
        kinds = (pl.Float64 if column in numbers else pl.String for column in self.header)
        schema = {str(place): kind for place, kind in enumerate(kinds)}
        places = [str(self.header.index(column)) for column in self.wanted]
        try:
            frame = pl.read_csv(text, has_header=False, schema=schema, quote_char=None).select(places)
        except pl.exceptions.PolarsError:
            return None
        zoned = False
        for place, column in zip(places, self.wanted, strict=True):
            if column in self.dates:
                read = seconds_of(frame[place])
                if read is None:
                    return None
                frame, zoned = frame.with_columns(read[0].alias(place)), read[1]
        # polars fills short and empty lines with nulls, and reads "nan" and "inf" as numbers.
        empty = sum(frame[place].null_count() for place in places)
        values = frame.to_numpy()
        whole = frame.height == rows and text.count(b",") == rows * (len(self.header) - 1)
        finite = np.isfinite(values).sum() + empty == values.size
        return (values, zoned) if whole and finite and (self.empty_cells or not empty) else None

    def _refuse_line(self, line: bytes, number: int) -> None:
        """Refuse what is not a row of numbers, if it is not."""
        where = f"{self.name}, line {number}"
        line = line.rstrip(b"\r")
        if not line.strip():
            raise DataError(f"{where}: the line is empty")
        cells = line.split(b",")
        if len(cells) != len(self.header):
            raise DataError(f"{where}: {len(cells)} columns, where the first line has {len(self.header)}")
        for column, cell in zip(self.header, cells, strict=True):
            if column not in self.wanted or (self.empty_cells and not cell):
                continue
            if column in self.dates:
                self._refuse_date(where, column, cell)
                continue
            if not _NUMBER.fullmatch(cell) or not np.isfinite(float(cell)):
                found = show(cell.decode(errors="replace")) if cell else "empty"
                raise DataError(f"{where}: {column} is {found}, not a finite number")
        if not _is_text(line):
            raise DataError(f"{where}: not UTF-8 text")

    def _refuse_date(self, where: str, column: str, cell: bytes) -> None:
        """Refuse what is neither a date nor a number."""
        text = cell.decode(errors="replace")
        if seconds_of(pl.Series([text])) is None:
            raise DataError(
                f"{where}: {column} is {show(text)}, neither a date (2012-02-01 09:30) nor a number"
            )


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decompress(name: str, raw: bytes) -> bytes:
    """The text of a gzip file; one that breaks off is refused with the line that it breaks off in."""
    parts = []
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while part := file.read(1 << 20):
                parts.append(part)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        line = sum(part.count(b"\n") for part in parts) + 1
        what = "truncated" if isinstance(error, EOFError) else "damaged"
        raise DataError(f"{name}, line {line}: the gzip file is {what} here") from None
    return b"".join(parts)


# --- Parquet ---


def _read_parquet(
    name: str, raw: bytes, choose: Callable[[str, list[str]], list[str]], dates: Callable[[str], bool]
) -> Table:
    """The wanted columns of a Parquet file; nulls are empty cells.

    By pyarrow, because polars brings the whole process down on some damaged files.
    """
    if not raw:
        raise DataError(f"{name}: the file is empty")
    wanted = choose(name, _arrow(name, lambda: parquet.read_schema(pa.BufferReader(raw)).names))
    table = _arrow(name, lambda: parquet.read_table(pa.BufferReader(raw), columns=wanted))
    if table.num_rows == 0:
        raise DataError(f"{name}: the file has no rows")
    columns, nulls, zoned = [], [], False
    for column in map(table.column, wanted):
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            seconds = _arrow(
                name, lambda column=column: column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            )
            columns.append(seconds.to_numpy() / 1e6)
            zoned |= pa.types.is_timestamp(kind) and kind.tz is not None
        elif dates(wanted[len(columns)]) and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            texts = pl.Series(_arrow(name, column.to_pylist), dtype=pl.String)
            read = seconds_of(texts)
            if read is None:
                bad = next(
                    i for i, text in enumerate(texts) if text and seconds_of(pl.Series([text])) is None
                )
                found = f"{wanted[len(columns)]} is {show(texts[bad])}"
                raise DataError(
                    f"{name}, row {bad + 1}: {found}, neither a date (2012-02-01 09:30) nor a number"
                )
            columns.append(read[0].to_numpy())
            zoned |= read[1]
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns.append(
                _arrow(name, lambda column=column: column.cast(pa.float64(), safe=False)).to_numpy()
            )
            zoned |= dates(wanted[len(columns) - 1])
        else:
            raise DataError(f"{name}: column {wanted[len(columns)]} holds {kind}, not numbers")
        nulls.append(column.is_null().to_numpy())
    values, null = np.stack(columns, axis=1), np.stack(nulls, axis=1)
    read = Table(name, tuple(wanted), np.where(null, np.nan, values), unit="row", zoned=zoned)
    finder = FirstBad(read)
    finder.add(
        ~np.isfinite(values) & ~null,
        lambda i, k: f"{wanted[k]} is {show(values[i, k])}, not a finite number",
    )
    finder.refuse()
    return read


def _arrow(name: str, call: Callable[[], Any]) -> Any:
    """What a call of pyarrow returns; its errors as refusals of the file."""
    try:
        return call()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{name}: not a readable Parquet file ({reason})") from None
