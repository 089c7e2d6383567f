"""Read CSV and Parquet files as tables, or refuse them at their first invalid line.

The kind of file is detected from its content. CSV is parsed by polars, and Parquet by pyarrow.
"""

from pathlib import Path

from twosided.data.content import read_content
from twosided.data.delimited import read_delimited
from twosided.data.formats import Format
from twosided.data.parquet_tables import read_parquet
from twosided.data.tables import Choice, Table


def read_table(path: Path, choose: Choice, format: Format = Format()) -> Table:
    """Read the chosen columns of a CSV or Parquet file, plain, gzipped or zipped.

    `choose` returns the columns to read, given the beginning of the file, or raises `DataError`. Raises `DataError` for
    a file that is no table. The first row that cannot be read is the table's `problem`, which `RowValidator` raises
    together with invalid values.
    """
    content = read_content(path)
    return read_parquet(content, choose) if content.is_parquet else read_delimited(content, choose, format)
