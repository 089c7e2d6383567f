"""Files that are no tables, or expand without bound, are refused in one sentence, quickly and in little memory."""

import gzip
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twosided.data import content
from twosided.data.bar_files import read_bars
from twosided.data.content import DataError
from twosided.data.order_books import read_snapshots

MIB = 2**20


def error_of(path: Path) -> str:
    """Return the error of both readers, which must start with the name of the file; memory is bounded."""
    messages = []
    for read in (read_bars, read_snapshots):
        tracemalloc.start()
        with pytest.raises(DataError) as error:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 300 * MIB
        tracemalloc.stop()
        text = str(error.value)
        assert text.isprintable() and len(text) < 400 + len(str(path))
        messages.append(text)
    return messages[0]


def test_pipes_devices_and_folders_raise(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null")):
        assert error_of(path) == f"{path}: must be a regular file, but is a device, a pipe or a socket"
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read (is a directory)"
    long = tmp_path / ("x" * 300)
    assert error_of(long) == f"{long}: cannot be read (file name too long)"
    assert error_of(Path("a\0b")) == "a\\x00b: not a valid file name"


def test_sparse_file_raises_before_it_is_read(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert error_of(path) == f"{path}: must have at most 2 GiB of content, but has more"
    with path.open("wb") as file:
        file.truncate(2**30)
    assert error_of(path) == f"{path}: must be a table, but begins with 1,048,576 bytes of zero"


@pytest.mark.parametrize("suffix", ["gz", "zip"])
def test_archives_that_expand_without_bound_raise(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(content, "FREE_BYTES", 4 * MIB)
    path, data = tmp_path / f"bomb.csv.{suffix}", b"time,open,high,low,close\n" + b"1,1,1,1,1\n" * MIB
    if suffix == "gz":
        path.write_bytes(gzip.compress(data))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.csv", data)
    assert len(data) > 250 * path.stat().st_size
    assert error_of(path) == f"{path}: must have at most 4 MiB of content, but has more"


def test_wide_headers_and_long_lines_raise(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(["x"] * 10_000_000) + "\n")
    assert error_of(path) == f"{path}, line 1: the line must have at most 1,048,576 characters"
    path.write_text("time,open,high,low,close," + ",".join(map(str, range(20_000))) + "\n1,1,1,1,1\n")
    assert error_of(path) == f"{path}, line 1: must have at most 10,000 columns, but has more"
    path.write_text("time,open,high,low,close\n" + "1," * 300_000 + "\n")
    assert "300001 columns, but the first line has 5" in error_of(path)
    path.write_text("time,open,high,low,close\n" + '"' * 100_001 + ",1,1,1,1\n")
    assert "line 2: " in error_of(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"\xff\xfe",
        b"\xff\xfe\x00",
        b"PAR1",
        b"PAR1" + b"\x00" * 50 + b"PAR1",
        b"PK\x03\x04",
        b"PK\x05\x06" + b"\xff" * 18,
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/bin/sh\n",
        b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 40,
        b"#\n#\n#\n",
        b"sep=;\n",
        b"sep=\x00\n1,2,3\n",
        b'"\n"\n"\n',
        b"time,open,high,low,close\n\n",
        b"time,open,high,low,close\nnan,nan,nan,nan,nan\ninf,inf,inf,inf,inf\n",
        b"\x1b[31mtime\x1b[0m,open,high,low\n1,1,1,1\n",
        b"time,open,high,low,close\n1,1,1,1,\x1b[31m\n2,1,1,1,1\n",
        b",,,,\n,,,,\n",
        b";;;;\n" * 10,
        b"\t\t\t\t\n" * 10,
        b"time open high low close\n" + b" " * 100_000 + b"\n",
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "zip", "parquet", ""])
def test_files_that_are_no_tables_raise_one_sentence(tmp_path, data, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data)
    assert error_of(path).startswith(str(path))


def test_errors_do_not_quote_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "secret"
    path.write_text("root:$6$abcdef:19000:0:99999:7:::\n")
    assert "abcdef" not in error_of(path)


def test_columns_with_very_long_names_are_shortened(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("time,open,high,low,close,volume" + "x" * 5000 + "\n1,1,1,1,1,1\n2,1,1,1,1,1\n")
    assert len(read_bars(path).layouts[0]) < 400
    path.write_text("time,open,high,low," + "c" * 5000 + "\n1,1,1,1,1\n")
    assert error_of(path).endswith("no column close; give the name of its column with `columns`: close=NAME")


def test_wide_parquet_files_raise(tmp_path):
    path = tmp_path / "wide.parquet"
    pl.DataFrame({str(i): [1.0] for i in range(10_001)}).write_parquet(path)
    assert error_of(path) == f"{path}: must have at most 10,000 columns, but has 10,001"


def test_parquet_file_that_repeats_one_row_without_bound_raises(tmp_path, monkeypatch):
    monkeypatch.setattr("twosided.data.parquet_tables.MAX_BYTES", MIB)
    path, names = tmp_path / "long.parquet", ("time", "open", "high", "low", "close")
    pl.DataFrame({name: np.ones(MIB) for name in names}).write_parquet(path)
    with pytest.raises(DataError, match="must have at most 131,072 values in the columns that are read"):
        read_bars(path)


def test_parquet_text_is_not_copied_for_each_row(tmp_path):
    path = tmp_path / "text.parquet"
    pl.DataFrame(
        {"time": ["x" * 2000] * 2, **{name: [1.0, 1.0] for name in ("open", "high", "low", "close")}}
    ).write_parquet(path)
    with pytest.raises(DataError, match="a text of 2000 characters"):
        read_bars(path)
