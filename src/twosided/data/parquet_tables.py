"""Read columns of Parquet files with pyarrow, because some damaged files crash the process in polars."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy import ndarray
from pyarrow import parquet

from twosided.data.content import MAX_BYTES, Content, DataError, format_value
from twosided.data.tables import MAX_COLUMNS, Choice, Column, Layout, Sample, Table

_LIMITS: dict[str, Any] = {"thrift_string_size_limit": 10**7, "thrift_container_size_limit": 10**5}
"""Largest sizes of the parts of a file's metadata, in bytes and in elements."""


def read_parquet(content: Content, choose: Choice) -> Table:
    """Read the chosen columns of a Parquet file; nulls are empty cells. Raises `DataError`."""
    name = content.name
    if not content.data:
        raise DataError(f"{name}: the file is empty")
    file: parquet.ParquetFile = _call_arrow(
        name,
        lambda: parquet.ParquetFile(pa.BufferReader(content.data), **_LIMITS),
    )
    header: list[str] = _call_arrow(name, lambda: file.schema_arrow.names)
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{name}: must have at most {MAX_COLUMNS:,} columns, but has {len(header):,}")
    chosen = choose(Sample(name, header, [], len(header)))
    num_rows: int = file.metadata.num_rows
    if num_rows * len(chosen) * 8 > MAX_BYTES:
        raise DataError(f"{name}: must have at most {MAX_BYTES // 8:,} values in the columns that are read")
    names = [header[column.position] for column in chosen]
    # Text is kept as a dictionary: values that repeat would otherwise be copied for each row.
    dictionaries = [header[column.position] for column in chosen if column.kind == "text"]
    table: pa.Table = _call_arrow(
        name,
        lambda: parquet.read_table(
            pa.BufferReader(content.data), columns=names, read_dictionary=dictionaries, **_LIMITS
        ),
    )
    if table.num_rows == 0:
        raise DataError(f"{name}: the file has no rows")
    numbers: dict[str, ndarray] = {}
    texts: dict[str, pl.Series] = {}
    problem: tuple[int, str] | None = None
    for column, values in zip(chosen, map(table.column, names), strict=True):
        dtype = values.type
        if column.kind == "text":
            texts[column.field] = _text(name, column, values)
            continue
        if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
            microseconds = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            numbers[column.field] = _call_arrow(name, lambda x=microseconds: x.to_numpy() / 1e6)
            continue
        if not (pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)):
            if column.kind == "amount" and pa.types.is_null(dtype):
                numbers[column.field] = np.full(len(values), np.nan)
                continue
            if column.kind == "amount" and (pa.types.is_string(dtype) or pa.types.is_large_string(dtype)):
                texts[column.field] = _call_arrow(name, lambda values=values: _decoded(values))
                continue
            raise DataError(f"{name}: column {column.label} must be numeric, but has the type {dtype}")
        x = _call_arrow(name, lambda values=values: values.cast(pa.float64(), safe=False).to_numpy())
        null = values.is_null().to_numpy()
        x = np.where(null, np.nan, x)
        infinite = ~np.isfinite(x) & ~null
        if column.kind == "amount":
            infinite &= ~np.isnan(x)
        if infinite.any() and (problem is None or int(np.argmax(infinite)) < problem[0]):
            row = int(np.argmax(infinite))
            problem = row, f"{column.label} must be a finite number, but is {format_value(x[row])}"
        numbers[column.field] = x
    return Table(
        name,
        {column.field: column.label for column in chosen},
        numbers,
        texts,
        table.num_rows,
        Layout(name, (*content.form, "Parquet"), tuple(column.label for column in chosen)),
        row_unit="row",
        problem=problem,
    )


def _text(name: str, column: Column, values: Any) -> pl.Series:
    """Return a column of dates, numbers or texts of a Parquet file."""
    dtype = values.type
    target: Any = None
    if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        target = pa.timestamp("us", "UTC" if getattr(dtype, "tz", None) else None)
    elif pa.types.is_integer(dtype):
        target = pa.int64()
    elif pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        target = pa.float64()
    if target is not None:
        return cast(pl.Series, _call_arrow(name, lambda: pl.from_arrow(values.cast(target, safe=False))))
    value_type = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    if pa.types.is_string(value_type) or pa.types.is_large_string(value_type) or pa.types.is_null(value_type):
        return _call_arrow(name, lambda: _decoded(values))
    raise DataError(f"{name}: column {column.label} must be of dates or numbers, but has the type {dtype}")


def _decoded(values: Any) -> pl.Series:
    """Return a column of text, of which the distinct values may be given as a dictionary."""
    if pa.types.is_dictionary(values.type):
        texts = [text for chunk in values.chunks for text in chunk.dictionary.to_pylist()]
        longest = max((len(text) for text in texts if text), default=0)
        if longest > 1000:
            raise pa.ArrowInvalid(f"a text of {longest} characters")
    return pl.Series(values.to_pylist(), dtype=pl.String)


def _call_arrow(name: str, call: Callable[[], Any]) -> Any:
    """Return the result of a pyarrow call. Raises `DataError` in place of pyarrow's errors."""
    try:
        return call()
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{name}: not a readable Parquet file ({reason})") from None
