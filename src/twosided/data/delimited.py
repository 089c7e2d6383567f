"""Read delimited text: detect its layout, and parse it with polars.

The separator (comma, semicolon, tab, vertical bar or spaces), the header, quotation marks, a trailing separator,
comments and lines before the header are detected from the first lines. Numbers may have a decimal comma, separators of
thousands or a currency sign. Plain numbers are parsed by polars directly; everything else, and the search for the first
invalid line, takes a second, slower pass over the text.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from numpy import ndarray

from twosided.data.content import Content, DataError, format_value
from twosided.data.formats import Format
from twosided.data.numbers import decimal_separator, to_numbers
from twosided.data.tables import MAX_COLUMNS, Choice, Column, Layout, Sample, Table

_HEAD = 2**20
"""Bytes within which the first lines must end."""
_SAMPLE = 100
"""Number of lines from which the layout is detected."""
_DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
_TIME = re.compile("time|date", re.IGNORECASE)
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"


def read_delimited(content: Content, choose: Choice, format: Format = Format()) -> Table:
    """Read the chosen columns of delimited text. Raises `DataError` if no row can be read.

    The first row that cannot be read is the table's `problem`. Empty numbers are allowed only below a header.
    """
    name = content.name
    text = content.data.rstrip(b"\r\n \x1a")
    if not text:
        raise DataError(f"{name}: the file is empty")
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    dialect = _detect(name, text)
    if dialect.is_spaced:
        text = re.sub(rb"(?m)^[ \t]+", b"", re.sub(rb"[ \t]+", b"\t", text))
    first_line = dialect.header_line + dialect.num_headers
    location = f"{name}, line {dialect.header_line}"
    if content.invalid is not None and content.invalid < first_line:
        raise DataError(f"{name}, line {content.invalid}: not UTF-8 text")
    width = len(dialect.rows[0] if dialect.header is None else dialect.header)
    columns = choose(Sample(location, dialect.header, dialect.rows, width))
    body, row_numbers = _body(text, first_line)
    if not body:
        raise DataError(f"{location}: no rows follow the header")
    rows = _Rows(name, dialect, columns, format, body, dialect.header is not None)
    values = rows.parse()
    for column in columns:
        if column.divisor != 1 and column.field in values.numbers:
            values.numbers[column.field] = values.numbers[column.field] / column.divisor
    problem = values.problem
    if content.invalid is not None:
        wanted = (
            content.invalid - first_line
            if row_numbers is None
            else np.searchsorted(row_numbers, content.invalid)
        )
        if problem is None or problem[0] > wanted:
            problem = max(int(wanted), 0), "not UTF-8 text"
    table = Table(
        name,
        {column.field: column.label for column in columns},
        values.numbers,
        values.texts,
        values.num_rows,
        Layout(
            name,
            (*content.form, *dialect.form, *(("decimal comma",) if values.decimal == "," else ())),
            tuple(column.label for column in columns),
            dialect.notes,
        ),
        has_header=dialect.header is not None,
        first_row=first_line,
        row_numbers=row_numbers,
        problem=problem,
    )
    if problem is not None and (problem[0] == 0 or not len(table)):
        raise DataError(f"{table.location(problem[0])}: {problem[1]}")
    return table


@dataclass(frozen=True)
class _Dialect:
    """Layout of delimited text."""

    delimiter: str
    width: int
    """Number of cells of a line."""
    header: list[str] | None
    """Names of the columns, "" for those without, or None."""
    header_line: int
    """Number of the line of the header, or else of the first row."""
    num_headers: int
    """Number of lines of the header."""
    rows: list[list[str]]
    """Cells of the first rows."""
    is_spaced: bool
    """Whether cells are separated by runs of spaces."""
    form: tuple[str, ...]
    notes: tuple[str, ...]


def _detect(name: str, text: bytes) -> _Dialect:
    """Detect the layout from the first lines. Raises `DataError` if they are not a table."""
    end = len(text) if len(text) <= _HEAD else text.rfind(b"\n", 0, _HEAD)
    if end < 0:
        raise DataError(f"{name}, line 1: the line must have at most {_HEAD:,} characters")
    head = text[:end].split(b"\n", 2 * _SAMPLE)[: 2 * _SAMPLE]
    lines = [(i, line.decode(errors="replace").rstrip("\r")) for i, line in enumerate(head, 1)]
    marks = [line for _, line in lines[:1] if re.fullmatch("sep=.", line.strip())]
    sample = [(i, line) for i, line in lines if line.strip() and not _is_comment(line)][len(marks) :][
        :_SAMPLE
    ]
    if not sample:
        raise DataError(f"{name}: the file has no rows")
    delimiter, skipped = marks[0].strip()[-1] if marks else "", 0
    if not delimiter:
        delimiter, skipped = _delimiter([line for _, line in sample])
    sample = sample[skipped:]
    location = f"{name}, line {sample[0][0]}"
    is_spaced = not delimiter
    if is_spaced:
        if len(sample[0][1].split()) < 5:
            raise DataError(
                f"{location}: columns must be separated by commas, semicolons, tabs or vertical bars, but there is"
                " one column"
            )
        delimiter = "\t"
        sample = [(i, "\t".join(line.split())) for i, line in sample]
    if sample[0][1].count(delimiter) >= MAX_COLUMNS:
        raise DataError(f"{location}: must have at most {MAX_COLUMNS:,} columns, but has more")
    cells = [_cells(line, delimiter) for _, line in sample]
    above = lines[sample[0][0] - 2][1] if sample[0][0] > 1 else ""
    if _is_comment(above):
        # The names of the columns may stand in a comment.
        names = _cells(above.lstrip("#/ "), delimiter)
        if len(names) == len(cells[0]) and not any(map(_is_value, names)) and _is_value(cells[0][0]):
            sample, cells = [(sample[0][0] - 1, above), *sample], [names, *cells]
    filled = [cell for cell in cells[0] if cell]
    # Half of the cells suffice: a file without a header is recognised despite a damaged number in its first line.
    has_header = 2 * sum(_is_value(cell) for cell in filled) < len(filled)
    header, rows = (cells[0], cells[1:]) if has_header else (None, cells)
    num_headers = int(has_header)
    if header is not None and [row[0] for row in rows[:2]] in (["Ticker", "Date"], ["Ticker", "Datetime"]):
        # yfinance names the quantities, the ticker and the index in three lines.
        header, rows, num_headers = [rows[1][0], *header[1:]], rows[2:], 3
    width = len(cells[0])
    if header is not None and rows:
        common = Counter(map(len, rows)).most_common(1)[0][0]
        complete = [row for row in rows if len(row) == common]
        if common == width + 1 and not any(row[-1] for row in complete):
            header = [*header, ""]
        elif common == width + 1 and _is_date(complete[0][0]) and not any(map(_TIME.search, header)):
            header = ["", *header]  # an index without a name
        elif common == width - 1 and not header[-1]:
            header = header[:-1]
        width = len(header)
        rows = [row for row in rows if len(row) == width]
    elif header is None:
        rows = [row for row in rows if len(row) == width]
        if not any(row[-1] for row in rows):
            rows = [row[:-1] for row in rows]
    notes: tuple[str, ...] = (f"{sample[0][0] - 1} lines before the header left out",) * (sample[0][0] > 1)
    form = ("spaces" if is_spaced else _DELIMITERS.get(delimiter, repr(delimiter)),)
    form = (f"separated by {form[0]}", *(() if has_header else ("no header",)))
    return _Dialect(delimiter, width, header, sample[0][0], num_headers, rows, is_spaced, form, notes)


def _delimiter(lines: list[str]) -> tuple[str, int]:
    """Return the separator, "" for spaces, and the number of lines before the table.

    A table has the same number of cells in most lines, and, but for one, in its first line.
    """
    for skipped in range(min(len(lines), 6)):
        rest = lines[skipped:]
        widths = {}
        for delimiter in _DELIMITERS:
            first, *others = [len(_cells(line, delimiter)) for line in rest[:20]]
            common = Counter(others or [first]).most_common(1)[0][0]
            if min(first, common) >= 2 and abs(first - common) <= 1:
                widths[delimiter] = common
        # A comma may be the decimal separator where another character separates as many columns as bars need.
        wide = [delimiter for delimiter, width in widths.items() if width >= 5]
        if wide or widths:
            return wide[0] if wide else max(widths, key=lambda d: widths[d]), skipped
        # Only lines of one cell above a header are left out.
        if len(rest) < 2 or any(d in rest[0] for d in _DELIMITERS) or _is_value(_cells(rest[1], ",")[0]):
            break
    counts = {delimiter: lines[0].count(delimiter) for delimiter in _DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    return (best if counts[best] else ""), 0


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, without quotation marks and spaces around them."""
    if '"' in line:
        try:
            return [
                cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            ]
        except (csv.Error, StopIteration):
            pass
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def _is_comment(line: str) -> bool:
    return line.startswith(("#", "//"))


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or a date, rather than a name."""
    return (
        re.match(r"[+-]?[$€£¥]?[.,]?[0-9]", cell) is not None
        or re.match(r"[A-Z][a-z]{2,8}\.? [0-9]", cell) is not None
    )


def _is_date(cell: str) -> bool:
    return re.search(r"[0-9][-/. :][0-9]", cell) is not None and re.fullmatch(_NUMBER, cell) is None


def _body(text: bytes, first_line: int) -> tuple[bytes, Int[ndarray, "rows"] | None]:
    """Return the lines from the first row on, without comments, and their numbers if any were left out."""
    start = 0
    for _ in range(first_line - 1):
        start = text.find(b"\n", start) + 1
        if not start:
            return b"", None
    body = text[start:]
    # Searching for the mark alone is much faster, and most files have none.
    marks = [m for m in (b"#", b"//") if m in body and (body.startswith(m) or b"\n" + m in body)]
    if not marks:
        return body, None
    lines = body.split(b"\n")
    kept = np.array([not line.startswith(tuple(marks)) for line in lines])
    numbers = np.flatnonzero(kept) + first_line
    return b"\n".join(line for line, keep in zip(lines, kept, strict=True) if keep), numbers


# --- Rows ---


@dataclass(frozen=True)
class _Values:
    """Parsed columns."""

    numbers: dict[str, Float[ndarray, "rows"]]
    texts: dict[str, pl.Series]
    num_rows: int
    problem: tuple[int, str] | None = None
    decimal: str = "."


@dataclass(frozen=True)
class _Rows:
    """Parser of the lines below the header."""

    name: str
    dialect: _Dialect
    columns: Sequence[Column]
    format: Format
    body: bytes
    may_be_empty: bool
    """Whether numbers may be empty."""

    def parse(self) -> _Values:
        """Return the chosen columns, and the first row that cannot be read."""
        return self._plain() or self._general()

    def _read(self, text: bytes, numeric: frozenset[int]) -> pl.DataFrame:
        """Parse text with polars; columns are named by their positions."""
        schema = {str(i): pl.Float64 if i in numeric else pl.String for i in range(self.dialect.width)}
        return pl.read_csv(
            text,
            has_header=False,
            schema=schema,
            separator=self.dialect.delimiter,
            quote_char='"' if b'"' in text else None,
        )

    def _plain(self) -> _Values | None:
        """Parse numbers directly, or return None if a line is not a row of plain numbers."""
        if self.format.decimal == ",":
            return None
        numeric = frozenset(column.position for column in self.columns if column.kind != "text")
        try:
            frame = self._read(self.body, numeric)
        except pl.exceptions.PolarsError:
            return None
        # polars fills short and empty lines with nulls, cuts long ones, and reads "nan" and "inf" as numbers.
        num_rows = self.body.count(b"\n") + 1
        if frame.height != num_rows or not self._is_rectangular(frame, num_rows):
            return None
        numbers: dict[str, ndarray] = {}
        for column in self.columns:
            series = frame[str(column.position)]
            if column.kind == "text":
                continue
            x, num_empty = series.to_numpy(), series.null_count()
            if num_empty and not (self.may_be_empty or column.kind == "amount"):
                return None
            if np.isfinite(x).sum() + num_empty != len(x):
                return None
            numbers[column.field] = x
        texts = {
            column.field: frame[str(column.position)] for column in self.columns if column.kind == "text"
        }
        return _Values(numbers, texts, num_rows)

    def _is_rectangular(self, frame: pl.DataFrame, num_rows: int) -> bool:
        """Whether each line has the same number of cells."""
        if b'"' in self.body:
            return _first_ragged(self.body, self.dialect.delimiter, self.dialect.width) is None
        return self.body.count(self.dialect.delimiter.encode()) == num_rows * (self.dialect.width - 1)

    def _general(self) -> _Values:
        """Parse all cells as text, convert them to numbers, and find the first invalid line."""
        body, problem = self.body, None
        ragged = _first_ragged(body, self.dialect.delimiter, self.dialect.width)
        if ragged is not None:
            row, start, message = ragged
            body, problem = body[: max(start - 1, 0)], (row, message)
            if not row:
                return _Values({}, {}, 0, problem)
        try:
            frame = self._read(body, frozenset())
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{self.name}: not a table ({' '.join(str(error).split())[:60]})") from None
        cells = {
            column.field: frame[str(column.position)].str.strip_chars().str.strip_chars('"').str.strip_chars()
            for column in self.columns
        }
        numeric = [column for column in self.columns if column.kind != "text"]
        decimal = self.format.decimal or self._decimal(cells)
        numbers: dict[str, ndarray] = {}
        for column in numeric:
            text = cells[column.field].fill_null("")
            x, invalid = to_numbers(text, decimal, column.kind == "amount")
            if not self.may_be_empty and column.kind == "number":
                invalid |= (text == "").to_numpy()
            numbers[column.field] = x
            row = int(np.argmax(invalid))
            if invalid[row] and (problem is None or row < problem[0]):
                value = format_value(text[row]) if text[row] else "empty"
                what = (
                    "a finite number"
                    if column.kind == "number"
                    else "a number such as 1200 or 12.5K, or empty"
                )
                problem = row, f"{column.label} must be {what}, but is {value}"
        texts = {column.field: cells[column.field] for column in self.columns if column.kind == "text"}
        return _Values(numbers, texts, frame.height, problem, decimal)

    def _decimal(self, cells: dict[str, pl.Series]) -> str:
        """Return the decimal separator. Raises `DataError` if it is ambiguous."""
        prices = [cells[column.field].fill_null("") for column in self.columns if column.kind == "number"]
        amounts = [cells[column.field].fill_null("") for column in self.columns if column.kind == "amount"]
        decimal = decimal_separator(prices, self.dialect.delimiter)
        if not any(column.str.contains("[.,]").any() for column in prices):
            decimal = decimal_separator(amounts, self.dialect.delimiter) or "."
        if decimal is None:
            example = next(cell for column in prices for cell in column.filter(column.str.contains(",")))
            raise DataError(
                f"{self.name}: the comma of numbers such as {format_value(example)} may separate decimals or thousands;"
                " state which with `format`: decimal-comma or decimal-point"
            )
        return decimal


def _first_ragged(text: bytes, delimiter: str, width: int) -> tuple[int, int, str] | None:
    """Return the first line that has another number of cells: its index, the position of its first byte, and an error
    message."""
    array = np.frombuffer(text, dtype=np.uint8)
    outside: ndarray | None = None
    if b'"' in text:
        outside = np.cumsum(array == ord('"'), dtype=np.uint8) % 2 == 0  # the parity survives the overflow
    is_break, is_delimiter = array == ord("\n"), array == ord(delimiter)
    ends = np.append(np.flatnonzero(is_break), len(array))
    if outside is not None:
        open_ends = np.flatnonzero(~np.append(outside, outside[-1])[ends[:-1]])
        is_delimiter &= outside
        if not outside[-1] and not open_ends.size:
            open_ends = np.array([len(ends) - 1])
        if open_ends.size:
            row = int(open_ends[0])
            start = int(ends[row - 1]) + 1 if row else 0
            before = _first_ragged(text[: max(start - 1, 0)], delimiter, width) if row else None
            return before or (row, start, "a quotation mark is not closed within the line")
    counts = np.diff(np.searchsorted(np.flatnonzero(is_delimiter), ends), prepend=0)
    wrong = counts != width - 1
    row = int(np.argmax(wrong))
    if not wrong[row]:
        return None
    start = int(ends[row - 1]) + 1 if row else 0
    if not text[start : int(ends[row])].strip():
        return row, start, "the line is empty"
    return row, start, f"{counts[row] + 1} columns, but the first line has {width}"
