"""Content of data files: bounded in size, decompressed, and decoded to UTF-8.

Only regular files are read. A file may be compressed with gzip, or be the only table in a zip archive. Text may be in
UTF-8 or UTF-16.
"""

import errno
import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from twosided.core.errors import Refusal

MAX_BYTES = 2**31
"""Largest size of a file, before and after decompression."""
MAX_EXPANSION = 200
"""Largest ratio of the decompressed to the compressed size, for files that decompress to more than FREE_BYTES."""
FREE_BYTES = 2**26
_MAX_DIRECTORY = 2**23
"""Largest directory of a zip archive, in bytes."""
_PART = 2**20


class DataError(Refusal):
    """Error about the content of a file: one sentence that names the file and, where possible, the line."""

    def __init__(self, sentence: str):
        super().__init__(printable(sentence))


@dataclass(frozen=True)
class Content:
    """Decompressed content of a file."""

    name: str
    """Path of the file, as given; control characters are escaped."""
    data: bytes
    """Content: Parquet, or text in UTF-8 without a byte order mark."""
    is_parquet: bool
    form: tuple[str, ...]
    """Descriptions of the compression and of an encoding other than UTF-8."""
    invalid: int | None = None
    """Line of the first byte sequence that is not text in its encoding, counted from 1. Such bytes are replaced."""


def read_content(path: Path) -> Content:
    """Read a file. Raises `DataError`."""
    name = printable(str(path))
    raw = _read(path, name)
    form: tuple[str, ...] = ()
    if raw.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raw, member = _extract(name, raw)
        form = (f"{member} in a zip archive",)
    elif raw.startswith(b"\x1f\x8b") or path.suffix == ".gz":
        raw, form = _decompress(name, raw), ("gzip",)
    suffix = path.with_suffix("").suffix if path.suffix in (".gz", ".zip") else path.suffix
    if raw.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
        return Content(name, raw, True, form)
    text, encoding, invalid = _decode(raw)
    return Content(name, text, False, (*form, *encoding), invalid)


def _read(path: Path, name: str) -> bytes:
    """Return the bytes of a regular file."""
    try:
        # A FIFO without a writer would block; these flags do not exist on every system.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{name}: must be a regular file, but is a device, a pipe or a socket")
            return _bounded(file.read, name, MAX_BYTES, status.st_size)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: not a valid file name") from None  # a NUL character in the path


def _bounded(
    read: Callable[[int], bytes], name: str, limit: int, size: int = 0, parts: list[bytes] | None = None
) -> bytes:
    """Return the rest of a stream of at least `size` bytes. The parts read so far are appended to `parts`.

    Raises `DataError` if there are more than `limit` bytes.
    """
    parts, length = [] if parts is None else parts, 0
    while size <= limit and length <= limit and (part := read(_PART)):
        if not length and len(part) > 1024 and part.count(0) == len(part):
            raise DataError(f"{name}: must be a table, but begins with {len(part):,} bytes of zero")
        parts.append(part)
        length += len(part)
    if max(size, length) > limit:
        text = f"{limit / 2**30:.3g} GiB" if limit >= 2**30 else f"{limit / 2**20:.0f} MiB"
        raise DataError(f"{name}: must have at most {text} of content, but has more")
    return b"".join(parts)


def _expanded_limit(compressed: int) -> int:
    return min(MAX_BYTES, max(FREE_BYTES, MAX_EXPANSION * compressed))


def _decompress(name: str, raw: bytes) -> bytes:
    """Decompress a gzip file. Raises `DataError` with the line at which a truncated or damaged file ends."""
    parts: list[bytes] = []
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            return _bounded(file.read, name, _expanded_limit(len(raw)), parts=parts)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        line = sum(part.count(b"\n") for part in parts) + 1
        state = "truncated" if isinstance(error, EOFError) else "damaged"
        raise DataError(f"{name}, line {line}: the gzip file is {state} here") from None


def _extract(name: str, raw: bytes) -> tuple[bytes, str]:
    """Return the content and the name of the only table in a zip archive: its only file, or its only CSV file."""
    end = raw.rfind(b"PK\x05\x06")
    directory = struct.unpack_from("<L", raw, end + 12)[0] if 0 <= end <= len(raw) - 22 else 0
    if directory > _MAX_DIRECTORY:
        raise DataError(
            f"{name}: must be an archive of one table, but holds very many files; extract the table"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            found = [info for info in archive.infolist() if not _is_hidden(info.filename)]
            tables = [info for info in found if info.filename.lower().endswith(".csv")]
            if len(found) != 1 and len(tables) != 1:
                some = ", ".join(format_value(info.filename) for info in found[:3]) + ", ..." * (
                    len(found) > 3
                )
                text = f"{len(found)} files ({some})" if found else "no files"
                raise DataError(
                    f"{name}: must be an archive of one table, but holds {text}; extract the table"
                )
            member = (found if len(found) == 1 else tables)[0]
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(
                    f"{name}: the archive is encrypted or compressed in an unusual way; extract the table"
                )
            with archive.open(member) as file:
                return _bounded(file.read, name, _expanded_limit(len(raw))), format_value(member.filename)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        struct.error,
        NotImplementedError,
        RuntimeError,
        OSError,
    ):
        raise DataError(f"{name}: not a readable zip archive") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name}: not a readable zip archive") from None


def _is_hidden(member: str) -> bool:
    """Whether a member of an archive is a folder or a file that a system has added."""
    return member.endswith("/") or any(
        part.startswith((".", "__MACOSX")) for part in PurePosixPath(member).parts
    )


def _decode(raw: bytes) -> tuple[bytes, tuple[str, ...], int | None]:
    """Return text in UTF-8, a description of an encoding other than UTF-8, and the first line that is not text."""
    encoding = "utf-8"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        # Without a mark: the digits and separators of a table have a zero byte each.
        first, second = raw[0:512:2].count(0), raw[1:512:2].count(0)
        if max(first, second) > 0.9 * len(raw[1:512:2]) > 1 and min(first, second) == 0:
            encoding = "utf-16-le" if second else "utf-16-be"
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    described = () if encoding == "utf-8" else ("UTF-16",)
    if raw.isascii() and encoding == "utf-8":
        return raw, described, None
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode(encoding, errors="replace")
        return raw.decode(encoding, errors="replace").encode(), described, before.count("\n") + 1
    return (raw if encoding == "utf-8" else text.encode()), described, None


def printable(text: str) -> str:
    """Return a text with control characters escaped, as it may be shown on a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def format_value(value: object) -> str:
    """Format a value for an error message: a number to ten digits, or a quoted string of one line, shortened to 40
    characters."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.10g}"
    text = str(value)
    return repr(text if len(text) <= 40 else text[:40] + "…")
